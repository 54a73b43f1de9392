//! The sample site of `larder demo`: a small Moebooru in this process, on a loopback port.
//!
//! Owns the server's life; `catalogue` holds 320 invented posts with painted pictures. It promises the same posts and
//! the same bytes on every machine and at every start; only the port in the URLs differs. Among the posts are the cases
//! an archiver has to get right: 24 repeat an earlier post's bytes, one is deleted, and the file of one is gone. Posts
//! and replies have the shape recorded from the real engine; `query` says which searches are served, `site` which
//! addresses. Nothing here knows the rest of larder: the demo reaches it through HTTP only.

mod catalogue;
mod dice;
mod object;
mod picture;
mod query;
mod site;
mod talk;

use std::{
    future::IntoFuture,
    io,
    net::Ipv4Addr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::serve::ListenerExt;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use catalogue::Catalogue;

/// How long [`SampleSite::stop`] waits for replies under way.
const GRACE: Duration = Duration::from_secs(2);

/// A running sample site; dropping it stops it too, without waiting.
pub struct SampleSite {
    url: Url,
    shared: Arc<site::Shared>,
    server: JoinHandle<()>,
    stop: DropGuard,
}

impl SampleSite {
    /// Starts the sample site on 127.0.0.1, on a port that the system chooses; fails if there is none to listen on.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = Url::parse(&format!("http://{}", listener.local_addr()?))
            .expect("an address and a port make a URL");
        let catalogue = tokio::task::spawn_blocking(Catalogue::get)
            .await
            .map_err(io::Error::other)?;
        let shared = Arc::new(site::Shared::new(catalogue, &url));
        let stop = CancellationToken::new();
        let listener = listener.tap_io(|stream| {
            // Only speed is lost if the system refuses.
            let _ = stream.set_nodelay(true);
        });
        let serve = axum::serve(listener, site::router(Arc::clone(&shared)))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        // axum's server retries failed accepts itself and never returns an error.
        let server = tokio::spawn(async move {
            let _ = serve.into_future().await;
        });
        Ok(Self {
            url,
            shared,
            server,
            stop: stop.drop_guard(),
        })
    }

    /// The site's root, `http://127.0.0.1:PORT/`.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Address and port, `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        self.url.authority().to_owned()
    }

    /// Replies sent so far: listing pages, and files. Refusals (404) are in neither.
    pub fn requests(&self) -> (u64, u64) {
        (
            self.shared.pages.load(Ordering::Relaxed),
            self.shared.files.load(Ordering::Relaxed),
        )
    }

    /// Stops listening and lets replies under way end, for two seconds at most.
    pub async fn stop(self) {
        let Self {
            mut server, stop, ..
        } = self;
        drop(stop);
        if tokio::time::timeout(GRACE, &mut server).await.is_err() {
            server.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5};
    use serde_json::Value;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::{
        catalogue::{DELETED_ID, MISSING_ID},
        *,
    };

    /// Status, head and body of one GET.
    async fn get(site: &SampleSite, path: &str) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(site.authority()).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            site.authority()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        let end = reply
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(reply[..end].to_vec())
            .unwrap()
            .to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, reply[end + 4..].to_vec())
    }

    async fn json(site: &SampleSite, path: &str) -> Value {
        let (status, head, body) = get(site, path).await;
        assert_eq!(status, 200, "{path}");
        assert!(
            head.contains("content-type: application/json; charset=utf-8"),
            "{head}"
        );
        serde_json::from_slice(&body).unwrap()
    }

    fn ids(list: &Value) -> Vec<u64> {
        list.as_array()
            .unwrap()
            .iter()
            .map(|post| post["id"].as_u64().unwrap())
            .collect()
    }

    /// Path of a URL of the site.
    fn path(url: &Value) -> String {
        let url = url.as_str().unwrap();
        url[url.match_indices('/').nth(2).unwrap().0..].to_owned()
    }

    #[tokio::test]
    async fn keyset_walk_collects_every_post() {
        let site = SampleSite::start().await.unwrap();
        let (mut last, mut seen) = (9999, Vec::new());
        loop {
            let page = ids(&json(&site, &format!("/post.json?limit=100&tags=id:%3C{last}")).await);
            let Some(&lowest) = page.last() else { break };
            last = lowest;
            seen.extend(page);
        }
        assert!(seen.is_sorted_by(|a, b| a > b), "newest first");
        assert_eq!(seen.len(), 320);
        assert_eq!(site.requests(), (5, 0));
        site.stop().await;
    }

    #[tokio::test]
    async fn page_walk_hides_the_deleted_post() {
        let site = SampleSite::start().await.unwrap();
        let mut seen = Vec::new();
        for page in 1..=9 {
            seen.extend(ids(&json(&site, &format!("/post.json?page={page}")).await));
        }
        assert_eq!(seen.len(), 319);
        assert!(!seen.contains(&DELETED_ID));
        assert_eq!(get(&site, "/post.json?page=9").await.2, b"[]");
        assert_eq!(
            ids(&json(&site, "/post.json?limit=5000&tags=deleted:all").await).len(),
            320
        );
        let deleted = &json(&site, &format!("/post.json?tags=id:{DELETED_ID}")).await[0];
        assert_eq!(deleted["status"], "deleted");
        assert!(deleted.get("file_url").is_none() && deleted.get("jpeg_url").is_none());
        assert_eq!(
            deleted.as_object().unwrap().keys().nth(13).unwrap(),
            "is_shown_in_index",
            "order is kept"
        );
        let rivers = json(&site, "/post.json?limit=3&tags=river+id:%3E1010+order:id").await;
        assert!(ids(&rivers).is_sorted() && ids(&rivers)[0] > 1010);
        assert!(
            rivers
                .as_array()
                .unwrap()
                .iter()
                .all(|post| post["tags"].as_str().unwrap().contains("river"))
        );
        site.stop().await;
    }

    #[tokio::test]
    async fn files_are_served_by_hash() {
        let site = SampleSite::start().await.unwrap();
        let post = &json(&site, "/post.json?limit=1").await[0];
        let (status, head, body) = get(&site, &path(&post["file_url"])).await;
        let md5 = post["md5"].as_str().unwrap();
        assert_eq!(status, 200);
        assert!(
            head.contains("content-type: image/png") && head.contains(&format!("etag: \"{md5}\"")),
            "{head}"
        );
        assert_eq!(hex::encode(Md5::digest(&body)), md5);
        let missing = &json(&site, &format!("/post.json?tags=id:{MISSING_ID}")).await[0];
        let (status, _, body) = get(&site, &path(&missing["file_url"])).await;
        assert_eq!((status, body.len()), (404, 0));
        let (status, _, body) = get(&site, "/nothing.json").await;
        assert_eq!((status, body.len()), (404, 0));
        assert_eq!(site.requests(), (2, 1));
        site.stop().await;
    }

    #[tokio::test]
    async fn comments_notes_and_pools_are_listed() {
        let site = SampleSite::start().await.unwrap();
        assert_eq!(
            json(&site, "/comment.json?post_id=1058")
                .await
                .as_array()
                .unwrap()
                .len(),
            3
        );
        assert_eq!(get(&site, "/comment.json?post_id=1059").await.2, b"[]");
        let notes = json(&site, "/note.json?post_id=1121").await;
        assert_eq!(notes[0]["is_active"], false, "newest first");
        assert!(notes[1]["created_at"].as_str().unwrap().ends_with(".000Z"));
        assert_eq!(json(&site, "/pool.json").await.as_array().unwrap().len(), 2);
        assert_eq!(get(&site, "/pool.json?page=2").await.2, b"[]");
        let v2 = json(
            &site,
            "/post.json?tags=id:1121&api_version=2&include_pools=1",
        )
        .await;
        assert_eq!(
            v2.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["posts", "pool_posts", "pools"]
        );
        assert_eq!(v2["pool_posts"].as_array().unwrap().len(), 2);
        assert_eq!(v2["pools"].as_array().unwrap().len(), 2);
        site.stop().await;
    }
}
