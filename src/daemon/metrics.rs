//! The status as Prometheus reads it (text format 0.0.4).

use std::fmt::Write as _;

use super::face::Failed;
use crate::status::{JobStatus, Status};

/// A figure of a job, where it has one.
type Pick = fn(&JobStatus) -> Option<i64>;

/// Every figure of the status, each with its help and type.
pub(super) fn metrics(status: &Status, failed: &Failed) -> String {
    let mut out = Page::default();
    let t = &status.totals;
    out.one(
        "larder_archive_objects",
        "Objects in the archive",
        t.objects,
    );
    out.one("larder_archive_bytes", "Bytes of these objects", t.bytes);
    out.one("larder_archive_items", "Items in the archive", t.items);
    out.one(
        "larder_archive_records",
        "Lines of the record log",
        t.records,
    );
    out.one(
        "larder_archive_damaged",
        "Objects known to be damaged",
        t.damaged,
    );
    let refused = i64::from(status.config_error.is_some());
    out.one(
        "larder_config_refused",
        "1 while a changed configuration is refused",
        refused,
    );
    let jobs = &status.jobs;
    out.head(
        "larder_job_state",
        "gauge",
        "1 for the state that a job is in, with its reason",
    );
    for job in jobs {
        let labels = [
            ("job", job.name.as_str()),
            ("state", job.state.word()),
            ("reason", job.reason.as_deref().unwrap_or_default()),
        ];
        out.line("larder_job_state", &labels, 1);
    }
    let of_jobs: [(&str, &str, &str, Pick); 9] = [
        ("larder_job_runs_total", "counter", "Runs", |job| {
            Some(job.life[0])
        }),
        ("larder_job_pages_total", "counter", "Pages stored", |job| {
            Some(job.life[1])
        }),
        ("larder_job_items_total", "counter", "Items seen", |job| {
            Some(job.life[2])
        }),
        ("larder_job_files_total", "counter", "Files stored", |job| {
            Some(job.life[3])
        }),
        (
            "larder_job_bytes_total",
            "counter",
            "Bytes downloaded",
            |job| Some(job.life[4]),
        ),
        (
            "larder_job_pages_waiting",
            "gauge",
            "Pages in the queue",
            |job| Some(job.counts.pages_waiting),
        ),
        (
            "larder_job_files_waiting",
            "gauge",
            "Files in the queue",
            |job| Some(job.counts.files_waiting),
        ),
        (
            "larder_job_last_start_seconds",
            "gauge",
            "When the last run began, Unix time",
            |job| job.last.as_ref().map(|(started, ..)| started / 1000),
        ),
        (
            "larder_job_next_start_seconds",
            "gauge",
            "When the next run begins, Unix time",
            |job| job.next.map(|next| next / 1000),
        ),
    ];
    for (name, kind, help, pick) in of_jobs {
        out.head(name, kind, help);
        for (job, value) in jobs.iter().filter_map(|job| Some((job, pick(job)?))) {
            out.line(name, &[("job", job.name.as_str())], value);
        }
    }
    out.head(
        "larder_tasks_failed",
        "gauge",
        "Failures that are listed, by class",
    );
    for (job, class, number) in failed {
        out.line(
            "larder_tasks_failed",
            &[("job", job), ("class", class)],
            *number,
        );
    }
    let hosts = &status.hosts;
    out.head("larder_host_requests_total", "counter", "Requests");
    for host in hosts {
        out.line(
            "larder_host_requests_total",
            &[("host", host.host.as_str())],
            host.requests,
        );
    }
    out.head(
        "larder_host_throttled_total",
        "counter",
        "Replies that asked to slow down",
    );
    for host in hosts {
        out.line(
            "larder_host_throttled_total",
            &[("host", host.host.as_str())],
            host.throttled,
        );
    }
    out.head(
        "larder_host_wait_seconds",
        "gauge",
        "How long a host is still left alone",
    );
    for host in hosts {
        let left = host
            .until
            .map_or(0, |until| (until - status.now).max(0) / 1000);
        out.line(
            "larder_host_wait_seconds",
            &[("host", host.host.as_str())],
            left,
        );
    }
    out.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, help: &str, value: i64) {
        self.head(name, "gauge", help);
        self.line(name, &[], value);
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: i64) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_cannot_end_them() {
        let mut page = Page::default();
        page.line("x", &[("job", "a\"} 1\nb\\")], 2);
        assert_eq!(page.0, "x{job=\"a\\\"} 1\\nb\\\\\"} 2\n");
    }
}
