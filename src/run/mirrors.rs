//! Addresses that serve the same site: the next one is asked while one cannot be reached.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use url::Url;

use crate::{
    class::Class,
    config::Site,
    http::{Accept, Error, Http, Outgoing, Reply},
};

/// Which address of each site answered last; 0 is its `url`.
#[derive(Debug, Default)]
pub struct Mirrors(Mutex<BTreeMap<String, usize>>);

impl Mirrors {
    /// Reads a page of `site` from its address, or else from one that serves the same. Secrets go to its own alone.
    ///
    /// # Errors
    /// That of the last address, when none can be reached.
    pub async fn page(&self, http: &Http, site: &Site, out: &Outgoing) -> Result<Reply, Error> {
        if site.mirrors.is_empty() {
            return http.page(out, Accept::Json).await;
        }
        let all = 1 + site.mirrors.len();
        let first = self.last(&site.name);
        let mut tried = 0;
        loop {
            let at = (first + tried) % all;
            tried += 1;
            let result = match at.checked_sub(1).map(|n| &site.mirrors[n]) {
                None => http.page(out, Accept::Json).await,
                Some(mirror) => {
                    let out = Outgoing {
                        secret_query: Vec::new(),
                        secret_headers: Vec::new(),
                        cookies: Vec::new(),
                        url: moved(&out.url, &site.url, mirror),
                        ..out.clone()
                    };
                    http.page(&out, Accept::Json).await
                }
            };
            match result {
                Err(error) if is_away(error.class) && tried < all => {
                    tracing::info!(site = %site.name, class = %error.class, "Asking the next address: {error}");
                }
                result => {
                    if result.is_ok() && at != first {
                        self.remember(&site.name, at);
                    }
                    return result;
                }
            }
        }
    }

    fn last(&self, site: &str) -> usize {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(site).copied().unwrap_or(0)
    }

    fn remember(&self, site: &str, at: usize) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(site.to_owned(), at);
    }
}

/// Whether an error says that the host cannot be reached, rather than what it thinks of the request.
fn is_away(class: Class) -> bool {
    matches!(
        class,
        Class::Connect | Class::Dns | Class::Tls | Class::Timeout
    )
}

/// `url`, which is below `from`, at the same place below `to`.
fn moved(url: &Url, from: &Url, to: &Url) -> Url {
    let below = url
        .as_str()
        .strip_prefix(from.as_str().trim_end_matches('/'))
        .unwrap_or_default();
    let moved = format!("{}{below}", to.as_str().trim_end_matches('/'));
    Url::parse(&moved).unwrap_or_else(|_| url.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_at_the_same_place_of_each_address() {
        let url = |text: &str| Url::parse(text).expect("a url");
        let moved =
            |text: &str, to: &str| moved(&url(text), &url("https://a.example/api/x"), &url(to));
        assert_eq!(
            moved(
                "https://a.example/api/x/daily/tag/b%20c?p=1",
                "https://b.example/other/"
            )
            .as_str(),
            "https://b.example/other/daily/tag/b%20c?p=1"
        );
        assert_eq!(
            moved("https://a.example/api/x/", "https://b.example").as_str(),
            "https://b.example/"
        );
    }
}
