//! Addresses that may still be in use, over the real binary: nobody else gets one while its root runs, rests, or may run.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oneroot_dhcp::Lease;
use oneroot_ids::Mac;
use oneroot_state::{Backend as _, Disk, Table, Txn};
use oneroot_testkit::{Lab, RELAY, Server, SiteFiles, SmallDisk};

const SOON: Duration = Duration::from_secs(30);
/// Longer than a probe takes, and shorter than a test that waits for nothing should.
const A_WHILE: Duration = Duration::from_secs(3);
const LEASES: Table<Lease> = Table::new("leases");

/// A site in which whoever comes boots, with this pool.
fn site(pool: &str) -> SiteFiles {
    let mut site = SiteFiles::with_source("directory = \"root\"", pool, "1h").unwrap();
    let boot = site.path().join("root/boot");
    std::fs::create_dir_all(&boot).unwrap();
    std::fs::write(boot.join("vmlinuz-1"), "kernel").unwrap();
    std::fs::write(boot.join("initrd.img-1"), "initrd").unwrap();
    site.add("[unknown]\nprofile = \"debian\"\n");
    site
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn mac(last: u8) -> Mac {
    Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
}

/// Changes a lease in the state of a server that does not run.
fn write(state: &Path, mac: Mac, change: impl Fn(Option<Lease>) -> Lease) {
    let disk = Disk::open(state).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let before = runtime.block_on(LEASES.get(&disk, mac)).unwrap();
    let lease = change(before.map(|at| at.value));
    runtime.block_on(disk.commit(LEASES.put(Txn::new(), mac, &lease).unwrap())).unwrap();
}

/// A machine leases, boots and mounts its root: its address.
fn boots(lab: &Lab) -> Ipv4Addr {
    let address = lab.on_machines(RELAY, |host| {
        let machine = host.lease(1, SOON).unwrap().unwrap();
        machine.mount(&machine.boot().unwrap().export).unwrap();
        machine.address
    });
    address.unwrap()
}

fn lease_of(server: &Server, mac: Mac) -> Lease {
    let backup = tempfile::tempdir().unwrap();
    let path = backup.path().join("backup");
    server.run(&["state", "backup", path.to_str().unwrap()]).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find(|line| line.contains(&format!("leases/{mac}"))).unwrap().to_owned();
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    serde_json::from_str(record["value"].as_str().unwrap()).unwrap()
}

#[test]
fn a_running_root_renews_while_the_disk_takes_nothing_and_its_lease_is_written_later() {
    let lab = Lab::new().unwrap();
    let site = site("192.168.77.100-192.168.77.199");
    let disk = SmallDisk::mount(&site.path().join("state"), 8 << 20).unwrap();
    let mut server = Server::start(site).unwrap();
    let state = server.site.path().join("state");
    let address = boots(&lab);
    // The time at which it renews.
    server.kill9().unwrap();
    let short = now() + 60;
    write(&state, mac(1), |lease| Lease { expires: short, ..lease.unwrap() });
    server.restart().unwrap();
    disk.fill(0).unwrap();
    let told = lab.on_machines(RELAY, |host| {
        // What the state has room for still fits.
        let refused = (2..90).find(|last| host.lease(*last, A_WHILE).unwrap().is_none());
        (refused, host.lease(1, SOON).unwrap().map(|machine| machine.address))
    });
    disk.empty().unwrap();
    let (refused, renewed) = told.unwrap();
    assert!(refused.is_some(), "the disk is full");
    assert_eq!(renewed, Some(address), "who runs is acknowledged all the same");
    let begun = Instant::now();
    while lease_of(&server, mac(1)).expires <= short {
        assert!(begun.elapsed() < SOON, "its lease is written: {}", server.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn an_address_rests_after_its_pin_has_ended_also_over_a_restart() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site("192.168.77.100-192.168.77.100")).unwrap();
    let state = server.site.path().join("state");
    boots(&lab);
    // Its lease ends: nothing but the pin keeps the address.
    server.kill9().unwrap();
    write(&state, mac(1), |lease| {
        let lease = lease.unwrap();
        Lease { expires: lease.start, ..lease }
    });
    server.restart().unwrap();
    let given = |last: u8, time: Duration| {
        lab.on_machines(RELAY, |host| host.lease(last, time).unwrap()).unwrap().is_some()
    };
    assert!(!given(2, A_WHILE), "it runs");
    server.run(&["release", "52:54:00:00:00:01"]).unwrap();
    assert!(!given(2, A_WHILE), "it rests");
    server.kill9().unwrap();
    server.restart().unwrap();
    assert!(!given(2, A_WHILE), "the restart has not forgotten it");
    assert!(given(1, SOON), "its own machine has it at once");
}

#[test]
fn a_lease_from_before_the_host_started_is_given_away_only_where_nobody_answers() {
    let lab = Lab::new().unwrap();
    let mut server = Server::new(site("192.168.77.100-192.168.77.101")).unwrap();
    server.stage().unwrap();
    let addresses = [Ipv4Addr::new(192, 168, 77, 100), Ipv4Addr::new(192, 168, 77, 101)];
    for (last, address) in (1..).zip(addresses) {
        let (start, expires) = (now() - 7200, now() - 3600);
        let ended = Lease { mac: mac(last), address, start, expires, relay: None };
        write(&server.site.path().join("state"), mac(last), |_| ended.clone());
    }
    server.restart().unwrap();
    let given = lab.on_machines(RELAY, |host| {
        oneroot_testkit::ip(&format!("addr add {}/24 dev {}", addresses[0], host.nic())).unwrap();
        // Each asks as often as firmware does.
        let lease = |last: u8| (0..4).find_map(|_| host.lease(last, A_WHILE).unwrap());
        [3, 4].map(|last| lease(last).map(|machine| machine.address))
    });
    let mut given: Vec<Ipv4Addr> = given.unwrap().into_iter().flatten().collect();
    given.sort_unstable();
    assert_eq!(given, [addresses[1]], "a host is at the other, whoever it is");
}
