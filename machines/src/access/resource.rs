//! A file that a machine may fetch before it has a root: bytes made for it, a file of its view, or a loader.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use oneroot_bootconf::again::Ask;
use oneroot_bootconf::firmware::LOADERS;
use oneroot_bootconf::hardware::Hardware;
use oneroot_bootconf::plan::{BootFile, INITRD, KERNEL};
use oneroot_bootconf::root::Root;
use oneroot_ids::{BootId, Mac, ViewId};
use oneroot_tree::View;
use oneroot_tree::confine::open_file;

use crate::index::stalls::LOADED;
use crate::initrds;
use crate::machines::Machines;
use crate::objects;
use crate::objects::Objects;
use crate::order::blocking::blocking;

/// A kernel takes an archive that is not packed only where it begins at a multiple of this, behind whatever lies before it, and
/// passes over zeros (Linux, early-userspace/buffer-format). Firmware's loaders put initrds together without a gap: an EFI
/// kernel that reads them by its `initrd=` does, where iPXE is of 2019.
const ARCHIVE: u64 = 4;

/// The protocol that asks for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The peer has made a connection, so it is where it says.
    Http(Ask),
    /// Anybody may have sent it.
    Tftp,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http(_) => "HTTP",
            Self::Tftp => "TFTP",
        })
    }
}

/// There is a file of that name for this peer, and it cannot be read now: the log says why. It is not to be taken for one that is
/// not there, or somebody looks for a wrong name where a disk has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// What there is under a name, if there is anything for who asks.
pub type Lookup = Result<Option<Resource>, Unreadable>;

/// What a name stands for, for the machine that asked.
#[derive(Clone)]
pub enum Resource {
    /// Made just now: a boot script.
    Bytes(Arc<[u8]>),
    /// A file of the machine's own view (kernel, initrd), or a loader of the host.
    File {
        /// The file, open.
        file: Arc<File>,
        /// Its bytes when it was opened.
        size: u64,
        /// Zeros that are sent behind them.
        padding: u64,
    },
    /// Several, one behind the other: an initrd that was made for a boot. None of them is joined itself.
    Joined(Arc<[Resource]>),
}

/// A file of a boot, before it is looked up in the boot's view.
struct WantedFile {
    view: ViewId,
    mac: Mac,
    file: BootFile,
    /// Whether another is loaded behind it.
    is_followed: bool,
    /// Whether it is the last of a boot that loads nothing more from here.
    is_all: bool,
}

impl Resource {
    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, padding, .. } => size + padding,
            Self::Joined(pieces) => pieces.iter().map(Self::len).sum(),
        }
    }

    /// The pieces that a part of it reaches into, with the part of each.
    pub fn pieces(&self, part: Range<u64>) -> Vec<(&Self, Range<u64>)> {
        let Self::Joined(pieces) = self else { return vec![(self, part)] };
        let mut begin = 0;
        let within = pieces.iter().filter_map(|piece| {
            let here = begin..begin + piece.len();
            begin = here.end;
            let (start, end) = (part.start.max(here.start), part.end.min(here.end));
            (start < end).then(|| (piece, start - here.start..end - here.start))
        });
        within.collect()
    }

    /// What tells it from any other file of its name (RFC 9110 §8.8.3). `None` where the system does not say.
    pub fn tag(&self) -> Option<String> {
        match self {
            // A boot that is made up to tell its script's length is none that comes.
            Self::Bytes(_) => None,
            Self::File { file, size, .. } => {
                let meta = file.metadata().ok()?;
                // A file that is replaced is another inode, one that is changed has another time.
                Some(format!("\"{:x}-{:x}-{:x}{:09x}\"", meta.ino(), size, meta.mtime(), meta.mtime_nsec()))
            }
            // Bytes among files are of a plan, and the same as long as that is.
            Self::Joined(pieces) => {
                let mut name = blake3::Hasher::new();
                for piece in pieces.iter() {
                    match piece {
                        Self::Bytes(bytes) => name.update(bytes),
                        other => name.update(other.tag()?.as_bytes()),
                    };
                }
                Some(format!("\"{}\"", name.finalize().to_hex().get(..32)?))
            }
        }
    }

    /// Fills `to` from `offset` and says how many bytes there were.
    pub fn fill(&self, offset: u64, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Bytes(bytes) => {
                let rest =
                    usize::try_from(offset).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
                let count = rest.len().min(to.len());
                to.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                Ok(count)
            }
            Self::File { file, size, .. } if offset < *size => {
                let most = usize::try_from(size - offset).unwrap_or(usize::MAX).min(to.len());
                file.read_at(to.get_mut(..most).unwrap_or_default(), offset)
            }
            Self::File { .. } => {
                let left = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX);
                let count = left.min(to.len());
                to.get_mut(..count).unwrap_or_default().fill(0);
                Ok(count)
            }
            Self::Joined(_) => match self.pieces(offset..u64::MAX).first() {
                Some((piece, part)) => piece.fill(part.start, to),
                None => Ok(0),
            },
        }
    }

    /// Fills `to` from `offset` if that needs no disk, and says whether it did.
    ///
    /// # Errors
    /// `UnexpectedEof` when there is less.
    pub fn fill_now(&self, offset: u64, to: &mut [u8]) -> io::Result<bool> {
        match self {
            Self::Bytes(_) if self.fill(offset, to)? < to.len() => Err(io::ErrorKind::UnexpectedEof.into()),
            Self::Bytes(_) => Ok(true),
            Self::File { .. } if offset.saturating_add(to.len() as u64) > self.len() => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Self::File { file, size, .. } => {
                let inside = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX).min(to.len());
                let (own, zeros) = to.split_at_mut(inside);
                zeros.fill(0);
                objects::read_cached(file, offset, own)
            }
            Self::Joined(_) if offset.saturating_add(to.len() as u64) > self.len() => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Self::Joined(_) => {
                let mut rest = to;
                for (piece, part) in self.pieces(offset..offset + rest.len() as u64) {
                    let length = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
                    let Some((own, behind)) = rest.split_at_mut_checked(length) else {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    };
                    if !piece.fill_now(part.start, own)? {
                        return Ok(false);
                    }
                    rest = behind;
                }
                Ok(true)
            }
        }
    }

    /// Appends exactly `length` bytes from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when there are fewer.
    pub fn read_at(&self, mut offset: u64, length: usize, to: &mut Vec<u8>) -> io::Result<()> {
        let start = to.len();
        to.resize(start + length, 0);
        let mut rest = to.get_mut(start..).unwrap_or_default();
        while !rest.is_empty() {
            match self.fill(offset, rest)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    offset += count as u64;
                    rest = rest.get_mut(count..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }
}

impl Machines {
    /// What a name stands for, for the peer that asks: the only names that TFTP and HTTP know.
    ///
    /// | name | who gets it |
    /// |---|---|
    /// | `boot/MAC.ipxe` by HTTP | the machine whose lease has that MAC: its boot script, and a plan where it needs one; where it is asked for facts, what asks for them |
    /// | `boot/MAC.ipxe?FACTS` by HTTP | that machine: its boot script, by these facts |
    /// | `boot/MAC/CHOICE.ipxe` by HTTP | the same, where somebody has chosen that in its menu |
    /// | `boot/MAC.ipxe` by TFTP | that machine: what leads it to the next |
    /// | `boot/MAC.COOKIE.ipxe` by TFTP | the machine that was told the cookie: as by HTTP, without facts |
    /// | `b/BOOT/kernel`, `b/BOOT/initrd`, `b/BOOT/initrd2` and so on | the machine whose boot that is: out of its own view |
    /// | a loader's file name | anybody |
    pub async fn resource(
        self: &Arc<Self>,
        peer: IpAddr,
        name: &str,
        query: Option<&str>,
        via: Via,
    ) -> Lookup {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        if !name.bytes().all(plain) {
            return Ok(None);
        }
        // Firmware joins directory and name as it likes: `//name` and `./name` are `name`.
        let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        match parts.as_slice() {
            ["b", boot, which] => match boot.parse() {
                Ok(boot) => self.boot_file(peer, boot, which, via).await,
                Err(_) => Ok(None),
            },
            ["boot", script] => Ok(self.script(peer, script, query, via).await),
            ["boot", mac, choice] => Ok(self.chosen(peer, mac, choice, via).await),
            [loader] => Ok(self.loader_for(peer, loader, via).await),
            _ => Ok(None),
        }
    }

    /// A machine's script, by the name that it has: its MAC, or its MAC and a cookie.
    async fn script(
        self: &Arc<Self>,
        peer: IpAddr,
        name: &str,
        query: Option<&str>,
        via: Via,
    ) -> Option<Resource> {
        let name = name.strip_suffix(".ipxe")?;
        let (mac, cookie) = name.split_once('.').map_or((name, None), |(mac, cookie)| (mac, Some(cookie)));
        let mac: Mac = mac.parse().ok()?;
        let asks = || query.is_none() && self.asks_for_facts(&self.site(), mac);
        let told = query.map(Hardware::of_query);
        let script = match (via, cookie) {
            (Via::Tftp, None) => self.lead_script(peer, mac)?,
            (Via::Tftp, Some(cookie)) if self.cookies.is_good(cookie, peer, mac, self.host.now()) => {
                if asks() {
                    self.ask_script(peer, mac)?
                } else {
                    self.boot_script(peer, mac, None, Ask::Whole).await?
                }
            }
            (Via::Http(_), None) if asks() => self.ask_script(peer, mac)?,
            (Via::Http(ask), None) => self.script_by(peer, mac, None, ask, told).await?,
            (Via::Tftp | Via::Http(_), Some(_)) => return None,
        };
        Some(Resource::Bytes(Arc::from(script.into_bytes())))
    }

    /// A machine's script for what somebody has chosen in its menu. Only who has had that menu by HTTP can ask for it.
    async fn chosen(self: &Arc<Self>, peer: IpAddr, mac: &str, choice: &str, via: Via) -> Option<Resource> {
        let Via::Http(ask) = via else { return None };
        let choice = choice.strip_suffix(".ipxe")?;
        let script = self.boot_script(peer, mac.parse().ok()?, Some(choice), ask).await?;
        Some(Resource::Bytes(Arc::from(script.into_bytes())))
    }

    async fn boot_file(self: &Arc<Self>, peer: IpAddr, boot: BootId, which: &str, via: Via) -> Lookup {
        let Some(wanted) = self.wanted_file(peer, boot, which) else { return Ok(None) };
        let WantedFile { view, mac, file, is_followed, is_all } = wanted;
        self.step(mac, if which == KERNEL { KERNEL } else { INITRD }, false);
        // In memory as a rule, for its machine's pin holds it; else the disk is waited for on another thread.
        let merged = match self.planner.views.loaded(view) {
            Some(merged) => merged,
            None => {
                let machines = self.clone();
                let load = tokio::task::spawn_blocking(move || machines.planner.views.load(view));
                let merged = load.await.map_err(|_| Unreadable)?;
                merged.map_err(|cause| {
                    tracing::error!(%boot, %view, %cause, "cannot give a boot file: its view cannot be read");
                    Unreadable
                })?
            }
        };
        let found = match file {
            BootFile::View(path) => self.opened(&merged, &path, is_followed).await?,
            BootFile::Joined { parts, settings } => self.joined(&merged, &parts, &settings).await?,
        };
        if found.is_none() {
            return Ok(None);
        }
        // Not before it is there to be given, nor for its length: an assignment for one boot ends with this.
        if is_all && via != Via::Http(Ask::Length) {
            self.step(mac, LOADED, false);
            self.end_assignments_soon();
        }
        Ok(found)
    }

    /// A file of a view, with what another archive may begin behind.
    async fn opened(&self, view: &View, path: &str, is_followed: bool) -> Lookup {
        let contents = |node| Some((view.object(node)?, view.stat(node)?.size));
        let Some((object, size)) = view.follow(path.as_bytes()).and_then(contents) else { return Ok(None) };
        let file = self.objects.open_good(object).await.map_err(|cause| {
            Objects::complain(object, &cause);
            Unreadable
        })?;
        let padding = if is_followed { size.next_multiple_of(ARCHIVE) - size } else { 0 };
        Ok(Some(Resource::File { file, size, padding }))
    }

    /// Files of a view, and the settings of a boot behind them.
    async fn joined(&self, view: &View, parts: &[String], settings: &str) -> Lookup {
        let mut pieces = Vec::with_capacity(parts.len() + 1);
        for path in parts {
            match self.opened(view, path, true).await? {
                Some(piece) => pieces.push(piece),
                None => return Ok(None),
            }
        }
        let settings = initrds::settings(settings).map_err(|cause| {
            tracing::error!(%cause, "cannot give an initrd: its settings can't be written");
            Unreadable
        })?;
        pieces.push(Resource::Bytes(settings.into()));
        Ok(Some(Resource::Joined(pieces.into())))
    }

    /// What a name of a boot stands for, for the machine whose boot it is.
    fn wanted_file(&self, peer: IpAddr, boot: BootId, which: &str) -> Option<WantedFile> {
        let index = self.index();
        let plan = index.plans.get(&boot)?;
        if index.machine_at(peer) != Some(plan.machine) {
            tracing::warn!(%peer, %boot, "refused a boot file to an address that is not that boot's machine");
            return None;
        }
        let file = plan.file(which)?.clone();
        index.hear(plan.machine, self.host.now());
        let is_last = plan.files().last().is_some_and(|(name, _)| name == which);
        Some(WantedFile {
            view: plan.view,
            mac: plan.mac,
            file,
            is_followed: which != KERNEL && !is_last,
            is_all: is_last && plan.root == Root::None,
        })
    }

    /// A loader, for whoever asks.
    async fn loader_for(&self, peer: IpAddr, name: &str, via: Via) -> Option<Resource> {
        let found = self.loader(name).await?;
        let mac = self.index().mac_at(peer);
        if let Some(mac) = mac {
            tracing::info!(machine = self.name_of(mac), %mac, "loads {name} by {via}");
            self.step(mac, "loader", false);
        }
        Some(found)
    }

    /// iPXE's binary for a kind of firmware. The name is one of ours and not the client's, so a link where the admin's
    /// package has put one (Debian's `ipxe.efi` is one) may be followed.
    async fn loader(&self, name: &str) -> Option<Resource> {
        let loader = LOADERS.iter().find(|loader| loader.file == name)?;
        let places: Vec<PathBuf> = self.loaders.iter().map(|place| place.join(loader.file)).collect();
        let looking = self.looking_for_loaders.clone().acquire_owned().await.ok()?;
        let found = blocking(looking, move || -> io::Result<Resource> {
            let mut found = Err(io::Error::from(io::ErrorKind::NotFound));
            for path in &places {
                found = open_file(path).and_then(|file| Ok((file.metadata()?.len(), file)));
                // One that is there and can't be read is told of, and not passed over for another directory's.
                if found.as_ref().err().is_none_or(|cause| cause.kind() != io::ErrorKind::NotFound) {
                    break;
                }
            }
            let (size, file) = found.inspect_err(|cause| {
                let path = places.first().map(|path| path.display().to_string()).unwrap_or_default();
                tracing::error!(path, %cause, "a loader cannot be served; install {}", loader.package);
            })?;
            Ok(Resource::File { file: Arc::new(file), size, padding: 0 })
        });
        found.await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use oneroot_initrd::settings::Settings;

    use super::*;
    use crate::boots::unknown::tests::{open, site};

    /// All of a file of a boot, by its name.
    async fn all(machines: &Arc<Machines>, peer: IpAddr, name: &str, via: Via) -> Option<(Vec<u8>, String)> {
        let resource = machines.resource(peer, name, None, via).await.unwrap()?;
        let mut bytes = Vec::new();
        resource.read_at(0, usize::try_from(resource.len()).unwrap(), &mut bytes).unwrap();
        Some((bytes, resource.tag().unwrap()))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_boots_initrd_is_the_same_bytes_after_a_restart_and_nobody_elses() {
        let home = tempfile::tempdir().unwrap();
        crate::initrds::tests::trees::debian(&home.path().join("root"));
        let site = site(home.path(), false);
        let (peer, mac) = (IpAddr::from([10, 0, 0, 10]), "52:54:00:00:00:0a".parse().unwrap());
        let http = Via::Http(Ask::Whole);
        let machines = open(&site).await;
        machines.leased(peer, mac);
        assert!(machines.asks_for_facts(&site, mac), "its tree has not been looked into, and may have none");
        let script = machines.boot_script(peer, mac, None, Ask::Whole).await.unwrap();
        assert!(machines.asks_for_facts(&site, mac), "its NIC's driver is all that the next one needs");
        machines.planner.tree_has_initrd("a", true);
        assert!(!machines.asks_for_facts(&site, mac), "its tree was seen to have an initrd of its own");
        let boot = script.split("/b/").nth(1).unwrap().split('/').next().unwrap();
        let name = format!("b/{boot}/initrd");
        let (bytes, tag) = all(&machines, peer, &name, http).await.unwrap();
        assert_eq!(all(&machines, peer, &name, Via::Tftp).await.unwrap().0, bytes);
        let end = String::from_utf8_lossy(&bytes);
        let settings = end.split("oneroot/settings\0").nth(1).unwrap().trim_start_matches('\0');
        let settings = settings.split("end\n").next().unwrap().to_owned() + "end\n";
        let settings: Settings = settings.parse().unwrap();
        let plan = machines.index().plans.values().next().unwrap().clone();
        assert_eq!(settings.export, format!("/v/{}.{boot}", plan.view));
        let stranger = IpAddr::from([10, 0, 0, 11]);
        assert!(all(&machines, stranger, &name, http).await.is_none());
        drop(machines);

        let machines = open(&site).await;
        machines.leased(peer, mac);
        assert_eq!(all(&machines, peer, &name, http).await.unwrap(), (bytes, tag), "after a restart");
        let again = machines.boot_script(peer, mac, None, Ask::Whole).await.unwrap();
        assert_eq!(again, script, "and it is the same boot");
    }

    #[test]
    fn what_is_joined_is_read_as_if_it_were_one() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), b"12345").unwrap();
        let file = Arc::new(File::open(path.path()).unwrap());
        let pieces = [
            Resource::File { file: file.clone(), size: 5, padding: 3 },
            Resource::Bytes(Arc::from(&b""[..])),
            Resource::File { file, size: 4, padding: 0 },
            Resource::Bytes(Arc::from(&b"end"[..])),
        ];
        let joined = Resource::Joined(pieces.into());
        let all = b"12345\0\0\x001234end";
        assert_eq!(joined.len(), all.len() as u64);
        for start in 0..=all.len() {
            for length in 0..=all.len() - start {
                let mut whole = Vec::new();
                joined.read_at(start as u64, length, &mut whole).unwrap();
                let mut now = vec![7; length];
                let is_cached = joined.fill_now(start as u64, &mut now).unwrap();
                let expected = &all[start..start + length];
                assert_eq!(whole, expected, "{length} from {start}");
                assert!(!is_cached || now == expected, "{length} from {start}");
            }
            let beyond = all.len() + 1 - start;
            assert!(joined.read_at(start as u64, beyond, &mut Vec::new()).is_err());
            assert!(joined.fill_now(start as u64, &mut vec![0; beyond]).is_err());
        }
        let tagged = |end: &[u8]| {
            let Resource::Joined(pieces) = &joined else { unreachable!() };
            let mut pieces = pieces.to_vec();
            pieces[3] = Resource::Bytes(Arc::from(end));
            Resource::Joined(pieces.into()).tag().unwrap()
        };
        assert_eq!(tagged(b"end"), tagged(b"end"));
        assert_ne!(tagged(b"end"), tagged(b"END"), "another boot's settings");
    }

    #[test]
    fn zeros_behind_a_file_are_read_as_if_they_were_in_it() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), b"12345").unwrap();
        let file = Arc::new(File::open(path.path()).unwrap());
        let resource = Resource::File { file, size: 5, padding: 3 };
        assert_eq!(resource.len(), 8);
        for start in 0..=8_usize {
            for length in 0..=8 - start {
                let mut whole = Vec::new();
                resource.read_at(start as u64, length, &mut whole).unwrap();
                let mut now = vec![7; length];
                let is_cached = resource.fill_now(start as u64, &mut now).unwrap();
                let expected = &b"12345\0\0\0"[start..start + length];
                assert_eq!(whole, expected, "{length} from {start}");
                assert!(!is_cached || now == expected, "{length} from {start}");
            }
            let beyond = 9 - start;
            assert!(resource.read_at(start as u64, beyond, &mut Vec::new()).is_err());
            assert!(resource.fill_now(start as u64, &mut vec![0; beyond]).is_err());
        }
    }
}
