//! This program by another name: tells the server what the programs in `/etc/oneroot/examine.d` have found out about this machine
//! (docs/decisions/0023). The script that has run them, under every initramfs, has left what each has printed as a file of its name, and
//! of each that failed a file that ends with [`FAILED`].
//!
//! One POST, which is tried again for as long as [`PATIENCE`] lasts: a machine comes up whether it is heard or not.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use oneroot_initrd::examined::{Examination, HookName, LARGEST, MOST_HOOKS, MOST_PRINTED, Outcome};

use crate::arguments::Arguments;
use crate::kernel::{Kernel, name};
use crate::machine::pause;

/// Where it lies in a machine's view.
pub const TELL: &str = "/.oneroot/tell";
/// What the server has written of where it is: its address and HTTP's port.
const WHERE: &str = "/.oneroot/tell-to";
/// The names that machines look up to say something, which are never there.
const SAY: &str = "/.oneroot/say";
/// The end of the name of a file that stands for a program that failed.
const FAILED: &str = ".failed";
/// How long it is tried.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one try may take.
const ONE: Duration = Duration::from_secs(5);

/// Tells what lies in a directory. Whether it was heard; what kept it from that is on the console.
pub fn tell(kernel: &dyn Kernel, directory: &str) -> bool {
    let line = kernel.read("/proc/cmdline").unwrap_or_default();
    let boot = Arguments::of(&String::from_utf8_lossy(&line)).boot;
    let place = kernel.read(WHERE).unwrap_or_default();
    let (Some(boot), Some(server)) = (boot, server(&String::from_utf8_lossy(&place))) else {
        kernel.print("oneroot: nothing says where to tell what examine.d has found out");
        return false;
    };
    let (examination, silent) = gathered(kernel, directory);
    for (hook, why) in silent {
        kernel.print(&format!("oneroot: examine.d/{hook} {why}"));
        let _ = kernel.is_there(&format!("{SAY}/{boot}.examine-failed-{hook}"));
    }
    match post(kernel, server, &format!("/b/{boot}/examined"), &examination) {
        Ok(()) => true,
        Err(why) => {
            kernel.print(&format!("oneroot: {server} was not told what examine.d has found out: {why}"));
            false
        }
    }
}

fn server(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.trim().split_once(' ')?;
    Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port.parse().ok()?))
}

/// What the programs have left, and those of which nothing is told though they ended well, and why.
fn gathered(kernel: &dyn Kernel, directory: &str) -> (Examination, Vec<(HookName, &'static str)>) {
    let (mut examination, mut silent, mut left) = (Examination::default(), Vec::new(), LARGEST);
    for file in kernel.list(directory).unwrap_or_default() {
        let (hook, has_failed) = match file.strip_suffix(FAILED) {
            Some(hook) => (hook, true),
            None => (file.as_str(), false),
        };
        let Ok(hook) = hook.parse::<HookName>() else { continue };
        if examination.hooks.len() == MOST_HOOKS {
            silent.push((hook, "is one too many: nothing of it is told"));
            continue;
        }
        let outcome = if has_failed {
            Outcome::Failed
        } else {
            match printed(kernel, &format!("{directory}/{file}"), &mut left) {
                Ok(printed) => Outcome::Printed(printed),
                Err(why) => {
                    silent.push((hook.clone(), why));
                    Outcome::Failed
                }
            }
        };
        examination.hooks.insert(hook, outcome);
    }
    (examination, silent)
}

fn printed(kernel: &dyn Kernel, file: &str, left: &mut usize) -> Result<Vec<u8>, &'static str> {
    let printed = kernel.read(file).map_err(|_| "has printed what can't be read")?;
    if printed.len() > MOST_PRINTED {
        return Err("has printed more than 4 KiB");
    }
    if std::str::from_utf8(&printed).is_err() {
        return Err("has printed what is no text");
    }
    *left = left.checked_sub(printed.len()).ok_or("has printed what is too much with the others': 16 KiB")?;
    Ok(printed)
}

/// Posts it, and again while the server has no time or does not answer.
fn post(
    kernel: &dyn Kernel,
    server: SocketAddr,
    path: &str,
    examination: &Examination,
) -> Result<(), String> {
    let (bytes, end) = (examination.bytes(), kernel.now() + PATIENCE);
    let text = String::from_utf8_lossy(&bytes);
    let mut tries = 0;
    loop {
        let left = end.saturating_sub(kernel.now());
        let why = match kernel.post(server, path, &text, left.min(ONE)) {
            Ok(answer) if answer.status < 300 => return Ok(()),
            Ok(answer) if !answer.is_busy() => return Err(format!("it refuses that ({})", answer.status)),
            Ok(answer) => format!("it has no time for that ({})", answer.status),
            Err(errno) => name(errno),
        };
        let pause = pause(kernel, tries);
        if kernel.now() + pause >= end {
            return Err(why);
        }
        kernel.sleep(pause);
        tries += 1;
    }
}
