//! What stands in the way of a start, or of a boot, is told with its cause and with what to do: by `check`, by `serve`, once.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use oneroot_testkit::{Lab, Server, SiteFiles, ip};

fn site() -> SiteFiles {
    SiteFiles::with_loader().unwrap()
}

/// What `serve` says before it ends with an error.
fn refusal(site: SiteFiles) -> String {
    Server::start(site).err().unwrap().to_string()
}

fn oneroot(site: &SiteFiles, words: &[&str], path: Option<&str>) -> Output {
    site.write().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oneroot"));
    if let Ok(other) = std::env::var("ONEROOT_BIN") {
        command = Command::new(other);
    }
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.current_dir(site.path()).args(words).output().unwrap()
}

/// What `check` warns of, in one text; the site must be a good one.
fn warnings(site: &SiteFiles, path: Option<&str>) -> String {
    let done = oneroot(site, &["check"], path);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    String::from_utf8(done.stderr).unwrap()
}

#[test]
fn a_port_that_is_taken_is_told_with_how_to_see_by_whom_and_with_the_key_that_changes_it() {
    let _lab = Lab::new().unwrap();
    for (port, service, key) in [(80, "HTTP", "`http_port`"), (2049, "NFS", "`nfs_port`")] {
        let _other = TcpListener::bind(("192.168.77.1", port)).unwrap();
        let told = refusal(site());
        assert!(told.contains(&format!("cannot listen on TCP 192.168.77.1:{port} for {service}")), "{told}");
        assert!(told.contains(&format!("`ss -ltnp 'sport = :{port}'`")) && told.contains(key), "{told}");
    }
}

#[test]
fn an_address_that_this_host_does_not_have_is_warned_of_by_check_and_refused_by_serve_unless_it_may_come_later()
 {
    let _lab = Lab::new().unwrap();
    ip("addr del 192.168.77.1/24 dev lab0").unwrap();
    ip("addr add 192.168.77.5/24 dev lab0").unwrap();
    let told = "192.168.77.1 ([server] address) is not an address of this host, which has 192.168.77.5";
    let mut site = site();
    let warned = warnings(&site, None);
    assert!(warned.contains(told) && warned.contains("oneroot doesn't start without it"), "{warned}");
    let refused = refusal(self::site());
    assert!(refused.contains(told) && refused.contains("wait_for_interfaces = true"), "{refused}");
    assert!(!refused.contains("NFS server"), "{refused}");
    site.server("wait_for_interfaces = true");
    let warned = warnings(&site, None);
    assert!(warned.contains(told) && !warned.contains("doesn't start"), "{warned}");
    let _server = Server::start(site).unwrap();
}

#[test]
fn an_interface_that_is_not_there_is_all_that_is_told() {
    let _lab = Lab::new().unwrap();
    ip("link del lab0").unwrap();
    let refused = refusal(site());
    let told = refused.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>();
    assert!(told.last().unwrap().contains("no interface lab0"), "{refused}");
    assert!(
        !refused.contains("WARN") && !refused.contains("IPv6") && !refused.contains("over IPv4 alone"),
        "{refused}"
    );
}

#[test]
fn without_privileges_serve_says_once_which_it_needs_and_how_to_give_them() {
    let _lab = Lab::new().unwrap();
    let site = site();
    site.write().unwrap();
    let program = std::env::var("ONEROOT_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_oneroot").to_owned());
    let done = Command::new("setpriv")
        .args(["--bounding-set=-net_raw,-net_bind_service", &program, "serve"])
        .current_dir(site.path())
        .output()
        .unwrap();
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{told}");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 1, "{told}");
    assert!(told.contains("needs CAP_NET_BIND_SERVICE and CAP_NET_RAW: run it as root"), "{told}");
}

#[test]
fn what_is_missing_for_a_boot_is_told_by_check_and_at_the_start() {
    let _lab = Lab::new().unwrap();
    let mut site = SiteFiles::small().unwrap();
    std::fs::create_dir(site.path().join("loaders")).unwrap();
    site.server("loaders = \"loaders\"");
    let nothing = "nothing is staged yet, so no machine can boot: run `oneroot stage`";
    let loader = "loaders/ipxe.efi is not there";
    let warned = warnings(&site, None);
    assert!(warned.contains(nothing) && warned.contains(loader), "{warned}");
    let mut server = Server::new(site).unwrap();
    server.site.write().unwrap();
    server.restart().unwrap();
    says(&server, nothing);
    says(&server, loader);
    server.stage().unwrap();
    server.site.add("[profile.other]\nsource = { suite = \"trixie\" }\n");
    let some = "not staged yet: profile other; machines that need it can't boot";
    let warned = warnings(&server.site, Some("/nowhere"));
    assert!(warned.contains(some), "{warned}");
    assert!(warned.contains("profile other can't be staged: there is no mmdebstrap here"), "{warned}");
    server.kill9().unwrap();
    server.restart().unwrap();
    says(&server, some);
    assert_eq!(server.log().matches(nothing).count(), 1);
}

fn says(server: &Server, what: &str) {
    let begun = Instant::now();
    while !server.log().contains(what) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the log does not say {what:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
