//! `oneroot boots`: what became of the last boots, also of those before the server's start.

use std::path::Path;

use anyhow::{Result, bail};
use oneroot_machines::{BootStatus, BootsStatus, FailedBoot};
use serde::Serialize;

use super::running;
use super::status::age;
use crate::print::{Document, Page};
use crate::{cli, control};

const HEAD: [&str; 8] = ["MACHINE", "BEGAN", "PROFILE", "SERVER", "PHASE", "REACHED", "TOOK", "FAILED"];

/// The boots that were asked for.
#[derive(Serialize)]
pub struct Boots {
    #[serde(flatten)]
    asked: BootsStatus,
    /// Each step is shown.
    #[serde(skip)]
    is_one: bool,
}

impl Document for Boots {
    fn page(&self) -> Page {
        let mut page = Page::default();
        if self.asked.boots.is_empty() {
            page.line(
                "no boot is known yet: one shows here once its root was mounted or its init has reported",
            );
            return page;
        }
        if self.is_one {
            self.asked.boots.iter().for_each(|boot| self.whole(boot, &mut page));
            return page;
        }
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(self.asked.boots.iter().map(|boot| self.row(boot)));
        page.rows(&rows);
        for boot in &self.asked.boots {
            if let Some(failed) = boot.failures.iter().rev().find(|failed| !failed.is_over) {
                page.line(format_args!("{}: {}", boot.machine, failed.in_words()));
            }
        }
        page
    }
}

impl Boots {
    fn row(&self, boot: &BootStatus) -> [String; HEAD.len()] {
        let failed = boot.failures.iter().filter(|failed| !failed.is_over);
        [
            boot.machine.clone(),
            format!("{} ago", age(self.asked.now.saturating_sub(boot.made))),
            boot.profile.clone(),
            boot.servers.join(" "),
            boot.phase.clone().unwrap_or_else(|| "over".to_owned()),
            boot.steps.last().map_or("-".to_owned(), |step| step.step.clone()),
            took(boot).map_or("-".to_owned(), seconds),
            failed.map(|failed| failed.phase.clone()).next_back().unwrap_or_else(|| "-".to_owned()),
        ]
    }

    /// All that is known of one.
    fn whole(&self, boot: &BootStatus, page: &mut Page) {
        let phase = boot.phase.as_deref().unwrap_or("over");
        let tries = if boot.tries > 1 { format!(", started {} times", boot.tries) } else { String::new() };
        page.line(format_args!(
            "{} {}: {phase}, began {} ago{tries}",
            boot.machine,
            boot.boot,
            age(self.asked.now.saturating_sub(boot.made))
        ));
        let mut row = |what: &str, words: String| page.line(format_args!("  {what:<10}{words}"));
        row("profile", format!("{}, view {}", boot.profile, boot.view));
        row("server", boot.servers.join(" "));
        let mut before = boot.steps.first().map_or(0, |step| step.at_ms);
        for step in &boot.steps {
            row("step", format!("{:<12} {:>9}", step.step, seconds(step.at_ms.saturating_sub(before))));
            before = step.at_ms;
        }
        for done in &boot.phases {
            let at = seconds(done.at_ms);
            row(
                "init",
                format!("{:<12} {:>9}, {at} after the kernel's start", done.phase, seconds(done.took_ms)),
            );
        }
        for FailedBoot { phase, at, told, helps, times, is_over, is_note, kernel } in &boot.failures {
            let ago = age(self.asked.now.saturating_sub(*at));
            let over = if *is_over && !is_note { ", and could later" } else { "" };
            let times = if *times > 1 { format!(", said {times} times") } else { String::new() };
            let what = if *is_note { "noted" } else { "failed" };
            row(what, format!("{phase}, {ago} ago{times}{over}: {told}"));
            helps.iter().for_each(|helps| row("helps", helps.clone()));
            kernel.iter().for_each(|line| row("kernel", line.clone()));
        }
        page.line("");
    }
}

/// Milliseconds from the first step to the last that a server saw.
fn took(boot: &BootStatus) -> Option<u64> {
    Some(boot.steps.last()?.at_ms.saturating_sub(boot.steps.first()?.at_ms))
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// Asks the running server.
pub fn boots(state: &Path, what: &cli::Boots) -> Result<Boots> {
    let machine = what.machine.as_deref();
    let Some(asked) = running(state, control::ask_boots(state, machine)?)? else {
        bail!("no machine {:?}; `oneroot machines` lists those that there are", machine.unwrap_or_default());
    };
    Ok(Boots { asked, is_one: machine.is_some() })
}
