//! A boot, from the first mount to the real init, in the order of [`oneroot_initrd::report::Phase`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oneroot_initrd::settings::{BadSettings, LONGEST, PATH, Settings};

use crate::arguments::Arguments;
use crate::kernel::{Kernel, Link, Mount};
use crate::machine::{Halt, Machine, Over};
use crate::modules::{Modules, Texts};
use crate::telling::Teller;
use crate::trouble::Trouble;
use crate::{address, files, hand_over, nic, overlay, root};

/// This program as the kernel calls it when it wants a module.
pub const MODPROBE: &str = "/oneroot/modprobe";
/// Seconds after which a machine without settings is started again: nothing says what its site wants, and the next initrd may
/// be whole.
pub const UNTOLD: u32 = 60;
/// What the site says of a machine that can't come up, for whoever can't be told in another way: seconds, or [`NEVER`].
pub static RESTART: AtomicU32 = AtomicU32::new(UNTOLD);
/// It is not started again.
pub const NEVER: u32 = u32::MAX;
/// Where the kernel learns of it.
const MODPROBE_PATH: &str = "/proc/sys/kernel/modprobe";
/// What of the kernel's messages is shown on the console.
const PRINTK: &str = "/proc/sys/kernel/printk";
/// Errors and worse: less is in its log, and drivers have much to say.
const CALM: &[u8] = b"4";

/// What the kernel has given init, beside the command line.
#[derive(Debug, Clone, Default)]
pub struct Started {
    /// Its arguments: the words of the command line that the kernel does not know.
    pub arguments: Vec<String>,
    /// `TERM` in its environment.
    pub term: Option<String>,
}

/// Boots the machine. Comes back only where it did not become its real init.
pub fn boot(kernel: &dyn Kernel, started: &Started) -> Over {
    let mut teller = Teller::new(kernel);
    let settings = match settings(kernel) {
        Ok(settings) => settings,
        Err(trouble) => {
            teller.fail(&trouble, &format!("the machine starts again in {UNTOLD} s"));
            kernel.sleep(Duration::from_secs(UNTOLD.into()));
            return Over::Restart;
        }
    };
    let line = kernel.read("/proc/cmdline").unwrap_or_default();
    let arguments = Arguments::of(&String::from_utf8_lossy(&line));
    let before = calm(kernel, &arguments);
    teller.know(&settings);
    RESTART.store(settings.restart.unwrap_or(NEVER), Ordering::Relaxed);
    let mut machine = Machine::new(kernel, settings, arguments, teller);
    let texts = Texts::read(kernel);
    let up = match Modules::of(&texts) {
        Ok(modules) => way_up(&mut machine, &modules, &before),
        Err(bad) => Err(machine.is_stuck(&Trouble::Tables(bad))),
    };
    match up {
        Ok(()) => {
            hand_over::hand_over(&mut machine, &started.arguments, started.term.as_deref().unwrap_or("linux"))
        }
        Err(over) => over,
    }
}

fn way_up(machine: &mut Machine<'_>, modules: &Modules<'_>, before: &Before) -> Result<(), Over> {
    let boot = machine.settings.boot;
    if let Some(line) = machine.arguments.boot.clone().filter(|line| *line != boot.to_string()) {
        machine.teller.note(&Trouble::OtherBoot { initrd: boot, line });
    }
    let name = machine.settings.name.clone();
    machine.teller.done(&name);
    loop {
        nic::find(machine, modules)?;
        let link = nic::carrier(machine, modules)?;
        match root_over(machine, link) {
            Ok(()) => break,
            Err(Halt::NicIsGone) => machine.held = None,
            Err(Halt::Over(over)) => return Err(over),
        }
    }
    overlay::lay(machine)?;
    before.restore(machine.kernel);
    let mac = machine.settings.mac.to_string();
    files::place(machine, &mac)
}

fn root_over(machine: &mut Machine<'_>, link: Link) -> Result<(), Halt> {
    let link = nic::tagged(machine, link)?;
    address::take(machine, &link)?;
    root::mount(machine)
}

fn settings(kernel: &dyn Kernel) -> Result<Settings, Trouble> {
    own_mounts(kernel)?;
    let text = kernel.read(&format!("/{PATH}")).map_err(Trouble::NoSettings)?;
    if text.len() > LONGEST {
        return Err(BadSettings::TooLong.into());
    }
    Ok(String::from_utf8_lossy(&text).parse::<Settings>()?)
}

/// The kernel's own file systems. What is mounted already is fine.
fn own_mounts(kernel: &dyn Kernel) -> Result<(), Trouble> {
    for (kind, target, options) in
        [("devtmpfs", "/dev", "mode=0755"), ("proc", "/proc", ""), ("sysfs", "/sys", "")]
    {
        let wrong = |errno| Trouble::Own { target: target.to_owned(), errno };
        kernel.make_directory(target).map_err(wrong)?;
        let mount =
            Mount { source: kind, target, kind, read_only: false, no_suid: kind != "devtmpfs", options };
        match kernel.mount(&mount) {
            Ok(()) | Err(crate::kernel::Errno::BUSY) => {}
            Err(errno) => return Err(wrong(errno)),
        }
    }
    let _ = kernel.open_console();
    Ok(())
}

/// What of the kernel's was changed for the time of init, as it was.
#[derive(Default)]
struct Before {
    modprobe: Vec<u8>,
    printk: Option<Vec<u8>>,
}

/// Has the kernel ask this program for modules, and say on the console what is wrong alone.
fn calm(kernel: &dyn Kernel, arguments: &Arguments) -> Before {
    let mut before = Before { modprobe: kernel.read(MODPROBE_PATH).unwrap_or_default(), printk: None };
    // A kernel without modules has no such file.
    let _ = kernel.write(MODPROBE_PATH, MODPROBE.as_bytes(), 0o644);
    if !arguments.talkative {
        before.printk = kernel.read(PRINTK).ok();
        let _ = kernel.write(PRINTK, CALM, 0o644);
    }
    before
}

impl Before {
    fn restore(&self, kernel: &dyn Kernel) {
        let _ = kernel.write(MODPROBE_PATH, self.modprobe.trim_ascii_end(), 0o644);
        if let Some(printk) = &self.printk {
            let _ = kernel.write(PRINTK, printk, 0o644);
        }
    }
}
