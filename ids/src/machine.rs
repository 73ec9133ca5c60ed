//! Machines and their boots, as the state names them (docs/decisions/0003).

use crate::text::id;

id! {
    /// A machine, for as long as its records live: it survives adoption, a new name, and a replaced NIC.
    MachineId([u8; 16]), "a machine id of 32 hexadecimal digits"
}

impl MachineId {
    /// Made at first sight from random bytes. It serves as the machine's systemd machine-id too, which has to look like
    /// a version 4 UUID (machine-id(5)).
    #[must_use]
    pub fn from_random(mut random: [u8; 16]) -> Self {
        if let Some(version) = random.get_mut(6) {
            *version = *version & 0x0f | 0x40;
        }
        if let Some(variant) = random.get_mut(8) {
            *variant = *variant & 0x3f | 0x80;
        }
        Self(random)
    }
}

id! {
    /// One boot of a machine.
    BootId([u8; 8]), "a boot id of 16 hexadecimal digits"
}

impl BootId {
    /// Made from random bytes when the boot script is fetched.
    #[must_use]
    pub fn from_random(random: [u8; 8]) -> Self {
        Self(random)
    }
}
