//! The site's program as a voice of a decision, who is asked about, and what is told of answers that are none.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

mod common;

use std::path::Path;

use oneroot_bootconf::Site;
use oneroot_bootconf::answer::{BadAnswer, LONGEST};
use oneroot_bootconf::asked::{Asked, Catalogue, Who};
use oneroot_bootconf::decision::decide;
use oneroot_bootconf::gives::Gives;
use oneroot_bootconf::hardware::{Claims, Location};
use oneroot_bootconf::question::Question;

const SITE: &str = r#"
[server]
address = "10.0.0.1"
interface = "eth0"
[[network]]
subnet = "10.0.0.0/24"
pool = "10.0.0.100-10.0.0.199"
[decide]
program = ["./decide", "-v"]
timeout = "3s"
at_once = 8
cache = "10m"
[profile.base]
source = { tar = "base.tar" }
[profile.desktop]
extends = "base"
args = ["desktop=1"]
[profile.kiosk]
extends = "base"
[workload.print]
args = ["print=1"]
[group.seats]
machines = "seat-*"
profile = "desktop"
args = ["seat=1"]
vars = { who = "group", room = "1" }
[machine.seat-01]
mac = "52:54:00:00:00:01"
args = ["own=1"]
vars = { who = "itself" }
[machine.seat-02]
mac = "52:54:00:00:00:02"
profile = "base"
[unknown]
profile = "base"
"#;

fn site() -> Site {
    common::site(SITE)
}

fn asked(last: u8) -> Asked {
    Asked::by(format!("52:54:00:00:00:{last:02x}").parse().unwrap())
}

#[test]
fn the_programs_word_comes_after_the_machines_own_and_before_its_groups() {
    let site = site();
    let text = br#"{"profile": "kiosk", "workloads": ["print"], "args": ["told=1"], "vars": {"who": "program", "room": "2"}}"#;
    let catalogue = Catalogue::of(&site);
    let gives = Gives::answered_for(&catalogue, &asked(1), text).unwrap();
    let decided = |last| decide(&catalogue.told(&gives), &asked(last)).unwrap().into_profile().unwrap();
    let decision = decided(1);
    assert_eq!(decision.profile, "kiosk");
    assert_eq!(decision.args, ["seat=1", "print=1", "told=1", "own=1"]);
    assert_eq!((decision.vars["who"].as_str(), decision.vars["room"].as_str()), ("itself", "2"));
    let profiles = decision.why.iter().filter(|why| why.what == "profile");
    let profiles: Vec<_> = profiles.map(|why| (why.value.as_str(), why.from.as_str(), why.hidden)).collect();
    assert_eq!(profiles, [("kiosk", "the decide program", false), ("desktop", "[group.seats]", true)]);
    assert_eq!(decided(2).profile, "base", "the machine's own table hides it");
    assert_eq!(decided(9).profile, "kiosk", "and it hides what is said of unknown machines");
}

#[test]
fn nobody_is_asked_about_whose_own_table_says_what_it_boots() {
    let site = site();
    let catalogue = Catalogue::of(&site);
    let is_asked = |asked| catalogue.program_for(&asked).is_some();
    assert!(is_asked(asked(1)) && is_asked(asked(9)) && !is_asked(asked(2)));
    let (claims, location) = (Claims::default(), Location::default());
    let anybody = Asked { who: Who::Unknown, ..asked(9) };
    assert_eq!(
        Question::of(&catalogue, &anybody, &claims, &location),
        None,
        "there is nobody to ask about yet"
    );
    let program = site.decide.as_ref().unwrap();
    assert_eq!(
        (program.path.as_path(), program.args.as_slice()),
        (Path::new("/site/./decide"), &["-v".to_owned()][..])
    );
    assert_eq!((program.timeout, program.at_once, program.cache), (3, 8, 600));
}

#[test]
fn a_question_tells_what_is_known_and_leaves_out_what_is_not() {
    let site = site();
    let claims: Claims = serde_json::from_str(
        r#"{"hardware": {"product": "OptiPlex 7080", "memory": 16384}, "examined": {"rack": "b7", "gpu": 2, "on": true, "disks": ["sda"]}}"#,
    )
    .unwrap();
    let location = Location::default();
    let document = |last| {
        let question = Question::of(&Catalogue::of(&site), &asked(last), &claims, &location).unwrap();
        String::from_utf8(question.document()).unwrap()
    };
    assert_eq!(
        document(1),
        "{\"mac\":\"52:54:00:00:00:01\",\"macs\":[\"52:54:00:00:00:01\"],\"name\":\"seat-01\",\"address\":\"10.0.0.100\",\
         \"groups\":[\"seats\"],\"hardware\":{\"product\":\"OptiPlex 7080\",\"memory\":16384},\"location\":{},\
         \"examined\":{\"disks\":[\"sda\"],\"gpu\":2,\"on\":true,\"rack\":\"b7\"}}\n"
    );
    assert!(!document(9).contains("name"));
}

#[test]
fn what_is_wrong_with_an_answer_is_named_in_one_short_line() {
    let site = site();
    let told = |text: &str| Gives::answered(text.as_bytes(), &site).unwrap_err().to_string();
    for (text, names) in [
        ("", "printed nothing"),
        (" \n", "printed nothing"),
        (
            "{\"profil\": \"kiosk\"}",
            "unknown field `profil`, expected one of `profile`, `menu`, `boot`, `workloads`",
        ),
        ("{\"profile\": \"kisok\"}", "there is no profile \"kisok\"; did you mean `kiosk`?"),
        ("{\"profile\": 7}", "invalid type: integer `7`, expected a string at line 1 column 13"),
        ("{\"profile\": null}", "invalid type: null, expected a string"),
        ("{\"workloads\": [\"pint\"]}", "there is no workload \"pint\""),
        ("{\"args\": [\"root=/dev/sda\"]}", "root= is oneroot's own argument"),
        ("{\"vars\": {\"a\": \"1\", \"a\": \"2\"}}", "variable \"a\" is there twice"),
        ("{\"vars\": {\"a\": \"x\\n\"}}", "has a control character in it"),
        ("{\"boot\": \"disk\"}", "unknown variant `disk`, expected `local` or `hold`"),
        ("{\"boot\": \"local\", \"profile\": \"kiosk\"}", "are one word too many; say one"),
        ("{\"menu\": \"tools\"}", "there is no menu \"tools\""),
        ("[\"kiosk\"]", "a JSON object begins with {"),
        ("{} {}", "trailing characters"),
    ] {
        let told = told(text);
        assert!(told.contains(names) && !told.contains('\n'), "{text}: {told}");
    }
    let long = told(&format!("{{\"{}\": 1}}", "x".repeat(50_000)));
    assert!(long.chars().count() < 400, "{long}");
    assert_eq!(Gives::answered(&vec![b' '; LONGEST + 1], &site), Err(BadAnswer::TooLong));
    let line = format!("{{\"args\": [\"{}\"]}}", "x".repeat(1485));
    assert!(Gives::answered(line.as_bytes(), &site).is_ok());
    let catalogue = Catalogue::of(&site);
    let told = Gives::answered_for(&catalogue, &asked(1), line.as_bytes()).unwrap_err().to_string();
    assert!(
        told.contains("with it the machine's kernel arguments have 1500 bytes")
            || told.contains("bytes together"),
        "{told}"
    );
}
