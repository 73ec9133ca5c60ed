//! The mapping of two servers on one state, and of clocks that go back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oneroot_bootconf::again::Ask;
use oneroot_bootconf::assignment::{Mapped, Signed};
use oneroot_bootconf::gives::{Boots, Gives};
use oneroot_ids::Mac;
use oneroot_state::Trouble;

use crate::boots::tests_on::{Server, meanwhile, two};
use crate::boots::unknown::tests::{mac as nic, open, site};
use crate::host::still::NOW;
use crate::mapping::write::{Draft, Wanted};
use crate::mapping::{Newcomer, Request};
use crate::order::turns::Thing;
use crate::{Error, Machines, MappingRefused};

fn gives() -> Gives {
    Gives { boots: Some(Boots::Profile("a".to_owned())), ..Gives::default() }
}

fn newcomer(name: &str, last: u8) -> Newcomer {
    Newcomer { macs: vec![mac(last)], name: name.to_owned(), gives: gives() }
}

fn adopt(machine: Newcomer) -> Request {
    Request::Adopt { machines: vec![machine], dry_run: false }
}

fn mac(last: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 7, last]).unwrap()
}

async fn ask(machines: &Arc<Machines>, request: Request) -> Result<Vec<String>, Error> {
    let done = machines.change_mapping(&request, "ada").await?;
    Ok(done.into_iter().map(|machine| machine.name).collect())
}

/// Another argument for the kernel of `seat-1`.
fn assign(args: &str) -> Request {
    Request::Assign {
        machines: vec!["seat-1".to_owned()],
        gives: Gives { args: vec![args.to_owned()], ..Gives::default() },
        generations: BTreeMap::new(),
        lasts: None,
        once: false,
    }
}

fn name_of(server: &Server, last: u8) -> Option<String> {
    server.machines.site().machine(mac(last)).map(|(name, _)| name.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_is_told_the_other_knows_and_neither_overwrites_the_other() {
    let home = tempfile::tempdir().unwrap();
    let ([one, mut other], _) = two(home.path()).await;
    ask(&one.machines, adopt(newcomer("seat-1", 1))).await.unwrap();
    // The other has not heard of it, and is asked to give the NIC another name.
    let refused = ask(&other.machines, adopt(newcomer("desk-1", 1))).await;
    assert!(
        matches!(&refused, Err(Error::Mapping(MappingRefused::Words(told))) if told.contains("seat-1")),
        "{refused:?}"
    );
    let refused = ask(&other.machines, adopt(newcomer("seat-1", 2))).await;
    assert!(refused.is_err(), "the name is taken");
    other.hear();
    assert_eq!(name_of(&other, 1).as_deref(), Some("seat-1"));
    ask(&one.machines, assign("one=1")).await.unwrap();
    ask(&other.machines, assign("two=2")).await.unwrap();
    let record = other.machines.mapping().machines.remove(0);
    assert_eq!(record.assigned.unwrap().gives.args, ["one=1", "two=2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_that_adopt_whoever_comes_give_no_name_twice() {
    let home = tempfile::tempdir().unwrap();
    let ([one, mut other], _) = two(home.path()).await;
    let order = |names: &str| Request::AdoptNext { names: names.to_owned(), gives: gives(), dry_run: false };
    ask(&one.machines, order("seat-{1..9}")).await.unwrap();
    assert!(
        matches!(
            ask(&other.machines, order("desk-{1..9}")).await,
            Err(Error::Mapping(MappingRefused::IsAdopting { .. }))
        ),
        "there is one at a time"
    );
    for last in 1..=6 {
        // Each is asked before it has heard what the other has done meanwhile.
        let server = if last % 2 == 0 { &one } else { &other };
        server.machines.adopt_who_comes(mac(last)).await;
        assert!(name_of(server, last).is_some());
    }
    other.hear();
    let mut names: Vec<String> = (1..=6).filter_map(|last| name_of(&other, last)).collect();
    names.sort();
    names.dedup();
    assert_eq!(names, ["seat-1", "seat-2", "seat-3", "seat-4", "seat-5", "seat-6"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_nic_was_replaced_and_that_has_not_booted_since_is_the_same_under_another_name() {
    let home = tempfile::tempdir().unwrap();
    let ([one, _], _) = two(home.path()).await;
    ask(&one.machines, adopt(newcomer("seat-1", 1))).await.unwrap();
    let ids = || one.machines.index().mapped.keys().copied().collect::<Vec<_>>();
    let id = ids();
    let replace = Request::Replace { machine: "seat-1".to_owned(), macs: vec![mac(2)] };
    ask(&one.machines, replace).await.unwrap();
    let rename = Request::Rename { machine: "seat-1".to_owned(), name: "desk-1".to_owned() };
    ask(&one.machines, rename).await.unwrap();
    assert_eq!(ids(), id, "it is one machine, and the one that it was");
    assert_eq!((name_of(&one, 1), name_of(&one, 2).as_deref()), (None, Some("desk-1")));
    let records = one.machines.mapping().machines;
    assert_eq!((records.len(), records[0].name.as_str()), (1, "desk-1"));
    assert!(records[0].assigned.is_some(), "what it was assigned is its own");
    ask(&one.machines, Request::Forget { machine: "desk-1".to_owned() }).await.unwrap();
    assert_eq!(ids(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_that_was_over_does_not_come_back_with_a_clock_that_goes_back() {
    let home = tempfile::tempdir().unwrap();
    let ([one, _], _) = two(home.path()).await;
    ask(&one.machines, adopt(newcomer("seat-1", 1))).await.unwrap();
    let gives = Gives { args: vec!["late=1".to_owned()], ..Gives::default() };
    let assign = Request::Assign {
        machines: vec!["seat-1".to_owned()],
        gives,
        generations: BTreeMap::new(),
        lasts: Some(100),
        once: false,
    };
    ask(&one.machines, assign).await.unwrap();
    let args = || one.machines.mapping().machines[0].for_now.clone().map(|assigned| assigned.gives.args);
    one.clock.pass(99);
    one.machines.tick().await;
    assert_eq!(args().unwrap(), ["late=1"]);
    one.clock.pass(1);
    one.machines.tick().await;
    assert_eq!(args(), None);
    one.clock.go_back(1000);
    one.machines.tick().await;
    assert_eq!(args(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_answer_was_lost_is_made_once() {
    let home = tempfile::tempdir().unwrap();
    let ([one, mut other], _) = two(home.path()).await;
    for (number, lost) in [(1, Trouble::AnswerLost), (2, Trouble::RequestLost)] {
        one.memory().trouble([Some(lost)]);
        let name = format!("seat-{number}");
        let asked = ask(&one.machines, adopt(newcomer(&name, number))).await;
        assert_eq!(asked.unwrap(), [name.as_str()], "{lost:?}");
        other.hear();
        assert_eq!(name_of(&other, number), Some(name), "{lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_adopted_while_its_first_boot_is_written_has_one_record() {
    let home = tempfile::tempdir().unwrap();
    let (machines, nic) = (open(&site(home.path(), true)).await, nic(1));
    let held = machines.turns.take([Thing::Nic(nic)]).await;
    let asking = machines.clone();
    let boot = tokio::spawn(async move {
        let address = "10.1.0.1".parse().unwrap();
        asking.leased(address, nic);
        asking.boot_script(address, nic, None, Ask::Whole).await.unwrap()
    });
    while machines.turns.waited_for() < 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let adopting = machines.clone();
    let adopted = tokio::spawn(async move {
        ask(&adopting, adopt(Newcomer { macs: vec![nic], ..newcomer("zeta", 1) })).await
    });
    // Drafted, and behind the boot.
    while machines.turns.waited_for_by(2) < 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(held);
    assert!(boot.await.unwrap().contains("/b/"), "it boots");
    adopted.await.unwrap().unwrap();
    let index = machines.index();
    let records = index.machines.values().filter(|(record, _)| record.macs.contains(&nic));
    assert_eq!(records.count(), 1);
    let pinned: Vec<_> = index.pins.values().map(|(pin, _)| Some(pin.machine)).collect();
    assert_eq!(pinned, [index.machine_of(nic)], "the boot is the adopted machine's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_watch_tells_between_a_draft_and_its_commit_is_not_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let ([one, mut other], _) = two(home.path()).await;
    ask(&one.machines, adopt(newcomer("seat-1", 1))).await.unwrap();
    other.hear();
    ask(&other.machines, assign("two=2")).await.unwrap();
    let (machines, one, drafts) = (one.machines.clone(), Arc::new(Mutex::new(one)), AtomicUsize::new(0));
    let draft = |machines: &Machines| {
        let mapped: Mapped = machines.index().mapped.values().next().unwrap().0.clone();
        if drafts.fetch_add(1, Ordering::SeqCst) == 1 {
            // The second is the one that is written: what it was made of is old from here on.
            let hears = one.clone();
            meanwhile(move || {
                hears.lock().unwrap().hear();
            });
        }
        let mut assigned = mapped.assigned.clone().unwrap();
        assigned.gives.args.push("one=1".to_owned());
        Ok(Draft::of(Wanted::of("seat-1", vec![mac(1)], Mapped { assigned: Some(assigned), ..mapped })))
    };
    let by = Signed { by: "ada".to_owned(), at: NOW };
    machines.write_mapping(&by, &draft).await.unwrap();
    let record = machines.mapping().machines.remove(0);
    assert_eq!(record.assigned.unwrap().gives.args, ["two=2", "one=1"]);
}
