//! `oneroot keys`: what NFS handles and other seals are made with, and how a key that may have become known is replaced.

use std::path::Path;

use anyhow::{Result, bail};
use oneroot_machines::KeyStatus;
use serde::Serialize;

use super::running;
use crate::cli::KeysCommand;
use crate::control::{self, Keys};
use crate::print::{Document, Page};

/// All keys. No secret is among them.
#[derive(Serialize)]
pub struct AllKeys {
    keys: Vec<KeyStatus>,
}

impl Document for AllKeys {
    fn page(&self) -> Page {
        let mut rows = vec![["KEY", "SEALS", "MAY BE HELD BY"].map(str::to_owned)];
        rows.extend(self.keys.iter().map(|key| {
            let seals = match (key.seals, key.next) {
                (true, true) => "now",
                (true, false) => "until the server starts again",
                (false, true) => "from the next start on",
                (false, false) => "no more",
            };
            let holders = if key.machines.is_empty() { "nobody".to_owned() } else { key.machines.join(", ") };
            [key.number.to_string(), seals.to_owned(), holders]
        }));
        let mut page = Page::default();
        page.rows(&rows);
        page
    }
}

/// Asks the running server, which may change them first.
pub fn keys(state: &Path, change: Option<KeysCommand>) -> Result<AllKeys> {
    let change = change.map(|change| match change {
        KeysCommand::Rotate => "rotate",
        KeysCommand::Retire => "retire",
    });
    match running(state, control::ask_keys(state, change)?)? {
        Keys { error: Some(error), .. } => bail!(error),
        Keys { keys, .. } => Ok(AllKeys { keys }),
    }
}
