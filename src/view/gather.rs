//! What the archive has to show: one [`Want`] for each file of the newest record of each item.

use std::collections::{BTreeMap, HashSet};

use super::{
    Error, Options, Step, Watch,
    fields::Subject,
    naming::Want,
    record::{File, Record},
    sidecar::{Nth, sidecar},
};
use crate::{
    archive::{Archive, Digest, Line, Lines},
    find::{NotAQuery, find},
    store::{Placed, Reader},
};

/// What was found.
pub(super) struct Gathered {
    pub wants: Vec<Want>,
    /// Files that the archive does not hold.
    pub unheld: u64,
    /// Records that do not read as such.
    pub damaged: u64,
}

/// Reads the newest records. Also hands on the record log that has them.
pub(super) fn gather(
    archive: &Archive,
    reader: &Reader,
    options: &Options,
    watch: Watch<'_>,
) -> Result<(Gathered, Lines), Error> {
    let jobs: BTreeMap<i64, String> = reader
        .members()?
        .into_iter()
        .map(|(id, name, _)| (id, name))
        .collect();
    let chosen: Vec<i64> = jobs
        .iter()
        .filter(|(_, name)| options.jobs.contains(name))
        .map(|(id, _)| *id)
        .collect();
    let mut found = Gathered {
        wants: Vec::new(),
        unheld: 0,
        damaged: 0,
    };
    if chosen.is_empty() && !options.jobs.is_empty() {
        return Ok((found, reader.lines(archive)?));
    }
    let wanted = options
        .find
        .as_deref()
        .map(|question| places(archive, reader, question));
    let wanted = wanted.transpose()?;
    let mut placed = reader.placed(&chosen, options.name.names_jobs())?;
    if let Some(wanted) = wanted {
        placed.retain(|placed| wanted.contains(&placed.place));
    }
    // Only now, so that all these places are in it.
    let lines = reader.lines(archive)?;
    found.wants.reserve(placed.len());
    let mut groups = placed.chunk_by(|one, other| one.place == other.place);
    let places = placed.chunk_by(|one, other| one.place == other.place);
    let places = places.map(|group| Line {
        offset: group[0].place,
    });
    let mut done = 0;
    lines.each(places, |_, text| {
        let group = groups.next().expect("a line for each group");
        done += group.len() as u64;
        if done % 1024 == 0 {
            watch(Step::Read, done, placed.len() as u64);
        }
        match Record::read(text) {
            Ok(record) => found.take(&record, group, &jobs, options),
            Err(error) => {
                tracing::warn!(
                    place = group[0].place,
                    "A record is damaged, and its files are left out: {error}"
                );
                found.damaged += 1;
            }
        }
        Ok::<_, Error>(())
    })?;
    Ok((found, lines))
}

/// Where the records of the items stand that a question finds.
fn places(archive: &Archive, reader: &Reader, question: &str) -> Result<HashSet<u64>, Error> {
    let refused = |error: NotAQuery| Error::Refused(format!("--find: {error}"));
    let query = question.parse().map_err(refused)?;
    let hits = find(archive, reader, reader.state(), &query, |_, _| ())?;
    Ok(hits.into_iter().map(|hit| hit.place).collect())
}

impl Gathered {
    fn take(
        &mut self,
        record: &Record<'_>,
        group: &[Placed],
        jobs: &BTreeMap<i64, String>,
        options: &Options,
    ) {
        let held = held(record);
        self.unheld += (record.files.len() - held.len()) as u64;
        let mut nth = 0;
        for placed in group {
            let job = placed
                .job
                .and_then(|job| jobs.get(&job))
                .map(String::as_str);
            let files = held.iter().copied().map(Some);
            let none = (held.is_empty() && options.sidecar).then_some(None);
            for (which, file) in (0..).zip(files.chain(none)) {
                let (folder, name) = options.name.render(&Subject { record, file, job });
                let bytes = options
                    .sidecar
                    .then(|| sidecar(record, nth_of(&held, which).as_ref()));
                self.wants.push(Want {
                    order: (placed.item, nth),
                    key: key(record, file, job),
                    folder: folder.into(),
                    file: name.into(),
                    object: file.and_then(|file| file.sha256),
                    sidecar: bytes.map(|bytes| {
                        *Digest::of(&bytes)
                            .as_bytes()
                            .first_chunk()
                            .expect("32 bytes")
                    }),
                    source: (placed.place, which),
                });
                nth += 1;
            }
        }
    }
}

/// The bytes of a wanted sidecar, from its record.
pub(super) fn sidecar_of(lines: &Lines, (place, which): (u64, u32)) -> Result<Vec<u8>, Error> {
    let text = lines.at(Line { offset: place })?;
    let record =
        Record::read(&text).map_err(|error| Error::io("read", "the record log")(error.into()))?;
    Ok(sidecar(&record, nth_of(&held(&record), which).as_ref()))
}

fn held<'a>(record: &'a Record<'a>) -> Vec<&'a File<'a>> {
    record
        .files
        .iter()
        .filter(|file| file.sha256.is_some())
        .collect()
}

fn nth_of<'a>(held: &[&'a File<'a>], which: u32) -> Option<Nth<'a>> {
    let file = held.get(which as usize)?;
    Some(Nth {
        file,
        num: which as usize + 1,
        count: held.len(),
    })
}

/// What a file stands for, whatever it is called and whatever its bytes are.
fn key(record: &Record<'_>, file: Option<&File<'_>>, job: Option<&str>) -> u128 {
    let index = file.map(|file| file.index.to_string());
    let role = file.map(|file| file.role.as_ref());
    let parts = [
        Some(record.site.as_ref()),
        Some(record.kind.as_ref()),
        Some(record.id.as_ref()),
        role,
        index.as_deref(),
        job,
    ];
    let text = serde_json::to_vec(&parts).expect("texts are JSON");
    // The lowest bit tells a file from its sidecar.
    u128::from_be_bytes(
        *Digest::of(&text)
            .as_bytes()
            .first_chunk()
            .expect("32 bytes"),
    ) & !1
}
