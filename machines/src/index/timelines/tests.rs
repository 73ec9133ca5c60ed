//! What is kept of boots, how much of it, and what two servers make of one.

use super::*;

fn timeline(number: u8) -> Timeline {
    let mac = Mac::new([2, 0, 0, 0, 0, 1]).unwrap();
    Timeline::of(BootId::from_random([number; 8]), mac, "a", ViewId([1; 16]), u64::from(number))
}

fn whose(number: u8, is_named: bool) -> Whose {
    Whose { machine: MachineId::from_random([number; 16]), is_named }
}

fn report(phase: Phase, at_ms: u64, failure: Option<&str>) -> Report {
    let failure = failure.map(str::to_owned);
    Report { phase, at_ms, took_ms: 5, failure, note: None, kernel: vec!["igc: no".to_owned()] }
}

#[test]
fn a_failure_is_news_once_and_over_when_its_phase_or_a_later_one_comes_to_its_end() {
    let mut boot = timeline(1);
    assert_eq!(boot.told(&report(Phase::Settings, 100, None), 10), News::Done);
    let lost = report(Phase::Carrier, 200, Some("no carrier"));
    assert_eq!(boot.told(&lost, 11), News::Failed);
    let again: Vec<News> = (0..4).map(|now| boot.told(&lost, 12 + now)).collect();
    assert_eq!(again, [true, false, true, false].map(|is_due| News::Again { is_due }));
    let failed = boot.failed().unwrap();
    assert_eq!((failed.times, failed.at, failed.kernel.len()), (5, 15, 1));
    boot.told(&report(Phase::Drivers, 300, None), 20);
    assert!(boot.failed().is_some(), "what came before it says nothing of it");
    boot.told(&report(Phase::Address, 400, None), 21);
    assert_eq!(boot.failed(), None);
    assert_eq!(boot.failures.len(), 1, "it is kept");
}

#[test]
fn what_a_boot_goes_on_with_is_kept_and_hides_no_failure() {
    let mut boot = timeline(1);
    let mut noted = report(Phase::Settings, 100, None);
    noted.note = Some("the command line is another boot's".to_owned());
    assert_eq!(boot.told(&noted, 10), News::Noted);
    assert_eq!((boot.failed(), boot.phases.len()), (None, 0));
    assert_eq!(
        (boot.failures[0].told.as_str(), boot.failures[0].is_over),
        ("the command line is another boot's", true)
    );
    boot.told(&report(Phase::Carrier, 200, Some("no carrier")), 11);
    (noted.note, noted.at_ms) = (Some("another".to_owned()), 300);
    boot.told(&noted, 12);
    assert_eq!(boot.failed().unwrap().told, "no carrier");
}

#[test]
fn a_failure_that_came_back_is_not_over_because_another_server_saw_its_first_end() {
    let lost = |at_ms| report(Phase::Carrier, at_ms, Some("no carrier"));
    let mut elsewhere = timeline(1);
    elsewhere.told(&lost(100), 10);
    let mut here = elsewhere.clone();
    elsewhere.told(&report(Phase::Carrier, 200, None), 11);
    here.told(&lost(300), 20);
    for (mut one, other) in [(here.clone(), elsewhere.clone()), (elsewhere.clone(), here.clone())] {
        one.merge(other);
        assert_eq!(one.failed().map(|failure| failure.at), Some(20));
    }
    // And one that ended later is over, whoever has heard of that.
    let mut later = here.clone();
    later.told(&report(Phase::Carrier, 400, None), 21);
    for (mut one, other) in [(here.clone(), later.clone()), (later, here)] {
        one.merge(other);
        assert_eq!(one.failed(), None);
    }
}

#[test]
fn nothing_that_turns_or_hides_text_is_kept_of_what_a_machine_tells() {
    let mut boot = timeline(1);
    let told = "a\u{61c}b\u{200b}c\u{2066}d\u{feff}e\u{1b}f\u{e0041}g\u{ad}h";
    let mut failure = report(Phase::Root, 1, Some(told));
    failure.kernel = vec![told.to_owned()];
    boot.told(&failure, 1);
    assert_eq!(boot.failures[0].told, "a b c d e f g h");
    assert_eq!(boot.failures[0].kernel, ["a b c d e f g h"]);
}

#[test]
fn a_kernel_that_starts_again_under_the_same_boot_begins_anew() {
    let mut boot = timeline(1);
    boot.told(&report(Phase::Settings, 1000, None), 10);
    boot.told(&report(Phase::Drivers, 2000, Some("no driver")), 11);
    boot.told(&report(Phase::Settings, 900, None), 60);
    assert_eq!((boot.tries, boot.phases.len(), boot.failed()), (2, 1, None));
}

#[test]
fn whatever_a_machine_tells_takes_bounded_room_and_nobody_elses() {
    let mut all = Timelines::default();
    let quiet = whose(1, true);
    all.change(quiet, timeline(1), |boot| (boot.told(&report(Phase::Root, 1, Some("quiet")), 1), true));
    let long = "x".repeat(5000);
    for number in 0..200_u8 {
        for phase in Phase::ALL {
            let mut told = report(phase, 1, Some(&format!("{number}{long}")));
            told.kernel = vec![long.clone(); 100];
            all.change(whose(2, true), timeline(number), |boot| {
                let steps: Vec<BootStep> =
                    (0..100).map(|step| BootStep { step: format!("{number}{step}"), at_ms: step }).collect();
                boot.seen([10, 0, 0, number].into(), &steps);
                (boot.told(&told, 1), true)
            });
        }
    }
    let loud = all.of(whose(2, true).machine);
    assert_eq!(loud.len(), MOST_BOOTS);
    let one = serde_json::to_vec(&LastBoots { boots: loud.to_vec() }).unwrap().len();
    assert!(one < MOST_BOOTS * 12 * 1024, "{one} bytes");
    assert!(loud.iter().all(|boot| boot.failures.len() == MOST_FAILURES));
    assert_eq!(all.of(quiet.machine)[0].failed().unwrap().told, "quiet");
}

#[test]
fn strangers_without_end_take_what_is_theirs_and_the_sites_machines_are_kept_all_the_same() {
    let mut all = Timelines::default();
    let mut told = report(Phase::Root, 1, Some(&"x".repeat(500)));
    told.kernel = vec!["y".repeat(200); 12];
    let mut kept = 0;
    for number in 0..10_000_u32 {
        let [.., a, b] = number.to_be_bytes();
        let machine = MachineId::from_random([[a, b]; 8].as_flattened().try_into().unwrap());
        all.change(Whose { machine, is_named: false }, timeline(1), |boot| (boot.told(&told, 1), true));
        kept += all.of(machine).len();
    }
    assert!(all.strangers <= STRANGERS_BYTES && kept > 1000 && kept < 10_000, "{kept}");
    all.change(whose(1, true), timeline(1), |boot| (boot.told(&told, 1), true));
    assert_eq!(all.of(whose(1, true).machine).len(), 1);
    // One that is forgotten makes room.
    let machine = MachineId::from_random([0; 16]);
    let before = all.strangers;
    all.forget(machine);
    assert!(all.strangers < before);
}

#[test]
fn a_machine_that_tells_without_end_is_heard_at_its_rate_and_no_other_is_kept_waiting() {
    let mut all = Timelines::default();
    let [loud, other] = [1, 2].map(|number| MachineId::from_random([number; 16]));
    let heard =
        |all: &mut Timelines, machine, now| (0..1000).filter(|_| all.admit(machine, now).is_ok()).count();
    assert_eq!(heard(&mut all, loud, 100), 32);
    assert_eq!(heard(&mut all, loud, 101), 0);
    assert_eq!(heard(&mut all, loud, 103), 1);
    assert_eq!(heard(&mut all, loud, 104), 1);
    assert_eq!(heard(&mut all, other, 104), 32);
    assert_eq!(heard(&mut all, loud, 1_000_000), 32);
}
