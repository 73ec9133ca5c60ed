//! Who may end a boot: not an ordinary user of the machine, who fetches its script and says that it is up, and not another
//! host that has read the pass on its command line.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use oneroot_testkit::{Clock, Lab, Machine, RELAY, Server, SiteFiles, ip};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server whose clock the test moves.
struct Clocked {
    server: Server,
    clock: Clock,
}

impl Clocked {
    fn start(site: SiteFiles) -> Self {
        let (server, clock) = Clock::start(site).unwrap();
        Self { server, clock }
    }

    /// Phases of a machine's pins, sorted.
    fn pins(&self, machine: &str) -> Vec<String> {
        let told: Value =
            serde_json::from_str(&self.server.run(&["gc", "--json", "--dry-run"]).unwrap()).unwrap();
        let held = told["held"].as_array().unwrap().iter().filter(|pin| pin["machine"] == machine);
        let mut phases: Vec<String> = held.map(|pin| pin["phase"].as_str().unwrap().to_owned()).collect();
        phases.sort();
        phases
    }

    fn wait_for_pins(&self, machine: &str, phases: &[&str]) {
        let begun = Instant::now();
        while self.pins(machine) != phases {
            assert!(begun.elapsed() < PATIENCE, "{machine} holds {:?}, not {phases:?}", self.pins(machine));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn change(site: &Path) {
    fs::write(site.join("root/changed"), "a later tree").unwrap();
}

#[test]
fn a_user_who_fetches_the_script_and_says_up_takes_no_root_away_however_long_nobody_reads() {
    let lab = Lab::new().unwrap();
    let mut clocked = Clocked::start(SiteFiles::with_two().unwrap());
    let (alpha, root) = lab
        .on_machines(RELAY, |host| {
            let [alpha, beta] = [10, 11].map(|last| host.lease(last, PATIENCE).unwrap().unwrap());
            let [mut root, mut other] = [alpha, beta].map(|machine| {
                let boot = machine.boot().unwrap();
                let mut root = machine.mount(&boot.export).unwrap();
                root.say(&format!("{}.up", boot.id)).unwrap();
                root
            });
            for machine in ["alpha", "beta"] {
                clocked.wait_for_pins(machine, &["up"]);
            }
            change(clocked.server.site.path());
            clocked.server.stage().unwrap();

            // Alpha's user fetches the script, from any port, and looks a name up: the kernel does it for her, from a port of root's.
            let fetched = alpha.boot().unwrap();
            root.say(&format!("{}.up", fetched.id)).unwrap();
            // Beta boots in earnest.
            let booted = beta.boot().unwrap();
            let mut later = beta.mount(&booted.export).unwrap();
            later.say(&format!("{}.up", booted.id)).unwrap();
            other.read_all().unwrap();
            // Words are heard one after the other, so alpha's has been.
            clocked.wait_for_pins("beta", &["up", "up"]);

            (alpha, root)
        })
        .unwrap();

    // Connections end, the server starts again, and for two days nobody says a word. Beta's old root goes meanwhile.
    clocked.server.kill9().unwrap();
    clocked.server.restart().unwrap();
    clocked.clock.is_ahead_by(Duration::from_secs(2 * 86_400)).unwrap();
    clocked.wait_for_pins("beta", &["up"]);
    lab.on_machines(RELAY, |host| {
        ip(&format!("addr add {}/24 dev {}", alpha.address, host.nic())).unwrap();
        alpha.resume(root.handle().to_vec()).unwrap().read_all().unwrap();
    })
    .unwrap();
    assert_eq!(clocked.pins("alpha"), ["booting", "up"]);
}

/// Two machines that share a view, for neither has a layer of its own.
#[test]
fn a_word_is_heard_from_the_machine_whose_boot_it_names_alone() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    site.add(
        "[machine.gamma]\nmac = \"52:54:00:00:00:0c\"\nprofile = \"debian\"\n\
         [machine.delta]\nmac = \"52:54:00:00:00:0d\"\nprofile = \"debian\"\n",
    );
    let server = Server::start(site).unwrap();
    lab.on_machines(RELAY, |host| {
        let [mut gamma, mut delta] = [12, 13].map(|last| {
            let machine = host.lease(last, PATIENCE).unwrap().unwrap();
            let boot = machine.boot().unwrap();
            (boot.id, machine.mount(&boot.export).unwrap())
        });
        delta.1.say(&format!("{}.up", gamma.0)).unwrap();
        delta.1.say(&format!("{}.here", delta.0)).unwrap();
        server.wait_for_step("delta", "here", PATIENCE).unwrap();
        assert_eq!(server.machine("gamma").unwrap()["phase"], "running");
        gamma.1.say(&format!("{}.up", gamma.0)).unwrap();
        server.wait_for_step("gamma", "up", PATIENCE).unwrap();
    })
    .unwrap();
}

/// What the server says of the last refused mount of alpha's root.
fn refused(server: &Server) -> String {
    server.machine("alpha").unwrap()["refused"]["told"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_address_of_another_dhcp_server_gets_no_root_and_is_told_of() {
    let lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
    let boot = lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        alpha.boot().unwrap()
    });
    let boot = boot.unwrap();
    let mounted = lab.on_host("192.168.77.209/24", || {
        Machine::at(10, [192, 168, 77, 209].into()).mount(&boot.export).map(drop).unwrap_err().to_string()
    });
    assert!(mounted.unwrap().ends_with("is answered 13"));
    let told = "192.168.77.209 asked for alpha's root, but alpha has 192.168.77.10: is another DHCP server on this network?";
    assert_eq!(refused(&server), told);
    assert!(server.run(&["status"]).unwrap().contains(told) && server.log().contains(told));
}

/// A host with a MAC and an address of its own.
fn on_nic<T: Send>(lab: &Lab, last: u8, address: Ipv4Addr, act: impl FnOnce(Machine) -> T + Send) -> T {
    let done = lab.plug("lab0", |nic| {
        ip(&format!("link set {nic} address 52:54:00:00:00:{last:02x}")).unwrap();
        ip(&format!("addr add {address}/24 dev {nic}")).unwrap();
        act(Machine::at(last, address))
    });
    done.unwrap()
}

#[test]
fn beside_another_dhcp_server_another_host_mounts_nothing_with_a_machines_pass() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    let proxied =
        site.text().replace("pool = \"192.168.77.100-192.168.77.199\"\nlease = \"12h\"", "proxy = true");
    site.set_text(&proxied.replace("address = \"192.168.77.10\"", ""));
    let server = Server::start(site).unwrap();
    let (runs, running) = mpsc::channel();
    let (tried, is_tried) = mpsc::channel();
    std::thread::scope(|scope| {
        let lab = &lab;
        let alpha = scope.spawn(move || {
            on_nic(lab, 10, [192, 168, 77, 50].into(), move |alpha| {
                let boot = alpha.boot().unwrap();
                let mut root = alpha.mount(&boot.export).unwrap();
                root.say(&format!("{}.up", boot.id)).unwrap();
                // The pass of a plan that is not mounted is as easily had.
                runs.send([boot.export.clone(), alpha.boot().unwrap().export]).unwrap();
                is_tried.recv_timeout(PATIENCE).unwrap();
                let read = root.read_all().unwrap();
                alpha.mount(&boot.export).unwrap();
                read.len()
            })
        });
        let passes = running.recv_timeout(PATIENCE).unwrap();
        server.wait_for_step("alpha", "up", PATIENCE).unwrap();
        on_nic(lab, 11, [192, 168, 77, 209].into(), |thief| {
            for pass in &passes {
                let refused = thief.mount(pass).map(drop).unwrap_err().to_string();
                assert!(refused.ends_with("is answered 13"), "{refused}");
            }
        });
        let told =
            "192.168.77.209 asked for alpha's root, but is 52:54:00:00:00:0b, which is not a MAC of alpha";
        assert_eq!(refused(&server), told);
        assert_eq!(server.log().matches(told).count(), 1, "once a minute");
        tried.send(()).unwrap();
        assert!(alpha.join().unwrap() > 2, "alpha reads on");
    });
    assert_eq!(server.machine("alpha").unwrap()["address"], "192.168.77.50");
}

/// A router with two hosts behind it, which are addresses of its own: nobody's MAC is seen from here but the router's.
#[test]
fn behind_a_router_a_pass_opens_elsewhere_only_once_nobody_answers_where_the_root_is_mounted() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    let text = site.text().replace("address = \"192.168.77.10\"", "");
    site.set_text(&text);
    site.add("[[network]]\nsubnet = \"10.9.0.0/24\"\nproxy = true\n");
    let server = Server::start(site).unwrap();
    ip("route add 10.9.0.0/24 via 192.168.77.3").unwrap();
    on_nic(&lab, 3, [192, 168, 77, 3].into(), |_| {
        let [alpha, other] = [5, 6].map(|last| Machine::at(10, [10, 9, 0, last].into()));
        for machine in [alpha, other] {
            ip(&format!("addr add {}/32 dev lo", machine.address)).unwrap();
        }
        let boot = alpha.boot().unwrap();
        let mut root = alpha.mount(&boot.export).unwrap();
        root.say(&format!("{}.up", boot.id)).unwrap();
        let planned = alpha.boot().unwrap();
        for pass in [&boot.export, &planned.export] {
            assert!(other.mount(pass).map(drop).unwrap_err().to_string().ends_with("is answered 13"));
        }
        assert!(
            refused(&server).starts_with("10.9.0.6 asked for alpha's root, but somebody answers at 10.9.0.5")
        );
        root.read_all().unwrap();
        alpha.mount(&boot.export).unwrap();
        // Another server has given the machine another address.
        ip("addr del 10.9.0.5/32 dev lo").unwrap();
        other.mount(&boot.export).unwrap().read_all().unwrap();
    });
}

/// Two hosts behind a router, where another server gives addresses, and a machine of the site that has its address of ours.
#[test]
fn a_host_behind_a_router_takes_no_lease_by_a_script_and_makes_no_plans_by_asking_from_here_and_there() {
    let lab = Lab::new().unwrap();
    let mut files = SiteFiles::with_two().unwrap();
    files.add("[[network]]\nsubnet = \"10.9.0.0/24\"\nproxy = true\n");
    let server = Server::start(files).unwrap();
    ip("route add 10.9.0.0/24 via 192.168.77.3").unwrap();
    let (asks, asked) = mpsc::channel();
    let (boots, booted) = mpsc::channel();
    std::thread::scope(|scope| {
        let lab = &lab;
        scope.spawn(move || {
            on_nic(lab, 3, [192, 168, 77, 3].into(), |_| {
                let hosts = [5, 6].map(|last| Machine::at(10, [10, 9, 0, last].into()));
                hosts.iter().for_each(|host| ip(&format!("addr add {}/32 dev lo", host.address)).unwrap());
                for turn in asked {
                    let refused: Vec<String> = hosts
                        .iter()
                        .filter_map(|host| host.boot().err())
                        .map(|cause| cause.to_string())
                        .collect();
                    boots.send((turn, refused)).unwrap();
                }
            });
        });
        let others_ask = move |turn: u32| {
            asks.send(turn).unwrap();
            let (answered, refused) = booted.recv_timeout(PATIENCE).unwrap();
            assert_eq!(answered, turn);
            refused
        };
        let server = &server;
        lab.on_machines(RELAY, move |host| {
            let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
            let boot = alpha.boot().unwrap();
            // While it loads, nobody else is told anything.
            for refused in others_ask(1) {
                assert!(refused.contains("this machine boots at 192.168.77.10"), "{refused}");
            }
            let mut root = alpha.mount(&boot.export).unwrap();
            root.say(&format!("{}.up", boot.id)).unwrap();
            server.wait_for_step("alpha", "up", PATIENCE).unwrap();
            for turn in 2..20 {
                assert_eq!(others_ask(turn).len(), 1, "one of them was told a boot, the other waits");
            }
            // It is where its lease says: its root, its next script, and its next mount.
            root.read_all().unwrap();
            let next = alpha.boot().unwrap();
            alpha.mount(&next.export).unwrap().read_all().unwrap();
        })
        .unwrap();
    });
    let planned =
        server.log().lines().filter(|line| line.contains("boots") && line.contains("view=")).count();
    assert_eq!(planned, 3, "alpha's two and one of the hosts'");
}
