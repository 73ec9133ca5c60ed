//! What a machine is given by the groups that it is in: each row of the table of `decision::decide`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

mod common;

use std::net::IpAddr;

use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decision::{Decision, NoPlan, Part, decide, parts};
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::{Site, stacks};
use oneroot_ids::Mac;

const SITE: &str = r#"
[server]
address = "10.0.0.1"
interface = "eth0"
[[network]]
subnet = "10.0.0.0/24"
pool = "10.0.0.100-10.0.0.199"
[[network]]
subnet = "10.0.1.0/24"
server = "10.0.1.1"
pool = "10.0.1.100-10.0.1.199"

[profile.base]
source = { tar = "base.tar" }
args = ["console=ttyS0"]
[profile.desktop]
extends = "base"
[profile.kiosk]
extends = "base"

[workload.render]
layers = ["layers/render"]
args = ["mitigations=off"]
vars = { who = "workload" }
[workload.print]
[workload.mine]

[group.seats]
machines = "seat-*"
profile = "desktop"
workloads = ["render", "print"]
layers = ["layers/seats"]
args = ["quiet"]
vars = { who = "seats", room = "1" }

[group.all]
macs = "52:54:00:*"
args = ["splash"]
vars = { room = "2" }

[group.hall]
networks = "10.0.1.0/24"
profile = "kiosk"
layers = ["layers/hall"]

[machine.seat-01]
mac = "52:54:00:00:00:01"
workloads = ["mine", "print"]
layer = "layers/seat-01"
args = ["debug"]
vars = { who = "itself" }
[machine.seat-02]
mac = "02:00:00:00:00:02"
address = "10.0.1.2"
profile = "base"
"#;

fn site(more: &str) -> Site {
    common::site(&format!("{SITE}{more}"))
}

fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

fn decided(site: &Site, nic: &str) -> Decision {
    decide(&Catalogue::of(site), &Asked::by(mac(nic))).unwrap().into_profile().unwrap()
}

fn from<'d>(decision: &'d Decision, what: &str, hidden: bool) -> Vec<(&'d str, &'d str)> {
    let told = decision.why.iter().filter(|why| why.what == what && why.hidden == hidden);
    told.map(|why| (why.value.as_str(), why.from.as_str())).collect()
}

#[test]
fn what_groups_give_adds_up_between_the_profile_and_the_machine_in_the_order_of_the_site() {
    let decision = decided(&site(""), "52:54:00:00:00:01");
    assert_eq!(decision.profile, "desktop");
    assert_eq!(decision.groups, ["seats", "all"]);
    assert_eq!(decision.args, ["console=ttyS0", "quiet", "splash", "mitigations=off", "debug"]);
    assert_eq!(decision.workloads, ["render", "print", "mine"], "one that is named twice is there once");
    let layer = |path: &str| Part::Layer { path: path.into() };
    let own = Part::Machine { name: "seat-01".to_owned(), path: "/site/layers/seat-01".into() };
    let base = Part::Profile { name: "base".to_owned() };
    assert_eq!(decision.parts, [base, layer("/site/layers/seats"), layer("/site/layers/render"), own]);
    let vars: Vec<_> = decision.vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(vars, [("room", "2"), ("who", "itself")], "the last word counts");
    assert_eq!(from(&decision, "group", false), [("seats", "[group.seats]"), ("all", "[group.all]")]);
    assert_eq!(from(&decision, "workload", true), [("print", "[machine.seat-01]")]);
}

#[test]
fn the_machines_own_word_hides_its_groups_and_theirs_hides_what_is_said_of_unknown_machines() {
    let site = site("[unknown]\nprofile = \"base\"\n");
    let named = decided(&site, "02:00:00:00:00:02");
    assert_eq!(from(&named, "profile", false), [("base", "[machine.seat-02]")]);
    assert_eq!(from(&named, "profile", true), [("desktop", "[group.seats]"), ("kiosk", "[group.hall]")]);
    let at = |address: [u8; 4]| {
        decide(&Catalogue::of(&site), &Asked::at(mac("02:00:00:00:00:99"), IpAddr::from(address)))
            .unwrap()
            .into_profile()
            .unwrap()
    };
    let in_hall = at([10, 0, 1, 150]);
    assert_eq!((in_hall.profile.as_str(), in_hall.groups.as_slice()), ("kiosk", &["hall".to_owned()][..]));
    assert_eq!(from(&in_hall, "profile", true), [("base", "[unknown]")]);
    assert_eq!(at([10, 0, 0, 150]).profile, "base");
}

#[test]
fn a_nic_that_nobody_has_named_may_be_in_a_group_and_boots_only_by_one_that_has_a_profile() {
    let site = site("");
    let catalogue = Catalogue::of(&site);
    let stranger = mac("52:54:00:00:00:99");
    let at = |address: [u8; 4]| {
        let decided = decide(&catalogue, &Asked::at(stranger, IpAddr::from(address)));
        decided.unwrap().into_profile()
    };
    assert_eq!(at([10, 0, 0, 150]), None);
    let boots = at([10, 0, 1, 150]).unwrap();
    assert_eq!(boots.groups, ["all", "hall"]);
    assert!(boots.args.contains(&"splash".to_owned()));
}

/// A line that is too long for the first group's profile is refused, though another group comes first by its name.
#[test]
fn check_takes_groups_in_the_order_in_which_a_decision_does() {
    let long = format!("args = [\"{}\"]\n", "x".repeat(1490));
    let site = |first: &str, second: &str| {
        let groups = format!(
            "[profile.long]\nextends = \"base\"\n{long}[group.{first}]\nmachines = \"m\"\nprofile = \"long\"\n\
             [group.{second}]\nmachines = \"m\"\nprofile = \"kiosk\"\n\
             [machine.m]\nmac = \"02:00:00:00:00:07\"\nargs = [\"{}\"]\n",
            "y".repeat(60)
        );
        let text = SITE.replace("args = [\"console=ttyS0\"]\n", "") + &groups;
        common::load(&text)
    };
    for (first, second) in [("zz", "aa"), ("aa", "zz")] {
        let told = site(first, second).unwrap_err();
        assert!(told.contains("machine.m: its kernel arguments"), "{first} {second}: {told}");
    }
}

#[test]
fn a_named_machine_that_no_table_gives_a_profile_is_told_so_and_boots_where_its_group_is() {
    let machine = "[machine.m]\nmac = \"02:00:00:00:00:07\"\n";
    let site = site(machine);
    let (catalogue, nic) = (Catalogue::of(&site), mac("02:00:00:00:00:07"));
    assert_eq!(decide(&catalogue, &Asked::by(nic)), Err(NoPlan::NoProfile("m".to_owned())));
    let in_hall = decide(&catalogue, &Asked::at(nic, IpAddr::from([10, 0, 1, 150])));
    let in_hall = in_hall.unwrap().into_profile().unwrap();
    assert_eq!(in_hall.profile, "kiosk");
}

#[test]
fn a_machines_groups_are_the_same_whichever_of_its_nics_boots() {
    let two = "[machine.two]\nmac = [\"02:00:00:00:00:05\", \"52:54:00:00:00:06\"]\naddress = \"10.0.1.5\"\n";
    let site = site(two);
    for nic in ["02:00:00:00:00:05", "52:54:00:00:00:06"] {
        assert_eq!(decided(&site, nic).groups, ["all", "hall"], "{nic}");
    }
}

#[test]
fn templates_know_the_groups_and_stage_has_their_layers() {
    let site = site("");
    let (catalogue, asked) = (Catalogue::of(&site), Asked::by(mac("52:54:00:00:00:01")));
    let facts = Facts::of(&catalogue, &decide(&catalogue, &asked).unwrap().into_profile().unwrap(), &asked);
    assert_eq!(facts.groups, ["seats", "all"]);
    let staged: Vec<Part> = parts(&site).into_iter().map(|(part, _)| part).collect();
    let hall = Part::Layer { path: "/site/layers/hall".into() };
    assert!(staged.contains(&hall));
    assert!(
        stacks(&site).iter().any(|stack| stack.contains(&hall)),
        "though no machine of the site is there"
    );
}
