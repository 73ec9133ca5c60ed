//! The site's program that says what machines boot: what it is asked and answers, and what the worst of them costs the server, its
//! other machines and the host.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

mod answers;
mod bounds;
mod examples;
mod schemas;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use oneroot_testkit::{Host, Lab, Machine, RELAY, Server, SiteFiles};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// A site whose `alpha` says itself what it boots; `beta` and `gamma` are in a group that gives them `debian`, and unknown machines
/// have it too, but for what the program says.
fn site(decide: &str, program: &str) -> SiteFiles {
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    site.add(
        "[profile.kiosk]\nextends = \"debian\"\nargs = [\"kiosk=1\"]\n\
         [workload.print]\nargs = [\"print=1\"]\n\
         [group.lab]\nmachines = [\"beta\", \"gamma\"]\nprofile = \"debian\"\nargs = [\"lab=1\"]\n\
         [machine.beta]\nmac = \"52:54:00:00:00:0b\"\naddress = \"192.168.77.11\"\nargs = [\"own=1\"]\n\
         [machine.gamma]\nmac = \"52:54:00:00:00:0c\"\naddress = \"192.168.77.12\"\n\
         [unknown]\nprofile = \"debian\"\n",
    );
    // As long as there may be, where it is not time that is looked at: a host may have little of it for a test.
    let timeout = if decide.contains("timeout") { "" } else { "timeout = \"60s\"" };
    site.add(&format!("[decide]\nprogram = \"./decide\"\n{timeout}\n{decide}\n"));
    put(&site, program);
    site
}

/// Another program in the place of the site's.
fn put(site: &SiteFiles, program: &str) {
    let path = site.path().join("decide");
    // A new file, for the old one may be running.
    let _ = fs::remove_file(&path);
    fs::write(&path, program).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A server with alpha, beta and gamma on the network.
fn with_machines(site: SiteFiles, act: impl FnOnce(&mut Server, &Host, [Machine; 3]) + Send) {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site).unwrap();
    lab.on_machines(RELAY, |host| {
        let machines = [0x0a, 0x0b, 0x0c].map(|last| host.lease(last, PATIENCE).unwrap().unwrap());
        act(&mut server, host, machines);
    })
    .unwrap();
}

/// The boot script of a machine that tells nothing of itself.
fn script(machine: Machine) -> String {
    let path = format!("/boot/52-54-00-00-00-{:02x}.ipxe?", machine.last);
    // Whoever has no answer within the patience of one asks again, as iPXE does.
    let answer = (0..4).find_map(|_| machine.get(&path).ok());
    String::from_utf8(answer.unwrap().1).unwrap()
}

/// Whether a script boots the profile that only the program gives.
fn is_kiosk(script: &str) -> bool {
    assert!(script.contains("/b/"), "a boot: {script}");
    script.contains("kiosk=1")
}

/// What the program was asked so far, where it writes that down as `asked` in its directory.
fn asked(server: &Server) -> Vec<Value> {
    let text = fs::read_to_string(server.site.path().join("asked")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `status` says of the program.
fn told(server: &Server) -> Value {
    let status: Value = serde_json::from_str(&server.run(&["status", "--json"]).unwrap()).unwrap();
    status["decide"].clone()
}

/// Lets so many seconds have passed, in all.
fn let_pass(server: &Server, seconds: u64) {
    let mut control = UnixStream::connect(server.site.path().join("state/control.sock")).unwrap();
    writeln!(control, "passed {seconds}").unwrap();
    let mut answer = String::new();
    control.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, seconds.to_string());
}
