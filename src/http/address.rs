//! The egress check: which URLs and addresses may be asked at all.
//!
//! Only http and https, no userinfo, and only addresses of the public internet. The check is made on the URL before
//! each hop (literals, exceptions) and in the resolver, on the very addresses that are then connected to, so
//! that a name cannot change its mind between the two. The one exception is `host:port` in `[network] allow`.
//!
//! Behind a proxy the proxy resolves names, and only the check on the URL holds.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use url::{Host, Url};

/// IPv4 networks that are not the public internet (IANA special-purpose registry, RFC 6890 and followers).
const NOT_PUBLIC_4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "an unspecified address"),
    ([10, 0, 0, 0], 8, "a private address"),
    ([100, 64, 0, 0], 10, "a carrier's private address"),
    ([127, 0, 0, 0], 8, "a loopback address"),
    ([169, 254, 0, 0], 16, "a link-local address"),
    ([172, 16, 0, 0], 12, "a private address"),
    ([192, 0, 0, 0], 24, "a reserved address"),
    ([192, 0, 2, 0], 24, "a documentation address"),
    ([192, 88, 99, 0], 24, "a reserved address"),
    ([192, 168, 0, 0], 16, "a private address"),
    ([198, 18, 0, 0], 15, "a benchmarking address"),
    ([198, 51, 100, 0], 24, "a documentation address"),
    ([203, 0, 113, 0], 24, "a documentation address"),
    ([224, 0, 0, 0], 4, "a multicast address"),
    ([255, 255, 255, 255], 32, "the broadcast address"),
    ([240, 0, 0, 0], 4, "a reserved address"),
];
/// The same for IPv6, by the leading segments. Whatever is not in 2000::/3 is refused as well.
const NOT_PUBLIC_6: &[([u16; 8], u32, &str)] = &[
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "an unspecified address"),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "a loopback address"),
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "a NAT64 address"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "a NAT64 address"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "a discard address"),
    // Teredo (2001::/32), ORCHID, benchmarking and the rest of the protocol assignments.
    (
        [0x2001, 0, 0, 0, 0, 0, 0, 0],
        23,
        "a tunnel or protocol address",
    ),
    (
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0],
        32,
        "a documentation address",
    ),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "a 6to4 address"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "a documentation address"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "a private address"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "a link-local address"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "a multicast address"),
];

/// What kind of address this is when it is not of the public internet.
pub fn not_public(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let same = |(net, bits, _): &&([u8; 4], u32, _)| {
                (address.to_bits() ^ Ipv4Addr::from(*net).to_bits()) >> (32 - bits) == 0
            };
            NOT_PUBLIC_4.iter().find(same).map(|(.., what)| *what)
        }
        IpAddr::V6(address) => {
            let same = |(net, bits, _): &&([u16; 8], u32, _)| {
                (address.to_bits() ^ Ipv6Addr::from(*net).to_bits()) >> (128 - bits) == 0
            };
            let known = NOT_PUBLIC_6.iter().find(same).map(|(.., what)| *what);
            let unicast = address.segments()[0] >> 13 == 1;
            known.or((!unicast).then_some("a reserved address"))
        }
    }
}

/// Why something is not asked.
#[derive(Debug, thiserror::Error)]
pub enum Blocked {
    /// Such as file: or ftp:.
    #[error("only http and https are asked, not {0}:")]
    Scheme(String),
    /// Credentials belong in the configuration of the site.
    #[error("a URL with a user or password in it is not asked")]
    Userinfo,
    /// No host to ask.
    #[error("the URL names no host")]
    NoHost,
    /// An address in the URL or behind its name.
    #[error(
        "{host} is {what}, which is not asked; if that is right, write `allow = [\"{host}:{port}\"]` in [network]"
    )]
    Address {
        /// As in the URL.
        host: String,
        /// Of the URL.
        port: u16,
        /// What is wrong with it.
        what: String,
    },
}

/// How far a URL may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Public addresses only.
    Public,
    /// Any address: the user allowed this host and port.
    Allowed,
}

/// The egress check of one configuration.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allow: BTreeSet<String>,
}

impl Guard {
    /// `allow` holds `host:port`.
    pub fn new(allow: &[String]) -> Self {
        Self {
            allow: allow
                .iter()
                .map(|entry| entry.to_ascii_lowercase())
                .collect(),
        }
    }

    /// Checks everything that the URL itself tells; a name is checked again when it is resolved.
    ///
    /// # Errors
    /// Why it is not asked.
    pub fn check(&self, url: &Url) -> Result<Reach, Blocked> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Blocked::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Blocked::Userinfo);
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Blocked::NoHost);
        };
        if self.allow.contains(&format!("{host}:{port}")) {
            return Ok(Reach::Allowed);
        }
        let what = match &host {
            Host::Ipv4(address) => not_public((*address).into()),
            Host::Ipv6(address) => not_public((*address).into()),
            Host::Domain("") => return Err(Blocked::NoHost),
            Host::Domain(name) => {
                let name = name.trim_end_matches('.');
                (name == "localhost" || name.ends_with(".localhost")).then_some("this machine")
            }
        };
        match what {
            None => Ok(Reach::Public),
            Some(what) => Err(Blocked::address(url, what)),
        }
    }
}

impl Blocked {
    /// The host and port of `url`, with `what` is wrong with them.
    pub(super) fn address(url: &Url, what: impl Into<String>) -> Self {
        Self::Address {
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
            what: what.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &Guard, url: &str) -> Result<Reach, String> {
        guard
            .check(&Url::parse(url).expect("a url"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn only_public_addresses_pass() {
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "100::1",
            "3fff::1",
            "4000::1",
        ] {
            assert!(
                not_public(private.parse().expect("an address")).is_some(),
                "{private}"
            );
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860::8888",
            "::ffff:1.1.1.1",
            "2a00::1",
        ] {
            assert_eq!(
                not_public(public.parse().expect("an address")),
                None,
                "{public}"
            );
        }
    }

    #[test]
    fn literals_in_any_spelling_are_refused() {
        let guard = Guard::default();
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://[::ffff:127.0.0.1]/",
            "http://[::1]/",
            "http://[::]/",
            "http://169.254.169.254/latest/",
            "http://localhost/",
            "http://a.LOCALHOST./",
            "http://\u{ff11}27.0.0.1/",
            "file:///etc/passwd",
            "ftp://ex.example/",
            "gopher://ex.example/",
            "data:,x",
            "javascript:1",
            "http://u@ex.example/",
            "http://u:p@ex.example/",
            "http://:p@ex.example/",
        ] {
            assert!(check(&guard, url).is_err(), "{url}");
        }
        assert_eq!(check(&guard, "https://ex.example/"), Ok(Reach::Public));
        assert_eq!(check(&guard, "https://1.1.1.1/"), Ok(Reach::Public));
        let message = check(&guard, "http://2130706433:81/").expect_err("refused");
        assert_eq!(
            message,
            "127.0.0.1 is a loopback address, which is not asked; if that is right, write `allow = [\"127.0.0.1:81\"]` \
             in [network]"
        );
    }

    #[test]
    fn exceptions_are_exact() {
        let guard = Guard::new(&[
            "127.0.0.1:8080".into(),
            "[::1]:80".into(),
            "Nas.example:443".into(),
        ]);
        for url in [
            "http://127.0.0.1:8080/x",
            "http://0x7f.1:8080/",
            "http://[::1]/",
            "https://nas.EXAMPLE/",
        ] {
            assert_eq!(check(&guard, url), Ok(Reach::Allowed), "{url}");
        }
        assert!(check(&guard, "http://127.0.0.1:8081/").is_err());
        assert!(check(&guard, "http://u@127.0.0.1:8080/").is_err());
        assert_eq!(check(&guard, "http://nas.example/"), Ok(Reach::Public));
    }

    /// An IPv4 address as a URL may write it.
    fn spelled(address: Ipv4Addr, form: u8) -> String {
        let bytes = address.octets().map(|byte| byte.to_string());
        let number = address.to_bits();
        let (high, low) = (number >> 16, number & 0xffff);
        let six = format!("{high:x}:{low:x}");
        match form {
            0 => bytes.join("."),
            1 => format!("{number}"),
            2 => format!("0x{number:x}"),
            3 => format!("0{number:o}"),
            4 => address.octets().map(|byte| format!("0x{byte:x}")).join("."),
            5 => format!("{}.{}", bytes[0], number & 0x00ff_ffff),
            6 => format!("{}.0{:o}.{low}", bytes[0], address.octets()[1]),
            7 => format!("{address}."),
            8 => format!("%{:02x}{}", bytes[0].as_bytes()[0], &bytes.join(".")[1..]),
            9 => format!("[::ffff:{address}]"),
            10 => format!("[::ffff:{six}]"),
            11 => format!("[::{six}]"),
            12 => format!("[64:ff9b::{six}]"),
            13 => format!("[64:ff9b:1::{six}]"),
            14 => format!("[2002:{six}::1]"),
            15 => format!("[2001:0:{six}::]"),
            _ => bytes.join("\u{3002}"),
        }
    }

    proptest::proptest! {
        #[test]
        fn fuzz_private_addresses_are_refused_in_every_spelling(nth in 0..NOT_PUBLIC_4.len(), random: u32, form in 0_u8..17) {
            let (net, bits, _) = NOT_PUBLIC_4[nth];
            let mask = u32::MAX.checked_shr(bits).unwrap_or(0);
            let address = Ipv4Addr::from_bits(Ipv4Addr::from(net).to_bits() | random & mask);
            let text = format!("http://{}:81/", spelled(address, form));
            // What is no URL is not asked either.
            if let Ok(url) = Url::parse(&text) {
                proptest::prop_assert!(Guard::default().check(&url).is_err(), "{} is {}", text, url);
            }
        }

        #[test]
        fn fuzz_what_passes_is_a_name_or_a_public_address(scheme in "(https?|HTTP|ftp|file|[a-z]{1,4})", user in "([a-z]{0,2}(:[a-z]{0,2})?@)?", host in "[0-9a-fx.:%\\[\\]@\\\\]{0,24}|[a-z0-9.-]{1,12}", tail in "(:[0-9]{0,5})?[/?#@\\\\]{0,2}\\PC{0,8}") {
            let Ok(url) = Url::parse(&format!("{scheme}://{user}{host}{tail}")) else { return Ok(()) };
            if Guard::default().check(&url).is_ok() {
                proptest::prop_assert!(matches!(url.scheme(), "http" | "https"));
                proptest::prop_assert!(url.username().is_empty() && url.password().is_none());
                let public = match url.host().expect("checked") {
                    Host::Domain(name) => !name.is_empty() && name.parse::<IpAddr>().is_err(),
                    Host::Ipv4(address) => not_public(address.into()).is_none(),
                    Host::Ipv6(address) => not_public(address.into()).is_none(),
                };
                proptest::prop_assert!(public, "{}", url);
            }
        }

        #[test]
        fn fuzz_mapped_addresses_are_what_they_map(bits: u32) {
            let four = Ipv4Addr::from_bits(bits);
            proptest::prop_assert_eq!(not_public(four.into()), not_public(four.to_ipv6_mapped().into()));
        }
    }
}
