//! `oneroot verify`: whether the store's disk has kept what it was given.

use anyhow::Result;
use indicatif::HumanBytes;
use oneroot_bootconf::Site;
use oneroot_tree::Store;
use serde::Serialize;

use super::stage::spinner;
use crate::cli::Exit;
use crate::print;

#[derive(Serialize)]
struct Verified {
    objects: u64,
    bytes: u64,
    generations: u64,
    views: u64,
    damage: Vec<String>,
}

/// Reads everything; exit code 1 when something is damaged.
pub fn run(site: &Site, json: bool) -> Result<Exit> {
    let store = Store::open(&site.server.store)?;
    let bar = spinner("verify", json);
    let mut damage = Vec::new();
    let checked = store.verify(
        &mut |checked| bar.set_message(format!("{} objects, {}", checked.objects, HumanBytes(checked.bytes))),
        &mut |found| damage.push(found.to_string()),
    );
    bar.finish_and_clear();
    let checked = checked?;
    let (objects, bytes, generations, views) =
        (checked.objects, checked.bytes, checked.generations, checked.stacks);
    let exit = if damage.is_empty() { Exit::Done } else { Exit::Failed };
    if json {
        let verified = Verified { objects, bytes, generations, views, damage };
        print::json(&verified)?;
        return Ok(exit);
    }
    damage.iter().for_each(|damage| print::trouble(format_args!("oneroot: {damage}")));
    let found = match damage.len() {
        0 => "all good".to_owned(),
        count => format!("{count} damaged"),
    };
    print::line(format_args!(
        "{objects} objects ({}), {generations} generations, {views} views: {found}",
        HumanBytes(bytes)
    ))?;
    Ok(exit)
}
