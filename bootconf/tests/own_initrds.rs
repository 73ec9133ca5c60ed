//! Machines that boot by an initrd of oneroot's own: when they do, which kernel that takes, and what their init is told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

mod common;
mod trees;

use std::path::Path;

use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decision::{Decision, NoPlan, decide};
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::kernels::{Loaded, Own};
use oneroot_bootconf::plan::{BootFile, BootPlan, Mounted, Terms};
use oneroot_bootconf::root::{Drivers, Initramfs};
use oneroot_bootconf::{Site, load_str};
use oneroot_ids::{BootId, Mac, MachineId, ViewId};
use oneroot_initrd::settings::{Overlay, Settings, Size};

use trees::choose_among;

fn site(profile: &str, network: &str) -> Site {
    site_with("", profile, network)
}

fn site_with(server: &str, profile: &str, network: &str) -> Site {
    let address = if network.contains("proxy") { "" } else { "address = \"10.0.0.10\"\n" };
    let text = format!(
        "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nhttp_port = 8080\n{server}\n\
         [[network]]\nsubnet = \"10.0.0.0/24\"\n{network}\n\
         [profile.base]\nsource = {{ tar = \"a\" }}\n[profile.top]\nextends = \"base\"\n{profile}\n\
         [machine.alpha]\nmac = \"52:54:00:00:00:0a\"\n{address}profile = \"top\"\n"
    );
    common::site(&text)
}

fn decision(site: &Site) -> Decision {
    let asked = Asked::by("52:54:00:00:00:0a".parse::<Mac>().unwrap());
    decide(&Catalogue::of(site), &asked).unwrap().into_profile().unwrap()
}

/// Chooses in a tree of these paths for a profile that says this.
fn chosen(profile: &str, paths: &[&str]) -> Result<Loaded, NoPlan> {
    choose_among(paths, &decision(&site(profile, "")))
}

const ONEROOT: &str = "initramfs = \"oneroot\"";

#[test]
fn a_tree_without_an_initrd_boots_by_ours_where_the_site_says_nothing_of_it() {
    let bare = ["/boot/vmlinuz-6.1", "/usr/lib/modules/6.1/modules.dep"];
    let found = chosen("", &bare).unwrap();
    assert_eq!((found.initramfs, found.kernel.as_str()), (Initramfs::Oneroot, "/boot/vmlinuz-6.1"));
    assert_eq!(found.own.unwrap().modules, "/usr/lib/modules/6.1");
    let with = [&bare[..], &["/boot/initrd.img-6.1"]].concat();
    assert_eq!(chosen("", &with).unwrap().initramfs, Initramfs::InitramfsTools, "it has one");
    let ours = chosen(ONEROOT, &with).unwrap();
    assert_eq!((ours.initramfs, ours.initrds), (Initramfs::Oneroot, vec![]), "and is not asked");
    for says in ["initramfs = \"dracut\"", "initrd = \"/boot/x\""] {
        assert!(matches!(chosen(says, &bare), Err(NoPlan::NoInitrd { .. })), "{says}");
    }
    assert!(matches!(chosen("", &bare[..1]), Err(NoPlan::NoInitrd { .. })), "nothing to make one of");
}

#[test]
fn the_newest_kernel_that_has_its_modules_boots() {
    let found = chosen(
        ONEROOT,
        &[
            "/boot/vmlinuz-6.1",
            "/boot/vmlinuz-6.12",
            "/usr/lib/modules/6.1/modules.dep",
            "/usr/lib/modules/6.12/kernel/x.ko",
        ],
    );
    assert_eq!(found.unwrap().kernel, "/boot/vmlinuz-6.1");
    let told = chosen(ONEROOT, &["/boot/vmlinuz-6.1"]).unwrap_err().to_string();
    assert!(told.contains("no modules for /boot/vmlinuz-6.1"), "{told}");
}

#[test]
fn each_distributions_kernel_finds_its_modules() {
    for (whose, paths, kernel, modules) in [
        (
            "Debian",
            &["/boot/vmlinuz-6.1.0-57-amd64", "/usr/lib/modules/6.1.0-57-amd64/modules.dep"][..],
            0,
            "6.1.0-57-amd64",
        ),
        (
            "Fedora: the kernel beside its modules, nothing in /boot",
            &[
                "/usr/lib/modules/6.11.4-300.fc41.x86_64/vmlinuz",
                "/usr/lib/modules/6.11.4-300.fc41.x86_64/modules.dep",
            ],
            0,
            "6.11.4-300.fc41.x86_64",
        ),
        (
            "Arch: a name without a version in /boot, the same kernel beside the modules",
            &[
                "/boot/vmlinuz-linux",
                "/usr/lib/modules/6.12.1-arch1-1/vmlinuz",
                "/usr/lib/modules/6.12.1-arch1-1/modules.dep",
            ],
            0,
            "6.12.1-arch1-1",
        ),
        (
            "Alpine: the flavour alone, of two",
            &[
                "/boot/vmlinuz-lts",
                "/lib/modules/6.6.60-0-lts/modules.dep",
                "/lib/modules/6.6.60-0-virt/modules.dep",
            ],
            0,
            "6.6.60-0-lts",
        ),
        ("all built in", &["/boot/vmlinuz-6.1", "/usr/lib/modules/6.1/modules.builtin"], 0, "6.1"),
        ("a link without a version", &["/vmlinuz", "/usr/lib/modules/6.1/modules.dep"], 0, "6.1"),
    ] {
        let found = chosen(ONEROOT, paths).unwrap();
        assert_eq!(found.kernel, paths[kernel], "{whose}");
        assert_eq!(found.own.unwrap().version, modules, "{whose}");
    }
    let two = ["/vmlinuz", "/usr/lib/modules/6.1/modules.dep", "/usr/lib/modules/6.2/modules.dep"];
    assert!(chosen(ONEROOT, &two).is_err(), "whose modules are whose is not known");
}

#[test]
fn a_kernels_configuration_is_looked_for_under_its_version_and_as_the_kernel_is_called() {
    for (paths, wanted) in [
        (
            ["/boot/vmlinuz-lts", "/lib/modules/6.6.60-0-lts/modules.dep"],
            &["/boot/config-6.6.60-0-lts", "/lib/modules/6.6.60-0-lts/config", "/boot/config-lts"][..],
        ),
        (
            ["/boot/vmlinuz-6.1", "/usr/lib/modules/6.1/modules.dep"],
            &["/boot/config-6.1", "/usr/lib/modules/6.1/config"],
        ),
        (
            ["/vmlinuz", "/usr/lib/modules/6.1/modules.dep"],
            &["/boot/config-6.1", "/usr/lib/modules/6.1/config"],
        ),
    ] {
        assert_eq!(chosen(ONEROOT, &paths).unwrap().own.unwrap().configs, wanted);
    }
}

/// Alpha's plan by an initrd of ours.
fn plan(profile: &str, network: &str, seal: Option<[u8; 16]>) -> BootPlan {
    plan_of(&site(profile, network), seal)
}

fn plan_of(site: &Site, seal: Option<[u8; 16]>) -> BootPlan {
    plan_with(site, seal, &["/.oneroot/boot/initrd"])
}

/// The same by one of these parts.
fn plan_with(site: &Site, seal: Option<[u8; 16]>, parts: &[&str]) -> BootPlan {
    let (catalogue, decision) = (Catalogue::of(site), decision(site));
    let asked = Asked::at("52:54:00:00:00:0a".parse::<Mac>().unwrap(), [10, 0, 0, 10].into());
    let own = Own {
        version: "6.1".to_owned(),
        modules: "/usr/lib/modules/6.1".to_owned(),
        configs: Vec::new(),
        parts: parts.iter().map(|part| (*part).to_owned()).collect(),
    };
    BootPlan::of(&Terms {
        site,
        decision: &decision,
        facts: &Facts::of(&catalogue, &decision, &asked),
        loaded: &Loaded { own: Some(own), ..Loaded::of("/vmlinuz", &["/ucode"], Initramfs::Oneroot) },
        view: ViewId([3; 16]),
        mounted: &Mounted::new(),
        mac: "52:54:00:00:00:0a".parse().unwrap(),
        machine: MachineId::from_random([2; 16]),
        boot: BootId::from_random([1; 8]),
        seal,
    })
}

fn settings(plan: &BootPlan) -> Settings {
    let BootFile::Joined { settings, .. } = plan.file("initrd2").unwrap() else { unreachable!() };
    settings.parse().unwrap()
}

#[test]
fn init_is_told_what_the_lease_and_the_site_say_and_nothing_of_it_is_in_the_arguments() {
    let told = plan(
        "overlay = \"zram 1g\"\nrestart_after = \"10m\"",
        "router = \"10.0.0.254\"\nlease = \"1h\"",
        None,
    );
    assert_eq!(
        told.args,
        [
            "ro".to_owned(),
            "BOOTIF=01-52-54-00-00-00-0a".to_owned(),
            format!("systemd.machine_id={}", told.machine),
            "oneroot.boot=0101010101010101".to_owned(),
            "panic=600".to_owned(),
        ]
    );
    let settings = settings(&told);
    assert_eq!(settings.export, format!("/v/{}.{}", "03".repeat(16), "01".repeat(8)));
    let address = settings.address.as_ref().unwrap();
    assert_eq!((address.address, address.prefix, address.lease), ([10, 0, 0, 10].into(), 24, 3600));
    assert_eq!(address.router, Some([10, 0, 0, 254].into()));
    let server = settings.servers[0];
    assert_eq!((server.address, server.nfs, server.http), ([10, 0, 0, 1].into(), 2049, 8080));
    assert_eq!((settings.overlay, settings.restart), (Overlay::Zram(Size::Mib(1024), None), Some(600)));
    assert_eq!((settings.name.as_str(), settings.init.as_str()), ("alpha", "/sbin/init"));
}

#[test]
fn init_is_told_of_the_links_mtu_and_vlan_and_of_every_address_of_the_server_in_their_order() {
    let told = settings(&plan("", "", None));
    assert_eq!((told.mtu, told.vlan, told.servers.len()), (None, None, 1));
    let told = settings(&plan("mtu = 9000\nvlan = 12", "proxy = true", None));
    assert_eq!((told.mtu, told.vlan), (Some(9000), Some(12)));
    // A network's own address of the server is the first; the others are tried after it, and none twice.
    let network = "server = \"10.0.0.3\"";
    let more = "more_addresses = [\"10.0.0.2\", \"10.0.0.3\"]";
    let told = settings(&plan_of(&site_with(more, "", network), None));
    let addresses: Vec<String> = told.servers.iter().map(|server| server.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.3", "10.0.0.2"]);
    assert!(told.servers.iter().all(|server| (server.nfs, server.http) == (2049, 8080)));
}

#[test]
fn behind_another_dhcp_server_init_asks_that_for_its_address_and_mounts_with_its_pass() {
    let settings = settings(&plan("", "proxy = true", Some([0xcd; 16])));
    assert_eq!(settings.address, None);
    assert!(settings.export.ends_with(&format!(".{}", "cd".repeat(16))), "{}", settings.export);
    assert_eq!(settings.overlay, Overlay::Tmpfs(Size::Percent(50)));
}

#[test]
fn the_initrds_that_the_site_names_come_first_and_a_plan_reads_back_as_it_was() {
    let plan = plan("", "", None);
    let names: Vec<String> = plan.files().map(|(name, _)| name).collect();
    assert_eq!(names, ["kernel", "initrd", "initrd2"]);
    assert_eq!(plan.file("initrd"), Some(&BootFile::View("/ucode".to_owned())));
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<BootPlan>(&text).unwrap(), plan);
}

#[test]
fn microcode_is_at_the_very_beginning_where_alone_a_kernel_looks_for_it_whatever_the_site_names() {
    let plan = plan_with(&site("", ""), None, &["/.oneroot/boot/microcode", "/.oneroot/boot/initrd"]);
    assert_eq!(plan.file("initrd"), Some(&BootFile::View("/.oneroot/boot/microcode".to_owned())));
    assert_eq!(plan.file("initrd2"), Some(&BootFile::View("/ucode".to_owned())));
    let Some(BootFile::Joined { parts, .. }) = plan.file("initrd3") else { unreachable!() };
    assert_eq!(*parts, ["/.oneroot/boot/initrd"]);
}

#[test]
fn the_nearest_profile_says_how_it_is_made_and_what_it_can_not_say_is_refused() {
    let site = site("drivers = \"all\"", "");
    let own = decision(&site).own;
    assert_eq!((own.drivers, own.overlay), (Some(Drivers::All), None));
    let text = |profile: &str| {
        format!(
            "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\n[profile.a]\nsource = {{ tar = \"a\" }}\n{profile}\n"
        )
    };
    for (profile, says) in [
        ("drivers = \"some\"", "is none of"),
        ("overlay = \"0%\"", "no amount of memory"),
        ("overlay = \"disk 5g\"", "no amount of memory"),
        ("restart_after = \"5s\"", "from one minute to one day"),
        ("mtu = 100", "must be a number from 576 to 9216"),
        ("vlan = 4095", "must be a number from 1 to 4094"),
    ] {
        let told = common::load(&text(profile)).unwrap_err();
        assert!(told.contains(says), "{told}");
    }
    for (server, says) in [
        ("more_addresses = \"10.0.0.1\"", "is the server's `address`"),
        ("more_addresses = [\"10.0.0.2\", \"10.0.0.2\"]", "10.0.0.2 is there twice"),
        ("more_addresses = [\"fd00::1\"]", "is no IPv4 address"),
        ("more_addresses = [\"127.0.0.1\"]", "address"),
        ("more_addresses = [\"10.0.0.20\"]", "has the server's own address 10.0.0.20 in it; exclude it"),
        ("more_addresses = [\"10.0.0.255\"]", "has the server's address 10.0.0.255 as no host's"),
        ("more_addresses = [\"10.0.0.9\"]", "10.0.0.9 is the server's own address"),
    ] {
        let others = "[[network]]\nsubnet = \"10.0.0.0/24\"\npool = \"10.0.0.10-10.0.0.29\"\n\
            [machine.b]\nmac = \"52:54:00:00:00:0b\"\nprofile = \"a\"\naddress = \"10.0.0.9\"\n";
        let text = text("").replace("interface =", &format!("{server}\ninterface =")) + others;
        let told = load_str("site.toml", &text, Path::new("/site")).unwrap_err().to_string();
        assert!(told.contains(says), "{told}");
    }
}
