//! `oneroot secret set`, `rotate`, `remove`, `list`: what machines have beside their trees. The running server keeps them, and shows
//! none.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use oneroot_machines::secrets::LARGEST;
use oneroot_machines::{SecretChange, SecretStatus};
use serde::Serialize;

use super::mapping::who;
use super::running;
use super::status::age;
use crate::cli::secret::Named;
use crate::clock;
use crate::control::{self, SecretAsked, SecretsTold};
use crate::print::{Document, Page};

/// Secrets, and what was done with them.
#[derive(Serialize)]
pub struct Secrets {
    secrets: Vec<SecretStatus>,
}

impl Document for Secrets {
    fn page(&self) -> Page {
        let now = clock::since_1970().as_secs();
        let mut rows = vec![["MACHINE", "SECRET", "KIND", "MADE", "PUBLIC HALF"].map(str::to_owned)];
        rows.extend(self.secrets.iter().map(|secret| {
            let SecretStatus { machine, name, kind, public, made, wanted } = secret;
            let made = match made {
                Some(made) => format!("{} ago by {}", age(now.saturating_sub(made.at)), made.by),
                None if kind.is_made() => "not yet: when it next boots".to_owned(),
                None => "not yet: oneroot secret set".to_owned(),
            };
            let idle = if *wanted { "" } else { " (the site does not say that it has one of this kind)" };
            [
                machine.clone(),
                format!("{name}{idle}"),
                kind.to_string(),
                made,
                public.clone().unwrap_or_default(),
            ]
        }));
        let mut page = Page::default();
        page.rows(&rows);
        page
    }
}

/// A secret that was changed.
#[derive(Serialize)]
pub struct Changed {
    machine: String,
    name: String,
    secret: Option<SecretStatus>,
    #[serde(skip)]
    what: &'static str,
}

impl Document for Changed {
    fn page(&self) -> Page {
        let Self { machine, name, secret, what } = self;
        let mut page = Page::of_line(format_args!(
            "{machine}'s secret {name} is {what}; it counts from its next boot on"
        ));
        if secret.as_ref().is_some_and(|secret| !secret.wanted) {
            page.trouble(format_args!("the site does not say that {machine} has a secret {name} of this kind: until it does, it is given to nobody"));
        }
        if let Some(public) = secret.as_ref().and_then(|secret| secret.public.as_ref()) {
            page.line(public);
        }
        page
    }
}

/// `oneroot secret set`.
pub fn set(state: &Path, asked: &Named) -> Result<Changed> {
    let input = std::io::stdin();
    ensure!(
        !input.is_terminal(),
        "a secret comes from standard input: `oneroot secret set MACHINE NAME <FILE`"
    );
    let mut bytes = Vec::new();
    // One byte more than may be says that it is too large.
    input.take(LARGEST as u64 + 1).read_to_end(&mut bytes).context("standard input")?;
    change(state, asked, SecretChange::Set(bytes), "set")
}

/// `oneroot secret rotate`.
pub fn rotate(state: &Path, asked: &Named) -> Result<Changed> {
    change(state, asked, SecretChange::Rotate, "made anew")
}

/// `oneroot secret remove`.
pub fn remove(state: &Path, asked: &Named) -> Result<Changed> {
    change(state, asked, SecretChange::Remove, "removed")
}

/// `oneroot secret list`.
pub fn list(state: &Path, machine: Option<&str>) -> Result<Secrets> {
    Ok(Secrets { secrets: told(running(state, control::ask_secrets(state, machine)?)?)? })
}

fn change(state: &Path, asked: &Named, change: SecretChange, what: &'static str) -> Result<Changed> {
    let (machine, name) = (asked.machine.clone(), asked.name.clone());
    let asked = SecretAsked { machine: machine.clone(), name: name.clone(), change, by: who() };
    let secret = told(running(state, control::ask_secret_change(state, &asked)?)?)?.pop();
    Ok(Changed { machine, name, secret, what })
}

fn told(told: SecretsTold) -> Result<Vec<SecretStatus>> {
    match told.error {
        Some(error) => bail!(error),
        None => Ok(told.secrets),
    }
}
