//! `[[notify]]`: a program or an address is told what happened.
//!
//! Programs are run without a shell and without larder's environment, where secrets are. What they are told stands in
//! `LARDER_…` variables, and as JSON on their standard input. Addresses are asked by the rules that sites are asked by.

use std::{process::Stdio, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command, sync::Semaphore};
use tokio_util::task::TaskTracker;
use url::Url;

use crate::{
    config::{Event, Notice, Way},
    http::{Accept, Http, Method, Outgoing, Payload},
    text::one_line,
};

/// The longest that somebody may take to be told.
const LONGEST: Duration = Duration::from_secs(30);
/// Notices under way at once; the others wait.
const AT_ONCE: usize = 4;
/// Of more than this many nobody wants to hear.
const MOST: usize = 256;
/// What programs keep of larder's environment: nothing that holds a secret.
const KEPT: [&str; 9] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TZ",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// Something to tell.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    /// What kind it is of.
    pub(super) event: Event,
    /// In one sentence.
    pub(super) message: String,
    /// More of it, by name: texts and numbers.
    pub(super) facts: Vec<(&'static str, Value)>,
}

impl Fact {
    fn to_json(&self) -> Value {
        let mut json = serde_json::Map::new();
        json.insert("event".to_owned(), self.event.word().into());
        json.insert("message".to_owned(), one_line(&self.message).into());
        json.extend(
            self.facts
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        Value::Object(json)
    }

    fn variables(&self) -> Vec<(String, String)> {
        let Value::Object(json) = self.to_json() else {
            return Vec::new();
        };
        let variable = |(name, value): (String, Value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            // No variable can hold a NUL.
            (
                format!("LARDER_{}", name.to_uppercase()),
                text.replace('\0', ""),
            )
        };
        json.into_iter().map(variable).collect()
    }
}

/// Tells people, beside the work.
#[derive(Debug)]
pub(super) struct Notices {
    tracker: TaskTracker,
    turns: Arc<Semaphore>,
}

impl Notices {
    pub(super) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Tells everybody who wants to hear of it.
    pub(super) fn tell(&self, notices: &[Notice], http: &Http, fact: &Fact) {
        for notice in notices
            .iter()
            .filter(|notice| notice.on.contains(&fact.event))
        {
            if self.tracker.len() >= MOST {
                tracing::warn!("Too many notices are under way; one is dropped");
                continue;
            }
            let (way, http, fact) = (notice.way.clone(), http.clone(), fact.clone());
            let turns = self.turns.clone();
            self.tracker.spawn(async move {
                let _turn = turns.acquire().await;
                let told = tokio::time::timeout(LONGEST, tell(&way, &http, &fact)).await;
                let why = match told {
                    Ok(Ok(())) => return,
                    Ok(Err(why)) => why,
                    Err(_) => format!("it took longer than {} s", LONGEST.as_secs()),
                };
                tracing::error!(
                    event = fact.event.word(),
                    "Could not tell {way:?}: {}",
                    one_line(&why)
                );
            });
        }
    }

    /// Waits for a moment for what is under way.
    pub(super) async fn end(&self) {
        self.tracker.close();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.tracker.wait()).await;
    }
}

async fn tell(way: &Way, http: &Http, fact: &Fact) -> Result<(), String> {
    match way {
        Way::Command(argv) => command(argv, fact).await,
        Way::Webhook(url) => webhook(url, http, fact).await,
    }
}

async fn command(argv: &[String], fact: &Fact) -> Result<(), String> {
    let [program, arguments @ ..] = argv else {
        return Err("no program is named".to_owned());
    };
    let kept = KEPT
        .iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(kept)
        .envs(fact.variables())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // When its time is over.
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("could not start it: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Who does not read it has said enough with that.
        let _ = stdin
            .write_all(format!("{}\n", fact.to_json()).as_bytes())
            .await;
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("it ended with {status}"))
    }
}

async fn webhook(url: &Url, http: &Http, fact: &Fact) -> Result<(), String> {
    let out = Outgoing {
        method: Method::Post,
        body: Some(Payload::Json(fact.to_json().to_string())),
        ..Outgoing::get(url.clone())
    };
    // Such an address is a secret: of an error, only its kind is told.
    match http.page(&out, Accept::Any).await {
        Ok(reply) if reply.status < 300 => Ok(()),
        Ok(reply) => Err(format!("it answered {}", reply.status)),
        Err(error) => Err(format!("it cannot be asked ({})", error.class)),
    }
}
