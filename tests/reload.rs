//! A running server and its site: read again whole or not at all, and what systemd is told.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use oneroot_testkit::{Lab, Server, SiteFiles};

fn site() -> SiteFiles {
    let mut site = SiteFiles::small().unwrap();
    site.machine("alpha", "0a", "").unwrap();
    site
}

#[test]
fn a_new_machine_is_known_after_a_reload() {
    let _lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    assert!(server.machine("beta").is_err());
    server.site.machine("beta", "0b", "").unwrap();
    assert!(server.reload().unwrap().contains("was read again and is in force"));
    assert!(server.machine("beta").is_ok());
}

#[test]
fn a_broken_site_a_broken_template_and_a_moved_socket_are_refused_whole_and_the_old_site_stays_in_force() {
    let _lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    let good = server.site.text().to_owned();
    server.site.machine("beta", "0b", "addres = \"192.168.77.11\"").unwrap();
    let told = server.reload().unwrap();
    assert!(told.contains("machine.beta.addres") && told.contains("the old one stays in force"), "{told}");
    assert!(server.machine("beta").is_err() && server.machine("alpha").is_ok());

    server.site.set_text(&good);
    server.site.machine("beta", "0b", "").unwrap();
    let template = server.site.file("beta", "etc/x.j2", "\n{{ nothing }}\n").unwrap();
    let told = server.reload().unwrap();
    assert!(told.contains("etc/x.j2:2:1") && told.contains("stays in force"), "{told}");
    assert!(server.machine("beta").is_err());
    fs::remove_file(template).unwrap();

    let moved = server.site.text().replace(
        "store = \"store\"",
        "store = \"elsewhere\"\nhttp_port = 8080\nipv6 = false\nwait_for_interfaces = true\nconfinement = \"off\"",
    );
    server.site.set_text(&moved);
    let told = server.reload().unwrap();
    assert!(told.contains("server.store has changed, which takes a restart"), "{told}");
    assert!(told.contains("server.http_port has changed"), "{told}");
    assert!(told.contains("server.ipv6 has changed"), "{told}");
    assert!(told.contains("server.wait_for_interfaces has changed"), "{told}");
    assert!(told.contains("server.confinement has changed"), "{told}");
    server.site.set_text(&good);
    server.site.write().unwrap();
    assert!(server.machine("beta").is_err());
}

#[test]
fn whoever_asks_for_a_reload_is_told_what_became_of_it_and_the_exit_code_says_so() {
    let _lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    let ask = |server: &Server| {
        server.site.write().unwrap();
        let mut command = Command::new(server.binary());
        let done = command.current_dir(server.site.path()).arg("reload").output().unwrap();
        let told = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(told).unwrap())
    };
    server.site.machine("beta", "0b", "").unwrap();
    let (code, told) = ask(&server);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("is in force") && server.machine("beta").is_ok(), "{told}");
    let good = server.site.text().to_owned();
    server.site.machine("gamma", "0c", "addres = \"192.168.77.12\"").unwrap();
    let (code, told) = ask(&server);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("machine.gamma.addres") && told.contains("the old one stays in force"), "{told}");
    // What only the server can know.
    server.site.set_text(&good.replace("store = \"store\"", "store = \"elsewhere\""));
    let (code, told) = ask(&server);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("server.store has changed, which takes a restart"), "{told}");
    server.site.set_text(&good);
    server.site.write().unwrap();
    server.kill9().unwrap();
    assert_eq!(ask(&server).0, Some(4));
}

#[test]
fn systemd_is_told_of_ready_reloading_and_stopping() {
    let _lab = Lab::new().unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hear = || {
        let mut bytes = [0; 512];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(bytes.get(..count).unwrap()).into_owned()
    };
    let mut server = Server::start_with(site(), &[("NOTIFY_SOCKET", path.to_str().unwrap())]).unwrap();
    assert!(hear().contains("READY=1"));
    server.reload().unwrap();
    let reloading = hear();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(hear().contains("READY=1"));
    server.signal("TERM").unwrap();
    assert!(hear().contains("STOPPING=1"));
    assert_eq!(server.wait().unwrap(), Some(0), "a stop that was asked for is a success");
}

#[test]
fn sockets_that_systemd_holds_are_used_and_outlive_the_server() {
    let _lab = Lab::new().unwrap();
    let site = site();
    let home = site.path().to_owned();
    let server = Server::new(site).unwrap();
    server.stage().unwrap();
    // systemd-socket-activate's work in ten lines: a listener as descriptor 3, and who it is for.
    let script = r#"
import os, socket, sys
listener = socket.socket(); listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("0.0.0.0", 2049)); listener.listen(64)
for round in range(2):
    early = socket.create_connection(("192.168.77.1", 2049))
    child = os.fork()
    if child == 0:
        os.dup2(listener.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
        os.execv(sys.argv[1], [sys.argv[1], "serve"])
    early.settimeout(30)
    early.sendall(bytes.fromhex("80000028" "00000007" "00000000" "00000002" "000186a3" "00000003" "00000000" + "00" * 16))
    assert len(early.recv(100)) == 28, "a call that came before the server is answered"
    os.kill(child, 9 if round == 0 else 15); os.waitpid(child, 0)
print("both")
"#;
    let done = Command::new("python3")
        .current_dir(&home)
        .args(["-c", script, env!("CARGO_BIN_EXE_oneroot")])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&done.stdout).trim(),
        "both",
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn a_transfer_that_runs_when_the_server_is_told_to_stop_is_finished_and_no_new_one_begins() {
    let _lab = Lab::new().unwrap();
    let site = site();
    let loaders = site.path().join("loaders");
    fs::create_dir(&loaders).unwrap();
    // More than the sockets' buffers hold, so that it can't be in flight whole.
    let loader = vec![7; 48 << 20];
    fs::write(loaders.join("ipxe.efi"), &loader).unwrap();
    let mut site = site;
    let text = site.text().replace("[server]\n", "[server]\nloaders = \"loaders\"\n");
    site.set_text(&text);
    let mut server = Server::start(site).unwrap();
    let mut transfer = TcpStream::connect(("192.168.77.1", 80)).unwrap();
    transfer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    transfer.write_all(b"GET /ipxe.efi HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut got = vec![0; 1 << 16];
    transfer.read_exact(&mut got).unwrap();
    server.signal("TERM").unwrap();
    while TcpStream::connect(("192.168.77.1", 80)).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
    transfer.read_to_end(&mut got).unwrap();
    assert!(got.len() > loader.len() && got.ends_with(&loader), "{} bytes came", got.len());
    assert_eq!(server.wait().unwrap(), Some(0));
}
