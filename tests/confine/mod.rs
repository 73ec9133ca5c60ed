//! What somebody has who has taken over a thread of the server: each row is an attack from inside, made once on a server that
//! is not confined, to see that it is one, and once on a server that is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

#[cfg(debug_assertions)]
mod attacks;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oneroot_testkit::{Lab, Server, SiteFiles, preload};

#[cfg(debug_assertions)]
use attacks::{ACCES, Attack, Outcome, PERM, attacks};

/// The version of this kernel's Landlock; below zero where there is none.
fn landlock() -> i64 {
    // SAFETY: with no attributes, a size of zero and this flag the call reads and writes no memory of ours: it answers a
    // number.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) }
}

/// Whether this kernel can do what a server requires.
fn can_confine() -> bool {
    let can = landlock() >= 2;
    if !can {
        println!("skipped: this kernel has no Landlock");
    }
    can
}

fn site(confinement: &str) -> SiteFiles {
    let mut site = SiteFiles::small().unwrap();
    site.machine("alpha", "0a", "").unwrap();
    let text = site.text().replace("[server]\n", &format!("[server]\nconfinement = \"{confinement}\"\n"));
    site.set_text(&text);
    site
}

fn ask(server: &Server, question: &str) -> serde_json::Value {
    let mut stream = UnixStream::connect(server.site.path().join("state/control.sock")).unwrap();
    writeln!(stream, "{question}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{question}: {answer:?}\n{}", server.log()))
}

/// What the kernel answers to a system call of the server's.
#[cfg(debug_assertions)]
fn call(server: &Server, number: libc::c_long, arguments: &str) -> i64 {
    ask(server, &format!("system-call {number} {arguments}"))["result"].as_i64().unwrap()
}

/// A program that runs beside the server, as the same user and with fewer rights than root.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_worker_that_somebody_has_taken_over_can_do_nothing_beyond_the_servers_own_work() {
    if !can_confine() {
        return;
    }
    let _lab = Lab::new().unwrap();
    let bystander = Bystander::new();
    for confinement in ["off", "require"] {
        let confined = confinement == "require";
        let outside = tempfile::tempdir().unwrap();
        for name in ["there", "going"] {
            fs::write(outside.path().join(name), "old").unwrap();
        }
        let server = Server::start(site(confinement)).unwrap();
        let mut harmless = Vec::new();
        for attack in attacks(outside.path(), server.site.path(), bystander.0.id()) {
            let Attack { what, number, arguments, open, refused } = attack;
            if !confined && matches!(open, Outcome::Untried) {
                continue;
            }
            let answered = call(&server, number, &arguments);
            let harms = answered >= 0 || matches!(open, Outcome::Heard) && answered != PERM;
            if confined {
                assert_eq!(answered, refused, "{what}: {number} {arguments}");
            } else if !harms {
                harmless.push(format!("{what}: {number} {arguments}: {answered}"));
            }
        }
        if confined {
            assert_eq!(fs::read(outside.path().join("there")).unwrap(), b"old");
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2, "nothing came and nothing went");
        }
        // Where the tests' own root is none (a container, a user namespace), the host refuses some of them by itself.
        assert!(!is_root() || harmless.is_empty(), "the rows show nothing: {harmless:#?}");
        assert!(server.machine("alpha").is_ok(), "it serves after all that");
    }
}

/// Whether we are the host's root, with the 40 capabilities of Linux 5.9. Of SYS_RESOURCE, 24, no row makes use.
#[cfg(debug_assertions)]
fn is_root() -> bool {
    const WANTED: u64 = ((1 << 41) - 1) & !(1 << 24);
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let everybody = map.split_whitespace().eq(["0", "0", "4294967295"]);
    everybody && rustix::thread::capabilities(None).unwrap().effective.bits() & WANTED == WANTED
}

#[cfg(debug_assertions)]
#[test]
fn what_a_server_needs_while_it_runs_it_still_has() {
    if !can_confine() {
        return;
    }
    let _lab = Lab::new().unwrap();
    let server = Server::start(site("require")).unwrap();
    let site = server.site.path().display();
    let open = |path: &str, flags: i32| (libc::SYS_openat, format!("{} @{path} {flags} 384", libc::AT_FDCWD));
    let (read, make) = (libc::O_RDONLY, libc::O_RDWR | libc::O_CREAT);
    let socket =
        |family: i32, kind: i32, protocol: i32| (libc::SYS_socket, format!("{family} {kind} {protocol}"));
    for (number, arguments) in [
        open(&format!("{site}/site.toml"), read),
        open(&format!("{site}/layers/common"), read | libc::O_DIRECTORY),
        open(&format!("{site}/store/staging/made"), make),
        open(&format!("{site}/state/made"), make),
        // The neighbour table, from whichever thread, and which start of the kernel this is.
        open("/proc/thread-self/net/arp", read),
        open("/proc/sys/kernel/random/boot_id", read),
        // An interface that comes back is bound again; a prober asks by ARP and by ping; the kernel is asked for routes.
        socket(libc::AF_INET, libc::SOCK_DGRAM, 0),
        socket(libc::AF_PACKET, libc::SOCK_RAW, 0),
        socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
        socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE),
    ] {
        let answered = call(&server, number, &arguments);
        assert!(answered >= 0, "{number} {arguments}: {answered}");
    }
}

/// `struct sockaddr_in` in hexadecimal.
#[cfg(debug_assertions)]
fn address(port: u16) -> String {
    let family: String = 2u16.to_ne_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(":{family}{port:04x}c0a84d010000000000000000")
}

#[cfg(debug_assertions)]
#[test]
fn no_tcp_connection_is_begun_and_no_port_but_the_sites_is_listened_on() {
    // Linux 6.7.
    if landlock() < 4 {
        println!("skipped: this kernel's Landlock knows no ports");
        return;
    }
    let _lab = Lab::new().unwrap();
    let elsewhere = TcpListener::bind(("192.168.77.1", 4321)).unwrap();
    for confinement in ["off", "require"] {
        let server = Server::start(site(confinement)).unwrap();
        let tcp = || call(&server, libc::SYS_socket, &format!("{} {} 0", libc::AF_INET, libc::SOCK_STREAM));
        let begun = call(&server, libc::SYS_connect, &format!("{} {} 16", tcp(), address(4321)));
        let bound = call(&server, libc::SYS_bind, &format!("{} {} 16", tcp(), address(8080)));
        let again = call(&server, libc::SYS_bind, &format!("{} {} 16", tcp(), address(2049)));
        // Port 2049 is the site's: it is only taken. A listener may be bound again when its interface comes back.
        let expected = if confinement == "off" { (0, 0) } else { (ACCES, ACCES) };
        assert_eq!(((begun, bound), again), (expected, -i64::from(libc::EADDRINUSE)), "{confinement}");
    }
    drop(elsewhere);
}

#[cfg(debug_assertions)]
#[test]
fn where_systemd_is_told_no_other_daemon_is_spoken_to_in_the_abstract() {
    // Linux 6.12.
    if landlock() < 6 {
        println!("skipped: this kernel's Landlock knows no sockets");
        return;
    }
    let _lab = Lab::new().unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let _systemd = UnixDatagram::bind(&path).unwrap();
    let name = format!("oneroot-test-{}", std::process::id());
    let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
    let _daemon = UnixDatagram::bind_addr(&abstract_name).unwrap();
    // `struct sockaddr_un`: its family, a zero, the name.
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let address = format!(":{}00{}", hex(&1u16.to_ne_bytes()), hex(name.as_bytes()));
    for (confinement, expected) in [("off", 0), ("require", PERM)] {
        let server =
            Server::start_with(site(confinement), &[("NOTIFY_SOCKET", path.to_str().unwrap())]).unwrap();
        let socket = call(&server, libc::SYS_socket, &format!("{} {} 0", libc::AF_UNIX, libc::SOCK_DGRAM));
        assert!(socket > 0, "systemd is told of each reload: {socket}");
        let connected = call(&server, libc::SYS_connect, &format!("{socket} {address} {}", 3 + name.len()));
        assert_eq!(connected, expected, "{confinement}");
    }
}

/// A program with the same user and the same capabilities as a confined server.
fn like_the_server(program: &str, argument: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set",
        "-all,+net_bind_service,+net_raw",
        "--inh-caps",
        "-all",
        program,
        argument,
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn others_of_its_user_can_not_look_into_it() {
    if !can_confine() {
        return;
    }
    let _lab = Lab::new().unwrap();
    let server = Server::start(site("require")).unwrap();
    let another = Bystander(like_the_server("sleep", "600").spawn().unwrap());
    let looks_into = |process: u32| {
        like_the_server("cat", &format!("/proc/{process}/environ")).status().unwrap().success()
    };
    // The other one is first setpriv, and then sleep.
    let begun = Instant::now();
    while !looks_into(another.0.id()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it can look into what is dumpable");
    }
    assert!(!looks_into(server.pid().unwrap()));
}

/// What a kernel says that has neither Landlock nor seccomp filters.
const WITHOUT: &str = "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <errno.h>\n#include <stdarg.h>\n#include <sys/syscall.h>\n\
    long syscall(long number, ...) {\n\
        long a[6]; va_list list; va_start(list, number);\n\
        for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);\n\
        va_end(list);\n\
        if (number == SYS_landlock_create_ruleset || number == SYS_seccomp) { errno = ENOSYS; return -1; }\n\
        long (*call)(long, ...) = dlsym(RTLD_NEXT, \"syscall\");\n\
        return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);\n\
    }\n";

#[test]
fn a_host_whose_kernel_can_do_less_serves_and_says_so_unless_the_site_requires_all() {
    let _lab = Lab::new().unwrap();
    let home = tempfile::tempdir().unwrap();
    let library = preload(home.path(), "without", WITHOUT).unwrap();
    let without = [("LD_PRELOAD", library.as_str())];
    let server = Server::start_with(site("auto"), &without).unwrap();
    let told = ask(&server, "status");
    let lacking = told["confinement"]["lacking"].as_array().unwrap();
    assert_eq!(lacking.len(), 2, "{told}");
    for what in ["no Landlock", "no seccomp"] {
        assert!(told["confinement"].to_string().contains(what) && server.log().contains(what), "{told}");
        assert!(server.run(&["status"]).unwrap().contains(what));
    }
    // What it can do, it does.
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid().unwrap())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("CapEff:\t0000000000002400"), "{status}");
    drop(server);
    let Err(refused) = Server::start_with(site("require"), &without) else {
        panic!("it serves all the same")
    };
    assert!(format!("{refused:#}").contains("confinement = \"require\""), "{refused:#}");
}

#[test]
fn every_thread_of_a_server_is_confined() {
    if !can_confine() {
        return;
    }
    let _lab = Lab::new().unwrap();
    let server = Server::start(site("require")).unwrap();
    let mut seen = 0;
    for task in fs::read_dir(format!("/proc/{}/task", server.pid().unwrap())).unwrap() {
        let path = task.unwrap().path();
        let status = fs::read_to_string(path.join("status")).unwrap();
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap().to_owned()
        };
        let name = field("Name");
        // NET_BIND_SERVICE is 10 and NET_RAW is 13.
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(field(set), "0000000000002400", "{set} of {name}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set} of {name}");
        }
        assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1".into(), "2".into()), "{name}");
        seen += 1;
    }
    assert!(seen >= 3, "the main thread, the state's writer, the runtime's: {seen}");
    let told = ask(&server, "status");
    assert_eq!(told["confinement"]["asked"], "require");
    assert_eq!(told["confinement"]["lacking"], serde_json::json!([]), "{told}");
    // Linux 6.12.
    assert!(landlock() < 6 || !server.log().contains("Landlock"), "all of it is in force: {}", server.log());
}

#[test]
fn a_site_may_say_that_its_server_is_not_confined_and_the_log_and_status_tell() {
    let _lab = Lab::new().unwrap();
    let server = Server::start(site("off")).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid().unwrap())).unwrap();
    assert!(status.contains("NoNewPrivs:\t0") && status.contains("Seccomp:\t0"), "{status}");
    assert!(server.log().contains("not confined"), "{}", server.log());
    assert!(server.run(&["status"]).unwrap().contains("not confined"));
}

#[test]
fn a_reload_that_needs_a_path_outside_asks_for_a_restart_and_after_it_the_path_is_read() {
    if !can_confine() {
        return;
    }
    let _lab = Lab::new().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let layer = elsewhere.path().join("layer");
    fs::create_dir(&layer).unwrap();
    fs::write(layer.join("motd.j2"), "hello {{ name }}\n").unwrap();
    let mut server = Server::start(site("require")).unwrap();
    let more = server.site.text().replace("\"layers/common\"", &format!("\"layers/common\", {layer:?}"));
    server.site.set_text(&more);
    let told = server.reload().unwrap();
    assert!(told.contains(&format!("{}", layer.display())) && told.contains("restart"), "{told}");
    assert!(told.contains("the old one stays in force"), "{told}");

    server.kill9().unwrap();
    server.stage().unwrap();
    server.restart().unwrap();
    assert!(server.reload().unwrap().contains("is in force for new boots"));
    // A template that is broken now is seen, so the layer is really read.
    fs::write(layer.join("motd.j2"), "{{ nothing }}\n").unwrap();
    assert!(server.reload().unwrap().contains("motd.j2:1"));
}

#[test]
fn a_directory_that_was_put_in_the_place_of_the_sites_asks_for_a_restart() {
    if !can_confine() {
        return;
    }
    let _lab = Lab::new().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let layer = elsewhere.path().join("layer");
    fs::create_dir(&layer).unwrap();
    let mut site = site("require");
    let with = site.text().replace("\"layers/common\"", &format!("\"layers/common\", {layer:?}"));
    site.set_text(&with);
    let server = Server::start(site).unwrap();
    assert!(server.reload().unwrap().contains("is in force for new boots"));
    fs::rename(&layer, elsewhere.path().join("old")).unwrap();
    fs::create_dir(&layer).unwrap();
    let told = server.reload().unwrap();
    assert!(told.contains(&format!("{}", layer.display())) && told.contains("restart"), "{told}");
    // What is not there is nothing to read.
    fs::remove_dir(&layer).unwrap();
    assert!(server.reload().unwrap().contains("is in force for new boots"));
}

/// What the packaged unit's filter answers to two calls: openat2 is not there (`RestrictSUIDSGID=`), capset is refused.
const UNIT: &str = r#"
import ctypes, os, struct, sys
answer = lambda call, errno: [(0x15, 0, 1, call), (6, 0, 0, 0x50000 | errno)]
code = [(0x20, 0, 0, 0), *answer(int(sys.argv[1]), 38), *answer(int(sys.argv[2]), 1), (6, 0, 0, 0x7fff0000)]
code = b"".join(struct.pack("HBBI", *line) for line in code)
held = ctypes.create_string_buffer(code)
program = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(held))
call = ctypes.CDLL(None).prctl
assert call(38, 1, 0, 0, 0) == 0 and call(22, 2, program) == 0
os.execv(sys.argv[3], sys.argv[3:])
"#;

#[test]
fn a_server_behind_the_packaged_units_wall_puts_up_its_own_too() {
    if !can_confine() {
        return;
    }
    let _lab = Lab::new().unwrap();
    let mut server = Server::new(site("require")).unwrap();
    server.stage().unwrap();
    let home = tempfile::tempdir().unwrap();
    let (script, wrapper) = (home.path().join("unit.py"), home.path().join("oneroot"));
    fs::write(&script, UNIT).unwrap();
    let real = server.binary().to_owned();
    let words = format!(
        "#!/bin/sh\nexec setpriv --bounding-set -all,+net_bind_service,+net_raw --inh-caps -all \\\n\
         python3 {script:?} {} {} {real:?} \"$@\"\n",
        libc::SYS_openat2,
        libc::SYS_capset
    );
    fs::write(&wrapper, words).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    server.set_binary(wrapper);
    server.restart().unwrap();
    assert_eq!(ask(&server, "status")["confinement"]["lacking"], serde_json::json!([]));
    assert!(server.reload().unwrap().contains("is in force for new boots"));
}

#[test]
fn a_state_of_another_user_is_not_opened_and_the_log_says_whose_it_has_to_be() {
    let _lab = Lab::new().unwrap();
    let mut server = Server::new(site("auto")).unwrap();
    server.stage().unwrap();
    let state = server.site.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    // In a user namespace of one user there is no other.
    if std::os::unix::fs::chown(&state, Some(1), Some(1)).is_err() {
        println!("skipped: no other user here");
        return;
    }
    let Err(refused) = server.restart() else { panic!("it serves all the same") };
    assert!(format!("{refused:#}").contains("chown"), "{refused:#}");
}
