//! Machines that give no sign any more: shown, and let go of only when somebody says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use oneroot_testkit::{Lab, RELAY, Server, SiteFiles};

#[test]
fn a_machine_without_a_sign_is_shown_and_let_go_of_only_on_request() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::small().unwrap();
    let boot = site.path().join("root/boot");
    fs::create_dir_all(&boot).unwrap();
    fs::write(boot.join("vmlinuz-1"), "kernel").unwrap();
    fs::write(boot.join("initrd.img-1"), "initrd").unwrap();
    site.machine("alpha", "0a", "").unwrap();
    let server = Server::start(site).unwrap();
    let held = || -> serde_json::Value {
        let told: serde_json::Value =
            serde_json::from_str(&server.run(&["gc", "--json", "--dry-run"]).unwrap()).unwrap();
        told["held"].clone()
    };
    let ask = |question: &str| {
        let mut socket = UnixStream::connect(server.site.path().join("state/control.sock")).unwrap();
        writeln!(socket, "{question}").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, Duration::from_secs(20)).unwrap().unwrap();
        let boot = alpha.boot().unwrap();
        let mut root = alpha.mount(&boot.export).unwrap();
        std::thread::sleep(Duration::from_secs(4));
        let last_sign = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            now.as_secs() - held()[0]["quiet"].as_u64().unwrap()
        };
        let before = last_sign();
        root.read_all().unwrap();
        assert!(last_sign() > before + 1, "a call is a sign");
        // Nothing is a day old here.
        server.run(&["gc", "--release", "1"]).unwrap();
        assert_eq!(held().as_array().unwrap().len(), 1);
        root.read_all().unwrap();
        assert!(ask("release-quiet 0").contains("\"pins\":1"));
        assert_eq!(held().as_array().unwrap().len(), 0);
        assert!(root.read_all().is_err(), "it has no root any more");
    })
    .unwrap();
}
