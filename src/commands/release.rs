//! `oneroot release`: a machine that is gone for good gives up its address and its root.

use std::path::Path;

use anyhow::{Result, bail};

use crate::cli::Exit;
use crate::control::{self, Released};

/// Asks the running server to let go of a machine.
pub fn run(state: &Path, machine: &str) -> Result<Exit> {
    match control::ask_release(state, machine)? {
        None => {
            eprintln!("oneroot: no server is running on {}; start one with `oneroot serve`", state.display());
            Ok(Exit::NotRunning)
        }
        Some(Released { error: Some(error), .. }) => bail!(error),
        Some(Released { pins: 0, .. }) => {
            println!("{machine} held nothing");
            Ok(Exit::Done)
        }
        Some(Released { pins, .. }) => {
            println!("{machine} is released: {pins} boots ended; if it still runs, it has no root any more");
            Ok(Exit::Done)
        }
    }
}
