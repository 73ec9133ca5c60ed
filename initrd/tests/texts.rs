//! Settings and reports read back as they were written, whatever is in them; what is cut short or made up is refused.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::net::{IpAddr, Ipv4Addr};

use oneroot_ids::{BootId, Mac, MachineId};
use oneroot_initrd::report::{self, BadReport, MOST_KERNEL_LINES, Phase, Report};
use oneroot_initrd::settings::{
    Address, BadSettings, Compression, MOST_SERVERS, Overlay, Server, Settings, Size, size,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn sizes() -> impl Strategy<Value = Size> {
    prop_oneof![(1..=100u8).prop_map(Size::Percent), (1..=1u32 << 24).prop_map(Size::Mib)]
}

fn compressions() -> impl Strategy<Value = Option<Compression>> {
    option::of(prop::sample::select(Compression::ALL.to_vec()))
}

fn overlays() -> impl Strategy<Value = Overlay> {
    prop_oneof![
        sizes().prop_map(Overlay::Tmpfs),
        (sizes(), compressions()).prop_map(|(size, by)| Overlay::Zram(size, by))
    ]
}

fn servers() -> impl Strategy<Value = Vec<Server>> {
    let server = (any::<IpAddr>(), 1..=u16::MAX, 1..=u16::MAX);
    vec(server.prop_map(|(address, nfs, http)| Server { address, nfs, http }), 1..=MOST_SERVERS)
}

fn addresses() -> impl Strategy<Value = Address> {
    (any::<Ipv4Addr>(), 1..=32u8, any::<Option<Ipv4Addr>>(), any::<u32>())
        .prop_map(|(address, prefix, router, lease)| Address { address, prefix, router, mtu: None, lease })
}

prop_compose! {
    fn settings()(
        boot in any::<[u8; 8]>(),
        machine in any::<[u8; 16]>(),
        name in "[a-z0-9][a-z0-9.-]{0,62}",
        mac in any::<[u8; 6]>().prop_filter_map("a group", Mac::new),
        servers in servers(),
        export in "/[!-~]{0,200}",
        address in option::of(addresses()),
        mtu in option::of(68..=u16::MAX),
        vlan in option::of(1..=4094u16),
        patience in 0..=86_400u32,
        overlay in overlays(),
        init in "/[!-~]{0,200}",
        restart in option::of(0..=86_400u32),
    ) -> Settings {
        Settings {
            boot: BootId(boot), machine: MachineId(machine), name, mac, servers, export, address, mtu, vlan, patience, overlay, init,
            restart,
        }
    }
}

prop_compose! {
    fn reports()(
        phase in prop::sample::select(&Phase::ALL[..]),
        at_ms in any::<u64>(),
        took_ms in any::<u64>(),
        told in option::of(any::<(bool, String)>()),
        kernel in vec(any::<String>(), 0..30),
    ) -> Report {
        let (failure, note) = match told {
            Some((true, note)) => (None, Some(note)),
            Some((false, failure)) => (Some(failure), None),
            None => (None, None),
        };
        Report { phase, at_ms, took_ms, failure, note, kernel }
    }
}

proptest! {
    #[test]
    fn settings_read_back_as_they_were_written(settings in settings()) {
        prop_assert_eq!(settings.to_string().parse(), Ok(settings));
    }

    #[test]
    fn settings_that_are_cut_short_anywhere_are_refused(settings in settings(), at in any::<prop::sample::Index>()) {
        let text = settings.to_string();
        // The end of the last line is not missed.
        let cut = &text[..at.index(text.len() - 1)];
        prop_assert!(cut.parse::<Settings>().is_err(), "{}", cut);
    }

    #[test]
    fn no_text_of_settings_or_a_report_does_harm(text in "(?s)([a-z]{1,8} .{0,40}\n){0,20}") {
        let _ = text.parse::<Settings>();
        let _ = text.parse::<Report>();
    }

    /// Texts in it are cut and cleaned once, at writing; so the server shows what init has said and no more.
    #[test]
    fn a_report_of_any_texts_is_one_that_can_be_read_and_says_the_same_ever_after(report in reports()) {
        let text = report.to_string();
        prop_assert!(text.len() <= report::LONGEST);
        let read: Report = text.parse().unwrap();
        prop_assert_eq!((read.phase, read.at_ms, read.took_ms), (report.phase, report.at_ms, report.took_ms));
        prop_assert_eq!(read.failure.is_some(), report.failure.is_some());
        prop_assert_eq!(read.note.is_some(), report.note.is_some());
        prop_assert_eq!(read.kernel.len(), report.kernel.len().min(MOST_KERNEL_LINES));
        prop_assert_eq!(read.to_string(), text);
    }
}

const WHOLE: &str = "boot 0202020202020202\nmachine 01010101010141018101010101010101\nname alpha\nmac 52:54:00:00:00:0a\n\
                     server 192.168.77.1 2049 80\nexport /v/ab.02\naddress 192.168.77.10/24 3600\nrouter 192.168.77.1\n\
                     mtu 9000\npatience 20\noverlay tmpfs 50%\ninit /sbin/init\nrestart 60\nend\n";

#[test]
fn the_text_is_what_a_person_expects() {
    let read: Settings = WHOLE.parse().unwrap();
    assert_eq!(read.to_string(), WHOLE);
    assert_eq!(read.mtu, Some(9000));
}

#[test]
fn each_line_that_every_boot_needs_is_missed_by_its_name() {
    for key in ["boot", "machine", "name", "mac", "server", "export", "patience", "overlay", "init", "end"] {
        let lines = WHOLE.lines().filter(|line| line.split(' ').next() != Some(key));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        assert_eq!(text.parse::<Settings>(), Err(BadSettings::Missing(key)));
    }
    let homeless = WHOLE.replace("address 192.168.77.10/24 3600\n", "");
    assert_eq!(homeless.parse::<Settings>(), Err(BadSettings::Missing("address")));
}

#[test]
fn a_value_out_of_its_bounds_is_refused_with_its_line() {
    for (good, bad) in [
        ("name alpha", "name al pha"),
        ("name alpha", "name \u{1b}[2J"),
        ("server 192.168.77.1 2049 80", "server 192.168.77.1 0 80"),
        ("server 192.168.77.1 2049 80", "server 192.168.77.1 2049"),
        ("address 192.168.77.10/24 3600", "address 192.168.77.10/33 3600"),
        ("mtu 9000", "mtu 67"),
        ("patience 20", "patience 86401"),
        ("patience 20", "patience -1"),
        ("overlay tmpfs 50%", "overlay tmpfs 101%"),
        ("overlay tmpfs 50%", "overlay disk 50%"),
        ("init /sbin/init", "init sbin/init"),
        ("restart 60", "vlan 4095"),
        ("restart 60", "secret hush"),
        ("restart 60", "mtu 9000"),
    ] {
        let text = WHOLE.replace(&format!("\n{good}\n"), &format!("\n{bad}\n"));
        assert_eq!(text.parse::<Settings>(), Err(BadSettings::Line(bad.to_owned())));
    }
    let after = format!("{WHOLE}name beta\n");
    assert_eq!(after.parse::<Settings>(), Err(BadSettings::Line("name beta".to_owned())));
    let servers = "server 10.0.0.1 2049 80\n".repeat(MOST_SERVERS + 1);
    assert_eq!(format!("{servers}{WHOLE}").parse::<Settings>(), Err(BadSettings::TooLong));
    assert_eq!("x".repeat(10_000).parse::<Settings>(), Err(BadSettings::TooLong));
}

#[test]
fn an_amount_of_memory_is_read_as_tmpfs_reads_it() {
    for (text, amount) in [
        ("50%", Some(Size::Percent(50))),
        ("512m", Some(Size::Mib(512))),
        ("2G", Some(Size::Mib(2048))),
        ("1", Some(Size::Mib(1))),
        ("1025k", Some(Size::Mib(2))),
        ("0", None),
        ("0%", None),
        ("-1%", None),
        ("5t", None),
        ("m", None),
        ("99999999999g", None),
    ] {
        assert_eq!(size(text), amount, "{text}");
    }
}

#[test]
fn a_report_has_one_phase_and_nothing_that_moves_a_cursor() {
    let failed = "phase root\nat 5\ntook 2\nfailed refused\u{1b}[2J\u{202e}x\nkernel a\tb\n";
    let read: Report = failed.parse().unwrap();
    assert_eq!(read.failure.as_deref(), Some("refused [2J x"));
    assert_eq!(read.kernel, ["a b"]);
    for text in [
        "",
        "phase root\n",
        "phase root\nat 5\ntook 2\nphase root\n",
        "phase of moon\nat 5\ntook 2\n",
        "at -1\n",
        "phase root\nat 5\ntook 2\nfailed x\nnoted y\n",
    ] {
        assert_eq!(text.parse::<Report>(), Err(BadReport::Malformed), "{text:?}");
    }
    let words = "kernel x\n".repeat(MOST_KERNEL_LINES + 1);
    assert_eq!(format!("phase root\nat 5\ntook 2\n{words}").parse::<Report>(), Err(BadReport::Malformed));
    assert_eq!("x".repeat(5000).parse::<Report>(), Err(BadReport::TooLong));
}
