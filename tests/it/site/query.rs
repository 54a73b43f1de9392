//! The search grammar: tokens into a [`Query`], numbers into a [`Range`].
//!
//! Promises: as the engine does it, odd corners included. Tokens are lower-cased and de-duplicated, a repeated metatag
//! counts once, the last time; what is no number is 0; anything unknown is a plain tag.

use std::collections::HashSet;

/// How many plain tags, and how many excluded ones, a search may name.
const TAG_LIMIT: usize = 6;

/// Why a search is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    TooManyTags,
    /// A number that does not fit 32 bits.
    Beyond32,
    /// A number that does not fit 64 bits.
    Beyond64,
}

/// A condition on a number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Range<T> {
    Eq(T),
    Lt(T),
    Lte(T),
    Gt(T),
    Gte(T),
    Between(T, T),
    In(Vec<T>),
}

impl<T: PartialOrd> Range<T> {
    pub(super) fn has(&self, value: &T) -> bool {
        match self {
            Self::Eq(bound) => value == bound,
            Self::Lt(bound) => value < bound,
            Self::Lte(bound) => value <= bound,
            Self::Gt(bound) => value > bound,
            Self::Gte(bound) => value >= bound,
            Self::Between(low, high) => low <= value && value <= high,
            Self::In(list) => list.contains(value),
        }
    }

    /// Reads `N`, `<N`, `<=N`, `>N`, `>=N`, `A..B`, `..B`, `A..` and `A,B`.
    pub(super) fn parse<E>(text: &str, cast: impl Fn(&str) -> Result<T, E>) -> Result<Self, E> {
        let between = text
            .split_once("..")
            .filter(|(low, high)| !low.is_empty() && !high.is_empty());
        if let Some((low, high)) = between {
            return Ok(Self::Between(cast(low)?, cast(high)?));
        }
        let prefixed = |prefix| {
            text.strip_prefix(prefix)
                .filter(|rest: &&str| !rest.is_empty())
        };
        if let Some(rest) = prefixed("<=").or_else(|| prefixed("..")) {
            return cast(rest).map(Self::Lte);
        }
        if let Some(rest) = prefixed("<") {
            return cast(rest).map(Self::Lt);
        }
        if let Some(rest) = prefixed(">=").or_else(|| text.strip_suffix("..")) {
            return cast(rest).map(Self::Gte);
        }
        if let Some(rest) = prefixed(">") {
            return cast(rest).map(Self::Gt);
        }
        if text.contains(',') {
            let items = text.split(',').map(cast);
            return items.collect::<Result<_, _>>().map(Self::In);
        }
        cast(text).map(Self::Eq)
    }
}

/// Which posts a switch like `holds:` lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    Only,
    All,
    Hide,
}

/// What `parent:` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    None,
    /// This post and its children.
    Is(u64),
}

/// A search, taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Query {
    pub(super) id: Option<Range<i64>>,
    pub(super) width: Option<Range<i64>>,
    pub(super) height: Option<Range<i64>>,
    pub(super) score: Option<Range<i64>>,
    pub(super) change: Option<Range<i64>>,
    pub(super) mpixels: Option<Range<f64>>,
    /// Dates as numbers like 20261122.
    pub(super) date: Option<Range<i64>>,
    pub(super) md5: Option<Vec<String>>,
    pub(super) ext: Option<Vec<String>>,
    pub(super) rating: Option<char>,
    pub(super) not_rating: Option<char>,
    pub(super) user: Option<String>,
    pub(super) source: Option<String>,
    pub(super) parent: Option<Parent>,
    pub(super) pool: Option<String>,
    pub(super) not_pools: Vec<String>,
    pub(super) deleted: Option<Switch>,
    pub(super) holds: Option<Switch>,
    pub(super) pending: Option<Switch>,
    pub(super) shown: Option<bool>,
    pub(super) unlocked: bool,
    pub(super) order: Option<String>,
    pub(super) limit: Option<String>,
    /// Someone's votes or favourites: nobody has any here.
    pub(super) impossible: bool,
    pub(super) all_of: Vec<String>,
    pub(super) any_of: Vec<String>,
    pub(super) none_of: Vec<String>,
}

impl Query {
    /// Parses the `tags` parameter; `wildcard` names the tags that a pattern stands for.
    pub(super) fn parse(
        tags: &str,
        wildcard: impl Fn(&str) -> Vec<String>,
    ) -> Result<Self, Refusal> {
        let mut query = Self::default();
        let mut seen = HashSet::new();
        let lower = tags.to_lowercase();
        for token in lower.split_whitespace().filter(|token| seen.insert(*token)) {
            if let "s" | "q" | "e" = token {
                query.rating = token.chars().next();
                continue;
            }
            let meta = token.split_once(':').filter(|(_, value)| !value.is_empty());
            if let Some((name, value)) = meta
                && query.set(name, value)?
            {
                continue;
            }
            match token.chars().next() {
                Some('-') if token.len() > 1 => query.none_of.push(token[1..].to_owned()),
                Some('~') if token.len() > 1 => query.any_of.push(token[1..].to_owned()),
                _ if token.contains('*') => {
                    let mut found = wildcard(token);
                    if found.is_empty() {
                        found.push("~no_matches~".to_owned());
                    }
                    query.any_of.append(&mut found);
                }
                _ => query.all_of.push(token.to_owned()),
            }
        }
        if query.all_of.len() > TAG_LIMIT || query.none_of.len() > TAG_LIMIT {
            return Err(Refusal::TooManyTags);
        }
        Ok(query)
    }

    /// Takes in a metatag; answers whether `name` is one.
    fn set(&mut self, name: &str, value: &str) -> Result<bool, Refusal> {
        let list = || Some(value.split(',').map(str::to_owned).collect());
        let range = || Range::parse(value, number).map(Some);
        match name {
            "id" => self.id = range()?,
            "width" => self.width = range()?,
            "height" => self.height = range()?,
            "score" => self.score = range()?,
            "change" => self.change = range()?,
            "mpixels" => {
                let cast = |text: &str| Ok::<_, Refusal>(text.parse().unwrap_or_default());
                self.mpixels = Some(Range::parse(value, cast)?);
            }
            "date" => {
                let range = Range::parse(value, |text| day(text).ok_or(()));
                // An impossible date is NULL to the database, which nothing equals.
                self.date = Some(range.unwrap_or(Range::In(Vec::new())));
            }
            "md5" => self.md5 = list(),
            "ext" => self.ext = list(),
            "rating" => self.rating = value.chars().next(),
            "-rating" => self.not_rating = value.chars().next(),
            "user" => self.user = Some(value.to_owned()),
            "source" => self.source = Some(value.to_owned()),
            "parent" if value == "none" => self.parent = Some(Parent::None),
            "parent" => self.parent = Some(Parent::Is(number(value)?.unsigned_abs())),
            "pool" => self.pool = Some(value.to_owned()),
            "-pool" => self.not_pools.push(value.to_owned()),
            "deleted" if value == "true" => self.deleted = Some(Switch::Only),
            // The engine takes every other word for `all`.
            "deleted" => self.deleted = Some(Switch::All),
            "holds" => self.holds = switch(value).or(self.holds),
            "pending" => self.pending = switch(value).or(self.pending),
            "shown" => self.shown = Some(value == "true"),
            "unlocked" => self.unlocked |= value == "rating",
            "order" => self.order = Some(value.to_owned()),
            "limit" => self.limit = Some(value.to_owned()),
            "vote" | "-vote" | "fav" | "sub" => self.impossible = true,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn switch(value: &str) -> Option<Switch> {
    match value {
        "true" | "only" => Some(Switch::Only),
        "all" => Some(Switch::All),
        "false" => Some(Switch::Hide),
        _ => None,
    }
}

/// Reads leading digits as Ruby's `to_i` does: no digits are 0.
pub(super) fn leading_number(text: &str) -> i128 {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit());
    let digits = &digits[..end.unwrap_or(digits.len())];
    match digits {
        "" => 0,
        digits => sign * digits.parse().unwrap_or(i128::MAX),
    }
}

/// Reads a number that the database must hold in 32 bits.
pub(super) fn number(text: &str) -> Result<i64, Refusal> {
    let wide = leading_number(text);
    let long = i64::try_from(wide).map_err(|_| Refusal::Beyond64)?;
    i32::try_from(long).map_err(|_| Refusal::Beyond32)?;
    Ok(long)
}

fn day(text: &str) -> Option<i64> {
    let date: jiff::civil::Date = text.parse().ok()?;
    Some(day_number(date))
}

/// Writes a date as the number that [`Query::date`] compares.
pub(super) fn day_number(date: jiff::civil::Date) -> i64 {
    i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day())
}
