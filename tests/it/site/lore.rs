//! What people write and do besides pictures: artists, wiki pages, versions of notes, users, the forum, favourites.
//!
//! Promises: recorded shapes, page sizes and orders, and what the engine does not serve as JSON is not served: a wiki
//! page by itself, a search for notes without words. Lists of users are one text with commas.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    extras::listing,
    log::Request,
    pages::{page, refuse},
    query::{Refusal, leading_number, number},
    render::{iso, note},
    wire::Answer,
    world::{Note, Profile, World},
};

/// The one account and its number.
const UPLOADER: (&str, u64) = ("uploader", 1);

pub(super) struct Lore {
    artists: Vec<Artist>,
    wikis: Vec<Vec<Version>>,
    pub(super) note_versions: Vec<NoteVersion>,
    /// By number, from 1.
    users: Vec<String>,
    forum: Vec<ForumPost>,
    favorites: BTreeMap<u64, Vec<String>>,
}

struct Artist {
    id: u64,
    name: String,
    urls: Vec<String>,
    alias_id: Option<u64>,
    updated_at: i64,
}

/// One version of a wiki page; the last is the page.
struct Version {
    id: u64,
    title: String,
    body: String,
    version: usize,
    created_at: i64,
    updated_at: i64,
}

pub(super) struct NoteVersion {
    note: u64,
    as_printed: Value,
}

impl NoteVersion {
    /// A note as it is now. Versions print neither their own number nor that of the note.
    pub(super) fn of(now: &Note) -> Self {
        let mut as_printed = note(now);
        as_printed
            .as_object_mut()
            .expect("a note is an object")
            .shift_remove("id");
        Self {
            note: now.id,
            as_printed,
        }
    }
}

struct ForumPost {
    id: u64,
    parent_id: Option<u64>,
    title: String,
    body: String,
    updated_at: i64,
    replies: u64,
}

impl Lore {
    pub(super) fn new() -> Self {
        Self {
            artists: Vec::new(),
            wikis: Vec::new(),
            note_versions: Vec::new(),
            users: vec![UPLOADER.0.to_owned()],
            forum: Vec::new(),
            favorites: BTreeMap::new(),
        }
    }
}

impl World {
    pub(super) fn artist(&mut self, name: &str, urls: &[&str], alias_of: Option<&str>) {
        let updated_at = self.tick();
        let artists = &mut self.lore.artists;
        let alias_id = alias_of.map(|other| {
            let other = artists.iter().find(|artist| artist.name == other);
            other.expect("the artist was added before").id
        });
        artists.push(Artist {
            id: artists.len() as u64 + 1,
            name: name.to_owned(),
            urls: urls.iter().map(ToString::to_string).collect(),
            alias_id,
            updated_at,
        });
    }

    pub(super) fn wiki(&mut self, title: &str, bodies: &[&str]) {
        let id = self.lore.wikis.len() as u64 + 1;
        let created_at = self.tick();
        let mut versions = Vec::new();
        for (nth, body) in bodies.iter().enumerate() {
            versions.push(Version {
                id,
                title: title.to_lowercase().replace(' ', "_"),
                body: (*body).to_owned(),
                version: nth + 1,
                created_at,
                updated_at: self.tick(),
            });
        }
        self.lore.wikis.push(versions);
    }

    pub(super) fn user(&mut self, name: &str) {
        self.lore.users.push(name.to_owned());
    }

    pub(super) fn topic(&mut self, title: &str, replies: usize) {
        let parent = self.lore.forum.len() as u64 + 1;
        for nth in 0..=replies {
            let updated_at = self.tick();
            let forum = &mut self.lore.forum;
            forum.push(ForumPost {
                id: forum.len() as u64 + 1,
                parent_id: (nth > 0).then_some(parent),
                title: if nth == 0 {
                    title.to_owned()
                } else {
                    String::new()
                },
                body: format!("Word {nth} about {title}."),
                updated_at,
                replies: 0,
            });
        }
        let now = self.now();
        let topic = &mut self.lore.forum[usize::try_from(parent).expect("few posts") - 1];
        (topic.replies, topic.updated_at) = (replies as u64, now);
    }

    pub(super) fn favorites(&mut self, post: u64, names: &[&str]) {
        let names = names.iter().map(ToString::to_string).collect();
        self.lore.favorites.insert(post, names);
    }
}

/// Whether these addresses are answered here.
pub(super) fn knows(parts: &[&str]) -> bool {
    matches!(
        parts,
        ["artist" | "wiki" | "user" | "forum"]
            | ["wiki", "show" | "history", ..]
            | ["note", "search" | "history", ..]
            | ["favorite", "list_users"]
    )
}

pub(super) fn answer(world: &World, request: &Request, parts: &[&str]) -> Answer {
    let answer = match parts {
        ["artist"] => Ok(artists(world, request)),
        ["wiki"] => Ok(wiki(world, request)),
        ["wiki", "history", ..] => wiki_history(world, request),
        ["note", "search"] => Ok(note_search(world, request)),
        ["note", "history", ..] => note_history(world, request, parts.get(2).copied()),
        ["user"] => users(world, request),
        ["forum"] => forum(world, request),
        ["favorite", ..] => favorites(world, request),
        // `/wiki/show` is a page for people only.
        _ => Ok(Answer::empty(406, "text/html")),
    };
    answer.unwrap_or_else(|refusal| refuse(world, refusal))
}

/// Whether every word is in the text, as a search for words has it.
fn holds(text: &str, words: &str) -> bool {
    let text = text.to_lowercase();
    let known: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
    let words = words.to_lowercase();
    words.split_whitespace().all(|word| known.contains(&word))
}

fn artists(world: &World, request: &Request) -> Answer {
    let (name, url) = (request.param("name"), request.param("url"));
    let mut found: Vec<&Artist> = world.lore.artists.iter().collect();
    // With a name the address is not looked at.
    match (name, url) {
        (Some(start), _) => found.retain(|artist| artist.name.starts_with(&start.to_lowercase())),
        (None, Some(url)) => {
            found.retain(|artist| artist.urls.iter().any(|own| own.starts_with(url)));
        }
        (None, None) => {}
    }
    match request.param("order") {
        Some("date") => found.sort_by_key(|artist| std::cmp::Reverse(artist.updated_at)),
        _ => found.sort_by_key(|artist| &artist.name),
    }
    let size = if name.or(url).is_some() { 50 } else { 25 };
    listing(&found, page(request), size, |artist| {
        json!({
            "id": artist.id,
            "name": artist.name,
            "alias_id": artist.alias_id,
            "group_id": null,
            "urls": artist.urls,
        })
    })
}

fn print_wiki(version: &Version) -> Value {
    json!({
        "id": version.id,
        "created_at": iso(version.created_at),
        "updated_at": iso(version.updated_at),
        "title": version.title,
        "body": version.body,
        "updater_id": 1,
        "locked": false,
        "version": version.version,
    })
}

fn wiki(world: &World, request: &Request) -> Answer {
    let pages = world
        .lore
        .wikis
        .iter()
        .filter_map(|versions| versions.last());
    let mut found: Vec<&Version> = pages.collect();
    let query = request.param("query").unwrap_or_default();
    match query.strip_prefix("title:") {
        Some(part) => found.retain(|page| page.title.contains(&part.to_lowercase())),
        None => found.retain(|page| query.is_empty() || holds(&page.body, query)),
    }
    match request.param("order") {
        Some("date") => found.sort_by_key(|page| std::cmp::Reverse(page.updated_at)),
        _ => found.sort_by_key(|page| &page.title),
    }
    let limit = request.param("limit").map_or(25, leading_number).max(1);
    let limit = usize::try_from(limit).expect("a few pages");
    listing(&found, page(request), limit, |page| print_wiki(page))
}

/// All versions in one reply, newest first. Those of the old build do not say which page they are of.
fn wiki_history(world: &World, request: &Request) -> Result<Answer, Refusal> {
    let title = request
        .param("title")
        .map(|title| title.to_lowercase().replace(' ', "_"));
    let id = request
        .param("id")
        .map(number)
        .transpose()?
        .map(i64::unsigned_abs);
    let is_it = |versions: &&Vec<Version>| {
        versions.last().is_some_and(|page| match &title {
            Some(title) => page.title == *title,
            None => Some(page.id) == id,
        })
    };
    let versions = world.lore.wikis.iter().find(is_it);
    let print = |version: &Version| match world.profile {
        Profile::New => print_wiki(version),
        Profile::Old => json!({
            "created_at": iso(version.updated_at),
            "updated_at": iso(version.updated_at),
            "version": version.version,
            "body": version.body,
            "user_id": 1,
            "is_locked": false,
        }),
    };
    let versions = versions.map(|versions| versions.iter().rev().map(print).collect());
    Ok(Answer::json(200, &versions.unwrap_or_else(|| json!([]))))
}

fn note_search(world: &World, request: &Request) -> Answer {
    let Some(words) = request.param("query") else {
        return Answer::empty(406, "text/html");
    };
    let notes = world.notes.iter().filter(|note| holds(&note.body, words));
    let notes: Vec<&Note> = notes.collect();
    listing(&notes, page(request), 25, |found| note(found))
}

/// One of note, post and user is looked at, in this order. What `limit` says is not.
fn note_history(world: &World, request: &Request, path: Option<&str>) -> Result<Answer, Refusal> {
    let asked = |name: &str| request.param(name).map(number).transpose();
    let id = path.map(number).transpose()?.or(asked("id")?);
    let (post, user) = (asked("post_id")?, asked("user_id")?);
    let size = if id.is_none() && post.or(user).is_some() {
        50
    } else {
        25
    };
    let mut found: Vec<&NoteVersion> = world.lore.note_versions.iter().rev().collect();
    if let Some(id) = id {
        found.retain(|version| version.note == id.unsigned_abs());
    } else if let Some(post) = post {
        found.retain(|version| version.as_printed["post_id"] == post);
    } else if let Some(user) = user {
        found.retain(|version| version.as_printed["creator_id"] == user);
    }
    Ok(listing(&found, page(request), size, |version| {
        version.as_printed.clone()
    }))
}

fn users(world: &World, request: &Request) -> Result<Answer, Refusal> {
    let id = request.param("id").map(number).transpose()?;
    let name = request
        .param("name")
        .map(|name| name.to_lowercase().replace(' ', "_"));
    let users = (1_i64..).zip(&world.lore.users).filter(|(own, user)| {
        id.is_none_or(|id| id == *own)
            && name
                .as_ref()
                .is_none_or(|name| user.to_lowercase().contains(name))
    });
    let mut users: Vec<_> = users.collect();
    match request.param("order") {
        Some("name") => users.sort_by_key(|(_, name)| name.to_lowercase()),
        _ => users.reverse(),
    }
    let print = |(id, name): &(i64, &String)| json!({"name": name, "id": id});
    Ok(listing(&users, page(request), 20, print))
}

/// Topics, or the replies to one: last changed first.
fn forum(world: &World, request: &Request) -> Result<Answer, Refusal> {
    let parent = request.param("parent_id").map(number).transpose()?;
    let parent = parent.map(i64::unsigned_abs);
    let posts = world
        .lore
        .forum
        .iter()
        .filter(|post| post.parent_id == parent);
    let mut posts: Vec<&ForumPost> = posts.collect();
    posts.sort_by_key(|post| std::cmp::Reverse(post.updated_at));
    let size = if parent.is_some() { 100 } else { 30 };
    Ok(listing(&posts, page(request), size, |post| {
        json!({
            "body": post.body,
            "creator": UPLOADER.0,
            "creator_id": UPLOADER.1,
            "id": post.id,
            "parent_id": post.parent_id,
            "title": post.title,
            "updated_at": iso(post.updated_at),
            "pages": post.replies.max(1).div_ceil(30),
        })
    }))
}

fn favorites(world: &World, request: &Request) -> Result<Answer, Refusal> {
    let id = number(request.param("id").unwrap_or_default())?.unsigned_abs();
    if world.find(id).is_none() {
        return Ok(Answer::empty(404, "application/json"));
    }
    let names = world
        .lore
        .favorites
        .get(&id)
        .map_or(String::new(), |names| names.join(","));
    Ok(Answer::json(200, &json!({"favorited_users": names})))
}
