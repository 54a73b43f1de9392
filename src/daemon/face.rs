//! What the daemon answers on `[daemon] listen`: `/metrics` for Prometheus, `/status.json`, `/healthz`. It only tells.
//!
//! **Invariant:** a name that is not this computer's own is refused, so that no foreign page can read it by making its
//! own name lead here.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HOST},
    },
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::metrics::metrics;
use crate::{
    clock::Clock,
    config::{Config, Listen},
    status::Status,
    store::Reader,
};

/// The daemon's face, until it is dropped.
#[derive(Debug)]
pub(super) struct Face {
    listen: Listen,
    stop: CancellationToken,
    work: JoinHandle<()>,
}

#[derive(Clone)]
struct Known {
    config: watch::Receiver<Arc<Config>>,
    clock: Clock,
}

impl Face {
    /// Answers there from now on.
    ///
    /// # Errors
    /// When the place cannot be listened on, in words.
    pub(super) async fn open(
        listen: Listen,
        config: watch::Receiver<Arc<Config>>,
        clock: Clock,
    ) -> Result<Self, String> {
        let routes = Router::new()
            .route("/metrics", get(tell_metrics))
            .route("/status.json", get(tell_status))
            .route("/healthz", get(|| async { "ok\n" }))
            .with_state(Known { config, clock });
        let stop = CancellationToken::new();
        let end = stop.clone().cancelled_owned();
        let work = match &listen {
            Listen::Tcp(at) => {
                let listener = TcpListener::bind(at).await;
                let listener = listener.map_err(|error| format!("{at}: {error}"))?;
                let routes = routes.layer(from_fn(only_by_own_name));
                let serve = axum::serve(listener, routes).with_graceful_shutdown(end);
                tokio::spawn(async move { drop(serve.await) })
            }
            Listen::Unix(path) => {
                let words = |error: std::io::Error| format!("{}: {error}", path.display());
                // Left by a daemon that died: this one has the lock, so nobody answers there.
                if fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
                    fs::remove_file(path).map_err(words)?;
                }
                let listener = UnixListener::bind(path).map_err(words)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(words)?;
                let serve = axum::serve(listener, routes).with_graceful_shutdown(end);
                tokio::spawn(async move { drop(serve.await) })
            }
        };
        Ok(Self { listen, stop, work })
    }

    pub(super) fn listen(&self) -> &Listen {
        &self.listen
    }

    /// Answers no more.
    pub(super) async fn close(self) {
        self.stop.cancel();
        // A reader that never ends must not hold the daemon up.
        let abort = self.work.abort_handle();
        if tokio::time::timeout(std::time::Duration::from_secs(1), self.work)
            .await
            .is_err()
        {
            abort.abort();
        }
        if let Listen::Unix(path) = &self.listen {
            let _ = fs::remove_file(path);
        }
    }
}

async fn only_by_own_name(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(HOST).into_iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    if hosts.next().is_none() && host.is_some_and(is_own_name) {
        return next.run(request).await;
    }
    let words = "ask for it by its own name, such as 127.0.0.1 or localhost\n";
    (StatusCode::FORBIDDEN, words).into_response()
}

/// Whether a Host header names this computer from within.
fn is_own_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

async fn tell_status(State(known): State<Known>) -> Response {
    match read(known).await {
        Ok((status, _)) => Json(status.to_json()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

async fn tell_metrics(State(known): State<Known>) -> Response {
    match read(known).await {
        Ok((status, failed)) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(CONTENT_TYPE, kind)], metrics(&status, &failed)).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

/// (job, class, number) of failures.
pub(super) type Failed = Vec<(String, String, i64)>;

async fn read(known: Known) -> Result<(Status, Failed), String> {
    let config = known.config.borrow().clone();
    let read = move || {
        let status = Status::read(&config, None, &known.clock).map_err(|e| e.to_string())?;
        let reader = Reader::open(&config.archive.state).map_err(|e| e.to_string())?;
        let failed = reader.map(|reader| reader.failed_by_class()).transpose();
        Ok((
            status,
            failed.map_err(|e| e.to_string())?.unwrap_or_default(),
        ))
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|e| e.to_string())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_94_only_names_of_this_computer_itself_are_its_own() {
        for own in [
            "localhost",
            "LOCALHOST:8787",
            "127.0.0.1:8787",
            "[::1]:80",
            "127.1.2.3",
        ] {
            assert!(is_own_name(own), "{own}");
        }
        for foreign in [
            "evil.example",
            "evil.example:8787",
            "localhost.evil.example",
            "192.168.1.2:80",
            "",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_own_name(foreign), "{foreign}");
        }
    }
}
