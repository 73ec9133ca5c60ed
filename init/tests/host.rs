//! The real kernel, in namespaces of its own: links, addresses, a DHCP client's port, and another root for everything. Each test runs
//! itself again as root of a user namespace, so it needs no root and leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use oneroot_init::kernel::host::Host;
use oneroot_init::kernel::{Ended, Errno, Kernel, Mount, Ran};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};

const INSIDE: &str = "ONEROOT_INIT_INSIDE";
const MAC: &str = "52:54:00:00:00:0a";

/// Whether this is the run inside; outside, runs it.
fn is_inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let done = Command::new("unshare")
        .args(["--map-root-user", "--net", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
    false
}

fn ip(words: &str) -> String {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let done = Command::new("ip").args(words.split(' ')).env("PATH", path).output().unwrap();
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn index(name: &str) -> u32 {
    Host.links().unwrap().into_iter().find(|link| link.name == name).unwrap().index
}

#[test]
fn a_link_gets_its_carrier_its_address_its_router_and_its_mtu() {
    if !is_inside("a_link_gets_its_carrier_its_address_its_router_and_its_mtu") {
        return;
    }
    ip(&format!("link add nic0 address {MAC} type veth peer name port0"));
    let nic = index("nic0");
    let found = Host.links().unwrap().into_iter().find(|link| link.index == nic).unwrap();
    assert_eq!((found.mac.unwrap().to_string().as_str(), found.carrier), (MAC, false));
    assert!(!Host.links().unwrap().iter().any(|link| link.name == "lo"), "lo is no Ethernet");
    Host.bring_up(nic).unwrap();
    assert!(!Host.links().unwrap().iter().any(|link| link.carrier), "its peer is down");
    Host.bring_up(index("port0")).unwrap();
    assert!(Host.links().unwrap().iter().any(|link| link.index == nic && link.carrier));
    for _ in 0..2 {
        Host.add_address(nic, Ipv4Addr::new(192, 168, 77, 10), 24).unwrap();
        Host.add_router(nic, Ipv4Addr::new(192, 168, 77, 254), false).unwrap();
    }
    Host.set_mtu(nic, 1400).unwrap();
    let told = ip("address show nic0");
    assert!(told.contains("inet 192.168.77.10/24 brd 192.168.77.255 scope global nic0"), "{told}");
    assert!(told.contains("valid_lft forever") && told.contains("mtu 1400"), "{told}");
    assert!(ip("route").contains("default via 192.168.77.254 dev nic0"));
    let far = Ipv4Addr::new(10, 9, 9, 9);
    assert_eq!(Host.add_router(nic, far, false), Err(Errno::NETUNREACH), "no address says that it is there");
    Host.add_router(nic, far, true).unwrap();
    assert!(ip("route").contains("default via 10.9.9.9 dev nic0 onlink"));
    assert_eq!(Host.bring_up(4711), Err(Errno::NODEV));
    Host.add_address(nic, Ipv4Addr::new(10, 0, 0, 1), 31).unwrap();
    assert!(ip("address show nic0").contains("inet 10.0.0.1/31 scope global nic0"));
    Host.remove_address(nic, Ipv4Addr::new(10, 0, 0, 1), 31).unwrap();
    let told = ip("address show nic0");
    assert!(!told.contains("10.0.0.1") && told.contains("inet 192.168.77.10/24"), "{told}");
}

/// Kernels without 8021q can't; then there is nothing to see.
#[test]
fn a_vlan_is_a_link_over_the_nic_that_somebody_has_made() {
    if !is_inside("a_vlan_is_a_link_over_the_nic_that_somebody_has_made") {
        return;
    }
    ip(&format!("link add nic0 address {MAC} type veth peer name port0"));
    match Host.add_vlan(index("nic0"), 12, "nic0.12") {
        Err(Errno::OPNOTSUPP) => {}
        made => {
            made.unwrap();
            Host.add_vlan(index("nic0"), 12, "nic0.12").unwrap();
            let made = Host.links().unwrap().into_iter().find(|link| link.name == "nic0.12").unwrap();
            assert!(made.made);
            assert!(ip("-d link show nic0.12").contains("id 12"));
        }
    }
}

#[test]
fn a_dhcp_clients_port_hears_a_broadcast_on_its_link_before_it_has_an_address() {
    if !is_inside("a_dhcp_clients_port_hears_a_broadcast_on_its_link_before_it_has_an_address") {
        return;
    }
    ip(&format!("link add nic0 address {MAC} type veth peer name port0"));
    ip("link set nic0 up");
    let (told, is_there) = std::sync::mpsc::channel();
    let (moved, may_go_on) = std::sync::mpsc::channel();
    // The server's network is another, as it is in life: a frame from one's own address is dropped.
    let server = std::thread::spawn(move || {
        // SAFETY: the network namespace is this thread's own; no memory or descriptor is shared by it.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
        told.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
        may_go_on.recv().unwrap();
        ip("link set port0 up");
        ip("address add 192.168.77.1/24 dev port0");
        let server = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        server.set_broadcast(true).unwrap();
        server.bind_device(Some(b"port0")).unwrap();
        server.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 67)).into()).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let server: std::net::UdpSocket = server.into();
        told.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
        let mut bytes = [0; 64];
        let (length, from) = server.recv_from(&mut bytes).unwrap();
        server.send_to(b"answer", (Ipv4Addr::BROADCAST, 68)).unwrap();
        (bytes[..length].to_vec(), from)
    });
    ip(&format!("link set port0 netns {}", is_there.recv().unwrap()));
    moved.send(()).unwrap();
    is_there.recv().unwrap();
    let port = Host.open_port("nic0").unwrap();
    port.send(b"question").unwrap();
    assert_eq!(port.receive(Duration::from_secs(10)).as_deref(), Some(&b"answer"[..]));
    assert_eq!(port.receive(Duration::from_millis(1)), None);
    let heard = server.join().unwrap();
    assert_eq!(heard, (b"question".to_vec(), SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68))));
}

/// Asks a server that does this with what it hears whether it lives.
fn ping(does: impl FnOnce(std::net::TcpStream) + Send + 'static) -> Result<(), Errno> {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    std::thread::spawn(move || does(server.accept().unwrap().0));
    Host.reach(address, Duration::from_millis(500))
}

#[test]
fn a_server_that_takes_connections_and_says_nothing_does_not_live() {
    if !is_inside("a_server_that_takes_connections_and_says_nothing_does_not_live") {
        return;
    }
    ip("link set lo up");
    let answers = |answer: &'static [u8]| {
        ping(move |mut stream| {
            let (mut call, from) = ([0; 44], stream.peer_addr().unwrap());
            std::io::Read::read_exact(&mut stream, &mut call).unwrap();
            assert_eq!(call[..4], [0x80, 0, 0, 40]);
            assert!(from.port() < 1024, "from where root asks alone");
            std::io::Write::write_all(&mut stream, answer).unwrap();
            std::thread::sleep(Duration::from_secs(2));
        })
    };
    let whole = b"\x80\0\0\x18\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(answers(whole), Ok(()));
    assert_eq!(answers(b"HTTP/1.1 400 Bad Request"), Err(Errno::PROTO));
    assert_eq!(answers(b""), Err(Errno::TIMEDOUT));
    assert_eq!(ping(drop), Err(Errno::CONNRESET));
    assert_eq!(ping(|_stream| std::thread::sleep(Duration::from_secs(2))), Err(Errno::TIMEDOUT));
    assert_eq!(Host.reach(([127, 0, 0, 1], 9).into(), Duration::from_secs(1)), Err(Errno::CONNREFUSED));
}

#[test]
fn a_report_is_posted_from_a_port_that_only_root_can_have() {
    if !is_inside("a_report_is_posted_from_a_port_that_only_root_can_have") {
        return;
    }
    ip("link set lo up");
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let heard = std::thread::spawn(move || {
        let (mut stream, from) = server.accept().unwrap();
        let mut text = String::new();
        while !text.ends_with("took 2\n") {
            let mut piece = [0; 256];
            let length = std::io::Read::read(&mut stream, &mut piece).unwrap();
            text.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
        let head = "HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        (from.port(), text)
    });
    let answer =
        Host.post(address, "/b/02/report", "phase root\nat 1\ntook 2\n", Duration::from_secs(5)).unwrap();
    assert_eq!((answer.status, answer.date), (204, Some(784_111_777)));
    let (port, text) = heard.join().unwrap();
    assert!(port < 1024);
    assert!(
        text.starts_with("POST /b/02/report HTTP/1.1\r\n") && text.contains("\r\nContent-Length: 23\r\n"),
        "{text}"
    );
}

#[test]
fn another_root_takes_the_place_of_the_initramfs_whose_files_go_and_whose_mounts_stay() {
    if !is_inside("another_root_takes_the_place_of_the_initramfs_whose_files_go_and_whose_mounts_stay") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| format!("{}{path}", home.path().display());
    let tmpfs = |target: &str| {
        let mount = Mount {
            source: "x",
            target,
            kind: "tmpfs",
            read_only: false,
            no_suid: true,
            options: "mode=0755",
        };
        Host.mount(&mount).unwrap();
    };
    tmpfs(&at(""));
    for path in ["/oneroot", "/lib/modules/6.1/kernel", "/lower", "/new", "/old"] {
        Host.make_directory(&at(path)).unwrap();
    }
    tmpfs(&at("/lower"));
    tmpfs(&at("/new"));
    for path in ["/init", "/oneroot/settings", "/lib/modules/6.1/kernel/a.ko", "/lower/kept", "/new/marker"] {
        Host.write(&at(path), b"x", 0o644).unwrap();
    }
    Host.link("/lower/kept", &at("/leads")).unwrap();
    let open =
        |path: &str| openat(CWD, at(path), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let (initramfs, lower) = (open(""), open("/lower"));
    rustix::process::pivot_root(at(""), at("/old")).unwrap();
    rustix::process::chdir("/").unwrap();
    rustix::mount::unmount("/old", rustix::mount::UnmountFlags::DETACH).unwrap();

    Host.enter("/new").unwrap();
    assert_eq!(Host.list("/").unwrap(), ["marker"]);
    for path in ["init", "oneroot", "lib", "leads", "old"] {
        assert_eq!(statat(&initramfs, path, AtFlags::SYMLINK_NOFOLLOW).err(), Some(Errno::NOENT), "{path}");
    }
    assert!(statat(&lower, "kept", AtFlags::empty()).is_ok(), "what is mounted is not the initramfs's");
}

/// Whoever runs it by hand on a machine that runs has no initramfs of ours below it.
#[test]
fn nobody_elses_root_is_emptied() {
    if !is_inside("nobody_elses_root_is_emptied") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| format!("{}{path}", home.path().display());
    for target in [at(""), at("/new")] {
        Host.make_directory(&target).unwrap();
        let mount = Mount {
            source: "x",
            target: &target,
            kind: "tmpfs",
            read_only: false,
            no_suid: true,
            options: "",
        };
        Host.mount(&mount).unwrap();
    }
    Host.make_directory(&at("/old")).unwrap();
    Host.write(&at("/mine"), b"x", 0o644).unwrap();
    let root = openat(CWD, at(""), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    rustix::process::pivot_root(at(""), at("/old")).unwrap();
    Host.enter("/new").unwrap();
    assert!(statat(&root, "mine", AtFlags::empty()).is_ok());
}

/// A program of the tree's, and what became of it within that time, of which it prints 10 bytes at most.
fn asked(does: &str, within: Duration) -> (Ran, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a $(program)");
    std::fs::write(&path, format!("#!/bin/sh\ncd '{}'\n{does}\n", home.path().display())).unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(Host.may_run(path), Ok(Some(false)));
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(Host.may_run(path), Ok(Some(true)));
    // Another test's child may have the file open for a moment, as it was written.
    let ran = std::iter::repeat_with(|| Host.ask(path, 10, within)).find(|ran| *ran != Err(Errno::TXTBSY));
    (ran.unwrap().unwrap(), home)
}

/// Whether a process of that number ends, as one that was killed does in a while.
fn ends(pid: &str) -> bool {
    let runs = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    let begun = std::time::Instant::now();
    while runs() && begun.elapsed() < LONG {
        std::thread::sleep(Duration::from_millis(10));
    }
    !runs()
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_a_program_prints_is_had_to_its_end_and_not_to_that_of_what_it_leaves() {
    let (ran, _) = asked("read -r line || printf nothing", LONG);
    assert_eq!(ran, Ran { ended: Ended::With(0), printed: b"nothing".to_vec() });
    let (ran, _) = asked("printf half; exit 3", LONG);
    assert_eq!(ran, Ran { ended: Ended::With(3), printed: b"half".to_vec() });
    assert_eq!(asked("kill -SEGV $$", LONG).0.ended, Ended::By(11));
    let (ran, _) = asked("exec >&-; exit 4", LONG);
    assert_eq!(ran.ended, Ended::With(4));
    let begun = std::time::Instant::now();
    let (ran, home) = asked("sleep 300 & echo $! >pid; printf 0123456789", LONG);
    assert_eq!(ran, Ran { ended: Ended::With(0), printed: b"0123456789".to_vec() });
    assert!(begun.elapsed() < LONG);
    let pid = std::fs::read_to_string(home.path().join("pid")).unwrap();
    assert!(ends(&pid), "what it has left goes with it");
    assert_eq!(Host.ask("/nowhere", 10, LONG), Err(Errno::NOENT));
    assert_eq!((Host.may_run("/nowhere"), Host.may_run("/dev/null")), (Err(Errno::NOENT), Ok(None)));
}

#[test]
fn a_program_that_is_late_or_prints_on_is_killed_with_all_that_it_has_started() {
    let begun = std::time::Instant::now();
    for (does, within, ended) in [
        ("sleep 300 & echo $! >pid; wait", Duration::from_millis(500), Ended::Late),
        ("echo $$ >pid; exec >&-; sleep 300", Duration::from_millis(500), Ended::Late),
        ("echo $$ >pid; while :; do echo 0123456789; done", LONG, Ended::TooMuch),
    ] {
        let (ran, home) = asked(does, within);
        assert_eq!(ran.ended, ended, "{does}");
        assert!(ran.printed.len() <= 10);
        let pid = std::fs::read_to_string(home.path().join("pid")).unwrap();
        assert!(ends(&pid), "{does}");
    }
    assert!(begun.elapsed() < LONG);
}

#[test]
fn a_script_that_is_late_is_killed_with_what_it_waits_for() {
    let home = tempfile::tempdir().unwrap();
    let pid = home.path().join("pid");
    let script = format!("sleep 300 & echo $! >{}; wait", pid.display());
    let path = ("PATH", "/usr/bin:/bin");
    let run = |script: &str, within| Host.run("/bin/sh", &["-c", script], &[path], within);
    assert_eq!(run(&script, Some(Duration::from_millis(500))), Err(Errno::TIMEDOUT));
    assert!(ends(&std::fs::read_to_string(&pid).unwrap()));
    assert_eq!((run("exit 0", Some(LONG)), run("exit 1", Some(LONG))), (Ok(true), Ok(false)));
    // A shell that somebody has asked for has the console, and all the time that there is.
    assert_eq!((run("exit 0", None), run("exit 1", None)), (Ok(true), Ok(false)));
}
