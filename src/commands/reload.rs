//! `oneroot reload`: the running server reads the site again, and whoever asked is told what became of it.

use std::path::Path;

use anyhow::Result;

use super::NotRunning;
use crate::cli::Exit;
use crate::control::{self, Reloaded};
use crate::print::{Document, Page};

impl Document for Reloaded {
    fn page(&self) -> Page {
        if self.problems.is_empty() {
            return Page::of_line("the site was read again and is in force for new boots");
        }
        let mut page = Page::default();
        self.problems.iter().for_each(|problem| page.trouble(problem));
        page.trouble("oneroot: the site was not taken over; the old one stays in force");
        page
    }

    fn exit(&self) -> Exit {
        if self.problems.is_empty() { Exit::Done } else { Exit::BadSite }
    }
}

/// Asks the running server to read the site again.
pub fn reload(state: &Path) -> Result<Reloaded> {
    let what_to_do = "if `state` was changed in the site, restart the server";
    control::ask_reload(state)?.ok_or_else(|| NotRunning::on(state, what_to_do))
}
