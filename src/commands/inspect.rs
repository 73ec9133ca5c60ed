//! `oneroot ls` and `oneroot cat`: a look into a generation, or into the root that a machine would boot, without a mount.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};
use oneroot_bootconf::Site;
use oneroot_machines::planner::renderer::Renderer;
use oneroot_tree::node::{Kind, TreePath};
use oneroot_tree::view::{Node, Stat};
use oneroot_tree::{View, Views};
use serde::Serialize;
use std::sync::Arc;

use super::generations;
use super::look::Look;
use super::preview::preview;
use crate::cli::Exit;
use crate::print::{self, Document, Page};

/// What is looked into, merged: a machine's view, or a generation on its own.
pub fn look_into(site: &Site, what: &str, renderer: &Arc<dyn Renderer>) -> Result<(Arc<View>, Look)> {
    let store = Look::into_store_of(site)?;
    if site.machines.contains_key(what) || what.parse::<oneroot_ids::Mac>().is_ok() {
        let preview = preview(site, &store, what, &[], renderer)?;
        return Ok((preview.stacked.view.clone(), store));
    }
    let generation = generations::find(site, &store, what)?;
    Ok((Views::new(store.clone()).of(&[generation])?, store))
}

/// A directory, or one file of another kind.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Listing {
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    mode: String,
    links: u32,
    uid: u32,
    gid: u32,
    size: u64,
    name: String,
    target: Option<String>,
}

/// `oneroot ls WHAT [PATH]`.
pub fn ls(site: &Site, what: &str, path: &str, renderer: &Arc<dyn Renderer>) -> Result<Listing> {
    let (view, _look) = look_into(site, what, renderer)?;
    let node = resolve(&view, path)?;
    let stat = view.stat(node).context("it went away")?;
    let mut lines = Vec::new();
    if stat.kind == Kind::Directory {
        for (name, node) in view.entries(node) {
            lines.extend(
                view.stat(node).map(|stat| line(&view, node, &stat, &name.escape_ascii().to_string())),
            );
        }
    } else {
        lines.push(line(&view, node, &stat, path));
    }
    Ok(Listing { lines })
}

impl Document for Listing {
    fn page(&self) -> Page {
        let row = |line: &Line| {
            let arrow = line.target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
            [
                line.mode.clone(),
                line.links.to_string(),
                format!("{}:{}", line.uid, line.gid),
                line.size.to_string(),
                format!("{}{arrow}", line.name),
            ]
        };
        let rows: Vec<[String; 5]> = self.lines.iter().map(row).collect();
        let mut page = Page::default();
        page.text(print::table(&rows));
        page
    }
}

/// `oneroot cat WHAT PATH`. Symbolic links are followed inside the tree.
pub fn cat(site: &Site, what: &str, path: &str, renderer: &Arc<dyn Renderer>) -> Result<Exit> {
    let (view, store) = look_into(site, what, renderer)?;
    let node = view.follow(path.as_bytes()).with_context(|| format!("{what} has no {path}"))?;
    let Some(object) = view.object(node) else { bail!("{path} is not a regular file") };
    let mut file = store.object(object).with_context(|| format!("the store has lost {path}"))?;
    let mut out = io::stdout().lock();
    match io::copy(&mut file, &mut out).and_then(|_| out.flush()) {
        // `oneroot cat … | head` is no failure.
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => {}
        copied => copied?,
    }
    Ok(Exit::Done)
}

/// As `ls -l` does: links on the way are followed, the last name is shown as it is.
fn resolve(view: &View, path: &str) -> Result<Node> {
    let parsed = TreePath::parse(path.as_bytes())?;
    let found = match parsed.names().split_last() {
        Some((name, above)) if !path.ends_with('/') => {
            view.follow(&above.join(&b'/')).and_then(|above| view.lookup(above, name))
        }
        _ => view.follow(path.as_bytes()),
    };
    found.with_context(|| format!("there is no {path}"))
}

fn line(view: &View, node: Node, stat: &Stat, name: &str) -> Line {
    Line {
        mode: mode(stat),
        links: stat.nlink,
        uid: stat.uid,
        gid: stat.gid,
        size: stat.size,
        name: name.to_owned(),
        target: view.target(node).map(|target| target.escape_ascii().to_string()),
    }
}

/// `drwxr-xr-x`, as ls(1) writes it.
fn mode(stat: &Stat) -> String {
    let kind = match stat.kind {
        Kind::Directory | Kind::OpaqueDirectory => 'd',
        Kind::Symlink => 'l',
        Kind::Character => 'c',
        Kind::Block => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::Regular | Kind::Whiteout => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = stat.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, stat.mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    text
}
