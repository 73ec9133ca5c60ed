//! `oneroot release`: a machine that is gone for good gives up its address and its root.

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;

use super::running;
use crate::control::{self, Released};
use crate::print::{Document, Page};

/// A machine that was let go.
#[derive(Serialize)]
pub struct Ended {
    machine: String,
    boots_ended: usize,
}

impl Document for Ended {
    fn page(&self) -> Page {
        let Self { machine, boots_ended } = self;
        Page::of_line(match boots_ended {
            0 => format!("{machine} held nothing"),
            1 => format!("{machine} is released: 1 boot ended; if it still runs, it has no root any more"),
            _ => format!(
                "{machine} is released: {boots_ended} boots ended; if it still runs, it has no root any more"
            ),
        })
    }
}

/// Asks the running server to let go of a machine.
pub fn release(state: &Path, machine: &str) -> Result<Ended> {
    match running(state, control::ask_release(state, machine)?)? {
        Released { error: Some(error), .. } => bail!(error),
        Released { pins, .. } => Ok(Ended { machine: machine.to_owned(), boots_ended: pins }),
    }
}
