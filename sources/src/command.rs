//! A source that an admin's own program makes.

use std::path::Path;
use std::process::Stdio;

use oneroot_tree::Stage;

use crate::error::{Error, Lack, Result};
use crate::program::{STAGES_INTO, Said, fresh};
use crate::{Host, Run, Source};

/// The program and its arguments.
pub struct Made<'s> {
    pub words: &'s [String],
}

impl Made<'_> {
    fn parts(&self) -> (&str, &[String]) {
        self.words.split_first().map_or(("", &[]), |(program, arguments)| (program.as_str(), arguments))
    }
}

impl Source for Made<'_> {
    /// `env` has no error of its own for what is not there, but an exit code.
    fn lacks(&self, host: &Host<'_>) -> Option<Lack> {
        let (program, _) = self.parts();
        let is_there =
            if program.contains('/') { host.home.join(program).exists() } else { host.has(program) };
        (!is_there).then(|| Lack::Program { program: program.to_owned(), home: host.home.to_owned() })
    }

    /// The program runs in the site's directory, with an empty directory as its last argument; what is in there then is staged.
    /// Owners are those that the program could give: as root, any.
    fn stage(&self, stage: &mut Stage<'_>, run: &Run<'_>) -> Result<()> {
        if let Some(lack) = self.lacks(run.host) {
            return Err(lack.into());
        }
        let (program, arguments) = self.parts();
        let directory = tempfile::tempdir().map_err(Error::io("make a directory for the command"))?;
        let mut said = Said::begin()?;
        let mut runs = fresh(program);
        runs.args(arguments).arg(directory.path()).current_dir(run.host.home).stdin(Stdio::null());
        runs.env(STAGES_INTO, stage.store().path());
        runs.stdout(said.stdio()?).stderr(said.stdio()?);
        let done = said
            .shown(run.progress, || runs.status())
            .map_err(|cause| Error::Start { program: program.to_owned(), cause })?;
        if !done.success() {
            return Err(Error::Ended { program: program.to_owned(), status: done, said: said.tail()? });
        }
        let made: &Path = directory.path();
        Ok(stage.directory(made)?)
    }
}
