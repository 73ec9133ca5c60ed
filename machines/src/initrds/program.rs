//! `oneroot-init`, as the build has put it into this binary (`build.rs`), for each processor that it could be built for.

use oneroot_initrd::firmware::Machine;

/// The program for a processor; none where this build has none for it.
pub fn program(machine: Machine) -> Option<&'static [u8]> {
    let program: &[u8] = match machine {
        Machine::X86_64 => include_bytes!(concat!(env!("OUT_DIR"), "/init.x86_64")),
        Machine::AARCH64 => include_bytes!(concat!(env!("OUT_DIR"), "/init.aarch64")),
        _ => &[],
    };
    (!program.is_empty()).then_some(program)
}

/// The processor that this server runs on: a kernel without a module says nothing of its own.
pub const HERE: Machine = if cfg!(target_arch = "aarch64") { Machine::AARCH64 } else { Machine::X86_64 };
