//! What a machine has found out about itself is told once, of all programs together, and waits for nobody for long.

use std::time::Duration;

use oneroot_init::tell::tell;

use crate::fake::{Fake, Node};
use crate::lab::{SERVER, at, file, machine};

const LEFT: &str = "/.oneroot/examined";

/// A machine whose programs have left these files.
fn with(files: &[(&str, &str)]) -> Fake {
    let fake = machine();
    {
        let mut state = fake.state();
        state.limit = Duration::from_secs(1000);
        state.files.insert("/.oneroot/tell-to".to_owned(), file("192.168.77.1 80\n"));
        state.files.insert(LEFT.to_owned(), Node::Directory);
        for (name, text) in files {
            state.files.insert(format!("{LEFT}/{name}"), file(text));
        }
    }
    fake
}

#[test]
fn what_all_programs_have_printed_is_told_in_one_message_and_of_those_that_failed_that_they_did() {
    let fake = with(&[("10-rack", "{\"rack\": \"b7\"}\n"), ("20-gpu.failed", ""), ("30-none", "")]);
    assert!(tell(&fake, LEFT), "{}", fake.page());
    let wanted = "printed 10-rack 15\n{\"rack\": \"b7\"}\n\nfailed 20-gpu\nprinted 30-none 0\n\n";
    assert_eq!(fake.state().examined, [(at(SERVER), Duration::ZERO, wanted.to_owned())]);
    assert!(fake.state().said.is_empty(), "the script has said which failed");
}

#[test]
fn what_is_too_much_is_told_of_by_its_programs_name_and_keeps_the_others_from_nothing() {
    let (long, full) = ("x".repeat(4097), "x".repeat(4000));
    let fake = with(&[
        ("a-long", &long),
        ("b", &full),
        ("c", &full),
        ("d", &full),
        ("e", &full),
        ("f", &full),
        ("g", "{}"),
    ]);
    assert!(tell(&fake, LEFT));
    let state = fake.state();
    assert_eq!(state.said, ["0202020202020202.examine-failed-a-long", "0202020202020202.examine-failed-f"]);
    let told = &state.examined[0].2;
    assert!(
        told.starts_with("failed a-long\nprinted b 4000\n") && told.ends_with("failed f\nprinted g 2\n{}\n"),
        "{told}"
    );
    drop(state);
    let many: Vec<String> = (0..40).map(|number| format!("h{number:02}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "{}")).collect();
    let fake = with(&many);
    assert!(tell(&fake, LEFT));
    let state = fake.state();
    assert_eq!((state.said.len(), state.examined[0].2.matches("printed").count()), (8, 32));
}

#[test]
fn a_server_that_is_busy_is_told_again_and_one_that_refuses_or_is_away_keeps_no_machine_from_coming_up() {
    let fake = with(&[("a", "{}")]);
    fake.state().busy = vec![503, 429];
    assert!(tell(&fake, LEFT));
    assert!(fake.state().examined.len() == 1 && fake.state().turned_away.len() == 2);

    let fake = with(&[("a", "{}")]);
    fake.state().busy = vec![429, 403];
    assert!(!tell(&fake, LEFT));
    assert_eq!(fake.state().turned_away.len(), 1, "it says no, and is not asked again");
    assert!(fake.page().contains("it refuses that (403)"), "{}", fake.page());

    let fake = with(&[("a", "{}")]);
    fake.state().is_deaf = true;
    assert!(!tell(&fake, LEFT));
    let waited = fake.state().now;
    assert!(waited > Duration::from_secs(10) && waited < Duration::from_secs(30), "{waited:?}");
    assert!(fake.page().contains("192.168.77.1:80 was not told"), "{}", fake.page());

    let fake = with(&[("a", "{}")]);
    fake.state().files.remove("/.oneroot/tell-to");
    assert!(!tell(&fake, LEFT));
}
