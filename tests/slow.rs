//! A peer on a bad line takes its replies slowly, and one that is gone takes none: the first is served to the end, the second
//! is closed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at its first surprise")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use oneroot_testkit::rpc::{self, opaque, words};
use oneroot_testkit::{Lab, Machine, RELAY, Server, SiteFiles};
use socket2::{Domain, SockRef, Socket, Type};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const PATIENCE: Duration = Duration::from_secs(60);
const READ: [u32; 3] = [100_003, 3, 6];
/// What is asked for: more than the buffers of both ends together have room for.
const WANTED: usize = 16 << 20;
/// The server's patience (`STALLED`, src/net/stalled.rs), and for how long the slow ones are slow.
const STALLED: Duration = Duration::from_secs(30);
const SLOW: Duration = Duration::from_secs(40);
/// What they take quickly first: the server's kernel finds them fast, and makes its buffers large.
const QUICK: usize = 4 << 20;
/// Eight kilobytes each second: a third of such a buffer takes longer than the server has patience. The kernel says that there
/// is room again when a whole packet has been read, and between two ends of a veth it has up to 64 KiB.
const PAUSE: Duration = Duration::from_secs(2);
const SIP: usize = 16 << 10;

/// A connection with a small buffer of its own, in which a few sips make room that the server hears of.
fn connect(machine: &Machine, from: u16, to: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    socket.bind(&SocketAddr::from((machine.address, from)).into()).unwrap();
    socket.connect(&SocketAddr::from((SERVER, to)).into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// Asks for the whole kernel in pieces of a megabyte.
fn by_nfs(machine: &Machine, from: u16, kernel: &[u8]) -> TcpStream {
    let mut stream = connect(machine, from, 2049);
    let piece = |number: u64| {
        let place = (number << 20).to_be_bytes();
        rpc::call(7, READ, &[opaque(kernel), place.to_vec(), words(&[1 << 20])].concat())
    };
    let calls: Vec<u8> = (0..WANTED as u64 >> 20).flat_map(piece).collect();
    stream.write_all(&calls).unwrap();
    stream
}

fn by_http(machine: &Machine, from: u16, boot: &str) -> TcpStream {
    let mut stream = connect(machine, from, 80);
    write!(stream, "GET /b/{boot}/kernel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

/// Takes much at once, then a little now and then, and after a while all that is left: how much it was.
fn slowly(mut stream: TcpStream) -> usize {
    stream.read_exact(&mut vec![0; QUICK]).unwrap();
    let (begun, mut taken) = (Instant::now(), QUICK);
    while begun.elapsed() < SLOW {
        taken += stream.read(&mut [0; SIP]).unwrap();
        std::thread::sleep(PAUSE);
    }
    SockRef::from(&stream).set_recv_buffer_size(1 << 20).unwrap();
    let mut rest = vec![0; 1 << 20];
    while taken < WANTED {
        match stream.read(&mut rest).unwrap_or_else(|cause| panic!("{cause} after {taken} bytes")) {
            0 => break,
            count => taken += count,
        }
    }
    taken
}

/// Takes much at once, then nothing for as long as the slow ones are slow and the server has patience, and longer, and then what is there.
fn late(mut stream: TcpStream) -> usize {
    stream.read_exact(&mut vec![0; QUICK]).unwrap();
    std::thread::sleep(SLOW + STALLED / 3);
    let mut taken = QUICK;
    let mut rest = vec![0; 1 << 20];
    while let Ok(count @ 1..) = stream.read(&mut rest) {
        taken += count;
    }
    taken
}

#[test]
fn a_peer_that_takes_a_little_now_and_then_is_served_to_the_end_and_one_that_takes_nothing_is_closed() {
    let lab = Lab::new().unwrap();
    let _server = Server::start(SiteFiles::with_alpha(&vec![7; WANTED]).unwrap()).unwrap();
    lab.on_machines(RELAY, |host| {
        let machine = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = machine.boot().unwrap();
        let kernel = machine.mount(&boot.export).unwrap().lookup("boot/vmlinuz-1").unwrap();
        let slow = [by_nfs(&machine, 700, &kernel), by_http(&machine, 701, &boot.id)];
        let deaf = [by_nfs(&machine, 702, &kernel), by_http(&machine, 703, &boot.id)];
        std::thread::scope(|scope| {
            let slow = slow.map(|stream| scope.spawn(move || slowly(stream)));
            let deaf = deaf.map(|stream| scope.spawn(move || late(stream)));
            for (how, taken) in ["NFS", "HTTP"].into_iter().zip(slow) {
                let taken = taken.join().unwrap();
                assert!(taken >= WANTED, "{how}: it is closed after {taken} bytes, and was there");
            }
            for (how, taken) in ["NFS", "HTTP"].into_iter().zip(deaf) {
                let taken = taken.join().unwrap();
                assert!(taken < WANTED, "{how}: it is served, {taken} bytes, and was not there");
            }
        });
    })
    .unwrap();
}
