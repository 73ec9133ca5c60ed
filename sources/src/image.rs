//! An OCI layout of this host as a source: a directory or an archive, as skopeo and podman write it.

use std::path::Path;

use oneroot_tree::Stage;
use oneroot_tree::stage::oci::Platform;

use crate::error::{Error, Lack, Result};
use crate::{Host, Run, Source};

/// A layout's path.
pub struct Image<'s> {
    pub path: &'s Path,
}

impl Source for Image<'_> {
    fn lacks(&self, _: &Host<'_>) -> Option<Lack> {
        Lack::of_path(self.path)
    }

    fn stage(&self, stage: &mut Stage<'_>, _: &Run<'_>) -> Result<()> {
        let from = self.path.display().to_string();
        stage.oci(self.path, &Platform::host()).map_err(Error::from_what(from))
    }
}
