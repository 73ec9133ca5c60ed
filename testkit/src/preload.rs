//! Libraries of a test's own that a server is started with: some of its calls of libc do something else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::{Server, SiteFiles};

/// Makes a library of C in a directory, and gives its path, as `LD_PRELOAD` takes it.
pub fn preload(home: &Path, name: &str, text: &str) -> Result<String> {
    let [source, library] = ["c", "so"].map(|ending| home.join(name).with_extension(ending));
    fs::write(&source, text)?;
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status()?;
    ensure!(made.success(), "cc does not make a library of {}", source.display());
    library.to_str().map(str::to_owned).context("a path is no text")
}

/// Calls of one kind hang on files with some words in their path, for as long as one file is there; another one appears when
/// somebody waits for that.
const DISK: &str = "#include <fcntl.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
    #include <sys/syscall.h>\n#include <unistd.h>\n\
    static int may_hang(const char *call) {\n\
        return access(getenv(\"HANGS\"), F_OK) == 0 && strcmp(call, getenv(\"HANGING\")) == 0;\n\
    }\n\
    static void wait_for(const char *path) {\n\
        const char *hangs = getenv(\"HANGS\");\n\
        if (!strstr(path, getenv(\"BELOW\"))) return;\n\
        while (access(hangs, F_OK) == 0) {\n\
            close(open(getenv(\"WAITS\"), O_CREAT | O_WRONLY, 0600));\n\
            usleep(5000);\n\
        }\n\
    }\n\
    static void hang(const char *call, int file) {\n\
        if (!may_hang(call)) return;\n\
        char link[64], path[4096] = \"\";\n\
        snprintf(link, sizeof link, \"/proc/self/fd/%d\", file);\n\
        if (readlink(link, path, sizeof path - 1) > 0) wait_for(path);\n\
    }\n\
    int statx(int dir, const char *path, int flags, unsigned mask, void *to) {\n\
        if (path && may_hang(\"stat\")) wait_for(path);\n\
        return syscall(SYS_statx, dir, path, flags, mask, to);\n\
    }\n\
    int fdatasync(int file) { hang(\"sync\", file); return syscall(SYS_fdatasync, file); }\n\
    int fsync(int file) { hang(\"sync\", file); return syscall(SYS_fsync, file); }\n\
    ssize_t read(int file, void *to, size_t count) {\n\
        hang(\"read\", file);\n\
        return syscall(SYS_read, file, to, count);\n\
    }\n\
    ssize_t pread64(int file, void *to, size_t count, off_t at) {\n\
        hang(\"read\", file);\n\
        return syscall(SYS_pread64, file, to, count, at);\n\
    }\n";

/// What of a disk can hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// fsync(2) and fdatasync(2).
    Sync,
    /// read(2) and pread(2).
    Read,
    /// statx(2) of a path.
    Stat,
}

/// The disk of one server, which hangs when the test says so.
pub struct HungDisk {
    hangs: PathBuf,
    waits: PathBuf,
}

impl HungDisk {
    /// Starts a server, and gives its disk. What hangs is a call on a file with `below` in its path.
    pub fn start(site: SiteFiles, call: Call, below: &str) -> Result<(Server, Self)> {
        let library = preload(site.path(), "disk", DISK)?;
        // The server writes into its state and its store and nowhere else.
        let [hangs, waits] = ["hangs", "state/waits"].map(|name| site.path().join(name));
        let text = |path: &PathBuf| path.to_str().map(str::to_owned).context("a path is no text");
        let (hangs_at, waits_at) = (text(&hangs)?, text(&waits)?);
        let hanging = match call {
            Call::Sync => "sync",
            Call::Read => "read",
            Call::Stat => "stat",
        };
        let environment = [
            ("LD_PRELOAD", library.as_str()),
            ("HANGS", &hangs_at),
            ("WAITS", &waits_at),
            ("HANGING", hanging),
            ("BELOW", below),
        ];
        Ok((Server::start_with(site, &environment)?, Self { hangs, waits }))
    }

    /// It hangs from now on, for as long as this is held: a test that fails leaves nobody waiting.
    pub fn hang(&self) -> Result<Hanging<'_>> {
        fs::write(&self.hangs, "")?;
        Ok(Hanging(self))
    }
}

/// A disk that hangs.
pub struct Hanging<'d>(&'d HungDisk);

impl Hanging<'_> {
    /// Waits until the server waits for it, and fails where it does not.
    pub fn wait(&self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        while !self.0.waits.exists() {
            ensure!(begun.elapsed() < limit, "the server does not wait for the disk");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        // In this order, or somebody would be seen waiting who waits no more.
        let _ = fs::remove_file(&self.0.hangs);
        let _ = fs::remove_file(&self.0.waits);
    }
}
