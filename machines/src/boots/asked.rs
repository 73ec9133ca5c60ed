//! Requests for boot scripts on a real state: many at once, in any order and of every kind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use oneroot_bootconf::Site;
use oneroot_bootconf::admission::Seen;
use oneroot_bootconf::again::Ask;
use oneroot_bootconf::pins::Phase;
use oneroot_bootconf::unknown::MOST;
use oneroot_ids::{BootId, Mac, MachineId};
use oneroot_state::{Disk, State};
use tokio::task::JoinSet;

use crate::access::resource::Via;
use crate::around::ProbeResult;
use crate::around::made_up::Links;
use crate::boots::unknown::tests::{fill, mac, open, site, site_with};
use crate::host::still::NOW;
use crate::index::tables::{MACHINES, PINS, PLANS};
use crate::machines::Machines;
use crate::order::turns::Thing;

/// Long enough for anything but waiting for ever.
const PATIENCE: Duration = Duration::from_secs(120);

fn address(number: usize) -> IpAddr {
    let [.., high, low] = number.to_be_bytes();
    IpAddr::from([10, 1, high, low])
}

fn alpha() -> Mac {
    "52:54:00:00:00:0a".parse().unwrap()
}

/// The boot that a script starts, if it starts one.
fn boot_in(script: &str) -> Option<BootId> {
    script.split_once("/b/")?.1.split('/').next()?.parse().ok()
}

async fn boots(machines: &Arc<Machines>, number: usize) -> Option<BootId> {
    machines.leased(address(number), mac(number));
    boot_in(&machines.boot_script(address(number), mac(number), None, Ask::Whole).await.unwrap())
}

/// Each of these NICs asks for its script, all at once: the boots that were told.
async fn at_once(
    machines: &Arc<Machines>,
    numbers: impl IntoIterator<Item = usize>,
) -> BTreeMap<usize, BootId> {
    let mut asking = JoinSet::new();
    for number in numbers {
        let machines = machines.clone();
        asking.spawn(async move { (number, boots(&machines, number).await) });
    }
    let told = tokio::time::timeout(PATIENCE, asking.join_all()).await.unwrap();
    told.into_iter().filter_map(|(number, boot)| Some((number, boot?))).collect()
}

/// What is on the disk: the machines with their MACs, and each boot that has both a plan and a pin, with its machine.
async fn written(site: &Site) -> (BTreeMap<MachineId, Vec<Mac>>, BTreeMap<BootId, MachineId>) {
    let state = Disk::open(&site.server.state).unwrap();
    let (records, _) = MACHINES.list(&state).await.unwrap();
    let (pins, _) = PINS.list(&state).await.unwrap();
    let (plans, _) = PLANS.list(&state).await.unwrap();
    let machines: BTreeMap<_, _> = records.into_iter().map(|(_, at)| (at.value.id, at.value.macs)).collect();
    let pins: BTreeMap<_, _> = pins.into_iter().map(|(_, at)| (at.value.boot, at.value.machine)).collect();
    for (_, plan) in plans {
        assert_eq!(pins.get(&plan.value.boot), Some(&plan.value.machine), "a plan has its pin");
    }
    for machine in pins.values() {
        assert!(machines.contains_key(machine), "a pin has its machine");
    }
    let mut seen = BTreeSet::new();
    assert!(machines.values().flatten().all(|mac| seen.insert(*mac)), "a NIC is in one machine");
    (machines, pins)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_boot_is_being_written_holds_up_nobody_elses() {
    let home = tempfile::tempdir().unwrap();
    let machines = open(&site(home.path(), true)).await;
    let held = machines.turns.take([Thing::Nic(mac(1))]).await;
    let asking = machines.clone();
    let waits = tokio::spawn(async move { boots(&asking, 1).await });
    let others = at_once(&machines, 2..20).await;
    assert_eq!(others.len(), 18);
    assert!(!waits.is_finished());
    drop(held);
    assert!(tokio::time::timeout(PATIENCE, waits).await.unwrap().unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_many_times_at_once_is_told_one_boot() {
    let home = tempfile::tempdir().unwrap();
    let site = site(home.path(), true);
    let machines = open(&site).await;
    machines.leased(address(1), mac(1));
    let mut asking = JoinSet::new();
    for _ in 0..64 {
        let machines = machines.clone();
        asking.spawn(async move { machines.boot_script(address(1), mac(1), None, Ask::Whole).await });
    }
    let told = tokio::time::timeout(PATIENCE, asking.join_all()).await.unwrap();
    let told: BTreeSet<_> = told.into_iter().map(|script| boot_in(&script.unwrap()).unwrap()).collect();
    assert_eq!(told.len(), 1);
    drop(machines);
    assert_eq!(written(&site).await.1.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_that_come_at_once_get_the_places_that_there_are_and_no_more() {
    const FREE: usize = 5;
    let home = tempfile::tempdir().unwrap();
    let site = site(home.path(), true);
    fill(&site, MOST - FREE, |_| Some((Phase::Up, NOW))).await;
    let machines = open(&site).await;
    let told = at_once(&machines, 60_000..60_040).await;
    assert_eq!(told.len(), FREE);
    drop(machines);
    assert_eq!(written(&site).await.0.len(), MOST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_that_come_at_once_take_the_place_of_as_many_that_are_quiet_and_of_none_that_asks() {
    const NEW: usize = 40;
    let home = tempfile::tempdir().unwrap();
    let site = site(home.path(), true);
    fill(&site, MOST, |_| None).await;
    let machines = open(&site).await;
    // The quietest, who would be the first to go, ask themselves at this moment.
    let told = at_once(&machines, (60_000..60_000 + NEW).flat_map(|new| [new, new - 60_000])).await;
    assert_eq!(told.len(), 2 * NEW);
    drop(machines);
    let (records, pins) = written(&site).await;
    assert_eq!(records.len(), MOST);
    for (number, boot) in told {
        let machine = pins.get(&boot).unwrap_or_else(|| panic!("{number} was told a boot that is gone"));
        assert_eq!(records[machine], [mac(number)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_every_kind_in_any_order_make_one_boot_and_head_says_how_long_its_script_is() {
    let home = tempfile::tempdir().unwrap();
    let site = site(home.path(), true);
    let mut chance: u64 = 7;
    for (round, asked) in [alpha(), mac(1)].into_iter().enumerate() {
        let mut machines = open(&site).await;
        machines.leased(address(1), asked);
        let own = format!("boot/{}.ipxe", asked.dashed());
        let cookie = machines.cookies.make(address(1), asked, NOW);
        let proven = format!("boot/{}.{cookie}.ipxe", asked.dashed());
        let (mut told, mut lengths) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..60 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (name, via) = match (chance >> 33) % 6 {
                0 => (&own, Via::Http(Ask::Whole)),
                1 => (&own, Via::Http(Ask::Part)),
                2 => (&own, Via::Http(Ask::Length)),
                3 => (&own, Via::Tftp),
                4 => (&proven, Via::Tftp),
                _ => {
                    // The server is killed.
                    drop(machines);
                    machines = open(&site).await;
                    machines.leased(address(1), asked);
                    continue;
                }
            };
            let found = machines.resource(address(1), name, Some(""), via).await.unwrap().unwrap();
            let mut bytes = Vec::new();
            found.read_at(0, usize::try_from(found.len()).unwrap(), &mut bytes).unwrap();
            let boot = boot_in(&String::from_utf8(bytes).unwrap());
            if via == Via::Tftp && *name == own {
                assert_eq!(boot, None, "nobody knows who has sent the request");
                continue;
            }
            lengths.insert(found.len());
            if via != Via::Http(Ask::Length) {
                told.insert(boot.unwrap());
            }
        }
        drop(machines);
        assert_eq!((told.len(), lengths.len()), (1, 1), "{asked}: {told:?} {lengths:?}");
        assert_eq!(written(&site).await.1.len(), round + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_is_as_long_as_the_words_of_a_refusal_too_and_writes_nothing() {
    for kernel in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let site = site(home.path(), kernel);
        let machines = open(&site).await;
        for (number, asked) in [(1, alpha()), (2, mac(2))] {
            machines.leased(address(number), asked);
            let name = format!("boot/{}.ipxe", asked.dashed());
            let ask = |ask| machines.resource(address(number), &name, Some(""), Via::Http(ask));
            let length = async || ask(Ask::Length).await.unwrap().map(|script| script.len());
            let before = length().await;
            assert_eq!(machines.index().machine_of(asked), None, "nothing is written");
            assert_eq!(before.is_some(), asked == alpha(), "nothing is made up for a NIC that nobody knows");
            let whole = ask(Ask::Whole).await.unwrap().unwrap().len();
            assert!(before.is_none_or(|before| before == whole));
            let index = asked == alpha() || kernel;
            assert_eq!(length().await, Some(whole).filter(|_| index));
        }
        drop(machines);
        assert_eq!(written(&site).await.1.len(), if kernel { 2 } else { 0 });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_datagram_says_of_no_address_whose_it_is_and_a_connection_or_a_cookie_does() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::clone(&site(home.path(), true));
    site.networks.iter_mut().for_each(|network| network.proxy = true);
    let machines = open(&Arc::new(site)).await;
    machines.ask_by(Links::of(Seen::Remote, ProbeResult::Silent));
    let own = format!("boot/{}.ipxe", alpha().dashed());
    for (number, via) in
        [(1, Via::Tftp), (2, Via::Http(Ask::Length)), (3, Via::Http(Ask::Whole)), (4, Via::Tftp)]
    {
        let cookie = machines.cookies.make(address(number), alpha(), NOW);
        let name = if number == 4 { own.replace(".ipxe", &format!(".{cookie}.ipxe")) } else { own.clone() };
        assert!(machines.resource(address(number), &name, Some(""), via).await.unwrap().is_some());
        let bound = machines.index().mac_at(address(number));
        assert_eq!(bound, Some(alpha()).filter(|_| number > 2), "{name} {via:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_boots_at_once_share_syncs() {
    const BOOTS: usize = 500;
    let home = tempfile::tempdir().unwrap();
    let machines = open(&site(home.path(), true)).await;
    let State::Disk(disk) = machines.state.as_ref() else { panic!("not on the disk") };
    let held = machines.turns.take((0..BOOTS).map(|number| Thing::Nic(mac(number)))).await;
    let asking = machines.clone();
    let asked = tokio::spawn(async move { at_once(&asking, 0..BOOTS).await });
    while machines.turns.waited_for() < BOOTS {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Every plan is made, and all of them are to be written now.
    let before = disk.groups();
    drop(held);
    assert_eq!(asked.await.unwrap().len(), BOOTS);
    let groups = disk.groups() - before;
    println!("{groups} groups for {BOOTS} boots");
    // One after another they would be as many as there are boots.
    assert!(groups <= BOOTS as u64 / 8, "{groups} groups for {BOOTS} boots");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_a_rule_would_give_one_name_at_the_same_moment_both_boot_and_one_is_called_so() {
    let home = tempfile::tempdir().unwrap();
    let rule = "[[rule]]\nwhen = { product = \"X1\" }\nname = \"node-{serial}\"\nprofile = \"a\"\n";
    let machines = open(&site_with(home.path(), true, rule)).await;
    let held = machines.turns.take([Thing::Name("node-7".to_owned())]).await;
    let asking: Vec<_> = [1, 2]
        .into_iter()
        .map(|number| {
            let machines = machines.clone();
            tokio::spawn(async move {
                machines.leased(address(number), mac(number));
                let name = format!("boot/{}.ipxe", mac(number).dashed());
                let told = Some("product=X1&serial=7");
                machines.resource(address(number), &name, told, Via::Http(Ask::Whole)).await.unwrap()
            })
        })
        .collect();
    // Both have seen that nobody has the name.
    while machines.turns.waited_for_by(2) < 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(held);
    for one in asking {
        let script = tokio::time::timeout(PATIENCE, one).await.expect("it waits for itself").unwrap();
        assert!(script.is_some());
    }
    let index = machines.index();
    let called: Vec<_> = index.machines.values().filter_map(|(record, _)| record.claimed.clone()).collect();
    assert_eq!((called, index.pins.len()), (vec!["node-7".to_owned()], 2));
}
