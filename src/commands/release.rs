//! `oneroot release`: a machine that is gone for good gives up its address and its root.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::json;

use super::tell;
use crate::cli::Exit;
use crate::control::{self, Released};
use crate::print;

/// Asks the running server to let go of a machine.
pub fn run(state: &Path, machine: &str, json: bool) -> Result<Exit> {
    match control::ask_release(state, machine)? {
        None => {
            print::trouble(format_args!(
                "oneroot: no server is running on {}; start one with `oneroot serve`",
                state.display()
            ));
            Ok(Exit::NotRunning)
        }
        Some(Released { error: Some(error), .. }) => bail!(error),
        Some(Released { pins, .. }) => {
            let words = match pins {
                0 => format!("{machine} held nothing"),
                _ => format!(
                    "{machine} is released: {pins} {} ended; if it still runs, it has no root any more",
                    if pins == 1 { "boot" } else { "boots" }
                ),
            };
            tell(json, &json!({ "machine": machine, "boots_ended": pins }), words)
        }
    }
}
