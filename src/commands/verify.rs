//! `oneroot verify`: whether the store's disk has kept what it was given.

use anyhow::Result;
use indicatif::HumanBytes;
use oneroot_bootconf::Site;
use oneroot_tree::Store;
use serde::Serialize;

use super::progress::spinner;
use crate::cli::Exit;
use crate::print::{Document, Page};

/// What was read, and what of it is damaged.
#[derive(Serialize)]
pub struct Verified {
    objects: u64,
    bytes: u64,
    generations: u64,
    views: u64,
    damage: Vec<String>,
}

impl Document for Verified {
    fn page(&self) -> Page {
        let Self { objects, bytes, generations, views, damage } = self;
        let mut page = Page::default();
        damage.iter().for_each(|damage| page.trouble(format_args!("oneroot: {damage}")));
        let found = match damage.len() {
            0 => "all good".to_owned(),
            count => format!("{count} damaged"),
        };
        let bytes = HumanBytes(*bytes);
        page.line(format_args!(
            "{objects} objects ({bytes}), {generations} generations, {views} views: {found}"
        ));
        page
    }

    fn exit(&self) -> Exit {
        if self.damage.is_empty() { Exit::Done } else { Exit::Failed }
    }
}

/// Reads everything.
pub fn verify(site: &Site, quiet: bool) -> Result<Verified> {
    let store = Store::open(&site.server.store)?;
    let bar = spinner("verify", quiet);
    let mut damage = Vec::new();
    let checked = store.verify(
        &mut |checked| bar.set_message(format!("{} objects, {}", checked.objects, HumanBytes(checked.bytes))),
        &mut |found| damage.push(found.to_string()),
    );
    bar.finish_and_clear();
    let checked = checked?;
    Ok(Verified {
        objects: checked.objects,
        bytes: checked.bytes,
        generations: checked.generations,
        views: checked.stacks,
        damage,
    })
}
