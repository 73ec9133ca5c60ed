//! What a machine tells of itself, and from where it asks: what anybody has sent becomes typed, bounded, printable facts, or is
//! left out. A fact is a claim (docs/security.md): it is looked up and compared, and never pasted into anything.
//!
//! Its sources: iPXE, which reads SMBIOS (DSP0134) and says it in the request for a boot script; DHCP (RFC 2132, 3004, 3046,
//! 4578) with every message of a machine that boots; the server itself, which knows by which interface that came; and what programs
//! of its own tree have found out when it came up last (`examined.rs`).

mod examined;
mod fact;
mod query;

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use examined::{Examined, ExaminedRecord, Key, MOST_FACTS, NotTaken, Taken, Value};
pub use fact::Fact;
pub use query::{ASKED, LONGEST};

/// What a machine tells of itself. Each is missing where nobody has told it, or what was told is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// What its processor runs. iPXE's `buildarch`, and whether an x86 processor has the long mode; before that, DHCP's option
    /// 93, which says nothing of the kind for a BIOS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// Its firmware. iPXE's `platform`; before that, DHCP's option 93.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// Who made it: SMBIOS type 1, "Manufacturer". By iPXE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<Told>,
    /// Which model it is: SMBIOS type 1, "Product Name". By iPXE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<Told>,
    /// Its serial number: SMBIOS type 1, "Serial Number". By iPXE. Many boards tell the same one as all others of their kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<Told>,
    /// Its UUID: SMBIOS type 1. By iPXE; before that, DHCP's option 97.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
    /// The owner's tag on its case: SMBIOS type 3, "Asset Tag". By iPXE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset: Option<Told>,
    /// Its memory in MiB: the sizes of its modules, SMBIOS type 17, the first sixteen of them. By iPXE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    /// Its processor: SMBIOS type 4, "Processor Version", of the first socket. By iPXE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Told>,
    /// The NIC that boots: its PCI vendor and device. By iPXE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nic: Option<PciId>,
    /// DHCP's option 60, such as `PXEClient:Arch:00007:UNDI:003016`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_class: Option<Told>,
    /// DHCP's option 77, such as `iPXE`; of a list, the classes with a comma between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_class: Option<Told>,
}

/// From where a machine asks. The server or a relay says it, and not the machine; of a relay that passes on what it is sent,
/// it is the machine's word all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Location {
    /// The site's network that its address is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Ipv4Network>,
    /// The relay that brought its DHCP messages (giaddr).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<Ipv4Addr>,
    /// The port that the relay has it on (option 82.1): its text, or its bytes in hexadecimal with colons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_id: Option<Told>,
    /// The relay's name for its host or line (option 82.2), likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<Told>,
    /// The server's interface by which its DHCP messages came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Told>,
}

/// All that is told of a machine, by itself and on the way to the server. Claims: who decides by them decides by anybody's word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// What it tells of itself.
    pub hardware: Hardware,
    /// From where it asks.
    pub location: Location,
    /// What it has found out about itself when it came up last.
    pub examined: Examined,
}

/// Text that somebody has told: 1 to [`Told::LONGEST`] printable ASCII characters, no space first or last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Told(String);

/// What a processor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 32-bit x86, and nothing else.
    I386,
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 32-bit ARM.
    Arm32,
    /// 64-bit ARM.
    Arm64,
    /// 32-bit RISC-V.
    Riscv32,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit LoongArch.
    Loong64,
}

/// What runs before a loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// An x86 BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

/// A UUID that tells one machine from others: not all zeros, and not all ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

/// Vendor and device of a PCI card, as `8086:100e`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciId {
    /// Who made it.
    pub vendor: u16,
    /// What it is.
    pub device: u16,
}

/// A text that is no fact of the kind that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not {0}")]
pub struct NoFact(&'static str);

impl Hardware {
    /// These facts, and of those that are missing the others.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            arch: self.arch.or(others.arch),
            firmware: self.firmware.or(others.firmware),
            manufacturer: self.manufacturer.or(others.manufacturer),
            product: self.product.or(others.product),
            serial: self.serial.or(others.serial),
            uuid: self.uuid.or(others.uuid),
            asset: self.asset.or(others.asset),
            memory: self.memory.or(others.memory),
            cpu: self.cpu.or(others.cpu),
            nic: self.nic.or(others.nic),
            vendor_class: self.vendor_class.or(others.vendor_class),
            user_class: self.user_class.or(others.user_class),
        }
    }

    /// Those of them that DHCP may have told.
    #[must_use]
    pub fn of_dhcp(self) -> Self {
        let Self { arch, firmware, uuid, vendor_class, user_class, .. } = self;
        Self { arch, firmware, uuid, vendor_class, user_class, ..Self::default() }
    }
}

impl Told {
    /// Characters of one text at most. SMBIOS has strings of 64 at most, and DHCP options of 255 bytes.
    pub const LONGEST: usize = 128;

    /// What was told, without the spaces and zeros around it. A character that is not ASCII becomes a `?`. None for nothing, for
    /// what is too long, and for what has a control character in it: that is no text.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let around = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
        let start = bytes.iter().position(|byte| !around(byte))?;
        let end = bytes.iter().rposition(|byte| !around(byte))?;
        let bytes = bytes.get(start..=end).filter(|bytes| bytes.len() <= Self::LONGEST)?;
        if bytes.iter().any(u8::is_ascii_control) {
            return None;
        }
        let plain = |c: char| if c.is_ascii() { c } else { '?' };
        Some(Self(String::from_utf8_lossy(bytes).chars().map(plain).collect()))
    }

    /// An identifier that a relay has made up: its text if it is one, else its bytes as `00:04:01`.
    #[must_use]
    pub fn of_id(bytes: &[u8]) -> Option<Self> {
        let is_text = bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        if is_text {
            return Self::of(bytes);
        }
        let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::of(digits.join(":").as_bytes())
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Told {
    type Err = NoFact;

    fn from_str(text: &str) -> Result<Self, NoFact> {
        Self::of(text.as_bytes()).ok_or(NoFact("a text of 1 to 128 printable characters"))
    }
}

impl Arch {
    /// All there are.
    pub const ALL: [Self; 7] =
        [Self::I386, Self::X86_64, Self::Arm32, Self::Arm64, Self::Riscv32, Self::Riscv64, Self::Loong64];

    /// As iPXE and a site file spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::I386 => "i386",
            Self::X86_64 => "x86_64",
            Self::Arm32 => "arm32",
            Self::Arm64 => "arm64",
            Self::Riscv32 => "riscv32",
            Self::Riscv64 => "riscv64",
            Self::Loong64 => "loong64",
        }
    }

    /// What firmware of this number runs on ("Processor Architecture Types", RFC 5970). A BIOS says nothing of the width of
    /// its processor, and neither does byte code.
    #[must_use]
    pub fn of_firmware(number: u16) -> Option<Self> {
        match number {
            6 | 15 => Some(Self::I386),
            7 | 16 => Some(Self::X86_64),
            10 | 18 => Some(Self::Arm32),
            11 | 19 => Some(Self::Arm64),
            25 | 26 => Some(Self::Riscv32),
            27 | 28 => Some(Self::Riscv64),
            39 | 40 => Some(Self::Loong64),
            _ => None,
        }
    }
}

impl Firmware {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Bios, Self::Uefi];

    /// As a site file spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        }
    }
}

impl Uuid {
    /// Of its bytes in the order in which it is written.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16] && bytes != [0xff; 16]).then_some(Self(bytes))
    }

    /// As DHCP's option 97 has it: a type, which is 0, and 16 bytes, of which the first three fields are little-endian as in SMBIOS
    /// (RFC 4578 §2.3).
    #[must_use]
    pub fn of_option(data: &[u8]) -> Option<Self> {
        let ([0], rest) = data.split_first_chunk()? else { return None };
        let [a, b, c, d, e, f, g, h, rest @ ..] = *<&[u8; 16]>::try_from(rest).ok()?;
        let [i, j, k, l, m, n, o, p] = rest;
        Self::new([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(place, byte)| {
            let dash = if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")
        })
    }
}

impl fmt::Display for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Arch {
    type Err = NoFact;

    fn from_str(text: &str) -> Result<Self, NoFact> {
        let none = NoFact("one of i386, x86_64, arm32, arm64, riscv32, riscv64, loong64");
        Self::ALL.into_iter().find(|arch| arch.as_str() == text).ok_or(none)
    }
}

impl FromStr for Firmware {
    type Err = NoFact;

    fn from_str(text: &str) -> Result<Self, NoFact> {
        let none = NoFact("one of bios, uefi");
        Self::ALL.into_iter().find(|firmware| firmware.as_str() == text).ok_or(none)
    }
}

impl FromStr for Uuid {
    type Err = NoFact;

    fn from_str(text: &str) -> Result<Self, NoFact> {
        let none = NoFact("a UUID of 32 hexadecimal digits, neither all zeros nor all ones");
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        if groups != [8, 4, 4, 4, 12] || !text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()) {
            return Err(none);
        }
        let number = u128::from_str_radix(&text.replace('-', ""), 16).map_err(|_| none)?;
        Self::new(number.to_be_bytes()).ok_or(none)
    }
}

impl FromStr for PciId {
    type Err = NoFact;

    fn from_str(text: &str) -> Result<Self, NoFact> {
        let none = NoFact("a PCI vendor and device, such as 8086:100e");
        let number = |digits: &str| {
            let good = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            good.then(|| u16::from_str_radix(digits, 16).ok()).flatten().ok_or(none)
        };
        let (vendor, device) = text.split_once(':').ok_or(none)?;
        Ok(Self { vendor: number(vendor)?, device: number(device)? })
    }
}

/// Facts that are written as their text, and read back by the same rules as anybody's word.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Told, Uuid, PciId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bounded_and_printable_or_it_is_no_fact() {
        let told = |bytes: &[u8]| Told::of(bytes).map(|told| told.to_string());
        assert_eq!(told(b" OptiPlex 7080 \0\0"), Some("OptiPlex 7080".to_owned()));
        assert_eq!(told("Intel® NUC".as_bytes()), Some("Intel? NUC".to_owned()));
        assert_eq!(told(b"Intel\xae NUC"), Some("Intel? NUC".to_owned()));
        assert_eq!(told(&[b'x'; 128]).map(|text| text.len()), Some(128));
        for bad in [&b""[..], b" \0 ", b"a\nb", b"a\x1b[31m", b"a\0b", &[b'x'; 129], &[0xff; 500]] {
            assert_eq!(told(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_a_relay_calls_a_port_is_its_text_or_its_bytes() {
        let told = |bytes: &[u8]| Told::of_id(bytes).map(|told| told.to_string());
        assert_eq!(told(b"Gi1/0/7"), Some("Gi1/0/7".to_owned()));
        assert_eq!(told(&[0, 4, 0, 1, 1, 7]), Some("00:04:00:01:01:07".to_owned()));
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[1; 200]), None, "bounded like all else");
    }

    #[test]
    fn a_uuid_that_every_machine_has_is_none() {
        let uuid = |text: &str| text.parse::<Uuid>().map(|uuid| uuid.to_string()).ok();
        let good = "4C4C4544-0051-3010-8052-B4C04F4D3232";
        assert_eq!(uuid(good), Some(good.to_ascii_lowercase()));
        for bad in
            ["", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "4c4c"]
        {
            assert_eq!(uuid(bad), None, "{bad}");
        }
        let mut option = [0; 17];
        option[1..].copy_from_slice(&[
            0x44, 0x45, 0x4c, 0x4c, 0x51, 0, 0x10, 0x30, 0x80, 0x52, 0xb4, 0xc0, 0x4f, 0x4d, 0x32, 0x32,
        ]);
        assert_eq!(Uuid::of_option(&option), good.parse().ok());
        assert_eq!(Uuid::of_option(&option[..16]), None);
        assert_eq!(Uuid::of_option(&[1; 17]), None);
    }

    #[test]
    fn facts_read_back_as_they_were_written_and_what_is_none_is_refused() {
        let hardware = Hardware {
            arch: Some(Arch::X86_64),
            firmware: Some(Firmware::Uefi),
            product: Told::of(b"OptiPlex 7080"),
            uuid: "4c4c4544-0051-3010-8052-b4c04f4d3232".parse().ok(),
            memory: Some(16_384),
            nic: "8086:15bb".parse().ok(),
            ..Hardware::default()
        };
        let text = serde_json::to_string(&hardware).unwrap();
        assert_eq!(
            text,
            r#"{"arch":"x86_64","firmware":"uefi","product":"OptiPlex 7080","uuid":"4c4c4544-0051-3010-8052-b4c04f4d3232","memory":16384,"nic":"8086:15bb"}"#
        );
        assert_eq!(serde_json::from_str::<Hardware>(&text).unwrap(), hardware);
        assert_eq!(serde_json::from_str::<Hardware>("{}").unwrap(), Hardware::default());
        assert!(serde_json::from_str::<Hardware>(r#"{"product":"a\nb"}"#).is_err());
        for arch in Arch::ALL {
            assert_eq!(serde_json::to_value(arch).unwrap(), arch.as_str());
            assert_eq!(arch.as_str().parse(), Ok(arch));
        }
    }
}
