//! The tables of a site against each other: names that must exist, addresses and MACs that must be one machine's alone,
//! command lines that must fit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};

use crate::site::draft::Draft;
use crate::site::gives::{Boots, Gives};
use crate::site::groups::Group;
use crate::site::hides::{Hidden, Said, hidden_together};
use crate::site::mounts::{Mounts, What};
use crate::site::networks::pool_size;
use crate::site::report::nearest;
use crate::site::secrets::{Secret, SecretKind, Secrets};
use crate::site::section::Diagnostics;
use crate::site::table::Table;
use crate::site::{Machine, Profile, Server};

type Named<T> = BTreeMap<String, Table<T>>;

/// Bytes of kernel arguments that a site may add for one machine. x86 and arm64 kernels cut their line at 2048 without a
/// word, and ours, an NFS root with all its options, takes up to 500 of them.
pub(crate) const LONGEST_LINE: usize = 1500;
/// Profiles in one chain. A person loses the thread long before.
const DEEPEST: usize = 32;

/// Notes what is wrong between the tables.
pub(crate) fn tables(draft: &Draft, diagnostics: &mut Diagnostics) {
    networks(draft, diagnostics);
    rooms(draft, diagnostics);
    let extended: BTreeSet<&String> =
        draft.profiles.values().filter_map(|profile| profile.value.extends.as_ref()).collect();
    for (name, profile) in &draft.profiles {
        if let Some(extends) = &profile.value.extends {
            exists("profile", extends, &draft.profiles, profile, "extends", diagnostics);
        }
        if let Some(lender) = &profile.value.kernel_from {
            exists("profile", lender, &draft.profiles, profile, "kernel_from", diagnostics);
            lends(lender, profile, draft, diagnostics);
        }
        match chain_of(name, &draft.profiles) {
            Chain::Cycle(cycle) => {
                let extends = profile.value.extends.clone().unwrap_or_default();
                diagnostics.note(profile.place("extends", &extends), format!("extends itself: {cycle}"));
            }
            Chain::TooDeep => {
                diagnostics.note(
                    &profile.span,
                    format!("extends more than {DEEPEST} profiles, one after the other"),
                );
            }
            Chain::Ends(chain) => {
                fits(&chain, profile, &[], diagnostics);
                roots(&chain, profile, diagnostics);
                // Of one that others extend, they may say otherwise.
                if !extended.contains(name) {
                    hidden(&said_by(&chain), &[], profile, diagnostics);
                }
            }
        }
        mounted(&profile.value.mounts, profile, draft, diagnostics);
        secret(&profile.value.secrets, profile, draft, diagnostics);
    }
    let tabled = workloads_of_tables(draft);
    for (name, workload) in &draft.workloads {
        mounted(&workload.value.mounts, workload, draft, diagnostics);
        secret(&workload.value.secrets, workload, draft, diagnostics);
        // What no table gives a program may, or somebody at the command line.
        if !tabled.contains(name) {
            hidden(&[(&workload.value.mounts, &workload.value.secrets)], &[], workload, diagnostics);
        }
    }
    groups(draft, diagnostics);
    machines(draft, diagnostics);
    menus(draft, diagnostics);
    if let Some(unknown) = &draft.unknown
        && let Some(boots) = &unknown.value
    {
        named(boots, unknown, draft, diagnostics);
    }
}

/// A profile's arguments are made for the root that it has, so whoever extends it has the same.
fn roots(chain: &[&Table<Profile>], profile: &Table<Profile>, diagnostics: &mut Diagnostics) {
    let below = chain.iter().take(chain.len().saturating_sub(1));
    let Some(own) = profile.value.root.filter(|_| chain.len() > 1) else { return };
    let inherited = below.rev().find_map(|below| below.value.root).unwrap_or_default();
    if own != inherited {
        let extends = profile.value.extends.as_deref().unwrap_or_default();
        diagnostics.note(
            profile.place("root", &String::new()),
            format!("is {:?} in {extends}, which this profile extends", inherited.as_str()),
        );
    }
}

/// A kernel is borrowed from a tree that has one: not from the borrower, and not from another borrower.
fn lends(lender: &str, profile: &Table<Profile>, draft: &Draft, diagnostics: &mut Diagnostics) {
    let Chain::Ends(chain) = chain_of(lender, &draft.profiles) else { return };
    let span = profile.place("kernel_from", &lender);
    if chain.iter().any(|other| std::ptr::eq(*other, profile)) {
        diagnostics.note(span, format!("{lender} is this profile or extends it; name one that has a kernel"));
    } else if let Some(other) = chain.iter().find_map(|other| other.value.kernel_from.as_ref()) {
        diagnostics.note(span, format!("{lender} borrows its kernel itself; say kernel_from = {other:?}"));
    }
}

fn networks(draft: &Draft, diagnostics: &mut Diagnostics) {
    for (number, network) in draft.networks.iter().enumerate() {
        let subnet = network.value.subnet;
        let other = draft.networks.iter().take(number).map(|other| other.value.subnet);
        if let Some(other) = { other }.find(|other| other.overlaps(subnet)) {
            diagnostics.note(network.place("subnet", &subnet), format!("{subnet} overlaps {other}"));
        }
        let is_given = |address: &Ipv4Addr| {
            network.value.pool.is_some_and(|(first, last)| (first..=last).contains(address))
                && !network.value.exclude.iter().any(|(from, to)| (from..=to).contains(&address))
        };
        for address in servers(draft).filter(is_given) {
            let span = network.place("pool", &String::new());
            diagnostics.note(span, format!("has the server's own address {address} in it; exclude it"));
        }
        let none = [subnet.network(), subnet.broadcast()];
        for address in servers(draft).filter(|address| none.contains(address)) {
            let span = network.place("subnet", &subnet);
            diagnostics.note(span, format!("has the server's address {address} as no host's"));
        }
    }
}

/// The addresses of the server in its own table.
fn servers(draft: &Draft) -> impl Iterator<Item = Ipv4Addr> {
    let all = |server: &Server| -> Vec<Ipv4Addr> {
        let first = if let IpAddr::V4(address) = server.address { Some(address) } else { None };
        first.into_iter().chain(server.more_addresses.iter().copied()).collect()
    };
    draft.server.as_ref().into_iter().flat_map(all)
}

/// Any machine that the site names may turn up in any of its networks: nobody says which, before it is there. So each pool
/// has room for all that have no address of their own, which strangers are never given.
fn rooms(draft: &Draft, diagnostics: &mut Diagnostics) {
    let needed: usize = draft.machines.values().map(|machine| machine.value.without_address()).sum();
    let kept: Vec<Ipv4Addr> =
        draft.machines.values().flat_map(|machine| &machine.value.addresses).copied().collect();
    let services = draft.networks.iter().flat_map(|network| network.value.services());
    let kept: Vec<Ipv4Addr> = kept.into_iter().chain(services).collect();
    let server = servers(draft).next();
    for network in draft.networks.iter().filter(|network| network.value.pool.is_some()) {
        let size = pool_size(&network.value, server, kept.iter().copied());
        if needed as u64 > size {
            diagnostics.note(
                network.place("pool", &String::new()),
                format!(
                    "has {size} addresses, and {needed} NICs of named machines have none of their own, each of which may come here: make it larger, or give machines an `address`"
                ),
            );
        }
    }
}

fn machines(draft: &Draft, diagnostics: &mut Diagnostics) {
    let (mut macs, mut addresses) = (HashMap::new(), HashMap::new());
    for (name, machine) in &draft.machines {
        let value = &machine.value;
        given(&value.gives, machine, draft, diagnostics);
        for mac in &value.macs {
            alone("MAC", *mac, name, &mut macs, machine, "mac", diagnostics);
        }
        for address in value.addresses.iter().copied() {
            alone("address", address, name, &mut addresses, machine, "address", diagnostics);
            let span = machine.place("address", &address);
            if servers(draft).any(|server| server == address)
                || draft.networks.iter().any(|network| network.value.server == Some(address))
            {
                diagnostics.note(span, format!("{address} is the server's own address"));
            }
            match draft.networks.iter().find(|network| network.value.subnet.contains(address)) {
                None => diagnostics.note(span, format!("{address} is in none of the networks")),
                Some(network) => {
                    let subnet = network.value.subnet;
                    if address == subnet.network() || address == subnet.broadcast() {
                        diagnostics.note(span, format!("{address} is not a host address in {subnet}"));
                    }
                    if network.value.proxy {
                        diagnostics.note(
                            span,
                            format!(
                                "in {subnet} another DHCP server gives the addresses; keep {address} there"
                            ),
                        );
                    }
                    if network.value.router == Some(address) {
                        diagnostics.note(span, format!("{address} is the router's address"));
                    }
                    if network.value.dns.contains(&address) {
                        diagnostics.note(span, format!("{address} is a name server's address"));
                    }
                    if network.value.ntp.contains(&address) {
                        diagnostics.note(span, format!("{address} is a time server's address"));
                    }
                }
            }
        }
        boots(name, machine, draft, diagnostics);
    }
}

/// What a machine boots by its own table and those of its groups has a line that fits.
fn boots(name: &str, machine: &Table<Machine>, draft: &Draft, diagnostics: &mut Diagnostics) {
    let value = &machine.value;
    let is_in = |group: &&Table<Group>| group.value.members.have(Some(name), &value.macs, &value.addresses);
    let mut groups: Vec<&Table<Group>> = draft.groups.values().filter(is_in).collect();
    // As a decision takes them: the first that has a profile counts.
    groups.sort_by_key(|group| group.order());
    let by_network = groups.iter().filter(|group| comes_by_network(group));
    let by_network: Vec<Hidden> = by_network.flat_map(|group| by_itself(&group.value.gives, draft)).collect();
    let groups: Vec<&Gives> = groups.into_iter().map(|group| &group.value.gives).collect();
    // What nothing here says a rule may, or somebody at the command line: `check` tells of it where nobody does.
    let boots = value.gives.boots.as_ref().or_else(|| groups.iter().find_map(|gives| gives.boots.as_ref()));
    if boots.is_none() {
        hidden(&said_to_one(&groups, &[&value.gives], draft), &by_network, machine, diagnostics);
    }
    for (profile, choice) in boots.map(|boots| roots_of(boots, draft)).unwrap_or_default() {
        let Chain::Ends(chain) = chain_of(profile, &draft.profiles) else { continue };
        let all = || groups.iter().copied().chain([&value.gives]).chain(choice);
        let mut nearer: Vec<&Gives> = choice.into_iter().collect();
        // A choice is nearer than the table that shows the menu.
        nearer.insert(if value.gives.boots.is_some() { 0 } else { nearer.len() }, &value.gives);
        let by_profile = said_by(&chain);
        let tables = [&by_profile[..], &said_to_one(&groups, &nearer, draft)].concat();
        let is_extended =
            draft.profiles.values().any(|other| other.value.extends.as_deref() == Some(profile));
        let mut told = if is_extended { Vec::new() } else { hidden_together(&by_profile) };
        told.extend(by_network.iter().cloned());
        hidden(&tables, &told, machine, diagnostics);
        let more = words(all, draft);
        // What a profile has alone was looked at with the profile.
        if !more.is_empty() {
            fits(&chain, machine, &more, diagnostics);
        }
    }
}

/// Of what tables say together, nothing hides another: by the words that count, for a nearer table may have taken one of the two away. What
/// was told of already is not told again.
fn hidden<T>(tables: &[Said<'_>], told: &[Hidden], table: &Table<T>, diagnostics: &mut Diagnostics) {
    for hidden in hidden_together(tables).into_iter().filter(|hidden| !told.contains(hidden)) {
        let span = hidden.secret.as_ref().map_or(&table.span, |secret| table.place("secrets", secret));
        diagnostics.note(span, hidden.told);
    }
}

/// Whether machines may be in a group of which no table says so: by the address that they ask from.
fn comes_by_network(group: &Table<Group>) -> bool {
    !group.value.members.networks.is_empty()
}

/// What is hidden of what a table gives by itself, with its workloads.
fn by_itself(gives: &Gives, draft: &Draft) -> Vec<Hidden> {
    hidden_together(&said_to_one(&[], &[gives], draft))
}

/// The same, noted: of a table that counts for machines of which no other table says so, with whatever else they have.
pub(crate) fn hidden_alone<T>(table: &Table<T>, gives: &Gives, draft: &Draft, diagnostics: &mut Diagnostics) {
    hidden(&said_to_one(&[], &[gives], draft), &[], table, diagnostics);
}

/// The workloads that some table gives.
fn workloads_of_tables(draft: &Draft) -> BTreeSet<&String> {
    let groups = draft.groups.values().map(|group| &group.value.gives);
    let rules = draft.rules.iter().map(|rule| &rule.value.gives);
    let machines = draft.machines.values().map(|machine| &machine.value.gives);
    let choices = draft.menus.values().flat_map(|menu| &menu.value.choices).map(|choice| &choice.gives);
    groups.chain(rules).chain(machines).chain(choices).flat_map(|gives| &gives.workloads).collect()
}

/// What a profile says with those that it extends.
fn said_by<'d>(chain: &[&'d Table<Profile>]) -> Vec<Said<'d>> {
    chain.iter().map(|profile| (&profile.value.mounts, &profile.value.secrets)).collect()
}

/// What else counts of a machine, in the order of a decision (`decide/decision.rs`): the groups' own words, their workloads, and of each
/// nearer table its workloads before its own words. A workload counts where it is named first.
fn said_to_one<'d>(groups: &[&'d Gives], nearer: &[&'d Gives], draft: &'d Draft) -> Vec<Said<'d>> {
    let mut named = BTreeSet::new();
    let mut of_workloads = |gives: &'d Gives| -> Vec<Said<'d>> {
        let new = gives.workloads.iter().filter(|name| named.insert(name.as_str()));
        let new = new.filter_map(|name| draft.workloads.get(name));
        new.map(|workload| (&workload.value.mounts, &workload.value.secrets)).collect()
    };
    let mut said: Vec<Said<'d>> = groups.iter().map(|gives| (&gives.mounts, &gives.secrets)).collect();
    groups.iter().for_each(|gives| said.extend(of_workloads(gives)));
    for gives in nearer {
        said.extend(of_workloads(gives));
        said.push((&gives.mounts, &gives.secrets));
    }
    said
}

/// The profiles that somebody may boot who boots this, with what a choice gives besides.
fn roots_of<'d>(boots: &'d Boots, draft: &'d Draft) -> Vec<(&'d str, Option<&'d Gives>)> {
    match boots {
        Boots::Profile(profile) => vec![(profile, None)],
        Boots::Menu(menu) => {
            let choices = draft.menus.get(menu).into_iter().flat_map(|menu| &menu.value.choices);
            choices.filter_map(|choice| Some((choice.gives.profile()?, Some(&choice.gives)))).collect()
        }
        Boots::Local | Boots::Hold => Vec::new(),
    }
}

/// All arguments of what is given, and of the workloads that it names.
fn words<'d, G: Iterator<Item = &'d Gives>>(all: impl Fn() -> G, draft: &'d Draft) -> Vec<&'d String> {
    let workloads = all().flat_map(|gives| &gives.workloads).filter_map(|name| draft.workloads.get(name));
    all().flat_map(|gives| &gives.args).chain(workloads.flat_map(|workload| &workload.value.args)).collect()
}

/// What menus offer has to be there.
fn menus(draft: &Draft, diagnostics: &mut Diagnostics) {
    for menu in draft.menus.values() {
        for gives in menu.value.choices.iter().map(|choice| &choice.gives) {
            given(gives, menu, draft, diagnostics);
            if let Some(Chain::Ends(chain)) = gives.profile().map(|name| chain_of(name, &draft.profiles)) {
                fits(&chain, menu, &words(|| [gives].into_iter(), draft), diagnostics);
            }
        }
    }
}

/// What a table gives has to be there.
fn given<T>(gives: &Gives, table: &Table<T>, draft: &Draft, diagnostics: &mut Diagnostics) {
    if let Some(boots) = &gives.boots {
        named(boots, table, draft, diagnostics);
    }
    mounted(&gives.mounts, table, draft, diagnostics);
    secret(&gives.secrets, table, draft, diagnostics);
    for workload in &gives.workloads {
        exists("workload", workload, &draft.workloads, table, "workloads", diagnostics);
    }
}

/// Profiles that are mounted are there, and have a tree.
fn mounted<T>(mounts: &Mounts, table: &Table<T>, draft: &Draft, diagnostics: &mut Diagnostics) {
    for (at, mount) in mounts {
        let What::Profile(name) = &mount.what else { continue };
        exists("profile", name, &draft.profiles, table, "mounts", diagnostics);
        if let Chain::Ends(chain) = chain_of(name, &draft.profiles)
            && !chain.is_empty()
            && chain.iter().all(|profile| profile.value.source.is_none())
        {
            let told = format!("{name} has no tree that could be mounted on {at}");
            diagnostics.note(table.place("mounts", name), told);
        }
    }
}

/// Nobody is given a secret where any user of a machine can ask in root's place, and none is made by a program that there is not.
fn secret<T>(secrets: &Secrets, table: &Table<T>, draft: &Draft, diagnostics: &mut Diagnostics) {
    let anybody = draft.server.as_ref().is_some_and(|server| server.unprivileged_nfs_ports);
    for name in secrets.keys().filter(|_| anybody) {
        let told = "cannot be given with `allow_unprivileged_nfs_ports = true`: any user of a machine could ask for its secrets; take one of the two away";
        diagnostics.note(table.place("secrets", name), told);
    }
    let lacks = |secret: &Secret| secret.kind == SecretKind::Made && !draft.says_maker;
    for (name, _) in secrets.iter().filter(|(_, secret)| lacks(secret)) {
        let told = "is to be made by the site's program, and no [make_secrets] says which that is";
        diagnostics.note(table.place("secrets", name), told);
    }
}

/// And so has what it says is booted.
fn named<T>(boots: &Boots, table: &Table<T>, draft: &Draft, diagnostics: &mut Diagnostics) {
    match boots {
        Boots::Profile(name) => exists("profile", name, &draft.profiles, table, "profile", diagnostics),
        Boots::Menu(name) => exists("menu", name, &draft.menus, table, "menu", diagnostics),
        Boots::Local | Boots::Hold => {}
    }
}

/// What groups name has to be there.
fn groups(draft: &Draft, diagnostics: &mut Diagnostics) {
    for group in draft.groups.values() {
        table_gives(group, &group.value.gives, draft, diagnostics);
        if comes_by_network(group) {
            hidden_alone(group, &group.value.gives, draft, diagnostics);
        }
    }
}

/// What a table gives to machines has to be there, and its line to fit.
pub(crate) fn table_gives<T>(table: &Table<T>, gives: &Gives, draft: &Draft, diagnostics: &mut Diagnostics) {
    given(gives, table, draft, diagnostics);
    if let Some(Chain::Ends(chain)) = gives.profile().map(|name| chain_of(name, &draft.profiles)) {
        fits(&chain, table, &words(|| [gives].into_iter(), draft), diagnostics);
    }
}

fn exists<T, U>(
    kind: &str,
    name: &str,
    known: &Named<T>,
    table: &Table<U>,
    key: &'static str,
    diagnostics: &mut Diagnostics,
) {
    if !known.contains_key(name) {
        let hint = nearest(name, known.keys().map(String::as_str));
        diagnostics.note_with(table.place(key, &name), format!("there is no {kind} {name:?}"), hint);
    }
}

fn alone<'n, K: Eq + Hash + Copy + std::fmt::Display>(
    what: &str,
    value: K,
    name: &'n str,
    owners: &mut HashMap<K, &'n str>,
    machine: &Table<Machine>,
    key: &'static str,
    diagnostics: &mut Diagnostics,
) {
    // Twice in one machine was told when its table was read.
    if let Some(owner) = owners.insert(value, name)
        && owner != name
    {
        diagnostics.note(machine.place(key, &value), format!("{what} {value} is machine {owner}'s already"));
    }
}

fn fits<T>(chain: &[&Table<Profile>], table: &Table<T>, more: &[&String], diagnostics: &mut Diagnostics) {
    let args = chain.iter().flat_map(|profile| &profile.value.args).chain(more.iter().copied());
    let length: usize = args.map(|argument| argument.len() + 1).sum();
    if length > LONGEST_LINE {
        diagnostics.note(
            &table.span,
            format!("its kernel arguments have {length} bytes together; at most {LONGEST_LINE} leave room for oneroot's own"),
        );
    }
}

/// Where the profiles that one extends lead.
enum Chain<'d> {
    /// To a last one: all of them, bottom first; none when a name on the way is not there.
    Ends(Vec<&'d Table<Profile>>),
    /// Back to itself, as `a -> b -> a`.
    Cycle(String),
    /// Further than [`DEEPEST`].
    TooDeep,
}

fn chain_of<'d>(start: &str, profiles: &'d Named<Profile>) -> Chain<'d> {
    let (mut names, mut chain) = (vec![start], Vec::new());
    let mut at = start;
    while let Some(profile) = profiles.get(at) {
        chain.push(profile);
        let Some(next) = profile.value.extends.as_deref() else {
            chain.reverse();
            return Chain::Ends(chain);
        };
        names.push(next);
        if next == start {
            return Chain::Cycle(names.join(" -> "));
        }
        if names.iter().filter(|name| **name == next).count() > 1 {
            // A cycle further down the way is the fault of those profiles.
            break;
        }
        if names.len() > DEEPEST {
            return Chain::TooDeep;
        }
        at = next;
    }
    Chain::Ends(Vec::new())
}
