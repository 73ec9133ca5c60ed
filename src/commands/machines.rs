//! `oneroot machines`: who there is, what each boots and who says so; all that is known of one; and what was adopted and assigned
//! as a file of the site.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use oneroot_bootconf::assignment::{Adopting, Signed};
use oneroot_bootconf::gives::Boots;
use oneroot_bootconf::hardware::Fact;
use oneroot_bootconf::history::Change;
use oneroot_machines::{Copy, ExaminedFact, MachineStatus, MappedMachine, Mapping, OneMachine, Sighting};
use serde::Serialize;

use super::explain::said;
use super::mapping::in_words;
use super::{running, shown, unknown};
use crate::cli::Exit;
use crate::cli::mapping::{Machines, MachinesCommand};
use crate::control;
use crate::print::{self, Document, Page};

const HEAD: [&str; 8] = ["MACHINE", "MAC", "PROFILE", "WORKLOADS", "GROUPS", "PHASE", "BY", "TREE"];

/// The machines that were asked for.
#[derive(Serialize)]
struct Listed {
    machines: Vec<MachineStatus>,
    /// The standing order to adopt whoever comes.
    adopting: Option<Adopting>,
    /// What of the mapping does not count, and why.
    conflicts: Vec<String>,
}

impl Document for Listed {
    fn page(&self) -> Page {
        let mut page = Page::default();
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(self.machines.iter().map(row));
        page.rows(&rows);
        if self.machines.is_empty() {
            page.line("none; `oneroot machines` without an option lists all, `--unknown` those that nobody has named");
        }
        if let Some(Adopting { names, gives, signed, .. }) = &self.adopting {
            page.line(format_args!(
                "machines that nobody has named are adopted as {names}, with {}, as {} has asked",
                gives.in_words(),
                signed.by
            ));
        }
        self.conflicts.iter().for_each(|conflict| page.trouble(format_args!("warning: {conflict}")));
        page
    }
}

/// `oneroot machines`, whichever of its words follows.
pub fn machines(state: &Path, asked: &Machines) -> Result<Exit> {
    match &asked.what {
        None if asked.unknown => shown(unknown::unknown(state), asked.output),
        None => shown(list(state, asked), asked.output),
        Some(MachinesCommand::Show { machine, output }) => shown(show(state, machine), *output),
        Some(MachinesCommand::Export) => {
            print::text(export(&running(state, control::ask_mapping(state)?)?)?)?;
            Ok(Exit::Done)
        }
        Some(MachinesCommand::Hosts) => {
            print::text(hosts(&running(state, control::ask_status(state)?)?.machines))?;
            Ok(Exit::Done)
        }
    }
}

/// The machines that somebody has named and that have an address, as hosts(5) has them: the name that is looked up is the first.
fn hosts(machines: &[MachineStatus]) -> String {
    let mut text = String::from(
        "# Machines of oneroot. An address that the site's files do not keep for one may be another's once its lease is over.\n",
    );
    for MachineStatus { name, address, domain, .. } in machines.iter().filter(|machine| machine.named) {
        let Some(address) = address else { continue };
        let full = domain.as_ref().map_or(String::new(), |domain| format!(" {name}.{domain}"));
        text.push_str(&format!("{address}{full} {name}\n"));
    }
    text
}

fn list(state: &Path, asked: &Machines) -> Result<Listed> {
    let status = running(state, control::ask_status(state)?)?;
    let mapping = running(state, control::ask_mapping(state)?)?;
    let mut machines = status.machines;
    machines.retain(|machine| is_meant(machine, asked));
    Ok(Listed { machines, adopting: mapping.adopting, conflicts: mapping.conflicts })
}

fn is_meant(machine: &MachineStatus, asked: &Machines) -> bool {
    let is = |wanted: &Option<String>, found: Option<&String>| {
        wanted.as_ref().is_none_or(|name| found == Some(name))
    };
    is(&asked.profile, machine.profile.as_ref())
        && is(&asked.phase, machine.phase.as_ref())
        && asked.group.as_ref().is_none_or(|group| machine.groups.contains(group))
        && (!asked.behind || machine.behind.as_ref().is_some_and(|reasons| !reasons.is_empty()))
}

fn row(machine: &MachineStatus) -> [String; HEAD.len()] {
    let or_dash = |text: Option<&String>| text.cloned().unwrap_or_else(|| "-".to_owned());
    let list = |words: &[String]| if words.is_empty() { "-".to_owned() } else { words.join(" ") };
    let by = machine.assigned.as_ref().map(|assigned| &assigned.signed);
    [
        machine.name.clone(),
        machine.mac.clone(),
        or_dash(machine.profile.as_ref().or(machine.other.as_ref())),
        list(&machine.workloads),
        list(&machine.groups),
        or_dash(machine.phase.as_ref()),
        by.or(machine.adopted.as_ref()).map_or_else(|| site_or_nobody(machine), |signed| signed.by.clone()),
        match &machine.behind {
            None => "-",
            Some(reasons) if reasons.is_empty() => "current",
            Some(_) => "behind",
        }
        .to_owned(),
    ]
}

fn site_or_nobody(machine: &MachineStatus) -> String {
    if machine.named { "the site" } else { "-" }.to_owned()
}

impl Document for OneMachine {
    fn page(&self) -> Page {
        let Self { now, status, decision, trouble, mapped, told, examined, copies } = self;
        let mut page = Page::default();
        let ago = |at: u64| format!("{} ago", super::status::age(now.saturating_sub(at)));
        let mut row = |what: &str, words: String| page.line(format_args!("{what:<12}{words}"));
        row("name", if status.named { status.name.clone() } else { "nobody has named it".to_owned() });
        row("MAC", status.macs.join(" "));
        row("address", status.address.clone().unwrap_or_else(|| "none yet".to_owned()));
        let boots = status.profile.as_ref().or(status.other.as_ref());
        row("profile", boots.cloned().unwrap_or_else(|| "none".to_owned()));
        row("workloads", status.workloads.join(" "));
        row("groups", status.groups.join(" "));
        if let Some(Signed { by, at }) = mapped.as_ref().and_then(|mapped| mapped.adopted.as_ref()) {
            row("adopted", format!("by {by}, {}", ago(*at)));
        }
        if let Some(mapped) = mapped {
            row("assigned", in_words(mapped));
        }
        for Sighting { claims, .. } in told {
            let facts = Fact::ALL.into_iter().filter_map(|fact| Some((fact, claims.text(fact)?)));
            facts.for_each(|(fact, text)| row(fact.as_str(), text.into_owned()));
        }
        for ExaminedFact { name, value, by, since } in examined {
            row("examined", format!("{name} {value}, by {by}, since {}", ago(*since)));
        }
        if let Some(phase) = &status.phase {
            row("phase", format!("{phase}, since {}", status.since.map_or("?".to_owned(), ago)));
        }
        for reason in status.behind.iter().flatten() {
            row("behind", reason.clone());
        }
        for step in &status.steps {
            row("step", format!("{}, {}", step.step, ago(step.at_ms / 1000)));
        }
        if let Some(refused) = &status.refused {
            row("refused", format!("{}, {}", refused.told, ago(refused.at)));
        }
        if let Some(stalled) = &status.stalled {
            row("stalled", stalled.to_string());
        }
        if let Some(failed) = &status.failed {
            row("failed", format!("{}, {}", failed.in_words(), ago(failed.at)));
        }
        for Copy { address, what, generation, offered, at, .. } in copies {
            let state = if generation == offered { "current" } else { "behind" };
            let generation = generation.to_string();
            let generation = generation.get(..12).unwrap_or_default();
            row("copy", format!("of {what} at {address}: {generation}, {state}, {}", ago(*at)));
        }
        for Change { what, lasts, signed } in mapped.iter().flat_map(|mapped| &mapped.history) {
            let lasts = lasts.map_or(String::new(), |lasts| format!(", for {}", super::status::age(lasts)));
            row("changed", format!("{what}{lasts}, by {}, {}", signed.by, ago(signed.at)));
        }
        page.line("");
        match trouble {
            Some(trouble) => page.line(format_args!("it would boot nothing: {trouble}")),
            None => page.rows(&said(decision)),
        }
        page
    }
}

fn show(state: &Path, machine: &str) -> Result<OneMachine> {
    let Some(one) = running(state, control::ask_machine(state, machine)?)? else {
        bail!("no machine {machine:?}; `oneroot machines` lists those that there are");
    };
    Ok(one)
}

/// A table of machines.d.
#[derive(Serialize)]
struct Table {
    mac: Vec<String>,
    /// `profile`, `menu` or `boot`.
    #[serde(flatten)]
    boots: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    workloads: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    vars: BTreeMap<String, String>,
}

/// What was adopted and assigned, as a file for machines.d. Of a machine that the files have already its table is a comment: only
/// a person can put two tables of one name together. So is one of a machine that they have no more: nobody knows its NICs.
fn export(mapping: &Mapping) -> Result<String> {
    let mut text = String::from(
        "# What was adopted and assigned here for good; not what is for a time, once, or of a generation. Once this is in machines.d and reloaded, `oneroot forget` and `unassign` take it from\n\
         # the state, where it counts before the files.\n",
    );
    let is_for_good = |machine: &&MappedMachine| machine.adopted.is_some() || machine.assigned.is_some();
    for machine in mapping.machines.iter().filter(is_for_good) {
        let gives = machine.assigned.as_ref().map(|assigned| assigned.gives.clone()).unwrap_or_default();
        let table = Table {
            mac: machine.macs.iter().map(ToString::to_string).collect(),
            boots: gives
                .boots
                .iter()
                .map(Boots::as_said)
                .map(|(key, value)| (key, value.to_owned()))
                .collect(),
            workloads: gives.workloads,
            args: gives.args,
            vars: gives.vars,
        };
        let table =
            toml::to_string(&BTreeMap::from([("machine", BTreeMap::from([(&machine.name, table)]))]))?;
        text.push('\n');
        for line in table.lines() {
            let is_comment = machine.in_files || machine.macs.is_empty();
            let comment = if is_comment && !line.is_empty() { "# " } else { "" };
            text += &format!("{comment}{line}\n");
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_bootconf::assignment::Assignment;
    use oneroot_bootconf::gives::Gives;

    #[test]
    fn what_is_exported_is_for_good_and_a_machine_whose_nics_nobody_knows_is_a_comment() {
        let signed = || Signed { by: "ada".to_owned(), at: 1 };
        let profile = Gives { boots: Some(Boots::Profile("debian".to_owned())), ..Gives::default() };
        let assigned = || Some(Assignment { gives: profile.clone(), ..Assignment::empty(signed()) });
        let machine = |name: &str, macs: &[&str]| MappedMachine {
            name: name.to_owned(),
            macs: macs.iter().map(|mac| mac.parse().unwrap()).collect(),
            adopted: None,
            assigned: None,
            for_now: None,
            history: Vec::new(),
            known: true,
            in_files: false,
        };
        let seat = MappedMachine {
            adopted: Some(signed()),
            assigned: assigned(),
            ..machine("seat-1", &["02:00:00:00:00:01"])
        };
        let gone = MappedMachine { assigned: assigned(), known: false, ..machine("gone", &[]) };
        let once = MappedMachine { for_now: assigned(), ..machine("once", &["02:00:00:00:00:02"]) };
        let mapping = Mapping { machines: vec![gone, once, seat], ..Mapping::default() };
        let text = export(&mapping).unwrap();
        let read: toml::Table = text.parse().unwrap();
        let machines = read["machine"].as_table().unwrap();
        assert_eq!(machines.keys().collect::<Vec<_>>(), ["seat-1"], "{text}");
        assert!(text.contains("# [machine.gone]") && !text.contains("once]"), "{text}");
    }
}
