//! Names to addresses: drops those that may not be asked, at the one moment when they are known for certain.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{Reach, not_public};

/// What went wrong with a name; finds its way to the caller inside reqwest's error.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// All its addresses are refused.
    #[error("a name of {address}, {what}")]
    Refused {
        /// The first of them.
        address: IpAddr,
        /// What it is.
        what: &'static str,
    },
    /// The resolver failed.
    #[error("{0}")]
    Failed(#[source] io::Error),
    /// It has no address.
    #[error("no address")]
    Nothing,
}

/// Where names are looked up.
#[derive(Clone, Default)]
pub enum Names {
    /// As every program of this system does it.
    #[default]
    System,
    /// As this function says: for networks that a test makes up.
    Given(GivenNames),
}

/// Addresses of a name.
pub type GivenNames = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Given(_) => "Given",
        })
    }
}

impl Names {
    async fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => Ok(tokio::net::lookup_host((name, 0)).await?.collect()),
            Self::Given(given) => {
                let found = given(name)?;
                Ok(found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect())
            }
        }
    }
}

/// Resolves names and drops the addresses that may not be asked.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) names: Names,
    /// Whether to drop any.
    pub(super) reach: Reach,
    /// The proxy's own name, which the user chose.
    pub(super) proxy: Option<String>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_ascii_lowercase();
        let all = self.reach == Reach::Allowed || self.proxy.as_ref() == Some(&name);
        let names = self.names.clone();
        Box::pin(async move {
            let found = names.look_up(&name).await.map_err(LookupError::Failed)?;
            let kept = keep(found.into_iter(), all)?;
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

fn keep(
    found: impl Iterator<Item = SocketAddr>,
    all: bool,
) -> Result<Vec<SocketAddr>, LookupError> {
    let mut error = LookupError::Nothing;
    let mut kept = Vec::new();
    for socket in found {
        match not_public_resolved(socket.ip()) {
            Some(what) if !all => {
                error = LookupError::Refused {
                    address: socket.ip(),
                    what,
                }
            }
            _ => kept.push(socket),
        }
    }
    if kept.is_empty() {
        Err(error)
    } else {
        Ok(kept)
    }
}

/// What kind of address a name led to when it is not of the public internet.
///
/// Networks without IPv4 reach it through 64:ff9b::/96 (DNS64), so there the embedded address counts.
fn not_public_resolved(address: IpAddr) -> Option<&'static str> {
    if let IpAddr::V6(six) = address
        && let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = six.segments()
    {
        let four = u32::from(high) << 16 | u32::from(low);
        return not_public(Ipv4Addr::from_bits(four).into());
    }
    not_public(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_only_its_public_addresses() {
        let sockets = |texts: &[&str]| -> Vec<SocketAddr> {
            texts
                .iter()
                .map(|text| SocketAddr::new(text.parse().expect("an address"), 0))
                .collect()
        };
        let mixed = sockets(&["10.0.0.1", "1.1.1.1", "64:ff9b::101:101", "64:ff9b::7f00:1"]);
        let kept = keep(mixed.clone().into_iter(), false).expect("two are left");
        assert_eq!(kept, sockets(&["1.1.1.1", "64:ff9b::101:101"]));
        assert_eq!(keep(mixed.into_iter(), true).expect("all").len(), 4);
        let refused = keep(sockets(&["10.0.0.1"]).into_iter(), false).expect_err("refused");
        assert_eq!(refused.to_string(), "a name of 10.0.0.1, a private address");
        assert!(matches!(
            keep(std::iter::empty(), true),
            Err(LookupError::Nothing)
        ));
    }
}
