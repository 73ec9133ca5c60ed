//! Facts in the query of a request (RFC 3986 §3.4): the words that iPXE is asked for, and how they are read.
//!
//! A name is one of those below, or is left out; a value is percent-decoded, or, after a name that begins with `x.`, written as
//! the hexadecimal digits of its bytes. Texts are asked for in digits: iPXE of 2019 decodes a query and writes it anew with other
//! rules, so that of `A&B` only `A` would come, and what is not ASCII comes as something else. The first of one name counts, and
//! what is behind the [`LONGEST`]th byte does not.

use super::{Firmware, Hardware, PciId, Told};

/// Bytes of a query that are looked at.
pub const LONGEST: usize = 2048;
/// How a name begins whose value is in hexadecimal digits.
const DIGITS: &str = "x.";
/// Modules of memory that are asked for.
const MODULES: u8 = 16;
/// What SMBIOS says of a module whose size is in its other field (DSP0134, type 17, "Size" and "Extended Size").
const EXTENDED: u16 = 0x7fff;
/// And of one whose size nobody knows.
const UNKNOWN: u16 = 0xffff;
/// The bit that says of a module's size that it is in KiB.
const IN_KIB: u16 = 0x8000;

/// What iPXE is asked for: the name in the query, and the setting. Short ones first, for a query is cut where it is too long.
pub const ASKED: [(&str, &str); 9] = [
    ("platform", "platform"),
    ("busid", "netX/busid:hexraw"),
    ("uuid", "uuid"),
    ("x.serial", "serial:hexraw"),
    ("x.product", "product:hexraw"),
    ("x.manufacturer", "manufacturer:hexraw"),
    ("x.asset", "asset:hexraw"),
    // SMBIOS type 4, the string at 0x10.
    ("x.cpu", "smbios/4.16.0:hexraw"),
    ("arch", "oneroot-arch"),
];

impl Hardware {
    /// The query of a script that asks for facts, in iPXE's words.
    #[must_use]
    pub fn query() -> String {
        let words = ASKED.iter().map(|(name, setting)| format!("{name}=${{{setting}}}"));
        // The two fields of each module's size, as they lie in SMBIOS.
        let sizes = |field: &str| {
            let one = |module| format!("${{smbios/{module}.17.{field}:hexraw}}");
            (0..MODULES).map(one).collect::<Vec<_>>().join(".")
        };
        let memory = [format!("sizes={}", sizes("12.2")), format!("extended={}", sizes("28.4"))];
        words.chain(memory).collect::<Vec<_>>().join("&")
    }

    /// The facts in a query. It never fails: what is no fact is left out.
    #[must_use]
    pub fn of_query(query: &str) -> Self {
        let mut read = Read::default();
        for pair in whole(query).split('&') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let (name, value) = match name.strip_prefix(DIGITS) {
                Some(name) => (name, unhex(value)),
                None => (name, decoded(value)),
            };
            if let Some(value) = value {
                read.take(name, &value);
            }
        }
        read.hardware.memory = read.memory();
        read.hardware
    }
}

/// The pairs of a query that are there as a whole.
fn whole(query: &str) -> &str {
    if query.len() <= LONGEST {
        return query;
    }
    let bytes = query.as_bytes().get(..LONGEST).unwrap_or_default();
    let end = bytes.iter().rposition(|byte| *byte == b'&').unwrap_or(0);
    query.get(..end).unwrap_or_default()
}

#[derive(Default)]
struct Read {
    hardware: Hardware,
    sizes: Option<String>,
    extended: Option<String>,
}

impl Read {
    fn take(&mut self, name: &str, value: &[u8]) {
        let hardware = &mut self.hardware;
        let text = || std::str::from_utf8(value).ok();
        match name {
            "arch" if hardware.arch.is_none() => hardware.arch = text().and_then(|text| text.parse().ok()),
            "platform" if hardware.firmware.is_none() => {
                hardware.firmware = match value {
                    b"pcbios" => Some(Firmware::Bios),
                    b"efi" => Some(Firmware::Uefi),
                    _ => None,
                };
            }
            "busid" if hardware.nic.is_none() => hardware.nic = text().and_then(pci),
            "uuid" if hardware.uuid.is_none() => hardware.uuid = text().and_then(|text| text.parse().ok()),
            "sizes" if self.sizes.is_none() => self.sizes = text().map(str::to_owned),
            "extended" if self.extended.is_none() => self.extended = text().map(str::to_owned),
            "manufacturer" => first(&mut hardware.manufacturer, value),
            "product" => first(&mut hardware.product, value),
            "serial" => first(&mut hardware.serial, value),
            "asset" => first(&mut hardware.asset, value),
            "cpu" => first(&mut hardware.cpu, value),
            _ => {}
        }
    }

    /// All modules together, in MiB; none where nothing is known of any.
    fn memory(&self) -> Option<u32> {
        let extended: Vec<&str> = self.extended.as_deref().unwrap_or_default().split('.').collect();
        let mut kib: u64 = 0;
        for (module, size) in self.sizes.as_deref()?.split('.').take(usize::from(MODULES)).enumerate() {
            let size = unhex(size).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes);
            let other = || extended.get(module).and_then(|digits| unhex(digits)?.try_into().ok());
            kib += match size {
                None | Some(UNKNOWN) => 0,
                // The highest bit is reserved (DSP0134, "Extended Size").
                Some(EXTENDED) => u64::from(other().map_or(0, u32::from_le_bytes) & 0x7fff_ffff) * 1024,
                Some(size) if size & IN_KIB != 0 => u64::from(size & !IN_KIB),
                Some(size) => u64::from(size) * 1024,
            };
        }
        u32::try_from(kib / 1024).ok().filter(|memory| *memory > 0)
    }
}

fn first(fact: &mut Option<Told>, value: &[u8]) {
    if fact.is_none() {
        *fact = Told::of(value);
    }
}

/// A NIC's bus, vendor and device as iPXE has them in `busid`; none where the bus is not PCI.
fn pci(digits: &str) -> Option<PciId> {
    let [1, a, b, c, d] = *unhex(digits)?.as_slice() else { return None };
    Some(PciId { vendor: u16::from_be_bytes([a, b]), device: u16::from_be_bytes([c, d]) })
}

/// A value with its percent codes decoded; none where one is broken. A `+` is a `+`: this is no form.
fn decoded(value: &str) -> Option<Vec<u8>> {
    let mut bytes = value.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let [high, low] = [digit(bytes.next()?)?, digit(bytes.next()?)?];
                high << 4 | low
            }
            byte => byte,
        });
    }
    Some(decoded)
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Arch;

    fn product(query: &str) -> Option<String> {
        Hardware::of_query(query).product.map(|told| told.to_string())
    }

    #[test]
    fn what_ipxe_says_of_a_machine_becomes_its_facts() {
        let said = Hardware::of_query(
            "platform=pcbios&busid=018086100e&uuid=4C4C4544-0051-3010-8052-B4C04F4D3232&x.serial=5351&\
             x.product=4f70746 95&x.product=4f70746950&x.manufacturer=44656c6c20496e632e&x.asset=&\
             x.cpu=4126422b43&arch=x86_64&sizes=0040.0010..&extended=00000000",
        );
        let told = |text: &str| Told::of(text.as_bytes());
        assert_eq!(
            said,
            Hardware {
                arch: Some(Arch::X86_64),
                firmware: Some(Firmware::Bios),
                manufacturer: told("Dell Inc."),
                product: told("OptiP"),
                serial: told("SQ"),
                uuid: "4c4c4544-0051-3010-8052-b4c04f4d3232".parse().ok(),
                memory: Some(16_384 + 4096),
                cpu: told("A&B+C"),
                nic: Some(PciId { vendor: 0x8086, device: 0x100e }),
                ..Hardware::default()
            }
        );
    }

    #[test]
    fn the_numbers_of_a_nic_on_another_bus_than_pci_are_not_taken_for_a_pci_cards() {
        // Xen, Hyper-V, USB and the firmware's own, as iPXE numbers them.
        for bus in ["08", "09", "0a", "07"] {
            assert_eq!(Hardware::of_query(&format!("busid={bus}0bda8153")).nic, None, "{bus}");
        }
    }

    #[test]
    fn a_module_may_be_of_any_size_that_smbios_can_say() {
        let memory = |sizes: &str, extended: &str| {
            Hardware::of_query(&format!("sizes={sizes}&extended={extended}")).memory
        };
        assert_eq!(memory("0001", ""), Some(256));
        assert_eq!(memory("ff7f.ff7f", "00000100.00000200"), Some(65_536 + 131_072));
        assert_eq!(memory("0084.0000.ffff", ""), Some(1), "KiB; an empty slot; nobody knows");
        for none in ["", "0000", "zz", "00", "0040 ", "0000.ffff"] {
            assert_eq!(memory(none, ""), None, "{none}");
        }
        let most = memory(&["ff7f"; 100].join("."), &["ffffff7f"; 100].join("."));
        assert_eq!(most, None, "more than there can be");
    }

    #[test]
    fn a_broken_percent_code_costs_its_own_fact_and_no_other() {
        for broken in ["%", "%4", "%zz", "A%", "%%41", "%-1", "%+1"] {
            let said = Hardware::of_query(&format!("product={broken}&serial=S"));
            assert_eq!(said, Hardware { serial: Told::of(b"S"), ..Hardware::default() }, "{broken}");
        }
        assert_eq!(product("product=Opti%50lex%207080+"), Some("OptiPlex 7080+".to_owned()));
        assert_eq!(product("product=a%0Ab"), None);
        assert_eq!(product("product=a%00"), Some("a".to_owned()));
        assert_eq!(product("x.product=4"), None);
        assert_eq!(product("x.product=4g"), None);
    }

    #[test]
    fn of_any_number_of_facts_the_first_ones_count_and_no_name_is_made_up() {
        let many = vec!["product=A"; 100_000].join("&");
        assert_eq!(product(&many), Some("A".to_owned()));
        let others: String = (0..100_000).map(|number| format!("fact{number}=x&")).collect();
        assert_eq!(Hardware::of_query(&others), Hardware::default());
        assert_eq!(product(&format!("{others}product=A")), None, "it is behind the longest that is read");
        assert_eq!(product(&format!("serial=S&product={}", "A".repeat(1 << 20))), None);
        assert_eq!(product("product=A&product=B"), Some("A".to_owned()));
        for nothing in
            ["", "&", "=", "&&=&", "product", "product=", "PRODUCT=A", "x.x.product=41", "?product=A"]
        {
            assert_eq!(Hardware::of_query(nothing), Hardware::default(), "{nothing}");
        }
    }

    #[test]
    fn every_word_that_is_asked_for_is_read_and_what_they_say_fits() {
        for (name, _) in ASKED {
            let value = match name {
                "platform" => "efi",
                "busid" => "0110ec8168",
                "uuid" => "4c4c4544-0051-3010-8052-b4c04f4d3232",
                "arch" => "arm64",
                _ => "41",
            };
            assert_ne!(Hardware::of_query(&format!("{name}={value}")), Hardware::default(), "{name}");
        }
        // Texts of SMBIOS have 64 characters at most; each is two digits.
        let texts = ASKED.iter().filter(|(name, _)| name.starts_with(DIGITS)).count();
        let names: usize = ASKED.iter().map(|(name, _)| name.len() + 2).sum();
        assert!(names + texts * 128 + 60 + usize::from(MODULES) * 14 + 20 <= LONGEST);
    }
}
