//! What a machine would boot now: worked out as a boot's plan is, and nothing of it is kept.

use std::sync::Arc;

use anyhow::{Result, bail};
use oneroot_bootconf::Site;
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decided::{Decided, Other};
use oneroot_bootconf::decision::{Decision, decide};
use oneroot_bootconf::facts::Facts;
use oneroot_ids::Mac;
use oneroot_machines::guest;
use oneroot_machines::planner::renderer::Renderer;
use oneroot_machines::planner::{Planner, Stacked};

use super::look::Look;
use super::meant;
use crate::clock;

/// What a machine's next boot would be.
pub enum Next {
    /// That of a profile.
    Profile(Box<Preview>),
    /// One of which no plan is made.
    Other {
        /// Its NIC.
        mac: Mac,
        /// What it would be told.
        other: Other,
    },
}

/// A machine's next boot of a profile, as far as it can be known before it happens.
pub struct Preview {
    pub mac: Mac,
    pub decision: Decision,
    pub facts: Facts,
    pub planner: Planner,
    pub stacked: Stacked,
}

/// The machines that the site names, as far as a line has room for them.
fn names_of(site: &Site) -> String {
    const SHOWN: usize = 8;
    let names: Vec<&str> = site.machines.keys().map(String::as_str).take(SHOWN).collect();
    let more = site.machines.len().saturating_sub(names.len());
    match (names.is_empty(), more) {
        (true, _) => "; this site names none".to_owned(),
        (_, 0) => format!("; this site has {}", names.join(", ")),
        (_, more) => format!("; this site has {} and {more} more", names.join(", ")),
    }
}

/// Works out what a machine would boot. `machine` is its name or one of its MACs.
pub fn next(site: &Site, look: &Look, machine: &str, renderer: &Arc<dyn Renderer>) -> Result<Next> {
    let mac = mac_of(site, machine)?;
    let (catalogue, asked) = (Catalogue::of(site), Asked::by(mac));
    let decision = match decide(&catalogue, &asked)? {
        Decided::Profile(decision) => *decision,
        Decided::Other(other) => return Ok(Next::Other { mac, other }),
    };
    let facts = Facts::of(&catalogue, &decision, &asked);
    let guest = guest::stage(look, clock::now())?;
    let planner = Planner::new(Arc::clone(look), guest, renderer.clone());
    let stacked = planner.stack(&site.home, &decision, &facts)?;
    Ok(Next::Profile(Box::new(Preview { mac, decision, facts, planner, stacked })))
}

/// The same, for what only a profile's tree can answer.
pub fn preview(site: &Site, look: &Look, machine: &str, renderer: &Arc<dyn Renderer>) -> Result<Preview> {
    match next(site, look, machine, renderer)? {
        Next::Profile(preview) => Ok(*preview),
        Next::Other { other, .. } => bail!("{machine} has no tree: it {}", other.way.in_words()),
    }
}

fn mac_of(site: &Site, machine: &str) -> Result<Mac> {
    let named = site.machines.get(machine).and_then(|machine| machine.macs.first().copied());
    if let Some(mac) = named {
        return Ok(mac);
    }
    machine.parse::<Mac>().or_else(|cause| {
        // What has a colon is a MAC address with a slip.
        if machine.contains(':') {
            return Err(cause.into());
        }
        bail!("no machine {machine:?}{}{}", names_of(site), meant(machine, site.machines.keys().cloned()))
    })
}
