//! `larder doctor`: a checklist of a site.

use std::path::Path;

use serde_json::json;

use super::{
    call::site,
    clock, eprint, exit, load, print, print_json,
    run::{refuse_unset_of, runtime},
};
use crate::{
    by_hand::ByHand,
    doctor::{Finding, Health, examine},
    http::redact,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
It asks for a small first page of one listing, for the same page with a wrong login if one is configured, and for the \
first bytes of one file: three requests at most, at the site's own pace. The exit code is 1 when something has to be done.")]
pub(super) struct Doctor {
    /// A site of the configuration, or a built-in one
    site: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let config = load(path)?;
        let site = site(&config, &self.site)?;
        refuse_unset_of(&config, [&*site])?;
        let clock = clock();
        let by_hand = ByHand::new(&config, clock.clone())?;
        let wait = |words: &str| eprint(&format!("larder: {words}; waiting"));
        let now = || clock.now();
        let findings = runtime()?.block_on(examine(&by_hand, &site, &config.network, now, wait));
        let bad = findings
            .iter()
            .filter(|finding| finding.health == Health::Bad)
            .count();
        if self.json {
            let checks: Vec<_> = findings.iter().map(as_json).collect();
            print_json(
                &json!({ "site": site.name, "url": redact(&site.url), "requests": by_hand.asked(), "checks": checks }),
            )?;
        } else {
            let mut text = format!("{}  {}\n", site.name, redact(&site.url));
            for finding in &findings {
                text += &as_text(finding);
            }
            let (asked, s) = (by_hand.asked(), if by_hand.asked() == 1 { "" } else { "s" });
            let verdict = match bad {
                0 => "all is well".to_owned(),
                1 => "1 thing to do".to_owned(),
                n => format!("{n} things to do"),
            };
            text += &format!("{asked} request{s}; {verdict}\n");
            print(text)?;
        }
        Ok(if bad == 0 {
            exit::OK
        } else {
            exit::SOME_FAILED
        })
    }
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let advice = Some(&finding.advice).filter(|advice| !advice.is_empty());
    json!({ "check": finding.check, "state": finding.health.word(), "message": finding.message, "advice": advice })
}

fn as_text(finding: &Finding) -> String {
    let (check, word) = (finding.check, finding.health.word());
    let mut text = format!("  {check:<8} {word:<8} {}\n", finding.message);
    if !finding.advice.is_empty() {
        text += &format!("  {:17} to do: {}\n", "", finding.advice);
    }
    text
}
