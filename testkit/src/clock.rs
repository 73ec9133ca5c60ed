//! A server whose clocks a test moves: all of them at once, as time that passes moves them. Those that it asks libc for by a
//! library of ours, the time since the host's start by the server itself, which only one with debug assertions does.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{Server, SiteFiles, preload};

/// A clock that is as far ahead of the host's as a file says, in seconds: eight bytes, read at each call.
const CLOCK: &str = "#include <fcntl.h>\n#include <stdlib.h>\n#include <sys/mman.h>\n#include <sys/syscall.h>\n\
    #include <time.h>\n#include <unistd.h>\n\
    static volatile long *ahead;\n\
    __attribute__((constructor)) static void begin(void) {\n\
        int file = open(getenv(\"AHEAD\"), O_RDONLY);\n\
        if (file >= 0) ahead = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);\n\
    }\n\
    int clock_gettime(clockid_t clock, struct timespec *now) {\n\
        int failed = syscall(SYS_clock_gettime, clock, now);\n\
        if (!failed && ahead) now->tv_sec += *ahead;\n\
        return failed;\n\
    }\n";

/// The clock of one server.
pub struct Clock {
    ahead: PathBuf,
    control: PathBuf,
}

impl Clock {
    /// Starts a server, and gives its clock.
    pub fn start(site: SiteFiles) -> Result<(Server, Self)> {
        let ahead = site.path().join("ahead");
        fs::write(&ahead, 0u64.to_ne_bytes())?;
        let library = preload(site.path(), "clock", CLOCK)?;
        let file = ahead.to_str().context("a path is no text")?.to_owned();
        let control = site.path().join("state/control.sock");
        let server = Server::start_with(site, &[("LD_PRELOAD", &library), ("AHEAD", &file)])?;
        Ok((server, Self { ahead, control }))
    }

    /// From now on it is so far ahead of the host's.
    pub fn is_ahead_by(&self, time: Duration) -> Result<()> {
        // In its place: the server has it mapped.
        let mut file = fs::File::options().write(true).open(&self.ahead)?;
        file.write_all(&time.as_secs().to_ne_bytes())?;
        let (mut server, mut answer) = (UnixStream::connect(&self.control)?, String::new());
        writeln!(server, "passed {}", time.as_secs())?;
        server.read_to_string(&mut answer)?;
        ensure!(answer == time.as_secs().to_string(), "the server lets no time pass: {answer}");
        Ok(())
    }
}
