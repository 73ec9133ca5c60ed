//! A directory of this host as a source; layers are such, too.

use std::path::Path;

use oneroot_tree::Stage;

use crate::error::{Lack, Result};
use crate::{Host, Run, Source};

/// A directory, and whether what is mounted in it is left out.
pub struct Directory<'s> {
    pub path: &'s Path,
    pub one_file_system: bool,
}

impl Source for Directory<'_> {
    fn lacks(&self, _: &Host<'_>) -> Option<Lack> {
        Lack::of_path(self.path)
    }

    fn stage(&self, stage: &mut Stage<'_>, run: &Run<'_>) -> Result<()> {
        stage.one_file_system(self.one_file_system);
        stage.leave_out(run.left_out);
        stage.remember(run.now, run.afresh);
        Ok(stage.directory(self.path)?)
    }
}
