//! A look into the site's store, which changes nothing there: what it makes on its way lies in a directory that goes with it.

use std::ops::Deref;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use oneroot_bootconf::Site;
use oneroot_tree::Store;
use tempfile::TempDir;

/// The store, for as long as it is looked into.
pub struct Look {
    store: Arc<Store>,
    _scratch: TempDir,
}

impl Look {
    /// Into the site's store; where there is none, none is made, and it looks empty.
    pub fn into_store_of(site: &Site) -> Result<Self> {
        let scratch = tempfile::tempdir().context("cannot make a directory for the look into the store")?;
        let store = Store::look(&site.server.store, scratch.path())?;
        Ok(Self { store, _scratch: scratch })
    }
}

impl Deref for Look {
    type Target = Arc<Store>;

    fn deref(&self) -> &Arc<Store> {
        &self.store
    }
}
