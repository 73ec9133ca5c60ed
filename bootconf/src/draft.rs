//! All tables of a site's files, each checked by itself: what is compared next, and becomes a site.

use std::collections::BTreeMap;
use std::path::Path;

use crate::networks::network;
use crate::section::{At, Mistakes, Section};
use crate::site::{Machine, Network, Profile, Server, Vars, Workload};
use crate::table::{Table, good_name, host_name};
use crate::tables;

/// All tables of all files, before they are compared with each other.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) server: Option<Server>,
    pub(crate) networks: Vec<Table<Network>>,
    pub(crate) profiles: BTreeMap<String, Table<Profile>>,
    pub(crate) workloads: BTreeMap<String, Table<Workload>>,
    pub(crate) machines: BTreeMap<String, Table<Machine>>,
    pub(crate) unknown: Option<At<String>>,
    pub(crate) vars: Vars,
    /// Whether some table could not be made sense of, so that what seems not to exist may be in it.
    pub(crate) partial: bool,
}

impl Draft {
    /// Takes in one file; `main` is the one that may have every kind of table.
    pub(crate) fn read(&mut self, mut root: Section<'_>, home: &Path, main: bool, mistakes: &mut Mistakes) {
        for (name, table) in root.named(mistakes, "machine") {
            let machine = tables::machine(table, home, mistakes);
            add("machine", name, machine, &mut self.machines, mistakes);
        }
        if main {
            root.missing(mistakes, "server", "a site begins with a [server] table");
            let server = root.section(mistakes, "server");
            self.server = server.and_then(|section| tables::server(section, home, mistakes));
            for section in root.sections(mistakes, "network") {
                let network = network(section, mistakes);
                self.partial |= network.is_none();
                self.networks.extend(network);
            }
            for (name, table) in root.named(mistakes, "profile") {
                let profile = tables::profile(table, home, mistakes);
                add("profile", name, profile, &mut self.profiles, mistakes);
            }
            for (name, table) in root.named(mistakes, "workload") {
                let workload = tables::workload(table, home, mistakes);
                add("workload", name, workload, &mut self.workloads, mistakes);
            }
            if let Some(section) = root.section(mistakes, "vars") {
                self.vars = tables::variables(section, mistakes);
            }
            if let Some(mut section) = root.section(mistakes, "unknown") {
                self.unknown = section.string(mistakes, "profile");
                section.missing(mistakes, "profile", "the profile that unknown machines boot");
                section.finish(mistakes);
            }
        }
        root.finish(mistakes);
    }
}

fn add<T>(
    kind: &str,
    name: At<String>,
    table: Table<T>,
    tables: &mut BTreeMap<String, Table<T>>,
    mistakes: &mut Mistakes,
) {
    if !good_name(&name.value) {
        mistakes.note(
            &name.spot,
            "a name has 1 to 63 of a-z, 0-9, '-', '_' and '.', begins with a letter or digit, and has no '-' or '.' last and no two dots together: it becomes a file's and a host's name",
        );
    } else if let ("machine", Err(reason)) = (kind, host_name(&name.value)) {
        mistakes.note(&name.spot, reason);
    }
    if tables.insert(name.value, table).is_some() {
        mistakes.note(&name.spot, format!("there is another {kind} of this name"));
    }
}
