//! `oneroot reload`: the running server reads the site again, and whoever asked is told what became of it.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::tell;
use crate::cli::Exit;
use crate::control::{self, Reloaded};
use crate::print;

/// Asks the running server to read the site again.
pub fn run(state: &Path, json: bool) -> Result<Exit> {
    let Some(Reloaded { problems }) = control::ask_reload(state)? else {
        print::trouble(format_args!(
            "oneroot: no server is running on {}; if `state` was changed in the site, restart the server",
            state.display()
        ));
        return Ok(Exit::NotRunning);
    };
    if problems.is_empty() {
        return tell(
            json,
            &json!({ "problems": problems }),
            "the site was read again and is in force for new boots",
        );
    }
    if json {
        print::json(&json!({ "problems": problems }))?;
    } else {
        problems.iter().for_each(print::trouble);
        print::trouble("oneroot: the site was not taken over; the old one stays in force");
    }
    Ok(Exit::BadSite)
}
