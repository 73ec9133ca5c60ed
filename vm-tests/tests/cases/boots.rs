//! Booting, and what a running machine can count on while the server is killed, the tree changes, and time passes.

use std::fs;
use std::time::Duration;

use oneroot_testkit::{Lab, Server, SiteFiles};
use oneroot_vm_tests::{Guest, artifacts};

use crate::{POOL, SECOND_INITRD, SOON, STEP, add_an_initrd, assert_modes, assert_no_io_error, text};

/// Where each machine has its key for SSH.
const HOST_KEY: &str = "ssh_host_ed25519_key";

/// Its secrets are where programs look for them, as the site says, the server has closed them, and root itself can't ask again; its token.
fn assert_secrets(guest: &mut Guest, server: &Server, name: &str) -> String {
    let key = format!("/etc/ssh/{HOST_KEY}");
    assert_eq!(guest.ok(&format!("stat -L -c '%a %u %g' {key} /etc/token")).unwrap(), "600 0 0\n640 0 100");
    assert_eq!(guest.ok(&format!("readlink {key}")).unwrap(), format!("/.oneroot/secrets/{HOST_KEY}"));
    assert_eq!(guest.ok(&format!("stat -L -f -c %T {key}")).unwrap(), "tmpfs");
    let public = guest.ok(&format!("cat {key}.pub")).unwrap();
    let listed = server.run(&["secret", "list", name]).unwrap();
    assert!(public.starts_with("ssh-ed25519 ") && listed.contains(&public), "{public}: {listed}");
    assert!(guest.ok(&format!("cat {key}")).unwrap().contains("BEGIN OPENSSH PRIVATE KEY"));
    guest.fails(&format!("su user -c 'cat {key}'")).unwrap();
    guest.fails("grep -q secrets-from /proc/mounts").unwrap();
    let machine = server.machine(name).unwrap();
    let again = format!("nfs-cat 'nfs://192.168.77.1/s/{}/token?version=3' 2>&1", text(&machine, "boot"));
    let refused = guest.fails(&again).unwrap();
    assert!(refused.contains("ACCES"), "{refused}");
    guest.ok("cat /etc/token").unwrap()
}

#[test]
fn two_machines_boot_at_once_from_one_tree_each_with_files_of_its_own_and_of_nobody_elses() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::new(&debian, POOL, "1h").unwrap();
    site.machine("alpha", "0a", "address = \"192.168.77.10\"").unwrap();
    site.machine("beta", "0b", "").unwrap();
    for name in ["alpha", "beta"] {
        site.file(name, "etc/motd", &format!("this is {name}\n")).unwrap();
        let secret = site.file(name, "etc/secret", &format!("secret of {name}\n")).unwrap();
        fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    site.file("alpha", "etc/.wh.issue.net", "").unwrap();
    add_an_initrd(&mut site);
    site.file("common", "etc/who.j2", "{{ name }} at {{ address }}, {{ mac }}\n").unwrap();
    site.add(&format!("[profile.debian.secrets]\n{HOST_KEY} = \"ssh-key\"\ntoken = {{ kind = \"random\", at = \"/etc/token\", mode = \"0640\", group = 100 }}\n"));
    let server = Server::start(site).unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    let mut beta = Guest::power_on(&lab, "beta", "0b").unwrap();

    let (mut ids, mut tokens) = (Vec::new(), Vec::new());
    for (name, guest, other) in [("alpha", &mut alpha, "beta"), ("beta", &mut beta, "alpha")] {
        guest.log_in().unwrap();
        assert_eq!(guest.ok("hostname").unwrap(), name);
        assert_eq!(guest.ok("cat /etc/motd").unwrap(), format!("this is {name}"));
        assert_eq!(guest.ok("cat /etc/secret").unwrap(), format!("secret of {name}"));
        let who = guest.ok("cat /etc/who").unwrap();
        assert!(
            who.starts_with(&format!("{name} at 192.168.77.1")) && who.contains(", 52:54:00:00:00:0"),
            "{who}"
        );
        guest.fails("test -e /etc/who.j2").unwrap();
        let has_issue = guest.run("test -e /etc/issue.net").unwrap().0 == 0;
        assert_eq!(has_issue, name == "beta", "the whiteout is alpha's alone");
        assert_eq!(guest.ok("findmnt -no FSTYPE / || stat -fc %T /").unwrap(), "overlay");
        guest.wait_until_settled();
        assert_eq!(guest.ok("systemctl --failed --no-legend | wc -l").unwrap(), "0");
        assert_modes(guest);
        assert!(guest.ok("dmesg").unwrap().contains(SECOND_INITRD));
        ids.push(guest.ok("cat /etc/machine-id").unwrap());
        guest.ok("touch /etc/written /usr/bin/written && rm /etc/hosts.allow 2>/dev/null; sync").unwrap();
        // setuid bits survive the way through the index: an ordinary user can become root by `su` and no other way.
        assert_eq!(guest.ok("stat -c %a /usr/bin/su").unwrap(), "4755");
        guest.fails("su user -c 'cat /etc/secret'").unwrap();
        guest.fails("su user -c 'cat /etc/shadow'").unwrap();

        tokens.push(assert_secrets(guest, &server, name));
        let machine = server.machine(other).unwrap();
        let (view, boot) = (text(&machine, "view"), text(&machine, "boot"));
        assert!(view.len() == 32 && boot.len() == 16, "{machine}");
        let own = server.machine(name).unwrap();
        let nfs = |view: &str| format!("nfs-cat 'nfs://192.168.77.1/v/{view}/etc/secret?version=3' 2>&1");
        assert_eq!(
            guest.ok(&nfs(text(&own, "view"))).unwrap(),
            format!("secret of {name}"),
            "its own, from a low port"
        );
        let refused = guest.fails(&nfs(view)).unwrap();
        assert!(refused.contains("ACCES") && !refused.contains("secret of"), "{refused}");
        let as_user = nfs(text(&own, "view")).replace('\'', "\"");
        let refused = guest.fails(&format!("su user -c '{as_user}'")).unwrap();
        assert!(!refused.contains("secret of"), "from a high port, as an ordinary user: {refused}");
        for url in [
            format!("http://192.168.77.1/b/{boot}/kernel"),
            format!("http://192.168.77.1/b/{boot}/initrd"),
            "http://192.168.77.1/etc/secret".to_owned(),
            "http://192.168.77.1/%2e%2e/%2e%2e/etc/shadow".to_owned(),
            format!("tftp://192.168.77.1/b/{boot}/kernel"),
            "tftp://192.168.77.1/../../etc/shadow".to_owned(),
            format!(
                "http://192.168.77.1/boot/52-54-00-00-00-{}.ipxe",
                if name == "alpha" { "0b" } else { "0a" }
            ),
        ] {
            guest.fails(&format!("curl -sf --path-as-is --max-time 20 -o /tmp/got '{url}'")).unwrap();
        }
        let own_kernel = format!("http://192.168.77.1/b/{}/kernel", text(&own, "boot"));
        guest
            .ok(&format!(
                "curl -sf -o /tmp/kernel '{own_kernel}' && cmp /tmp/kernel /boot/vmlinuz-$(uname -r)"
            ))
            .unwrap();
        assert_no_io_error(guest);
    }
    assert!(ids.iter().all(|id| id.len() == 32) && ids.first() != ids.last(), "{ids:?}");
    assert!(
        tokens.iter().all(|token| token.len() == 64) && tokens.first() != tokens.last(),
        "each has its own"
    );
    alpha.type_line("poweroff").unwrap();
    alpha.wait_for_power_off(SOON).unwrap();
    beta.type_line("reboot").unwrap();
    beta.wait_for_login().unwrap();
    beta.log_in_at_prompt().unwrap();
    assert_eq!(beta.ok("cat /etc/machine-id").unwrap(), ids.pop().unwrap(), "a machine keeps its id");
    assert_eq!(beta.ok("cat /etc/token").unwrap(), tokens.pop().unwrap(), "and its secrets");
    beta.fails("test -e /etc/written").unwrap();
}

#[test]
fn a_server_killed_in_mid_boot_and_in_mid_read_is_a_pause_and_nothing_more() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::new(&debian, POOL, "1h").unwrap();
    site.machine("alpha", "0a", "").unwrap();
    let mut server = Server::start(site).unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    server.wait_for_step("alpha", "overlay", STEP).unwrap();
    // systemd is coming up now, and reads hundreds of files.
    std::thread::sleep(Duration::from_secs(2));
    server.kill9().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    server.restart().unwrap();
    alpha.log_in().unwrap();
    alpha.wait_until_settled();
    assert_eq!(alpha.ok("systemctl --failed --no-legend | wc -l").unwrap(), "0");

    let sum = "echo 3 >/proc/sys/vm/drop_caches; find /usr/bin /usr/lib/x86_64-linux-gnu -xdev -type f -print0 | sort -z \
               | xargs -0 sha256sum | sha256sum";
    let before = alpha.run_for(sum, STEP).unwrap();
    alpha.type_line(&format!("({sum}) >/tmp/sum 2>&1; echo SUM''MED")).unwrap();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(1));
        server.kill9().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        server.restart().unwrap();
    }
    alpha.wait_for("SUMMED", STEP).unwrap();
    assert_eq!(alpha.ok("cat /tmp/sum").unwrap(), before.1, "every byte of every file, through three kills");
    assert_eq!(before.0, 0);
    assert_no_io_error(&mut alpha);
}

#[test]
fn a_tree_staged_under_a_running_machine_changes_nothing_until_it_boots_again() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::new(&debian, POOL, "1h").unwrap();
    site.machine("alpha", "0a", "").unwrap();
    site.file("common", "etc/edition", "first\n").unwrap();
    let big = "one ".repeat(1 << 18);
    site.file("common", "srv/big", &big).unwrap();
    let server = Server::start(site).unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    alpha.log_in().unwrap();
    let old_view = text(&server.machine("alpha").unwrap(), "view").to_owned();
    let first_kernel = text(&server.machine("alpha").unwrap(), "kernel").to_owned();

    // A new edition of the tree, with a kernel that counts as newer: the same kernel under another version's name.
    server.site.file("common", "etc/edition", "second\n").unwrap();
    server.site.file("common", "srv/big", &"two ".repeat(1 << 18)).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let unpack = std::process::Command::new("tar")
        .args(["--wildcards", "-C"])
        .arg(scratch.path())
        .arg("-xf")
        .arg(artifacts::debian().unwrap())
        .args(["./boot/vmlinuz-*", "./boot/initrd.img-*"])
        .status();
    assert!(unpack.unwrap().success());
    let boot = server.site.path().join("layers/common/boot");
    fs::create_dir_all(&boot).unwrap();
    for entry in fs::read_dir(scratch.path().join("boot")).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_name().to_str().unwrap().split('-').next().unwrap().to_owned();
        fs::copy(entry.path(), boot.join(format!("{kind}-99.0"))).unwrap();
    }
    server.stage().unwrap();

    let old = "echo 3 >/proc/sys/vm/drop_caches; cat /etc/edition; md5sum </srv/big; ls /boot";
    let seen = alpha.ok(old).unwrap();
    assert!(seen.starts_with("first\n") && !seen.contains("99.0"), "{seen}");
    assert_eq!(alpha.ok("head -c 12 /srv/big").unwrap(), "one one one");
    // A second DHCP client in the guest: DHCP never makes, moves or drops a pin.
    alpha.ok("ip -o link | grep -o 'ens[0-9]*\\|eth[0-9]*\\|enp[0-9a-z]*' | head -1 >/tmp/nic").unwrap();
    let dhclient = "timeout 60 dhclient -1 -sf /bin/true -lf /tmp/leases -pf /tmp/pid $(cat /tmp/nic)";
    alpha.ok(dhclient).unwrap();
    assert_eq!(text(&server.machine("alpha").unwrap(), "view"), old_view);
    assert!(alpha.ok(old).unwrap().starts_with("first\n"));

    alpha.type_line("reboot").unwrap();
    alpha.wait_for_login().unwrap();
    alpha.log_in_at_prompt().unwrap();
    assert_eq!(alpha.ok("cat /etc/edition; head -c 12 /srv/big").unwrap(), "second\ntwo two two");
    let now = server.machine("alpha").unwrap();
    assert_ne!(text(&now, "view"), old_view);
    assert_ne!(text(&now, "kernel"), first_kernel);
    assert_eq!(text(&now, "kernel"), "/boot/vmlinuz-99.0", "the kernel comes out of the same view");
    assert_no_io_error(&mut alpha);
}

#[test]
fn an_idle_machine_keeps_its_address_and_reads_on_though_lease_and_connection_are_gone_and_the_pool_is_full()
{
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    // Longer than Linux keeps an idle connection. CI takes the kill below for it, which cuts the connection too.
    let long = std::env::var_os("ONEROOT_LONG").is_some();
    let idle = Duration::from_secs(if long { 400 } else { 75 });
    let lab = Lab::new().unwrap();
    // One address, a lease of one minute: when it has ended, the next machine would take the address. Nobody has named
    // either, for a pool that is too small for named machines is refused.
    let mut site = SiteFiles::new(&debian, "192.168.77.100-192.168.77.100", "1m").unwrap();
    site.add("[unknown]\nprofile = \"debian\"\n");
    let mut server = Server::start(site).unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    alpha.log_in().unwrap();
    alpha.wait_until_settled();
    assert_eq!(text(&server.machine("52:54:00:00:00:0a").unwrap(), "address"), "192.168.77.100");
    std::thread::sleep(idle);
    server.kill9().unwrap();
    server.restart().unwrap();
    let _beta = Guest::power_on(&lab, "beta", "0b").unwrap();
    let full = "no address is free";
    let begun = std::time::Instant::now();
    while !server.log().contains(full) {
        assert!(begun.elapsed() < SOON, "beta was never told to wait");
        std::thread::sleep(Duration::from_millis(200));
    }
    let beta = server.machine("52:54:00:00:00:0b");
    assert!(
        beta.ok().is_none_or(|beta| text(&beta, "boot").is_empty()),
        "nobody gets the address of a running root"
    );
    let read = "echo 3 >/proc/sys/vm/drop_caches; cat /usr/bin/* 2>/dev/null | sha256sum && hostname -I";
    assert!(alpha.ok(read).unwrap().ends_with("192.168.77.100"));
    assert_no_io_error(&mut alpha);
}
