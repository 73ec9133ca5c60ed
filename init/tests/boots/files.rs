//! What the machine is given is put where the tree has nothing better, as the table says that the shell script reads too
//! (`tests/guest_init.rs` has the same cases for it).

use crate::fake::{End, Fake, Node};
use crate::lab::{MAC, file, machine};

fn booted(change: impl FnOnce(&mut crate::fake::State)) -> Fake {
    let fake = machine();
    change(&mut fake.state());
    let end = fake.boot(60);
    assert!(matches!(end, End::Init(_)), "{end:?}: {}", fake.page());
    fake
}

fn with(path: &str, node: Node) -> Fake {
    booted(|state| drop(state.tree.insert(path.to_owned(), node)))
}

#[test]
fn what_a_machine_is_given_is_put_where_the_tree_has_nothing_better() {
    let leads = |to: &str| Node::Link(to.to_owned());
    for (path, node, at, text) in [
        ("/etc/x", file(""), "/etc/hostname", "alpha\n"),
        ("/etc/hostname", file("localhost\n"), "/etc/hostname", "alpha\n"),
        ("/etc/hostname", file(""), "/etc/hostname", "alpha\n"),
        ("/etc/hostname", file("own\n"), "/etc/hostname", "own\n"),
        ("/etc/hosts", file("own\n"), "/etc/hosts", "own\n"),
        ("/etc/x", file(""), "/etc/hosts", "127.0.1.1 alpha\n"),
        ("/etc/resolv.conf", file("search x\n"), "/etc/resolv.conf", "nameserver 192.168.77.1\n"),
        ("/etc/resolv.conf", file("nameserver 9.9.9.9\n"), "/etc/resolv.conf", "nameserver 9.9.9.9\n"),
        (
            "/etc/resolv.conf",
            leads("../run/systemd/resolve/stub-resolv.conf"),
            "/run/systemd/resolve/stub-resolv.conf",
            "nameserver 192.168.77.1\n",
        ),
        ("/etc/resolv.conf", leads("/run/x/y"), "/run/x/y", "nameserver 192.168.77.1\n"),
        ("/etc/machine-id", file("uninitialized\n"), "/etc/machine-id", "01010101010141018101010101010101\n"),
        ("/etc/x", file(""), "/run/systemd/system/oneroot-up.service", "[Unit]\n"),
        ("/etc/x", file(""), "/run/systemd/system/multi-user.target.wants/oneroot-up.service", "[Unit]\n"),
        ("/etc/x", file(""), "/run/systemd/network/00-oneroot.network", "[Match]\n"),
    ] {
        let fake = with(path, node);
        assert_eq!(fake.state().text(at).as_deref(), Some(text), "{at} where {path} is");
    }
    let fake = with("/etc/hosts", leads("/nowhere"));
    assert_eq!(
        fake.state().text("/nowhere"),
        None,
        "a link that leads nowhere is some program's still to come"
    );
}

#[test]
fn what_systemd_is_given_is_there_for_systemd_alone_and_another_init_is_watched() {
    let fake = booted(|_| {});
    assert!(fake.state().started.is_empty(), "systemd has a unit for that");
    let fake = with("/sbin/init", file("#!"));
    let state = fake.state();
    assert!(!state.tree.keys().any(|path| path.starts_with("/run/systemd")));
    assert!(state.text("/run/chrony-dhcp/oneroot.sources").is_some());
    assert_eq!(state.started, [["/bin/sh", "/.oneroot/watch", "0202020202020202"]]);
}

#[test]
fn an_init_that_no_shell_can_watch_is_one_that_nobody_knows_of_whether_it_came_up() {
    let fake = booted(|state| {
        state.tree.insert("/sbin/init".to_owned(), file("#!"));
        state.tree.remove("/bin/sh");
    });
    assert_eq!(fake.state().said.last().unwrap(), "0202020202020202.up-unknown");
}

#[test]
fn what_is_to_be_mounted_is_added_to_the_trees_fstab_with_its_places_where_no_unit_of_systemd_says_so() {
    let given = |state: &mut crate::fake::State| {
        for (path, text) in [
            ("/.oneroot/etc/fstab", "nas:/home /home nfs nofail 0 0\n"),
            ("/.oneroot/mounts", "1 /home wanted\n2 /srv/data wanted\n"),
            ("/etc/fstab", "# the tree's own\n"),
        ] {
            state.tree.insert(path.to_owned(), file(text));
        }
    };
    let fake = booted(given);
    assert_eq!(fake.state().text("/etc/fstab").as_deref(), Some("# the tree's own\n"), "systemd has units");
    let fake = booted(|state| {
        given(state);
        state.tree.insert("/sbin/init".to_owned(), file("#!"));
    });
    let state = fake.state();
    assert_eq!(
        state.text("/etc/fstab").as_deref(),
        Some("# the tree's own\n\nnas:/home /home nfs nofail 0 0\n")
    );
    assert!(state.tree.contains_key("/home") && state.tree.contains_key("/srv/data"));
}

#[test]
fn hooks_are_run_by_the_script_that_other_initramfs_run_and_one_that_is_required_ends_the_boot() {
    let has_hooks = |state: &mut crate::fake::State, script: &str| {
        state.tree.insert("/etc/oneroot/early.d".to_owned(), Node::Directory);
        state.tree.insert("/.oneroot/hooks".to_owned(), file(script));
    };
    let ran =
        |fake: &Fake| fake.state().run.iter().any(|words| words.iter().any(|word| word == "/.oneroot/hooks"));
    assert!(!ran(&booted(|_| {})), "a tree without hooks runs nothing");
    assert!(ran(&booted(|state| has_hooks(state, "exit 0\n"))));
    let fake = machine();
    has_hooks(&mut fake.state(), "exit 1\n");
    let end = fake.boot(60);
    assert!(!matches!(end, End::Init(_)), "{end:?}: {}", fake.page());
    assert!(fake.page().contains("a hook in /etc/oneroot/early.d failed"), "{}", fake.page());
}

#[test]
fn a_script_that_fetches_secrets_and_does_not_end_leaves_nothing_of_the_servers_mounted_or_open() {
    let has_secrets = |state: &mut crate::fake::State| {
        state
            .tree
            .insert("/.oneroot/secrets.list".to_owned(), file("2049 10.0.0.1\n1 join 0600 0 0 wanted -\n"));
        state.tree.insert("/.oneroot/fetch-secrets".to_owned(), file("exit 0\n"));
    };
    let fetches = ["/bin/sh", "/.oneroot/fetch-secrets"].map(str::to_owned);
    let fake = booted(has_secrets);
    let with = |word: &str| [&fetches[..], &[word.to_owned()]].concat();
    assert_eq!(fake.state().run, [fetches.to_vec(), with("link")], "it has let go of them by itself");
    let fake = booted(|state| {
        has_secrets(state);
        state.bad_runs.insert("/.oneroot/fetch-secrets".to_owned(), oneroot_init::kernel::Errno::TIMEDOUT);
    });
    assert_eq!(fake.state().run, [fetches.to_vec(), with("over"), with("link")]);
}

/// Copying may take longer than the server gives them, and a directory that has memory of its own hides what was in it.
#[test]
fn secrets_are_fetched_before_what_is_copied_and_found_in_their_places_after_it() {
    let fake = booted(|state| {
        for (path, text) in [
            ("/.oneroot/secrets.list", "2049 10.0.0.1\n1 join 0600 0 0 required /opt/cad/join\n"),
            ("/.oneroot/fetch-secrets", "exit 0\n"),
            ("/.oneroot/lasts", "1 /opt/cad wanted copied 4g\n"),
            ("/.oneroot/keep", "exit 0\n"),
        ] {
            state.tree.insert(path.to_owned(), file(text));
        }
    });
    let words = fake.state().run.iter().map(|words| words[1..].join(" ")).collect::<Vec<_>>();
    assert_eq!(words, ["/.oneroot/fetch-secrets", "/.oneroot/keep", "/.oneroot/fetch-secrets link"]);
}

#[test]
fn what_examines_the_machine_runs_after_all_that_it_needs_and_keeps_it_from_nothing() {
    let examines = |state: &mut crate::fake::State| {
        state.tree.insert("/.oneroot/hooks".to_owned(), file("exit 0\n"));
        state.tree.insert("/etc/oneroot/examine.d".to_owned(), Node::Directory);
    };
    let script = ["/bin/sh", "/.oneroot/hooks"].map(str::to_owned);
    let examination = [&script[..], &["examine".to_owned()]].concat();
    let fake = booted(examines);
    assert_eq!(fake.state().run, std::slice::from_ref(&examination), "a tree that has nothing but that");
    // It takes for ever, and a hook that was needed has done its work.
    let fake = booted(|state| {
        examines(state);
        state.tree.insert("/etc/oneroot/early.d/50-fit.required".to_owned(), file("#!"));
        state.tree.insert("/etc/oneroot/early.d".to_owned(), Node::Directory);
        state.bad_runs.insert("examine".to_owned(), oneroot_init::kernel::Errno::TIMEDOUT);
    });
    assert_eq!(fake.state().run, [script.to_vec(), examination]);
    assert!(fake.page().contains("/etc/oneroot/examine.d"), "{}", fake.page());
    // Where the machine is not to come up, nothing of it is found out.
    let fake = machine();
    {
        let mut state = fake.state();
        examines(&mut state);
        state.tree.insert("/etc/oneroot/early.d".to_owned(), Node::Directory);
        state.tree.insert("/.oneroot/hooks".to_owned(), file("exit 1\n"));
    }
    let end = fake.boot(60);
    assert!(!matches!(end, End::Init(_)), "{end:?}");
    assert_eq!(fake.state().run, [script.to_vec()]);
}

#[test]
fn what_lasts_is_made_by_the_script_that_other_initramfs_run_before_the_hooks_and_ends_the_boot_where_it_is_required()
 {
    let lasts = |state: &mut crate::fake::State, script: &str| {
        for (path, text) in [
            ("/.oneroot/lasts", "1 /var/log required empty 50%\n"),
            ("/.oneroot/keep", script),
            ("/.oneroot/hooks", "exit 0\n"),
        ] {
            state.tree.insert(path.to_owned(), file(text));
        }
        state.tree.insert("/etc/oneroot/early.d".to_owned(), Node::Directory);
    };
    let fake = booted(|state| lasts(state, "exit 0\n"));
    assert_eq!(fake.state().run, [["/bin/sh", "/.oneroot/keep"], ["/bin/sh", "/.oneroot/hooks"]]);
    let fake = machine();
    lasts(&mut fake.state(), "exit 1\n");
    let end = fake.boot(60);
    assert!(!matches!(end, End::Init(_)), "{end:?}: {}", fake.page());
    assert!(fake.page().contains("a directory of `lasts` could not be had"), "{}", fake.page());
    assert_eq!(fake.state().run, [["/bin/sh", "/.oneroot/keep"]], "and no hook runs");
}

#[test]
fn a_tree_without_a_shell_has_no_memory_of_its_own_and_comes_up_where_none_is_required() {
    let lasts = |how: &str| {
        let fake = machine();
        {
            let mut state = fake.state();
            state.tree.insert("/.oneroot/lasts".to_owned(), file(&format!("1 /var/log {how} empty 50%\n")));
            state.tree.insert("/.oneroot/keep".to_owned(), file("exit 0\n"));
            state.tree.remove("/bin/sh");
        }
        (fake.boot(60), fake)
    };
    let (end, fake) = lasts("wanted");
    assert!(matches!(end, End::Init(_)), "{end:?}: {}", fake.page());
    let (end, fake) = lasts("required");
    assert!(!matches!(end, End::Init(_)), "{end:?}: {}", fake.page());
}

#[test]
fn ifupdown_is_told_of_the_nic_by_the_name_that_it_has() {
    let fake = with("/etc/network", Node::Directory);
    assert_eq!(fake.state().run, [["/bin/sh", "/.oneroot/ifupdown", "eth0"]]);
    assert!(booted(|_| {}).state().run.is_empty());
    assert_eq!(MAC, "52:54:00:00:00:0a");
}

#[test]
fn a_tree_without_etc_gets_none_and_boots() {
    let fake = booted(|state| drop(state.tree.remove("/etc")));
    assert!(!fake.state().tree.keys().any(|path| path.starts_with("/etc")));
}
