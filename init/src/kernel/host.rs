//! The real kernel.

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use super::net::errno;
use super::{Answer, Kernel, Kind, Link, Mount, Port, Ran, Result};
use super::{dhcp, log, net, ping, post, program, tree};

/// More than any file that init reads: a distribution's `modules.alias` has one MiB.
const LARGEST: u64 = 8 << 20;

/// It.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host;

impl Kernel for Host {
    fn now(&self) -> Duration {
        let since = clock_gettime(ClockId::Boottime);
        Duration::new(since.tv_sec.try_into().unwrap_or(0), since.tv_nsec.try_into().unwrap_or(0))
    }

    fn sleep(&self, how_long: Duration) {
        thread::sleep(how_long);
    }

    fn random(&self) -> u64 {
        // The library seeds it from the kernel and never waits for that.
        RandomState::new().build_hasher().finish()
    }

    fn release(&self) -> String {
        rustix::system::uname().release().to_string_lossy().into_owned()
    }

    fn open_console(&self) -> Result<()> {
        let console = OpenOptions::new().read(true).write(true).open("/dev/console").map_err(errno)?;
        rustix::stdio::dup2_stdin(&console)?;
        rustix::stdio::dup2_stdout(&console)?;
        rustix::stdio::dup2_stderr(&console)
    }

    fn print(&self, line: &str) {
        // A machine without a console boots all the same.
        let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
    }

    fn log(&self, most: usize) -> Vec<String> {
        log::last(most)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut content)).map_err(errno)?;
        Ok(content)
    }

    fn write(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
        file.and_then(|mut file| file.write_all(content)).map_err(errno)
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(errno)
        };
        let mut names = fs::read_dir(path).map_err(errno)?.map(name).collect::<Result<Vec<String>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        let kind = fs::symlink_metadata(path).ok()?.file_type();
        Some(match kind {
            _ if kind.is_symlink() => Kind::Link,
            _ if kind.is_dir() => Kind::Directory,
            _ if kind.is_file() => Kind::File,
            _ => Kind::Other,
        })
    }

    fn is_there(&self, path: &str) -> bool {
        fs::metadata(path).is_ok()
    }

    fn is_same(&self, one: &str, other: &str) -> bool {
        let id = |path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        id(one).is_some_and(|one| id(other) == Some(one))
    }

    fn read_link(&self, path: &str) -> Result<String> {
        fs::read_link(path).map_err(errno)?.into_os_string().into_string().map_err(|_| Errno::ILSEQ)
    }

    fn link(&self, to: &str, path: &str) -> Result<()> {
        std::os::unix::fs::symlink(to, path).map_err(errno)
    }

    fn make_directory(&self, path: &str) -> Result<()> {
        fs::create_dir_all(path).map_err(errno)
    }

    fn remove(&self, path: &str) -> Result<()> {
        fs::remove_file(path).map_err(errno)
    }

    fn load(&self, path: &str, options: &str) -> Result<()> {
        let file = File::open(path).map_err(errno)?;
        let options = CString::new(options).map_err(|_| Errno::INVAL)?;
        rustix::system::finit_module(file, &options, 0)
    }

    fn links(&self) -> Result<Vec<Link>> {
        net::links()
    }

    fn bring_up(&self, link: u32) -> Result<()> {
        net::bring_up(link)
    }

    fn set_mtu(&self, link: u32, mtu: u16) -> Result<()> {
        net::set_mtu(link, mtu)
    }

    fn add_vlan(&self, link: u32, vlan: u16, name: &str) -> Result<()> {
        net::add_vlan(link, vlan, name)
    }

    fn add_address(&self, link: u32, address: Ipv4Addr, prefix: u8) -> Result<()> {
        net::add_address(link, address, prefix)
    }

    fn remove_address(&self, link: u32, address: Ipv4Addr, prefix: u8) -> Result<()> {
        net::remove_address(link, address, prefix)
    }

    fn add_router(&self, link: u32, router: Ipv4Addr, on_link: bool) -> Result<()> {
        net::add_router(link, router, on_link)
    }

    fn open_port(&self, link: &str) -> Result<Box<dyn Port + '_>> {
        Ok(Box::new(dhcp::UdpPort::open(link)?))
    }

    fn reach(&self, server: SocketAddr, within: Duration) -> Result<()> {
        ping::ping(server, within, self.any_port())
    }

    fn post(&self, server: SocketAddr, path: &str, text: &str, within: Duration) -> Result<Answer> {
        post::post(server, path, text, within, self.any_port())
    }

    fn mount(&self, mount: &Mount<'_>) -> Result<()> {
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::RDONLY, mount.read_only);
        flags.set(MountFlags::NOSUID | MountFlags::NODEV, mount.no_suid);
        let options = CString::new(mount.options).map_err(|_| Errno::INVAL)?;
        rustix::mount::mount(mount.source, mount.target, mount.kind, flags, Some::<&CStr>(&options))
    }

    fn carry(&self, from: &str, to: &str) -> Result<()> {
        rustix::mount::mount_move(from, to)
    }

    fn enter(&self, new_root: &str) -> Result<()> {
        tree::enter(new_root)
    }

    fn page_size(&self) -> u64 {
        rustix::param::page_size().try_into().unwrap_or(4096)
    }

    fn swap_on(&self, device: &str) -> Result<()> {
        let device = CString::new(device).map_err(|_| Errno::INVAL)?;
        // SAFETY: swapon(2) reads a text that ends with a zero byte, which a CString is and stays until the call is over, and
        // writes no memory of this process.
        match unsafe { libc::swapon(device.as_ptr(), 0) } {
            0 => Ok(()),
            _ => Err(errno(std::io::Error::last_os_error())),
        }
    }

    fn clock(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn set_clock(&self, seconds: u64) -> Result<()> {
        let tv_sec = i64::try_from(seconds).map_err(|_| Errno::INVAL)?;
        clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec: 0 })
    }

    fn set_name(&self, name: &str) -> Result<()> {
        rustix::system::sethostname(name.as_bytes())
    }

    fn run(
        &self,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        within: Option<Duration>,
    ) -> Result<bool> {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(environment.iter().copied());
        let Some(within) = within else {
            return command.status().map(|status| status.success()).map_err(errno);
        };
        program::run(&mut command, within)?.map(|status| status.success()).ok_or(Errno::TIMEDOUT)
    }

    fn may_run(&self, path: &str) -> Result<Option<bool>> {
        let found = fs::metadata(path).map_err(errno)?;
        Ok(found.is_file().then(|| found.mode() & 0o111 != 0))
    }

    fn ask(&self, program: &str, most: usize, within: Duration) -> Result<Ran> {
        program::ask(program, most, within)
    }

    fn start(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().map(drop).map_err(errno)
    }

    fn become_program(&self, program: &str, arguments: &[String], environment: &[(&str, &str)]) -> Errno {
        // The library empties the mask and puts SIGPIPE back, the one signal that it ignores; all else is closed by exec(2).
        errno(Command::new(program).args(arguments).env_clear().envs(environment.iter().copied()).exec())
    }

    fn restart(&self) {
        rustix::fs::sync();
        let _ = rustix::system::reboot(rustix::system::RebootCommand::Restart);
    }
}

impl Host {
    /// Where the search for a free port begins: any, or the server's end of the last boot's connections would be in the way.
    fn any_port(self) -> u16 {
        u16::try_from(self.random() % 1024).unwrap_or(0)
    }
}
