//! Which jobs addresses become: known ones, new ones, their names and definitions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
    sync::Arc,
};

use super::super::Usage;
use crate::{
    config::{AddressBook, Config, Job, LONGEST_NAME, Site},
    dialect::{Endpoint, Recognised, Value, Values},
    store::{Added, JobRow},
    text::one_line,
};

/// Addresses of one job at most, where they may be joined: their ids stand in one query, and servers take about 8 KB.
const MOST_JOINED: usize = 200;
/// Characters of a name that is made up; there must be room for a number behind it.
const LONG_NAME: usize = 48;
/// Jobs that are named one by one.
const MOST_NAMED: usize = 20;
/// Bytes of addresses that a message names one by one.
const LONG_LIST: usize = 300;
/// Lines of a job's addresses in its definition.
const MOST_LINES: usize = 3;

/// An address and what it means.
pub(super) struct Found {
    site: Arc<Site>,
    recognised: Recognised,
}

impl Found {
    /// What `text` means, or a sentence for people.
    pub(super) fn new(book: &AddressBook, text: &str) -> Result<Self, String> {
        let place = book.find(text).map_err(|no| no.to_string())?;
        let dialect = &place.site.dialect;
        let recognised = dialect.recognise(&place.path, &place.query);
        let recognised = recognised.map_err(|no| {
            let (shown, name) = (&place.shown, &place.site.name);
            if let Some((listing, why)) = no.nearly {
                return format!("`{shown}` is of {name}, but `{listing}` cannot walk it: {}", one_line(&why));
            }
            let known: Vec<_> = dialect.addresses().map(|address| format!("`{address}`")).collect();
            if known.is_empty() {
                format!("`{shown}` is of {name}, whose dialect knows no web addresses; write a job (`larder sites {name}`)")
            } else if known.iter().map(String::len).sum::<usize>() > LONG_LIST {
                format!("`{shown}` is of {name}, but none of the addresses that can be added; `larder sites {name}` lists those")
            } else {
                format!("`{shown}` is of {name}, but none of the addresses that can be added; those are {}", known.join(", "))
            }
        })?;
        Ok(Self {
            site: place.site.clone(),
            recognised,
        })
    }

    fn key(&self) -> String {
        key(
            &self.site,
            &self.recognised.listing,
            &self.recognised.params,
        )
    }

    /// One for all of `list`.
    fn joined(list: &[Self]) -> Result<Self, String> {
        let parts: Vec<_> = list.iter().map(|found| found.recognised.clone()).collect();
        Ok(Self {
            site: list.first().ok_or("there is nothing to join")?.site.clone(),
            recognised: Recognised::joined(&parts)?,
        })
    }

    /// Where a browser finds it.
    fn address(&self) -> String {
        let base = self.site.url.as_str().trim_end_matches('/');
        format!("{base}{}", self.recognised.address())
    }
}

/// What makes two addresses the same job.
fn key(site: &Site, listing: &Endpoint, params: &Values) -> String {
    let params = serde_json::to_string(params).expect("parameters are plain JSON");
    format!("{} {} {params}", site.name, listing.name)
}

/// The jobs there are.
pub(super) struct Known {
    /// Jobs by what they stand for.
    jobs: BTreeMap<String, String>,
    /// Names in lower case: files of two jobs must differ everywhere.
    names: BTreeSet<String>,
    /// Jobs that the database knows and nothing names any more, by name: what they walked.
    orphans: BTreeMap<String, (String, String, String)>,
}

impl Known {
    pub(super) fn new(config: &Config, kept: &[Added], rows: &[JobRow]) -> Self {
        let mut known = Self {
            jobs: BTreeMap::new(),
            names: BTreeSet::new(),
            orphans: BTreeMap::new(),
        };
        for added in kept {
            let keys = added.addresses.iter().cloned();
            known.jobs.extend(keys.map(|key| (key, added.name.clone())));
            known.names.insert(added.name.to_lowercase());
        }
        for job in &config.jobs {
            let Job {
                site,
                listing,
                params,
                ..
            } = &**job;
            known
                .jobs
                .insert(key(site, listing, params), job.name.clone());
            known.names.insert(job.name.to_lowercase());
        }
        let orphans = rows
            .iter()
            .filter(|row| !known.names.contains(&row.name.to_lowercase()));
        known.orphans = orphans
            .map(|row| {
                (
                    row.name.to_lowercase(),
                    (row.site.clone(), row.listing.clone(), row.params.clone()),
                )
            })
            .collect();
        known
    }

    /// Whether a new job for `found` may be called `name`: a vanished job of that name must have been the same.
    fn is_free(&self, name: &str, found: &Found) -> bool {
        let name = name.to_lowercase();
        let same = |(site, listing, params): &(String, String, String)| {
            let own =
                serde_json::to_string(&found.recognised.params).expect("parameters are plain JSON");
            *site == found.site.name && *listing == found.recognised.listing.name && *params == own
        };
        !self.names.contains(&name) && self.orphans.get(&name).is_none_or(same)
    }
}

/// A new job.
pub(super) struct Planned {
    pub(super) name: String,
    /// As a job file.
    pub(super) definition: String,
    /// What each of its addresses stands for.
    pub(super) keys: Vec<String>,
    /// For people.
    pub(super) about: String,
}

/// What becomes of a number of addresses.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) new: Vec<Planned>,
    /// Jobs that stood for an address already, with how many.
    already: BTreeMap<String, usize>,
}

/// Sorts addresses into known and new ones and joins what may be joined.
///
/// # Errors
/// When `name` is taken, or is to go to several jobs.
pub(super) fn plan(
    found: Vec<Found>,
    known: &mut Known,
    name: Option<&str>,
    every: Option<&str>,
) -> anyhow::Result<Plan> {
    let mut plan = Plan::default();
    let mut groups: Vec<Vec<Found>> = Vec::new();
    let mut open: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for one in found {
        if let Some(job) = known.jobs.get(&one.key()) {
            *plan.already.entry(job.clone()).or_default() += 1;
            continue;
        }
        if !seen.insert(one.key()) {
            continue;
        }
        let Some(joins) = one.recognised.joins() else {
            groups.push(vec![one]);
            continue;
        };
        let joins = format!("{}\n{joins}", one.site.name);
        let at = open
            .get(&joins)
            .copied()
            .filter(|at| groups[*at].len() < MOST_JOINED);
        if let Some(at) = at {
            groups[at].push(one);
        } else {
            open.insert(joins, groups.len());
            groups.push(vec![one]);
        }
    }
    let mut jobs = Vec::new();
    for group in groups {
        match Found::joined(&group) {
            Ok(joined) => jobs.push((joined, group)),
            // Each by itself is good: the site's listing does not take these together.
            Err(_) => {
                for one in group {
                    jobs.push((
                        Found::joined(std::slice::from_ref(&one)).map_err(Usage)?,
                        vec![one],
                    ));
                }
            }
        }
    }
    if let (Some(name), true) = (name, jobs.len() > 1) {
        let many = jobs.len();
        return Err(Usage(format!(
            "`--name {name}` is for one job, and these addresses make {many}"
        ))
        .into());
    }
    for (found, group) in jobs {
        let name = match name {
            Some(name) if known.is_free(name, &found) => name.to_owned(),
            Some(name) => {
                let what = "there is a job of that name, or the database remembers one that walked something else";
                return Err(Usage(format!(
                    "`--name {name}`: {what}; choose another, or `larder forget {name}` first"
                ))
                .into());
            }
            None => free_name(&found, known),
        };
        known.names.insert(name.to_lowercase());
        plan.new.push(planned(name, &found, &group, every));
    }
    Ok(plan)
}

/// A name that no job has: after the site and what is looked for, such as `yande.re-landscape`.
fn free_name(found: &Found, known: &Known) -> String {
    let texts = found.recognised.texts();
    let mut words = words(&texts.first().copied().unwrap_or_default().replace(',', " "));
    if found.recognised.count == 1 && texts.len() > 1 {
        words = self::words(&texts.join(" "));
    }
    let site = self::words(&found.site.name);
    let mut name = site.clone();
    // A number says nothing without what it counts.
    if !words.contains(|c: char| c.is_ascii_alphabetic()) {
        name = format!("{name}-{}", self::words(&found.recognised.listing.name));
    }
    if !words.is_empty() {
        name = format!("{name}-{words}");
    }
    let tail = match found.recognised.count {
        0 | 1 => String::new(),
        n => format!("-and-{}-more", n - 1),
    };
    name.truncate(LONG_NAME - tail.len());
    let name = name.trim_matches(['-', '.', '_']);
    let name = if name.is_empty() {
        format!("job{tail}")
    } else {
        format!("{name}{tail}")
    };
    debug_assert!(name.len() + 6 < LONGEST_NAME);
    if known.is_free(&name, found) {
        return name;
    }
    let numbered = (2_u64..).map(|n| format!("{name}-{n}"));
    numbered
        .into_iter()
        .find(|name| known.is_free(name, found))
        .unwrap_or(name)
}

/// `text` in the letters of a job's name, with `-` for everything else.
fn words(text: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    let words = text
        .split(|c: char| !good(c))
        .map(|word| word.trim_matches(['.', '_']));
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

fn planned(name: String, found: &Found, group: &[Found], every: Option<&str>) -> Planned {
    let Found { site, recognised } = found;
    let mut definition = String::new();
    for one in group.iter().take(MOST_LINES) {
        let _ = writeln!(definition, "# {}", one.address());
    }
    if let Some(more) = group.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
        let _ = writeln!(definition, "# and {more} more");
    }
    let text = |text: &str| toml::Value::from(text);
    let _ = writeln!(definition, "site = {}", text(&site.name));
    let _ = writeln!(definition, "listing = {}", text(&recognised.listing.name));
    let given: Vec<_> = recognised
        .given
        .iter()
        .map(|(name, value)| format!("{name} = {}", literal(value)))
        .collect();
    if !given.is_empty() {
        let _ = writeln!(definition, "params = {{ {} }}", given.join(", "));
    }
    if let Some(every) = every {
        let _ = writeln!(definition, "every = {}", text(every));
    }
    let about = match group {
        [one] => one.address(),
        [first, ..] => format!("{} and {} more", first.address(), group.len() - 1),
        [] => String::new(),
    };
    Planned {
        name,
        definition,
        keys: group.iter().map(Found::key).collect(),
        about,
    }
}

/// A value as TOML writes it.
fn literal(value: &Value) -> toml::Value {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Text(value) => value.as_str().into(),
        Value::List(values) => values.clone().into(),
    }
}

impl Plan {
    /// The jobs that stood for an address already.
    pub(super) fn already(&self) -> String {
        let mut text = String::new();
        if self.already.len() > MOST_NAMED {
            let (jobs, addresses) = (self.already.len(), self.already.values().sum::<usize>());
            return format!(
                "{jobs} jobs stand for {addresses} of these addresses already: `larder status` names them\n"
            );
        }
        for (name, count) in &self.already {
            let _ = match count {
                1 => writeln!(
                    text,
                    "`{name}` is that address already: `larder run {name}` runs it"
                ),
                n => writeln!(
                    text,
                    "`{name}` is {n} of these addresses already: `larder run {name}` runs it"
                ),
            };
        }
        text
    }
}

/// What was added, a line for each job; `folder` is where their files are, if they have any.
pub(super) fn added(new: &[Planned], folder: Option<&Path>) -> String {
    let mut text = String::new();
    for Planned { name, about, .. } in new.iter().take(MOST_NAMED) {
        let _ = match folder.map(|folder| folder.join(format!("{name}.toml"))) {
            Some(path) => writeln!(text, "Wrote {}: {about}", path.display()),
            None => writeln!(text, "Added `{name}`: {about}"),
        };
    }
    if let Some(more) = new.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        let _ = writeln!(text, "and {more} more jobs; `larder status` names them");
    }
    text
}
