//! The kernel's own last words, out of `/dev/kmsg`: a record for each read, `PRIORITY,NUMBER,TIME,FLAGS;TEXT`.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;

/// Longer records are none of the kernel's.
const LONGEST: usize = 8192;
/// So many are looked at: the kernel's whole ring has fewer.
const MOST: usize = 100_000;

/// At most so many lines.
pub(super) fn last(most: usize) -> Vec<String> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0));
    let Ok(mut log) = options.open("/dev/kmsg") else { return Vec::new() };
    let mut record = [0; LONGEST];
    let mut lines = VecDeque::new();
    for _ in 0..MOST {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                let text = record.get(..length).map(String::from_utf8_lossy);
                if let Some(line) = text.as_deref().and_then(line) {
                    lines.push_back(line.to_owned());
                }
                if lines.len() > most {
                    lines.pop_front();
                }
            }
            // Overwritten between two reads.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(_) => break,
        }
    }
    lines.into()
}

/// What a record says. What programs have written there is not the kernel's.
fn line(record: &str) -> Option<&str> {
    let (head, text) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    // The facility stands above the three bits of the level; the kernel's is 0.
    (priority < 8).then(|| text.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_kernels_is_a_line_and_a_programs_is_none() {
        assert_eq!(line("6,339,5140900,-;virtio_net: up\n SUBSYSTEM=net\n"), Some("virtio_net: up"));
        assert_eq!(line("30,340,5140901,-;systemd: hello\n"), None);
        assert_eq!(line("rubbish"), None);
    }
}
