//! What a site is shown besides the request: cookies, headers and a login.
//!
//! Promises that names and values can travel in a request, and that no complaint shows a value.

use super::{
    Login, Proof, Secret,
    reader::{Node, Table},
};

/// Named secrets; names are tokens (RFC 9110, 5.6.2), values travel in one line of a request without `bad`.
pub(super) fn pairs(node: &Node<'_>, what: &str, bad: &[char]) -> Vec<(String, Secret)> {
    node.hide();
    let table = node.table();
    let mut pairs = Vec::new();
    for (name, node) in table.iter().flat_map(Table::entries) {
        if !is_token(name) {
            node.error(format!(
                "`{name}` is not the name of a {what}; use letters, digits and `-` or `_`"
            ));
        }
        let Some(secret) = Secret::read(&node) else {
            continue;
        };
        if secret
            .expose()
            .is_some_and(|text| text.contains(|c: char| c.is_control() || bad.contains(&c)))
        {
            node.error(format!(
                "its value cannot travel in a {what}; remove line breaks and separators from it"
            ));
        }
        pairs.push((name.to_owned(), secret));
    }
    pairs
}

fn is_token(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(token)
}

/// An account: a user and what proves it.
pub(super) fn login(node: &Node<'_>) -> Option<Login> {
    node.hide();
    let table = node.table()?;
    let user = table.need("user").and_then(|node| {
        let user = node.text()?;
        if user.is_empty() {
            node.error("is empty; write the account's name");
        }
        Some(user.to_owned())
    });
    let (password, key) = (table.get("password"), table.get("api_key"));
    let proof = match (&password, &key) {
        (Some(node), None) => Secret::read(node).map(Proof::Password),
        (None, Some(node)) => Secret::read(node).map(Proof::ApiKey),
        _ => {
            table.error("write exactly one of `password` and `api_key`");
            None
        }
    };
    table.finish();
    Some(Login {
        user: user?,
        proof: proof?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_http() {
        for text in ["X-Token", "PHPSESSID", "a.b_c"] {
            assert!(is_token(text), "{text}");
        }
        for text in ["", "a b", "a:b", "é", "a=b"] {
            assert!(!is_token(text), "{text}");
        }
    }
}
