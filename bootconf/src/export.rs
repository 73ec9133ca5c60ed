//! The path by which a machine mounts its root: `/v/VIEW`, and where another server gives the addresses,
//! `/v/VIEW.BOOT.SEAL` (design.md, "Who may read what").
//!
//! The seal is a keyed hash that only this site's servers can make. Whoever shows it was given that boot's script, so the
//! address that shows it is that boot's machine. Below the export a path may follow: a client may mount a part.

use std::fmt;

use oneroot_tree::ViewId;

use crate::identity::BootId;

/// Bytes of a seal.
pub const SEAL: usize = 16;

/// What a mount path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export {
    /// The view.
    pub view: ViewId,
    /// Whose boot it is, where the address does not say so.
    pub pass: Option<Pass>,
}

/// A boot, and the proof that its script was given to whoever shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// The boot.
    pub boot: BootId,
    /// The keyed hash of boot and view.
    pub seal: [u8; SEAL],
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/v/{}", self.view)?;
        let Some(Pass { boot, seal }) = &self.pass else { return Ok(()) };
        write!(f, ".{boot}.")?;
        seal.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Export {
    /// Reads a mount path: the export, and the path below it, which is empty or begins with `/`.
    #[must_use]
    pub fn parse(path: &[u8]) -> Option<(Self, &[u8])> {
        let rest = path.strip_prefix(b"/v/")?;
        let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let (name, below) = rest.split_at_checked(end)?;
        let mut parts = std::str::from_utf8(name).ok()?.split('.');
        let view = parts.next()?.parse().ok()?;
        let pass = match (parts.next(), parts.next(), parts.next()) {
            (None, ..) => None,
            (Some(boot), Some(seal), None) => Some(Pass { boot: boot.parse().ok()?, seal: unhex(seal)? }),
            _ => return None,
        };
        Some((Self { view, pass }, below))
    }
}

fn unhex(text: &str) -> Option<[u8; SEAL]> {
    // The same text and no other spelling of it: one path for one export.
    let view: ViewId = text.parse().ok()?;
    Some(view.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_as_its_export_and_the_path_below_it() {
        let view = ViewId([7; 16]);
        let pass = Pass { boot: BootId::from_random([1; 8]), seal: [0xab; SEAL] };
        for export in [Export { view, pass: None }, Export { view, pass: Some(pass) }] {
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
            format!("/v/{view}.{boot}"),
            format!("/v/{view}.{boot}."),
            format!("/v/{view}.{boot}.{view}.x"),
            format!("/v/{view}.{boot}.{view}0"),
            "/v/../etc".to_owned(),
        ] {
            assert_eq!(Export::parse(path.as_bytes()), None, "{path}");
        }
        assert_eq!(Export::parse(b"/v/\xff\xfe"), None);
    }
}
