//! The status as a table that fits 80 columns, with what waits, why, and what to do about it.

use std::fmt::{self, Write};

use super::{JobStatus, State, Status};
use crate::{
    class::advice_on,
    clock::Millis,
    text::{bytes, count, duration, local_time, one_line},
};

/// Columns of the table.
const WIDTH: usize = 80;
/// What the other columns leave for names; a longer one is cut.
const LONGEST_NAME: usize = 21;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.totals;
        writeln!(f, "archive {}", self.path.display())?;
        writeln!(
            f,
            "  {} items, {} objects, {}, {} records",
            count(t.items),
            count(t.objects),
            bytes(t.bytes),
            count(t.records)
        )?;
        if t.damaged > 0 {
            let is = if t.damaged == 1 { " is" } else { "s are" };
            writeln!(
                f,
                "  {} object{is} damaged: `larder verify --repair` fetches what it can",
                count(t.damaged)
            )?;
        }
        match &self.holder {
            Some(holder) => writeln!(f, "  larder {holder} is at work")?,
            None => writeln!(f, "  no larder is at work")?,
        }
        if let Some(error) = &self.config_error {
            writeln!(
                f,
                "  the configuration was changed and has mistakes: the daemon goes on with the one before"
            )?;
            for line in error.lines() {
                writeln!(f, "    {}", one_line(line))?;
            }
        }
        if self.jobs.is_empty() {
            return writeln!(
                f,
                "\nThere are no jobs yet: `larder add URL` makes one, or write it into the\nconfiguration, then `larder check`."
            );
        }
        let name = self
            .jobs
            .iter()
            .map(|job| job.name.chars().count())
            .max()
            .unwrap_or(4)
            .clamp(4, LONGEST_NAME);
        writeln!(f, "\nThe run under way, or the last one:")?;
        writeln!(
            f,
            "{:<name$}  {:<8} {:>9} {:>9} {:>8} {:>8} {:>10}",
            "JOB", "STATE", "ITEMS", "FILES", "WAITING", "FAILED", "BYTES"
        )?;
        for job in &self.jobs {
            self.row(f, job, name)?;
        }
        Ok(())
    }
}

impl Status {
    fn row(&self, f: &mut fmt::Formatter<'_>, job: &JobStatus, width: usize) -> fmt::Result {
        let c = &job.counts;
        let mut short = one_line(&job.name);
        if short.chars().count() > width {
            short = short.chars().take(width - 1).collect();
            short.push('…');
        }
        writeln!(
            f,
            "{short:<width$}  {:<8} {:>9} {:>9} {:>8} {:>8} {:>10}",
            job.state.word(),
            count(c.seen),
            count(c.stored + c.deduplicated + c.known),
            count(c.files_waiting),
            count(job.failures),
            bytes(c.bytes)
        )?;
        for line in self.remarks(job) {
            for line in wrap(&line, WIDTH - 2) {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }

    /// What a person should know of this job, and do.
    fn remarks(&self, job: &JobStatus) -> Vec<String> {
        let mut lines = Vec::new();
        let message = job.message.as_deref().map(one_line).unwrap_or_default();
        match job.state {
            State::Idle if job.last.is_none() && job.next.is_some() => {
                lines.push("never run".to_owned());
            }
            State::Idle if job.last.is_none() => {
                lines.push(format!("never run: `larder run {}`", job.name));
            }
            State::Idle | State::Done => lines.extend(self.last(job)),
            State::Queued if self.by_daemon() => {
                lines.push("is about to begin, or waits for other jobs of its site".to_owned());
            }
            State::Queued => {
                let (pages, files) = (job.counts.pages_waiting, job.counts.files_waiting);
                lines.push(format!(
                    "{} and {} wait: `larder run {}` goes on with them",
                    things(pages, "page"),
                    things(files, "file"),
                    job.name
                ));
            }
            State::Running => lines.push(self.progress(job)),
            State::Waiting => {
                let until = job
                    .until
                    .map_or_else(String::new, |until| self.until(until));
                lines.push(format!("waits{until}: {message}"));
            }
            State::Paused => {
                let reason = job.reason.as_deref().unwrap_or("user");
                let advice = advice_on(reason);
                lines.push(format!("paused ({reason}): {message}"));
                if !advice.is_empty() {
                    lines.push(format!("to do: {advice}"));
                }
            }
            State::Failed if job.reason.as_deref() == Some("config") => {
                lines.push(format!(
                    "does not fit the configuration any more: {message}"
                ));
                lines.push(format!(
                    "to do: mend that, or drop the job: `larder forget {}`",
                    job.name
                ));
            }
            State::Failed => {
                lines.extend(self.last(job));
                lines.push(format!("the listing was not walked to its end: see `larder failures {}`; the next run tries again", job.name));
            }
            State::Orphaned => {
                lines.push(format!("not in the configuration any more; what it archived stays. `larder forget {}` drops it from here", job.name));
            }
        }
        if let Some(next) = job.next.filter(|_| job.state != State::Waiting) {
            lines.push(format!("next run {}", self.moment(next)));
        }
        if let Some(wall) = &job.wall {
            let of = job.total.map_or_else(String::new, |total| {
                format!(
                    ": {} of {} entries seen",
                    count(job.counts.seen),
                    count(total)
                )
            });
            lines.push(format!("{}{of}", one_line(wall)));
        }
        if job.failures > 0 && job.state != State::Failed {
            lines.push(format!(
                "{} failed: see `larder failures {}`",
                count(job.failures),
                job.name
            ));
        }
        lines
    }

    fn last(&self, job: &JobStatus) -> Option<String> {
        let (started, ended, _) = job.last.as_ref()?;
        let c = &job.counts;
        let took = duration(ended.unwrap_or(self.now) - started);
        let mut line = format!(
            "last run {}, took {took}: {} new",
            local_time(*started),
            count(c.fresh)
        );
        for (number, word) in [
            (c.changed, "changed"),
            (c.unchanged, "unchanged"),
            (c.filtered, "filtered"),
            (c.gone, "gone"),
        ] {
            if number > 0 {
                let _ = write!(line, ", {} {word}", count(number));
            }
        }
        Some(line)
    }

    fn until(&self, until: Millis) -> String {
        format!(
            " until {} ({})",
            local_time(until),
            duration(until - self.now)
        )
    }
}

fn things(number: i64, word: &str) -> String {
    format!(
        "{} {word}{}",
        count(number),
        if number == 1 { "" } else { "s" }
    )
}

impl Status {
    fn by_daemon(&self) -> bool {
        self.holder.as_ref().is_some_and(|h| h.kind == "daemon")
    }

    /// A time to come, as short as it can be said.
    fn moment(&self, at: Millis) -> String {
        const DAY: Millis = 24 * 60 * 60 * 1000;
        let time = local_time(at);
        match at - self.now {
            // `2026-01-31 23:00:00`
            ..DAY => time.get(11..16).unwrap_or(&time).to_owned(),
            _ => time.get(..16).unwrap_or(&time).to_owned(),
        }
    }

    fn progress(&self, job: &JobStatus) -> String {
        let c = &job.counts;
        let mut line = format!("{} pages", count(c.pages_done));
        if let Some(total) = job.total {
            let _ = write!(line, ", {} of {} items", count(c.seen), count(total));
        }
        #[expect(clippy::cast_possible_truncation, reason = "a rate for people")]
        let rate = bytes(job.rate.1 as i64);
        let _ = write!(line, ", {:.1} files/s, {rate}/s", job.rate.0);
        if let Some(eta) = job.eta_s {
            let end = self.moment(self.now.saturating_add(eta.saturating_mul(1000)));
            let _ = write!(
                line,
                ", about {} left: finishes about {end}",
                duration(eta * 1000)
            );
        }
        line
    }
}

/// Breaks a line at spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(format!("  {word}"));
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
