//! A server that goes away at any moment of a boot: the machine waits for it, however long, and gets up.

use oneroot_init::kernel::Errno;
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

#[test]
fn a_report_that_a_server_was_too_busy_for_is_sent_again_and_one_that_it_refuses_is_not() {
    for status in [429, 500, 503] {
        let fake = machine();
        fake.state().busy = vec![status; 2];
        boots(&fake, 60);
        let phases: Vec<Phase> = reports(&fake).iter().map(|report| report.phase).collect();
        assert_eq!(phases, Phase::ALL, "{status}");
        assert!(fake.state().now.as_secs() <= 7, "{status}: {:?}", fake.state().now);
    }
    for status in [400, 403, 404] {
        let fake = machine();
        fake.state().busy = vec![status];
        boots(&fake, 60);
        assert_eq!(reports(&fake).len(), Phase::ALL.len() - 1, "{status}");
    }
}

#[test]
fn a_server_that_stays_too_busy_is_asked_ever_less_and_holds_no_boot_up() {
    let fake = machine();
    fake.state().busy = vec![429; 10_000];
    boots(&fake, 60);
    // The other server says nothing at all, which costs three seconds too.
    assert!(fake.state().now.as_secs() <= 7, "{:?}", fake.state().now);
    assert!(fake.state().turned_away.len() <= 4, "{:?}", fake.state().turned_away);

    let fake = machine();
    fake.state().servers.get_mut(&at(SERVER)).unwrap().mounts = Err(Errno::AGAIN);
    fake.state().busy = vec![503; 10_000];
    assert_eq!(fake.boot(3600), End::Tries);
    let turned_away = fake.state().turned_away.len();
    assert!((3600 / 90..3600 / 30).contains(&turned_away), "{turned_away}");
}

#[test]
fn machines_that_overran_a_server_together_do_not_come_back_together() {
    let again = |random| {
        let fake = machine();
        fake.state().random = random;
        fake.state().busy = vec![429; 2];
        boots(&fake, 60);
        let turned_away = fake.state().turned_away.clone();
        turned_away[1] - turned_away[0]
    };
    let pauses: std::collections::BTreeSet<_> = (0..20).map(|machine| again(machine * 7919)).collect();
    assert!(pauses.len() > 10, "{pauses:?}");
}

#[test]
fn why_a_machine_starts_again_is_heard_of_a_server_that_was_too_busy_first() {
    let fake = machine();
    fake.state().bad_mounts.insert("overlay".to_owned(), Errno::NODEV);
    // All up to the failure, and some more.
    fake.state().busy = vec![429; 4];
    assert_eq!(fake.boot(10_000), End::Over(oneroot_init::machine::Over::Restart));
    assert!(failures(&fake).iter().any(|said| said.contains("lays no overlay")), "{:?}", failures(&fake));
    assert!((300..310).contains(&fake.state().now.as_secs()), "{:?}", fake.state().now);
}
