//! A kernel's NFS client at work on a merged view, and programs at work on the overlay above it. The programs and scripts
//! that run in the guest are in `vm-tests/battery`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use oneroot_testkit::wire::NFS;
use oneroot_testkit::{Lab, Server, SiteFiles, ip};
use oneroot_vm_tests::walk::{Lister, Listing as _, Walk, procedure};
use oneroot_vm_tests::{Guest, artifacts};

use crate::{POOL, STEP, assert_no_io_error, text};

/// In-kernel mount: text options, no helper program. What is mounted is the machine's own view.
fn mount(guest: &mut Guest, server: &Server, options: &str) {
    let machine = server.machine("alpha").unwrap();
    let view = text(&machine, "view");
    guest.ok("mkdir -p /mnt/view; umount /mnt/view 2>/dev/null; true").unwrap();
    let options = format!("ro,vers=3,nolock,addr=192.168.77.1,{options}");
    guest.ok(&format!("mount -i -t nfs -o {options} 192.168.77.1:/v/{view} /mnt/view")).unwrap();
}

/// A site whose one machine has every kind of layer, and the battery in one of them.
fn site(debian: &Path) -> SiteFiles {
    let mut site = SiteFiles::new(debian, POOL, "1h").unwrap();
    site.machine("alpha", "0a", "").unwrap();
    site.file("common", "srv/common", "from a layer of the profile\n").unwrap();
    site.file("alpha", "srv/alpha", "the machine's own\n").unwrap();
    site.file("alpha", "srv/rendered.j2", "{{ name }}\n").unwrap();
    site.file("alpha", "usr/share/doc/.wh.bash", "").unwrap();
    site.file("common", "srv/empty", "").unwrap();
    site.file("common", "usr/bin/added", "#!/bin/sh\necho added\n").unwrap();
    let battery = Path::new(env!("CARGO_MANIFEST_DIR")).join("battery");
    for script in ["tree.sh", "reads.pl"] {
        let text = fs::read_to_string(battery.join(script)).unwrap();
        site.file("common", &format!("opt/battery/{script}"), &text).unwrap();
    }
    let program = site.path().join("layers/common/opt/battery/posix");
    // Static: the guest's C library is its own.
    let compiled =
        Command::new("cc").args(["-static", "-O1", "-o"]).arg(&program).arg(battery.join("posix.c")).status();
    assert!(compiled.unwrap().success());
    site
}

/// Walks as `find -ls` does, and says what it took.
fn walk(guest: &mut Guest, what: &str, top: &str) -> Walk {
    let walk = Walk::of(guest, Lister::Find, top, STEP).unwrap();
    let (sent, count) = (&walk.sent, |procedure| walk.sent.of(NFS, procedure));
    println!(
        "find -ls {what}: {} directories, {} names: {} calls ({:.2} a directory): {} READDIRPLUS, {} READDIR, {} GETATTR, {} LOOKUP, {} ACCESS; {} READLINK beside them",
        walk.directories,
        walk.names,
        sent.for_listing(),
        sent.for_listing() as f64 / walk.directories as f64,
        count(procedure::READDIRPLUS),
        count(procedure::READDIR),
        count(procedure::GETATTR),
        count(procedure::LOOKUP),
        count(procedure::ACCESS),
        count(procedure::READLINK),
    );
    walk
}

/// What a machine's own root is mounted with, as far as it matters here: a view never changes.
const AS_ROOT: &str = "nocto,acregmin=86400,acregmax=86400,acdirmin=86400,acdirmax=86400";

#[test]
fn the_kernels_client_sees_the_view_path_for_path_and_byte_for_byte_with_few_calls() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let server = Server::start(site(&debian)).unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    alpha.log_in().unwrap();
    alpha.wait_until_settled();

    alpha.ok("echo 3 >/proc/sys/vm/drop_caches").unwrap();
    mount(&mut alpha, &server, &format!("nosharecache,{AS_ROOT}"));
    let walks = [
        ("cold", walk(&mut alpha, "cold, on the mount", "/mnt/view")),
        ("warm", walk(&mut alpha, "warm, on the mount", "/mnt/view")),
        ("cold", {
            alpha.ok("umount /mnt/view; echo 3 >/proc/sys/vm/drop_caches").unwrap();
            walk(&mut alpha, "cold, on the overlay", "/")
        }),
        ("warm", walk(&mut alpha, "warm, on the overlay", "/")),
    ];
    for (state, walk) in &walks {
        // A few calls are other programs': the machine is a running one.
        let few = walk.directories / 30;
        assert!(walk.sent.one_by_one() <= few, "nothing is asked for each file");
        let most = if *state == "cold" { walk.directories * 23 / 10 } else { few };
        assert!(walk.sent.for_listing() <= most, "{} calls", walk.sent.for_listing());
    }
    // By four connections, each path and each byte as `oneroot export` writes them on the host.
    mount(&mut alpha, &server, "nconnect=4");
    let tree = alpha
        .run_for("sh /opt/battery/tree.sh /mnt/view >/tmp/tree; sha256sum </tmp/tree", STEP * 2)
        .unwrap();
    if rustix::process::geteuid().is_root()
        && fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295")
    {
        let out = server.site.path().join("exported");
        server.run(&["export", "alpha", out.to_str().unwrap()]).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("battery/tree.sh");
        let here = Command::new("sh").arg(script).arg(&out).output().unwrap();
        let lines: Vec<&str> = std::str::from_utf8(&here.stdout).unwrap().lines().collect();
        assert!(lines.len() > 10_000, "{} lines", lines.len());
        let path = server.site.path().join("expected");
        fs::write(&path, &here.stdout).unwrap();
        let summed = Command::new("sha256sum").stdin(fs::File::open(&path).unwrap()).output().unwrap();
        let expected = String::from_utf8(summed.stdout).unwrap();
        if tree.1.trim() != expected.trim() {
            differ(&mut alpha, &lines);
        }
    } else {
        println!("skipped: comparing with an export needs real root, for the owners");
    }
    // Eight scans at once, programs and libraries mapped from the mount, random reads of a large file.
    let scans = "(for n in 1 2 3 4 5 6 7 8; do (find /mnt/view -xdev -type f -newermt 2100-01-01; find /mnt/view -xdev -ls | md5sum >/tmp/scan$n) & done; wait); sort -u /tmp/scan? | wc -l";
    assert_eq!(alpha.run_for(scans, STEP * 2).unwrap().1, "1", "all saw the same");
    assert_eq!(alpha.ok("chroot /mnt/view /usr/bin/perl -e 'print 6*7'").unwrap(), "42");
    let large = "L=$(find /mnt/view/usr -xdev -type f -size +4M | sort | head -1); cat $L >/tmp/copy; echo 3 >/proc/sys/vm/drop_caches; perl /opt/battery/reads.pl $L /tmp/copy";
    assert_eq!(alpha.run_for(large, STEP).unwrap().1, "same");
    assert_eq!(alpha.ok("dd if=/mnt/view/usr/bin/perl iflag=direct bs=64k 2>/dev/null | cmp - /usr/bin/perl && echo same").unwrap(), "same");
    // Nothing is writable, whatever the mount says.
    alpha.ok("mount -o remount,rw /mnt/view").unwrap();
    for change in [
        "touch /mnt/view/x",
        "rm /mnt/view/srv/alpha",
        "mkdir /mnt/view/x",
        "chmod 0 /mnt/view/srv/alpha",
        "ln -s x /mnt/view/y",
        "mv /mnt/view/srv/alpha /mnt/view/z",
        "echo x >>/mnt/view/srv/alpha",
    ] {
        let said = alpha.fails(change).unwrap();
        // To open for writing, the client asks ACCESS first, and that has its own word for no.
        let no = said.contains("Read-only file system") || said.contains("Permission denied");
        assert!(no, "{change}: {said}");
    }

    // On the overlay, files of every layer are anybody's own.
    let files = "/srv/common /srv/alpha /srv/rendered /srv/empty /usr/bin/added /etc/passwd /usr/bin/perl /usr/share/doc/libc6/copyright /etc/debian_version";
    let told = alpha.run_for(&format!("/opt/battery/posix {files}"), STEP).unwrap();
    assert_eq!((told.0, told.1.lines().filter(|line| line.starts_with("ok ")).count()), (0, 9), "{}", told.1);
    assert_eq!(alpha.ok("sh /usr/bin/added; cat /srv/rendered").unwrap(), "added\nalpha");
    assert_no_io_error(&mut alpha);
}

/// Finds the lines that differ, and fails with the first of them.
fn differ(guest: &mut Guest, expected: &[&str]) {
    let total: usize = guest.ok("wc -l </tmp/tree").unwrap().parse().unwrap();
    let mut at = 0;
    while at < total.max(expected.len()) {
        let theirs = guest.ok(&format!("sed -n '{},{}p' /tmp/tree", at + 1, at + 50)).unwrap();
        let ours = expected.get(at..(at + 50).min(expected.len())).unwrap_or_default();
        for (place, line) in theirs.lines().enumerate() {
            assert_eq!(Some(&line), ours.get(place), "line {}: the guest's, then the host's", at + place + 1);
        }
        at += 50;
    }
    assert_eq!(total, expected.len(), "lines of the guest's, and of the host's");
}

#[test]
fn mounts_outlive_a_server_and_a_network_that_go_away() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site(&debian)).unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    alpha.log_in().unwrap();
    alpha.wait_until_settled();
    let sum = "find /mnt/view/usr/bin /mnt/view/usr/sbin -xdev -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum";
    mount(&mut alpha, &server, "hard");
    let whole = alpha.run_for(sum, STEP).unwrap();

    // The cable is out for longer than the client waits for an answer, and the server never hears of it.
    alpha.ok("echo 3 >/proc/sys/vm/drop_caches").unwrap();
    alpha.type_line(&format!("({sum}) >/tmp/sum 2>&1; echo SUM''MED")).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    ip("link set port0 down").unwrap();
    std::thread::sleep(Duration::from_secs(20));
    ip("link set port0 up").unwrap();
    alpha.wait_for("SUMMED", STEP).unwrap();
    assert_eq!(alpha.ok("cat /tmp/sum").unwrap(), whole.1);

    // A soft mount gives up in its own time; a restart is shorter, and an error would end at the next read.
    mount(&mut alpha, &server, "soft,timeo=100,retrans=3");
    alpha.ok("echo 3 >/proc/sys/vm/drop_caches").unwrap();
    alpha.type_line(&format!("({sum}) >/tmp/sum 2>&1; echo SUM''MED")).unwrap();
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(1));
        server.kill9().unwrap();
        std::thread::sleep(Duration::from_secs(2));
        server.restart().unwrap();
    }
    alpha.wait_for("SUMMED", STEP).unwrap();
    assert_eq!(alpha.ok("cat /tmp/sum").unwrap(), whole.1);
    assert_eq!(whole.0, 0);
    assert_no_io_error(&mut alpha);
}
