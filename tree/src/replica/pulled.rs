//! A generation that comes from another store: its objects have come already, and are named as those of a stage are, after one
//! sync; the index last.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};

use super::comparison::objects;
use super::incoming::Incoming;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::store::{Store, make_directory};
use oneroot_ids::ObjectId;

impl Store {
    /// The objects of an index that are neither here nor have come, with their sizes, in the order of the index. Those that are
    /// here are young from now on, so that no collection takes them while the others come.
    #[must_use]
    pub fn missing(&self, index: &Index, incoming: &Incoming) -> Vec<(ObjectId, u64)> {
        objects(index).filter(|(object, _)| !self.keep_object(*object) && !incoming.has(*object)).collect()
    }

    /// Takes in a generation. All that is [missing](Self::missing) has come.
    ///
    /// # Errors
    /// [`Error::NoObject`], or the system's. What has its name by then goes with the next collection.
    pub fn receive(&self, index: &Index, incoming: &mut Incoming) -> Result<()> {
        self.in_place()?;
        self.sync()?;
        for (object, _) in objects(index) {
            if self.keep_object(object) {
                continue;
            }
            let (from, to) = (incoming.path(object), self.object_path(object));
            if !incoming.has(object) {
                return Err(Error::NoObject(object));
            }
            if let Some(parent) = to.parent() {
                make_directory(parent).map_err(Error::io("create", parent))?;
            }
            fs::set_permissions(&from, fs::Permissions::from_mode(0o400))
                .map_err(Error::io("close", &from))?;
            // It may have come days ago; a collection takes what is old and in no index, and this is in none yet.
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            let young = rustix::fs::utimensat(CWD, &from, &times, AtFlags::SYMLINK_NOFOLLOW);
            young.map_err(Error::io("touch", &from))?;
            fs::rename(&from, &to).map_err(Error::io("rename", &to))?;
            incoming.moved(object);
        }
        self.sync()?;
        let written = self.write_generation(index)?;
        self.name_generation(written)
    }
}
