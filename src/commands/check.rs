//! `oneroot check`: everything that is wrong with a site, and what is missing around it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use oneroot_bootconf::asked::Catalogue;
use oneroot_bootconf::decision::{NoPlan, decide};
use oneroot_bootconf::{Problem, Report, Site, load};
use serde::Serialize;

use super::findings::{self, Staged};
use super::in_force::in_force;
use super::look::Look;
use super::{EXAMPLE, layers, needs, secrets};
use crate::cli::Exit;
use crate::decide::Purpose;
use crate::net::routing::Routing;
use crate::net::{OR_WAIT, no_address};
use crate::print::{Document, Page};
use crate::{decide, tls};
use oneroot_machines::planner::renderer::Renderer;
use oneroot_machines::planner::template_check;
use oneroot_tree::Store;

/// What is wrong with a site, and what is missing around it.
#[derive(Serialize)]
pub struct Checked {
    /// The site's file.
    site: PathBuf,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    /// What is staged and should be looked at, as `stage` told it.
    staged: Vec<Staged>,
}

impl Document for Checked {
    fn page(&self) -> Page {
        let mut page = Page::default();
        self.problems.iter().for_each(|problem| page.trouble(problem));
        let staged = self.staged.iter().flat_map(Staged::lines);
        let warnings: Vec<String> = self.warnings.iter().cloned().chain(staged).collect();
        warnings.iter().for_each(|warning| page.trouble(format_args!("warning: {warning}")));
        if self.problems.is_empty() {
            let path = self.site.display();
            match warnings.len() {
                0 => page.line(format_args!("{path}: good")),
                1 => page.line(format_args!("{path}: no mistakes, and one warning")),
                count => page.line(format_args!("{path}: no mistakes, and {count} warnings")),
            }
        }
        page
    }

    /// Only problems make the site a bad one.
    fn exit(&self) -> Exit {
        if self.problems.is_empty() { Exit::Done } else { Exit::BadSite }
    }
}

const UNTOUCHED: &str = "this is the example that `oneroot init` prints: put in your own address, interface, network, sources and machines";

/// Looks at the site, at what it has staged, and at the host.
pub fn check(path: &Path, renderer: &dyn Renderer) -> Result<Checked> {
    let of = |problems| Checked { site: path.to_owned(), problems, warnings: Vec::new(), staged: Vec::new() };
    let site = match load(path) {
        Ok(site) => site,
        Err(Report { problems }) => return Ok(of(problems)),
    };
    // Of a store that can't be looked into nothing is known.
    let look = Look::into_store_of(&site).ok();
    let store = look.as_deref();
    let mut problems = template_check::problems(&site, renderer);
    problems.extend(tls::problems(&site));
    problems.extend(store.iter().flat_map(|store| layers::problems(store, &site)));
    let untouched = std::fs::read_to_string(path).is_ok_and(|text| text == EXAMPLE);
    let untouched = untouched.then(|| UNTOUCHED.to_owned());
    let warnings = untouched.into_iter().chain(warnings(&site, store.map(|store| &**store))).collect();
    let staged = store.map(|store| findings::staged(store, &site)).unwrap_or_default();
    Ok(Checked { warnings, staged, ..of(problems) })
}

/// An interface that is not there.
fn absent(name: &str, site: &Site) -> Option<String> {
    match Routing::open().and_then(|routing| routing.named(name)) {
        Ok(Some(_)) => None,
        Ok(None) if site.server.wait_for_interfaces => Some(format!(
            "no interface {name} yet: no machine is answered there until it comes; see `ip link`"
        )),
        Ok(None) => Some(format!(
            "no interface {name}: oneroot doesn't start without it, unless [server] says `wait_for_interfaces = true`; see `ip link`"
        )),
        Err(cause) => Some(format!("cannot ask the kernel for the interface {name}: {cause}")),
    }
}

/// Addresses that machines are told and that this host does not have.
fn addresses(site: &Site) -> Vec<String> {
    let has = Routing::open().and_then(|routing| routing.addresses());
    let has: Vec<_> = match has {
        Ok(has) => has.iter().map(|one| one.address).collect(),
        Err(cause) => return vec![format!("cannot ask the kernel for this host's addresses: {cause}")],
    };
    let missing = site.server_addresses().into_iter().filter(|address| !has.iter().any(|one| one == address));
    let told = missing.map(|address| {
        let told = no_address(site, address, &has);
        match site.starts_without(address) {
            true => format!("{told}; TFTP, HTTP and NFS can't be reached there until it is"),
            false => format!("{told}; oneroot doesn't start without it: {OR_WAIT}"),
        }
    });
    told.collect()
}

/// Machines of which no table says what they boot. Somebody may assign it to them, so it is no mistake of the site.
fn without_a_boot(site: &Site) -> Option<String> {
    const SHOWN: usize = 8;
    let catalogue = Catalogue::of(site);
    let nothing = |asked: &_| {
        catalogue.program_for(asked).is_none()
            && matches!(decide(&catalogue, asked), Err(NoPlan::NoProfile(_)))
    };
    // What a rule gives is not known before the machine tells what it is.
    let is_open = site.rules.iter().any(|rule| rule.gives.boots.is_some());
    let everybody =
        catalogue.everybody().filter(|(_, asked)| !is_open && !asked.supposed.layers && nothing(asked));
    let names: Vec<&str> = everybody.filter_map(|(name, _)| name).collect();
    let (first, more) = names.split_at_checked(SHOWN).unwrap_or((&names, &[]));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    (!names.is_empty()).then(|| {
        format!(
            "no table says what these machines boot: {}{more}; give them or a group of theirs a `profile`, or assign one: \
             `oneroot assign MACHINE --profile PROFILE`",
            first.join(", ")
        )
    })
}

/// What the site needs of its host and does not find. Any of it may come later, so none of it is a mistake of the site.
fn warnings(site: &Site, store: Option<&Store>) -> Vec<String> {
    let mut warnings = needs::files(site);
    warnings.extend(site.server.interfaces.iter().filter_map(|name| absent(name, site)));
    warnings.extend(addresses(site));
    warnings.extend(needs::loaders(site));
    warnings.extend(needs::programs(site).into_iter().map(|(_, told)| told));
    // Of a server that can't be asked nothing is known, and the site is no worse for it.
    let (mapped, conflicts) =
        in_force(site).map_or_else(|_| (site.clone(), Vec::new()), |found| (found.site, found.conflicts));
    warnings.extend(conflicts.iter().map(|conflict| format!("{conflict}; a reload is refused until then")));
    warnings.extend(without_a_boot(&mapped));
    warnings.extend(
        [Purpose::Decide, Purpose::MakeSecrets].into_iter().filter_map(|what| decide::lacks(site, what)),
    );
    warnings.extend(needs::to_stage(site, &needs::unstaged(site, store)));
    warnings.extend(secrets::warnings(site));
    warnings
}
