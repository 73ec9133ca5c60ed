//! What a site needs of its host and does not find: said by `check`, and at the start of a server. Any of it may come later,
//! so none of it is a mistake of the site.

use oneroot_bootconf::decision;
use oneroot_bootconf::decision::Part;
use oneroot_bootconf::firmware::{LOADERS, Loader};
use oneroot_bootconf::{Site, Source};
use oneroot_tree::Store;

use super::host;
use oneroot_machines::planner::{reference, shown};
use oneroot_sources::{Lack, driver};

/// Parts that are named in one line.
const MOST_NAMED: usize = 5;

/// Loaders that firmware asks for and that are in none of the site's directories; but for those of rare firmware.
pub fn loaders(site: &Site) -> Vec<String> {
    LOADERS.iter().filter(|loader| loader.is_common).filter_map(|loader| missing(site, loader)).collect()
}

fn missing(site: &Site, loader: &Loader) -> Option<String> {
    let places: Vec<_> = site.server.loaders.iter().map(|place| place.join(loader.file)).collect();
    if places.iter().any(|place| place.exists()) {
        return None;
    }
    let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    let (firmware, package) = (loader.firmware, loader.package);
    Some(format!(
        "{} is not there: {firmware} machines without iPXE get no loader; install {package}",
        places.join(" or ")
    ))
}

/// Parts of the site that are not staged yet; of a store that can't be looked into nothing is known.
pub fn unstaged(site: &Site, store: Option<&Store>) -> Vec<(Part, Source)> {
    let Some(store) = store else { return Vec::new() };
    let parts = decision::parts(site);
    let is_staged = |part: &Part| {
        let head = reference(&site.home, part).ok().and_then(|name| store.head(&name).ok());
        // What can't be looked up is not told as missing.
        head.is_none_or(|head| head.is_some())
    };
    parts.into_iter().filter(|(part, _)| !is_staged(part)).collect()
}

/// What is not staged, in one line.
pub fn to_stage(site: &Site, unstaged: &[(Part, Source)]) -> Option<String> {
    if unstaged.is_empty() {
        return None;
    }
    if unstaged.len() == decision::parts(site).len() {
        return Some("nothing is staged yet, so no machine can boot: run `oneroot stage`".to_owned());
    }
    let named: Vec<String> = unstaged.iter().take(MOST_NAMED).map(|(part, _)| shown(part)).collect();
    let more = unstaged.len().saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "not staged yet: {}{more}; machines that need it can't boot: run `oneroot stage`",
        named.join(", ")
    ))
}

/// What sources read and this host does not have.
pub fn files(site: &Site) -> Vec<String> {
    lacking(site).filter(|(_, lack)| !lack.is_program()).map(|(_, lack)| lack.to_string()).collect()
}

/// What makes sources and this host does not have.
pub fn programs(site: &Site) -> Vec<(Part, String)> {
    let of_programs = lacking(site).filter(|(_, lack)| lack.is_program());
    let told = |(part, lack)| {
        let told = format!("{} can't be staged: {lack}", shown(&part));
        (part, told)
    };
    of_programs.map(told).collect()
}

fn lacking(site: &Site) -> impl Iterator<Item = (Part, Lack)> {
    let parts = decision::parts(site).into_iter();
    parts.filter_map(|(part, source)| Some((part, driver(&source).lacks(&host(site))?)))
}

/// All that the start of a server says. `programs` are those that are missing, asked for before the server was confined.
pub fn at_start(site: &Site, programs: Vec<(Part, String)>) -> Vec<String> {
    // The server makes its store where there is none.
    let unstaged = unstaged(site, Store::open(&site.server.store).ok().as_deref());
    let is_needed = |part: &Part| unstaged.iter().any(|(other, _)| other == part);
    let programs = programs.into_iter().filter(|(part, _)| is_needed(part)).map(|(_, told)| told);
    loaders(site).into_iter().chain(programs).chain(to_stage(site, &unstaged)).collect()
}
