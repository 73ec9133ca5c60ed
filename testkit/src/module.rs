//! Kernel modules that say of themselves what a test wants, and do nothing.

/// A relocatable file for 64-bit x86 with this in its `.modinfo`: three sections, behind one another.
#[must_use]
pub fn module(info: &[u8]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let (info_at, names_at) = (64, 64 + info.len());
    let headers_at = (names_at + names.len()).next_multiple_of(8);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([1_u16, 62].iter().flat_map(|number| number.to_le_bytes()));
    file.extend(1_u32.to_le_bytes());
    file.extend([0, 0, headers_at as u64].iter().flat_map(|number| number.to_le_bytes()));
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 0, 0, 64, 3, 2].iter().flat_map(|number| number.to_le_bytes()));
    file.extend(info);
    file.extend(names);
    file.resize(headers_at, 0);
    let sections = [(0_u32, 0_u32, 0, 0), (1, 1, info_at, info.len()), (10, 3, names_at, names.len())];
    for (name, kind, at, size) in sections {
        file.extend([name, kind].iter().flat_map(|number| number.to_le_bytes()));
        file.extend([0, 0, at as u64, size as u64].iter().flat_map(|number| number.to_le_bytes()));
        file.extend([0_u32, 0].iter().flat_map(|number| number.to_le_bytes()));
        file.extend([1_u64, 0].iter().flat_map(|number| number.to_le_bytes()));
    }
    file
}
