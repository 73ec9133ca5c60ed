//! Bytes and texts that nobody meant well: parsers answer, with something bounded.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

use std::net::IpAddr;
use std::path::Path;

use oneroot_bootconf::decided::Way;
use oneroot_bootconf::export::Export;
use oneroot_bootconf::mounts::Mounts;
use oneroot_bootconf::plan::{BootFile, BootPlan, Mounted};
use oneroot_bootconf::root::Root;
use oneroot_bootconf::screens::Told;
use oneroot_bootconf::{EXAMPLE, load, load_str, screens, script};
use oneroot_ids::{BootId, Mac, MachineId, ViewId};
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_text_is_a_site_or_a_bounded_report(text in "\\PC{0,400}") {
        if let Err(report) = load_str("s", &text, Path::new("/")) {
            prop_assert!(!report.problems.is_empty());
            prop_assert!(report.to_string().len() < 64 * 1024);
        }
    }

    /// Near misses: the example with a few bytes replaced reaches deeper than noise does.
    #[test]
    fn a_spoilt_example_is_a_site_or_a_report_with_places(
        spoils in prop::collection::vec((0usize..4000, prop::char::range(' ', '~')), 1..6),
    ) {
        let mut chars: Vec<char> = EXAMPLE.chars().collect();
        let length = chars.len();
        for (place, with) in spoils {
            chars[place % length] = with;
        }
        let text: String = chars.into_iter().collect();
        if let Err(report) = load_str("s", &text, Path::new("/")) {
            for problem in report.problems {
                prop_assert!(problem.line >= 1 && problem.column >= 1, "{problem}");
                prop_assert!(problem.line <= text.lines().count() + 1);
            }
        }
    }

    #[test]
    fn any_bytes_in_a_file_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("site.toml");
        std::fs::write(&path, bytes).unwrap();
        let _ = load(&path);
    }

    #[test]
    fn any_path_of_a_mount_is_an_export_in_its_one_spelling_or_none(path in "/v/[0-9a-fA-F]{32}(\\.[0-9a-fA-F]{16}(\\.[0-9a-fA-F]{32})?)?(/.*)?|\\PC{0,80}".prop_map(String::into_bytes)) {
        if let Some((export, below)) = Export::parse(&path) {
            prop_assert_eq!([export.to_string().as_bytes(), below].concat(), path);
        }
    }

    #[test]
    fn ids_read_back_as_they_were_printed(bytes in any::<[u8; 16]>()) {
        let view = ViewId(bytes);
        let export = Export { view, named: None };
        let path = export.to_string();
        prop_assert_eq!(Export::parse(path.as_bytes()), Some((export, b"".as_slice())));
        let machine = MachineId::from_random(bytes);
        prop_assert_eq!(machine.to_string().parse(), Ok(machine));
    }

    #[test]
    fn any_text_is_a_mac_in_one_spelling_or_none(text in "[0-9a-fA-F:-]{0,20}|\\PC{0,20}") {
        if let Ok(mac) = text.parse::<Mac>() {
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            prop_assert_eq!(mac.dashed().parse(), Ok(mac));
        }
    }

    /// A reason may quote a file name or another program's words; on the firmware's screen it stays one line of text.
    #[test]
    fn no_reason_becomes_a_command(reason in "\\PC{0,80}|(\n|\\$\\{net0/mac\\}|&& shell|\\|\\| exit| ){0,9}") {
        let script = script::refused("http://10.0.0.1/boot/x.ipxe", &reason);
        let harmless = script::refused("http://10.0.0.1/boot/x.ipxe", "x");
        let frame = |script: &str| -> Vec<String> {
            script.lines().enumerate().filter(|(number, _)| *number != 1).map(|(_, line)| line.to_owned()).collect()
        };
        prop_assert_eq!(frame(&script), frame(&harmless));
        let shown = script.lines().nth(1).unwrap();
        prop_assert!(shown.starts_with("echo oneroot: "));
        for special in ["${", "&&", "||"] {
            prop_assert!(!shown.contains(special), "{}", shown);
        }
    }
}

#[test]
fn a_script_uses_only_the_words_that_the_ipxe_of_2019_knows() {
    let known = [
        "#!ipxe", "echo", "kernel", "initrd", "boot", "imgfree", "sleep", "goto", "chain", "set", "inc",
        "iseq", "menu", "item", "choose", "sanboot", "exit",
    ];
    let base = script::http_base(IpAddr::from([10, 0, 0, 1]), 80);
    let mac = "52:54:00:00:00:0a".parse().unwrap();
    let (url, lead) = (script::url(&base, mac), script::lead([10, 0, 0, 1].into(), mac, "0a"));
    for initrds in 0..=2 {
        let file = || BootFile::View("/boot/x".to_owned());
        let plan = BootPlan {
            boot: BootId::from_random([1; 8]),
            machine: MachineId::from_random([1; 16]),
            mac,
            name: "alpha".to_owned(),
            profile: "debian".to_owned(),
            choice: None,
            workloads: vec![],
            view: ViewId([1; 16]),
            kernel: file(),
            initrds: (0..initrds).map(|_| file()).collect(),
            args: vec!["ro".to_owned()],
            root: Root::Nfs,
            initramfs: None,
            mounts: Mounts::new(),
            log: None,
            secrets: Default::default(),
            mounted: Mounted::new(),
            assigned: None,
            facts: None,
            why: vec![],
        };
        let script = script::boot(&base, &plan, &url);
        for line in script.lines().chain(script::refused(&url, "no").lines()).chain(lead.lines()) {
            let word = line.split(' ').next().unwrap();
            assert!(known.contains(&word) || word.starts_with(':'), "{line}");
            if ["kernel", "initrd"].contains(&word) {
                assert!(line.ends_with("|| goto failed"), "{line}");
            }
        }
        assert_eq!(script.matches("initrd=initrd").count(), initrds);
    }
    let text = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\n[menu.desk]\ntitle = \"Room 1\"\ntimeout = \"5s\"\n\
        choice = [{ name = \"disk\", boot = \"local\" }]\n";
    let site = load_str("site.toml", text, Path::new("/")).unwrap();
    let told = Told { name: None, mac, address: IpAddr::from([10, 0, 0, 2]) };
    for way in [Way::Local, Way::Hold, Way::Menu("desk".to_owned(), site.menus["desk"].clone())] {
        for line in screens::of(&way, &told, &base).lines() {
            let word = line.split(' ').next().unwrap();
            assert!(known.contains(&word) || word.starts_with(':'), "{line}");
        }
    }
}
