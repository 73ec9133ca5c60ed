//! The firmware that a module asks for, as it says itself: `firmware=` in its `.modinfo` section (Linux, include/linux/module.h),
//! texts one behind the other with a zero behind each. A module is a relocatable ELF file, and somebody else's.

use elf::ElfBytes;
use elf::endian::AnyEndian;
use thiserror::Error;

/// Names that are taken of one module; iwlwifi has some 200.
pub const MOST: usize = 1024;
/// Bytes of one name.
const LONGEST: usize = 256;

/// The processor that a module or program was made for, by its ELF number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Machine(u16);

impl Machine {
    /// Of 64-bit x86.
    pub const X86_64: Self = Self(elf::abi::EM_X86_64);
    /// Of 64-bit ARM.
    pub const AARCH64: Self = Self(elf::abi::EM_AARCH64);
    /// Bytes of a program that say for which it was made.
    pub const HEAD: usize = 20;

    /// That of a program for Linux, by its first [`Self::HEAD`] bytes; none where it is none. Processors here are little-endian.
    #[must_use]
    pub fn of_program(head: &[u8]) -> Option<Self> {
        let number =
            head.strip_prefix(b"\x7fELF").and_then(|rest| rest.get(14..16)?.first_chunk::<2>().copied());
        let is_little = head.get(5) == Some(&elf::abi::ELFDATA2LSB);
        number.filter(|_| is_little).map(|number| Self(u16::from_le_bytes(number)))
    }
}

/// What a program runs on that needs no other file: none where it is no such program.
#[must_use]
pub fn runs_alone_on(program: &[u8]) -> Option<Machine> {
    let file = ElfBytes::<AnyEndian>::minimal_parse(program).ok()?;
    let is_program = [elf::abi::ET_EXEC, elf::abi::ET_DYN].contains(&file.ehdr.e_type);
    // One that is started by a loader of libraries names it (ELF, PT_INTERP).
    let names_loader = file.segments()?.iter().any(|segment| segment.p_type == elf::abi::PT_INTERP);
    (is_program && !names_loader).then_some(Machine(file.ehdr.e_machine))
}

/// What a module says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What it runs on.
    pub machine: Machine,
    /// Paths below `/lib/firmware`, in the order in which it says them, each once. Some have a `*` in them.
    pub firmware: Vec<String>,
}

/// It is no module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it is no kernel module: it is damaged, or was packed as nothing that is known")]
pub struct NoModule;

/// Reads what an unpacked module says.
///
/// # Errors
/// [`NoModule`].
pub fn said(module: &[u8]) -> Result<Said, NoModule> {
    let file = ElfBytes::<AnyEndian>::minimal_parse(module).map_err(|_| NoModule)?;
    if file.ehdr.e_type != elf::abi::ET_REL {
        return Err(NoModule);
    }
    let machine = Machine(file.ehdr.e_machine);
    // One without the section says nothing; it may load all the same.
    let section = file.section_header_by_name(".modinfo").map_err(|_| NoModule)?;
    let info = match section {
        Some(section) => file.section_data(&section).map_err(|_| NoModule)?.0,
        None => &[],
    };
    let mut firmware: Vec<String> = Vec::new();
    let texts = info.split(|byte| *byte == 0).filter_map(|text| text.strip_prefix(b"firmware="));
    for name in texts.filter_map(|text| std::str::from_utf8(text).ok()).filter(|name| is_name(name)) {
        if firmware.len() < MOST && !firmware.iter().any(|known| known == name) {
            firmware.push(name.to_owned());
        }
    }
    Ok(Said { machine, firmware })
}

/// The firmware that modules ask for which a kernel has in itself, of those that are wanted: `modules.builtin.modinfo` (since Linux 5.2) has
/// what each says of itself as `MODULE.KEY=VALUE`, with a NUL behind it.
pub fn of_builtin<'m>(
    modinfo: &'m [u8],
    is_wanted: impl Fn(&str) -> bool + 'm,
) -> impl Iterator<Item = &'m str> {
    modinfo.split(|byte| *byte == 0).filter_map(move |line| {
        let (module, said) = std::str::from_utf8(line).ok()?.split_once('.')?;
        said.strip_prefix("firmware=").filter(|name| is_name(name) && is_wanted(module))
    })
}

/// Whether a path leads nowhere but into the directory of firmware.
fn is_name(name: &str) -> bool {
    let plain = |char: char| char.is_ascii_graphic();
    name.len() <= LONGEST
        && name.chars().all(plain)
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use oneroot_testkit::module::module;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_driver_in_the_kernel_names_its_firmware_as_a_module_does() {
        let modinfo = b"tg3.license=GPL\0tg3.firmware=tigon/tg3.bin\0tg3.firmware=../x\0igc.firmware=igc\0\xff.firmware=a\0tg3.firmware=tigon/tg357766.bin";
        let named: Vec<&str> = of_builtin(modinfo, |module| module == "tg3").collect();
        assert_eq!(named, ["tigon/tg3.bin", "tigon/tg357766.bin"]);
    }

    #[test]
    fn the_firmware_that_a_module_names_is_told_once_each_and_in_order() {
        let info = b"license=GPL\0firmware=rtl_nic/rtl8168h-2.fw\0firmware=rtl_nic/rtl8125a-3.fw\0depends=libphy\0\
                     firmware=rtl_nic/rtl8168h-2.fw\0firmware=../../etc/shadow\0firmware=/etc/shadow\0firmware=\0";
        let said = said(&module(info)).unwrap();
        assert_eq!(said.firmware, ["rtl_nic/rtl8168h-2.fw", "rtl_nic/rtl8125a-3.fw"]);
        assert_eq!(said.machine, Machine::X86_64);
        assert!(super::said(&module(b"")).unwrap().firmware.is_empty());
    }

    #[test]
    fn a_program_says_for_which_processor_it_was_made() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let machine = Machine::of_program(&own[..Machine::HEAD]);
        assert_eq!(machine == Some(Machine::X86_64), cfg!(target_arch = "x86_64"));
        assert_eq!(machine == Some(Machine::AARCH64), cfg!(target_arch = "aarch64"));
        assert_eq!(Machine::of_program(&own[..Machine::HEAD - 1]), None);
        assert_eq!(Machine::of_program(b"#!/bin/sh and some more"), None);
    }

    #[test]
    fn what_is_cut_short_or_is_no_module_is_told_as_that() {
        let whole = module(b"firmware=a\0");
        for length in 0..whole.len() {
            assert_eq!(said(&whole[..length]), Err(NoModule), "{length}");
        }
        let mut program = whole;
        program[16] = 2;
        assert_eq!(said(&program), Err(NoModule));
        assert_eq!(said(b"\xfd7zXZ\0"), Err(NoModule));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            changes in proptest::collection::vec((0_usize..400, any::<u8>()), 0..8), info in proptest::collection::vec(any::<u8>(), 0..60)
        ) {
            let mut bytes = module(&[b"firmware=a\0", info.as_slice()].concat());
            let length = bytes.len();
            changes.iter().for_each(|(at, byte)| bytes[at % length] = *byte);
            if let Ok(said) = said(&bytes) {
                prop_assert!(said.firmware.iter().all(|name| is_name(name)));
            }
        }
    }
}
