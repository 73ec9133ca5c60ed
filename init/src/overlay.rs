//! What can be written: overlayfs over the root, and its upper layer in memory. Either in a tmpfs alone, or in one that swaps to
//! a compressed disk in memory (zram), which takes a file system's place: none could be made here without a program for it.

use oneroot_initrd::report::Phase;
use oneroot_initrd::settings::{Compression, Overlay, Size};

use crate::kernel::{Errno, Kernel, Mount};
use crate::machine::{Machine, Over};
use crate::root::{ROOT, say};
use crate::trouble::Trouble;

/// Where the upper layer is.
const WRITABLE: &str = "/rw";
/// Where both together are.
pub const NEW: &str = "/new";
const CHOICE: &str = "/sys/block/zram0/comp_algorithm";
const SIZE: &str = "/sys/block/zram0/disksize";
const DISK: &str = "/dev/zram0";

/// Lays it over the root.
///
/// # Errors
/// Where that is not possible.
pub fn lay(machine: &mut Machine<'_>) -> Result<(), Over> {
    machine.teller.begin(Phase::Overlay);
    let (kernel, overlay) = (machine.kernel, machine.settings.overlay);
    let (size, by) = match overlay {
        Overlay::Tmpfs(size) => (size, None),
        Overlay::Zram(size, by) => (size, Some(by)),
    };
    let size = machine.arguments.tmpfs.unwrap_or(size);
    let swapped = match by {
        Some(by) => disk(machine, size, by).and_then(|()| swap(kernel, size)),
        None => Ok(()),
    };
    let laid = swapped.and_then(|()| mounts(kernel, size));
    if let Err(trouble) = laid {
        let word =
            if matches!(trouble, Trouble::NoOverlay { .. }) { "failed-overlay" } else { "failed-tmpfs" };
        say(machine, ROOT, word);
        return Err(machine.is_stuck(&trouble));
    }
    say(machine, ROOT, "overlay");
    machine.teller.done(&format!("{size} of {}", if by.is_some() { "compressed memory" } else { "memory" }));
    Ok(())
}

fn mounts(kernel: &dyn Kernel, size: Size) -> Result<(), Trouble> {
    kernel.make_directory(WRITABLE).map_err(Trouble::Tmpfs)?;
    let options = format!("mode=0755,size={size}");
    let tmpfs = Mount {
        source: "oneroot",
        target: WRITABLE,
        kind: "tmpfs",
        read_only: false,
        no_suid: false,
        options: &options,
    };
    kernel.mount(&tmpfs).map_err(Trouble::Tmpfs)?;
    let (upper, work) = (format!("{WRITABLE}/upper"), format!("{WRITABLE}/work"));
    for directory in [&upper, &work, NEW] {
        kernel.make_directory(directory).map_err(Trouble::Tmpfs)?;
    }
    let options = format!("lowerdir={ROOT},upperdir={upper},workdir={work}");
    let overlay = Mount { source: "oneroot", target: NEW, kind: "overlay", options: &options, ..tmpfs };
    kernel.mount(&overlay).map_err(|errno| Trouble::NoOverlay { release: kernel.release(), errno })
}

/// Makes the compressed disk, by what the site has chosen. A kernel that has no such thing compresses as it would have: it may say so only
/// when the disk is made, for some know its name and have not got its module.
fn disk(machine: &mut Machine<'_>, size: Size, by: Option<Compression>) -> Result<(), Trouble> {
    let kernel = machine.kernel;
    let choose = |by: &str| kernel.write(CHOICE, by.as_bytes(), 0o600);
    let bytes = bytes(kernel, size).to_string();
    let make = || kernel.write(SIZE, bytes.as_bytes(), 0o600);
    let before = kernel.read(CHOICE).unwrap_or_default();
    let mut made = by.map_or(Ok(()), |by| choose(by.as_str())).and_then(|()| make());
    if let (Some(by), Err(errno)) = (by, made) {
        machine.teller.note(&Trouble::Compression { by: by.as_str(), errno, release: kernel.release() });
        // Of all that it has, its own choice is in brackets.
        let all = String::from_utf8_lossy(&before);
        if let Some((own, _)) = all.split_once('[').and_then(|(_, rest)| rest.split_once(']')) {
            let _ = choose(own);
        }
        made = make();
    }
    made.map_err(|errno| Trouble::Zram { what: "no disk is made", errno, release: kernel.release() })
}

/// Has the kernel swap to it.
fn swap(kernel: &dyn Kernel, size: Size) -> Result<(), Trouble> {
    let wrong = |what| move |errno| Trouble::Zram { what, errno, release: kernel.release() };
    let (bytes, page) = (bytes(kernel, size), kernel.page_size());
    let header = swap_header(page, bytes / page).ok_or(Errno::INVAL).map_err(wrong("no swap is made"))?;
    kernel.write(DISK, &header, 0o600).map_err(wrong("no swap is written"))?;
    kernel.swap_on(DISK).map_err(wrong("no swap is used"))
}

/// How many bytes an amount of this machine's memory is, in whole pages of any kernel's.
fn bytes(kernel: &dyn Kernel, size: Size) -> u64 {
    const WHOLE: u64 = 64 << 10;
    let bytes = match size {
        Size::Mib(mib) => u64::from(mib) << 20,
        Size::Percent(percent) => {
            let text = kernel.read("/proc/meminfo").unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
            let kib = total.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
            // A kernel that does not tell has some.
            kib.unwrap_or(256 << 10).saturating_mul(1024).saturating_mul(percent.into()) / 100
        }
    };
    (bytes / WHOLE).max(1) * WHOLE
}

/// The first page of a swap device (`union swap_header` of the kernel's `linux/swap.h`): version 1 and the last page's number after
/// 1024 bytes that are a boot loader's, and the signature at its end.
fn swap_header(page: u64, pages: u64) -> Option<Vec<u8>> {
    const SIGNATURE: &[u8] = b"SWAPSPACE2";
    let last = u32::try_from(pages.checked_sub(1)?).ok()?;
    let mut header = vec![0; 1024];
    header.extend(1u32.to_ne_bytes());
    header.extend(last.to_ne_bytes());
    header.resize(usize::try_from(page).ok()?.checked_sub(SIGNATURE.len())?, 0);
    header.extend(SIGNATURE);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_devices_first_page_is_what_mkswap_writes() {
        let header = swap_header(4096, 1024).unwrap();
        assert_eq!(header.len(), 4096);
        assert_eq!(header.get(1024..1032).unwrap(), [1u32.to_ne_bytes(), 1023u32.to_ne_bytes()].concat());
        assert!(header.ends_with(b"SWAPSPACE2"));
        assert_eq!(swap_header(4096, 0), None);
        assert_eq!(swap_header(4096, 1 << 40), None);
    }
}
