//! What NFS peers can make the real server hold: connections, descriptors, replies that nobody reads. Each bound is stated
//! here, and an honest machine is served meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use oneroot_testkit::rpc::{self, Answer, opaque, words};
use oneroot_testkit::{Host, Lab, Machine, RELAY, Server, SiteFiles, dial_again, ip};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const PATIENCE: Duration = Duration::from_secs(60);
const NFS: u32 = 100_003;
const NULL: [u32; 3] = [NFS, 3, 0];
const READ: [u32; 3] = [NFS, 3, 6];
const READDIRPLUS: [u32; 3] = [NFS, 3, 17];
/// More than this much growth, in KiB, is a leak.
const GROWTH: u64 = 16 * 1024;

/// Connections of one peer, and of all (src/net/accept.rs).
const PER_PEER: usize = 32;
const IN_TOTAL: usize = 5000;

/// Files in a directory that fills more than a page.
const NAMES: usize = 400;

/// A site that boots whoever comes: a file of 2 MiB, a directory of many names, a kernel and an initrd.
fn site() -> SiteFiles {
    let pool = "192.168.77.10-192.168.77.250";
    let mut site = SiteFiles::with_source("directory = \"root\"", pool, "12h").unwrap();
    let root = site.path().join("root");
    for directory in ["boot", "wide"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("boot/vmlinuz-1"), "kernel").unwrap();
    fs::write(root.join("boot/initrd.img-1"), "initrd").unwrap();
    fs::write(root.join("big"), (0..2 << 20).map(|at: u32| (at % 251) as u8).collect::<Vec<_>>()).unwrap();
    for number in 0..NAMES {
        fs::write(root.join(format!("wide/{number:0200}")), "").unwrap();
    }
    site.add("[unknown]\nprofile = \"debian\"\n");
    site
}

/// A server, and a machine of it, on a host of their network.
fn with_machine<T: Send>(act: impl FnOnce(&mut Server, &Host, Machine) -> T + Send) -> T {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    lab.on_machines(RELAY, |host| {
        let machine = host.lease(1, PATIENCE).unwrap().unwrap();
        act(&mut server, host, machine)
    })
    .unwrap()
}

fn connect(from: Ipv4Addr, port: u16) -> TcpStream {
    // What a peer does not read waits in the server's buffers rather than in ours.
    dial_again((from, port).into(), (SERVER, 2049).into(), Some(4096)).unwrap()
}

fn ping(stream: &mut TcpStream, xid: u32) -> std::io::Result<()> {
    stream.write_all(&rpc::call(xid, NULL, &[]))?;
    Answer::accepted(rpc::record(stream)?, xid).map(drop).map_err(std::io::Error::other)
}

/// Whether the server has closed: the end of the stream or a reset, and not silence.
fn closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(count) => count == 0,
        Err(cause) => cause.kind() == ErrorKind::ConnectionReset,
    }
}

/// Sends whole calls until the server takes no more, and at most `most`; how many it took.
fn shout(stream: &mut TcpStream, calls: &[u8], length: usize, most: usize) -> usize {
    stream.set_nonblocking(true).unwrap();
    let bytes = &calls[..length * most];
    let (mut sent, mut refused) = (0, 0);
    while sent < bytes.len() && refused < 2 {
        match stream.write(&bytes[sent..]) {
            Ok(count) => (sent, refused) = (sent + count, 0),
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
                refused += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(_) => break,
        }
    }
    stream.set_nonblocking(false).unwrap();
    sent / length
}

/// KiB that a flood takes at least, or it was none.
const FLOOD_FELT: u64 = 64 * 1024;
/// The most memory, in KiB, that the server has while 5,000 peers ask for as much as they may and read nothing: what may
/// wait for all of them together (`IN_FLIGHT`, src/nfs/in_flight.rs), 16 KiB for each connection, and what it has at rest.
const FLOODED: u64 = 256 * 1024 + 16 * IN_TOTAL as u64 + 64 * 1024;

/// 200 addresses with 25 connections each.
const ADDRESSES: u8 = 200;
const EACH: u16 = 25;

/// Lets this process, and the server that it starts, have as many descriptors as it may.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// A peer's part in the flood: connections that ask for files by the megabyte, which wait in the page cache, and connections
/// that ask for lists and for small pieces, which wait in the server's memory.
fn flooded(machine: &Machine, [big, wide]: &[Vec<u8>; 2]) -> Vec<(TcpStream, usize)> {
    let place = 0u64.to_be_bytes().to_vec();
    let read = rpc::call(7, READ, &[opaque(big), place.clone(), words(&[1 << 20])].concat());
    let piece = rpc::call(7, READ, &[opaque(big), place.clone(), words(&[32 << 10])].concat());
    let list = [opaque(wide), place.clone(), place, words(&[1 << 16, 1 << 16])].concat();
    let list = rpc::call(7, READDIRPLUS, &list);
    let ports = (0..EACH).map(|number| {
        let mut stream = connect(machine.address, 700 + number);
        let call = [&read, &piece, &list][usize::from(number % 3)];
        let taken = shout(&mut stream, &call.repeat(400), call.len(), 400);
        (stream, taken)
    });
    ports.collect()
}

#[test]
fn five_thousand_peers_that_read_no_reply_cost_a_stated_memory_and_no_honest_machine_its_service() {
    raise_descriptors();
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    lab.on_machines(RELAY, |host| {
        let begun = Instant::now();
        let machines: Vec<Machine> =
            (1..=ADDRESSES + 1).map(|last| host.lease(last, PATIENCE).unwrap().unwrap()).collect();
        let (honest, flood) = machines.split_last().unwrap();
        let boot = honest.boot().unwrap();
        let whole = honest.mount(&boot.export).unwrap().read_all().unwrap();
        let handles: Vec<[Vec<u8>; 2]> = flood
            .iter()
            .map(|machine| {
                let mut root = machine.mount(&machine.boot().unwrap().export).unwrap();
                [root.lookup("big").unwrap(), root.lookup("wide").unwrap()]
            })
            .collect();
        let rest = server.most_resident().unwrap();
        println!("{} machines up after {:?}: {rest} KiB", machines.len(), begun.elapsed());
        // At once, for a connection that takes nothing is given up after a while.
        let all: Vec<_> = flood.iter().zip(&handles).collect();
        let shouted: Vec<(TcpStream, usize)> = std::thread::scope(|scope| {
            let parts: Vec<_> = all
                .chunks(25)
                .map(|some| scope.spawn(|| some.iter().flat_map(|it| flooded(it.0, it.1)).collect()))
                .collect();
            parts.into_iter().flat_map(|part| -> Vec<(TcpStream, usize)> { part.join().unwrap() }).collect()
        });
        let taken: usize = shouted.iter().map(|(_, taken)| taken).sum();
        let streams = shouted;
        println!("{} connections, {taken} calls taken, after {:?}", streams.len(), begun.elapsed());
        for _ in 0..3 {
            assert_eq!(honest.mount(&boot.export).unwrap().read_all().unwrap(), whole);
        }
        let most = server.most_resident().unwrap();
        println!("{most} KiB at most, after {:?}", begun.elapsed());
        assert!(most > rest + FLOOD_FELT, "{rest} KiB before, {most} KiB at most: no flood at all");
        assert!(most < FLOODED, "{rest} KiB before, {most} KiB at most");
        drop(streams);
    })
    .unwrap();
}

#[test]
fn five_thousand_connections_are_kept_and_the_next_takes_the_place_of_the_idlest() {
    raise_descriptors();
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    lab.on_machines(RELAY, |host| {
        let addresses: Vec<Ipv4Addr> =
            (0..ADDRESSES).map(|last| Ipv4Addr::new(192, 168, 77, 10 + last)).collect();
        for address in &addresses {
            ip(&format!("addr add {address}/24 dev {}", host.nic())).unwrap();
        }
        let rest = (server.resident().unwrap(), server.descriptors().unwrap());
        let mut streams: Vec<TcpStream> = Vec::new();
        for address in &addresses {
            for port in (700..).take(usize::from(EACH)) {
                let mut stream = connect(*address, port);
                ping(&mut stream, 1).unwrap();
                streams.push(stream);
                if streams.len() == 2 {
                    // The server tells idle times in milliseconds, and some of them coarsely: these two are the oldest.
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        let full = (server.resident().unwrap(), server.descriptors().unwrap());
        println!(
            "{} connections: {} KiB more, {} descriptors more",
            streams.len(),
            full.0 - rest.0,
            full.1 - rest.1
        );
        assert_eq!(full.1 - rest.1, IN_TOTAL, "each is there");
        assert!(full.0 < rest.0 + 16 * IN_TOTAL as u64, "{rest:?} before, {full:?} now");
        ping(&mut streams[0], 2).unwrap();
        let mut newest = connect(host.address(), 700);
        ping(&mut newest, 1).unwrap();
        assert!(closed(&mut streams[1]), "the idlest of all goes");
        ping(&mut streams[0], 3).unwrap();
        ping(streams.last_mut().unwrap(), 2).unwrap();
        assert_eq!(server.descriptors().unwrap() - rest.1, IN_TOTAL);
    })
    .unwrap();
}

#[test]
fn a_full_peer_loses_its_longest_idle_connection_and_the_newest_is_served() {
    with_machine(|_, _, machine| {
        let mut streams: Vec<TcpStream> = Vec::new();
        let open = |streams: &mut Vec<TcpStream>| {
            let mut stream = connect(machine.address, 700 + u16::try_from(streams.len()).unwrap());
            ping(&mut stream, 1).unwrap();
            streams.push(stream);
            // The server's clock for idle times is a coarse one.
            std::thread::sleep(Duration::from_millis(20));
        };
        for _ in 0..PER_PEER {
            open(&mut streams);
        }
        // The first is the oldest, but not idle.
        ping(&mut streams[0], 2).unwrap();
        open(&mut streams);
        assert!(closed(&mut streams[1]), "the one that was idle longest goes");
        let others = streams.iter_mut().enumerate().filter(|(number, _)| *number != 1);
        others.for_each(|(number, stream)| ping(stream, 3).unwrap_or_else(|gone| panic!("{number}: {gone}")));
    });
}

#[test]
fn a_server_without_descriptors_left_serves_the_next_connection_and_all_when_there_are_some_again() {
    with_machine(|server, _, machine| {
        let before = server.resident().unwrap();
        ping(&mut connect(machine.address, 699), 1).unwrap();
        let most = server.descriptors().unwrap() + 8;
        server.limit_descriptors(most as u64).unwrap();
        // Within a peer's share, and far beyond what can be accepted.
        let mut streams: Vec<TcpStream> = (700..730).map(|port| connect(machine.address, port)).collect();
        ping(streams.last_mut().unwrap(), 2).unwrap();
        assert!(server.log().contains("cannot accept connections just now"), "{}", server.log());
        assert!(server.log().matches("cannot accept connections").count() < 20, "{}", server.log());
        server.limit_descriptors(4096).unwrap();
        drop(streams);
        let mut streams: Vec<TcpStream> = (730..760).map(|port| connect(machine.address, port)).collect();
        streams.iter_mut().for_each(|stream| ping(stream, 3).unwrap());
        let boot = machine.boot().unwrap();
        assert!(machine.mount(&boot.export).unwrap().read_all().unwrap().len() > NAMES);
        let now = server.resident().unwrap();
        assert!(now < before + GROWTH, "{before} KiB before, {now} KiB now");
    });
}

#[test]
fn a_connection_that_says_nothing_whole_is_closed_and_one_that_has_may_be_silent() {
    with_machine(|_, _, machine| {
        let mut known = connect(machine.address, 700);
        ping(&mut known, 1).unwrap();
        let mut silent = connect(machine.address, 701);
        let mut half = connect(machine.address, 702);
        half.write_all(&rpc::call(1, NULL, &[])[..20]).unwrap();
        // A byte now and then of a record that has 64 KiB.
        let mut slow = connect(machine.address, 703);
        slow.write_all(&words(&[0x8001_0000])).unwrap();
        let (begun, mut byte) = (Instant::now(), [0]);
        slow.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        while slow.write_all(&[0]).is_ok()
            && slow.read(&mut byte).is_err_and(|cause| cause.kind() == ErrorKind::WouldBlock)
        {
            assert!(begun.elapsed() < PATIENCE, "it says nothing whole, and is listened to for ever");
        }
        assert!(closed(&mut silent), "it has said nothing");
        assert!(closed(&mut half), "it has said nothing whole");
        ping(&mut known, 2).unwrap();
    });
}

#[test]
fn a_client_that_comes_again_from_its_port_with_its_xid_is_answered() {
    with_machine(|_, _, machine| {
        for _ in 0..5 {
            // Dropped, it is reset: what a machine does that was switched off, and had its connections forgotten.
            let mut stream = connect(machine.address, 700);
            ping(&mut stream, 7).unwrap();
            ping(&mut stream, 7).unwrap();
        }
    });
}

#[test]
fn ten_thousand_calls_at_once_are_not_taken_faster_than_their_replies_and_are_all_answered_in_order() {
    const CALLS: usize = 10_000;
    const LENGTH: u32 = 16 * 1024;
    with_machine(|server, _, machine| {
        let boot = machine.boot().unwrap();
        let mut root = machine.mount(&boot.export).unwrap();
        let big = root.lookup("big").unwrap();
        let begun = server.resident().unwrap();
        let call = |xid: usize| {
            let arguments = [opaque(&big), 0u64.to_be_bytes().to_vec(), words(&[LENGTH])].concat();
            rpc::call(u32::try_from(xid).unwrap(), READ, &arguments)
        };
        let calls: Vec<u8> = (0..CALLS).flat_map(call).collect();
        let mut stream = connect(machine.address, 700);
        socket2::SockRef::from(&stream).set_send_buffer_size(4096).unwrap();
        let length = calls.len() / CALLS;
        let taken = shout(&mut stream, &calls, length, CALLS);
        assert!(taken < CALLS / 2, "{taken} calls were taken without a reply being read");
        // Another client of this peer is none the worse.
        ping(&mut connect(machine.address, 701), 1).unwrap();
        assert!(root.read_all().unwrap().len() > NAMES);
        let now = server.resident().unwrap();
        assert!(now < begun + GROWTH, "{begun} KiB before, {now} KiB now");

        // `shout` may have ended in the midst of a call: everything is sent again on a connection whose end is known.
        let mut stream = connect(machine.address, 702);
        let mut writer = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(&calls).unwrap());
            for xid in 0..CALLS {
                let record = rpc::record(&mut stream).unwrap();
                let mut answer = Answer::accepted(record, u32::try_from(xid).unwrap()).unwrap();
                assert_eq!(answer.word().unwrap(), 0);
                answer.attributes().unwrap();
                assert_eq!((answer.word().unwrap(), answer.word().unwrap()), (LENGTH, 0));
                assert_eq!(answer.opaque().unwrap()[1000], (1000 % 251) as u8);
            }
        });
    });
}
