//! Jobs: `[[jobs]]` and the files of `include`, checked against the listing that each walks.
//!
//! Owns the keys of a job. Promises that the listing exists, that every parameter is one of its own with a value of its
//! type (defaults filled in), that `where` compiles and that names are unique over all files. Whether a secret of the
//! site is set is asked when the job runs, not here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Diagnostics, Job, KeptJob, Site, Source, UnfitJob,
    reader::{Node, Table},
    schedule::{schedule, window},
    sites::Sites,
    units,
};
use crate::dialect::{Endpoint, EndpointKind, Param, Predicate, Values};

/// Characters of a job's name: it is a file's name too, and an argument of commands.
pub const LONGEST_NAME: usize = 64;

/// The jobs read so far.
#[derive(Default)]
pub(super) struct Jobs {
    list: Vec<Arc<Job>>,
    /// Where each name was first given.
    places: BTreeMap<String, String>,
    /// Whether what is read now is kept by `larder add`.
    added: bool,
}

impl Jobs {
    /// Reads one job; `file` names it when it has a file of its own and no `name`.
    pub(super) fn read(&mut self, table: Table<'_>, file: Option<&Path>, sites: &mut Sites<'_>) {
        let Some(name) = name(&table, file) else {
            self.rest(table.named("job"), String::new(), sites);
            return;
        };
        let place = table
            .get("name")
            .map_or_else(|| table.position(), |node| node.position());
        if let Some(other) = self.places.get(&name) {
            let message = format!(
                "two jobs are called `{name}`; the other is at {other}; give one of them another name"
            );
            match table.get("name") {
                Some(node) => node.error(message),
                None => table.error(message),
            }
        }
        self.places.entry(name.clone()).or_insert(place);
        self.rest(table.named(format!("jobs.{name}")), name, sites);
    }

    /// Reads the jobs that `larder add` keeps, each on its own: a mistake in one is nobody else's.
    pub(super) fn read_kept(&mut self, kept: Vec<KeptJob>, sites: &mut Sites<'_>) -> Vec<UnfitJob> {
        let mut unfit = Vec::new();
        self.added = true;
        for KeptJob { name, definition } in kept {
            if self.places.contains_key(&name) {
                continue;
            }
            let file = PathBuf::from(format!("{name}.toml"));
            let source = Source::new(Path::new("larder.db").join(&name), definition);
            let diagnostics = Diagnostics::default();
            let known = self.list.len();
            Table::parse(&source, &diagnostics, |table| {
                self.read(table, Some(&file), sites);
            });
            if !diagnostics.is_empty() {
                self.list.truncate(known);
                let complaints = diagnostics.into_vec();
                unfit.push(UnfitJob { name, complaints });
            }
        }
        unfit
    }

    /// The jobs, in the order read.
    pub(super) fn into_vec(self) -> Vec<Arc<Job>> {
        self.list
    }

    /// Everything but the name.
    fn rest(&mut self, table: Table<'_>, name: String, sites: &mut Sites<'_>) {
        let site = table.need("site").and_then(|node| sites.find(&node));
        let listing_node = table.need("listing");
        let listing = listing_node
            .zip(site.as_deref())
            .and_then(|(node, site)| listing(&node, site));
        let given = table.get("params");
        let (with, files) = (table.get("with"), table.get("files"));
        let mut params = Values::new();
        if let Some(listing) = &listing {
            params = checked(listing, given.as_ref(), &table);
        }
        let others = match (&with, &listing) {
            (Some(node), Some(listing)) => others(node, listing, sites),
            _ => Vec::new(),
        };
        let words = |node: Option<Node<'_>>, what: &str, pick: fn(&Endpoint) -> &[String]| {
            node.map(|node| words(&node, what, listing.as_deref().map(pick)))
        };
        let with = words(with, "follow-up", |listing| &listing.follows).unwrap_or_default();
        let files = words(files, "role of files", |listing| &listing.roles);
        let filter = table
            .get("where")
            .and_then(|node| node.parsed_inside(Predicate::compile));
        let schedule = schedule(&table);
        let window = table.get("window").and_then(|node| node.parsed(window));
        let full_every = table
            .get("full_every")
            .and_then(|node| node.parsed(units::parse_duration));
        let count = |key| table.get(key).and_then(|node| node.int_at_least(1));
        let (max_pages, max_items) = (count("max_pages"), count("max_items"));
        let max_bytes = table
            .get("max_bytes")
            .and_then(|node| node.parsed(units::parse_size));
        let enabled = table
            .get("enabled")
            .is_none_or(|node| node.bool().unwrap_or(true));
        let file = table.source().path.clone();
        table.finish();
        let (Some(site), Some(listing)) = (site, listing) else {
            return;
        };
        self.list.push(Arc::new(Job {
            name,
            file,
            site,
            others,
            listing,
            params,
            with,
            files,
            filter: filter.map(Arc::new),
            schedule,
            window,
            full_every,
            max_pages,
            max_items,
            max_bytes,
            enabled,
            added: self.added,
        }));
    }
}

/// The job's name: its own, or that of its file.
fn name(table: &Table<'_>, file: Option<&Path>) -> Option<String> {
    if let Some(node) = table.get("name") {
        return node.parsed(checked_name);
    }
    let Some(file) = file else {
        return table.need("name").and(None);
    };
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    match checked_name(&stem) {
        Ok(name) => Some(name),
        Err(error) => {
            table.error(format!(
                "the job takes its file's name, but {error}; rename the file or set `name`"
            ));
            None
        }
    }
}

/// Accepts the name of a job.
///
/// # Errors
/// When it could not be a file's name or an argument everywhere.
pub fn checked_name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty()
        || text.len() > LONGEST_NAME
        || text.starts_with(['-', '.'])
        || !text.chars().all(good)
    {
        return Err(format!(
            "`{text}` cannot be a job's name; write 1 to {LONGEST_NAME} of a-z, A-Z, 0-9, `.`, `_` and `-`, not `-` or `.` first"
        ));
    }
    Ok(text.to_owned())
}

fn listing(node: &Node<'_>, site: &Site) -> Option<Arc<Endpoint>> {
    let word = node.text()?;
    let is_listing = |endpoint: &Endpoint| matches!(endpoint.kind, EndpointKind::Listing);
    let endpoints = &site.dialect.endpoints;
    let listings = endpoints
        .values()
        .filter(|e| is_listing(e))
        .map(|e| e.name.as_str());
    match endpoints.get(word) {
        Some(endpoint) if is_listing(endpoint) => Some(endpoint.clone()),
        Some(_) => {
            let listings: Vec<_> = listings.map(|name| format!("`{name}`")).collect();
            let listings = listings.join(", ");
            node.error(format!(
                "`{word}` is not a listing, so no job can walk it; listings are {listings}"
            ));
            None
        }
        None if site.dialect.actions.contains_key(word) => {
            node.error(format!(
                "`{word}` is an action: it changes the account, so no job can do it; `larder call` can"
            ));
            None
        }
        None => {
            node.unknown("listing", word, listings);
            None
        }
    }
}

/// The job's parameters, against what `listing` declares and then against its own rules over all of them.
fn checked(listing: &Endpoint, given: Option<&Node<'_>>, table: &Table<'_>) -> Values {
    let before = table.diagnostics().len();
    let params = parameters(&listing.params, given, table);
    if table.diagnostics().len() > before {
        return params;
    }
    let entries = given
        .and_then(Node::table)
        .map(|given| given.entries())
        .unwrap_or_default();
    let complain = |about: Option<&str>, message: String| {
        let node = entries.iter().find(|(name, _)| Some(*name) == about);
        match node.map(|(_, node)| node).or(given) {
            Some(node) => node.error(message),
            None => table.error(message),
        }
    };
    for (about, message) in listing.check(&params) {
        complain(about.as_deref(), message);
    }
    let mut ranges = listing.dates(&params);
    ranges.retain(|(_, dates)| dates.is_range());
    if let [(first, _), .., (last, _)] = &ranges[..] {
        let message = format!(
            "a job walks the days of one range, and `{first}` is one; give `{last}` a day, or make two jobs"
        );
        complain(Some(last), message);
    }
    params
}

/// The values of `given` by their declared types, with defaults for those left out.
fn parameters(
    declared: &BTreeMap<String, Param>,
    given: Option<&Node<'_>>,
    table: &Table<'_>,
) -> Values {
    let mut values = Values::new();
    let entries = match given.map(Node::table) {
        Some(None) => return values,
        Some(Some(given)) => given.entries(),
        None => Vec::new(),
    };
    for (name, node) in &entries {
        match declared.get(*name) {
            Some(param) => {
                let value = param.value(node);
                values.extend(value.map(|value| ((*name).to_owned(), value)));
            }
            None => node.unknown_key("parameter", name, declared.keys().map(String::as_str)),
        }
    }
    for (name, param) in declared {
        if entries.iter().any(|(given, _)| given == name) {
            continue;
        }
        if let Some(value) = &param.default {
            values.insert(name.clone(), value.clone());
        } else if param.required {
            let kind = param.kind.word();
            let message = format!("the parameter `{name}` ({kind}) is missing; add it to `params`");
            match given {
                Some(node) => node.error(message),
                None => table.error(message),
            }
        }
    }
    values
}

/// The sites of other dialects that the follow-ups named by `with` lead to.
fn others(with: &Node<'_>, listing: &Endpoint, sites: &mut Sites<'_>) -> Vec<Arc<Site>> {
    let mut others: Vec<Arc<Site>> = Vec::new();
    for node in with.list().unwrap_or_default() {
        let leads = node
            .is_text()
            .then(|| listing.leads_away(node.text().unwrap_or_default()));
        let Some((dialect, endpoint)) = leads.flatten() else {
            continue;
        };
        let Some(site) = sites.speaking(dialect, &node) else {
            continue;
        };
        if !site.dialect.endpoints.contains_key(endpoint) {
            node.error(format!(
                "it leads to `{endpoint}` of {}, whose dialect does not know it",
                site.name
            ));
        }
        if !others.iter().any(|other| other.name == site.name) {
            others.push(site);
        }
    }
    others
}

/// A list of words out of `known`, each once; unchecked where the listing is unknown.
fn words(node: &Node<'_>, what: &str, known: Option<&[String]>) -> Vec<String> {
    let mut words = Vec::new();
    for node in node.list().unwrap_or_default() {
        let Some(word) = node.text().map(str::to_owned) else {
            continue;
        };
        match known {
            Some([]) => node.error(format!(
                "unknown {what} `{word}`: this listing has none; leave the key out"
            )),
            Some(known) if !known.contains(&word) => {
                node.unknown(what, &word, known.iter().map(String::as_str));
            }
            _ if !words.contains(&word) => words.push(word),
            _ => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{ParamKind, Value};

    fn param(kind: ParamKind, required: bool, default: Option<Value>) -> Param {
        Param {
            kind,
            required,
            default,
            one_of: Vec::new(),
            about: String::new(),
        }
    }

    /// The parameters that `text` gives, and the complaints.
    fn read(text: &str) -> (Values, Vec<String>) {
        let declared = BTreeMap::from([
            ("user".to_owned(), param(ParamKind::Int, true, None)),
            (
                "hidden".to_owned(),
                param(ParamKind::Bool, false, Some(Value::Bool(false))),
            ),
            ("tag".to_owned(), param(ParamKind::Text, false, None)),
        ]);
        let (source, diagnostics) = (Source::new("job.toml", text), Diagnostics::default());
        let values = Table::parse(&source, &diagnostics, |table| {
            parameters(&declared, table.get("params").as_ref(), &table)
        });
        let complaints = diagnostics
            .into_vec()
            .into_iter()
            .map(|c| c.message)
            .collect();
        (values.unwrap_or_default(), complaints)
    }

    #[test]
    fn parameters_are_typed_and_defaults_filled_in() {
        let (values, complaints) = read("params = { user = 7 }");
        assert_eq!(complaints, Vec::<String>::new());
        let wanted = [
            ("hidden".to_owned(), Value::Bool(false)),
            ("user".to_owned(), Value::Int(7)),
        ];
        assert_eq!(values, Values::from(wanted));
    }

    #[test]
    fn wrong_unknown_and_missing_parameters_are_all_named() {
        let (_, complaints) = read("params = { hidden = \"no\", tga = \"x\" }");
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        assert!(
            complaints
                .iter()
                .any(|c| c.contains("expected true or false, found string"))
        );
        assert!(
            complaints
                .iter()
                .any(|c| c.contains("unknown parameter `tga`; did you mean `tag`?"))
        );
        assert!(
            complaints
                .iter()
                .any(|c| c.contains("the parameter `user` (int) is missing"))
        );
        assert_eq!(read("").1.len(), 1, "missing without `params`, too");
    }

    #[test]
    fn names_are_safe_as_files_and_arguments() {
        assert!(checked_name("yande-landscape_2.x").is_ok());
        for text in ["", "-x", ".x", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(checked_name(text).is_err(), "{text}");
        }
    }
}
