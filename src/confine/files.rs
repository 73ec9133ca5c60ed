//! Files (Landlock, landlock(7)): what the site names is read, store and state are written, nothing else is opened and no
//! program is started. TCP ports other than the site's can't be listened on, and no TCP connection can be begun. Signals
//! and abstract sockets end at the server.
//!
//! A rule holds for a directory and not for a path: one that is put in the place of another is outside.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus,
    Scope, make_bitflags,
};
use oneroot_bootconf::Site;
use rustix::fs::{Mode, OFlags};

use super::grants;

/// The first that lets a file be renamed into another directory, which is how the store names what it has written. Less
/// than this is not used: the server would not work.
const LEAST: ABI = ABI::V2;
/// What is asked for beyond that, of kernels that know it.
const MOST: ABI = ABI::V6;
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const WRITTEN: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | MakeSock | RemoveFile | RemoveDir | Refer
});
/// Of the kernel's own files: the neighbour table and the like, our threads, which start of the kernel this is.
const OF_THE_KERNEL: [&str; 2] = ["/proc/self", "/proc/sys/kernel/random/boot_id"];

/// Which directories are inside.
pub struct Fence {
    inside: HashSet<(u64, u64)>,
    /// Files of /proc exist while somebody has them open, or else come back as others, which no rule is for.
    _held: Vec<OwnedFd>,
    note: Option<String>,
}

impl Fence {
    /// Puts it up around the calling thread.
    pub fn put_up(site: &Site, file: &Path, ports: &[u16]) -> Result<Self> {
        let mut rules = rules(ports)?;
        let (mut inside, mut held) = (HashSet::new(), Vec::new());
        let named = grants::read_by(site, file).into_iter().map(|path| (path, READ));
        let written = [&site.server.store, &site.server.state].map(|path| (path.clone(), WRITTEN));
        for (path, access) in named.chain(written) {
            // What is not there can't be opened; a reload asks for a restart when it is.
            let Ok(place) = Place::open(&path) else { continue };
            inside.insert(place.id);
            rules = place.grant(rules, access)?;
        }
        for path in OF_THE_KERNEL {
            // What is not there (another kernel, a container) is not missed here.
            let Ok(place) = Place::open(Path::new(path)) else { continue };
            rules = place.grant(rules, READ)?;
            held.push(place.opened);
        }
        let status = rules.restrict_self()?;
        Ok(Self { inside, _held: held, note: note(&status) })
    }

    /// What is in force of it, where this kernel does not know all.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Those of these paths that are there and not inside, with what to do about it.
    pub fn outside(&self, paths: Vec<PathBuf>) -> Vec<String> {
        let outside = paths.into_iter().filter(|path| self.has(path) == Some(false));
        outside
            .map(|path| {
                format!("{} is none of the places that this server may read since it started, which takes a restart", path.display())
            })
            .collect()
    }

    /// Whether a path is inside; `None` where there is nothing.
    fn has(&self, path: &Path) -> Option<bool> {
        let whole = path.canonicalize().ok()?;
        let ids = whole.ancestors().filter_map(|above| std::fs::metadata(above).ok());
        Some(ids.map(|meta| (meta.dev(), meta.ino())).any(|id| self.inside.contains(&id)))
    }
}

/// All that is forbidden unless a rule says otherwise, and the rules for ports.
fn rules(ports: &[u16]) -> Result<RulesetCreated> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))
        .context(
            "no Landlock, or an old one: it takes Linux 5.19 or newer, with `landlock` in its lsm= list",
        )?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(MOST))?
        .handle_access(AccessNet::from_all(MOST))?
        .scope(scopes())?
        .create()?
        .set_compatibility(CompatLevel::BestEffort);
    let listening =
        |rules: RulesetCreated, port: &u16| rules.add_rule(NetPort::new(*port, AccessNet::BindTcp));
    Ok(ports.iter().try_fold(rules, listening)?)
}

/// systemd's socket for READY=1 may be an abstract one, as in some containers.
fn scopes() -> BitFlags<Scope> {
    let notify = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    if notify.as_encoded_bytes().starts_with(b"@") {
        return Scope::Signal.into();
    }
    Scope::from_all(MOST)
}

/// A directory or file that a rule is for.
struct Place {
    opened: OwnedFd,
    id: (u64, u64),
    is_directory: bool,
}

impl Place {
    fn open(path: &Path) -> std::io::Result<Self> {
        let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let file = File::from(opened);
        let meta = file.metadata()?;
        Ok(Self { opened: file.into(), id: (meta.dev(), meta.ino()), is_directory: meta.is_dir() })
    }

    fn grant(&self, rules: RulesetCreated, access: BitFlags<AccessFs>) -> Result<RulesetCreated> {
        let access = if self.is_directory { access } else { access & AccessFs::from_file(MOST) };
        Ok(rules.add_rule(PathBeneath::new(&self.opened, access))?)
    }
}

fn note(status: &RestrictionStatus) -> Option<String> {
    match (&status.ruleset, &status.landlock) {
        (RulesetStatus::FullyEnforced, _) => None,
        (_, LandlockStatus::Available { effective_abi, .. }) => Some(format!(
            "this kernel's Landlock is version {}: files are fenced in, and TCP ports from 4 on, signals from 6 on",
            *effective_abi as i32
        )),
        _ => Some("this kernel has a part of Landlock".to_owned()),
    }
}
