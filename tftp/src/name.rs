//! From the bytes of a request's file name to a path that can't leave the tree.
//!
//! Names come from DHCP options and firmware that disagree on slashes and terminators, so what is meant is accepted:
//! `\` is `/`, leading and doubled slashes vanish, and everything from the first control byte or 0xff on is cut off
//! (option 67 without a NUL lets some ROMs append what lies behind it).

use crate::TftpError;

/// Returns a relative path with plain components.
///
/// `.` vanishes as a doubled slash does. `..` is refused rather than resolved: no client needs it, and a name that is not
/// resolved can't be resolved wrongly. Bytes that are not UTF-8 are refused, as no file is served under such a name.
pub(crate) fn clean(raw: &[u8]) -> Result<String, TftpError> {
    let meant = raw.split(|byte| *byte < 0x20 || *byte == 0xff).next().unwrap_or_default();
    let text = std::str::from_utf8(meant).map_err(|_| TftpError::BadName)?;
    let mut path = String::with_capacity(text.len());
    for component in text.split(['/', '\\']).filter(|component| !matches!(*component, "" | ".")) {
        if component == ".." {
            return Err(TftpError::BadName);
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(component);
    }
    if path.is_empty() { Err(TftpError::NoName) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::clean;
    use crate::TftpError;
    use proptest::prelude::*;

    #[test]
    fn slashes_of_all_kinds_mean_the_same_path() {
        for name in [
            "boot/grub/x.efi",
            "/boot/grub/x.efi",
            "\\boot\\grub\\x.efi",
            "//boot\\/grub//x.efi",
            "./boot/./grub/x.efi",
        ] {
            assert_eq!(clean(name.as_bytes()).as_deref(), Ok("boot/grub/x.efi"), "{name}");
        }
    }

    #[test]
    fn an_absolute_or_drive_name_stays_inside() {
        assert_eq!(clean(b"/etc/passwd").as_deref(), Ok("etc/passwd"));
        assert_eq!(clean(b"C:\\x").as_deref(), Ok("C:/x"));
    }

    #[test]
    fn garbage_behind_the_name_is_cut_off() {
        assert_eq!(clean(b"ipxe.efi\xff\xff/..").as_deref(), Ok("ipxe.efi"));
        assert_eq!(clean(b"ipxe.efi\x01../x").as_deref(), Ok("ipxe.efi"));
    }

    #[test]
    fn a_way_up_is_refused_wherever_it_stands() {
        for name in ["..", "../x", "a/../../x", "..\\x", "a\\..", "./..", "/.."] {
            assert_eq!(clean(name.as_bytes()), Err(TftpError::BadName), "{name}");
        }
        assert_eq!(clean(b"..a/b..").as_deref(), Ok("..a/b.."));
    }

    #[test]
    fn nothing_is_not_a_name() {
        for name in [&b""[..], b"/", b".", b"\\\\", b"\xffx", b"\n"] {
            assert_eq!(clean(name), Err(TftpError::NoName));
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert_eq!(clean(b"caf\xe9"), Err(TftpError::BadName));
    }

    proptest! {
        #[test]
        fn no_bytes_lead_out_of_the_tree(raw in proptest::collection::vec(prop_oneof![
            3 => prop_oneof![Just(b'.'), Just(b'/'), Just(b'\\')], 1 => any::<u8>()], 0..64))
        {
            if let Ok(path) = clean(&raw) {
                prop_assert!(path.len() <= raw.len());
                prop_assert!(!path.chars().any(|c| c == '\\' || u32::from(c) < 0x20));
                prop_assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{}", path);
            }
        }
    }
}
