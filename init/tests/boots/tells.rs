//! A machine examines itself: what its programs print is told once, all of it together, and none of them, nor a server, keeps it for long.

use std::time::Duration;

use oneroot_init::kernel::{Ended, Errno, Ran};
use oneroot_init::tell::tell;

use crate::fake::{Fake, Node};
use crate::lab::{OTHER, SERVER, at, file, machine};

const EXAMINE: &str = "/etc/oneroot/examine.d";

fn ends(ended: Ended, printed: &str) -> Ran {
    Ran { ended, printed: printed.as_bytes().to_vec() }
}

/// A machine with programs, of which each ends like this at once.
fn with(programs: &[(&str, Ran)]) -> Fake {
    let fake = machine();
    {
        let mut state = fake.state();
        state.limit = Duration::from_secs(10_000);
        state.files.insert("/.oneroot/tell-to".to_owned(), file("192.168.77.1 80\n"));
        state.files.insert(EXAMINE.to_owned(), Node::Directory);
        for (name, ran) in programs {
            let path = format!("{EXAMINE}/{name}");
            state.files.insert(path.clone(), file("#!/bin/sh\n"));
            state.programs.insert(path, (Duration::ZERO, Ok(ran.clone())));
        }
    }
    fake
}

/// Where each prints this, and ends well.
fn printing(programs: &[(&str, &str)]) -> Fake {
    let programs: Vec<_> =
        programs.iter().map(|(name, printed)| (*name, ends(Ended::With(0), printed))).collect();
    with(&programs)
}

fn takes(fake: &Fake, name: &str, seconds: u64) {
    let path = format!("{EXAMINE}/{name}");
    fake.state().programs.get_mut(&path).unwrap().0 = Duration::from_secs(seconds);
}

/// What the server was told, and of which programs the machine has said that they failed.
fn told(fake: &Fake) -> (String, Vec<String>) {
    let state = fake.state();
    let failed = state.said.iter().map(|word| {
        word.strip_prefix("0202020202020202.examine-failed-").unwrap_or_else(|| panic!("{word}")).to_owned()
    });
    let texts: Vec<&str> = state.examined.iter().map(|(_, _, text)| text.as_str()).collect();
    (texts.concat(), failed.collect())
}

#[test]
fn what_all_programs_have_printed_is_told_in_one_message_and_of_those_that_failed_that_they_did() {
    let fake = with(&[
        ("10-rack", ends(Ended::With(0), "{\"rack\": \"b7\"}\n")),
        ("20-gpu", ends(Ended::With(3), "{\"half\":")),
        ("30-none", ends(Ended::With(0), "")),
        ("40-killed", ends(Ended::By(11), "")),
        (".50-hidden", ends(Ended::With(0), "{}")),
    ]);
    fake.state().files.insert(format!("{EXAMINE}/60-more"), Node::Directory);
    fake.state().files.insert(format!("{EXAMINE}/70-alias"), Node::Link("/usr/lib/alias".to_owned()));
    fake.state().files.insert("/usr/lib/alias".to_owned(), file("#!"));
    let alias = (Duration::ZERO, Ok(ends(Ended::With(0), "{}")));
    fake.state().programs.insert(format!("{EXAMINE}/70-alias"), alias);
    assert!(tell(&fake), "{}", fake.page());
    let (text, failed) = told(&fake);
    let wanted =
        "printed 10-rack 15\n{\"rack\": \"b7\"}\n\nfailed 20-gpu\nprinted 30-none 0\n\nfailed 40-killed\n";
    assert_eq!(text, format!("{wanted}printed 70-alias 2\n{{}}\n"));
    assert_eq!((fake.state().examined.len(), failed), (1, vec!["20-gpu".to_owned(), "40-killed".to_owned()]));
    let page = fake.page();
    assert!(page.contains("20-gpu failed (3)") && page.contains("40-killed failed (signal 11)"), "{page}");
}

#[test]
fn a_directory_that_cant_be_read_is_no_machine_without_programs() {
    let fake = printing(&[("10-rack", "{}")]);
    fake.state().bad_lists.insert(EXAMINE.to_owned(), Errno::IO);
    assert!(!tell(&fake));
    assert!(fake.state().examined.is_empty() && fake.page().contains("EIO"), "{}", fake.page());
}

#[test]
fn a_program_that_has_lost_its_mode_or_does_not_start_has_failed_and_is_not_gone() {
    let fake = printing(&[("10-lost", "{}"), ("20-bad", "{}"), ("30-good", "{}")]);
    {
        let mut state = fake.state();
        state.lost_modes.insert(format!("{EXAMINE}/10-lost"));
        state.programs.get_mut(&format!("{EXAMINE}/20-bad")).unwrap().1 = Err(Errno::NOEXEC);
        state.files.insert(format!("{EXAMINE}/40-dangles"), Node::Link("/nowhere".to_owned()));
    }
    assert!(tell(&fake), "{}", fake.page());
    let (text, failed) = told(&fake);
    assert_eq!(text, "failed 10-lost\nfailed 20-bad\nprinted 30-good 2\n{}\nfailed 40-dangles\n");
    assert_eq!(failed, ["10-lost", "20-bad", "40-dangles"]);
    assert_eq!(fake.state().ran.len(), 2);
    let page = fake.page();
    assert!(page.contains("10-lost failed (it may not be run") && page.contains("ENOEXEC"), "{page}");
    // None of them has printed anything: there is nothing to take.
    let fake = printing(&[("10-lost", "{}")]);
    fake.state().lost_modes.insert(format!("{EXAMINE}/10-lost"));
    assert!(tell(&fake) && fake.state().examined.is_empty());
}

#[test]
fn a_program_has_a_minute_and_all_of_them_five_and_the_machine_comes_up() {
    let names: Vec<String> = (10..30).map(|number| format!("{number}-hangs")).collect();
    let mut programs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "{}")).collect();
    programs.insert(0, ("00-quick", "{\"a\": 1}"));
    let fake = printing(&programs);
    for name in &names {
        takes(&fake, name, 100_000);
    }
    assert!(tell(&fake), "{}", fake.page());
    let (text, failed) = told(&fake);
    assert!(text.starts_with("printed 00-quick 8\n{\"a\": 1}\nfailed 10-hangs\n"), "{text}");
    assert_eq!((failed.len(), fake.state().ran.len()), (20, 6), "a minute each, and five for all");
    let now = fake.state().now;
    let page = fake.page();
    assert!(now < Duration::from_secs(301), "{now:?}");
    assert!(page.contains("10-hangs failed (it was killed after 60 s)"), "{page}");
    assert!(page.contains("29-hangs failed (no time was left"), "{page}");
}

#[test]
fn what_is_too_much_is_told_of_by_its_programs_name_and_keeps_the_others_from_nothing() {
    let (long, full) = ("x".repeat(4097), "x".repeat(4000));
    let full = full.as_str();
    let fake = printing(&[
        ("a-long", &long),
        ("b", full),
        ("c", full),
        ("d", full),
        ("e", full),
        ("f", full),
        ("g", "{}"),
    ]);
    assert!(tell(&fake));
    let (text, failed) = told(&fake);
    assert_eq!(failed, ["a-long", "f"]);
    assert!(
        text.starts_with("failed a-long\nprinted b 4000\n") && text.ends_with("failed f\nprinted g 2\n{}\n"),
        "{text}"
    );
}

#[test]
fn a_program_more_than_there_may_be_is_said_to_have_failed_and_so_many_are_named() {
    let many: Vec<String> = (100..200).map(|number| format!("h{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "{}")).collect();
    let fake = printing(&many);
    assert!(tell(&fake));
    let (text, failed) = told(&fake);
    assert_eq!((text.matches("printed").count(), failed.len(), fake.state().ran.len()), (32, 32, 32));
    assert_eq!(failed[0], "h132");
    let page = fake.page();
    assert!(page.contains("h132 failed (there are more than 32)") && page.contains("and 36 more"), "{page}");
}

#[test]
fn of_two_files_that_the_server_would_take_for_one_program_neither_is_and_both_are_named() {
    let long = "a".repeat(32);
    let (one, two) = (format!("{long}-1"), format!("{long}-2"));
    let fake = printing(&[
        ("20 a", "{\"a\": 1}"),
        ("20.a", "{\"a\": 2}"),
        (&one, "{}"),
        (&two, "{}"),
        ("z\u{e4}", "{}"),
    ]);
    assert!(tell(&fake));
    let (text, failed) = told(&fake);
    assert_eq!(text, format!("failed 20-a\nfailed {long}\nprinted z-- 2\n{{}}\n"));
    assert_eq!(failed, ["20-a", "20-a", &long, &long]);
    let page = fake.page();
    assert!(page.contains("20 a failed (another is called 20-a too"), "{page}");
    assert!(page.contains("20.a failed (another is called 20-a too"), "{page}");
}

#[test]
fn a_files_name_is_data_and_no_terminal_obeys_it() {
    let odd = "10-\u{1b}[2J$(reboot)";
    let fake = with(&[(odd, ends(Ended::With(1), ""))]);
    assert!(tell(&fake));
    assert_eq!(told(&fake).1, ["10---2J--reboot-"]);
    assert!(fake.page().contains("10- [2J$(reboot) failed (1)"), "{}", fake.page());
    assert_eq!(fake.state().ran, [format!("{EXAMINE}/{odd}")]);
}

#[test]
fn a_server_that_is_busy_is_told_again_and_one_that_refuses_or_is_away_keeps_no_machine_from_coming_up() {
    let fake = printing(&[("a", "{}")]);
    fake.state().busy = vec![503, 429];
    assert!(tell(&fake));
    assert!(fake.state().examined.len() == 1 && fake.state().turned_away.len() == 2);

    let fake = printing(&[("a", "{}")]);
    fake.state().busy = vec![429, 403];
    assert!(!tell(&fake));
    assert_eq!(fake.state().turned_away.len(), 1, "it says no, and is not asked again");
    assert!(fake.page().contains("it refuses that (403): it says why"), "{}", fake.page());

    let fake = printing(&[("a", "{}")]);
    fake.state().is_deaf = true;
    assert!(!tell(&fake));
    let waited = fake.state().now;
    assert!(waited > Duration::from_secs(10) && waited <= Duration::from_secs(20), "{waited:?}");
    assert!(fake.page().contains("192.168.77.1:80 was not told"), "{}", fake.page());

    let fake = printing(&[("a", "{}")]);
    fake.state().files.remove("/.oneroot/tell-to");
    assert!(!tell(&fake));
    assert!(fake.state().ran.is_empty(), "nobody would hear of it");
}

#[test]
fn a_server_that_is_away_or_refuses_is_no_reason_not_to_tell_another() {
    let servers = |fake: &Fake, lines: &[String]| {
        fake.state().files.insert("/.oneroot/tell-to".to_owned(), file(&lines.concat()));
    };
    let both = [SERVER, OTHER].map(|address| format!("{address} 80\n"));
    let fake = printing(&[("a", "{}")]);
    servers(&fake, &both);
    fake.state().servers.get_mut(&at(SERVER)).unwrap().is_up = false;
    fake.state().servers.get_mut(&at(OTHER)).unwrap().is_up = true;
    assert!(tell(&fake), "{}", fake.page());
    assert_eq!(fake.state().examined[0].0, at(OTHER));

    let fake = printing(&[("a", "{}")]);
    servers(&fake, &both);
    fake.state().servers.get_mut(&at(OTHER)).unwrap().is_up = true;
    fake.state().busy = vec![403];
    assert!(tell(&fake), "{}", fake.page());
    assert_eq!(fake.state().examined[0].0, at(OTHER));
    assert_eq!(fake.state().turned_away.len(), 1);

    // All that a site may have, of which the last alone is up: it is asked all the same.
    let fake = printing(&[("a", "{}")]);
    let mut all: Vec<String> = (101..108).map(|last| format!("192.168.77.{last} 80\n")).collect();
    all.push(format!("{SERVER} 80\n"));
    servers(&fake, &all);
    assert!(tell(&fake), "{}", fake.page());
    let waited = fake.state().now;
    assert!(waited <= Duration::from_secs(20), "{waited:?}");
}
