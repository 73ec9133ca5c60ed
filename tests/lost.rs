//! Contents that the disk has lost under a running server: that file can't be read, and all else is as it was, calls on the
//! same connection too.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oneroot_testkit::rpc::{self, Answer, opaque, words};
use oneroot_testkit::{Lab, Server, SiteFiles};

const RELAY: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
const PATIENCE: Duration = Duration::from_secs(60);
const READ: [u32; 3] = [100_003, 3, 6];
const IO: u32 = 5;
/// What becomes of an object.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Whole,
    Gone,
    Short,
}
use Fate::{Gone, Short, Whole};

/// Held in memory, or copied, or sent from the page cache; and none a multiple of four, for the padding goes too.
const FILES: [(&str, usize, Fate); 8] = [
    ("small gone", 3, Gone),
    ("small", 5, Whole),
    ("large short", 70_001, Short),
    ("middle", 20_001, Whole),
    ("small short", 20_003, Short),
    ("large", 70_003, Whole),
    ("huge gone", 1_500_001, Gone),
    ("huge", 1_500_003, Whole),
];

fn contents(name: &str, size: usize) -> Vec<u8> {
    name.bytes().cycle().take(size).collect()
}

fn object(site: &Path, contents: &[u8]) -> PathBuf {
    let name = blake3::hash(contents).to_hex().to_string();
    let (head, tail) = name.split_at(2);
    site.join("store/objects").join(head).join(tail)
}

/// All calls in one write; status and length of the data of each answer.
fn read_all(stream: &mut TcpStream, handles: &[Vec<u8>]) -> Vec<(u32, usize)> {
    let call = |(xid, handle): (usize, &Vec<u8>)| {
        let arguments = [opaque(handle), words(&[0, 0, 1 << 20])].concat();
        rpc::call(u32::try_from(xid).unwrap(), READ, &arguments)
    };
    let calls: Vec<u8> = handles.iter().enumerate().flat_map(call).collect();
    stream.write_all(&calls).unwrap();
    let answer = |xid: usize| {
        let record = rpc::record(stream).unwrap();
        let mut answer = Answer::accepted(record, u32::try_from(xid).unwrap()).unwrap();
        let status = answer.word().unwrap();
        answer.attributes().unwrap();
        if status != 0 {
            return (status, 0);
        }
        answer.bytes(8).unwrap();
        (status, answer.opaque().unwrap().len())
    };
    (0..handles.len()).map(answer).collect()
}

#[test]
fn a_file_whose_contents_are_lost_is_an_io_error_and_costs_no_other_call() {
    let lab = Lab::new().unwrap();
    let mut site =
        SiteFiles::with_source("directory = \"root\"", "192.168.77.100-192.168.77.199", "12h").unwrap();
    site.machine("alpha", "0a", "address = \"192.168.77.10\"").unwrap();
    let root = site.path().join("root");
    fs::create_dir_all(root.join("boot")).unwrap();
    fs::write(root.join("boot/vmlinuz-1"), "kernel").unwrap();
    fs::write(root.join("boot/initrd.img-1"), "initrd").unwrap();
    for (name, size, _) in FILES {
        fs::write(root.join(name), contents(name, size)).unwrap();
    }
    let server = Server::start(site).unwrap();
    let served = lab.on_machines(RELAY, |host| {
        let machine = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = machine.boot().unwrap();
        let mut mounted = machine.mount(&boot.export).unwrap();
        let handles: Vec<_> = FILES.iter().map(|(name, ..)| mounted.lookup(name).unwrap()).collect();
        for (name, size, fate) in FILES {
            let path = object(server.site.path(), &contents(name, size));
            if fate != Whole {
                fs::remove_file(&path).unwrap();
            }
            if fate == Short {
                fs::write(&path, "sh").unwrap();
            }
        }
        let mut stream = machine.connect(2049, 701).unwrap();
        let expected =
            FILES.map(|(_, size, fate)| if fate == Whole { (0, size.min(1 << 20)) } else { (IO, 0) });
        for _ in 0..2 {
            assert_eq!(read_all(&mut stream, &handles), expected, "twice the same, on one connection");
        }
        // As a stage puts it right.
        for (name, size, _) in FILES {
            let new = server.site.path().join("new");
            fs::write(&new, contents(name, size)).unwrap();
            fs::rename(&new, object(server.site.path(), &contents(name, size))).unwrap();
        }
        assert_eq!(read_all(&mut stream, &handles), FILES.map(|(_, size, _)| (0, size.min(1 << 20))));
    });
    served.unwrap();
}
