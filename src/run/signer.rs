//! Signatures of requests, and the keys for them: asked for when first needed, kept, and renewed when one is refused.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::Failure;
use crate::{
    class::Class,
    clock::Millis,
    config::Site,
    http::{Accept, Http, Outgoing, of_status},
    pace::{HostKey, Pace},
    walk::with_secrets,
};

/// The keys of sites, by name.
#[derive(Debug, Default)]
pub struct Signer(Mutex<BTreeMap<String, Arc<str>>>);

/// A request as it is sent.
#[derive(Debug)]
pub struct Signed {
    /// The request.
    pub out: Outgoing,
    /// What it was signed with, if it was.
    key: Option<Arc<str>>,
}

impl Signer {
    /// Signs `out`, if that is to be signed. The key is asked for in the host's turn where none is known.
    ///
    /// # Errors
    /// When the site does not hand out a key.
    pub async fn sign(
        &self,
        http: &Http,
        pace: &Pace,
        site: &Site,
        out: &Outgoing,
        now: Millis,
    ) -> Result<Signed, Failure> {
        let mut out = out.clone();
        let Some(sign) = out.sign.take() else {
            return Ok(Signed { out, key: None });
        };
        let known = self.keys().get(&site.name).cloned();
        let key = match known {
            Some(key) => key,
            None => {
                let given = ask(http, pace, site, now).await?;
                let key = sign.key(&given).ok_or_else(|| {
                    Failure::new(Class::Listing, "the site hands out a key of another form")
                })?;
                let key: Arc<str> = key.into();
                self.keys().insert(site.name.clone(), key.clone());
                key
            }
        };
        out.url = sign.sign(&out.url, &key, now);
        Ok(Signed {
            out,
            key: Some(key),
        })
    }

    /// Forgets the key with which a refused request was signed. Returns whether asking again may help.
    pub fn refused(&self, site: &Site, signed: &Signed) -> bool {
        let Some(used) = &signed.key else {
            return false;
        };
        let mut keys = self.keys();
        // Somebody else may have got another one meanwhile.
        if keys.get(&site.name).is_some_and(|key| key == used) {
            keys.remove(&site.name);
        }
        true
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the site for its key.
async fn ask(http: &Http, pace: &Pace, site: &Site, now: Millis) -> Result<String, Failure> {
    let dialect = &site.dialect;
    let keys = dialect
        .keys
        .as_ref()
        .expect("a dialect with `sign` and without `[keys]` is refused");
    let request = keys
        .request(&site.url, &dialect.plain_headers)
        .map_err(|error| Failure::new(Class::Dialect, error))?;
    let out = with_secrets(site, request, now)?;
    if let Some(host) = HostKey::from_url(&out.url) {
        pace.host(&host, site.api).turn().await;
    }
    let reply = http.page(&out, Accept::Json).await?;
    if let Some(given) = keys.given(&reply.body, reply.status) {
        return Ok(given);
    }
    let failure = match dialect.reported(&reply.body, reply.status) {
        Some(error) => Failure {
            retry_after: error.wait,
            ..Failure::new(error.class, error.message)
        },
        None if (200..300).contains(&reply.status) => Failure::new(
            Class::Listing,
            "the site hands out no key to sign requests with",
        ),
        None => Failure::new(
            of_status(reply.status),
            format!("the site answered {}", reply.status),
        ),
    };
    Err(Failure {
        status: Some(reply.status),
        retry_after: reply.retry_after.or(failure.retry_after),
        ..failure
    }
    .about(&crate::http::redact(&out.url)))
}
