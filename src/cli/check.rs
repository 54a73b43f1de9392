//! `larder check`: is everything as it should be, and what would each job ask first?

use std::{fmt::Write, path::Path, sync::Arc};

use super::{clock, exit, load, print};
use crate::{
    clock::Millis,
    config::{Config, Job, Rate, Schedule, Site, units},
    run::walks,
    text::{count, one_line},
    walk,
};

pub(super) fn check(path: &Path) -> anyhow::Result<u8> {
    let config = load(path)?;
    let mut text = String::new();
    let (mut wrong, jobs) = (0, config.jobs.len() + config.unfit.len());
    for job in &config.jobs {
        wrong += u32::from(!describe(&mut text, job));
    }
    for unfit in &config.unfit {
        wrong += 1;
        let _ = writeln!(
            text,
            "{}  (added) does not fit the configuration any more",
            unfit.name
        );
        for complaint in &unfit.complaints {
            for line in complaint.to_string().lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        let _ = writeln!(
            text,
            "  to do: mend it, or drop the job: larder forget {}",
            unfit.name
        );
    }
    for line in notes(&config) {
        let _ = writeln!(text, "note: {line}");
    }
    let s = if jobs == 1 { "" } else { "s" };
    let verdict = if wrong == 0 { "all good" } else { "see above" };
    let _ = writeln!(text, "{}: {jobs} job{s}, {verdict}", config.path.display());
    print(text)?;
    Ok(if wrong == 0 { exit::OK } else { exit::CONFIG })
}

/// Writes what a job would ask first; returns whether it can.
fn describe(text: &mut String, job: &Job) -> bool {
    let site = &job.site;
    let off = match (job.added, job.enabled) {
        (true, _) => "  (added)",
        (false, true) => "",
        (false, false) => "  (not enabled)",
    };
    let _ = writeln!(
        text,
        "{}  {} of {}{off}",
        job.name, job.listing.name, site.name
    );
    let good = match first_request(job) {
        Ok(lines) => {
            *text += &lines;
            true
        }
        Err(error) => {
            let _ = writeln!(text, "  cannot ask: {error}");
            false
        }
    };
    let _ = writeln!(
        text,
        "  politely    pages {}; files {}",
        limits(&site.api),
        limits(&site.media)
    );
    if !job.with.is_empty() {
        let _ = writeln!(text, "  with        {}", job.with.join(", "));
    }
    match &job.schedule {
        Schedule::Manual => {}
        Schedule::Every(every) => drop(writeln!(text, "  every       {}", units::duration(*every))),
        Schedule::Cron(cron) => drop(writeln!(text, "  cron        {cron}")),
    }
    let missing = site.unset();
    if let (Some(login), Some(hook), true) = (&site.login, site.dialect.login, missing.is_empty())
        && let Err(error) = hook.query(login, &site.vars)
    {
        let _ = writeln!(text, "  cannot log in: {error}");
        return false;
    }
    for variable in missing {
        let _ = writeln!(
            text,
            "  needs       the environment variable `{variable}`, which is not set"
        );
    }
    good
}

/// What a run that began now would ask first.
fn first_request(job: &Job) -> Result<String, String> {
    let walks = walks(job, clock().today(), false)?;
    let Some(first) = walks.firsts.first() else {
        return Ok("  asks nothing: the first day of its range has not come\n".to_owned());
    };
    let limit = walk::limit(job, &job.listing, first);
    let request = job
        .listing
        .request(&job.site, &first.params, &first.at, limit)?;
    let Some(request) = request else {
        return Ok("  asks nothing: these parameters match nothing\n".to_owned());
    };
    let mut text = format!("  asks first  {}\n", one_line(&request.to_string()));
    if let (Some(newest), Some(oldest)) = (first.day, walks.firsts.last().and_then(|p| p.day)) {
        let _ = match walks.firsts.len() {
            1 => writeln!(text, "  days        1: {}", newest.date),
            days => writeln!(
                text,
                "  days        {}, the newest first: {} to {}",
                count(i64::try_from(days).unwrap_or(i64::MAX)),
                newest.date,
                oldest.date
            ),
        };
    }
    Ok(text)
}

fn limits(limits: &crate::config::Limits) -> String {
    let rate = match limits.rate {
        Rate::Unlimited => "unlimited".to_owned(),
        rate @ Rate::Every(_) => units::rate(rate),
    };
    format!("{rate}, {} at once", limits.connections)
}

/// What a person should know: keys that are checked and not acted on, cookies that have expired, ids that clash.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let now = clock().now();
    let mut notes = Vec::new();
    for site in config.sites.values() {
        let keys = [
            ("bandwidth", site.bandwidth.is_some()),
            ("daily", site.daily.is_some()),
        ];
        for (key, _) in keys.iter().filter(|(_, set)| *set) {
            notes.push(format!(
                "`{key}` of [sites.{}] is not acted on by this version",
                site.name
            ));
        }
    }
    notes.extend(
        config
            .sites
            .values()
            .filter_map(|site| cookie_note(site, now)),
    );
    let sites: Vec<_> = config.sites.values().collect();
    for (n, one) in sites.iter().enumerate() {
        for other in sites[n + 1..]
            .iter()
            .filter(|other| other.id == one.id && other.url != one.url)
        {
            notes.push(format!(
                "[sites.{}] and [sites.{}] have one id, `{}`, so their records are one site's; if they are two, set `id`",
                one.name, other.name, one.id
            ));
        }
    }
    notes.extend(schedule_note(&config.jobs));
    notes
}

/// What is wrong with the cookies of a file, if anything is.
pub(super) fn cookie_note(site: &Site, now: Millis) -> Option<String> {
    let file = site.cookies_file.as_ref()?;
    let (path, host) = (file.path.display(), site.url.host_str().unwrap_or_default());
    let what = match file.counts(now) {
        (0, _) => format!("holds no cookie for {host}: nothing of it is sent"),
        (_, 0) => return None,
        (all, expired) => format!(
            "holds {expired} expired cookie{} of {all} for {host}, which will not be sent; export it anew",
            if expired == 1 { "" } else { "s" }
        ),
    };
    Some(format!("{path} ([sites.{}]) {what}", site.name))
}

/// Who keeps the schedules of these jobs, if any has one.
pub(super) fn schedule_note(jobs: &[Arc<Job>]) -> Option<String> {
    let scheduled = |job: &&Arc<Job>| {
        job.schedule != Schedule::Manual || job.window.is_some() || job.full_every.is_some()
    };
    let names: Vec<_> = jobs
        .iter()
        .filter(scheduled)
        .map(|job| job.name.as_str())
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "`every`, `cron`, `window` and `full_every` are kept by `larder daemon` only: {}",
            names.join(", ")
        )
    })
}
