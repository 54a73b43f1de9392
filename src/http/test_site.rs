//! A site for tests that is scripted byte by byte, and the ways to ask it.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::config::Network;

/// What a server does with a request.
pub(super) enum Answer {
    /// These bytes, then the end.
    Close(Vec<u8>),
    /// These bytes, then silence.
    Hold(Vec<u8>),
    /// A byte each 10 ms after these, for ever.
    Drip(Vec<u8>),
    /// These bytes, then a reset.
    Reset(Vec<u8>),
}

pub(super) struct Site {
    pub(super) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Site {
    pub(super) async fn new(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    // A TLS handshake (22) is not waited for.
                    while !head.ends_with(b"\r\n\r\n") && head.first() != Some(&22) {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => break,
                        }
                    }
                    let length = String::from_utf8_lossy(&head).to_lowercase();
                    let length = length
                        .split_once("content-length: ")
                        .and_then(|(_, rest)| rest.lines().next()?.parse().ok());
                    let mut form = vec![0; length.unwrap_or(0)];
                    let _ = stream.read_exact(&mut form).await;
                    head.extend(form);
                    let request = String::from_utf8_lossy(&head).into_owned();
                    log.lock().expect("no panic").push(request.clone());
                    match answer(&request) {
                        Answer::Close(bytes) => {
                            let _ = stream.write_all(&bytes).await;
                            let _ = stream.shutdown().await;
                        }
                        Answer::Hold(bytes) => {
                            let _ = stream.write_all(&bytes).await;
                            std::future::pending::<()>().await;
                        }
                        Answer::Drip(bytes) => {
                            let _ = stream.write_all(&bytes).await;
                            while stream.write_all(b"x").await.is_ok() {
                                tokio::time::sleep(Duration::from_millis(10)).await;
                            }
                        }
                        Answer::Reset(bytes) => {
                            let _ = stream.write_all(&bytes).await;
                            let _ = stream.flush().await;
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            let _ = stream.set_zero_linger();
                        }
                    }
                });
            }
        });
        Self { port, requests }
    }

    pub(super) async fn fixed(reply: impl Into<Vec<u8>>) -> Self {
        let reply = reply.into();
        Self::new(move |_| Answer::Close(reply.clone())).await
    }

    pub(super) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://127.0.0.1:{}{path}", self.port)).expect("a url")
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

pub(super) fn network(sites: &[&Site]) -> Network {
    Network {
        user_agent: "larder/test".into(),
        proxy: None,
        connect_timeout: Duration::from_secs(5),
        header_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(5),
        tries: 1,
        backoff: Duration::from_secs(1),
        max_file: 1 << 20,
        max_page: 1 << 16,
        allow: sites
            .iter()
            .map(|site| format!("127.0.0.1:{}", site.port))
            .collect(),
    }
}

pub(super) fn http(sites: &[&Site]) -> Http {
    Http::new(&network(sites)).expect("a client")
}

pub(super) fn any(_: &str, _: u16) -> bool {
    true
}

pub(super) async fn page(site: &Site) -> Result<Reply, Error> {
    http(&[site])
        .page(&Outgoing::get(site.url("/x?key=S3CRET")), Accept::Json)
        .await
}

pub(super) async fn file(http: &Http, url: Url) -> Result<(Download, Vec<u8>), Error> {
    let mut download = http
        .file(&Outgoing::get(url), &Known::default(), &any)
        .await?;
    let mut whole = Vec::new();
    while let Some(chunk) = download.chunk().await? {
        whole.extend_from_slice(&chunk);
    }
    Ok((download, whole))
}
