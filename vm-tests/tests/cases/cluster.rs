//! The site of docs/how-to/cluster-node.md: a node that is fit for work comes up with the cluster's key, keys of its own and what the
//! file server has, and asks its controller for work; one that is not fit does not come up, and says why.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use oneroot_testkit::{Ganesha, Lab, Server, SiteFiles};
use oneroot_vm_tests::{Guest, Hardware, artifacts};

use crate::example::{self, changed};
use crate::own_init::power_off;
use crate::{SOON, STEP, assert_no_io_error};

const NAS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 3);
const CONTROLLER: &str = "192.168.77.4";

/// The example, with nodes as small as they are here.
fn site(debian: &Path) -> SiteFiles {
    let recipe = include_str!("../../debian/cluster.sh");
    let mut site = example::site("cluster-node", "10.30.0.", debian, recipe, &[]);
    let text = changed(site.text(), "\"60000\"", "\"600\"");
    let text = changed(&text, "processors = \"16\"", "processors = \"1\"");
    // A kernel takes one serial line, the first that it is told of, and says nothing where there is none.
    site.set_text(&changed(&text, "console=ttyS1,115200n8", "console=ttyS0"));
    site
}

/// The page has the admin look munge's numbers up, and put them into the site.
fn with_munges_numbers(server: &mut Server) {
    server.stage().unwrap();
    let users = server.run(&["cat", "node-01", "/etc/passwd"]).unwrap();
    let munge = users.lines().find_map(|line| line.strip_prefix("munge:x:")).unwrap();
    let (user, rest) = munge.split_once(':').unwrap();
    let (group, _) = rest.split_once(':').unwrap();
    let (user, group) = (format!("user = {user}"), format!("group = {group}"));
    let text = changed(&changed(server.site.text(), "user = 101", &user), "group = 102", &group);
    server.site.set_text(&text);
    server.site.write().unwrap();
}

fn fingerprint(node: &mut Guest) -> String {
    let key = node.ok("ssh-keyscan -t ed25519 localhost 2>/dev/null").unwrap();
    assert!(key.contains("ssh-ed25519"), "sshd tells none: {key:?}");
    key
}

#[test]
#[ignore = "make test-vm-all"]
fn a_node_takes_work_with_keys_that_stay_its_own_and_one_that_is_not_fit_says_so_and_stays_away() {
    let Some(debian) = artifacts::here(artifacts::cluster) else { return };
    let lab = Lab::new().unwrap();
    let hosts = [("controller", CONTROLLER.to_owned()), ("nas", NAS.to_string())];
    let _names = example::names(&lab, "cluster.example", &hosts);
    let work = tempfile::tempdir().unwrap();
    let [home, scratch] = ["home", "scratch"].map(|kind| work.path().join(kind));
    fs::create_dir_all(&home).unwrap();
    fs::create_dir_all(&scratch).unwrap();
    let exports = [("/export/home", home.as_path()), ("/export/scratch", scratch.as_path())];
    let export = || Ganesha::of_users(&exports, work.path(), NAS);
    let _nas = lab.on_host(&format!("{NAS}/24"), export).unwrap().unwrap();
    let (asked, is_asked) = mpsc::channel();
    let listens = || TcpListener::bind((CONTROLLER, 6817)).unwrap();
    let controller = lab.on_host(&format!("{CONTROLLER}/24"), listens).unwrap();
    thread::spawn(move || asked.send(controller.accept()));
    let mut server = Server::new(site(&debian)).unwrap();
    with_munges_numbers(&mut server);
    server.restart().unwrap();
    for node in ["node-01", "node-02"] {
        server.tell(&["secret", "set", node, "munge_key"], &"the cluster's ".repeat(20)).unwrap();
    }
    server.run(&["assign", "node-02", "--var", "memory=60000"]).unwrap();

    let mut unfit = Hardware::new("node-02", "30:00:02").memory(768).power_on(&lab).unwrap();
    unfit.wait_for("unfit: memory is ", STEP).unwrap();
    server.wait_for_log("its hook 50-examine-required failed", SOON).unwrap();
    unfit.power_cut().unwrap();
    server.run(&["unassign", "node-02", "--var", "memory"]).unwrap();

    let mut node = Hardware::new("node-01", "30:00:01").memory(768).power_on(&lab).unwrap();
    node.log_in().unwrap();
    server.wait_for_step("node-01", "up", STEP).unwrap();
    assert!(node.ok("munge -n | unmunge").unwrap().contains("Success"));
    let mounted = "nas.cluster.example:/export/scratch";
    assert_eq!(node.ok("findmnt -no SOURCE /scratch").unwrap(), mounted);
    is_asked.recv_timeout(STEP).unwrap().unwrap();
    assert_eq!(node.ok("cat /etc/motd").unwrap(), "node-01, rack unknown");
    let key = fingerprint(&mut node);
    assert!(server.run(&["secret", "list"]).unwrap().contains(key.split(' ').nth(2).unwrap()), "{key}");
    let credential = node.ok("munge -n").unwrap();

    let mut other = Hardware::new("node-02", "30:00:02").memory(768).power_on(&lab).unwrap();
    other.log_in().unwrap();
    assert!(
        other.ok(&format!("echo {credential} | unmunge")).unwrap().contains("Success"),
        "one key for all"
    );
    assert_ne!(fingerprint(&mut other), key);
    node.type_line("reboot").unwrap();
    node.log_in().unwrap();
    server.wait_for_step("node-01", "up", STEP).unwrap();
    assert_eq!(fingerprint(&mut node), key);
    for guest in [&mut node, &mut other] {
        assert_no_io_error(guest);
        power_off(guest);
    }
}
