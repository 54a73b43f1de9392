//! The status as the contract's JSON. Keys may be added, never changed.

use serde_json::{Value, json};

use super::{JobStatus, Status};
use crate::{
    clock::{Millis, rfc3339},
    store::HostRow,
};

impl Status {
    /// The JSON of `larder status --json`.
    pub fn to_json(&self) -> Value {
        let jobs: Vec<_> = self.jobs.iter().map(job).collect();
        let hosts: Vec<_> = self.hosts.iter().map(|row| host(row, self.now)).collect();
        json!({
            "archive": {
                "path": self.path, "id": self.id, "objects": self.totals.objects, "bytes": self.totals.bytes,
                "items": self.totals.items, "records": self.totals.records, "damaged": self.totals.damaged,
            },
            "holder": self.holder,
            "config_error": self.config_error,
            "jobs": jobs,
            "hosts": hosts,
        })
    }
}

fn time(time: Option<Millis>) -> Value {
    time.map_or(Value::Null, |time| rfc3339(time).into())
}

fn job(job: &JobStatus) -> Value {
    let c = &job.counts;
    let last = job.last.as_ref().map(|(started, ended, result)| {
        json!({ "started": rfc3339(*started), "ended": time(*ended), "result": result })
    });
    let [runs, pages, items, files, bytes] = job.life;
    json!({
        "name": job.name, "site": job.site, "listing": job.listing, "added": job.added,
        "state": job.state.word(), "reason": job.reason, "until": time(job.until), "next_run": time(job.next),
        "message": job.message,
        "pages": { "done": c.pages_done, "waiting": c.pages_waiting, "failed": c.pages_failed },
        "items": {
            "seen": c.seen, "new": c.fresh, "changed": c.changed, "unchanged": c.unchanged, "filtered": c.filtered,
            "gone": c.gone, "failed": c.items_failed,
        },
        "files": {
            "stored": c.stored, "deduplicated": c.deduplicated, "known": c.known, "waiting": c.files_waiting,
            "failed": c.files_failed,
        },
        "bytes": c.bytes,
        "rate": { "files_per_s": job.rate.0, "bytes_per_s": job.rate.1 },
        "eta_s": job.eta_s, "last_run": last, "wall": job.wall, "failures": job.failures,
        "total": { "runs": runs, "pages": pages, "items": items, "files": files, "bytes": bytes },
    })
}

fn host(row: &HostRow, now: Millis) -> Value {
    let waits = row.until.is_some_and(|until| until > now);
    let state = if waits { "waiting" } else { "ok" };
    json!({
        "host": row.host, "state": state, "until": time(row.until.filter(|_| waits)), "requests": row.requests,
        "throttled": row.throttled,
    })
}
