//! Where a site hands out the key of its signatures.

use std::collections::BTreeMap;

use url::Url;

use super::{
    filter::Filter,
    json,
    paging::Cursor,
    prelude::Globals,
    request::{Request, Template, Variables},
};
use crate::{config::reader::Table, http::Method};

/// Where a site hands out the key of its signatures.
#[derive(Debug)]
pub struct Keys {
    get: Template,
    key: Filter,
}

impl Keys {
    /// Reads `[keys]`, with `filter` to compile its filter.
    pub(super) fn read(
        table: Table<'_>,
        filter: impl Fn(&crate::config::reader::Node<'_>) -> Option<Filter>,
    ) -> Option<Self> {
        let get = table.need("get");
        let get = get
            .and_then(|node| node.parsed_inside(|path| Template::compile(path, BTreeMap::new())));
        let key = table.need("key").and_then(|node| filter(&node));
        table.finish();
        Some(Self {
            get: get?,
            key: key?,
        })
    }

    /// The request for it.
    ///
    /// # Errors
    /// When the template does not make a URL.
    pub fn request(&self, base: &Url, headers: &[(String, String)]) -> Result<Request, String> {
        Ok(Request {
            method: Method::Get,
            url: self.get.expand(base, &Variables::new())?,
            headers: headers.to_vec(),
            body: None,
            sign: None,
        })
    }

    /// What the reply hands out.
    pub fn given(&self, body: &[u8], status: u16) -> Option<String> {
        let globals = Globals::new(jaq_json::Val::Null, &Cursor::new(), Some(status));
        let output = self.key.first_of(json::read(body).ok()?, &globals).ok()??;
        serde_json::from_str(&output.to_string()).ok()
    }
}
