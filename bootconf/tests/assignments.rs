//! What the state holds over the site's files: each row of the table of `assignment`, and its place in a decision.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

mod common;

use oneroot_bootconf::Site;
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::assignment::{Adoption, Assignment, Conflict, Mapped, Signed};
use oneroot_bootconf::decision::{Decision, NoPlan, decide};
use oneroot_bootconf::gives::{Boots, Gives};
use oneroot_ids::Mac;

const SITE: &str = r#"
[server]
address = "10.0.0.1"
interface = "eth0"
[[network]]
subnet = "10.0.0.0/24"
pool = "10.0.0.100-10.0.0.199"
[profile.base]
source = { tar = "base.tar" }
[profile.desktop]
extends = "base"
args = ["splash"]
[profile.kiosk]
extends = "base"
[workload.render]
args = ["mitigations=off"]
[workload.print]
[group.seats]
machines = "seat-*"
profile = "kiosk"
workloads = ["print"]
vars = { who = "seats", room = "1" }
[machine.seat-01]
mac = "52:54:00:00:00:01"
address = "10.0.0.11"
profile = "base"
args = ["debug"]
vars = { who = "itself" }
[machine.bare]
mac = "52:54:00:00:00:02"
"#;

fn site() -> Site {
    common::site(SITE)
}

fn mac(last: u8) -> Mac {
    Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
}

fn signed() -> Signed {
    Signed { by: "ada".to_owned(), at: 7 }
}

fn gives(profile: Option<&str>, workloads: &[&str]) -> Gives {
    Gives {
        boots: profile.map(|name| Boots::Profile(name.to_owned())),
        workloads: workloads.iter().map(|name| (*name).to_owned()).collect(),
        ..Gives::default()
    }
}

fn assigned(name: &str, gives: Gives, until: Option<u64>) -> Mapped {
    let assigned = Assignment { gives, until, ..Assignment::empty(signed()) };
    let (assigned, for_now) = if assigned.lasts() { (Some(assigned), None) } else { (None, Some(assigned)) };
    Mapped { assigned, for_now, ..Mapped::of(name) }
}

fn adopted(name: &str, macs: &[Mac], instead_of: &[Mac]) -> Mapped {
    let adopted = Adoption { macs: macs.to_vec(), instead_of: instead_of.to_vec(), signed: signed() };
    Mapped { adopted: Some(adopted), ..Mapped::of(name) }
}

/// A record, with the NICs that its machine was last seen with.
fn laid(site: &Site, mapped: &[(Mapped, Vec<Mac>)]) -> (Site, Vec<Conflict>) {
    site.mapped(mapped.iter().map(|(mapped, macs)| (mapped, macs.as_slice())))
}

fn decided(site: &Site, nic: Mac, now: u64) -> Result<Decision, NoPlan> {
    decide(&Catalogue::of(site).at(now), &Asked::by(nic)).map(|decided| decided.into_profile().unwrap())
}

#[test]
fn what_was_assigned_comes_first_and_hides_the_site_and_adds_up_last() {
    let words = Gives {
        args: vec!["quiet".to_owned()],
        vars: [("who".to_owned(), "assigned".to_owned())].into(),
        ..gives(Some("desktop"), &["render", "print"])
    };
    let (site, conflicts) = laid(&site(), &[(assigned("seat-01", words, None), vec![])]);
    assert_eq!(conflicts, []);
    let decision = decided(&site, mac(1), 0).unwrap();
    assert_eq!(
        (decision.profile.as_str(), &decision.workloads[..]),
        ("desktop", &["print", "render"].map(str::to_owned)[..])
    );
    assert_eq!(decision.args, ["splash", "debug", "mitigations=off", "quiet"]);
    assert_eq!((decision.vars["who"].as_str(), decision.vars["room"].as_str()), ("assigned", "1"));
    let said: Vec<(&str, &str, bool)> = decision
        .why
        .iter()
        .filter(|why| why.what == "profile")
        .map(|why| (why.value.as_str(), why.from.as_str(), why.hidden))
        .collect();
    let expected = [
        ("desktop", "assigned by ada", false),
        ("base", "[machine.seat-01]", true),
        ("kiosk", "[group.seats]", true),
    ];
    assert_eq!(said, expected);
}

#[test]
fn an_assignment_without_a_profile_leaves_that_to_the_site() {
    let (site, _) = laid(&site(), &[(assigned("seat-01", gives(None, &["render"]), None), vec![])]);
    let decision = decided(&site, mac(1), 0).unwrap();
    assert_eq!((decision.profile.as_str(), decision.workloads.len()), ("base", 2));
}

#[test]
fn an_assignment_counts_until_its_moment_and_not_at_it() {
    let (site, _) = laid(&site(), &[(assigned("seat-01", gives(Some("desktop"), &[]), Some(100)), vec![])]);
    let at = |now| decided(&site, mac(1), now).unwrap().profile;
    assert_eq!((at(99), at(100), at(101)), ("desktop".to_owned(), "base".to_owned(), "base".to_owned()));
}

#[test]
fn a_machine_of_which_the_files_say_nothing_but_its_nic_boots_what_it_was_assigned() {
    assert!(matches!(decided(&site(), mac(2), 0), Err(NoPlan::NoProfile(_))));
    let (site, _) = laid(&site(), &[(assigned("bare", gives(Some("kiosk"), &[]), None), vec![])]);
    assert_eq!(decided(&site, mac(2), 0).unwrap().profile, "kiosk");
}

#[test]
fn an_adopted_machine_is_one_of_the_site_in_its_groups_too() {
    let (site, conflicts) = laid(&site(), &[(adopted("seat-07", &[mac(7)], &[]), vec![])]);
    assert_eq!(conflicts, []);
    let decision = decided(&site, mac(7), 0).unwrap();
    assert_eq!((decision.name.as_deref(), decision.profile.as_str()), (Some("seat-07"), "kiosk"));
    assert_eq!(site.machine(mac(7)).unwrap().1.adopted.as_ref().unwrap().by, "ada");
}

#[test]
fn other_nics_count_while_the_files_say_what_they_said_and_keep_the_machines_address() {
    let replaced = adopted("seat-01", &[mac(9)], &[mac(1)]);
    let (after, conflicts) = laid(&site(), &[(replaced.clone(), vec![])]);
    assert_eq!(conflicts, []);
    assert!(after.machine(mac(1)).is_none(), "the old NIC is nobody's");
    let (name, machine) = after.machine(mac(9)).unwrap();
    assert_eq!((name, machine.address_of(mac(9)).unwrap().to_string().as_str()), ("seat-01", "10.0.0.11"));
    assert_eq!(decided(&after, mac(9), 0).unwrap().args, ["debug"]);
    let edited = SITE.replace("52:54:00:00:00:01", "52:54:00:00:00:03");
    let edited = common::site(&edited);
    let (after, _) = laid(&edited, &[(replaced, vec![])]);
    assert!(after.machine(mac(9)).is_none() && after.machine(mac(3)).is_some(), "the files are newer");
}

#[test]
fn a_nic_that_the_files_give_to_another_machine_is_that_ones_and_a_conflict() {
    let (after, conflicts) = laid(&site(), &[(adopted("seat-07", &[mac(2)], &[]), vec![])]);
    assert_eq!(after.machine(mac(2)).unwrap().0, "bare");
    assert!(
        matches!(&conflicts[..], [Conflict::Nic { owner, name, .. }] if owner == "bare" && name == "seat-07")
    );
}

#[test]
fn an_assignment_stays_with_a_machine_that_the_files_have_renamed_and_waits_for_one_that_they_have_no_more() {
    let (renamed, _) =
        laid(&site(), &[(assigned("old-name", gives(Some("kiosk"), &[]), None), vec![mac(1)])]);
    assert_eq!(decided(&renamed, mac(1), 0).unwrap().profile, "kiosk");
    let (gone, conflicts) =
        laid(&site(), &[(assigned("gone", gives(Some("kiosk"), &[]), None), vec![mac(99)])]);
    assert_eq!((conflicts, gone.machines.len()), (vec![], 2));
}

#[test]
fn an_assignment_to_what_is_not_there_is_a_conflict_and_no_boot() {
    let (site, conflicts) =
        laid(&site(), &[(assigned("seat-01", gives(Some("dekstop"), &["nothing"]), None), vec![])]);
    assert_eq!(conflicts.len(), 2, "{conflicts:?}");
    let refused = decided(&site, mac(1), 0).unwrap_err();
    assert!(refused.to_string().contains("dekstop") && refused.to_string().contains("ada"), "{refused}");
}

#[test]
fn a_record_reads_back_as_it_was_written_and_names_no_directory() {
    let mut mapped = assigned("seat-01", gives(Some("desktop"), &["render"]), Some(9));
    let written = serde_json::to_string(&mapped).unwrap();
    assert_eq!(serde_json::from_str::<Mapped>(&written).unwrap(), mapped);
    mapped.for_now.as_mut().unwrap().gives.layers = vec![std::path::PathBuf::from("/etc").into()];
    assert_eq!(serde_json::to_string(&mapped).unwrap(), written);
}

#[test]
fn what_is_assigned_for_now_lies_over_what_is_assigned_for_good_and_leaves_it_there() {
    let lasting = assigned("seat-01", gives(Some("desktop"), &[]), None);
    let for_now = assigned("seat-01", gives(None, &["render"]), Some(100)).for_now;
    let both = Mapped { for_now, ..lasting };
    let (site, _) = laid(&site(), &[(both, vec![])]);
    let at = |now| {
        let decision = decided(&site, mac(1), now).unwrap();
        (decision.profile, decision.workloads)
    };
    let workloads = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(at(99), ("desktop".to_owned(), workloads(&["print", "render"])));
    assert_eq!(at(100), ("desktop".to_owned(), workloads(&["print"])));
}

#[test]
fn no_more_machines_are_adopted_than_a_pool_has_addresses_for() {
    // One hundred, and `bare` takes one of them.
    assert_eq!(site().lacks_room(99), None);
    let told = site().lacks_room(100).unwrap();
    assert!(told.contains("10.0.0.0/24 has 100 addresses") && told.contains("101 NICs"), "{told}");
}
