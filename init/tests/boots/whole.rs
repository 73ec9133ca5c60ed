//! A boot that goes as it should, and what its real init gets.

use oneroot_init::kernel::Errno;
use oneroot_init::machine::Over;
use oneroot_initrd::report::Phase;

use crate::fake::{End, Node};
use crate::lab::{LEASED, SERVER, SETTINGS, at, failures, file, machine, machine_with, reports};

fn init() -> End {
    End::Init(vec!["/sbin/init".to_owned(), "single".to_owned()])
}

#[test]
fn a_machine_gets_to_its_own_init_and_its_server_hears_of_each_phase_in_order() {
    let fake = machine();
    assert_eq!(fake.boot(60), init(), "{}", fake.page());
    let phases: Vec<Phase> = reports(&fake).iter().map(|report| report.phase).collect();
    assert_eq!(phases, Phase::ALL);
    assert_eq!(failures(&fake), [""; 0]);
    let state = fake.state();
    assert_eq!(state.loaded.iter().filter(|module| *module == "igc").count(), 1);
    assert!(
        state.loaded.iter().position(|name| name == "ptp")
            < state.loaded.iter().position(|name| name == "igc")
    );
    assert!(state.loaded.iter().all(|module| module != "zram" && module != "8021q"), "nobody wants these");
    assert_eq!(state.addresses, [(2, LEASED, 24)]);
    assert_eq!(state.routers, [std::net::Ipv4Addr::new(192, 168, 77, 254)]);
    assert_eq!(state.said, ["0202020202020202.init", "0202020202020202.overlay"]);
    assert_eq!(state.environment, ["HOME=/", "TERM=linux", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    assert_eq!(state.text("/proc/self/oom_score_adj").as_deref(), Some("0"));
    assert_eq!(state.name, "alpha");
}

#[test]
fn what_the_kernel_was_told_for_the_time_of_init_is_taken_back() {
    let fake = machine();
    fake.boot(60);
    let state = fake.state();
    assert_eq!(state.text("/proc/sys/kernel/modprobe").as_deref(), Some("/sbin/modprobe"));
    assert_eq!(state.text("/proc/sys/kernel/printk").as_deref(), Some("7\t4\t1\t7\n"));
}

#[test]
fn an_initrd_of_another_boot_than_the_command_lines_is_told() {
    let fake = machine();
    fake.state().files.insert("/proc/cmdline".to_owned(), file("oneroot.boot=0303030303030303"));
    assert_eq!(fake.boot(60), init());
    let said = "the initrd is boot 0202020202020202's and the command line boot 0303030303030303's";
    let noted: Vec<String> = reports(&fake).into_iter().filter_map(|report| report.note).collect();
    assert!(noted[0].starts_with(said), "{noted:?}");
    assert_eq!(failures(&fake), [""; 0], "it boots on, so nothing has failed");
}

#[test]
fn the_console_has_one_line_for_each_phase() {
    let fake = machine();
    fake.boot(60);
    let page = fake.page();
    assert!(page.starts_with("\noneroot: alpha boots Linux 6.1.0-56 (boot 0202020202020202)"), "{page}");
    for phase in Phase::ALL {
        let lines = page.lines().filter(|line| line.trim_start().starts_with(phase.as_str()));
        assert_eq!(lines.count(), 1, "{page}");
    }
}

#[test]
fn settings_that_are_cut_short_are_named_and_the_machine_starts_again() {
    for length in (0..SETTINGS.len() - 1).step_by(37) {
        let fake = machine_with(&SETTINGS[..length]);
        assert_eq!(fake.boot(600), End::Over(Over::Restart));
        assert!(fake.page().contains("the initrd's settings"), "{}", fake.page());
    }
    let fake = machine();
    fake.state().files.remove("/oneroot/settings");
    assert_eq!(fake.boot(600), End::Over(Over::Restart));
    assert!(fake.page().contains("the initrd has no settings (ENOENT"), "{}", fake.page());
}

#[test]
fn a_machine_whose_clock_is_far_off_gets_its_servers() {
    for (clock, is_set) in
        [(0, true), (1_800_000_000 - 90_000, true), (1_800_000_000 - 80_000, false), (1_900_000_000, false)]
    {
        let fake = machine();
        fake.state().clock = clock;
        fake.boot(60);
        assert_eq!(fake.state().clock != clock, is_set, "{clock}");
    }
}

#[test]
fn a_server_that_has_no_time_itself_keeps_no_machine_from_the_next_ones() {
    let fake = machine();
    (fake.state().clock, fake.state().dates) = (30, vec![20, 25]);
    assert_eq!(fake.boot(60), init());
    assert!(fake.state().clock >= 1_800_000_000, "{}", fake.state().clock);
}

#[test]
fn the_command_line_names_another_init_and_another_size() {
    let fake = machine();
    fake.state().files.insert("/proc/cmdline".to_owned(), file("oneroot.init=/bin/sh oneroot.tmpfs=1g"));
    assert_eq!(fake.boot(60), End::Init(vec!["/bin/sh".to_owned(), "single".to_owned()]));
    assert!(fake.page().contains("1024m of memory"), "{}", fake.page());
}

#[test]
fn a_tree_without_an_init_is_said_to_have_none_and_the_site_decides_what_is_next() {
    for (settings, over) in
        [(SETTINGS.to_owned(), Over::Restart), (SETTINGS.replace("restart 300\n", ""), Over::Stay)]
    {
        let fake = machine_with(&settings);
        fake.state().tree.remove("/sbin/init");
        assert_eq!(fake.boot(1000), End::Over(over));
        let said = failures(&fake).pop().unwrap();
        assert!(said.starts_with("/sbin/init does not start: ENOENT"), "{said}");
        assert_eq!(fake.state().said.last().unwrap(), "0202020202020202.failed-init");
        assert!(fake.state().now.as_secs() >= if over == Over::Restart { 300 } else { 0 });
    }
    let fake = machine();
    fake.state().bad_mounts.insert("exec".to_owned(), Errno::NOEXEC);
    assert_eq!(fake.boot(1000), End::Over(Over::Restart));
}

#[test]
fn a_rescue_shell_is_the_trees_and_only_for_who_asks_for_it() {
    let broken = |line: &str| {
        let fake = machine();
        fake.state().bad_mounts.insert("overlay".to_owned(), Errno::NODEV);
        fake.state().files.insert("/proc/cmdline".to_owned(), file(line));
        assert_eq!(fake.boot(1000), End::Over(Over::Restart));
        fake
    };
    assert!(broken("quiet").state().run.is_empty());
    let fake = broken("oneroot.shell");
    assert_eq!(fake.state().run, [["/bin/sh", "-i"]]);
    assert!(fake.state().is_entered);
    let early = machine_with("");
    early.state().files.insert("/proc/cmdline".to_owned(), file("oneroot.shell"));
    early.boot(1000);
    assert!(early.state().run.is_empty(), "there is none before the tree");
}

#[test]
fn a_machine_without_a_tree_for_its_mounts_does_without_them() {
    let fake = machine();
    fake.state().tree.remove("/sys");
    assert_eq!(fake.boot(60), init());
    assert!(fake.state().mounts.iter().all(|(_, to, _)| to != "/new/sys"));
    assert!(fake.state().mounts.iter().any(|(_, to, _)| to == "/new/run"));
}

#[test]
fn a_server_that_is_silent_to_reports_costs_a_boot_three_seconds_at_most() {
    let fake = machine();
    // It gives roots, and takes no reports.
    let mut server = fake.state().servers.remove(&at(SERVER)).unwrap();
    server.is_up = true;
    fake.state().servers.insert(at(SERVER), server);
    fake.state().is_deaf = true;
    assert_eq!(fake.boot(60), init());
    assert!(fake.state().now.as_millis() <= 3000 + 500, "{:?}", fake.state().now);
    assert_eq!(reports(&fake), []);
    assert!(matches!(fake.state().tree.get("/etc/machine-id"), Some(Node::File(_))));
}
