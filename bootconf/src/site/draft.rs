//! All tables of a site's files, each checked by itself: what is compared next, and becomes a site.

use std::collections::BTreeMap;
use std::path::Path;

use crate::site::gives::Boots;
use crate::site::group_tables::group;
use crate::site::groups::Group;
use crate::site::menu_tables::{boots, menu};
use crate::site::menus::Menu;
use crate::site::networks::network;
use crate::site::program::{Program, decider, maker};
use crate::site::rules::{Rule, rule};
use crate::site::section::{Diagnostics, Located, Section};
use crate::site::table::{Places, Table, good_name, host_name};
use crate::site::tables;
use crate::site::{Machine, Network, Profile, Server, Vars, Workload};

/// All tables of all files, before they are compared with each other.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) server: Option<Server>,
    pub(crate) networks: Vec<Table<Network>>,
    pub(crate) profiles: BTreeMap<String, Table<Profile>>,
    pub(crate) workloads: BTreeMap<String, Table<Workload>>,
    pub(crate) groups: BTreeMap<String, Table<Group>>,
    pub(crate) rules: Vec<Table<Rule>>,
    pub(crate) machines: BTreeMap<String, Table<Machine>>,
    pub(crate) menus: BTreeMap<String, Table<Menu>>,
    pub(crate) unknown: Option<Table<Option<Boots>>>,
    pub(crate) decide: Option<Program>,
    pub(crate) make_secrets: Option<Program>,
    /// It is said, and may be wrong.
    pub(crate) says_maker: bool,
    pub(crate) vars: Vars,
    /// Whether some table could not be made sense of, so that what seems not to exist may be in it.
    pub(crate) partial: bool,
}

impl Draft {
    /// Takes in one file; `main` is the one that may have every kind of table.
    pub(crate) fn read(
        &mut self,
        mut root: Section<'_>,
        home: &Path,
        main: bool,
        diagnostics: &mut Diagnostics,
    ) {
        for (name, table) in root.named(diagnostics, "machine") {
            let machine = tables::machine(table, home, diagnostics);
            add("machine", name, machine, &mut self.machines, diagnostics);
        }
        if main {
            root.missing(diagnostics, "server", "a site begins with a [server] table");
            let server = root.section(diagnostics, "server");
            self.server = server.and_then(|section| tables::server(section, home, diagnostics));
            for section in root.sections(diagnostics, "network") {
                let network = network(section, diagnostics);
                self.partial |= network.is_none();
                self.networks.extend(network);
            }
            for (name, table) in root.named(diagnostics, "profile") {
                let profile = tables::profile(table, home, diagnostics);
                add("profile", name, profile, &mut self.profiles, diagnostics);
            }
            for (name, table) in root.named(diagnostics, "workload") {
                let workload = tables::workload(table, home, diagnostics);
                add("workload", name, workload, &mut self.workloads, diagnostics);
            }
            for (name, table) in root.named(diagnostics, "group") {
                let group = group(table, home, diagnostics);
                add("group", name, group, &mut self.groups, diagnostics);
            }
            if let Some(section) = root.section(diagnostics, "decide") {
                self.decide = decider(section, home, diagnostics);
            }
            if let Some(section) = root.section(diagnostics, "make_secrets") {
                self.says_maker = true;
                self.make_secrets = maker(section, home, diagnostics);
            }
            let rules = root.sections(diagnostics, "rule");
            self.rules.extend(rules.into_iter().map(|section| rule(section, home, diagnostics)));
            if let Some(section) = root.section(diagnostics, "vars") {
                self.vars = tables::variables(section, diagnostics);
            }
            for (name, table) in root.named(diagnostics, "menu") {
                add("menu", name, menu(table, diagnostics), &mut self.menus, diagnostics);
            }
            self.unknown = root.section(diagnostics, "unknown").map(|section| unknown(section, diagnostics));
        }
        root.finish(diagnostics);
    }
}

/// The `[unknown]` table.
fn unknown(mut section: Section<'_>, diagnostics: &mut Diagnostics) -> Table<Option<Boots>> {
    let (span, mut places) = (section.span.clone(), Places::default());
    let value = boots(&mut section, &mut places, diagnostics);
    if !["profile", "menu", "boot"].iter().any(|key| section.has(key)) {
        let told = "says nothing: unknown machines get a `profile`, a `menu`, `boot = \"local\"` or `boot = \"hold\"`";
        diagnostics.note(&span, told);
    }
    section.finish(diagnostics);
    Table { value, span, places: places.0 }
}

fn add<T>(
    kind: &str,
    name: Located<String>,
    table: Table<T>,
    tables: &mut BTreeMap<String, Table<T>>,
    diagnostics: &mut Diagnostics,
) {
    if !good_name(&name.value) {
        diagnostics.note(
            &name.span,
            "a name has 1 to 63 of a-z, 0-9, '-', '_' and '.', begins with a letter or digit, and has no '-' or '.' last and no two dots together: it becomes a file's and a host's name",
        );
    } else if let ("machine", Err(reason)) = (kind, host_name(&name.value)) {
        diagnostics.note(&name.span, reason);
    }
    if tables.insert(name.value, table).is_some() {
        diagnostics.note(&name.span, format!("there is another {kind} of this name"));
    }
}
