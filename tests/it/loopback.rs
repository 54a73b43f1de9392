//! A site of two hosts on loopback: one for its pages, one for its media.

use axum::Router;
use tokio::{net::TcpListener, runtime::Runtime};

/// Two ports that are listened on, before anybody answers there.
pub(super) struct Loopback {
    runtime: Runtime,
    listeners: [TcpListener; 2],
    /// `http://host:port` of each.
    pub(super) urls: [String; 2],
}

impl Loopback {
    pub(super) fn bind() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listen = || {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
            listener.expect("a port")
        };
        let listeners = [listen(), listen()];
        let url =
            |listener: &TcpListener| format!("http://{}", listener.local_addr().expect("bound"));
        let urls = listeners.each_ref().map(url);
        Self {
            runtime,
            listeners,
            urls,
        }
    }

    /// Answers until what is returned is dropped; `router` makes the answers of pages (`false`) and of media (`true`).
    pub(super) fn serve(self, router: impl Fn(bool) -> Router) -> Runtime {
        for (listener, media) in self.listeners.into_iter().zip([false, true]) {
            let router = router(media);
            self.runtime
                .spawn(async move { axum::serve(listener, router).await });
        }
        self.runtime
    }
}
