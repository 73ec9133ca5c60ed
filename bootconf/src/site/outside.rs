//! Words that come from outside of the site's files, from a person at the command line or from a program, held to the same
//! rules as the files' own.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};

use oneroot_ids::Mac;

use crate::site::gives::Gives;
use crate::site::networks::pool_size;
use crate::site::report::nearest;
use crate::site::table::{good_name, host_name};
use crate::site::tables::{argument, variable};
use crate::site::types::Site;
use crate::site::validate::LONGEST_LINE;

/// Words in one of the lists.
const MOST: usize = 256;
/// Bytes of a variable's value.
const LONGEST_VALUE: usize = 4096;

impl Gives {
    /// All that a site would refuse of it, in sentences.
    #[must_use]
    pub fn problems(&self, site: &Site) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(profile) = self.profile().filter(|name| !site.profiles.contains_key(*name)) {
            problems.push(missing("profile", profile, site.profiles.keys()));
        }
        if let Some(menu) = self.menu().filter(|name| !site.menus.contains_key(*name)) {
            problems.push(missing("menu", menu, site.menus.keys()));
        }
        let workloads = self.workloads.iter().filter(|name| !site.workloads.contains_key(*name));
        problems.extend(workloads.map(|name| missing("workload", name, site.workloads.keys())));
        problems.extend(self.args.iter().filter_map(|text| argument(text).err()));
        problems.extend(too_long(&self.args));
        for (name, value) in &self.vars {
            problems.extend(variable(name, value).map(|reason| format!("variable {name:?} {reason}")));
            if value.len() > LONGEST_VALUE {
                problems.push(format!("variable {name} has more than {LONGEST_VALUE} bytes"));
            }
        }
        for (what, count) in [
            ("workloads", self.workloads.len()),
            ("arguments", self.args.len()),
            ("variables", self.vars.len()),
        ] {
            if count > MOST {
                problems.push(format!("has {count} {what}, and {MOST} are the most"));
            }
        }
        problems
    }
}

impl Site {
    /// Why a machine can't have this name.
    #[must_use]
    pub fn refuses_name(&self, name: &str) -> Option<String> {
        if !good_name(name) {
            return Some(format!(
                "{name:?} is no name: 1 to 63 of a-z, 0-9, '-' and '.', a letter or digit first"
            ));
        }
        host_name(name).err().map(|reason| format!("{name:?} {reason}"))
    }

    /// Why there can't be so many more NICs without an address of their own: each may turn up in any network, and a site whose
    /// pools have no room for all of them is refused.
    #[must_use]
    pub fn lacks_room(&self, more: usize) -> Option<String> {
        let server = if let IpAddr::V4(address) = self.server.address { Some(address) } else { None };
        let kept: Vec<Ipv4Addr> = self.all_reserved().collect();
        let needed = self.without_address() + more;
        self.networks.iter().filter(|network| network.pool.is_some()).find_map(|network| {
            let size = pool_size(network, server, kept.iter().copied());
            (needed as u64 > size).then(|| {
                format!(
                    "the pool of {} has {size} addresses, and with these {needed} NICs of named machines would have none of their own; make it larger",
                    network.subnet
                )
            })
        })
    }

    /// Why a machine of this name can't have a NIC.
    #[must_use]
    pub fn refuses_nic(&self, name: &str, mac: Mac) -> Option<String> {
        let (owner, _) = self.machine(mac).filter(|(owner, _)| *owner != name)?;
        Some(format!("MAC {mac} is machine {owner}'s already"))
    }
}

/// Why so many kernel arguments do not fit, those of all tables together.
#[must_use]
pub fn too_long(args: &[String]) -> Option<String> {
    let length: usize = args.iter().map(|argument| argument.len() + 1).sum();
    (length > LONGEST_LINE).then(|| {
        format!("the arguments have {length} bytes together, and {LONGEST_LINE} leave room for oneroot's own")
    })
}

fn missing(kind: &str, name: &str, all: impl Iterator<Item = impl Display>) -> String {
    let all: Vec<String> = all.map(|name| name.to_string()).collect();
    let hint =
        nearest(name, all.iter().map(String::as_str)).map_or(String::new(), |hint| format!("; {hint}"));
    format!("there is no {kind} {name:?}{hint}")
}
