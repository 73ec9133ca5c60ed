//! HTTPS as openssl and curl speak it, against the real server: the same answers as over HTTP, certificates that are and are not
//! taken, and handshakes that never end.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use oneroot_testkit::{Call, Host, HungDisk, Lab, Machine, RELAY, Server, SiteFiles, dial, ip};
use serde_json::Value;

use crate::http::{forget, kernel, object};

const SERVER: &str = "192.168.77.1";
const PATIENCE: Duration = Duration::from_secs(60);

fn site() -> SiteFiles {
    let mut site = SiteFiles::with_alpha(&kernel()).unwrap();
    site.server("https_port = 443");
    site
}

fn own(server: &Server) -> PathBuf {
    server.site.path().join("state/https-certificate.pem")
}

fn with_alpha<T: Send>(
    site: SiteFiles,
    act: impl FnOnce(&mut Server, &Host, Machine, &str) -> T + Send,
) -> T {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let path = format!("/b/{}/kernel", alpha.boot().unwrap().id);
        act(&mut server, host, alpha, &path)
    })
    .unwrap()
}

/// What the server answers to these bytes, until it closes: over TCP.
fn plain(machine: &Machine, requests: &[u8]) -> Vec<u8> {
    let stream = machine.connect(80, 0).unwrap();
    let (mut writer, mut told) = (stream.try_clone().unwrap(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(requests).unwrap());
        (&stream).read_to_end(&mut told).unwrap();
    });
    told
}

/// The same by openssl, which takes this certificate and no other.
fn sealed(machine: &Machine, trusted: &Path, version: &str, requests: &[u8]) -> Vec<u8> {
    let mut client = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            version,
            "-alpn",
            "http/1.1",
            "-verify_return_error",
            "-verify_ip",
            SERVER,
        ])
        .args(["-connect", &format!("{SERVER}:443"), "-bind", &machine.address.to_string(), "-CAfile"])
        .arg(trusted)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut writer, mut told) = (client.stdin.take().unwrap(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // It may have closed before it was told all.
            let _ = writer.write_all(requests);
            std::thread::sleep(Duration::from_millis(1));
            writer
        });
        client.stdout.as_mut().unwrap().read_to_end(&mut told).unwrap();
    });
    client.wait().unwrap();
    told
}

/// An answer without what says when it was made.
fn undated(answers: &[u8]) -> Vec<u8> {
    let mut rest = answers;
    let mut kept = Vec::new();
    while let Some(at) = rest.windows(6).position(|six| six == b"Date: ") {
        kept.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        rest = &rest[rest.iter().position(|byte| *byte == b'\n').unwrap() + 1..];
    }
    kept.extend_from_slice(rest);
    kept
}

fn curl(machine: &Machine, words: &[&str]) -> Output {
    let from = machine.address.to_string();
    Command::new("curl").args(["-sS", "--max-time", "60", "--interface", &from]).args(words).output().unwrap()
}

/// Makes a key and a certificate for it, as an admin does: `NAME.pem`, `NAME.key`.
fn made(home: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (home.join(format!("{name}.pem")), home.join(format!("{name}.key")));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"]);
    openssl.args([&format!("/CN={name}"), "-addext", &format!("subjectAltName=IP:{SERVER}"), "-days", "10"]);
    let done = openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    (certificate, key)
}

/// The same that has expired, which openssl makes none of.
fn expired(home: &Path) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.not_after = rcgen::date_time_ymd(2024, 2, 29);
    let certificate = params.self_signed(&key).unwrap();
    let paths = (home.join("expired.pem"), home.join("expired.key"));
    fs::write(&paths.0, certificate.pem()).unwrap();
    fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}

fn fingerprint(certificate: &Path) -> String {
    let done = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(certificate)
        .output()
        .unwrap();
    String::from_utf8(done.stdout).unwrap().trim().rsplit('=').next().unwrap().to_owned()
}

/// What the server shows to who comes now.
fn shown(home: &Path) -> String {
    let client = Command::new("openssl")
        .args(["s_client", "-connect", &format!("{SERVER}:443")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = home.join("shown.pem");
    fs::write(&shown, client.stdout).unwrap();
    fingerprint(&shown)
}

fn json(server: &Server) -> Value {
    serde_json::from_str(&server.run(&["status", "--json"]).unwrap()).unwrap()
}

#[test]
fn what_is_served_over_https_is_byte_for_byte_what_is_served_over_http() {
    with_alpha(site(), |server, _, alpha, path| {
        let stored = object(server.site.path(), &kernel());
        let trusted = own(server);
        let last = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let whole = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let parts: String = [(0, 0), (0, 16_383), (1, 32_769), (32_768, 65_536), (70_000, 5_000_000)]
            .map(|(from, to)| format!("GET {path} HTTP/1.1\r\nRange: bytes={from}-{to}\r\n\r\n"))
            .concat();
        let some = format!("HEAD {path} HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n{whole}{parts}");
        for requests in [
            format!("{some}{last}"),
            format!("{}{last}", whole.repeat(5)),
            format!("GET {path} HTTP/1.0\r\n\r\n"),
            "no request\r\n\r\n".to_owned(),
            format!("POST /x HTTP/1.1\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(200_000)),
        ] {
            let told = undated(&plain(&alpha, requests.as_bytes()));
            assert!(told.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&told[..20]));
            for version in ["-tls1_2", "-tls1_3"] {
                let same = undated(&sealed(&alpha, &trusted, version, requests.as_bytes()));
                assert!(told == same, "{version}: {} and {} bytes of {requests:.99}", told.len(), same.len());
            }
        }
        // From the disk too.
        let told = undated(&plain(&alpha, format!("{whole}{last}").as_bytes()));
        forget(&stored);
        assert!(told == undated(&sealed(&alpha, &trusted, "-tls1_3", format!("{whole}{last}").as_bytes())));
        assert!(
            sealed(&alpha, &trusted, "-tls1_1", last.as_bytes()).is_empty(),
            "TLS 1.1 is spoken by nobody"
        );
    });
}

#[test]
fn a_server_without_a_certificate_makes_one_once_and_tells_its_fingerprint_in_the_log_and_the_status() {
    let _lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    let (home, certificate) = (server.site.path().to_owned(), own(&server));
    let print = fingerprint(&certificate);
    assert_eq!(shown(&home), print);
    assert_eq!(json(&server)["https"]["fingerprint"], print.as_str());
    assert_eq!(
        (&json(&server)["https"]["port"], &json(&server)["https"]["self_made"]),
        (&443.into(), &true.into())
    );
    assert!(server.run(&["status"]).unwrap().contains(&print));
    server.wait_for_log(&print, PATIENCE).unwrap();
    for file in ["https-certificate.pem", "https-key.pem"] {
        let mode = fs::metadata(home.join("state").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{file}");
    }
    // Clients that have the certificate itself find the address in it.
    let url = format!("https://{SERVER}/nothing");
    let curl = |trusted: &Path| Command::new("curl").arg("--cacert").arg(trusted).arg(&url).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&curl(&certificate).stdout),
        "404 Not Found: there is no such file for you here\n"
    );
    let got = curl(&made(&home, "other").0);
    assert_eq!(
        (got.status.code(), got.stdout.len()),
        (Some(60), 0),
        "{}",
        String::from_utf8_lossy(&got.stderr)
    );

    server.kill9().unwrap();
    server.restart().unwrap();
    assert_eq!((fingerprint(&certificate), shown(&home)), (print.clone(), print.clone()));
    // Whoever began to make the two and came no further is as good as nobody.
    server.kill9().unwrap();
    fs::remove_file(&certificate).unwrap();
    server.restart().unwrap();
    assert!(fingerprint(&certificate) != print && shown(&home) == fingerprint(&certificate));
}

#[test]
fn a_certificate_that_nobody_would_take_is_refused_with_its_file_and_what_to_do_and_the_old_one_stays() {
    let _lab = Lab::new().unwrap();
    let mut site = SiteFiles::small().unwrap();
    let home = site.path().to_owned();
    let pems = home.join("tls");
    fs::create_dir(&pems).unwrap();
    let (first, second, expired) = (made(&pems, "first"), made(&pems, "second"), expired(&pems));
    let put = |(certificate, key): (&Path, &Path)| {
        // As what renews certificates does it.
        for (from, name) in [(certificate, "chain.pem"), (key, "key.pem")] {
            fs::copy(from, pems.join("new")).unwrap();
            fs::rename(pems.join("new"), pems.join(name)).unwrap();
        }
    };
    site.server("https_port = 443\ncertificate = \"tls/chain.pem\"\nkey = \"tls/key.pem\"");
    put((&first.0, &first.1));
    let mut server = Server::start(site).unwrap();
    assert!(server.run(&["check"]).is_ok());
    assert_eq!((shown(&home), &json(&server)["https"]["self_made"]), (fingerprint(&first.0), &false.into()));
    assert!(!own(&server).exists(), "it has one");

    let nothing = home.join("nothing");
    fs::write(&nothing, "no PEM at all").unwrap();
    for (pair, words) in [
        ((&second.0, &first.1), "tls/chain.pem: does not belong to the key in "),
        ((&expired.0, &expired.1), "tls/chain.pem: has expired "),
        ((&nothing, &first.1), "tls/chain.pem: has no certificate in it"),
        ((&first.0, &nothing), "tls/key.pem: has no private key in it"),
    ] {
        put((pair.0, pair.1));
        let told = server.run(&["check"]).unwrap_err().to_string();
        assert!(told.contains(words) && told.contains("; "), "{told}");
        assert!(server.run(&["plan"]).is_err(), "{words}");
        let told = server.reload().unwrap();
        assert!(told.contains(words) && told.contains("the old one stays in force"), "{told}");
        assert_eq!(shown(&home), fingerprint(&first.0), "{words}");
    }
    fs::remove_file(pems.join("chain.pem")).unwrap();
    assert!(server.run(&["check"]).unwrap_err().to_string().contains("tls/chain.pem: cannot be read: "));
    assert!(server.reload().unwrap().contains("tls/chain.pem: cannot be read: "));

    put((&second.0, &second.1));
    assert!(server.reload().unwrap().contains("was read again and is in force"));
    assert_eq!(shown(&home), fingerprint(&second.0));
    server.wait_for_log(&fingerprint(&second.0), PATIENCE).unwrap();
    assert_eq!(json(&server)["https"]["fingerprint"], fingerprint(&second.0).as_str());

    // What a reload refuses, a start does too; and the port takes a restart.
    server.kill9().unwrap();
    put((&expired.0, &expired.1));
    let told = server.restart().unwrap_err().to_string();
    assert!(told.contains("tls/chain.pem: has expired ") && told.contains(" days ago; renew it"), "{told}");
}

#[test]
fn whether_and_where_https_is_served_takes_a_restart() {
    let _lab = Lab::new().unwrap();
    let mut server = Server::start(SiteFiles::small().unwrap()).unwrap();
    assert_eq!(json(&server)["https"], Value::Null);
    assert!(TcpStream::connect((SERVER, 443)).is_err());
    server.site.server("https_port = 443");
    let told = server.reload().unwrap();
    assert!(told.contains("server.https_port has changed, which takes a restart"), "{told}");
}

fn connect(from: Ipv4Addr) -> TcpStream {
    dial((from, 0).into(), (Ipv4Addr::new(192, 168, 77, 1), 443).into(), None).unwrap()
}

/// Until the server closes: what it has sent. A peer that says nothing more is closed in the end.
fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let (mut told, mut some) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut some) {
            Ok(0) => return told,
            Ok(count) => told.extend_from_slice(&some[..count]),
            Err(cause) if cause.kind() == std::io::ErrorKind::ConnectionReset => return told,
            Err(cause) => panic!("it was not closed: {cause}"),
        }
    }
}

/// A ClientHello's first bytes: a record of which the rest never comes.
const HALF: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

#[test]
fn what_is_no_handshake_and_what_never_becomes_one_ends_and_holds_nobody_up() {
    with_alpha(site(), |server, host, alpha, path| {
        let trusted = own(server);
        let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n");
        // Garbage: HTTP, records that are none, a record of the greatest length.
        for garbage in [
            request.clone().into_bytes(),
            vec![0; 100_000],
            vec![0xff; 100],
            [&[22, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat(),
            [&[22, 3, 1, 64, 0, 1, 0xff, 0xff, 0xff][..], &[7; 16_379]].concat(),
        ] {
            let mut stream = connect(alpha.address);
            // It may be closed before all was said.
            let _ = stream.write_all(&garbage);
            let told = until_closed(&mut stream);
            assert!(told.len() < 100 && !told.starts_with(b"HTTP"), "{told:?}");
        }
        let rest = server.resident().unwrap();
        let peers: Vec<Ipv4Addr> = (100..120).map(|last| Ipv4Addr::new(192, 168, 77, last)).collect();
        for peer in &peers {
            ip(&format!("addr add {peer}/24 dev {}", host.nic())).unwrap();
        }
        let mut open: Vec<TcpStream> = Vec::new();
        for number in 0..500 {
            let mut stream = connect(peers[number % peers.len()]);
            stream.write_all(if number % 2 == 0 { HALF } else { &[] }).unwrap();
            open.push(stream);
        }
        let (mut slow, mut byte) = (connect(alpha.address), [0]);
        slow.write_all(&[22, 3, 1, 2, 0]).unwrap();
        for _ in 0..3 {
            assert!(
                sealed(&alpha, &trusted, "-tls1_3", request.as_bytes()).ends_with(&kernel()[KERNEL_TAIL..])
            );
            assert!(plain(&alpha, request.as_bytes()).ends_with(&kernel()[KERNEL_TAIL..]));
        }
        assert!(server.resident().unwrap() < rest + 64 * 1024, "500 half a handshake each");
        // One that says a byte now and then is given no more time than one that says nothing.
        slow.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let begun = Instant::now();
        while slow.write_all(&[1]).is_ok()
            && slow.read(&mut byte).is_err_and(|cause| cause.kind() == std::io::ErrorKind::WouldBlock)
        {
            assert!(begun.elapsed() < PATIENCE, "a handshake without an end is listened to for ever");
        }
        open.iter_mut().for_each(|stream| assert!(until_closed(stream).len() < 100));
        assert!(sealed(&alpha, &trusted, "-tls1_2", request.as_bytes()).ends_with(&kernel()[KERNEL_TAIL..]));
    });
}

/// Where the last piece of the kernel begins that is compared.
const KERNEL_TAIL: usize = 4 << 20;

#[test]
fn a_peer_that_takes_nothing_of_what_is_sealed_for_it_is_closed_and_holds_little() {
    with_alpha(site(), |server, _, alpha, path| {
        let rest = server.resident().unwrap();
        let request = format!("GET {path} HTTP/1.1\r\n\r\n");
        let clients: Vec<_> = (0..20)
            .map(|_| {
                let mut client = Command::new("openssl")
                    .args(["s_client", "-quiet", "-connect", &format!("{SERVER}:443"), "-bind"])
                    .arg(alpha.address.to_string())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                client.stdin.as_mut().unwrap().write_all(request.repeat(8).as_bytes()).unwrap();
                client
            })
            .collect();
        // Its pipe is full, then its socket, then ours: in all that time others are served.
        let begun = Instant::now();
        server.wait_for_log("an HTTP connection ended", 2 * PATIENCE).unwrap();
        assert!(server.resident().unwrap() < rest + 20 * 512, "after {:?}", begun.elapsed());
        assert!(plain(&alpha, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).len() > KERNEL_TAIL);
        for mut client in clients {
            client.kill().unwrap();
            client.wait().unwrap();
        }
    });
}

/// Distance of the parts that are fetched at once.
const PART: usize = 300 << 10;

#[test]
fn downloads_over_tls_that_wait_for_a_disk_keep_no_other_machine_waiting_and_are_whole_in_the_end() {
    let lab = Lab::new().unwrap();
    let (site, kernel) = (site(), kernel());
    let (server, disk) = HungDisk::start(site, Call::Read, "/objects/").unwrap();
    let stored = object(server.site.path(), &kernel);
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap().id;
        let (path, initrd) = (format!("/b/{boot}/kernel"), format!("/b/{boot}/initrd"));
        assert!(alpha.get(&path).unwrap() == (200, kernel.clone()));
        assert_eq!(alpha.get(&initrd).unwrap().1, b"initrd");
        forget(&stored);
        let url = format!("https://{SERVER}{path}");
        let parts: Vec<(usize, usize)> =
            (0..16).map(|number| (number * PART, number * PART + PART / 2)).collect();
        let fetch =
            &|from: usize, to: usize| curl(&alpha, &["-k", "-r", &format!("{from}-{}", to - 1), &url]);
        std::thread::scope(|scope| {
            let hanging = disk.hang().unwrap();
            // More than the server has threads that look after sockets, each at a place of its own: the kernel reads ahead of
            // whoever asks.
            let waiting: Vec<_> =
                parts.iter().map(|(from, to)| scope.spawn(move || fetch(*from, *to))).collect();
            hanging.wait(PATIENCE).unwrap();
            let served: Vec<_> = (0..50).map(|_| alpha.get(&initrd)).collect();
            let waited = waiting.iter().all(|download| !download.is_finished());
            drop(hanging);
            assert!(waited, "the downloads were not waiting for the disk");
            assert!(served.into_iter().all(|served| served.unwrap() == (200, b"initrd".to_vec())));
            for (download, (from, to)) in waiting.into_iter().zip(&parts) {
                assert!(download.join().unwrap().stdout == kernel[*from..*to]);
            }
        });
    })
    .unwrap();
}
