//! The peer `nfs3_server` needs a file system to serve: this one mirrors a directory, in the plainest way that the crate's
//! trait invites (a table of paths by inode number, lstat, open and pread), without a cache of its own.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use anyhow::{Context as _, Result};
use nfs3_server::fs_util::metadata_to_fattr3;
use nfs3_server::nfs3_types::nfs3::{fattr3, filename3, nfspath3, nfsstat3};
use nfs3_server::nfs3_types::xdr_codec::Opaque;
use nfs3_server::tcp::{NFSTcp as _, NFSTcpListener};
use nfs3_server::vfs::{DirEntryPlus, FileHandleU64, NextResult, NfsReadFileSystem, ReadDirPlusIterator};

/// Serves a directory for ever, as export `/`.
pub fn serve(port: u16, root: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let id = fs::symlink_metadata(root).with_context(|| format!("no tree at {}", root.display()))?.ino();
    let mirror = Mirror { root: id, paths: RwLock::new(HashMap::from([(id, root.to_owned())])) };
    runtime.block_on(async {
        let listener = NFSTcpListener::bind_ro(&format!("0.0.0.0:{port}"), mirror).await?;
        Ok(listener.handle_forever().await?)
    })
}

struct Mirror {
    root: u64,
    paths: RwLock<HashMap<u64, PathBuf>>,
}

impl Mirror {
    fn path(&self, id: FileHandleU64) -> Result<PathBuf, nfsstat3> {
        let paths = self.paths.read().unwrap_or_else(PoisonError::into_inner);
        paths.get(&id.as_u64()).cloned().ok_or(nfsstat3::NFS3ERR_STALE)
    }

    fn learn(&self, path: PathBuf) -> Result<(u64, fattr3), nfsstat3> {
        let meta = fs::symlink_metadata(&path).map_err(|cause| status(&cause))?;
        let known = self.paths.read().unwrap_or_else(PoisonError::into_inner).contains_key(&meta.ino());
        if !known {
            self.paths.write().unwrap_or_else(PoisonError::into_inner).insert(meta.ino(), path);
        }
        Ok((meta.ino(), metadata_to_fattr3(meta.ino(), &meta)))
    }
}

fn status(cause: &io::Error) -> nfsstat3 {
    match cause.kind() {
        io::ErrorKind::NotFound => nfsstat3::NFS3ERR_NOENT,
        io::ErrorKind::NotADirectory => nfsstat3::NFS3ERR_NOTDIR,
        _ => nfsstat3::NFS3ERR_IO,
    }
}

impl NfsReadFileSystem for Mirror {
    type Handle = FileHandleU64;

    fn root_dir(&self) -> FileHandleU64 {
        FileHandleU64::new(self.root)
    }

    async fn lookup(&self, dir: &FileHandleU64, name: &filename3<'_>) -> Result<FileHandleU64, nfsstat3> {
        let path = self.path(*dir)?.join(std::ffi::OsStr::from_bytes(name.as_ref()));
        self.learn(path).map(|(id, _)| FileHandleU64::new(id))
    }

    async fn getattr(&self, id: &FileHandleU64) -> Result<fattr3, nfsstat3> {
        let meta = fs::symlink_metadata(self.path(*id)?).map_err(|cause| status(&cause))?;
        Ok(metadata_to_fattr3(id.as_u64(), &meta))
    }

    async fn read(&self, id: &FileHandleU64, offset: u64, count: u32) -> Result<(Vec<u8>, bool), nfsstat3> {
        let read = || -> io::Result<(Vec<u8>, bool)> {
            let file = File::open(self.path(*id).map_err(|_| io::ErrorKind::NotFound)?)?;
            let size = file.metadata()?.len();
            let length = size.saturating_sub(offset).min(u64::from(count));
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact_at(&mut bytes, offset)?;
            Ok((bytes, offset + length >= size))
        };
        read().map_err(|cause| status(&cause))
    }

    async fn readdirplus(
        &self,
        dir: &FileHandleU64,
        cookie: u64,
    ) -> Result<impl ReadDirPlusIterator<FileHandleU64>, nfsstat3> {
        let path = self.path(*dir)?;
        let listing = fs::read_dir(&path).map_err(|cause| status(&cause))?;
        let mut names: Vec<_> = listing.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        names.sort_unstable();
        Ok(Listing { mirror: self, path, names, next: usize::try_from(cookie).unwrap_or(usize::MAX) })
    }

    async fn readlink(&self, id: &FileHandleU64) -> Result<nfspath3<'_>, nfsstat3> {
        let target = fs::read_link(self.path(*id)?).map_err(|_| nfsstat3::NFS3ERR_INVAL)?;
        Ok(nfspath3(Opaque::owned(target.into_os_string().into_vec())))
    }
}

struct Listing<'a> {
    mirror: &'a Mirror,
    path: PathBuf,
    names: Vec<std::ffi::OsString>,
    next: usize,
}

impl ReadDirPlusIterator<FileHandleU64> for Listing<'_> {
    async fn next(&mut self) -> NextResult<DirEntryPlus<FileHandleU64>> {
        let Some(name) = self.names.get(self.next) else { return NextResult::Eof };
        self.next += 1;
        match self.mirror.learn(self.path.join(name)) {
            Err(cause) => NextResult::Err(cause),
            Ok((id, attr)) => NextResult::Ok(DirEntryPlus {
                fileid: id,
                name: filename3(Opaque::owned(name.as_bytes().to_vec())),
                cookie: self.next as u64,
                name_attributes: Some(attr),
                name_handle: Some(FileHandleU64::new(id)),
            }),
        }
    }
}
