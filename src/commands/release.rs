//! `oneroot release`: a machine that is gone for good gives up its address and its root.

use anyhow::{Result, bail};
use oneroot_bootconf::Site;

use crate::cli::Exit;
use crate::control::{self, Released};

/// Asks the running server to let go of a machine.
pub fn run(site: &Site, machine: &str) -> Result<Exit> {
    match control::ask_release(&site.server.state, machine)? {
        None => {
            eprintln!(
                "oneroot: no server is running on {}; start one with `oneroot serve`",
                site.server.state.display()
            );
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
