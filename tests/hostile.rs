//! The real binary on real sockets, in a network of the test's own, against what should not hurt it. After each attack
//! the same process must still serve, with its memory where it was.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use oneroot_testkit::{Lab, RELAY, Server, SiteFiles};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// More than this much growth, in KiB, is a leak or an allocation by somebody else's number.
const GROWTH: u64 = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a small tree, in a network of the calling thread's own.
fn server() -> (Lab, Server) {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::small().unwrap();
    site.machine("alpha", "0a", "address = \"192.168.77.10\"").unwrap();
    let server = Server::start(site).unwrap();
    (lab, server)
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((SERVER, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A NULL call to NFS: 40 bytes in one record; the reply has 28.
fn null_call(stream: &mut TcpStream, program: u32) -> std::io::Result<[u8; 28]> {
    let mut call = Vec::new();
    for word in [0x8000_0028u32, 7, 0, 2, program, 3, 0, 0, 0, 0, 0] {
        call.extend(word.to_be_bytes());
    }
    stream.write_all(&call)?;
    let mut reply = [0; 28];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}

fn still_serves(server: &mut Server, before: u64) {
    let reply = null_call(&mut connect(2049), 100_003).unwrap();
    assert_eq!(&reply[4..8], 7u32.to_be_bytes(), "the answer to our call");
    assert_eq!(&reply[24..28], [0; 4], "SUCCESS");
    let now = server.resident().unwrap();
    assert!(now < before + GROWTH, "{before} KiB before, {now} KiB now");
}

/// Whether the peer has closed: the end of the stream or a reset, and not silence.
fn closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(count) => count == 0,
        Err(cause) => cause.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_record_mark_of_two_gigabytes_costs_nothing_and_closes() {
    let (_lab, mut server) = server();
    let before = server.resident().unwrap();
    for mark in [0x7fff_ffffu32, 0xffff_ffff, 0x8001_0001] {
        let mut streams: Vec<_> = (0..8).map(|_| connect(2049)).collect();
        for stream in &mut streams {
            stream.write_all(&mark.to_be_bytes()).unwrap();
        }
        assert!(streams.iter_mut().all(closed), "{mark:#x}");
    }
    still_serves(&mut server, before);
}

#[test]
fn a_credential_with_a_billion_groups_is_refused_and_allocates_nothing() {
    let (_lab, mut server) = server();
    let before = server.resident().unwrap();
    // AUTH_SYS: stamp, empty machine name, uid, gid, 2^30 gids of which none follow.
    let body: Vec<u8> = [0u32, 0, 0, 0, 1 << 30].iter().flat_map(|word| word.to_be_bytes()).collect();
    let length = u32::try_from(body.len()).unwrap();
    let mut call = Vec::new();
    for word in [7u32, 0, 2, 100_003, 3, 1, 1, length] {
        call.extend(word.to_be_bytes());
    }
    call.extend(body);
    call.extend([0; 8]);
    for _ in 0..50 {
        let mut stream = connect(2049);
        stream.write_all(&(0x8000_0000 | u32::try_from(call.len()).unwrap()).to_be_bytes()).unwrap();
        stream.write_all(&call).unwrap();
        let mut head = [0; 16];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head[12..16], 1u32.to_be_bytes(), "MSG_DENIED");
    }
    still_serves(&mut server, before);
}

#[test]
fn connect_and_reset_in_a_loop_ends_nothing() {
    let (_lab, mut server) = server();
    let before = server.resident().unwrap();
    for port in [2049, 111, 80] {
        for _ in 0..500 {
            let stream = TcpStream::connect((SERVER, port)).unwrap();
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    still_serves(&mut server, before);
}

#[test]
fn a_peer_that_opens_connections_without_end_can_still_open_the_next() {
    let (_lab, mut server) = server();
    let before = server.resident().unwrap();
    let idle: Vec<_> = (0..200).map(|_| connect(2049)).collect();
    still_serves(&mut server, before);
    drop(idle);
}

#[test]
fn dhcp_packets_that_are_none_are_dropped_and_the_next_machine_is_served() {
    let (lab, mut server) = server();
    let before = server.resident().unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).unwrap();
    let to = SocketAddr::from((SERVER, 67));
    let discover = discover();
    let mut bad: Vec<Vec<u8>> = vec![b"default send string".to_vec(), vec![], vec![1; 239], vec![0xff; 1500]];
    bad.extend([0, 5, 17, 255].map(|hlen| {
        let mut packet = discover.clone();
        packet[2] = hlen;
        packet
    }));
    bad.extend((1..discover.len()).step_by(7).map(|end| discover[..end].to_vec()));
    bad.push([&discover[..discover.len() - 1], &[82, 255, 1]].concat());
    for packet in &bad {
        socket.send_to(packet, to).unwrap();
    }
    // A relay's answer comes to port 67 of an address, where a machine's own would be a frame for a NIC that isn't there.
    let mut relayed = discover;
    relayed[24..28].copy_from_slice(&[192, 168, 77, 2]);
    let offer = lab.on_host("192.168.77.2/24", || {
        let relay = UdpSocket::bind((RELAY, 67)).unwrap();
        relay.set_read_timeout(Some(PATIENCE)).unwrap();
        relay.send_to(&relayed, to).unwrap();
        let mut offer = [0; 1500];
        let count = relay.recv(&mut offer).unwrap();
        offer[..count].to_vec()
    });
    let offer = offer.unwrap();
    assert!(offer.len() >= 300);
    assert_eq!(&offer[16..20], [192, 168, 77, 10], "alpha's address");
    still_serves(&mut server, before);
}

fn discover() -> Vec<u8> {
    let mut packet = vec![1, 1, 6, 0, 1, 2, 3, 4];
    packet.resize(28, 0);
    packet.extend([0x52, 0x54, 0, 0, 0, 0x0a]);
    packet.resize(236, 0);
    packet.extend([99, 130, 83, 99, 53, 1, 1, 255]);
    packet
}

#[test]
fn tftp_names_that_lead_out_are_refused_at_once() {
    let (_lab, mut server) = server();
    let before = server.resident().unwrap();
    for name in ["../../etc/passwd", "..\\..\\etc\\passwd", "/etc/passwd", "a/../../b", "boot/../../x", ""] {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = [b"\0\x01".as_slice(), name.as_bytes(), b"\0octet\0"].concat();
        socket.send_to(&request, (SERVER, 69)).unwrap();
        let mut answer = [0; 600];
        let (count, _) = socket.recv_from(&mut answer).unwrap();
        assert_eq!(&answer[..2], [0, 5], "ERROR for {name:?}");
        let text = String::from_utf8_lossy(&answer[4..count]).into_owned();
        assert!(!text.contains('/'), "no path in {text:?}");
    }
    still_serves(&mut server, before);
}

#[test]
fn http_paths_that_lead_out_and_methods_that_write_are_refused() {
    let (_lab, mut server) = server();
    let before = server.resident().unwrap();
    let ask = |request: &str| -> String {
        let mut stream = connect(80);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    for path in [
        "/%2e%2e/%2e%2e/etc/passwd",
        "/../../etc/passwd",
        "/%2fetc%2fpasswd",
        "/b/../../x",
        "//etc/passwd",
        "/%00",
    ] {
        let answer = ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        assert!(["400", "404"].contains(&status.as_str()), "{path}: {answer}");
    }
    for method in ["PUT", "POST", "DELETE", "TRACE", "OPTIONS"] {
        let answer =
            ask(&format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
        assert!(answer.to_lowercase().contains("allow: get, head"), "{answer}");
    }
    let huge = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    assert!(!ask(&huge).starts_with("HTTP/1.1 200"));
    still_serves(&mut server, before);
}

#[test]
fn an_address_that_nobody_leased_gets_no_root_no_script_and_no_kernel() {
    let (_lab, mut server) = server();
    let before = server.resident().unwrap();
    // MNT /v/00…, from a port that any user can have: refused by its port alone.
    let path = format!("/v/{}", "00".repeat(16));
    let mut call = Vec::new();
    for word in [7u32, 0, 2, 100_005, 3, 1, 0, 0, 0, 0, u32::try_from(path.len()).unwrap()] {
        call.extend(word.to_be_bytes());
    }
    call.extend(path.as_bytes());
    call.resize(call.len().next_multiple_of(4), 0);
    let mut stream = connect(2049);
    stream.write_all(&(0x8000_0000 | u32::try_from(call.len()).unwrap()).to_be_bytes()).unwrap();
    stream.write_all(&call).unwrap();
    let mut reply = [0; 32];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply[28..32], 13u32.to_be_bytes(), "MNT3ERR_ACCES");
    let mut stream = connect(80);
    stream
        .write_all(b"GET /boot/52-54-00-00-00-0a.ipxe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    still_serves(&mut server, before);
}

#[test]
fn a_second_server_on_the_same_state_is_refused_and_the_first_serves_on() {
    let (_lab, mut server) = server();
    let before = server.resident().unwrap();
    let second = server.run(&["serve"]).unwrap_err().to_string();
    assert!(second.contains("is in use by another oneroot"), "{second}");
    still_serves(&mut server, before);
}
