//! Where a machine's log goes (`log` of a profile): what it said before it was started again can be read on another host.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use oneroot_testkit::{Lab, SERVER, Server, SiteFiles, patient};
use oneroot_vm_tests::{Guest, Hardware, artifacts};

use crate::own_init::power_off;
use crate::{POOL, SOON, STEP, assert_no_io_error};

/// What docs/how-to/render-farm.md has done on the host of the logs.
const TAKES_LOGS: &str = "sed s/--listen-https=-3/--listen-http=-3/ /lib/systemd/system/systemd-journal-remote.service \
                          >/etc/systemd/system/systemd-journal-remote.service && systemctl daemon-reload && \
                          systemctl enable --now systemd-journal-remote.socket";

/// Alpha sends its journal to beta, and beta its own to a syslog on the server's host.
fn site(debian: &Path) -> SiteFiles {
    let mut site = SiteFiles::new(debian, POOL, "1h").unwrap();
    let patient = "[Manager]\nDefaultDeviceTimeoutSec=30min\nDefaultTimeoutStartSec=30min\n";
    site.file("common", "etc/systemd/system.conf.d/patient.conf", patient).unwrap();
    for (name, last, log) in
        [("alpha", "0a", "http://192.168.77.11:19532"), ("beta", "0b", &format!("syslog://{SERVER}"))]
    {
        let address = u8::from_str_radix(last, 16).unwrap();
        site.add(&format!(
            "[profile.of-{name}]\nextends = \"debian\"\nlog = \"{log}\"\nargs = [\"no_timer_check\"]\n\n\
             [machine.{name}]\nmac = \"52:54:00:00:00:{last}\"\nprofile = \"of-{name}\"\naddress = \"192.168.77.{address}\"\n"
        ));
    }
    site
}

/// Waits until beta has a line of alpha's journal. It may have it twice: what was sent last before an interruption is sent again.
fn has(beta: &mut Guest, line: &str) {
    let begun = Instant::now();
    let told = format!(
        "journalctl --directory /var/log/journal/remote --output cat --identifier lesson | grep -x '{line}'"
    );
    while beta.run(&told).unwrap().0 != 0 {
        let why = "journalctl --no-pager -u systemd-journal-remote; ls -lR /var/log/journal/remote";
        assert!(begun.elapsed() < patient(SOON), "beta never had {line:?}:\n{}", beta.ok(why).unwrap());
        thread::sleep(Duration::from_secs(1));
    }
}

/// A host that takes syslog by UDP, and what it has been told.
struct Syslog(Arc<Mutex<String>>);

impl Syslog {
    fn start() -> Self {
        let socket = UdpSocket::bind((SERVER, 514)).unwrap();
        let told = Arc::new(Mutex::new(String::new()));
        let tells = told.clone();
        // A boot says more than a socket keeps. It ends with the process.
        thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(length) = socket.recv(&mut bytes) {
                let line = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
                tells.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self(told)
    }

    fn is_told(&self, line: &str) {
        let begun = Instant::now();
        while !self.0.lock().unwrap().contains(line) {
            assert!(begun.elapsed() < patient(SOON), "no {line:?} in:\n{}", self.0.lock().unwrap());
            thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
#[ignore = "make test-vm-all"]
fn what_a_machine_has_logged_outlives_its_next_boot_and_a_host_of_logs_that_was_away() {
    let Some(debian) = artifacts::here(artifacts::logs) else { return };
    let lab = Lab::new().unwrap();
    let syslog = Syslog::start();
    let server = Server::start(site(&debian)).unwrap();
    let mut beta = Hardware::new("beta", "0b").power_on(&lab).unwrap();
    beta.log_in().unwrap();
    beta.ok(TAKES_LOGS).unwrap();
    beta.ok("logger -t lesson 'by way of syslog'").unwrap();
    syslog.is_told("by way of syslog");

    let mut alpha = Hardware::new("alpha", "0a").power_on(&lab).unwrap();
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    alpha.ok("logger -t lesson 'the first lesson'").unwrap();
    has(&mut beta, "the first lesson");

    // What a tree's own unit does not say on every systemd.
    let tries = "systemctl show -p Restart -p RestartUSec -p StartLimitIntervalUSec systemd-journal-upload";
    let mut tries: Vec<String> =
        alpha.ok(tries).unwrap().lines().map(|line| line.trim().to_owned()).collect();
    tries.sort();
    assert_eq!(tries, ["Restart=on-failure", "RestartUSec=10s", "StartLimitIntervalUSec=0"]);

    // A host of logs is started again, too.
    beta.ok("systemctl stop systemd-journal-remote.socket systemd-journal-remote.service").unwrap();
    alpha.ok("logger -t lesson 'to an empty room'").unwrap();
    thread::sleep(Duration::from_secs(30));
    beta.ok("systemctl start systemd-journal-remote.socket").unwrap();
    has(&mut beta, "to an empty room");

    alpha.type_line("reboot").unwrap();
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    alpha.ok("logger -t lesson 'the second lesson'").unwrap();
    has(&mut beta, "the second lesson");
    alpha.fails("journalctl --output cat --identifier lesson | grep 'the first lesson'").unwrap();
    // Of the boot before.
    has(&mut beta, "the first lesson");
    for guest in [&mut alpha, &mut beta] {
        assert_no_io_error(guest);
        power_off(guest);
    }
}
