//! Which of a machine's many DHCP clients is asking: firmware, iPXE, or the system.

use crate::wire::message::Request;
use oneroot_ids::Mac;

/// A client, as boot policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The NIC.
    pub mac: Mac,
    /// It says `PXEClient`: firmware, or iPXE, which says so too.
    pub pxe: bool,
    /// It says `HTTPClient`: UEFI HTTP Boot.
    pub http: bool,
    /// It is iPXE: a loader would only load itself, for ever, where it is as good as ours.
    pub ipxe: bool,
    /// It is an iPXE that says what it can, and not HTTP (some ROMs): it loads ours first, which can.
    pub without_http: bool,
    /// Architectures that it can load for, the one that it likes best first (RFC 4578 §2.1, IANA's list): what option 93 says,
    /// else what its class says.
    pub architectures: Vec<u16>,
}

impl Client {
    /// Reads it off a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        Self {
            mac: request.mac,
            pxe: request.vendor_class.starts_with(b"PXEClient"),
            http: request.vendor_class.starts_with(b"HTTPClient"),
            ipxe: request.ipxe_options || request.user_classes().any(|class| class == b"iPXE"),
            without_http: request.ipxe_without_http,
            architectures: match request.architectures.as_slice() {
                [] => named_by_class(&request.vendor_class).into_iter().collect(),
                all => all.to_vec(),
            },
        }
    }

    /// Whether it is a BIOS: it names that and nothing else, or is a ROM so old that it names nothing. What UEFI there is
    /// can't run a BIOS' loader, so whoever names anything else is never given one.
    #[must_use]
    pub fn is_bios(&self) -> bool {
        self.pxe && self.architectures.iter().all(|architecture| *architecture == 0)
    }

    /// A boot has just begun: this is not the system that runs already.
    #[must_use]
    pub fn boots(&self) -> bool {
        self.pxe || self.http || self.ipxe
    }
}

/// The number in `PXEClient:Arch:00007:UNDI:003016` (PXE 2.1 §2.2) and `HTTPClient:Arch:00016`.
fn named_by_class(class: &[u8]) -> Option<u16> {
    let mut words = std::str::from_utf8(class).ok()?.split(':').skip(1);
    words.next().filter(|word| *word == "Arch")?;
    words.next()?.parse().ok()
}

impl Request {
    /// The classes that option 77 names.
    pub fn user_classes(&self) -> impl Iterator<Item = &[u8]> {
        user_classes(&self.user_class)
    }
}

/// Option 77: RFC 3004 says a list with lengths, iPXE sends the bare word. If the lengths add up, it is a list.
fn user_classes(option: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut list = Vec::new();
    let mut rest = option;
    while let Some((length, tail)) = rest.split_first() {
        let Some((class, tail)) = tail.split_at_checked(usize::from(*length)) else { break };
        list.push(class);
        rest = tail;
    }
    if rest.is_empty() { list.into_iter() } else { vec![option].into_iter() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_user_class_are_understood() {
        assert!(user_classes(b"iPXE").any(|class| class == b"iPXE"));
        assert!(user_classes(b"\x03abc\x04iPXE").any(|class| class == b"iPXE"));
        assert!(!user_classes(b"\x04iPX").any(|class| class == b"iPXE"));
        assert_eq!(user_classes(b"").count(), 0);
    }
}
