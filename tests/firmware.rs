//! What firmware and loaders ask that a browser never would: over TFTP and HTTP, byte for byte.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use oneroot_testkit::{Lab, Server, SiteFiles, http};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(192, 168, 78, 1);
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that is kept, as firmware keeps it.
struct Kept(TcpStream);

struct Answer {
    head: String,
    body: String,
}

impl Kept {
    fn open() -> Self {
        let stream = TcpStream::connect((SERVER, 80)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Asks, and reads as many bytes as the answer says that it has.
    fn ask(&mut self, request: &str, fields: &str) -> Answer {
        self.0.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes()).unwrap();
        let (head, body) = http::answer(&self.0, !request.starts_with("HEAD")).unwrap();
        Answer { head, body: String::from_utf8(body).unwrap() }
    }
}

fn site() -> SiteFiles {
    SiteFiles::with_loader().unwrap()
}

#[test]
fn what_is_not_there_is_answered_with_words_and_the_connection_goes_on() {
    let lab = Lab::new().unwrap();
    let _server = Server::start(site()).unwrap();
    lab.on_host("192.168.77.9/24", || {
        let mut kept = Kept::open();
        // Shim's three, and then the loader: on one connection.
        for name in ["revocations_sku.efi", "revocations_sbat.efi", "shim_certificate_0.efi"] {
            let missing = kept.ask(&format!("GET /{name}"), "");
            assert!(
                missing.head.starts_with("HTTP/1.1 404 ") && !missing.body.is_empty(),
                "{}",
                missing.head
            );
        }
        assert_eq!(kept.ask("GET /ipxe.efi", "").body, "a loader");
        let outside = kept.ask("GET /ipxe.efi", "Range: bytes=99-\r\n");
        assert!(outside.head.starts_with("HTTP/1.1 416 ") && !outside.body.is_empty(), "{}", outside.head);
        let wrong = kept.ask("PUT /ipxe.efi", "Content-Length: 0\r\n");
        assert!(wrong.head.starts_with("HTTP/1.1 405 ") && !wrong.body.is_empty(), "{}", wrong.head);
        let missing = Kept::open().ask("HEAD /nothing.efi", "");
        assert!(
            missing.head.contains("\r\nConnection: close\r\n"),
            "HEAD has no body to wait for: {}",
            missing.head
        );
    })
    .unwrap();
}

#[test]
fn names_of_fields_are_written_as_grub_and_shim_read_them() {
    let lab = Lab::new().unwrap();
    let _server = Server::start(site()).unwrap();
    lab.on_host("192.168.77.9/24", || {
        for (request, fields) in [
            ("GET /ipxe.efi", ""),
            ("HEAD /ipxe.efi", ""),
            ("GET /ipxe.efi", "Range: bytes=0-0\r\n"),
            ("GET /x", ""),
        ] {
            let head = Kept::open().ask(request, fields).head;
            for field in head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0)) {
                let is_title = |word: &str| word.starts_with(|first: char| first.is_ascii_uppercase());
                assert!(field == "ETag" || field.split('-').all(is_title), "{field}: {head}");
            }
            assert!(head.contains("\r\nContent-Length: "), "{head}");
        }
    })
    .unwrap();
}

#[test]
fn a_name_with_a_doubled_slash_or_a_dot_is_that_name() {
    let lab = Lab::new().unwrap();
    let _server = Server::start(site()).unwrap();
    lab.on_host("192.168.77.9/24", || {
        for name in ["/ipxe.efi", "//ipxe.efi", "/./ipxe.efi", "/.//./ipxe.efi"] {
            assert_eq!(Kept::open().ask(&format!("GET {name}"), "").body, "a loader", "{name}");
        }
        for name in ["/../ipxe.efi", "/x/../ipxe.efi", "/", "/."] {
            assert!(Kept::open().ask(&format!("GET {name}"), "").head.contains(" 404 "), "{name}");
        }
    })
    .unwrap();
}

#[test]
fn the_rest_of_another_file_is_the_whole_of_this_one() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    let loader = server.site.path().join("loaders/ipxe.efi");
    lab.on_host("192.168.77.9/24", || {
        let mut kept = Kept::open();
        let whole = kept.ask("GET /ipxe.efi", "");
        let tag = whole.head.lines().find_map(|line| line.strip_prefix("Etag: ")).unwrap().to_owned();
        let rest =
            |kept: &mut Kept| kept.ask("GET /ipxe.efi", &format!("Range: bytes=2-\r\nIf-Range: {tag}\r\n"));
        assert_eq!(rest(&mut kept).body, "loader");
        // A package upgrade in the middle of a download.
        std::fs::write(loader.with_extension("new"), "a newer loader").unwrap();
        std::fs::rename(loader.with_extension("new"), &loader).unwrap();
        let now = rest(&mut kept);
        assert!(now.head.starts_with("HTTP/1.1 200 ") && now.body == "a newer loader", "{}", now.head);
        let other = kept.ask("GET /ipxe.efi", &format!("If-Match: {tag}\r\nRange: bytes=2-\r\n"));
        assert!(other.head.starts_with("HTTP/1.1 412 "), "edk2 begins anew: {}", other.head);
    })
    .unwrap();
}

#[test]
fn tftp_is_answered_from_the_address_that_was_asked_whatever_the_name_looks_like() {
    let lab = Lab::new().unwrap();
    lab.switch("lab1", "192.168.78.1/24").unwrap();
    let mut site = site();
    site.set_text(&site.text().replace("interface = \"lab0\"", "interface = [\"lab0\", \"lab1\"]"));
    site.add("[[network]]\nsubnet = \"192.168.78.0/24\"\nserver = \"192.168.78.1\"\npool = \"192.168.78.20-192.168.78.30\"\n");
    let _server = Server::start(site).unwrap();
    lab.on_host("192.168.77.9/24", || {
        let client = UdpSocket::bind(("192.168.77.9", 0)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        oneroot_testkit::ip("route add 192.168.78.0/24 via 192.168.77.1").unwrap();
        for to in [SERVER, SECOND] {
            for request in
                [&b"\0\x01ipxe.efi\0octet\0"[..], b"\0\x01./ipxe.efi\0octet\0", b"\0\x01ipxe.efi\0octet"]
            {
                client.send_to(request, (to, 69)).unwrap();
                let mut block = [0; 600];
                let (count, from) = client.recv_from(&mut block).unwrap();
                assert_eq!((from.ip(), &block[..count]), (to.into(), &b"\0\x03\0\x01a loader"[..]));
                client.send_to(b"\0\x04\0\x01", SocketAddr::new(to.into(), from.port())).unwrap();
            }
        }
    })
    .unwrap();
}

#[test]
fn of_several_directories_of_loaders_the_first_that_has_a_file_counts() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_loader().unwrap();
    std::fs::create_dir(site.path().join("more")).unwrap();
    std::fs::write(site.path().join("more/ipxe-arm64.efi"), "for arm64").unwrap();
    std::fs::write(site.path().join("more/ipxe.efi"), "the second").unwrap();
    site.set_text(&site.text().replace("loaders = \"loaders\"", "loaders = [\"loaders\", \"more\"]"));
    let server = Server::start(site).unwrap();
    lab.on_host("192.168.77.9/24", || {
        assert_eq!(Kept::open().ask("GET /ipxe.efi", "").body, "a loader");
        assert_eq!(Kept::open().ask("GET /ipxe-arm64.efi", "").body, "for arm64");
        assert!(Kept::open().ask("GET /undionly.kpxe", "").head.contains(" 404 "));
    })
    .unwrap();
    server.wait_for_log("install the package ipxe", PATIENCE).unwrap();
}
