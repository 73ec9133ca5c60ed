//! TFTP over the real binary: what a client gets is the same datagrams however they leave the server, and what one transfer
//! waits for no other does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs::{self, File};
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use oneroot_testkit::{Call, HungDisk, Lab, Server, SiteFiles, ip};
use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const HOST: &str = "192.168.77.2/24";
const PATIENCE: Duration = Duration::from_secs(20);
/// When a request that is not answered is sent again.
const AGAIN: Duration = Duration::from_secs(5);

/// Bytes of which no two places in a row of blocks are alike.
fn contents(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect()
}

struct Client {
    socket: UdpSocket,
    port: SocketAddr,
    /// The first packet.
    first: Vec<u8>,
}

impl Client {
    fn ask(name: &str, options: &[(&str, usize)]) -> Self {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("\0\x01{name}\0octet\0").into_bytes();
        for (option, value) in options {
            request.extend(format!("{option}\0{value}\0").bytes());
        }
        // A request may be lost where a flood fills the server's queue, so it is sent again, as each client does.
        let mut first = [0; 1];
        socket.set_read_timeout(Some(AGAIN)).unwrap();
        for _ in 0..PATIENCE.as_secs() / AGAIN.as_secs() {
            socket.send_to(&request, (SERVER, 69)).unwrap();
            if socket.peek_from(&mut first).is_ok() {
                break;
            }
        }
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self { socket, port: (SERVER, 69).into(), first: Vec::new() };
        (client.first, client.port) = client.hear();
        assert!(client.port.ip() == SERVER && client.port.port() != 69, "a transfer has a port of its own");
        client
    }

    fn hear(&self) -> (Vec<u8>, SocketAddr) {
        let mut bytes = vec![0; 4096];
        let (count, from) = self.socket.recv_from(&mut bytes).unwrap();
        bytes.truncate(count);
        (bytes, from)
    }

    fn ack(&self, block: usize) {
        let [.., high, low] = block.to_be_bytes();
        self.socket.send_to(&[0, 4, high, low], self.port).unwrap();
    }

    /// Says that the options are as wanted: the first window follows.
    fn begin(&self) {
        assert_eq!(self.first[1], 6, "an OACK");
        self.ack(0);
    }

    fn fetch(self, whole: &[u8], blksize: usize, windowsize: usize) -> usize {
        if self.first[1] != 3 {
            self.begin();
        }
        self.rest(whole, blksize, windowsize)
    }

    /// All blocks from the first on, acknowledged in windows; each must be the datagram that RFC 1350 describes, and come
    /// from the transfer's port. How many there were.
    fn rest(self, whole: &[u8], blksize: usize, windowsize: usize) -> usize {
        let mut pending = (self.first[1] == 3).then(|| self.first.clone());
        // A whole number of blocks has an empty one behind it.
        let last = whole.len() / blksize + 1;
        for block in 1..=last {
            let (bytes, from) = pending.take().map_or_else(|| self.hear(), |bytes| (bytes, self.port));
            let data = &whole[(block - 1) * blksize..(block * blksize).min(whole.len())];
            let [.., high, low] = block.to_be_bytes();
            assert!(bytes == [&[0, 3, high, low], data].concat(), "block {block} has {} bytes", bytes.len());
            assert_eq!(from, self.port);
            if block % windowsize == 0 || block == last {
                self.ack(block);
            }
        }
        last
    }
}

fn site(whole: &[u8]) -> SiteFiles {
    let site = SiteFiles::with_loader().unwrap();
    fs::write(site.path().join("loaders/ipxe.efi"), whole).unwrap();
    site
}

/// Datagrams that the server's network has handed to IP so far. What the kernel cuts up behind that is one.
fn handed_over(server: &Server) -> usize {
    let text = fs::read_to_string(format!("/proc/{}/net/snmp", server.pid().unwrap())).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let names = lines.next().unwrap().split(' ').position(|name| name == "OutDatagrams").unwrap();
    lines.next().unwrap().split(' ').nth(names).unwrap().parse().unwrap()
}

#[test]
fn a_window_leaves_by_one_call_and_arrives_as_the_datagrams_that_it_has() {
    let lab = Lab::new().unwrap();
    let whole = contents(300_000);
    let server = Server::start(site(&whole)).unwrap();
    lab.on_host(HOST, || {
        // The last block is shorter, empty, and a window's only one; a window is one call, or two where it is larger than
        // what a call takes.
        for (blksize, windowsize, calls) in
            [(1468, 8, 1), (1000, 3, 1), (512, 64, 1), (1468, 64, 2), (1456, 1, 1)]
        {
            let before = handed_over(&server);
            let options = [("blksize", blksize), ("windowsize", windowsize)];
            let blocks = Client::ask("ipxe.efi", &options).fetch(&whole, blksize, windowsize);
            let sent = handed_over(&server) - before;
            let most = blocks.div_ceil(windowsize) * calls + 1;
            assert!(
                sent <= most,
                "{blksize} x {windowsize}: {sent} calls for {blocks} blocks, {most} at most"
            );
        }
        Client::ask("ipxe.efi", &[]).fetch(&whole, 512, 1);
    })
    .unwrap();
}

#[test]
fn where_a_block_is_longer_than_the_link_takes_it_arrives_all_the_same() {
    let lab = Lab::new().unwrap();
    let whole = contents(100_000);
    let server = Server::start(site(&whole)).unwrap();
    let window = || {
        let before = handed_over(&server);
        let options = [("blksize", 1468), ("windowsize", 8)];
        let blocks = Client::ask("ipxe.efi", &options).fetch(&whole, 1468, 8);
        (blocks, handed_over(&server) - before)
    };
    let (blocks, calls) = lab.on_host(HOST, window).unwrap();
    assert!(calls < blocks, "the kernel cut up none of it");
    // It refuses to cut up what it would have to fragment.
    ip("link set lab0 mtu 1000").unwrap();
    let (blocks, calls) = lab.on_host(HOST, window).unwrap();
    assert!(calls >= blocks, "each block is a datagram of its own: {calls} for {blocks}");
}

#[test]
fn a_stranger_on_a_transfers_port_is_told_so_from_there_and_disturbs_nothing() {
    let lab = Lab::new().unwrap();
    let whole = contents(30_000);
    let _server = Server::start(site(&whole)).unwrap();
    lab.on_host(HOST, || {
        ip("addr add 192.168.77.3/24 dev host0").unwrap();
        let client = Client::ask("ipxe.efi", &[("blksize", 1000), ("windowsize", 4)]);
        let stranger = UdpSocket::bind(("192.168.77.3", 0)).unwrap();
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        stranger.send_to(&[0, 4, 0, 0], client.port).unwrap();
        let mut answer = [0; 600];
        let (count, from) = stranger.recv_from(&mut answer).unwrap();
        assert_eq!((&answer[..4], from), (&[0, 5, 0, 5][..], client.port), "{count} bytes");
        client.fetch(&whole, 1000, 4);
    })
    .unwrap();
}

/// Takes a file out of memory; what reads it has to wait for the disk then.
fn chill(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    let begun = Instant::now();
    loop {
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let mut byte = [0];
        let read = rustix::io::preadv2(&file, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT);
        if matches!(read, Err(Errno::AGAIN | Errno::NOTSUP)) {
            // Asking has made the kernel read it, by and by.
            fs::read(path).unwrap();
            return rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
        assert!(begun.elapsed() < PATIENCE, "{} stays in memory: {read:?}", path.display());
    }
}

#[test]
fn a_file_that_the_disk_does_not_give_holds_up_no_other_transfer() {
    let lab = Lab::new().unwrap();
    let (whole, slow) = (contents(200_000), contents(150_000));
    let mut site = site(&whole);
    // A temporary directory may be all in memory.
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let loader = home.path().join("undionly.kpxe");
    fs::write(home.path().join("ipxe.efi"), &whole).unwrap();
    fs::write(&loader, &slow).unwrap();
    let text = site.text().replace("\"loaders\"", &format!("\"{}\"", home.path().display()));
    site.set_text(&text);
    let (_server, disk) = HungDisk::start(site, Call::Read, "undionly.kpxe").unwrap();
    lab.on_host(HOST, || {
        let hanging = disk.hang().unwrap();
        chill(&loader);
        let waiting = Client::ask("undionly.kpxe", &[("blksize", 1400), ("windowsize", 4)]);
        waiting.begin();
        for _ in 0..3 {
            Client::ask("ipxe.efi", &[("blksize", 1400), ("windowsize", 4)]).fetch(&whole, 1400, 4);
        }
        waiting.socket.set_nonblocking(true).unwrap();
        assert!(waiting.socket.recv_from(&mut [0; 2000]).is_err(), "the disk gave it");
        waiting.socket.set_nonblocking(false).unwrap();
        drop(hanging);
        waiting.rest(&slow, 1400, 4);
    })
    .unwrap();
}

#[test]
fn a_flood_of_requests_for_what_the_disk_does_not_give_takes_no_memory_of_its_length() {
    /// More than this much growth, in KiB, is a leak: 30,000 questions that wait would be more.
    const GROWTH: u64 = 8 * 1024;
    let lab = Lab::new().unwrap();
    let whole = contents(20_000);
    let (mut server, disk) = HungDisk::start(site(&whole), Call::Stat, "/loaders/").unwrap();
    lab.on_host(HOST, || {
        // Each from a port of its own, as a forger would have it, and no faster than they are taken in.
        let flood = |requests: usize| {
            for number in 0..requests {
                let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
                socket.send_to(b"\0\x01ipxe.efi\0octet\0", (SERVER, 69)).unwrap();
                if number % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        };
        let hanging = disk.hang().unwrap();
        flood(2_000);
        hanging.wait(PATIENCE).unwrap();
        let before = server.resident().unwrap();
        flood(30_000);
        let grown = server.resident().unwrap().saturating_sub(before);
        drop(hanging);
        println!("{grown} KiB");
        assert!(grown < GROWTH, "{grown} KiB more");
        Client::ask("ipxe.efi", &[("blksize", 1400), ("windowsize", 4)]).fetch(&whole, 1400, 4);
    })
    .unwrap();
}
