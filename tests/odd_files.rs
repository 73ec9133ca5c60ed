//! Files that are not what their names say: FIFOs and devices where a file should be, objects that the disk has changed, links
//! that lead nowhere, holes without end. None of them is waited for, served, planned or read for hours.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use oneroot_testkit::{Lab, RELAY, Server, SiteFiles};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const PATIENCE: Duration = Duration::from_secs(60);

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// One that ends by itself, or is ended: a command that waits for ever is a failure and not a hang of the tests.
fn ended(mut child: Child, what: &str) -> Output {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{what} did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn oneroot(home: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oneroot"));
    let piped = command.current_dir(home).args(words).stdin(Stdio::null()).stdout(Stdio::piped());
    ended(piped.stderr(Stdio::piped()).spawn().unwrap(), &words.join(" "))
}

fn ok(home: &Path, words: &[&str]) -> String {
    let done = oneroot(home, words);
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn refused(home: &Path, words: &[&str], code: i32, why: &str) {
    let done = oneroot(home, words);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(code) && said.contains(why), "{words:?}: {said}");
}

fn site(source: &str) -> String {
    format!(
        "[server]\naddress = \"10.0.0.1\"\ninterface = \"lo\"\nstore = \"store\"\nstate = \"state\"\n\
         [profile.small]\nsource = {{ {source} }}\n"
    )
}

#[test]
fn six_hundred_who_ask_for_a_loader_that_is_a_fifo_keep_nobody_from_booting() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    fs::create_dir(site.path().join("loaders")).unwrap();
    for name in ["ipxe.efi", "undionly.kpxe", "oneroot-init.aarch64", "oneroot-init.x86_64"] {
        fifo(&site.path().join("loaders").join(name));
    }
    // By its shell a tree for a processor whose program is looked for there, where the build has none.
    site.file("common", "etc/oneroot/examine.d/50-none", "#!/bin/sh\n").unwrap();
    fs::create_dir_all(site.path().join("layers/common/bin")).unwrap();
    let shell = [b"\x7fELF\x02\x01".as_slice(), &[0; 12], &183_u16.to_le_bytes()].concat();
    fs::write(site.path().join("layers/common/bin/sh"), shell).unwrap();
    let text = site.text().replace("[server]\n", "[server]\nloaders = \"loaders\"\n");
    site.set_text(&text);
    let server = Server::start(site).unwrap();
    let served = lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        // By HTTP from many addresses, for one has 32 connections at most; more than tokio has threads that may block.
        let mut asking: Vec<TcpStream> = Vec::new();
        for last in 20..40u8 {
            let address = Ipv4Addr::new(192, 168, 77, 200 + last);
            let _ = Command::new("ip")
                .args(["addr", "add", &format!("{address}/24"), "dev", host.nic()])
                .status();
            let machine = oneroot_testkit::Machine { last, address };
            for _ in 0..30 {
                let mut stream = machine.connect(80, 0).unwrap();
                stream.write_all(b"GET /ipxe.efi HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                asking.push(stream);
            }
        }
        let tftp = UdpSocket::bind((RELAY, 0)).unwrap();
        for _ in 0..50 {
            tftp.send_to(b"\0\x01undionly.kpxe\0octet\0", (SERVER, 69)).unwrap();
        }
        let boot = alpha.boot().unwrap();
        assert_eq!(alpha.get(&format!("/b/{}/kernel", boot.id)).unwrap(), (200, b"kernel".to_vec()));
        assert_eq!(alpha.get("/ipxe.efi").unwrap().0, 404);
        assert!(alpha.mount(&boot.export).unwrap().read_all().unwrap().contains_key("/boot/vmlinuz-1"));
    });
    served.unwrap();
    assert!(server.log().contains("not a regular file"), "{}", server.log());
}

#[test]
fn a_fifo_or_a_device_in_the_place_of_a_site_an_archive_or_an_image_is_refused_at_once() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fifo(&home.join("fifo"));
    refused(home, &["check", "--site", "fifo"], 3, "is not a regular file");
    refused(home, &["check", "--site", "/dev/zero"], 3, "is not a regular file");
    fs::create_dir_all(home.join("root")).unwrap();
    fs::create_dir(home.join("machines.d")).unwrap();
    fs::write(home.join("site.toml"), site("directory = \"root\"")).unwrap();
    fifo(&home.join("machines.d/more.toml"));
    refused(home, &["check"], 3, "is not a regular file");
    fs::remove_file(home.join("machines.d/more.toml")).unwrap();
    for (source, why) in [
        ("tar = \"fifo\"", "command ="),
        ("tar = \"/dev/zero\"", "command ="),
        ("oci = \"fifo\"", "regular file"),
    ] {
        fs::write(home.join("site.toml"), site(source)).unwrap();
        refused(home, &["stage"], 1, why);
    }
    // In a tree, a FIFO is a FIFO: it is never opened.
    fs::write(home.join("site.toml"), site("directory = \"root\"")).unwrap();
    fifo(&home.join("root/pipe.j2"));
    ok(home, &["check"]);
    ok(home, &["stage"]);
    // In the store, too.
    fifo(&home.join("store/staging/1-1"));
    fifo(&home.join("store/gc.lock"));
    ok(home, &["stage"]);
    refused(home, &["gc"], 1, "regular file");
}

fn object(home: &Path, contents: &[u8]) -> PathBuf {
    let name = blake3::hash(contents).to_hex().to_string();
    let (head, tail) = name.split_at(2);
    home.join("store/objects").join(head).join(tail)
}

/// As a disk does that lies: in place, with the length that it had.
fn change(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Bytes that a process has read in all.
fn read_by(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn a_kernel_that_the_disk_has_changed_is_served_to_nobody_and_a_stage_afresh_puts_it_right() {
    const KERNEL: usize = 32 << 20;
    let lab = Lab::new().unwrap();
    let kernel: Vec<u8> = (0..KERNEL).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let site = SiteFiles::with_alpha(&kernel).unwrap();
    let server = Server::start(site).unwrap();
    let stored = object(server.site.path(), &kernel);
    let served = lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let path = format!("/b/{}/kernel", alpha.boot().unwrap().id);
        // Before it is served for the first time, and after.
        for round in 0..2 {
            change(&stored);
            let (status, body) = alpha.get(&path).unwrap();
            assert_ne!(status, 200, "round {round}");
            assert!(body.len() < 1000, "round {round}");
            let before = read_by(server.pid().unwrap());
            for _ in 0..20 {
                assert_ne!(alpha.get(&path).unwrap().0, 200, "round {round}");
            }
            let read = read_by(server.pid().unwrap()) - before;
            assert!(
                read < KERNEL as u64,
                "round {round}: one that is wrong is hashed once, not {read} bytes"
            );
            assert!(server.run(&["stage", "--afresh"]).unwrap().contains("debian"));
            assert!(alpha.get(&path).unwrap() == (200, kernel.clone()), "round {round}");
        }
        // Many who ask at once: hashed once, and each is sent the first chunks of it.
        change(&stored);
        server.run(&["stage", "--afresh"]).unwrap();
        let before = read_by(server.pid().unwrap());
        let asking: Vec<TcpStream> = (0..30)
            .map(|_| {
                let mut stream = alpha.connect(80, 0).unwrap();
                write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                stream
            })
            .collect();
        for mut stream in asking {
            let mut head = [0; 12];
            std::io::Read::read_exact(&mut stream, &mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.1 200");
        }
        let read = read_by(server.pid().unwrap()) - before;
        // What the sockets of thirty take, some MB each, is read as well; thirty hashes would be 960 MiB.
        assert!(read < 16 * KERNEL as u64, "{read} bytes");
    });
    served.unwrap();
    assert!(server.log().contains("it is not what its name says"), "{}", server.log());
    assert!(server.run(&["verify"]).unwrap().contains("all good"));
}

#[test]
fn a_link_to_no_kernel_is_passed_over_and_explained() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let machine = "[machine.alpha]\nmac = \"52:54:00:00:00:0a\"\nprofile = \"small\"\n";
    fs::write(home.join("site.toml"), site("directory = \"root\"") + machine).unwrap();
    let boot = home.join("root/boot");
    fs::create_dir_all(&boot).unwrap();
    for name in ["vmlinuz-1", "initrd.img-1", "initrd.img-9"] {
        fs::write(boot.join(name), name).unwrap();
    }
    symlink("gone", boot.join("vmlinuz-9")).unwrap();
    symlink("vmlinuz-8", boot.join("vmlinuz")).unwrap();
    ok(home, &["stage"]);
    let told = ok(home, &["explain", "alpha"]);
    let line = |first: &str| {
        let lines = told.lines().filter(|line| line.starts_with(first));
        lines.map(|line| line.split_whitespace().nth(first.split(' ').count()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(line("kernel"), ["/boot/vmlinuz-1"], "{told}");
    let mut over = line("passed over");
    over.sort_unstable();
    assert_eq!(over, ["/boot/vmlinuz", "/boot/vmlinuz-9"], "{told}");
}

#[test]
fn a_hole_of_two_tebibytes_is_refused_at_once_in_an_archive_and_in_a_directory() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::create_dir_all(home.join("root")).unwrap();
    let huge = fs::File::create(home.join("root/huge")).unwrap();
    huge.set_len(2 << 40).unwrap();
    (&huge).write_all(b"data").unwrap();
    let packed = Command::new("tar")
        .args(["--sparse", "--format=gnu", "-cf", "root.tar", "root"])
        .current_dir(home)
        .status()
        .unwrap();
    assert!(packed.success() && fs::metadata(home.join("root.tar")).unwrap().len() < 1 << 20);
    for source in ["directory = \"root\"", "tar = \"root.tar\""] {
        fs::write(home.join("site.toml"), site(source)).unwrap();
        refused(home, &["stage"], 1, "huge");
        refused(home, &["stage"], 1, "more than 64 GiB of the source are holes");
    }
    // Smaller ones are what they were.
    huge.set_len(8 << 20).unwrap();
    fs::write(home.join("site.toml"), site("directory = \"root\"")).unwrap();
    ok(home, &["stage"]);
    let seen =
        Command::new(env!("CARGO_BIN_EXE_oneroot")).current_dir(home).args(["cat", "small", "huge"]).output();
    assert_eq!(seen.unwrap().stdout.len(), 8 << 20);
}
