//! Failure classes, and the one place that decides what is tried again and when.
//!
//! The words are part of the contract: they appear in `failures --json`, in records (`missing`) and in the database.

use std::{fmt, str::FromStr, time::Duration};

use crate::disk::Trouble;

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $word:literal : $retry:ident;)*) => {
        /// Why a task failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Class { $($(#[$doc])* $name,)* }

        impl Class {
            /// Every class.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word of the contract.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What is done about it.
            pub fn remedy(self) -> Remedy {
                match self { $(Self::$name => Remedy::$retry,)* }
            }
        }
    };
}

classes! {
    /// The body ended before its announced length.
    Truncated = "truncated": Transient;
    /// The bytes are not those that the site's own hash or length names.
    Checksum = "checksum": Checksum;
    /// A content encoding could not be undone.
    Decode = "decode": Checksum;
    /// Larger than `max_file` or `max_page` allows.
    TooLarge = "too_large": Permanent;
    /// No bytes at all.
    Empty = "empty": Transient;
    /// Another kind of content than was promised, such as HTML for a picture.
    UnexpectedType = "unexpected_type": Permanent;
    /// Not there.
    Http404 = "http_404": Permanent;
    /// Gone for good.
    Http410 = "http_410": Permanent;
    /// Refused.
    Http403 = "http_403": Permanent;
    /// Another client error.
    Http4xx = "http_4xx": Permanent;
    /// A server error.
    Http5xx = "http_5xx": Transient;
    /// Too many redirects, or one without a target.
    Redirect = "redirect": Permanent;
    /// Not HTTP, or HTTP that contradicts itself.
    Protocol = "protocol": Transient;
    /// Too slow: connecting, to the last header, or in the body.
    Timeout = "timeout": Transient;
    /// No connection, or one that broke.
    Connect = "connect": Transient;
    /// The name could not be resolved.
    Dns = "dns": Transient;
    /// The certificate or the handshake is bad.
    Tls = "tls": Permanent;
    /// Not a URL that larder asks for.
    BadUrl = "bad_url": Permanent;
    /// An address or media host that is not allowed.
    BlockedAddress = "blocked_address": Permanent;
    /// The site names no URL for a file.
    NoUrl = "no_url": Permanent;
    /// The site wants a login, or another one.
    Auth = "auth": Person;
    /// The site shows a challenge, or has blocked us.
    Blocked = "blocked": Person;
    /// The site asks to slow down.
    RateLimited = "rate_limited": Deferred;
    /// A page that is not the listing it should be.
    Listing = "listing": Transient;
    /// A filter of the dialect failed.
    Dialect = "dialect": Permanent;
    /// A listing that goes round in circles.
    Loop = "loop": Permanent;
    /// A limit of the job was reached.
    Limit = "limit": Person;
    /// Crashed larder repeatedly.
    Poison = "poison": Permanent;
    /// The archive's disk refused.
    Storage = "storage": Transient;
}

/// What is done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Tried again with back-off, up to `[network] tries`.
    Transient,
    /// Tried again at most three times in all.
    Checksum,
    /// Not tried again in this run.
    Permanent,
    /// Stays queued and counts no try; its host waits.
    Deferred,
    /// The job waits for a person.
    Person,
}

/// Tries for content that does not match its hash: each is a full download.
const CHECKSUM_TRIES: u32 = 3;
/// The longest wait of the back-off.
const LONGEST: Duration = Duration::from_secs(5 * 60);

impl Class {
    /// How long to wait before the next try after `tries` of them failed, or `None` when it is given up.
    ///
    /// Full jitter: anything from a tenth of the step to the step; the step is `backoff`, doubling to 5 min.
    pub fn next_try(self, tries: u32, most: u32, backoff: Duration) -> Option<Duration> {
        let most = match self.remedy() {
            Remedy::Transient | Remedy::Deferred => most,
            Remedy::Checksum => most.min(CHECKSUM_TRIES),
            Remedy::Permanent | Remedy::Person => return None,
        };
        if tries >= most {
            return None;
        }
        let step = backoff
            .saturating_mul(1 << tries.saturating_sub(1).min(16))
            .min(LONGEST);
        Some(step.mul_f64(0.1 + 0.9 * fastrand::f64()))
    }

    /// Whether a later run may find it healed without anybody doing anything.
    pub fn heals(self) -> bool {
        !matches!(self.remedy(), Remedy::Permanent)
    }

    /// A short hint of what a person can do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Auth => "renew the login or cookies of the site, then run again",
            Self::Blocked => {
                "open the site in a browser, wait, or ask it for access; larder does not try to pass challenges"
            }
            Self::BlockedAddress => {
                "if this host is right, add it to `media_hosts` of the site or `allow` in [network]"
            }
            Self::Http404 | Self::Http410 => "gone upstream; asked once more at the next walk",
            Self::Loop => "the listing repeats itself; report the dialect",
            Self::Dialect => {
                "the site sends what the dialect does not expect; the entry is kept, and read again at the next walk"
            }
            Self::TooLarge => "raise `max_file` or `max_page` in [network]",
            Self::NoUrl => "the site shows no URL; perhaps it needs a login",
            Self::Limit => "raise the job's limit, or run again to go on",
            Self::Poison => {
                "larder dies of it; report it with the file or page, and `larder retry` it then"
            }
            Self::Storage => "look at the archive's disk",
            Self::UnexpectedType => "look at the URL in a browser",
            Self::Checksum => "the site's bytes and its hash disagree; retry later",
            _ => "`larder retry` puts it back into the queue",
        }
    }
}

impl Class {
    /// What a person can do about one request by hand: nothing of it is in a queue.
    pub fn by_hand(self) -> &'static str {
        match self {
            Self::Auth => "renew the login or cookies of the site",
            Self::RateLimited => "wait as long as it asks; a lower `rate` of the site may help",
            Self::Dns | Self::Connect | Self::Timeout | Self::Tls => {
                "look whether the site works in a browser, and at `url`, `proxy` and the timeouts of [network]"
            }
            Self::Http404 | Self::Http410 => "look at the parameters: there is nothing there",
            Self::Http4xx | Self::Http403 => "look at the parameters: the site does not take them",
            Self::Blocked | Self::BlockedAddress | Self::TooLarge | Self::UnexpectedType => {
                self.advice()
            }
            _ => "try again later; if it stays so, the dialect may have to be mended",
        }
    }
}

/// What a person can do about a paused job: `reason` is a class, or a word of the archive's own.
pub fn advice_on(reason: &str) -> &'static str {
    let of_disk = Trouble::ALL.iter().find(|trouble| trouble.word() == reason);
    match of_disk {
        Some(trouble) => trouble.advice(),
        None => reason.parse().map_or("", Class::advice),
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        let found = Self::ALL.iter().find(|class| class.word() == text);
        found.copied().ok_or_else(|| UnknownClass(text.to_owned()))
    }
}

/// A word that names no class.
#[derive(Debug, thiserror::Error)]
#[error("unknown failure class `{0}`")]
pub struct UnknownClass(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for class in Class::ALL {
            assert_eq!(class.word().parse::<Class>().expect("its own word"), *class);
        }
        assert!("http_999".parse::<Class>().is_err());
    }

    #[test]
    fn transient_errors_stop_after_the_last_try_and_wait_longer_each_time() {
        let second = Duration::from_secs(1);
        assert!(Class::Connect.next_try(6, 6, second).is_none());
        let wait = Class::Connect.next_try(5, 6, second).expect("a sixth try");
        assert!(
            wait >= Duration::from_millis(1600) && wait <= Duration::from_secs(16),
            "{wait:?}"
        );
        assert!(Class::Checksum.next_try(3, 6, second).is_none());
        assert!(Class::Http404.next_try(1, 6, second).is_none());
    }
}
