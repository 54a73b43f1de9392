//! The running site ([`Booru`]) and how it is set up ([`BooruBuilder`]).
//!
//! Promises: the site runs in a thread with a runtime of its own, so blocking tests, async tests and child processes can
//! all use it; dropping it closes the port and every connection. One lock guards everything: what a test changes is seen
//! by the next request.

use std::{
    collections::VecDeque,
    net,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, runtime, sync::oneshot};

use super::{
    faults::{Delivery, Fault, Scripts, What},
    log::Request,
    pages,
    posts::Post,
    wire::{self, Answer},
    world::{Profile, Truth, World},
};

/// The span in which `burst` counts requests.
const BURST_SPAN: Duration = Duration::from_millis(100);

/// Sets up a site. Calls apply at once and in order, so posts must exist before something is said about them.
pub struct BooruBuilder(World);

impl BooruBuilder {
    pub fn profile(mut self, profile: Profile) -> Self {
        self.0.profile = profile;
        self
    }

    /// Invents so many posts, none of them deleted.
    pub fn posts(mut self, count: usize) -> Self {
        for _ in 0..count {
            self.0.add(|_| {});
        }
        self
    }

    /// Adds one invented post at the top, changed as wished.
    pub fn post(mut self, alter: impl FnOnce(&mut Post)) -> Self {
        self.0.add(alter);
        self
    }

    /// Changes a post that exists.
    pub fn alter(mut self, id: u64, change: impl FnOnce(&mut Post)) -> Self {
        self.0.edit(id, change);
        self
    }

    /// Shows every post, oldest first, to `change`; change numbers stay.
    pub fn each(mut self, change: impl FnMut(&mut Post)) -> Self {
        self.0.each(change);
        self
    }

    pub fn comments(mut self, post: u64, count: usize) -> Self {
        self.0.comment(post, count);
        self
    }

    /// Adds notes to a post; the last of two or more is a removed one.
    pub fn notes(mut self, post: u64, count: usize) -> Self {
        self.0.note(post, count);
        self
    }

    pub fn pool(mut self, id: u64, name: &str, posts: &[u64]) -> Self {
        self.0.pool(id, name, posts);
        self
    }

    /// Adds an artist with addresses elsewhere; `alias_of` names the artist whose other name this is.
    pub fn artist(mut self, name: &str, urls: &[&str], alias_of: Option<&str>) -> Self {
        self.0.artist(name, urls, alias_of);
        self
    }

    /// Adds a wiki page, with the text of each of its versions, oldest first.
    pub fn wiki(mut self, title: &str, versions: &[&str]) -> Self {
        self.0.wiki(title, versions);
        self
    }

    /// Adds an account.
    pub fn user(mut self, name: &str) -> Self {
        self.0.user(name);
        self
    }

    /// Adds a topic to the forum, with so many replies.
    pub fn topic(mut self, title: &str, replies: usize) -> Self {
        self.0.topic(title, replies);
        self
    }

    /// Says who has a post among the favourites.
    pub fn favorites(mut self, post: u64, names: &[&str]) -> Self {
        self.0.favorites(post, names);
        self
    }

    /// Writes a note anew; notes are numbered from 1 in the order made.
    pub fn rewrite_note(mut self, id: u64, body: &str) -> Self {
        self.0.rewrite_note(id, body);
        self
    }

    /// Sets a tag's type: 0 general, 1 artist, 3 copyright, 4 character, 5 circle, 6 faults.
    pub fn tag_type(mut self, tag: &str, kind: u8) -> Self {
        self.0.tag_types.insert(tag.to_owned(), kind);
        self
    }

    /// Answers every request with 503 once more than so many came within 100 ms.
    pub fn burst(mut self, most: usize) -> Self {
        self.0.burst = Some(most);
        self
    }

    /// Sets the salt; else it is the one of the profile's site.
    pub fn salt(mut self, salt: &str) -> Self {
        self.0.salt = Some(salt.to_owned());
        self
    }

    /// Sets the one account; else it is `reader` with `your-password`.
    pub fn account(mut self, name: &str, password: &str) -> Self {
        self.0.account = (name.to_owned(), password.to_owned());
        self
    }

    /// Refuses pages (not pictures) to whoever is not logged in.
    pub fn require_login(mut self, required: bool) -> Self {
        self.0.require_login = required;
        self
    }

    /// Refuses everything to clients that do not call themselves `Mozilla`.
    pub fn browsers_only(mut self, only: bool) -> Self {
        self.0.browsers_only = only;
        self
    }

    pub fn ids(&self) -> Vec<u64> {
        self.0.posts.iter().map(|post| post.id).collect()
    }

    pub fn start(mut self) -> Booru {
        let socket = net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("a fresh socket");
        let host = socket.local_addr().expect("a bound socket").to_string();
        self.0.base = format!("http://{host}");
        let shared = Arc::new(Shared(Mutex::new(State {
            world: self.0,
            scripts: Scripts::default(),
            log: Vec::new(),
            arrivals: VecDeque::new(),
            cleared: 0,
        })));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::from_std(socket).expect("a good socket");
                tokio::select! {
                    () = wire::serve(listener, served) => {}
                    _ = stopped => {}
                }
            });
        });
        Booru {
            host,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

/// A running site; it stops when dropped.
pub struct Booru {
    host: String,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Booru {
    pub fn builder() -> BooruBuilder {
        BooruBuilder(World::new())
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Returns `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.host.clone()
    }

    /// Returns every request so far in order of arrival.
    pub fn log(&self) -> Vec<Request> {
        self.shared.lock().log.clone()
    }

    /// Returns the requests that were not for pictures.
    pub fn pages(&self) -> Vec<Request> {
        let is_page = |request: &Request| !request.is_file();
        self.log().into_iter().filter(is_page).collect()
    }

    /// Returns how many requests there were for pictures.
    pub fn files_asked(&self) -> usize {
        let state = self.shared.lock();
        state.log.iter().filter(|request| request.is_file()).count()
    }

    /// Returns the requests for pictures.
    pub fn files(&self) -> Vec<Request> {
        self.log().into_iter().filter(Request::is_file).collect()
    }

    pub fn clear_log(&self) {
        let mut state = self.shared.lock();
        state.cleared += state.log.len();
        state.log.clear();
    }

    /// Returns what a perfect archive would hold, oldest post first.
    pub fn truth(&self) -> Vec<Truth> {
        self.shared.lock().world.truth()
    }

    /// Returns the ids of all posts, oldest first, deleted ones included.
    pub fn ids(&self) -> Vec<u64> {
        let state = self.shared.lock();
        state.world.posts.iter().map(|post| post.id).collect()
    }

    /// Changes a post; new tags, rating, status, source, parent or picture bump its change number.
    pub fn edit(&self, id: u64, change: impl FnOnce(&mut Post)) {
        self.shared.lock().world.edit(id, change);
    }

    /// Adds a post at the top and returns its id.
    pub fn add(&self, alter: impl FnOnce(&mut Post)) -> u64 {
        self.shared.lock().world.add(alter)
    }

    /// Adds comments to a post.
    pub fn comment(&self, post: u64, count: usize) {
        self.shared.lock().world.comment(post, count);
    }

    /// Adds a topic to the forum, with so many replies.
    pub fn topic(&self, title: &str, replies: usize) {
        self.shared.lock().world.topic(title, replies);
    }

    /// Adds a pool, or replaces the one with this id.
    pub fn pool(&self, id: u64, name: &str, posts: &[u64]) {
        self.shared.lock().world.pool(id, name, posts);
    }

    /// Lets every ETag end so, and be a weak one.
    pub fn etags(&self, end: &str, weak: bool) {
        let mut state = self.shared.lock();
        end.clone_into(&mut state.world.etag_end);
        state.world.weak_etags = weak;
    }

    /// Lets the next matching requests meet these faults in turn.
    pub fn script(&self, what: What, faults: Vec<Fault>) {
        self.shared.lock().scripts.add(what, faults);
    }
}

impl Drop for Booru {
    fn drop(&mut self) {
        // Either side may be gone already when the test panicked.
        self.stop.take().map(|stop| stop.send(()).ok());
        self.thread.take().map(|thread| thread.join().ok());
    }
}

/// What the tests and the serving thread share.
pub(super) struct Shared(Mutex<State>);

struct State {
    world: World,
    scripts: Scripts,
    log: Vec<Request>,
    arrivals: VecDeque<Instant>,
    /// How many requests were cleared from the log.
    cleared: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked inside `edit` has failed already: the site may go on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a request and decides its answer; the number is for [`Shared::finished`].
    pub(super) fn receive(&self, mut request: Request) -> (usize, Answer, Delivery) {
        let mut state = self.lock();
        let place = state.cleared + state.log.len();
        let (answer, delivery) = state.decide(&mut request, place as u64);
        request.status = if delivery == Delivery::Reset {
            0
        } else {
            answer.status
        };
        state.log.push(request);
        (place, answer, delivery)
    }

    pub(super) fn finished(&self, place: usize, at: Instant, sent: u64) {
        let mut state = self.lock();
        let place = place.checked_sub(state.cleared);
        if let Some(request) = place.and_then(|place| state.log.get_mut(place)) {
            request.ended = Some(at);
            request.sent = sent;
        }
    }
}

impl State {
    fn decide(&mut self, request: &mut Request, draw: u64) -> (Answer, Delivery) {
        if self.world.browsers_only {
            let agent = request.header("user-agent").unwrap_or_default();
            if !agent.contains("Mozilla") {
                let text =
                    "<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head></html>\n";
                return (Answer::html(403, text), Delivery::Whole);
            }
        }
        if self.is_burst(request.at) {
            let text = "<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>\n";
            return (Answer::html(503, text), Delivery::Whole);
        }
        let md5 = request.md5().unwrap_or_default();
        let owner = self.world.posts.iter().find(|post| post.md5 == md5);
        let owner = owner.map(|post| post.id);
        let Some(fault) = self.scripts.next_for(request, owner) else {
            return (pages::answer(&self.world, request, draw), Delivery::Whole);
        };
        request.fault = Some(fault.name());
        let mut asked = request.clone();
        if fault.forgets_the_range() {
            asked.headers.retain(|(key, _)| key != "range");
        }
        if fault.forgets_the_cursor() {
            asked.query.retain(|(key, _)| key != "page");
            for (_, value) in asked.query.iter_mut().filter(|(key, _)| key == "tags") {
                let terms = value.split_whitespace();
                let terms =
                    terms.filter(|term| !term.starts_with("id:") && !term.starts_with("change:"));
                *value = terms.collect::<Vec<_>>().join(" ");
            }
        }
        fault.spoil(pages::answer(&self.world, &asked, draw))
    }

    fn is_burst(&mut self, now: Instant) -> bool {
        let Some(most) = self.world.burst else {
            return false;
        };
        self.arrivals.push_back(now);
        self.arrivals
            .retain(|at| now.duration_since(*at) < BURST_SPAN);
        self.arrivals.len() > most
    }
}
