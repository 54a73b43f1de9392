//! Web addresses as people paste them, and the site each belongs to.
//!
//! Takes off what surrounds an address, adds a scheme where there is none, and compares hosts without `www.`, whatever the
//! scheme. Knows the sites of the configuration and those built in. What an address means there is its dialect's to say.

use std::{fmt, sync::Arc};

use url::Url;

use super::{Config, Site, reader::suggest, sites::built_in};
use crate::{http::redact, text::one_line};

/// Bytes of an address; browsers and servers refuse longer ones.
const LONGEST: usize = 8 << 10;

/// The sites that a web address may belong to.
#[derive(Debug)]
pub struct AddressBook {
    sites: Vec<Arc<Site>>,
}

/// An address of a known site.
#[derive(Debug)]
pub struct Place<'a> {
    /// The site.
    pub site: &'a Arc<Site>,
    /// What follows the site's url, still encoded; begins with a slash.
    pub path: String,
    /// Still encoded.
    pub query: String,
    /// The address for messages, without what may be secret.
    pub shown: String,
}

/// Why a text is no address of a known site; says what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct NoPlace(String);

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AddressBook {
    /// Every site of `config`, and those built in that it does not name.
    pub fn new(config: &Config) -> Self {
        let mut sites: Vec<_> = config.sites.values().cloned().collect();
        let others = config.catalog.preset_names();
        let others = others.filter(|name| !config.sites.contains_key(*name));
        sites.extend(others.filter_map(|name| built_in(&config.catalog, name).map(Arc::new)));
        let own = |site: &Site| config.sites.contains_key(&site.name);
        // The longest base path first; of two accounts of one site the one that is called like it.
        sites.sort_by_key(|site| {
            let named = site.url.host_str() == Some(&site.name);
            let base = std::cmp::Reverse(site.url.path().len());
            (base, !own(site), !named, site.name.clone())
        });
        Self { sites }
    }

    /// The site that may have been meant by `host`, or all there are.
    fn hint(&self, host: &str) -> String {
        let near = suggest(host, self.sites.iter().map(|site| site.name.as_str()));
        if near.contains("did you mean") {
            return near;
        }
        let mut known: Vec<_> = self.sites.iter().map(|site| described(site)).collect();
        known.sort_unstable();
        format!(
            "; another one needs a [sites] table with its `url`; known: {}",
            known.join(", ")
        )
    }

    /// The site that `text` is an address of.
    ///
    /// # Errors
    /// When it is no web address, or one of an unknown site.
    pub fn find(&self, text: &str) -> Result<Place<'_>, NoPlace> {
        let url = cleaned(text)?;
        let shown = redact(&url);
        let path = |site: &Site| {
            let rest = url
                .path()
                .strip_prefix(site.url.path().trim_end_matches('/'))?;
            (rest.is_empty() || rest.starts_with('/'))
                .then(|| format!("/{}", rest.trim_start_matches('/')))
        };
        let web = |site: &Site| {
            let port = url.port_or_known_default().unwrap_or_default();
            let host = url.host_str().unwrap_or_default().trim_end_matches('.');
            matches!(port, 80 | 443) && site.dialect.web.iter().any(|web| web.matches(host, port))
        };
        let here = |site: &&Arc<Site>| same_host(&site.url, &url) || web(site);
        let found = self
            .sites
            .iter()
            .filter(here)
            .find_map(|site| Some((site, path(site)?)));
        let Some((site, path)) = found else {
            return Err(NoPlace(format!(
                "`{shown}` is of no site that larder knows{}",
                self.hint(&bare_host(&url))
            )));
        };
        Ok(Place {
            site,
            path,
            query: url.query().unwrap_or_default().to_owned(),
            shown,
        })
    }
}

/// A site's name, and its address where the name is not its host.
fn described(site: &Site) -> String {
    if bare_host(&site.url) == site.name && site.url.port().is_none() {
        return site.name.clone();
    }
    format!(
        "{} ({})",
        site.name,
        site.url.as_str().trim_end_matches('/')
    )
}

/// Whether both are one host and port, `www.` aside. Without a port, that of either scheme will do.
fn same_host(site: &Url, url: &Url) -> bool {
    let port = match (site.port(), url.port()) {
        (None, Some(port)) => site.port_or_known_default() == Some(port),
        (own, asked) => own == asked,
    };
    port && bare_host(site) == bare_host(url)
}

/// The host without `www.` and the dot at its end.
fn bare_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    host.strip_prefix("www.").unwrap_or(host).to_owned()
}

/// The address in a pasted text.
fn cleaned(text: &str) -> Result<Url, NoPlace> {
    let around = |c: char| c.is_whitespace() || "<>\"'`".contains(c);
    let text = text.trim_matches(around);
    let no = |why: &str| {
        let shown = if text.contains('@') {
            String::new()
        } else {
            format!("`{}` ", one_line(text))
        };
        NoPlace(format!(
            "{shown}is not a web address{why}; write it like `https://yande.re/post?tags=landscape`"
        ))
    };
    if text.is_empty() {
        return Err(NoPlace("an empty text is not a web address".to_owned()));
    }
    if text.len() > LONGEST {
        return Err(NoPlace(format!(
            "a text of {} bytes is not a web address",
            text.len()
        )));
    }
    let url = match text.split_once("://") {
        Some((scheme, _)) if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) => {
            return Err(no(": it is neither http nor https"));
        }
        Some(_) => Url::parse(text),
        // As browsers show it. A colon is a port's, not a scheme's.
        None => Url::parse(&format!("https://{text}")),
    };
    let url = url.ok().filter(|url| {
        let host = url.host_str().unwrap_or_default();
        // A word alone is none, but `localhost:8080/x` and addresses with a scheme may be.
        text.contains("://") || host.contains(['.', ':']) || url.port().is_some()
    });
    url.ok_or_else(|| no(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, top};

    const SITES: &str = r#"
        archive.path = "a"
        [sites.base]
        dialect = "moebooru"
        url = "https://booru.example/base"
        [sites.root]
        dialect = "moebooru"
        url = "http://www.booru.example"
        [sites.local]
        dialect = "moebooru"
        url = "http://127.0.0.1:8801"
        [sites.second]
        url = "https://yande.re"
        dialect = "moebooru"
        [sites."yande.re"]
    "#;

    fn book() -> AddressBook {
        let config = top::read(Source::new("archive.toml", SITES), |_| Vec::new());
        AddressBook::new(&config.expect("a good configuration"))
    }

    #[test]
    fn addresses_are_found_however_they_were_pasted() {
        let book = book();
        for text in [
            "https://yande.re/post?tags=x",
            "http://yande.re/post?tags=x",
            "https://www.yande.re/post?tags=x#top",
            "HTTPS://YANDE.RE/post?tags=x",
            "https://yande.re:443/post?tags=x",
            "http://yande.re:80/post?tags=x",
            "yande.re/post?tags=x",
            "yande.re:443/post?tags=x",
            " <https://yande.re/post?tags=x>\r\n",
            "'https://yande.re./post?tags=x'",
            "https://me@yande.re//post?tags=x",
        ] {
            let place = book.find(text).expect(text);
            assert_eq!(
                (
                    place.site.name.as_str(),
                    place.path.as_str(),
                    place.query.as_str()
                ),
                ("yande.re", "/post", "tags=x"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_site_is_its_host_its_port_and_its_base_path() {
        let book = book();
        for (text, name, path) in [
            ("booru.example/base/post", "base", "/post"),
            ("booru.example/base", "base", "/"),
            ("booru.example/based", "root", "/based"),
            ("https://booru.example/post", "root", "/post"),
            ("127.0.0.1:8801/post", "local", "/post"),
            ("http://sakugabooru.com/post", "sakugabooru.com", "/post"),
            ("konachan.net", "konachan.net", "/"),
        ] {
            let place = book.find(text).expect(text);
            assert_eq!(
                (place.site.name.as_str(), place.path.as_str()),
                (name, path),
                "{text}"
            );
        }
        for (text, why) in [
            ("127.0.0.1/post", "of no site"),
            ("http://127.0.0.1:8802/post", "of no site"),
            ("https://yande.er/post", "did you mean `yande.re`?"),
            ("https://example.org/x?token=S3CRET", "known: "),
            ("https://files.yande.re/image/x", "of no site"),
        ] {
            let error = book.find(text).expect_err(text).to_string();
            assert!(
                error.contains(why) && !error.contains("S3CRET"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "  ",
            "<>",
            "landscape",
            "ftp://yande.re/x",
            "javascript:alert(1)",
            "https://",
            "a b",
            "me:S3CRET@",
            &"x.".repeat(9999),
        ] {
            let error = book().find(text).expect_err(text).to_string();
            assert!(!error.contains("S3CRET"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = cleaned(&text);
        }
    }
}
