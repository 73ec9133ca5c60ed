//! A distribution's packages as a source: a program installs them, and what it makes is staged as it streams by.
//!
//! Owners and devices are in the archive and never on this host's disk as this host's, so none of it needs root: the
//! program runs in a user namespace with the subordinate ids of whoever calls (`/etc/subuid`).

mod dnf;
mod mmdebstrap;

use std::process::{Command, Stdio};

use oneroot_bootconf::{Installer, Packages};
use oneroot_tree::Stage;

use crate::error::{Error, Lack, Result};
use crate::program::{STAGES_INTO, Said, apart};
use crate::{Host, Run, Source};

/// A program that installs packages into a new root.
trait Install {
    /// What must be there on this host.
    fn programs(&self) -> &'static [&'static str];

    /// What has to be installed, for the message where one is not.
    fn packages(&self) -> &'static str;

    /// The command that writes the root as a tar archive to its standard output. `uid` is whoever calls it.
    fn command(&self, wanted: &Packages, uid: u32) -> Command;
}

/// To add one: this, and its name in [`Installer`].
fn installer(with: Installer) -> &'static dyn Install {
    match with {
        Installer::Mmdebstrap => &mmdebstrap::Mmdebstrap,
        Installer::Dnf => &dnf::Dnf,
    }
}

/// Packages of a distribution, installed.
pub struct Installed<'s>(pub &'s Packages);

impl Source for Installed<'_> {
    fn lacks(&self, host: &Host<'_>) -> Option<Lack> {
        let installer = installer(self.0.with);
        let program = *installer.programs().iter().find(|program| !host.has(program))?;
        Some(Lack::Installer { program, install: installer.packages() })
    }

    fn stage(&self, stage: &mut Stage<'_>, run: &Run<'_>) -> Result<()> {
        if let Some(lack) = self.lacks(run.host) {
            return Err(lack.into());
        }
        let program = installer(self.0.with).command(self.0, run.host.uid);
        let name = program.get_program().to_string_lossy().into_owned();
        let mut said = Said::begin()?;
        let mut program = apart(&program);
        // Its hooks are an admin's own programs, as a command's are.
        program.env(STAGES_INTO, stage.store().path());
        program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said.stdio()?);
        let started = program.spawn().and_then(|mut child| {
            let archive = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
            Ok((child, archive))
        });
        let (mut child, archive) = started.map_err(|cause| Error::Start {
            program: "setpriv; install the package util-linux".to_owned(),
            cause,
        })?;
        // Staging takes the pipe and closes it, so an installer that still writes then is ended by that and not waited for
        // for ever.
        let (staged, done) = said.shown(run.progress, || (stage.archive(archive), child.wait()));
        let done = done.map_err(Error::io("wait for the installer"))?;
        match staged {
            // The program ended because nobody read on, and what it says of that is not the cause.
            Err(cause) if !matches!(cause, oneroot_tree::Error::Archive(_)) => {
                Err(Error::From { from: format!("what {name} made"), cause })
            }
            // An archive that breaks off is what becomes of an installer that failed, whose own words say why.
            _ if !done.success() => Err(Error::Ended { program: name, status: done, said: said.tail()? }),
            staged => Ok(staged?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn words(program: &Command) -> Vec<String> {
        program.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    pub fn wanted(with: Installer, include: &[&str]) -> Packages {
        Packages {
            with,
            release: "noble".to_owned(),
            mirrors: vec!["http://a/x".to_owned(), "http://b/y".to_owned()],
            keyring: Some("/k.gpg".into()),
            insecure: false,
            include: include.iter().map(|name| (*name).to_owned()).collect(),
            options: vec!["--components=main,universe".to_owned()],
        }
    }
}
