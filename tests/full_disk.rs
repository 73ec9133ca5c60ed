//! A full disk: nothing half done has a name, the reason is said, and all goes on when there is space again.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use oneroot_testkit::{Lab, RELAY, Server, SiteFiles, SmallDisk};

use crate::program::{oneroot, text};

const SITE: &str = "[server]\naddress = \"10.0.0.1\"\ninterface = \"lo\"\nstore = \"disk/store\"\nstate = \"disk/state\"\n\
                    [profile.small]\nsource = { directory = \"root\" }\n";
const PAGE: u64 = 4096;
const FILES: u64 = 12;

/// A tree each file of which says which round it is of.
fn write(home: &Path, round: u64) {
    for file in 0..FILES {
        let path = home.join(format!("root/d{}/f{file}", file % 3));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{round} {file} {}", "x".repeat(5000))).unwrap();
    }
}

/// The round that new boots would get; all files must be of it.
fn round(home: &Path) -> u64 {
    let round = |file: u64| -> u64 {
        let said = text(home, &["cat", "small", &format!("/d{}/f{file}", file % 3)]);
        said.split(' ').next().unwrap().parse().unwrap()
    };
    let first = round(0);
    assert!((1..FILES).all(|file| round(file) == first), "of two rounds");
    first
}

fn home() -> (tempfile::TempDir, SmallDisk) {
    let home = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&home.path().join("disk"), 16 << 20).unwrap();
    fs::write(home.path().join("site.toml"), SITE).unwrap();
    (home, disk)
}

fn litter(home: &Path) -> usize {
    fs::read_dir(home.join("disk/store/staging")).unwrap().count()
}

#[test]
fn staging_onto_a_full_disk_says_so_keeps_the_old_head_and_gives_back_what_it_took() {
    let (home, disk) = home();
    let home = home.path();
    write(home, 0);
    text(home, &["stage"]);
    let before = disk.free().unwrap();
    fs::write(home.join("root/big"), vec![7; 20 << 20]).unwrap();
    let full = oneroot(home, &["stage"]);
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    assert_eq!(full.status.code(), Some(1), "{said}");
    for word in ["cannot stage profile small", "disk/store", "is full", "oneroot gc", "nothing has changed"] {
        assert!(said.contains(word), "{word:?} in {said}");
    }
    assert_eq!((disk.free().unwrap(), litter(home)), (before, 0), "what it took is given back at once");
    assert_eq!(round(home), 0);
    fs::remove_file(home.join("root/big")).unwrap();
    write(home, 1);
    text(home, &["stage"]);
    assert_eq!(round(home), 1);
    assert!(text(home, &["verify"]).contains("all good"));
}

#[test]
fn whatever_the_last_page_was_for_the_store_is_whole_and_the_head_is_the_old_one_or_the_new_one() {
    let (home, disk) = home();
    let home = home.path();
    write(home, 0);
    text(home, &["stage"]);
    let (mut head, mut full, mut fit) = (0, 0, 0);
    // A stage of this tree takes some 30 pages; each round leaves one more.
    for (now, pages) in (1..).zip((0..44).step_by(2)) {
        write(home, now);
        if pages == 8 {
            // From here on there is a state beside the store.
            text(home, &["state", "backup", "backup"]);
        }
        disk.fill(pages * PAGE).unwrap();
        let staged = oneroot(home, &["stage"]);
        let said = String::from_utf8_lossy(&staged.stderr).into_owned();
        if staged.status.success() {
            fit += 1;
            head = now;
        } else {
            full += 1;
            assert!(staged.status.code() == Some(1) && said.contains("is full"), "{pages} pages: {said}");
        }
        assert!(text(home, &["verify"]).contains("all good"), "{pages} pages");
        assert_eq!(litter(home), 0, "{pages} pages");
        // What the message advises can be done where there is no page left.
        text(home, &["gc", "--keep", "1"]);
        disk.empty().unwrap();
        assert_eq!(round(home), head, "{pages} pages");
    }
    assert!(full > 5 && fit > 3, "{full} did not fit, {fit} did");
    text(home, &["stage"]);
    assert!(text(home, &["verify"]).contains("all good"));
}

#[test]
fn a_lease_that_a_full_disk_has_not_taken_is_not_acknowledged_and_machines_that_run_read_on() {
    const SOON: Duration = Duration::from_secs(30);
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::small().unwrap();
    for (name, text) in [("vmlinuz-1", "kernel"), ("initrd.img-1", "initrd")] {
        fs::create_dir_all(site.path().join("root/boot")).unwrap();
        fs::write(site.path().join("root/boot").join(name), text).unwrap();
    }
    site.add("[unknown]\nprofile = \"debian\"\n");
    let disk = SmallDisk::mount(&site.path().join("state"), 8 << 20).unwrap();
    let mut server = Server::start(site).unwrap();
    let told = lab.on_machines(RELAY, |host| {
        let first = host.lease(1, SOON).unwrap().unwrap();
        let boot = first.boot().unwrap();
        let mut root = first.mount(&boot.export).unwrap();
        let files = root.read_all().unwrap();
        assert_eq!(files["/etc/motd"], b"hello\n");

        disk.fill(0).unwrap();
        let mut told = vec![first];
        let refused = (2..90).find(|last| match host.lease(*last, Duration::from_secs(2)).unwrap() {
            Some(machine) => {
                told.push(machine);
                false
            }
            None => true,
        });
        let refused = refused.unwrap();
        assert!(server.log().contains("not acknowledged"), "{}", server.log());
        assert!(host.lease(refused, Duration::from_secs(2)).unwrap().is_none(), "it is still full");
        let status = server.run(&["status"]).unwrap();
        assert!(
            status.contains("the state cannot be written (") && status.contains("free space"),
            "{status}"
        );
        // Those that run notice nothing.
        assert_eq!(root.read_all().unwrap(), files);
        assert_eq!(first.get(&format!("/b/{}/kernel", boot.id)).unwrap(), (200, b"kernel".to_vec()));
        // A boot would need a pin, and gets words on the screen in its place; the machine asks again by itself.
        let refusal = first.boot().unwrap_err().to_string();
        assert!(refusal.contains("free space") && refusal.contains("chain --replace"), "{refusal}");

        disk.empty().unwrap();
        told.push(host.lease(refused, SOON).unwrap().unwrap());
        assert!(!server.run(&["status"]).unwrap().contains("cannot be written"));
        first.boot().unwrap();
        told
    });
    let told = told.unwrap();
    server.kill9().unwrap();
    server.restart().unwrap();
    let backup = server.site.path().join("backup");
    server.run(&["state", "backup", backup.to_str().unwrap()]).unwrap();
    let backup = fs::read_to_string(backup).unwrap();
    for machine in told {
        let lease =
            backup.lines().find(|line| line.contains(&format!("leases/52:54:00:00:00:{:02x}", machine.last)));
        let kept = lease.is_some_and(|lease| lease.contains(&machine.address.to_string()));
        assert!(kept, "{machine:?} was acknowledged, and has {lease:?}");
    }
}

#[test]
fn machines_that_booted_before_a_restart_boot_from_a_store_whose_disk_has_become_full() {
    const SOON: Duration = Duration::from_secs(30);
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    // All that is made for a machine when it boots: rendered templates, a borrowed kernel, its own files.
    site.file("common", "etc/name.j2", "{{ name }}\n").unwrap();
    fs::create_dir_all(site.path().join("app/etc")).unwrap();
    fs::write(site.path().join("app/etc/app"), "app").unwrap();
    site.add(
        "[profile.app]\nsource = { directory = \"app\" }\nkernel_from = \"debian\"\nlayers = [\"layers/common\"]\n\
         [machine.beta]\nmac = \"52:54:00:00:00:0b\"\naddress = \"192.168.77.11\"\nprofile = \"app\"\n",
    );
    let disk = SmallDisk::mount(&site.path().join("store"), 8 << 20).unwrap();
    let mut server = Server::start(site).unwrap();
    let boots = |server: &Server| {
        let booted = lab.on_machines(RELAY, |host| {
            for (last, name) in [(10, "alpha"), (11, "beta")] {
                let machine = host.lease(last, SOON).unwrap().unwrap();
                let boot = machine.boot().unwrap_or_else(|cause| panic!("{name}: {cause}\n{}", server.log()));
                assert_eq!(
                    machine.get(&format!("/b/{}/kernel", boot.id)).unwrap(),
                    (200, b"kernel".to_vec())
                );
                let files = machine.mount(&boot.export).unwrap().read_all().unwrap();
                assert_eq!(files["/etc/name"], format!("{name}\n").into_bytes());
            }
        });
        booted.unwrap();
    };
    boots(&server);
    server.kill9().unwrap();
    disk.fill_up().unwrap();
    server.restart().unwrap();
    boots(&server);
}
