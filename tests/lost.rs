//! What the disk has lost under a server: that file can't be read, which is said as such, and all else is as it was, calls on
//! the same connection too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oneroot_testkit::rpc::{self, Answer, opaque, words};
use oneroot_testkit::{Lab, Machine, RELAY, Server, SiteFiles};

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

/// Does something as alpha. Between two of these the server can be started anew.
fn on_alpha<T: Send>(lab: &Lab, act: impl FnOnce(Machine) -> T + Send) -> T {
    lab.on_machines(RELAY, |host| act(host.lease(10, PATIENCE).unwrap().unwrap())).unwrap()
}

/// The code of the error that TFTP gives for a file.
fn refused_by_tftp(from: Ipv4Addr, name: &str) -> u16 {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
        .send_to(&[b"\0\x01", name.as_bytes(), b"\0octet\0"].concat(), (Ipv4Addr::new(192, 168, 77, 1), 69))
        .unwrap();
    let mut answer = [0; 600];
    let (count, _) = socket.recv_from(&mut answer).unwrap();
    assert!(count > 4 && answer[..2] == [0, 5], "no error: {:?}", &answer[..count]);
    u16::from_be_bytes([answer[2], answer[3]])
}

#[test]
fn a_boot_file_that_cannot_be_read_is_said_to_be_so_and_ends_no_assignment() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    site.add(
        "[profile.memtest]\nsource = { directory = \"memtest\" }\nroot = \"none\"\nkernel = \"/memtest.bin\"\n",
    );
    fs::create_dir(site.path().join("memtest")).unwrap();
    fs::write(site.path().join("memtest/memtest.bin"), "memtest").unwrap();
    let mut server = Server::start(site).unwrap();
    let is_assigned =
        |server: &Server| server.run(&["machines", "--json"]).unwrap().contains("\"once\": true");
    server.run(&["assign", "alpha", "--profile", "memtest", "--once"]).unwrap();
    let kernel = on_alpha(&lab, |alpha| {
        let script = String::from_utf8(alpha.get("/boot/52-54-00-00-00-0a.ipxe?").unwrap().1).unwrap();
        let (_, rest) = script.split_once("kernel --name kernel http://192.168.77.1/").unwrap();
        rest.split_once(" ||").unwrap().0.to_owned()
    });
    let views: Vec<_> = fs::read_dir(server.site.path().join("store/stacks")).unwrap().collect();
    assert_eq!(views.len(), 1, "there is one boot");
    let view = views[0].as_ref().unwrap().path();
    for (lost, told) in [
        (view, "cannot give a boot file: its view cannot be read"),
        (object(server.site.path(), b"memtest"), "what a file contains cannot be read"),
    ] {
        server.kill9().unwrap();
        let aside = server.site.path().join("aside");
        fs::rename(&lost, &aside).unwrap();
        server.restart().unwrap();
        on_alpha(&lab, |alpha| {
            let (status, words) = alpha.get(&format!("/{kernel}")).unwrap();
            let words = String::from_utf8(words).unwrap();
            assert!(status == 500 && words.contains("its log says why"), "{status} {words}");
            assert_eq!(refused_by_tftp(alpha.address, &kernel), 0, "not 1, which is: not found");
        });
        server.wait_for_log(told, PATIENCE).unwrap();
        assert!(is_assigned(&server), "it has not booted by it yet");
        fs::rename(&aside, &lost).unwrap();
    }
    server.kill9().unwrap();
    server.restart().unwrap();
    on_alpha(&lab, |alpha| {
        let mut stream = alpha.connect(80, 0).unwrap();
        write!(stream, "HEAD /{kernel} HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
        let mut head = String::new();
        stream.read_to_string(&mut head).unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200 ") && is_assigned(&server),
            "its length boots nothing: {head}"
        );
        assert_eq!(alpha.get(&format!("/{kernel}")).unwrap(), (200, b"memtest".to_vec()));
    });
    server.wait_for_log("what was assigned to it for now is over", PATIENCE).unwrap();
    assert!(!is_assigned(&server));
}
