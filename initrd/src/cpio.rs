//! Writes archives of the form `newc`, as the kernel unpacks them (Linux, early-userspace/buffer-format.rst).
//!
//! What is written twice is the same twice: no times, nodes numbered as they come, all of them root's.

use std::io::{self, Write};

use thiserror::Error;

/// Bytes of a name: the kernel's own bound, its zero included (PATH_MAX).
const LONGEST: usize = 4096;
/// Where an archive ends.
const END: &str = "TRAILER!!!";
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTERS: u32 = 0o020_000;

/// An archive that is written.
#[derive(Debug)]
pub struct Archive<W> {
    out: W,
    nodes: u32,
}

/// What can't stand in an archive.
#[derive(Debug, Error)]
pub enum Unwritable {
    /// A name that is none, or leads out of the archive.
    #[error("{0:?} can't be a name in an initrd")]
    Name(String),
    /// The form has 32 bits for a size.
    #[error("{0} is too large for an initrd: 4 GiB at most")]
    TooLarge(String),
    /// It can't be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// All that stands in a header, but for the name.
#[derive(Default)]
struct Node {
    mode: u32,
    size: u32,
    device: (u32, u32),
}

impl<W: Write> Archive<W> {
    /// An archive that nothing is in yet.
    pub fn new(out: W) -> Self {
        Self { out, nodes: 0 }
    }

    /// A directory; what is in it comes after it.
    ///
    /// # Errors
    /// [`Unwritable`].
    pub fn directory(&mut self, path: &str, mode: u16) -> Result<(), Unwritable> {
        self.node(path, &Node { mode: DIRECTORY | u32::from(mode), ..Node::default() }, &[])
    }

    /// A file.
    ///
    /// # Errors
    /// [`Unwritable`].
    pub fn file(&mut self, path: &str, mode: u16, content: &[u8]) -> Result<(), Unwritable> {
        self.node(path, &Node { mode: FILE | u32::from(mode), ..Node::default() }, content)
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// [`Unwritable`].
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), Unwritable> {
        self.node(path, &Node { mode: LINK | 0o777, ..Node::default() }, target.as_bytes())
    }

    /// A device of characters.
    ///
    /// # Errors
    /// [`Unwritable`].
    pub fn device(&mut self, path: &str, mode: u16, device: (u32, u32)) -> Result<(), Unwritable> {
        self.node(path, &Node { mode: CHARACTERS | u32::from(mode), device, ..Node::default() }, &[])
    }

    /// The end, and what was written to.
    ///
    /// # Errors
    /// [`Unwritable`].
    pub fn finish(mut self) -> Result<W, Unwritable> {
        self.nodes = 0;
        self.entry(END, 0, &Node::default(), &[])?;
        Ok(self.out)
    }

    fn node(&mut self, path: &str, node: &Node, content: &[u8]) -> Result<(), Unwritable> {
        let is_inside = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !is_inside || path.len() >= LONGEST || path.contains('\0') {
            return Err(Unwritable::Name(path.chars().take(200).collect()));
        }
        let size = u32::try_from(content.len()).map_err(|_| Unwritable::TooLarge(path.to_owned()))?;
        self.nodes += 1;
        self.entry(path, self.nodes, &Node { size, ..*node }, content)
    }

    fn entry(&mut self, name: &str, number: u32, node: &Node, content: &[u8]) -> Result<(), Unwritable> {
        let links = if node.mode & DIRECTORY == DIRECTORY && node.mode & FILE == 0 { 2 } else { 1 };
        let (major, minor) = node.device;
        let length = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        // Number, mode, owner, group, links, time, size, the device that it lies on, its own, the name's length, no checksum.
        let numbers = [number, node.mode, 0, 0, links, 0, node.size, 0, 0, major, minor, length, 0];
        let mut header = String::from("070701");
        numbers.iter().for_each(|number| header += &format!("{number:08x}"));
        header += name;
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(content)
    }

    /// Header and content end at a multiple of four, and so begins whatever comes next.
    fn padded(&mut self, bytes: &[u8]) -> Result<(), Unwritable> {
        self.out.write_all(bytes)?;
        let zeros = bytes.len().next_multiple_of(4) - bytes.len();
        Ok(self.out.write_all([0; 3].get(..zeros).unwrap_or_default())?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn all_kinds() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive.directory("dev", 0o755).unwrap();
        archive.device("dev/console", 0o600, (5, 1)).unwrap();
        archive.file("init", 0o755, b"#!").unwrap();
        archive.file("empty", 0o644, b"").unwrap();
        archive.link("modprobe", "/init").unwrap();
        archive.finish().unwrap()
    }

    #[test]
    fn cpio_lists_what_was_written_with_kinds_modes_and_devices() {
        let mut cpio = Command::new("cpio")
            .args(["-itv", "--numeric-uid-gid"])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&all_kinds()).unwrap();
        let out = cpio.wait_with_output().unwrap();
        assert!(out.status.success(), "{out:?}");
        let listed = String::from_utf8(out.stdout).unwrap();
        let lines: Vec<String> =
            listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "drwxr-xr-x 2 0 0 0 Jan 1 1970 dev",
                "crw------- 1 0 0 5, 1 Jan 1 1970 dev/console",
                "-rwxr-xr-x 1 0 0 2 Jan 1 1970 init",
                "-rw-r--r-- 1 0 0 0 Jan 1 1970 empty",
                "lrwxrwxrwx 1 0 0 5 Jan 1 1970 modprobe -> /init",
            ]
        );
    }

    #[test]
    fn the_same_files_are_the_same_bytes_and_another_archive_may_follow() {
        assert_eq!(all_kinds(), all_kinds());
        assert_eq!(all_kinds().len() % 4, 0);
    }

    #[test]
    fn a_name_that_leads_out_of_the_archive_is_refused() {
        for name in ["", "/init", "a/../../b", "a//b", ".", "a\0b", &"a/".repeat(3000)] {
            let refused = Archive::new(Vec::new()).file(name, 0o644, b"");
            assert!(matches!(refused, Err(Unwritable::Name(_))), "{name:?}");
        }
    }
}
