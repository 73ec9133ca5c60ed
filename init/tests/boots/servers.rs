//! A server that goes away at any moment of a boot: the machine waits for it, however long, and gets up.

use oneroot_initrd::report::Phase;

use crate::fake::{End, Fake};
use crate::lab::{SERVER, at, failures, machine, reports};

fn boots(fake: &Fake, seconds: u64) {
    let end = fake.boot(seconds);
    assert!(matches!(end, End::Init(_)), "{end:?}: {}", fake.page());
}

#[test]
fn a_server_that_goes_away_at_any_report_is_waited_for_and_the_machine_gets_up() {
    for count in 1..=Phase::ALL.len() {
        let fake = machine();
        fake.state().on_reports.insert(
            count,
            Box::new(|state| {
                state.servers.get_mut(&at(SERVER)).unwrap().is_up = false;
            }),
        );
        // An hour is longer than the site's time for a restart.
        fake.at(3600, |state| state.servers.get_mut(&at(SERVER)).unwrap().is_up = true);
        boots(&fake, 10_000);
        let heard = reports(&fake);
        assert!(heard.len() >= count, "{count}: {heard:?}");
        assert!(
            heard.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms && pair[0].phase <= pair[1].phase)
        );
        // Where it was away for the root, it heard of that when it came back, and of all that came after.
        if count <= 4 {
            assert_eq!(heard.last().unwrap().phase, Phase::HandOver, "{count}: {heard:?}");
            assert!(
                failures(&fake).iter().any(|said| said.contains("does not answer: ETIMEDOUT")),
                "{count}"
            );
            assert!((3600..3700).contains(&fake.state().now.as_secs()), "{:?}", fake.state().now);
        }
    }
}

#[test]
fn a_server_that_is_away_is_said_once_on_the_console() {
    let fake = machine();
    fake.state().servers.get_mut(&at(SERVER)).unwrap().is_up = false;
    assert_eq!(fake.boot(86_400), End::Tries);
    assert_eq!(fake.page().matches("does not answer").count(), 1, "{}", fake.page());
}

#[test]
fn pauses_grow_and_differ_from_machine_to_machine() {
    let fake = machine();
    fake.state().servers.get_mut(&at(SERVER)).unwrap().is_up = false;
    fake.boot(3600);
    // Each round: two servers of 5 s, and a pause of at most 37.5 s.
    let rounds = fake.state().rounds;
    assert!((3600 / 48..3600 / 30).contains(&rounds), "{rounds}");
}
