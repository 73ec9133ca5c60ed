//! Which loader a machine's firmware is sent: one table for DHCP, which names it, TFTP and HTTP, which serve it, and `check`,
//! which looks whether it is there.

/// A loader: iPXE, as Debian's package `ipxe` has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Loader {
    /// Its file's name in a directory of `loaders`.
    pub file: &'static str,
    /// What it is for, in words.
    pub firmware: &'static str,
    /// Architectures that load it by TFTP, as IANA numbers them ("Processor Architecture Types", RFC 5970).
    tftp: &'static [u16],
    /// Those that load it by HTTP.
    http: &'static [u16],
    /// Where it comes from.
    pub package: &'static str,
    /// Whether most sites need it, so that `check` says where it is missing.
    pub is_common: bool,
}

/// All that there are.
pub const LOADERS: [Loader; 3] = [
    Loader {
        file: "undionly.kpxe",
        firmware: "BIOS",
        tftp: &[0],
        http: &[],
        package: "the package ipxe",
        is_common: true,
    },
    // Some x64 firmware says that it is EBC, 9 (RFC 4578, erratum).
    Loader {
        file: "ipxe.efi",
        firmware: "UEFI",
        tftp: &[7, 9],
        http: &[16],
        package: "the package ipxe",
        is_common: true,
    },
    Loader {
        file: "ipxe-arm64.efi",
        firmware: "arm64 UEFI",
        tftp: &[11],
        http: &[19],
        package: "the package ipxe of Debian 13 or later",
        is_common: false,
    },
];

/// The loader for firmware that names these architectures, the one that it likes best first: that of the first for which
/// there is one. A BIOS' loader is for those that are a BIOS and nothing else.
#[must_use]
pub fn loader(architectures: &[u16], is_bios: bool, by_http: bool) -> Option<&'static Loader> {
    let of = |loader: &Loader| if by_http { loader.http } else { loader.tftp };
    let loads = |architecture: &u16| LOADERS.iter().find(|loader| of(loader).contains(architecture));
    match is_bios {
        true if by_http => None,
        true => loads(&0),
        false => architectures.iter().filter(|architecture| **architecture != 0).find_map(loads),
    }
}

/// What firmware says that it is, in words.
#[must_use]
pub fn named(architectures: &[u16]) -> String {
    let name = |architecture: &u16| match architecture {
        0 => "BIOS".to_owned(),
        6 => "32-bit x86 UEFI".to_owned(),
        7 | 9 => "x64 UEFI".to_owned(),
        10 => "32-bit ARM UEFI".to_owned(),
        11 => "arm64 UEFI".to_owned(),
        15 => "32-bit x86 UEFI HTTP".to_owned(),
        16 => "x64 UEFI HTTP".to_owned(),
        18 => "32-bit ARM UEFI HTTP".to_owned(),
        19 => "arm64 UEFI HTTP".to_owned(),
        25 => "riscv32 UEFI".to_owned(),
        27 => "riscv64 UEFI".to_owned(),
        28 => "riscv64 UEFI HTTP".to_owned(),
        39 => "loongarch64 UEFI".to_owned(),
        40 => "loongarch64 UEFI HTTP".to_owned(),
        other => format!("architecture {other}"),
    };
    // Whatever firmware lists: it is for a line of the log.
    let names: Vec<_> = architectures.iter().take(4).map(name).collect();
    if names.is_empty() { "unnamed".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_firmware_is_sent_what_it_can_run() {
        let file = |architectures: &[u16], is_bios, by_http| {
            loader(architectures, is_bios, by_http).map(|loader| loader.file)
        };
        assert_eq!(file(&[], true, false), Some("undionly.kpxe"), "a ROM that names nothing");
        assert_eq!(file(&[0], true, false), Some("undionly.kpxe"));
        for architecture in [7, 9] {
            assert_eq!(file(&[architecture], false, false), Some("ipxe.efi"));
        }
        assert_eq!(file(&[16], false, true), Some("ipxe.efi"));
        assert_eq!(file(&[11], false, false), Some("ipxe-arm64.efi"));
        assert_eq!(file(&[19], false, true), Some("ipxe-arm64.efi"));
        assert_eq!(file(&[27, 11], false, false), Some("ipxe-arm64.efi"), "the first that has one");
        assert_eq!(file(&[6, 7], false, false), Some("ipxe.efi"));
        assert_eq!(file(&[15, 16], false, true), Some("ipxe.efi"));
        assert_eq!(file(&[0, 7], false, false), Some("ipxe.efi"), "UEFI gets no BIOS' loader");
        assert_eq!(file(&[0, 6], false, false), None);
        for (architectures, by_http) in
            [(&[27][..], false), (&[28], true), (&[6], false), (&[7], true), (&[], true)]
        {
            assert_eq!(file(architectures, false, by_http), None, "{architectures:?}");
        }
        assert_eq!(named(&[27, 4711]), "riscv64 UEFI, architecture 4711");
    }
}
