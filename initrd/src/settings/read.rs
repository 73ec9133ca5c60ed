//! Settings out of their text: each line once, each value within its bounds.

use std::str::{FromStr, SplitAsciiWhitespace};

use super::{Address, BadSettings, Compression, END, LONGEST, MOST_SERVERS, Overlay, Server, Settings, Size};

/// A DNS label, as a machine's name is.
const LONGEST_NAME: usize = 63;
/// As the kernel's own PATH_MAX is far beyond what anybody mounts or starts.
const LONGEST_PATH: usize = 1024;
/// A day: nobody waits longer.
const LONGEST_WAIT: u32 = 86_400;
/// RFC 791 has every link carry so much.
const LEAST_MTU: u16 = 68;
/// VLAN 0 and 4095 are not VLANs (IEEE 802.1Q).
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;
/// 16 TiB.
const MOST_MIB: u32 = 16 << 20;

/// What the lines have said so far.
#[derive(Default)]
struct Said {
    boot: Option<oneroot_ids::BootId>,
    machine: Option<oneroot_ids::MachineId>,
    name: Option<String>,
    mac: Option<oneroot_ids::Mac>,
    servers: Vec<Server>,
    export: Option<String>,
    address: Option<Address>,
    router: Option<std::net::Ipv4Addr>,
    mtu: Option<u16>,
    vlan: Option<u16>,
    patience: Option<u32>,
    overlay: Option<Overlay>,
    init: Option<String>,
    restart: Option<u32>,
    end: Option<()>,
}

impl FromStr for Settings {
    type Err = BadSettings;

    fn from_str(text: &str) -> Result<Self, BadSettings> {
        if text.len() > LONGEST {
            return Err(BadSettings::TooLong);
        }
        let mut said = Said::default();
        for line in text.lines() {
            if said.servers.len() > MOST_SERVERS {
                return Err(BadSettings::TooLong);
            }
            let bad = || BadSettings::Line(line.chars().take(80).collect());
            if said.end.is_some() {
                return Err(bad());
            }
            said.take(line).ok_or_else(bad)?;
        }
        said.end.ok_or(BadSettings::Missing(END))?;
        said.whole()
    }
}

impl Said {
    /// One line; none where it says nothing that is known, or says it a second time.
    fn take(&mut self, line: &str) -> Option<()> {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "boot" => once(&mut self.boot, value.parse().ok()),
            "machine" => once(&mut self.machine, value.parse().ok()),
            "name" => once(&mut self.name, name(value)),
            "mac" => once(&mut self.mac, value.parse().ok()),
            "server" => {
                self.servers.push(server(value)?);
                Some(())
            }
            "export" => once(&mut self.export, path(value)),
            "address" => once(&mut self.address, address(value)),
            "router" => once(&mut self.router, value.parse().ok()),
            "mtu" => once(&mut self.mtu, value.parse().ok().filter(|mtu| *mtu >= LEAST_MTU)),
            "vlan" => once(&mut self.vlan, value.parse().ok().filter(|vlan| VLANS.contains(vlan))),
            "patience" => once(&mut self.patience, wait(value)),
            "overlay" => once(&mut self.overlay, overlay(value)),
            "init" => once(&mut self.init, path(value)),
            "restart" => once(&mut self.restart, wait(value)),
            END if value.is_empty() => once(&mut self.end, Some(())),
            _ => None,
        }
    }

    fn whole(self) -> Result<Settings, BadSettings> {
        let missing = BadSettings::Missing;
        let mut address = self.address;
        match &mut address {
            Some(leased) => leased.router = self.router,
            None if self.router.is_some() => return Err(missing("address")),
            None => {}
        }
        if self.servers.is_empty() {
            return Err(missing("server"));
        }
        Ok(Settings {
            boot: self.boot.ok_or(missing("boot"))?,
            machine: self.machine.ok_or(missing("machine"))?,
            name: self.name.ok_or(missing("name"))?,
            mac: self.mac.ok_or(missing("mac"))?,
            servers: self.servers,
            export: self.export.ok_or(missing("export"))?,
            address,
            mtu: self.mtu,
            vlan: self.vlan,
            patience: self.patience.ok_or(missing("patience"))?,
            overlay: self.overlay.ok_or(missing("overlay"))?,
            init: self.init.ok_or(missing("init"))?,
            restart: self.restart,
        })
    }
}

fn once<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    let first = place.is_none();
    *place = Some(value?);
    first.then_some(())
}

/// A machine's name: what may stand in a hostname.
fn name(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || byte == b'_';
    let good = !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(plain);
    good.then(|| text.to_owned())
}

/// An absolute path of one word.
fn path(text: &str) -> Option<String> {
    let good = text.starts_with('/')
        && text.len() <= LONGEST_PATH
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| text.to_owned())
}

fn wait(text: &str) -> Option<u32> {
    text.parse().ok().filter(|seconds| *seconds <= LONGEST_WAIT)
}

/// The next of the words.
fn word<T: FromStr>(words: &mut SplitAsciiWhitespace<'_>) -> Option<T> {
    words.next()?.parse().ok()
}

fn server(text: &str) -> Option<Server> {
    let mut words = text.split_ascii_whitespace();
    let server = Server { address: word(&mut words)?, nfs: word(&mut words)?, http: word(&mut words)? };
    (words.next().is_none() && server.nfs != 0 && server.http != 0).then_some(server)
}

fn address(text: &str) -> Option<Address> {
    let mut words = text.split_ascii_whitespace();
    let (address, prefix) = words.next()?.split_once('/')?;
    let lease = word(&mut words)?;
    let prefix = prefix.parse().ok().filter(|bits| (1..=32).contains(bits))?;
    let address = Address { address: address.parse().ok()?, prefix, router: None, mtu: None, lease };
    words.next().is_none().then_some(address)
}

fn overlay(text: &str) -> Option<Overlay> {
    match text.split_once(' ')? {
        ("tmpfs", amount) => size(amount).map(Overlay::Tmpfs),
        ("zram", words) => zram(words),
        _ => None,
    }
}

/// A disk's size, and what compresses it if anything is said: `2g`, `50% zstd`.
#[must_use]
pub fn zram(words: &str) -> Option<Overlay> {
    let (amount, by) = words.split_once(' ').map_or((words, None), |(amount, by)| (amount, Some(by)));
    let named = |name: &str| Compression::ALL.into_iter().find(|known| known.as_str() == name);
    let by = match by {
        Some(name) => Some(named(name)?),
        None => None,
    };
    Some(Overlay::Zram(size(amount)?, by))
}

/// An amount of memory as tmpfs has it for `size=`: `50%`, or a number with `k`, `m` or `g` behind it, rounded up to a MiB.
#[must_use]
pub fn size(text: &str) -> Option<Size> {
    if let Some(percent) = text.strip_suffix('%') {
        return percent.parse().ok().filter(|percent| (1..=100).contains(percent)).map(Size::Percent);
    }
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..)? {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    let mib = digits.parse::<u64>().ok()?.checked_mul(unit)?.div_ceil(1 << 20);
    u32::try_from(mib).ok().filter(|mib| (1..=MOST_MIB).contains(mib)).map(Size::Mib)
}
