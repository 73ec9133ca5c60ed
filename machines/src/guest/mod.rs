//! What a machine finds at `/.oneroot`: an ordinary generation that the binary brings along
//! (docs/boot-story.md). A new binary brings a new one, for new boots only.

use std::sync::Arc;

use crate::error::{Error, Result};
use oneroot_ids::GenerationId;
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::store::{How, Staged};
use oneroot_tree::{Ref, RefKind, Stage, Store};

/// Programs there: the first that a machine runs, what that runs in the new root, what puts in place what the machine is
/// given, what tells ifupdown of the NIC, what tells that systemd has come up, what does beside an init
/// that can't, and then becomes the last of these, what makes what lasts, what fetches the machine's secrets, what runs the site's hooks, and what tells of a mount that failed
/// and of a writable layer that fills up.
const PROGRAMS: [(&str, &str); 11] = [
    ("init", include_str!("init")),
    ("start", include_str!("start")),
    ("place", include_str!("place")),
    ("ifupdown", include_str!("ifupdown")),
    ("up", include_str!("up")),
    ("watch", include_str!("watch")),
    ("keep", include_str!("keep")),
    ("hooks", include_str!("hooks")),
    ("fetch-secrets", include_str!("fetch-secrets")),
    ("mount-failed", include_str!("mount-failed")),
    ("space", include_str!("space")),
];
/// Other files there: what is put where, and what every machine is given.
const FILES: [(&str, &str); 5] = [
    ("places", include_str!("places")),
    ("run/systemd/system/oneroot-up.service", include_str!("up.service")),
    ("run/systemd/system/oneroot-mount-failed@.service", include_str!("mount-failed.service")),
    ("run/systemd/system/oneroot-keep@.service", include_str!("keep.service")),
    ("run/systemd/system/oneroot-space.service", include_str!("space.service")),
];
/// Directories of those.
const RUN: [&str; 4] = [
    ".oneroot/run",
    ".oneroot/run/systemd",
    ".oneroot/run/systemd/system",
    ".oneroot/run/systemd/system/multi-user.target.wants",
];
/// Links there, and where they lead.
const LINKS: [(&str, &str); 2] = [
    ("run/systemd/system/multi-user.target.wants/oneroot-up.service", "../oneroot-up.service"),
    ("run/systemd/system/multi-user.target.wants/oneroot-space.service", "../oneroot-space.service"),
];

/// Directory whose names are words that machines say; none is ever there.
pub const SAY: &str = ".oneroot/say";

/// The name that it has in the store.
const NAME: &str = "oneroot";
/// One time for all of it, whenever and wherever the binary was built, or each server would have its own generation.
pub const MTIME: i64 = 1_700_000_000_000_000_000;

/// Stages `/.oneroot`, unless the store has this binary's already. `now` is seconds since 1970.
pub fn stage(store: &Arc<Store>, now: u64) -> Result<GenerationId> {
    let mut stage = Stage::begin(store, |_| {})?;
    // No source has it, so nothing else would put it right.
    stage.distrust();
    let meta = |mode| Meta { mode, mtime: MTIME, ..Meta::default() };
    for dir in ["", ".oneroot", ".oneroot/lower", ".oneroot/rw", SAY].into_iter().chain(RUN) {
        stage.insert(&TreePath::parse(dir.as_bytes())?, meta(0o755), Content::Directory { opaque: false })?;
    }
    let files = PROGRAMS.map(|file| (file, 0o755)).into_iter().chain(FILES.map(|file| (file, 0o644)));
    for ((name, text), mode) in files {
        let path = format!(".oneroot/{name}");
        let content = stage.object(text.as_bytes(), path.as_bytes())?;
        stage.insert(&TreePath::parse(path.as_bytes())?, meta(mode), content)?;
    }
    for (name, target) in LINKS {
        let link = Content::Symlink(target.as_bytes().to_vec());
        stage.insert(&TreePath::parse(format!(".oneroot/{name}").as_bytes())?, meta(0o777), link)?;
    }
    let generation = stage.finish()?.generation;
    let name = Ref::new(RefKind::Builtin, NAME).ok_or_else(|| Error::Name(NAME.to_owned()))?;
    store.stage_head(&name, Staged { generation, at: now, how: How::Staged })?;
    Ok(generation)
}
