//! The part of Moebooru's tag grammar that the sample site serves.
//!
//! Words are joined by "and", `-word` excludes; `id:` takes N, `<N`, `<=N`, `>N`, `>=N`, `A..B`, `A..`, `..B`; `md5:`
//! a list with commas; `rating:` a letter; `deleted:all`; `order:id` (ascending) and `order:id_desc`. As on the real
//! engine an `id:` term also shows deleted posts, and the last of repeated terms wins. Any other `name:value` is taken
//! as a word, so that it finds nothing instead of everything.

use std::ops::RangeInclusive;

use super::catalogue::Post;

/// A parsed value of `tags=`.
#[derive(Debug, Default)]
pub(super) struct Query {
    words: Vec<String>,
    excluded: Vec<String>,
    ids: Option<RangeInclusive<u64>>,
    md5s: Option<Vec<String>>,
    rating: Option<char>,
    deleted: bool,
    ascending: bool,
}

impl Query {
    pub(super) fn parse(tags: &str) -> Self {
        let mut query = Self::default();
        for term in tags.to_lowercase().split_whitespace() {
            if !query.metatag(term) {
                match term.strip_prefix('-') {
                    Some(word) => query.excluded.push(word.to_owned()),
                    None => query.words.push(term.to_owned()),
                }
            }
        }
        query
    }

    /// Takes a `name:value` term; false if it is none that is served.
    fn metatag(&mut self, term: &str) -> bool {
        match term.split_once(':') {
            Some(("id", value)) => match id_range(value) {
                Some(range) => self.ids = Some(range),
                None => return false,
            },
            Some(("md5", list)) => self.md5s = Some(list.split(',').map(str::to_owned).collect()),
            Some(("rating", value)) => self.rating = value.chars().next(),
            Some(("deleted", "all")) => self.deleted = true,
            Some(("order", "id")) => self.ascending = true,
            Some(("order", "id_desc")) => self.ascending = false,
            _ => return false,
        }
        true
    }

    /// Does the listing show this post?
    fn matches(&self, post: &Post) -> bool {
        let shown = !post.deleted || self.deleted || self.ids.is_some();
        shown
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&post.id))
            && self
                .md5s
                .as_ref()
                .is_none_or(|md5s| md5s.contains(&post.md5))
            && self.rating.is_none_or(|rating| rating == post.rating)
            && self
                .words
                .iter()
                .all(|word| post.tags.contains(&word.as_str()))
            && !self
                .excluded
                .iter()
                .any(|word| post.tags.contains(&word.as_str()))
    }

    /// One page of the matching posts, which come in ascending order of id; `page` starts at 1.
    pub(super) fn page<'a>(&self, posts: &'a [Post], limit: usize, page: usize) -> Vec<&'a Post> {
        let found = posts.iter().filter(|post| self.matches(post));
        let skip = limit.saturating_mul(page.saturating_sub(1));
        if self.ascending {
            found.skip(skip).take(limit).collect()
        } else {
            found.rev().skip(skip).take(limit).collect()
        }
    }
}

/// The ids that the value of an `id:` term names; `None` if it is not a range. An empty range is one.
fn id_range(value: &str) -> Option<RangeInclusive<u64>> {
    let number = |text: &str| text.parse::<u64>().ok();
    let below = |n: u64| 1..=n;
    if let Some(n) = value.strip_prefix("<=") {
        return number(n).map(below);
    }
    if let Some(n) = value.strip_prefix('<') {
        return number(n).map(|n| below(n.saturating_sub(1)));
    }
    if let Some(n) = value.strip_prefix(">=") {
        return number(n).map(|n| n..=u64::MAX);
    }
    if let Some(n) = value.strip_prefix('>') {
        return number(n).map(|n| n.saturating_add(1)..=u64::MAX);
    }
    match value.split_once("..") {
        Some(("", last)) => number(last).map(below),
        Some((first, "")) => number(first).map(|n| n..=u64::MAX),
        Some((first, last)) => Some(number(first)?..=number(last)?),
        None => number(value).map(|n| n..=n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ids_are_read() {
        assert_eq!(id_range("7"), Some(7..=7));
        assert_eq!(id_range("<7"), Some(1..=6));
        assert_eq!(id_range("<=7"), Some(1..=7));
        assert_eq!(id_range(">7"), Some(8..=u64::MAX));
        assert_eq!(id_range(">=7"), Some(7..=u64::MAX));
        assert_eq!(id_range("7..9"), Some(7..=9));
        assert_eq!(id_range("..9"), Some(1..=9));
        assert_eq!(id_range("7.."), Some(7..=u64::MAX));
        assert_eq!(id_range("seven"), None);
        assert!(id_range("<0").expect("a range").is_empty());
    }

    #[test]
    fn terms_are_joined_by_and_and_unknown_metatags_are_words() {
        let query = Query::parse("River  -night id:<9 id:3..4 order:id score:>3");
        assert_eq!(query.words, ["river", "score:>3"]);
        assert_eq!(query.excluded, ["night"]);
        assert_eq!(query.ids, Some(3..=4), "the last one wins");
        assert!(query.ascending && !query.deleted);
    }
}
