//! A tar archive as a source, compressed or not.

use std::fs::File;
use std::path::Path;

use oneroot_tree::Stage;
use oneroot_tree::confine::open_file;

use crate::error::{Error, Lack, Result};
use crate::{Host, Run, Source};

/// An archive's path.
pub struct Archive<'s> {
    pub path: &'s Path,
}

impl Archive<'_> {
    fn open(&self) -> Result<File> {
        open_file(self.path).map_err(|cause| {
            let hint = if self.path.exists() && !self.path.is_file() {
                "what a program writes is a source of its own: command = [\"zstd\", \"-dc\", …]"
            } else {
                "is it there, and may it be read?"
            };
            Error::Open { path: self.path.to_owned(), hint, cause }
        })
    }
}

impl Source for Archive<'_> {
    fn lacks(&self, _: &Host<'_>) -> Option<Lack> {
        Lack::of_path(self.path)
    }

    fn stage(&self, stage: &mut Stage<'_>, _: &Run<'_>) -> Result<()> {
        stage.archive(self.open()?).map_err(Error::from_what(self.path.display().to_string()))
    }
}
