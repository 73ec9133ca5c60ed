//! What boots no profile: a machine's own disk, a menu, to wait; and what somebody has chosen.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

mod common;

use oneroot_bootconf::Site;
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decided::{Decided, Other, Way, profiles_of};
use oneroot_bootconf::decision::{Decision, chosen, decide, tree_of};
use oneroot_ids::Mac;

const SITE: &str = r#"
    [server]
    address = "10.0.0.1"
    interface = "eth0"
    [profile.debian]
    source = { tar = "debian.tar" }
    args = ["quiet"]
    [profile.rescue]
    source = { directory = "rescue" }
    root = "none"
    kernel = "/linux"
    [workload.render]
    args = ["mitigations=off"]
    [menu.desk]
    title = "Room 1"
    timeout = "20s"
    default = "disk"
    [[menu.desk.choice]]
    name = "debian"
    title = "Debian, as in class"
    profile = "debian"
    workloads = ["render"]
    args = ["splash"]
    [[menu.desk.choice]]
    name = "disk"
    title = "What is installed here"
    boot = "local"
    [[menu.desk.choice]]
    name = "rescue"
    profile = "rescue"
    [group.seats]
    machines = "seat-*"
    menu = "desk"
    [machine.seat-1]
    mac = "02:00:00:00:00:01"
    [machine.seat-2]
    mac = "02:00:00:00:00:02"
    boot = "local"
    [machine.seat-3]
    mac = "02:00:00:00:00:03"
    profile = "debian"
    [machine.waits]
    mac = "02:00:00:00:00:04"
    boot = "hold"
"#;

fn site(more: &str) -> Site {
    common::site(&format!("{SITE}{more}"))
}

fn mac(last: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, last]).unwrap()
}

fn other(site: &Site, last: u8) -> Other {
    match decide(&Catalogue::of(site), &Asked::by(mac(last))).unwrap() {
        Decided::Other(other) => other,
        Decided::Profile(decision) => panic!("{decision:?}"),
    }
}

fn choice(site: &Site, last: u8, word: &str) -> Decided {
    chosen(&Catalogue::of(site), &Asked::by(mac(last)), word).unwrap()
}

fn profile(decided: Decided) -> Decision {
    decided.into_profile().unwrap()
}

#[test]
fn the_nearest_word_counts_whether_it_is_a_profile_a_menu_or_the_machines_own_disk() {
    let site = site("");
    assert_eq!(other(&site, 1).way.shown(), "menu desk");
    let local = other(&site, 2);
    assert_eq!((local.way.clone(), local.groups.as_slice()), (Way::Local, &["seats".to_owned()][..]));
    let why: Vec<_> =
        local.why.iter().map(|why| (why.what.as_str(), why.value.as_str(), why.hidden)).collect();
    assert_eq!(why, [("boot", "local", false), ("menu", "desk", true)]);
    let decided = decide(&Catalogue::of(&site), &Asked::by(mac(3))).unwrap();
    let seat = profile(decided);
    assert!(seat.why.iter().any(|why| why.what == "menu" && why.hidden), "{:?}", seat.why);
    assert_eq!(other(&site, 4).way, Way::Hold);
}

#[test]
fn who_is_unknown_is_held_unless_the_site_says_otherwise() {
    let stranger = |more: &str| {
        decide(&Catalogue::of(&site(more)), &Asked::by(mac(99))).map(|decided| match decided {
            Decided::Other(other) => other.way.shown(),
            Decided::Profile(decision) => decision.profile,
        })
    };
    for (more, gets) in [
        ("", "held"),
        ("[unknown]\nboot = \"hold\"\n", "held"),
        ("[unknown]\nboot = \"local\"\n", "local"),
        ("[unknown]\nmenu = \"desk\"\n", "menu desk"),
        ("[unknown]\nprofile = \"debian\"\n", "debian"),
    ] {
        assert_eq!(stranger(more).unwrap(), gets);
    }
}

#[test]
fn a_choice_is_decided_as_if_a_table_said_it_and_adds_what_it_gives() {
    let site = site("");
    let debian = profile(choice(&site, 1, "debian"));
    assert_eq!((debian.profile.as_str(), debian.choice.as_deref()), ("debian", Some("debian")));
    assert_eq!(debian.args, ["quiet", "mitigations=off", "splash"]);
    assert_eq!(debian.why[0].from, "[menu.desk], choice debian");
    assert!(matches!(choice(&site, 1, "disk"), Decided::Other(Other { way: Way::Local, .. })));
    assert_eq!(profile(choice(&site, 1, "rescue")).profile, "rescue");
}

#[test]
fn a_made_up_choice_and_one_of_a_machine_without_a_menu_are_as_none() {
    let site = site("");
    for word in ["", "nobody", "DEBIAN", "debian ", "local", "../debian", "\u{1b}[2J"] {
        assert!(
            matches!(choice(&site, 1, word), Decided::Other(Other { way: Way::Menu(..), .. })),
            "{word:?}"
        );
    }
    let own = profile(choice(&site, 3, "rescue"));
    assert_eq!((own.profile.as_str(), own.choice), ("debian", None));
    assert!(matches!(choice(&site, 2, "debian"), Decided::Other(Other { way: Way::Local, .. })));
}

#[test]
fn all_that_a_menu_offers_counts_as_what_its_machines_may_boot() {
    let site = site("");
    let of = |last| {
        let all = profiles_of(&Catalogue::of(&site), &Asked::by(mac(last))).unwrap();
        all.into_iter().map(|decision| decision.profile).collect::<Vec<_>>()
    };
    assert_eq!(of(1), ["debian", "rescue"]);
    assert_eq!(of(2), [""; 0]);
    assert_eq!(of(3), ["debian"]);
}

#[test]
fn the_tree_of_a_machine_is_the_first_profile_that_is_said_however_it_boots() {
    let more = "[group.disks]\nmachines = \"*\"\nboot = \"local\"\n[group.lab]\nmachines = [\"seat-*\"]\nprofile = \"debian\"\n";
    let site = site(more);
    let tree = |last: u8| tree_of(&Catalogue::of(&site), &Asked::by(mac(last)));
    for (last, why) in [(1, "its menu is passed over"), (2, "its own disk is"), (3, "its own word counts")] {
        assert_eq!(tree(last).unwrap().into_profile().unwrap().profile, "debian", "{why}");
    }
    let own = tree(3).unwrap().into_profile().unwrap();
    assert_eq!(own.why.iter().find(|why| why.what == "profile").unwrap().from, "[machine.seat-3]");
    assert!(tree(4).is_err(), "no table says one for it");
    let boots = decide(&Catalogue::of(&site), &Asked::by(mac(2))).unwrap();
    assert!(matches!(boots, Decided::Other(Other { way: Way::Local, .. })), "and it boots as before");
}
