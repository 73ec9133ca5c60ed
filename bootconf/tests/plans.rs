//! Which machine boots what, and why: a site of a few tables, and what each machine is told.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

mod trees;

use std::path::Path;

use oneroot_bootconf::asked::{Asked, Catalogue, Who};
use oneroot_bootconf::decided::{Decided, Way};
use oneroot_bootconf::decision::{Decision, NoPlan, Part, decide};
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::kernels::Loaded;
use oneroot_bootconf::plan::{BootFile, BootPlan, Mounted, Terms};
use oneroot_bootconf::root::{Initramfs, Root};
use oneroot_bootconf::{Site, load_str};
use oneroot_ids::{BootId, Mac, MachineId, ViewId};

use trees::choose_among;

fn site() -> Site {
    load_str("everything", include_str!("valid/everything.toml"), Path::new("/site")).unwrap()
}

fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

/// What a site decides for a NIC.
fn decided(site: &Site, mac: Mac) -> Result<Decision, NoPlan> {
    decide(&Catalogue::of(site), &Asked::by(mac)).map(|decided| decided.into_profile().unwrap())
}

fn alpha() -> Decision {
    decided(&site(), mac("52:54:00:00:00:0b")).unwrap()
}

/// With kernel and initrd as the test wants them, no other word of the site.
fn wanting(kernel: Option<&str>, initrd: Option<&str>) -> Decision {
    let initrds = initrd.into_iter().map(str::to_owned).collect();
    Decision { kernel: kernel.map(str::to_owned), initrds, ..alpha() }
}

/// Chooses in a `/boot` of these names, with these other paths.
fn choose(decision: &Decision, boot: &[&str], other: &[&str]) -> Result<Loaded, NoPlan> {
    let paths: Vec<String> = boot.iter().map(|name| format!("/boot/{name}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).chain(other.iter().copied()).collect();
    choose_among(&paths, decision)
}

fn pair(kernel: &str, initrd: &str) -> Result<Loaded, NoPlan> {
    Ok(Loaded::of(kernel, &[initrd], Initramfs::Dracut))
}

#[test]
fn layers_lie_profiles_first_then_workloads_then_the_machine() {
    let layer = |path: &str| Part::Layer { path: path.into() };
    let own = Part::Machine { name: "alpha".to_owned(), path: "/site/layers/alpha".into() };
    let base = Part::Profile { name: "base".to_owned() };
    let common = layer("/site/layers/common");
    assert_eq!(alpha().parts, [base, common, layer("/srv/more"), layer("/site/layers/render"), own]);
    assert_eq!(alpha().args, ["console=ttyS0", "mitigations=off", "quiet"]);
}

#[test]
fn either_nic_of_a_machine_finds_it() {
    assert_eq!(decided(&site(), mac("52:54:00:00:00:0a")).unwrap(), alpha());
}

#[test]
fn a_profile_with_a_kernel_of_its_own_does_not_inherit_another_kernels_initrd() {
    assert_eq!((alpha().kernel.as_deref(), alpha().initrds), (Some("/vmlinuz"), vec![]));
}

#[test]
fn a_borrowed_kernel_lies_over_the_tree_and_under_its_layers_with_all_that_its_profile_says_of_it() {
    let site = r#"
        [server]
        address = "10.0.0.1"
        interface = "eth0"
        [profile.base]
        source = { tar = "debian.tar" }
        initramfs = "dracut"
        args = ["quiet"]
        [profile.debian]
        extends = "base"
        layers = ["/drivers"]
        kernel = "/boot/vmlinuz-*-rt"
        [profile.app]
        source = { tar = "app.tar" }
        kernel_from = "debian"
        layers = ["/app"]
        [machine.a]
        mac = "52:54:00:00:00:0a"
        profile = "app"
    "#;
    let site = load_str("borrowed", site, Path::new("/site")).unwrap();
    let decision = decided(&site, mac("52:54:00:00:00:0a")).unwrap();
    let profile = |name: &str| Part::Profile { name: name.to_owned() };
    let layer = |path: &str| Part::Layer { path: path.into() };
    let kernel =
        Part::Kernel { profile: "debian".to_owned(), parts: vec![profile("base"), layer("/drivers")] };
    assert_eq!(decision.parts, [profile("app"), kernel, layer("/app")]);
    assert_eq!(
        (decision.kernel.as_deref(), decision.initramfs),
        (Some("/boot/vmlinuz-*-rt"), Some(Initramfs::Dracut))
    );
    assert!(decision.args.is_empty(), "its arguments are another root's");
}

#[test]
fn every_part_of_a_plan_says_where_it_came_from() {
    let why = alpha().why;
    let said = |what: &str, value: &str| {
        why.iter().find(|why| why.what == what && why.value == value).map(|why| why.from.clone())
    };
    for (what, value, from) in [
        ("profile", "top", "[machine.alpha]"),
        ("layer", "base", "[profile.base]"),
        ("layer", "/srv/more", "[profile.top]"),
        ("argument", "console=ttyS0", "[profile.base]"),
        ("argument", "mitigations=off", "[workload.render]"),
        ("argument", "quiet", "[machine.alpha]"),
        ("workload", "render", "[machine.alpha]"),
        ("initramfs", "dracut", "[profile.top]"),
        ("layer", "/site/layers/alpha", "[machine.alpha]"),
        ("var", "role=build", "[machine.alpha]"),
    ] {
        assert_eq!(said(what, value).as_deref(), Some(from), "{what} {value}");
    }
    let kernels: Vec<_> = why.iter().filter(|why| why.what == "kernel").map(|why| &why.from).collect();
    assert_eq!(kernels, ["[profile.base]", "[profile.top]"], "the last word is the one that counts");
}

#[test]
fn an_unknown_machine_gets_the_profile_for_unknown_ones_or_a_reason() {
    let stranger = mac("02:00:00:00:00:99");
    let decision = decided(&site(), stranger).unwrap();
    assert_eq!((decision.name, decision.profile.as_str()), (None, "base"));
    assert_eq!(decision.why[0].from, "[unknown]");
    let mut closed = site();
    closed.unknown = None;
    let Ok(Decided::Other(held)) = decide(&Catalogue::of(&closed), &Asked::by(stranger)) else {
        panic!("{closed:?}")
    };
    assert_eq!((held.name, held.way), (None, Way::Hold));
}

#[test]
fn the_newest_kernel_with_an_initrd_of_its_own_boots() {
    let boot = [
        "vmlinuz-6.1.0-9",
        "initrd.img-6.1.0-9",
        "vmlinuz-6.1.0-10",
        "initrd.img-6.1.0-10",
        "vmlinuz-6.2.0-1",
    ];
    let expected = pair("/boot/vmlinuz-6.1.0-10", "/boot/initrd.img-6.1.0-10");
    assert_eq!(choose(&wanting(None, None), &boot, &[]), expected);
}

#[test]
fn dracuts_and_suses_names_for_an_initrd_are_known() {
    for initrd in ["initramfs-6.4.img", "initrd-6.4"] {
        let expected = pair("/boot/vmlinuz-6.4", &format!("/boot/{initrd}"));
        assert_eq!(choose(&wanting(None, None), &["vmlinuz-6.4", initrd], &[]), expected);
    }
}

#[test]
fn the_links_in_the_root_serve_where_boot_has_no_versions() {
    let links = ["/vmlinuz", "/initrd.img"];
    assert_eq!(choose(&wanting(None, None), &[], &links), pair("/vmlinuz", "/initrd.img"));
    let boot = ["vmlinuz-6.1", "initrd.img-6.1"];
    assert_eq!(
        choose(&wanting(None, None), &boot, &links),
        pair("/boot/vmlinuz-6.1", "/boot/initrd.img-6.1"),
        "a version says which modules belong to it"
    );
}

#[test]
fn a_pattern_takes_the_newest_that_fits_and_its_own_initrd() {
    let boot = ["vmlinuz-6.9-rt", "vmlinuz-6.10-rt", "vmlinuz-6.11", "my-6.9-rt", "my-6.10-rt", "my-6.11"];
    let decision = wanting(Some("/boot/vmlinuz-*-rt"), Some("/boot/my-*"));
    assert_eq!(choose(&decision, &boot, &[]), pair("/boot/vmlinuz-6.10-rt", "/boot/my-6.10-rt"));
    let decision = wanting(Some("/boot/vmlinuz-6.1"), Some("/boot/my-*"));
    let refused = choose(&decision, &["vmlinuz-6.1", "my-6.10"], &[]);
    assert!(matches!(refused, Err(NoPlan::NoInitrd { .. })), "6.10's initrd is not 6.1's");
}

#[test]
fn paths_that_the_site_names_are_taken_as_they_are() {
    let decision = wanting(Some("/opt/bzImage"), Some("/opt/cpio"));
    let other = ["/opt/bzImage", "/opt/cpio"];
    assert_eq!(
        choose(&decision, &["vmlinuz-6.1", "initrd.img-6.1"], &other),
        pair("/opt/bzImage", "/opt/cpio")
    );
}

/// A test for each row of the table in `kernels.rs`, and for each rule below it.
#[test]
fn every_place_of_kernels_is_looked_into_and_special_ones_come_last() {
    let rows: &[(&[&str], &[&str], &str, &str)] = &[
        (&["vmlinuz-6.1", "initrd.img-6.1"], &[], "/boot/vmlinuz-6.1", "/boot/initrd.img-6.1"),
        (&["vmlinuz-6.1", "initramfs-6.1.img"], &[], "/boot/vmlinuz-6.1", "/boot/initramfs-6.1.img"),
        (&["vmlinuz-6.1", "initrd-6.1"], &[], "/boot/vmlinuz-6.1", "/boot/initrd-6.1"),
        (&["vmlinuz-lts", "initramfs-lts"], &[], "/boot/vmlinuz-lts", "/boot/initramfs-lts"),
        (
            &["kernel-6.6-gentoo", "initramfs-6.6-gentoo.img"],
            &[],
            "/boot/kernel-6.6-gentoo",
            "/boot/initramfs-6.6-gentoo.img",
        ),
        (&["vmlinux-6.1", "initrd.img-6.1"], &[], "/boot/vmlinux-6.1", "/boot/initrd.img-6.1"),
        (
            &[],
            &["/boot/abc/6.1/linux", "/boot/abc/6.1/initrd"],
            "/boot/abc/6.1/linux",
            "/boot/abc/6.1/initrd",
        ),
        (
            &[],
            &["/usr/lib/modules/6.1/vmlinuz", "/usr/lib/modules/6.1/initramfs.img"],
            "/usr/lib/modules/6.1/vmlinuz",
            "/usr/lib/modules/6.1/initramfs.img",
        ),
        (&[], &["/vmlinuz", "/initrd.img"], "/vmlinuz", "/initrd.img"),
        // Rule 1.
        (&["vmlinuz-6.2", "vmlinuz-6.1", "initrd-6.1"], &[], "/boot/vmlinuz-6.1", "/boot/initrd-6.1"),
        // Rule 2.
        (
            &["vmlinuz-6.2+debug", "initrd-6.2+debug", "vmlinuz-6.1", "initrd-6.1"],
            &[],
            "/boot/vmlinuz-6.1",
            "/boot/initrd-6.1",
        ),
        (
            &[
                "vmlinuz-6.1-28-rt-amd64",
                "initrd-6.1-28-rt-amd64",
                "vmlinuz-6.1-28-amd64",
                "initrd-6.1-28-amd64",
            ],
            &[],
            "/boot/vmlinuz-6.1-28-amd64",
            "/boot/initrd-6.1-28-amd64",
        ),
        (&["vmlinuz-6.2-rt", "initrd-6.2-rt"], &[], "/boot/vmlinuz-6.2-rt", "/boot/initrd-6.2-rt"),
        // Rule 3.
        (
            &["vmlinuz-6.1", "initrd-6.1"],
            &["/usr/lib/modules/6.2/vmlinuz", "/usr/lib/modules/6.2/initramfs.img"],
            "/usr/lib/modules/6.2/vmlinuz",
            "/usr/lib/modules/6.2/initramfs.img",
        ),
        (
            &["vmlinux-6.1", "vmlinuz-6.1", "initrd-6.1"],
            &["/usr/lib/modules/6.1/vmlinuz", "/usr/lib/modules/6.1/initramfs.img"],
            "/boot/vmlinuz-6.1",
            "/boot/initrd-6.1",
        ),
        (
            &[
                "vmlinux-6.2.gz",
                "vmlinuz-6.3.old",
                "vmlinuz-6.1",
                "initrd-6.1",
                "initrd-6.2.gz",
                "initrd-6.3.old",
            ],
            &[],
            "/boot/vmlinuz-6.1",
            "/boot/initrd-6.1",
        ),
        // Rule 4.
        (
            &["vmlinuz-6.1", "initrd-6.1"],
            &["/vmlinuz", "/initrd.img"],
            "/boot/vmlinuz-6.1",
            "/boot/initrd-6.1",
        ),
    ];
    for (boot, other, kernel, initrd) in rows {
        assert_eq!(choose(&wanting(None, None), boot, other), pair(kernel, initrd), "{boot:?} {other:?}");
    }
    let boot = ["vmlinuz-6.2+debug", "initrd-6.2+debug", "vmlinuz-6.1", "initrd-6.1"];
    let asked = choose(&wanting(Some("/boot/vmlinuz-*"), None), &boot, &[]);
    assert_eq!(asked, pair("/boot/vmlinuz-6.1", "/boot/initrd-6.1"));
    let asked = choose(&wanting(Some("/boot/vmlinuz-*+debug"), None), &boot, &[]);
    assert_eq!(asked, pair("/boot/vmlinuz-6.2+debug", "/boot/initrd-6.2+debug"));
}

/// Trees as distributions make them, with what else lies there.
#[test]
fn what_distributions_have_in_boot_is_found_whatever_a_boot_loader_is_told() {
    let fedora = "6.11.4-301.fc41.x86_64";
    let el = ["5.14.0-427.el9.x86_64", "5.14.0-70.el9.x86_64"];
    let suse = "6.4.0-150600.23.25-default";
    let own = |start: &str, version: &str, end: &str| format!("{start}{version}{end}");
    let boot = |name: &str, version: &str, end: &str| own(&format!("/boot/{name}"), version, end);
    let modules = |version: &str, end: &str| own("/usr/lib/modules/", version, end);
    let rows: Vec<(&str, Vec<String>, String, String)> = vec![
        (
            "Fedora: rescue and the entry of another kernel",
            vec![
                boot("vmlinuz-0-rescue-", "0123", ""),
                boot("initramfs-0-rescue-", "0123", ".img"),
                boot("vmlinuz-", fedora, ""),
                boot(".vmlinuz-", fedora, ".hmac"),
                boot("initramfs-", fedora, ".img"),
                boot("initramfs-", fedora, "kdump.img"),
                boot("symvers-", fedora, ".xz"),
                boot("loader/entries/", "0123-0-rescue", ".conf"),
                boot("efi/EFI/fedora/", "grubx64.efi", ""),
                modules(fedora, "/vmlinuz"),
            ],
            boot("vmlinuz-", fedora, ""),
            boot("initramfs-", fedora, ".img"),
        ),
        (
            "EL: loader/entries has the older kernel alone, and the newer one boots",
            vec![
                boot("vmlinuz-", el[1], ""),
                boot("initramfs-", el[1], ".img"),
                boot("vmlinuz-", el[0], ""),
                boot("initramfs-", el[0], ".img"),
                boot("loader/entries/0123-", el[1], ".conf"),
            ],
            boot("vmlinuz-", el[0], ""),
            boot("initramfs-", el[0], ".img"),
        ),
        (
            "EL's image for containers: the kernel is with its modules alone",
            vec![modules(el[0], "/vmlinuz"), boot("initramfs-", el[0], ".img")],
            modules(el[0], "/vmlinuz"),
            boot("initramfs-", el[0], ".img"),
        ),
        (
            "Ubuntu: links of now and before",
            vec![
                boot("vmlinuz", "", ""),
                boot("vmlinuz.old", "", ""),
                boot("initrd.img", "", ""),
                boot("initrd.img.old", "", ""),
                boot("vmlinuz-", "6.8.0-49-generic", ""),
                boot("initrd.img-", "6.8.0-49-generic", ""),
                boot("vmlinuz-", "6.8.0-9-generic", ""),
                boot("initrd.img-", "6.8.0-9-generic", ""),
            ],
            boot("vmlinuz-", "6.8.0-49-generic", ""),
            boot("initrd.img-", "6.8.0-49-generic", ""),
        ),
        (
            "Arch: names without a version, and the same kernel with its modules",
            vec![
                boot("vmlinuz-", "linux", ""),
                boot("initramfs-", "linux", ".img"),
                boot("initramfs-", "linux", "-fallback.img"),
                modules("6.12.1-arch1-1", "/vmlinuz"),
            ],
            boot("vmlinuz-", "linux", ""),
            boot("initramfs-", "linux", ".img"),
        ),
        (
            "openSUSE: links beside it",
            vec![
                boot("vmlinuz", "", ""),
                boot("initrd", "", ""),
                boot("vmlinuz-", suse, ""),
                boot("initrd-", suse, ""),
                boot("vmlinux-", suse, ".gz"),
                modules(suse, "/vmlinuz"),
            ],
            boot("vmlinuz-", suse, ""),
            boot("initrd-", suse, ""),
        ),
        (
            "openSUSE's name for an initrd, and a kernel that is with its modules alone",
            vec![modules(suse, "/vmlinuz"), boot("initrd-", suse, "")],
            modules(suse, "/vmlinuz"),
            boot("initrd-", suse, ""),
        ),
        (
            "bootc: nothing in /boot",
            vec![modules(fedora, "/vmlinuz"), modules(fedora, "/initramfs.img")],
            modules(fedora, "/vmlinuz"),
            modules(fedora, "/initramfs.img"),
        ),
        (
            "bootc, with an initramfs that was made for NFS: the one beside the kernel counts first",
            vec![
                boot("initramfs-", fedora, ".img"),
                modules(fedora, "/vmlinuz"),
                modules(fedora, "/initramfs.img"),
            ],
            modules(fedora, "/vmlinuz"),
            modules(fedora, "/initramfs.img"),
        ),
        (
            "Debian with systemd-boot: kernel-install copies the initrd by its own name",
            vec![
                boot("debian/", "6.12.48+deb13-amd64", "/linux"),
                boot("debian/6.12.48+deb13-amd64/initrd.img-", "6.12.48+deb13-amd64", ""),
                boot("loader/entries/debian-", "6.1.0-9-amd64", ".conf"),
            ],
            boot("debian/", "6.12.48+deb13-amd64", "/linux"),
            boot("debian/6.12.48+deb13-amd64/initrd.img-", "6.12.48+deb13-amd64", ""),
        ),
    ];
    for (whose, paths, kernel, initrd) in rows {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(choose(&wanting(None, None), &[], &paths), pair(&kernel, &initrd), "{whose}");
        let without: Vec<&str> =
            paths.iter().copied().filter(|path| !path.starts_with("/boot/loader/")).collect();
        assert_eq!(choose(&wanting(None, None), &[], &without), pair(&kernel, &initrd), "{whose}");
    }
}

#[test]
fn without_an_initramfs_the_newest_kernel_boots_alone() {
    let decision = Decision { initramfs: Some(Initramfs::None), ..wanting(None, None) };
    let chosen = choose(&decision, &["vmlinuz-6.1", "vmlinuz-6.10"], &[]);
    assert_eq!(chosen, Ok(Loaded::of("/boot/vmlinuz-6.10", &[], Initramfs::None)));
}

#[test]
fn what_is_missing_is_named() {
    assert!(matches!(choose(&wanting(None, None), &[], &[]), Err(NoPlan::NoKernel { .. })));
    let told = choose(&wanting(None, None), &["vmlinuz-6.1"], &[]).unwrap_err().to_string();
    assert!(told.contains("/boot/vmlinuz-6.1"), "{told}");
    for wanted in ["/opt/bzImage", "/boot/linux-*"] {
        let told = choose(&wanting(Some(wanted), None), &["vmlinuz-6.1"], &[]).unwrap_err().to_string();
        assert!(told.contains(wanted), "{told}");
    }
}

/// Alpha's plan, with these initrds.
fn plan(initrds: &[&str]) -> BootPlan {
    let (site, decision, nic) = (site(), alpha(), mac("52:54:00:00:00:0a"));
    BootPlan::of(&Terms {
        site: &site,
        decision: &decision,
        facts: &Facts::of(&Catalogue::of(&site), &decision, &Asked::by(nic)),
        loaded: &Loaded::of("/vmlinuz", initrds, Initramfs::InitramfsTools),
        view: ViewId([3; 16]),
        mounted: &Mounted::new(),
        mac: nic,
        machine: MachineId::from_random([2; 16]),
        boot: BootId::from_random([1; 8]),
        seal: None,
    })
}

#[test]
fn a_plan_may_have_no_initrd_or_several_and_one_is_written_as_it_always_was() {
    let written = |initrds: &[&str]| serde_json::to_value(plan(initrds)).unwrap()["initrd"].clone();
    assert_eq!(written(&[]), serde_json::Value::Null);
    assert_eq!(written(&["/initrd.img"]), "/initrd.img");
    assert_eq!(written(&["/ucode.img", "/initrd.img"]), serde_json::json!(["/ucode.img", "/initrd.img"]));
    for initrds in [&[][..], &["/initrd.img"], &["/ucode.img", "/initrd.img", "/more.img"]] {
        let plan = plan(initrds);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<BootPlan>(&text).unwrap(), plan);
        let names: Vec<String> = plan.files().map(|(name, _)| name).collect();
        assert_eq!(names, ["kernel", "initrd", "initrd2", "initrd3"][..=initrds.len()]);
        let file = |path: &str| BootFile::View(path.to_owned());
        assert_eq!(plan.file("kernel"), Some(&file("/vmlinuz")));
        assert_eq!(plan.file("initrd2").cloned(), initrds.get(1).map(|path| file(path)));
        assert_eq!(plan.file("initrd0"), None);
    }
}

#[test]
fn several_initrds_are_all_there_or_the_kernel_does_not_boot() {
    let named = ["/boot/ucode.img", "/boot/initrd.img-*"].map(str::to_owned).to_vec();
    let wanted = Decision { kernel: None, initrds: named, ..alpha() };
    let boot = ["vmlinuz-6.1", "initrd.img-6.1", "vmlinuz-6.12", "ucode.img"];
    let loaded = choose(&wanted, &boot, &[]).unwrap();
    assert_eq!(loaded.kernel, "/boot/vmlinuz-6.1", "the newer has no initrd of its own");
    assert_eq!(loaded.initrds, ["/boot/ucode.img", "/boot/initrd.img-6.1"]);
    assert!(matches!(choose(&wanted, &boot[..3], &[]), Err(NoPlan::NoInitrd { .. })));
}

#[test]
fn a_plan_reads_back_from_the_disk_under_the_names_it_has_there() {
    let plan = plan(&["/initrd.img"]);
    let json = serde_json::to_value(&plan).unwrap();
    for key in "boot machine mac name profile workloads view kernel initrd args root facts why".split(' ') {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert_eq!(json["boot"], "0101010101010101");
    assert_eq!(json["why"][0]["from"], "[machine.alpha]");
    assert_eq!(serde_json::from_value::<BootPlan>(json).unwrap(), plan);
}

#[test]
fn the_nearer_word_counts_for_a_variable() {
    let said: Vec<_> = alpha().vars.into_iter().collect();
    let expected = [("mirror", "profile"), ("only", "workload"), ("role", "build"), ("zone", "site")];
    assert_eq!(said, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let zones =
        |decision: &Decision| decision.why.iter().filter(|why| why.value.starts_with("role=")).count();
    assert_eq!(zones(&alpha()), 1, "only the word that counts is told");
}

#[test]
fn a_machines_facts_are_those_of_the_nic_and_network_that_it_boots_from() {
    let facts = |mac_text: &str| Facts::of(&Catalogue::of(&site()), &alpha(), &Asked::by(mac(mac_text)));
    let (first, second) = (facts("52:54:00:00:00:0a"), facts("52:54:00:00:00:0b"));
    assert_eq!(first.address, Some([10, 0, 1, 10].into()));
    assert_eq!(second.address, Some([10, 0, 0, 100].into()), "it has none of its own: one that it could get");
    assert_eq!((first.site.server, second.site.server), ([10, 0, 1, 1].into(), [10, 0, 0, 1].into()));
    assert_eq!((first.site.domain, second.site.domain.as_deref()), (None, Some("lab")));
    assert_eq!((first.name.as_str(), first.macs.len()), ("alpha", 2));
}

#[test]
fn a_machine_that_nobody_has_named_is_a_case_of_its_own_and_no_mac_that_a_site_may_own() {
    let text = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\n[[network]]\nsubnet = \"10.0.0.0/24\"\n\
        [profile.a]\nsource = { directory = \"a\" }\n[profile.b]\nsource = { directory = \"b\" }\n\
        [machine.one]\nmac = \"02:00:00:00:00:01\"\nprofile = \"a\"\n";
    let of = |more: &str| {
        let site = load_str("site.toml", &format!("{text}{more}"), std::path::Path::new("/")).unwrap();
        let unknown = Asked::of(Who::Unknown);
        let decision = decide(&Catalogue::of(&site), &unknown).unwrap().into_profile();
        decision.map(|decision| (decision.name, decision.profile))
    };
    assert_eq!(of(""), None);
    let unknown = of("[unknown]\nprofile = \"b\"\n");
    assert_eq!(unknown, Some((None, "b".to_owned())));
}

#[test]
fn a_profile_without_a_root_loads_the_kernel_and_initrds_that_it_names_and_says_nothing_of_ours() {
    let of = |more: &str| {
        let text = format!(
            "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\n[profile.rescue]\nsource = {{ directory = \"r\" }}\n\
             root = \"none\"\n{more}\n[profile.more]\nextends = \"rescue\"\nargs = [\"quiet\"]\n\
             [machine.one]\nmac = \"02:00:00:00:00:01\"\nprofile = \"more\"\n"
        );
        decided(&load_str("site.toml", &text, Path::new("/")).unwrap(), mac("02:00:00:00:00:01")).unwrap()
    };
    let named = of("kernel = \"/linux\"\nargs = [\"root=/dev/ram0\", \"ip=dhcp\"]");
    assert_eq!((named.root, named.args.len()), (Root::None, 3), "whoever extends it has its root");
    let none = Loaded::of("/linux", &[], Initramfs::InitramfsTools);
    assert_eq!(choose(&named, &["vmlinuz-6.1", "initrd.img-6.1"], &["/linux"]), Ok(none));
    let both = of("kernel = \"/linux\"\ninitrd = \"/initrd.gz\"");
    let plain = of("");
    let of = |kernel: &str, initrd: &str| Ok(Loaded::of(kernel, &[initrd], Initramfs::InitramfsTools));
    assert_eq!(choose(&both, &[], &["/linux", "/initrd.gz"]), of("/linux", "/initrd.gz"));
    assert!(matches!(choose(&both, &[], &["/linux"]), Err(NoPlan::NoInitrd { .. })));
    let found = choose(&plain, &["vmlinuz-6.1", "initrd.img-6.1"], &[]);
    assert_eq!(found, of("/boot/vmlinuz-6.1", "/boot/initrd.img-6.1"));
    let said = named.why.iter().find(|why| why.what == "root").unwrap();
    assert_eq!((said.value.as_str(), said.from.as_str()), ("none", "[profile.rescue]"));
}
