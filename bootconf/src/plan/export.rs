//! The path by which a machine mounts its root: `/v/VIEW.BOOT`, and where another server gives the addresses,
//! `/v/VIEW.BOOT.SEAL` (docs/decisions/0006).
//!
//! The boot tells two boots of one view apart, so that a mount says exactly which of them has its root now. The seal is a
//! keyed hash that only this site's servers can make: whoever shows it has seen that boot's script. `/v/VIEW` is what
//! boots were told before paths named them. Below the export a path may follow: a client may mount a part.

use std::fmt;

use oneroot_ids::{BootId, ViewId, hex};

/// Bytes of a seal.
pub const SEAL: usize = 16;

/// What a mount path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export {
    /// The view.
    pub view: ViewId,
    /// Whose root it is; none in the paths of old.
    pub named: Option<Named>,
}

/// The boot in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// It.
    pub boot: BootId,
    /// The keyed hash of boot and view, where the address does not say who is there.
    pub seal: Option<[u8; SEAL]>,
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/v/{}", self.view)?;
        let Some(Named { boot, seal }) = &self.named else { return Ok(()) };
        write!(f, ".{boot}")?;
        let Some(seal) = seal else { return Ok(()) };
        write!(f, ".{}", hex(seal))
    }
}

impl Export {
    /// The root of a boot. `seal` where another server gives the addresses.
    #[must_use]
    pub fn of(view: ViewId, boot: BootId, seal: Option<[u8; SEAL]>) -> Self {
        Self { view, named: Some(Named { boot, seal }) }
    }

    /// Reads a mount path: the export, and the path below it, which is empty or begins with `/`.
    #[must_use]
    pub fn parse(path: &[u8]) -> Option<(Self, &[u8])> {
        let rest = path.strip_prefix(b"/v/")?;
        let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let (name, below) = rest.split_at_checked(end)?;
        let name = std::str::from_utf8(name).ok()?;
        let mut parts = name.split('.');
        let view = parts.next()?.parse().ok()?;
        let named = match (parts.next(), parts.next(), parts.next()) {
            (None, ..) => None,
            (Some(boot), None, _) => Some(Named { boot: boot.parse().ok()?, seal: None }),
            (Some(boot), Some(seal), None) => {
                // A seal looks as a view's id does.
                let ViewId(seal) = seal.parse().ok()?;
                Some(Named { boot: boot.parse().ok()?, seal: Some(seal) })
            }
            _ => return None,
        };
        let export = Self { view, named };
        // The same text and no other spelling of it: one path for one export.
        (export.to_string().strip_prefix("/v/") == Some(name)).then_some((export, below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_as_its_export_and_the_path_below_it() {
        let (view, boot) = (ViewId([7; 16]), BootId::from_random([1; 8]));
        let unnamed = Export { view, named: None };
        for export in [unnamed, Export::of(view, boot, None), Export::of(view, boot, Some([0xab; SEAL]))] {
            let path = export.to_string();
            assert_eq!(Export::parse(path.as_bytes()), Some((export, b"".as_slice())));
            let part = format!("{path}/etc/x");
            assert_eq!(Export::parse(part.as_bytes()), Some((export, b"/etc/x".as_slice())));
        }
    }

    #[test]
    fn what_is_no_export_is_none() {
        let view = "07".repeat(16);
        let boot = "01".repeat(8);
        for path in [
            String::new(),
            "/".to_owned(),
            "/v".to_owned(),
            "/v/".to_owned(),
            "/v/0707".to_owned(),
            format!("/v/{view}0"),
            format!("/v/{view}etc"),
            format!("x/v/{view}"),
            format!("/v/{view}."),
            format!("/v/{view}.{boot}."),
            format!("/v/{view}.{boot}0"),
            format!("/v/{view}..{view}"),
            format!("/v/{view}.{}", "0A".repeat(8)),
            format!("/v/{view}.{boot}.{view}.x"),
            format!("/v/{view}.{boot}.{view}0"),
            "/v/../etc".to_owned(),
        ] {
            assert_eq!(Export::parse(path.as_bytes()), None, "{path}");
        }
        assert_eq!(Export::parse(b"/v/\xff\xfe"), None);
    }
}
