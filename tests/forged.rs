//! Requests for boot scripts that nobody needs: forged, repeated, in parts. None makes a boot; the machine that was given one
//! boots by it. The rules: docs/decisions/0003, "Who may make a plan".
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use oneroot_testkit::{Host, Lab, Machine, RELAY, Server, SiteFiles};
use socket2::{Domain, Protocol, Socket, Type};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const ALPHA: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 10);
const SCRIPT: &str = "boot/52-54-00-00-00-0a.ipxe";
const PATIENCE: Duration = Duration::from_secs(30);
/// Forged requests in one attack.
const FORGED: u16 = 500;

fn server() -> (Lab, Server) {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    // Said, so that nobody is asked for his NIC first: one request is one boot.
    let text = site.text().replace("args = [", "initramfs = \"initramfs-tools\"\nargs = [");
    site.set_text(&text);
    (lab, Server::start(site).unwrap())
}

/// Every durable boot of the server: the names of its plans and pins.
fn boots(server: &Server) -> BTreeSet<String> {
    let file = server.site.path().join("boots.backup");
    server.run(&["state", "backup", file.to_str().unwrap()]).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let keys =
        text.lines().filter_map(|line| Some(line.split_once("\"key\":\"")?.1.split_once('"')?.0.to_owned()));
    keys.filter(|key| key.starts_with("plans/") || key.starts_with("pins/")).collect()
}

/// A request for a file by TFTP.
fn rrq(name: &str) -> Vec<u8> {
    [b"\0\x01".as_slice(), name.as_bytes(), b"\0octet\0"].concat()
}

/// A datagram to port 69 with whatever source the sender likes.
fn forged(from: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let SocketAddr::V4(from) = from else { panic!("IPv4 only") };
    let length = u16::try_from(28 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.ip().octets());
    packet.extend(SERVER.octets());
    for word in [from.port(), 69, length - 20, 0] {
        packet.extend(word.to_be_bytes());
    }
    packet.extend(payload);
    packet
}

/// One request and its answer's head and body, as they are.
fn ask(machine: &Machine, request: &str) -> (String, Vec<u8>) {
    let mut stream = machine.connect(80, 0).unwrap();
    stream
        .write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).unwrap(), body)
}

/// Fetches a small file by TFTP as a client does that hears the answer; its bytes, or the code of the error.
fn fetch(from: Ipv4Addr, name: &str) -> Result<Vec<u8>, u16> {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&rrq(name), (SERVER, 69)).unwrap();
    let (mut file, mut datagram) = (Vec::new(), [0; 600]);
    loop {
        let (count, peer) = socket.recv_from(&mut datagram).unwrap();
        let code = u16::from_be_bytes([datagram[2], datagram[3]]);
        match datagram[1] {
            3 => {
                file.extend(&datagram[4..count]);
                socket.send_to(&[0, 4, datagram[2], datagram[3]], peer).unwrap();
                if count < 516 {
                    return Ok(file);
                }
            }
            _ => return Err(code),
        }
    }
}

#[test]
fn forged_requests_by_tftp_make_no_boot_and_the_machine_that_is_booting_gets_its_kernel() {
    let (lab, server) = server();
    let lease = |host: &Host| host.lease(10, PATIENCE).unwrap().unwrap();
    let boot = lab.on_machines(RELAY, |host| lease(host).boot().unwrap()).unwrap();
    let before = boots(&server);
    let attack = || {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        for port in 10_000..10_000 + FORGED {
            let packet = forged((ALPHA, port).into(), &rrq(SCRIPT));
            raw.send_to(&packet, &SocketAddr::from((SERVER, 0)).into()).unwrap();
            std::thread::sleep(Duration::from_micros(500));
        }
    };
    lab.on_host("192.168.77.66/24", attack).unwrap();
    assert!(server.log().contains("TFTP file: serving"), "none of it came: {}", server.log());
    assert_eq!(boots(&server), before);
    let kernel = lab.on_machines(RELAY, |host| lease(host).get(&format!("/b/{}/kernel", boot.id)).unwrap());
    assert_eq!(kernel.unwrap(), (200, b"kernel".to_vec()));
}

#[test]
fn head_range_and_repeated_requests_make_one_boot_and_head_writes_none_at_all() {
    let (lab, server) = server();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let head = |answer: &str| -> usize {
            let length = answer
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            length.unwrap().trim().parse().unwrap()
        };
        let (told, body) = ask(&alpha, &format!("HEAD /{SCRIPT}"));
        assert!(told.starts_with("HTTP/1.1 200") && body.is_empty(), "{told}");
        assert_eq!(boots(&server), BTreeSet::new(), "it was only asked how long the script would be");
        let (_, script) = ask(&alpha, &format!("GET /{SCRIPT}"));
        assert_eq!(head(&told), script.len());
        let before = boots(&server);
        assert_eq!(before.len(), 2, "a plan and its pin");
        for part in [0..1, 10..20, 40..script.len()] {
            let range =
                format!("GET /{SCRIPT} HTTP/1.1\r\nRange: bytes={}-{}\r\nX: ", part.start, part.end - 1);
            let (told, body) = ask(&alpha, &range);
            assert!(told.starts_with("HTTP/1.1 206"), "{told}");
            assert_eq!(body, script[part]);
        }
        for _ in 0..50 {
            assert_eq!(ask(&alpha, &format!("GET /{SCRIPT}")).1, script);
            assert_eq!(head(&ask(&alpha, &format!("HEAD /{SCRIPT}")).0), script.len());
        }
        assert_eq!(boots(&server), before);
    })
    .unwrap();
}

/// The name that a chaining script leads to.
fn chained(script: &[u8]) -> String {
    let script = String::from_utf8(script.to_vec()).unwrap();
    let (_, rest) = script.split_once(&format!("chain --replace tftp://{SERVER}/")).unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn by_tftp_a_machine_is_planned_for_only_when_it_has_shown_that_it_hears_us() {
    let (lab, server) = server();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let first = fetch(ALPHA, SCRIPT).unwrap();
        let name = chained(&first);
        assert_eq!(boots(&server), BTreeSet::new());
        assert_eq!(fetch(RELAY, &name), Err(1), "from another address it is no name");
        assert_eq!(alpha.get(&format!("/{name}")).unwrap().0, 404, "by HTTP it is none either");
        let seal = name.rsplit('.').nth(1).unwrap();
        let other = seal.replace(char::is_numeric, "a");
        assert_eq!(fetch(ALPHA, &name.replace(seal, &other)), Err(1), "its digits are others");
        assert_eq!(fetch(ALPHA, &name.replace("00-0a", "00-0b")), Err(1), "of another machine");
        assert_eq!(boots(&server), BTreeSet::new());

        let script = String::from_utf8(fetch(ALPHA, &name).unwrap()).unwrap();
        let id = script.split_once("/b/").unwrap().1.split('/').next().unwrap().to_owned();
        assert_eq!(alpha.get(&format!("/b/{id}/kernel")).unwrap(), (200, b"kernel".to_vec()));
        let made = boots(&server);
        assert_eq!(made.len(), 2);
        assert_eq!(fetch(ALPHA, &name).unwrap(), script.into_bytes(), "asked again, it is the same boot");
        assert_eq!(alpha.boot().unwrap().id, id, "by HTTP too");
        assert_eq!(boots(&server), made);
    })
    .unwrap();
}
