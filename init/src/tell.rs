//! This program by another name: examines the machine once its files are in place, and tells the server what it has found out
//! (docs/decisions/0023). Started by the script `hooks` under every initramfs, before the real init.
//!
//! One POST, to one of the site's servers after the other for 20 s at most: a machine comes up whether it is heard or
//! not. All of it ends by itself: after some 300 s of programs and 20 s of asking, at the latest.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use oneroot_initrd::examined::{Examination, Outcome};
use oneroot_initrd::settings::MOST_SERVERS;

use crate::arguments::Arguments;
use crate::examine::{EXAMINE, examine};
use crate::kernel::{Answer, Kernel, name};
use crate::machine::pause;

/// Where it lies in a machine's view.
pub const TELL: &str = "/.oneroot/tell";
/// What the server has written of where servers are: a line for each, its address and HTTP's port.
const WHERE: &str = "/.oneroot/tell-to";
/// How long it is tried.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one try may take, where there are not so many servers that some would never be asked.
const ONE: Duration = Duration::from_secs(5);

/// Examines the machine, and tells what comes of it. Whether all is told that there was to tell; what kept it from that is on the console.
pub fn tell(kernel: &dyn Kernel) -> bool {
    let line = kernel.read("/proc/cmdline").unwrap_or_default();
    let boot = Arguments::of(&String::from_utf8_lossy(&line)).boot;
    let places = kernel.read(WHERE).unwrap_or_default();
    let servers = servers(&String::from_utf8_lossy(&places));
    let Some(boot) = boot.filter(|_| !servers.is_empty()) else {
        kernel.print(&format!(
            "oneroot: {EXAMINE} is passed over: nothing says where to tell what is found out"
        ));
        return false;
    };
    let examination = match examine(kernel, &boot) {
        Ok(examination) => examination,
        Err(errno) => {
            kernel.print(&format!("oneroot: {EXAMINE} can't be read, and nothing is told: {}", name(errno)));
            return false;
        }
    };
    // Where none has printed anything, all facts stay as they are.
    if !examination.hooks.values().any(|outcome| matches!(outcome, Outcome::Printed(_))) {
        return true;
    }
    let Err(why) = post(kernel, &servers, &format!("/b/{boot}/examined"), &examination) else { return true };
    for (server, why) in why {
        kernel.print(&format!("oneroot: {server} was not told what examine.d has found out: {why}"));
    }
    false
}

fn servers(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let (address, port) = line.trim().split_once(' ')?;
        Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port.parse().ok()?))
    };
    text.lines().filter_map(server).take(MOST_SERVERS).collect()
}

/// Posts it to one server after the other, and again to those that have no time or do not answer. One that refuses it is not asked
/// again; another may know more of this boot by now.
fn post(
    kernel: &dyn Kernel,
    servers: &[SocketAddr],
    path: &str,
    examination: &Examination,
) -> Result<(), BTreeMap<SocketAddr, String>> {
    let (bytes, end) = (examination.bytes(), kernel.now() + PATIENCE);
    let text = String::from_utf8_lossy(&bytes);
    let fair = PATIENCE / u32::try_from(servers.len()).unwrap_or(1).max(1);
    let (mut open, mut reasons, mut tries) = (servers.to_vec(), BTreeMap::new(), 0);
    loop {
        for server in std::mem::take(&mut open) {
            let left = end.saturating_sub(kernel.now());
            if left.is_zero() {
                reasons.entry(server).or_insert_with(|| "there was no time left to ask it".to_owned());
                continue;
            }
            let (why, again) = match kernel.post(server, path, &text, left.min(ONE).min(fair)) {
                Ok(answer) if answer.status < 300 => return Ok(()),
                Ok(answer) => (why(&answer), answer.is_busy()),
                Err(errno) => (name(errno), true),
            };
            reasons.insert(server, why);
            if again {
                open.push(server);
            }
        }
        let pause = pause(kernel, tries);
        if open.is_empty() || kernel.now() + pause >= end {
            return Err(reasons);
        }
        kernel.sleep(pause);
        tries += 1;
    }
}

fn why(answer: &Answer) -> String {
    let what = if answer.is_busy() { "it has no time for that" } else { "it refuses that" };
    let words = if answer.words.is_empty() { String::new() } else { format!(": {}", answer.words) };
    format!("{what} ({}){words}", answer.status)
}
