//! What HTTP clients that read nothing can make the real server hold. The bound is stated here, and an honest machine gets its
//! kernel meanwhile.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use oneroot_testkit::{Lab, Machine, RELAY, Server, SiteFiles, dial};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const PATIENCE: Duration = Duration::from_secs(60);
/// More than the sockets' buffers take.
const KERNEL: usize = 16 << 20;
const ADDRESSES: u8 = 190;
const EACH: u16 = 25;
/// The most memory, in KiB: 8 for each of them, and what the server has at rest. Nothing of a file is in its memory, for it goes
/// from the page cache to the socket (`src/http/sending.rs`).
const MOST: u64 = 8 * ADDRESSES as u64 * EACH as u64 + 64 * 1024;

fn get(machine: &Machine, port: u16, boot: &str) -> TcpStream {
    let mut stream = dial((machine.address, port).into(), (SERVER, 80).into(), Some(4096)).unwrap();
    write!(stream, "GET /b/{boot}/kernel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

fn whole(mut stream: TcpStream) -> usize {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all.len()
}

#[test]
fn thousands_of_downloads_that_nobody_reads_cost_a_stated_memory_and_no_honest_machine_its_kernel() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let lab = Lab::new().unwrap();
    let mut site =
        SiteFiles::with_source("directory = \"root\"", "192.168.77.10-192.168.77.250", "12h").unwrap();
    let root = site.path().join("root");
    fs::create_dir_all(root.join("boot")).unwrap();
    fs::write(root.join("boot/vmlinuz-1"), vec![7; KERNEL]).unwrap();
    fs::write(root.join("boot/initrd.img-1"), "initrd").unwrap();
    site.add("[unknown]\nprofile = \"debian\"\n");
    let mut server = Server::start(site).unwrap();
    lab.on_machines(RELAY, |host| {
        let machines: Vec<Machine> =
            (1..=ADDRESSES + 1).map(|last| host.lease(last, PATIENCE).unwrap().unwrap()).collect();
        let boots: Vec<String> = machines.iter().map(|machine| machine.boot().unwrap().id).collect();
        let mut all = machines.iter().zip(&boots);
        let (honest, boot) = all.next().unwrap();
        let rest = server.most_resident().unwrap();
        let flood: Vec<TcpStream> = all
            .flat_map(|(machine, boot)| (700..700 + EACH).map(move |port| get(machine, port, boot)))
            .collect();
        // Each is under way, or it was no flood.
        for stream in &flood {
            let mut head = [0; 12];
            while stream.peek(&mut head).unwrap() < head.len() {}
            assert_eq!(&head, b"HTTP/1.1 200");
        }
        for port in 700..703 {
            assert!(whole(get(honest, port, boot)) > KERNEL);
        }
        let most = server.most_resident().unwrap();
        println!("{} downloads: {rest} KiB before, {most} KiB at most", flood.len());
        assert!(most < MOST, "{rest} KiB before, {most} KiB at most");
    })
    .unwrap();
}
