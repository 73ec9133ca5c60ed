//! `/.oneroot/hooks` in each shell that a tree may have: what the site has its machines do before their real init, and what examines
//! them then (docs/decisions/0023).
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use oneroot_initrd::firmware::Machine;
use oneroot_machines::initrds::Programs;

use crate::guest_init::{
    BOOT, HOOKS, PROBE, SPOILED, boot_and_errors, change, last_words, program, root, shells,
};

#[test]
fn hooks_run_before_the_real_init_with_the_machines_facts_and_one_that_is_required_ends_the_boot() {
    let hooks = "mkdir -p etc/oneroot/early.d; cd etc/oneroot/early.d; \
                 printf '#!/bin/sh\\necho \"$ONEROOT_NAME $ONEROOT_VAR_role $(cat \"$ONEROOT_FACTS\")\" >/etc/hooked\\n' >10-facts; \
                 printf '#!/bin/sh\\nexit 3\\n' >35-fails.sh; printf '#!/bin/sh\\necho more >>/etc/hooked\\n' >30-more; \
                 printf 'no program' >40-note; chmod 755 10-facts 35-fails.sh 30-more; cd ../../..; \
                 printf 'ONEROOT_NAME=alpha\\nONEROOT_VAR_role=a=b $(x) \"c\"\\n' >.oneroot/facts; echo '{}' >.oneroot/facts.json";
    for shell in shells() {
        let home = root(shell);
        change(home.path(), hooks);
        let probe = PROBE.replacen(
            '\n',
            "\necho \"hooked=$(tr '\\n' '|' </etc/hooked)\"\necho \"console=$(cat /dev/console)\"\n",
            1,
        );
        program(&home.path().join("root/usr/lib/systemd/systemd"), &probe);
        let (told, _) = boot_and_errors(home.path(), SPOILED);
        let shown = shell.display();
        assert_eq!(told.get("hooked").unwrap(), &["alpha a=b $(x) \"c\" {}|more|"], "{shown}");
        assert!(
            told.get("console").unwrap().concat().contains("/etc/oneroot/early.d/35-fails.sh failed (3)"),
            "{shown}: {told:?}"
        );
        assert_eq!(told.get("writable"), None, "{shown}");
        change(home.path(), "mv etc/oneroot/early.d/35-fails.sh etc/oneroot/early.d/35-fails.required");
        let said = last_words(home.path(), SPOILED);
        assert!(said.contains("/etc/oneroot/early.d/35-fails.required failed (3)"), "{shown}: {said}");
        assert!(said.contains("without which this machine is not to come up"), "{shown}: {said}");
    }
}

#[test]
fn the_word_for_a_hook_that_ends_the_boot_says_so_however_long_its_name_is() {
    let hooks = "mkdir -p etc/oneroot/early.d; : >.oneroot/facts; cd etc/oneroot/early.d; \
                 for name in 50-check-infiniband-memory.required 60-a.required 70-check-infiniband-and-memory; do \
                 printf '#!/bin/sh\nexit 3\n' >$name; chmod 755 $name; done";
    for shell in shells() {
        let home = root(shell);
        change(home.path(), hooks);
        let says = HOOKS.replace(
            "hook-failed-$word$end\" ] ||",
            "hook-failed-$word$end\" ] || echo $word$end >>/tmp/said ||",
        );
        // Else nobody would be there to tell.
        let says = says.replace("failed=1 ;;", "failed=0 ;;");
        program(&home.path().join("root/.oneroot/hooks"), &says);
        let probe = PROBE.replacen('\n', "\necho \"said=$(tr '\\n' ' ' </tmp/said)\"\n", 1);
        program(&home.path().join("root/usr/lib/systemd/systemd"), &probe);
        let (told, _) = boot_and_errors(home.path(), SPOILED);
        let said = "50-check-infiniband-mem-required 60-a-required 70-check-infiniband-and-memory ";
        assert_eq!(told.get("said").unwrap(), &[said], "{}", shell.display());
    }
}

/// What lies in a tree with `examine.d` beside its programs.
const EXAMINED: &str = "mkdir -p etc/oneroot/early.d etc/oneroot/examine.d; \
    printf 'ONEROOT_NAME=alpha\nONEROOT_VAR_role=db\n' >.oneroot/facts; echo '{}' >.oneroot/facts.json";

#[test]
fn what_examines_the_machine_runs_after_its_hooks_with_the_same_facts_and_however_it_ends_the_machine_comes_up()
 {
    // In the place of what runs the programs and tells what they print.
    let tells = "#!/bin/sh\necho \"$0 $# $ONEROOT_NAME $ONEROOT_VAR_role $ONEROOT_FACTS $(cat /etc/hooked)\" >/tmp/told\n\
        read -r line && echo read >>/tmp/told; echo aside; kill -KILL $$\n";
    for shell in shells() {
        let (home, shown) = (root(shell), shell.display());
        change(home.path(), EXAMINED);
        let hook = home.path().join("root/etc/oneroot/early.d/90-last.required");
        program(&hook, "#!/bin/sh\necho early >/etc/hooked\n");
        // Nothing of the examination may be asked of a shell: not for a name, and not for a place to write.
        program(
            &home.path().join("root/etc/oneroot/examine.d/20 $(reboot)"),
            "#!/bin/sh\nrm -rf /.oneroot; exit 1\n",
        );
        program(&home.path().join("root/.oneroot/tell"), tells);
        let script = HOOKS.replace("/dev/console", "/tmp/console").replace(">$console", ">>$console");
        program(&home.path().join("root/.oneroot/hooks"), &script);
        let probe = "\nwhile read -r line; do echo \"told=$line\"; done </tmp/told\n\
            echo \"console=$(tr '\\n' '|' </tmp/console)\"\n";
        program(&home.path().join("root/usr/lib/systemd/systemd"), &PROBE.replacen('\n', probe, 1));
        let (told, _) = boot_and_errors(home.path(), SPOILED);
        let wanted = "/.oneroot/tell 0 alpha db /.oneroot/facts.json early";
        assert_eq!(told.get("told").unwrap(), &[wanted], "{shown}");
        assert_eq!(told.get("console").unwrap(), &["aside|"], "{shown}");
        assert_eq!(told.get("writable"), None, "{shown}");
        // Without it, which a server has for its own processors alone, the machine says so.
        change(home.path(), "rm -f .oneroot/tell");
        let (told, _) = boot_and_errors(home.path(), SPOILED);
        let console = told.get("console").unwrap().concat();
        assert!(
            !told.contains_key("told") && console.contains("no program for this processor"),
            "{shown}: {console}"
        );
    }
}

#[test]
fn programs_that_write_without_end_remove_what_is_ours_or_leave_others_behind_keep_no_machine_from_coming_up()
{
    let here = if cfg!(target_arch = "aarch64") { Machine::AARCH64 } else { Machine::X86_64 };
    let tell = Programs::default().of(here).unwrap();
    let hooks = [
        ("10-role", "echo \"{\\\"role\\\": \\\"$ONEROOT_VAR_role\\\"}\"; echo aside >&2"),
        ("20-much", "while :; do echo 0123456789; done"),
        ("30-removes", "rm -rf /.oneroot/say; echo half; exit 3"),
        ("40-leaves", "(while :; do sleep 1; echo more; done) & echo '{}'"),
    ];
    for shell in shells() {
        let (home, shown) = (root(shell), shell.display());
        change(home.path(), EXAMINED);
        for (name, does) in hooks {
            program(
                &home.path().join("root/etc/oneroot/examine.d").join(name),
                &format!("#!/bin/sh\n{does}\n"),
            );
        }
        let at = home.path().join("root/.oneroot/tell");
        fs::write(&at, &tell.bytes).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(home.path().join("root/.oneroot/tell-to"), "127.0.0.1 80\n").unwrap();
        program(&home.path().join("root/.oneroot/hooks"), &HOOKS.replace("/dev/console", "/tmp/console"));
        let probe = "\nwhile read -r line; do echo \"console=$line\"; done </tmp/console\n";
        program(&home.path().join("root/usr/lib/systemd/systemd"), &PROBE.replacen('\n', probe, 1));
        // A server that takes one message.
        fs::write(home.path().join("answer"), "HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        let listens = "umask 022; ip link set lo up; busybox nc -l -p 80 <answer >posted &\nsleep 1";
        let (told, _) = boot_and_errors(home.path(), listens);
        let posted = fs::read_to_string(home.path().join("posted")).unwrap();
        let console = told.get("console").cloned().unwrap_or_default().join("|");
        assert!(posted.contains(&format!("POST /b/{BOOT}/examined HTTP/1.1")), "{shown}: {posted} {console}");
        assert!(
            posted.ends_with("printed 10-role 15\n{\"role\": \"db\"}\n\nfailed 20-much\nfailed 30-removes\nprinted 40-leaves 3\n{}\n\n"),
            "{shown}: {posted}"
        );
        for words in ["aside|", "20-much failed (it prints more than 4 KiB)", "30-removes failed (3)"] {
            assert!(console.contains(words), "{shown}: {words} of {console}");
        }
        assert!(!console.contains("40-leaves"), "{shown}: {console}");
    }
}
