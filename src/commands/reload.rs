//! `oneroot reload` and `oneroot plan`: the running server reads the site again, and whoever asked is told what became of it, or
//! what would.

use std::path::Path;

use anyhow::Result;
use oneroot_machines::MachineChange;
use serde::Serialize;

use super::NotRunning;
use crate::cli::Exit;
use crate::control::{self, Reloaded};
use crate::print::{Document, Page};

/// Changes that people are shown; `--json` has all.
const SHOWN: usize = 40;

impl Document for Reloaded {
    fn page(&self) -> Page {
        let mut page = Page::default();
        if self.problems.is_empty() {
            changes(&self.changes, &mut page);
            page.line("the site was read again and is in force for new boots");
        }
        self.problems.iter().for_each(|problem| page.trouble(problem));
        if !self.problems.is_empty() {
            page.trouble("oneroot: the site was not taken over; the old one stays in force");
        }
        page
    }

    fn exit(&self) -> Exit {
        if self.problems.is_empty() { Exit::Done } else { Exit::BadSite }
    }
}

/// What a reload would change, and what changes at the next boot of machines as things are.
#[derive(Serialize)]
pub struct Plan {
    /// Why a reload would be refused.
    problems: Vec<String>,
    /// What a reload would change, and for whom.
    changes: Vec<MachineChange>,
    /// Machines that would boot something else now than they did, before any reload: what was staged, assigned or reloaded since.
    behind: Vec<MachineChange>,
}

impl Document for Plan {
    fn page(&self) -> Page {
        let mut page = Page::default();
        self.problems.iter().for_each(|problem| page.trouble(problem));
        if self.problems.is_empty() {
            changes(&self.changes, &mut page);
            page.line(match self.changes.len() {
                0 => "a reload would change nothing that machines boot".to_owned(),
                1 => "a reload would change what one machine boots".to_owned(),
                count => format!("a reload would change what {count} machines boot"),
            });
        } else {
            page.trouble("oneroot: a reload would be refused");
        }
        if !self.behind.is_empty() {
            page.line("");
            changes(&self.behind, &mut page);
            page.line("these boot something else at their next boot already");
        }
        page
    }

    fn exit(&self) -> Exit {
        if self.problems.is_empty() { Exit::Done } else { Exit::BadSite }
    }
}

fn changes(changes: &[MachineChange], page: &mut Page) {
    if changes.is_empty() {
        return;
    }
    let mut rows = vec![["MACHINE", "WHAT CHANGES"].map(str::to_owned)];
    let shown = changes.iter().take(SHOWN);
    rows.extend(shown.map(|change| [change.machine.clone(), change.what.join("; ")]));
    page.rows(&rows);
    if let Some(more) = changes.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        page.line(format_args!("and {more} more; --json has all"));
    }
}

/// What to do where no server runs that could be asked.
const WHAT_TO_DO: &str = "if `state` was changed in the site, restart the server";

/// Asks the running server to read the site again.
pub fn reload(state: &Path) -> Result<Reloaded> {
    control::ask_reload(state)?.ok_or_else(|| NotRunning::on(state, WHAT_TO_DO))
}

/// Asks the running server what that would change.
pub fn plan(state: &Path) -> Result<Plan> {
    let Reloaded { problems, changes } =
        control::ask_plan(state)?.ok_or_else(|| NotRunning::on(state, WHAT_TO_DO))?;
    let machines = control::ask_status(state)?.map(|status| status.machines).unwrap_or_default();
    let behind = machines.into_iter().filter_map(|machine| {
        let what = machine.behind.filter(|what| !what.is_empty())?;
        Some(MachineChange { machine: machine.name, what })
    });
    Ok(Plan { problems, changes, behind: behind.collect() })
}
