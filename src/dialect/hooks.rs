//! What neither a template nor a jq filter can do: a closed list of hooks, by stage.

mod danmaku;
mod wbi;

use std::{borrow::Cow, collections::BTreeMap};

use sha1::{Digest, Sha1};
use url::Url;

use crate::{
    clock::Millis,
    config::{self, Proof, Secret},
};

/// Stage `login`: credentials to request parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// Moebooru: `login` and `password_hash`, the SHA-1 of `salt--password--`; or `username` and `api_key`.
    SaltedSha1,
}

impl Login {
    /// The words in TOML.
    pub const WORDS: [&'static str; 1] = ["salted-sha1"];

    /// The hook of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        (word == Self::WORDS[0]).then_some(Self::SaltedSha1)
    }

    /// The query parameters to append when a request is sent; all of them secret.
    ///
    /// # Errors
    /// When a secret is unset or the site's salt is not known.
    pub fn query(
        self,
        login: &config::Login,
        vars: &BTreeMap<String, String>,
    ) -> Result<Vec<(String, Secret)>, String> {
        let expose = |secret: &Secret| match secret {
            Secret::Unset { variable } => {
                Err(format!("the environment variable `{variable}` is not set"))
            }
            Secret::Known(_) => Ok(secret.expose().unwrap_or_default().to_owned()),
        };
        let pair = |name: &str, value: String| (name.to_owned(), Secret::new(value));
        match &login.proof {
            Proof::ApiKey(key) => Ok(vec![
                pair("username", login.user.clone()),
                pair("api_key", expose(key)?),
            ]),
            Proof::Password(password) => {
                let salt = vars
                    .get("salt")
                    .ok_or("the salt of this site's passwords is not known; use an api_key")?;
                let hash = salted_sha1(salt, &expose(password)?);
                Ok(vec![
                    pair("login", login.user.clone()),
                    pair("password_hash", hash),
                ])
            }
        }
    }
}

/// Stage `sign`: request in, request out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// bilibili: `wts` and `w_rid` in the query, with a key that the site hands out.
    Wbi,
}

impl Sign {
    /// The words in TOML.
    pub const WORDS: [&'static str; 1] = ["wbi"];

    /// The hook of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        (word == Self::WORDS[0]).then_some(Self::Wbi)
    }

    /// The key that signs, of what the site hands out.
    pub fn key(self, given: &str) -> Option<String> {
        match self {
            Self::Wbi => wbi::mixed(given),
        }
    }

    /// The address with its signature, made with `key` at `now`.
    pub fn sign(self, url: &Url, key: &str, now: Millis) -> Url {
        match self {
            Self::Wbi => wbi::sign(url, key, now.div_euclid(1000)),
        }
    }
}

/// Stage `decode`: the bytes of a reply to JSON. A reply that is JSON already, such as a refusal, stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decode {
    /// bilibili: a segment of danmaku in protobuf.
    Danmaku,
    /// bilibili: a list of danmaku in XML.
    DanmakuXml,
}

impl Decode {
    /// The words in TOML.
    pub const ALL: [(&'static str, Self); 2] = [
        ("danmaku", Self::Danmaku),
        ("danmaku-xml", Self::DanmakuXml),
    ];

    /// The hook of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == word);
        found.map(|(_, decode)| *decode)
    }

    /// The reply as JSON.
    ///
    /// # Errors
    /// When it is not what it should be.
    pub fn decode(self, body: &[u8]) -> Result<Cow<'_, [u8]>, String> {
        // Not after white space: a segment may begin with a line feed and then, as a length, with a brace.
        if body.starts_with(b"{") {
            return Ok(Cow::Borrowed(body));
        }
        let decoded = match self {
            Self::Danmaku => danmaku::segment(body),
            Self::DanmakuXml => danmaku::list(body),
        };
        decoded.map(Cow::Owned)
    }
}

/// Lower-case hex SHA-1 of `salt--password--` (Moebooru's app/models/user.rb).
fn salted_sha1(salt: &str, password: &str) -> String {
    hex::encode(Sha1::digest(format!("{salt}--{password}--")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_salted_hash_matches_the_known_values_of_both_sites() {
        assert_eq!(
            salted_sha1("choujin-steiner", "your-password"),
            "1dd407fdcd6c4f7f257d18cd57f8c4d1720e9e32"
        );
        assert_eq!(
            salted_sha1("So-I-Heard-You-Like-Mupkids-?", "your-password"),
            "ac4cb8db202c4e046136b56ddca5bf02851db5e5"
        );
    }

    #[test]
    fn an_unset_secret_is_named() {
        let login = config::Login {
            user: "me".to_owned(),
            proof: Proof::ApiKey(Secret::Unset {
                variable: "BOORU_KEY".to_owned(),
            }),
        };
        let error = Login::SaltedSha1
            .query(&login, &BTreeMap::new())
            .expect_err("unset");
        assert!(error.contains("BOORU_KEY"));
    }
}
