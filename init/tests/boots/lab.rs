//! A machine, its servers and its tree, as most tests want them, and DHCP servers that answer as the test says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use oneroot_init::kernel::Link;
use oneroot_initrd::report::Report;

use crate::fake::{Dhcp, Fake, Node, Server, State};

pub const MAC: &str = "52:54:00:00:00:0a";
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
pub const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
pub const ROGUE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 66);
pub const LEASED: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 10);
/// The settings of the machine, as its server writes them.
pub const SETTINGS: &str = "boot 0202020202020202\nmachine 01010101010141018101010101010101\nname alpha\n\
    mac 52:54:00:00:00:0a\nserver 192.168.77.1 2049 80\nserver 192.168.77.2 2049 80\nexport /v/ab.02\n\
    address 192.168.77.10/24 3600\nrouter 192.168.77.254\npatience 20\noverlay tmpfs 50%\ninit /sbin/init\nrestart 300\nend\n";

/// A PCI NIC, its driver, and what a boot needs beside it.
const DEP: &str = "kernel/igc.ko: kernel/ptp.ko\nkernel/ptp.ko:\nkernel/nfsv3.ko: kernel/nfs.ko\nkernel/nfs.ko:\n\
    kernel/overlay.ko:\nkernel/8021q.ko:\nkernel/zram.ko:\nkernel/sound.ko:\nkernel/asix.ko:\n";
const ALIAS: &str = "alias pci:v00008086d000015F3sv*sd*bc*sc*i* igc\nalias pci:v00008086d0000A0C8sv*sd*bc*sc*i* sound\n\
    alias usb:v0B95p1790d*dc*dsc*dp*ic*isc*ip*in* asix\n";

pub fn link(index: u32, name: &str, mac: &str) -> Link {
    let mac = mac.parse().ok();
    Link { index, name: name.to_owned(), mac, own_mac: None, carrier: false, made: false }
}

pub fn file(text: &str) -> Node {
    Node::File(text.as_bytes().to_vec())
}

pub fn at(address: Ipv4Addr) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(address), 80)
}

/// A machine that boots as it should: igc is its NIC, which appears when its driver is loaded.
pub fn machine() -> Fake {
    machine_with(SETTINGS)
}

pub fn machine_with(settings: &str) -> Fake {
    let mut state = State { clock: 1_800_000_000, ..State::default() };
    for (path, text) in [
        ("/oneroot/settings", settings),
        ("/proc/cmdline", "BOOTIF=01-52-54-00-00-00-0a oneroot.boot=0202020202020202 single\n"),
        ("/proc/meminfo", "MemTotal:        1048576 kB\n"),
        ("/proc/sys/kernel/modprobe", "/sbin/modprobe\n"),
        ("/proc/sys/kernel/printk", "7\t4\t1\t7\n"),
        ("/lib/modules/6.1.0-56/modules.dep", DEP),
        ("/lib/modules/6.1.0-56/modules.alias", ALIAS),
        ("/sys/bus/pci/devices/0000:00:1f.3/modalias", "pci:v00008086d0000A0C8sv0sd0bc04sc03i80\n"),
        ("/sys/bus/pci/devices/0000:00:1f.3/class", "0x040380\n"),
    ] {
        state.files.insert(path.to_owned(), file(text));
    }
    nic(&mut state, "pci:v00008086d000015F3sv0sd0bc02sc00i00\n");
    state.on_load.insert("igc".to_owned(), Box::new(|state| state.links.push(link(2, "eth0", MAC))));
    state.plugged.insert(2);
    let server = Server { is_up: true, mounts: Ok(()), reports: Vec::new() };
    state.servers.insert(at(SERVER), server.clone());
    state.servers.insert(at(OTHER), Server { is_up: false, ..server });
    state.dhcp.push(gives(SERVER, LEASED));
    tree(&mut state);
    Fake::new(state)
}

/// Plugs in a network card that says this of itself.
pub fn nic(state: &mut State, modalias: &str) {
    for (name, text) in
        [("modalias", modalias), ("class", "0x020000\n"), ("vendor", "0x8086\n"), ("device", "0x15f3\n")]
    {
        state.files.insert(format!("/sys/bus/pci/devices/0000:01:00.0/{name}"), file(text));
    }
}

/// A tree with systemd, and what its server has written for this machine.
fn tree(state: &mut State) {
    let unit = "/.oneroot/run/systemd/system";
    for path in
        ["/", "/dev", "/proc", "/sys", "/run", "/etc", "/.oneroot", "/.oneroot/run", "/.oneroot/etc", unit]
    {
        state.tree.insert(path.to_owned(), Node::Directory);
    }
    for path in ["/.oneroot/run/systemd", "/.oneroot/run/systemd/network", "/.oneroot/run/chrony-dhcp"] {
        state.tree.insert(path.to_owned(), Node::Directory);
    }
    for (path, text) in [
        ("/bin/sh", "#!"),
        ("/usr/lib/systemd/systemd", "#!"),
        ("/.oneroot/places", include_str!("../../../machines/src/guest/places")),
        ("/.oneroot/watch", "#!"),
        ("/.oneroot/ifupdown", "#!"),
        ("/.oneroot/etc/hostname", "alpha\n"),
        ("/.oneroot/etc/hosts", "127.0.1.1 alpha\n"),
        ("/.oneroot/etc/resolv.conf", "nameserver 192.168.77.1\n"),
        ("/.oneroot/run/chrony-dhcp/oneroot.sources", "server 192.168.77.1 iburst\n"),
        ("/.oneroot/run/systemd/network/00-oneroot.network", "[Match]\n"),
    ] {
        state.tree.insert(path.to_owned(), file(text));
    }
    state.tree.insert(format!("{unit}/oneroot-up.service"), file("[Unit]\n"));
    state.tree.insert(format!("{unit}/multi-user.target.wants"), Node::Directory);
    let wanted = Node::Link("../oneroot-up.service".to_owned());
    state.tree.insert(format!("{unit}/multi-user.target.wants/oneroot-up.service"), wanted);
    state.tree.insert("/sbin/init".to_owned(), Node::Link("../usr/lib/systemd/systemd".to_owned()));
}

/// What all servers heard, in order of time.
pub fn reports(fake: &Fake) -> Vec<Report> {
    let mut all: Vec<Report> =
        fake.state().servers.values().flat_map(|server| server.reports.clone()).collect();
    all.sort_by_key(|report| report.at_ms);
    all
}

/// The failures among them.
pub fn failures(fake: &Fake) -> Vec<String> {
    reports(fake).into_iter().filter_map(|report| report.failure).collect()
}

pub fn asked(question: &[u8]) -> Message {
    assert!(question.len() >= 300, "old relays drop shorter ones");
    Message::decode(&mut Decoder::new(question)).unwrap()
}

pub fn kind(question: &[u8]) -> MessageType {
    asked(question).opts().msg_type().unwrap()
}

fn answer(question: &[u8], server: Ipv4Addr, kind: MessageType, address: Ipv4Addr) -> Vec<u8> {
    let question = asked(question);
    assert!(question.flags().broadcast(), "an answer to an address that it does not have would not be heard");
    let mut message = Message::new_with_id(
        question.xid(),
        Ipv4Addr::UNSPECIFIED,
        address,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::UNSPECIFIED,
        question.chaddr(),
    );
    message.set_opcode(Opcode::BootReply);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(server));
    options.insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 240, 0)));
    options.insert(DhcpOption::Router(vec![Ipv4Addr::new(192, 168, 77, 253)]));
    options.insert(DhcpOption::AddressLeaseTime(600));
    options.insert(DhcpOption::InterfaceMtu(1400));
    message.to_vec().unwrap()
}

/// A DHCP server that gives this address, and refuses any other.
pub fn gives(server: Ipv4Addr, address: Ipv4Addr) -> Dhcp {
    Box::new(move |question| {
        let message = asked(question);
        let wanted = match message.opts().get(OptionCode::RequestedIpAddress) {
            Some(DhcpOption::RequestedIpAddress(wanted)) => Some(*wanted),
            _ => None,
        };
        let chosen = match message.opts().get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(chosen)) => *chosen == server,
            _ => true,
        };
        let (kind, address) = match wanted {
            _ if !chosen => return None,
            None => (MessageType::Offer, address),
            Some(wanted) if wanted == address => (MessageType::Ack, address),
            Some(_) => (MessageType::Nak, Ipv4Addr::UNSPECIFIED),
        };
        Some(answer(question, server, kind, address))
    })
}

/// One whose answers are first spoilt.
pub fn spoilt(server: Ipv4Addr, address: Ipv4Addr, spoil: impl Fn(&mut Vec<u8>) + Send + 'static) -> Dhcp {
    let mut gives = gives(server, address);
    Box::new(move |question| {
        let mut answer = gives(question)?;
        spoil(&mut answer);
        Some(answer)
    })
}

/// One that says nothing to so many questions.
pub fn after(silent: usize, mut then: Dhcp) -> Dhcp {
    let count = Arc::new(Mutex::new(silent));
    Box::new(move |question| {
        let mut left = count.lock().unwrap();
        if *left == 0 {
            return then(question);
        }
        *left -= 1;
        None
    })
}
