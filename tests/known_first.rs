//! Attacks on DHCP by well-formed messages from the wrong sender, over the real binary in a network of the test's own:
//! whatever strangers do, a machine that the site names is answered, and its address is its own.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use oneroot_dhcp::Lease;
use oneroot_ids::Mac;
use oneroot_state::{Backend as _, Disk, MAX_OPERATIONS, Table, Txn};
use oneroot_testkit::{Lab, RELAY, Server, SiteFiles};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const ALPHA: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x0a];
const BETA: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x0b];
const ALPHAS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 10);
/// How often a client asks before it gives up, as firmware does.
const TRIES: usize = 4;
/// Time that one try waits for its answer.
const PATIENCE: Duration = Duration::from_secs(2);

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const ACK: u8 = 5;

/// A site with alpha, whose address is its own, and beta, which takes one from the pool.
fn site(pool: &str, prefix: u8) -> SiteFiles {
    let mut site = SiteFiles::with_source("directory = \"root\"", pool, "1h").unwrap();
    std::fs::create_dir_all(site.path().join("root/etc")).unwrap();
    std::fs::write(site.path().join("root/etc/motd"), "hello\n").unwrap();
    let subnet = if prefix == 24 { "192.168.77.0/24" } else { "192.168.0.0/16" };
    let text = site.text().replace("192.168.77.0/24", subnet);
    site.set_text(&text);
    site.machine("alpha", "0a", "address = \"192.168.77.10\"").unwrap();
    site.machine("beta", "0b", "").unwrap();
    site
}

/// What a relay is told, as far as these tests look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    kind: u8,
    address: Ipv4Addr,
}

/// A relay on a host of the lab: it can speak for any machine, and hears what all of them are told.
struct Relay {
    socket: UdpSocket,
    address: Ipv4Addr,
    tries: usize,
    next: u32,
}

impl Relay {
    fn new(address: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((address, 67)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, address, tries: TRIES, next: u32::from_be_bytes(address.octets()) << 8 }
    }

    fn message(&mut self, kind: u8, mac: [u8; 6], options: &[(u8, Ipv4Addr)]) -> Vec<u8> {
        self.next = self.next.wrapping_add(1);
        message(self.next, kind, mac, self.address, options)
    }

    fn send(&mut self, kind: u8, mac: [u8; 6], options: &[(u8, Ipv4Addr)]) {
        let message = self.message(kind, mac, options);
        self.socket.send_to(&message, (SERVER, 67)).unwrap();
    }

    /// Asks as a client does: the same again when nobody answers.
    fn ask(&mut self, kind: u8, mac: [u8; 6], options: &[(u8, Ipv4Addr)]) -> Option<Told> {
        let message = self.message(kind, mac, options);
        (0..self.tries).find_map(|_| {
            self.socket.send_to(&message, (SERVER, 67)).unwrap();
            let begun = Instant::now();
            let mut reply = [0; 1500];
            while begun.elapsed() < PATIENCE {
                let Ok(count) = self.socket.recv(&mut reply) else { break };
                if count > 243 && reply[4..8] == message[4..8] {
                    let address = <[u8; 4]>::try_from(&reply[16..20]).unwrap().into();
                    return Some(Told { kind: reply[242], address });
                }
            }
            None
        })
    }

    /// DISCOVER, OFFER, REQUEST, ACK: the address.
    fn dora(&mut self, mac: [u8; 6]) -> Option<Ipv4Addr> {
        let offer = self.ask(DISCOVER, mac, &[])?;
        assert_eq!(offer.kind, OFFER);
        let ack = self.ask(REQUEST, mac, &[(50, offer.address), (54, SERVER)])?;
        assert_eq!(ack, Told { kind: ACK, address: offer.address });
        Some(offer.address)
    }
}

fn message(xid: u32, kind: u8, mac: [u8; 6], relay: Ipv4Addr, options: &[(u8, Ipv4Addr)]) -> Vec<u8> {
    let mut packet = vec![1, 1, 6, 0];
    packet.extend(xid.to_be_bytes());
    packet.resize(24, 0);
    packet.extend(relay.octets());
    packet.extend(mac);
    packet.resize(236, 0);
    packet.extend([99, 130, 83, 99, 53, 1, kind]);
    for (code, address) in options {
        packet.extend([*code, 4]);
        packet.extend(address.octets());
    }
    packet.push(255);
    packet
}

fn stranger(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [2, 0xff, a, b, c, d]
}

#[test]
fn a_pool_that_strangers_hold_has_room_for_a_machine_of_the_site() {
    let lab = Lab::new().unwrap();
    let _server = Server::start(site("192.168.77.100-192.168.77.199", 24)).unwrap();
    let (given, beta, again) = lab
        .on_host("192.168.77.2/24", || {
            let mut relay = Relay::new(RELAY);
            let mut given: Vec<Ipv4Addr> =
                (0..99).filter_map(|number| relay.dora(stranger(number))).collect();
            relay.tries = 1;
            given.extend((200..203).filter_map(|number| relay.dora(stranger(number))));
            relay.tries = TRIES;
            (given, relay.dora(BETA), relay.dora(BETA))
        })
        .unwrap();
    assert_eq!(given.len(), 99, "strangers have all but what is set aside");
    assert!(beta.is_some_and(|address| !given.contains(&address)), "{beta:?}");
    assert_eq!(beta, again);
}

#[test]
fn a_decline_in_anothers_name_takes_no_reservation_away() {
    let lab = Lab::new().unwrap();
    let _server = Server::start(site("192.168.77.100-192.168.77.199", 24)).unwrap();
    let told = lab
        .on_host("192.168.77.2/24", || {
            let mut relay = Relay::new(RELAY);
            assert_eq!(relay.dora(ALPHA), Some(ALPHAS));
            for _ in 0..8 {
                assert!(relay.ask(DISCOVER, ALPHA, &[]).is_some());
                relay.send(DECLINE, ALPHA, &[(50, ALPHAS), (54, SERVER)]);
            }
            // Longer than any probe takes.
            std::thread::sleep(Duration::from_secs(4));
            relay.dora(ALPHA)
        })
        .unwrap();
    assert_eq!(told, Some(ALPHAS));
}

#[test]
fn a_decline_of_an_address_that_a_foreign_host_has_counts() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site("192.168.77.100-192.168.77.199", 24)).unwrap();
    let told = lab
        .plug("lab0", |nic| {
            for address in ["192.168.77.10/24", "192.168.77.2/24"] {
                oneroot_testkit::ip(&format!("addr add {address} dev {nic}")).unwrap();
            }
            let mut relay = Relay::new(RELAY);
            assert_eq!(relay.dora(ALPHA), Some(ALPHAS));
            relay.send(DECLINE, ALPHA, &[(50, ALPHAS), (54, SERVER)]);
            let begun = Instant::now();
            while !server.log().contains("another host") && begun.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(50));
            }
            relay.dora(ALPHA)
        })
        .unwrap();
    assert!(told.is_some_and(|address| address != ALPHAS), "{told:?}");
}

#[test]
fn a_flood_in_a_machines_own_name_does_not_starve_it() {
    let lab = Lab::new().unwrap();
    let _server = Server::start(site("192.168.77.100-192.168.77.199", 24)).unwrap();
    let asked = 20;
    let answered = lab
        .on_host("192.168.77.2/24", || {
            let mut relay = Relay::new(RELAY);
            relay.tries = 1;
            let answers = (0..asked).filter(|_| {
                // Its answers are not looked at.
                (0..100).for_each(|_| relay.send(DISCOVER, ALPHA, &[]));
                relay.dora(ALPHA) == Some(ALPHAS)
            });
            answers.count()
        })
        .unwrap();
    assert_eq!(answered, asked);
}

/// Floods from a host of its own until the other one has done, with at most so many messages.
fn flooded<T: Send>(
    lab: &Lab,
    most: u64,
    flood: impl Fn(u64) -> Vec<u8> + Sync,
    act: impl FnOnce(&mut Relay) -> T + Send,
) -> (T, u64) {
    let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let act_done = std::thread::scope(|scope| {
        let (done, sent, flood) = (&done, &sent, &flood);
        // A host is a namespace of a thread; two of them need two threads, and both are made from this one's network.
        lab.plug("lab0", move |nic| {
            oneroot_testkit::ip(&format!("addr add 192.168.77.3/24 dev {nic}")).unwrap();
            let sink = UdpSocket::bind((Ipv4Addr::new(192, 168, 77, 3), 67)).unwrap();
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    // Some 4,000 in a second: more is `make bench-dhcp`'s, for a server that is built for speed and a machine
                    // that does nothing else.
                    for _ in 0..4 {
                        let number = sent.fetch_add(1, Ordering::Relaxed);
                        if number >= most {
                            return;
                        }
                        let _ = sink.send_to(&flood(number), (SERVER, 67));
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        })
        .unwrap();
        lab.on_host("192.168.77.2/24", || {
            let mut relay = Relay::new(RELAY);
            let told = act(&mut relay);
            done.store(true, Ordering::Relaxed);
            told
        })
        .unwrap()
    });
    (act_done, sent.load(Ordering::Relaxed))
}

/// The hardest for a plain scan: a large pool in which only the room for a machine of the site is left.
#[test]
fn a_flood_of_made_up_macs_leaves_no_machine_of_the_site_unanswered() {
    let lab = Lab::new().unwrap();
    let mut server = Server::new(site("192.168.100.0-192.168.199.255", 16)).unwrap();
    server.stage().unwrap();
    lease_to_strangers(&server.site.path().join("state"), Ipv4Addr::new(192, 168, 100, 0), 100 * 256 - 1);
    server.restart().unwrap();
    let from = Ipv4Addr::new(192, 168, 77, 3);
    let asked = 40;
    let flood = |number: u64| {
        let number = u32::try_from(number).unwrap();
        message(number, DISCOVER, stranger(1 << 20 | number), from, &[])
    };
    let (answered, sent) = flooded(&lab, 400_000, flood, |relay| answered(relay, asked));
    assert!(sent > 2000, "that was no flood: {sent}");
    assert_eq!(answered, asked);
}

/// How many of so many questions, of two machines in turn, are answered before the first that is not.
fn answered(relay: &mut Relay, asked: usize) -> usize {
    let machines = [ALPHA, BETA].into_iter().cycle().take(asked);
    let is_answered = |mac: &[u8; 6]| {
        std::thread::sleep(Duration::from_millis(50));
        relay.dora(*mac).is_some()
    };
    machines.take_while(is_answered).count()
}

/// Leases that run for a day, from `first` on, in the state of a server that does not run.
fn lease_to_strangers(state: &std::path::Path, first: Ipv4Addr, count: u32) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let leases: Table<Lease> = Table::new("leases");
    let disk = Disk::open(state).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for from in (0..count).step_by(MAX_OPERATIONS) {
        let lease = |number: u32| {
            let mac = Mac::new(stranger(number)).unwrap();
            let address = Ipv4Addr::from(u32::from(first) + number);
            Lease { mac, address, start: now, expires: now + 86_400, relay: None }
        };
        let all = (from..count.min(from + u32::try_from(MAX_OPERATIONS).unwrap())).map(lease);
        let txn = all.fold(Txn::new(), |txn, lease| leases.put(txn, lease.mac, &lease).unwrap());
        runtime.block_on(disk.commit(txn)).unwrap();
    }
}

#[test]
fn a_flood_in_one_machines_name_leaves_neither_it_nor_another_unanswered() {
    let lab = Lab::new().unwrap();
    let _server = Server::start(site("192.168.77.100-192.168.77.199", 24)).unwrap();
    let from = Ipv4Addr::new(192, 168, 77, 3);
    let asked = 40;
    let flood = |number: u64| {
        let number = u32::try_from(number).unwrap();
        // Now and then it takes the lease and gives it back.
        match number % 4 {
            0 => message(number, REQUEST, ALPHA, from, &[(50, ALPHAS), (54, SERVER)]),
            1 => message(number, DECLINE, ALPHA, from, &[(50, ALPHAS), (54, SERVER)]),
            _ => message(number, DISCOVER, ALPHA, from, &[]),
        }
    };
    let (answered, sent) = flooded(&lab, 400_000, flood, |relay| answered(relay, asked));
    assert!(sent > 2000, "that was no flood: {sent}");
    assert_eq!(answered, asked);
}
