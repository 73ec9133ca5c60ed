//! The facts by their names: those by which a rule's `when`, a rule's `name` and `--fact` of the command line know them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::{Claims, NoFact};

/// A fact that is a text, or is compared as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// [`super::Hardware::arch`].
    Arch,
    /// [`super::Hardware::firmware`].
    Firmware,
    /// [`super::Hardware::manufacturer`].
    Manufacturer,
    /// [`super::Hardware::product`].
    Product,
    /// [`super::Hardware::serial`].
    Serial,
    /// [`super::Hardware::uuid`].
    Uuid,
    /// [`super::Hardware::asset`].
    Asset,
    /// [`super::Hardware::memory`].
    Memory,
    /// [`super::Hardware::cpu`].
    Cpu,
    /// [`super::Hardware::nic`].
    Nic,
    /// [`super::Hardware::vendor_class`].
    VendorClass,
    /// [`super::Hardware::user_class`].
    UserClass,
    /// [`super::Location::relay`].
    Relay,
    /// [`super::Location::circuit_id`].
    CircuitId,
    /// [`super::Location::remote_id`].
    RemoteId,
    /// [`super::Location::interface`].
    Interface,
}

impl Fact {
    /// All there are. The network is none of them: it follows from the address.
    pub const ALL: [Self; 16] = [
        Self::Arch,
        Self::Firmware,
        Self::Manufacturer,
        Self::Product,
        Self::Serial,
        Self::Uuid,
        Self::Asset,
        Self::Memory,
        Self::Cpu,
        Self::Nic,
        Self::VendorClass,
        Self::UserClass,
        Self::Relay,
        Self::CircuitId,
        Self::RemoteId,
        Self::Interface,
    ];

    /// As a site file spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arch => "arch",
            Self::Firmware => "firmware",
            Self::Manufacturer => "manufacturer",
            Self::Product => "product",
            Self::Serial => "serial",
            Self::Uuid => "uuid",
            Self::Asset => "asset",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Nic => "nic",
            Self::VendorClass => "vendor_class",
            Self::UserClass => "user_class",
            Self::Relay => "relay",
            Self::CircuitId => "circuit_id",
            Self::RemoteId => "remote_id",
            Self::Interface => "interface",
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Fact {
    type Err = NoFact;

    fn from_str(text: &str) -> Result<Self, NoFact> {
        let none = NoFact(
            "a fact: arch, firmware, manufacturer, product, serial, uuid, asset, memory, cpu, nic, vendor_class, user_class, \
             relay, circuit_id, remote_id, interface",
        );
        Self::ALL.into_iter().find(|fact| fact.as_str() == text).ok_or(none)
    }
}

impl Claims {
    /// A fact as text; none where it is not known.
    #[must_use]
    pub fn text(&self, fact: Fact) -> Option<Cow<'_, str>> {
        let (hardware, location) = (&self.hardware, &self.location);
        let told = match fact {
            Fact::Arch => return hardware.arch.map(|arch| arch.as_str().into()),
            Fact::Firmware => return hardware.firmware.map(|firmware| firmware.as_str().into()),
            Fact::Uuid => return hardware.uuid.map(|uuid| uuid.to_string().into()),
            Fact::Memory => return hardware.memory.map(|memory| memory.to_string().into()),
            Fact::Nic => return hardware.nic.map(|nic| nic.to_string().into()),
            Fact::Relay => return location.relay.map(|relay| relay.to_string().into()),
            Fact::Manufacturer => &hardware.manufacturer,
            Fact::Product => &hardware.product,
            Fact::Serial => &hardware.serial,
            Fact::Asset => &hardware.asset,
            Fact::Cpu => &hardware.cpu,
            Fact::VendorClass => &hardware.vendor_class,
            Fact::UserClass => &hardware.user_class,
            Fact::CircuitId => &location.circuit_id,
            Fact::RemoteId => &location.remote_id,
            Fact::Interface => &location.interface,
        };
        told.as_ref().map(|told| told.as_str().into())
    }

    /// Takes a fact from its text, in place of what was known.
    ///
    /// # Errors
    /// [`NoFact`], with what it has to be like.
    pub fn suppose(&mut self, fact: Fact, text: &str) -> Result<(), NoFact> {
        let (hardware, location) = (&mut self.hardware, &mut self.location);
        let told = match fact {
            Fact::Arch => return text.parse().map(|arch| hardware.arch = Some(arch)),
            Fact::Firmware => return text.parse().map(|firmware| hardware.firmware = Some(firmware)),
            Fact::Uuid => return text.parse().map(|uuid| hardware.uuid = Some(uuid)),
            Fact::Nic => return text.parse().map(|nic| hardware.nic = Some(nic)),
            Fact::Memory => {
                let memory = text.parse().map_err(|_| NoFact("a number of MiB"))?;
                hardware.memory = Some(memory);
                return Ok(());
            }
            Fact::Relay => {
                let relay = text.parse().map_err(|_| NoFact("an IPv4 address"))?;
                location.relay = Some(relay);
                return Ok(());
            }
            Fact::Manufacturer => &mut hardware.manufacturer,
            Fact::Product => &mut hardware.product,
            Fact::Serial => &mut hardware.serial,
            Fact::Asset => &mut hardware.asset,
            Fact::Cpu => &mut hardware.cpu,
            Fact::VendorClass => &mut hardware.vendor_class,
            Fact::UserClass => &mut hardware.user_class,
            Fact::CircuitId => &mut location.circuit_id,
            Fact::RemoteId => &mut location.remote_id,
            Fact::Interface => &mut location.interface,
        };
        *told = Some(text.parse()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_is_known_by_its_name_and_read_back_as_it_was_supposed() {
        for fact in Fact::ALL {
            assert_eq!(fact.as_str().parse(), Ok(fact));
            let text = match fact {
                Fact::Arch => "arm64",
                Fact::Firmware => "uefi",
                Fact::Uuid => "4c4c4544-0051-3010-8052-b4c04f4d3232",
                Fact::Memory => "8192",
                Fact::Nic => "8086:100e",
                Fact::Relay => "10.0.0.1",
                _ => "Some text",
            };
            let mut claims = Claims::default();
            assert_eq!(claims.text(fact), None);
            claims.suppose(fact, text).unwrap();
            assert_eq!(claims.text(fact).as_deref(), Some(text), "{fact}");
            assert!(claims.suppose(fact, "\u{1b}[2J").is_err(), "{fact}");
            // Each in its own place.
            assert_eq!(Fact::ALL.iter().filter(|other| claims.text(**other).is_some()).count(), 1);
            let json = serde_json::to_value(&claims).unwrap();
            let place = if ["relay", "circuit_id", "remote_id", "interface"].contains(&fact.as_str()) {
                "location"
            } else {
                "hardware"
            };
            assert!(json[place].get(fact.as_str()).is_some(), "{fact}: {json}");
        }
    }
}
