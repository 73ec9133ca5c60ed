//! `oneroot status`: a line for each machine, and one for each interface.

use std::path::Path;

use anyhow::Result;

use super::running;
use crate::net::interfaces::InterfaceStatus;
use crate::print::{Document, Page};
use crate::status::{Status, silence, trouble};
use crate::tls::HttpsStatus;
use crate::{clock, confine, control};
use oneroot_ids::GenerationId;
use oneroot_machines::{Copy, MachineStatus};

const HEAD: [&str; 9] =
    ["MACHINE", "MAC", "ADDRESS", "PROFILE", "PHASE", "LAST STEP", "SINCE", "LAST SEEN", "TREE"];
/// Seconds without a sign after which a machine's phase is old news.
const QUIET: u64 = 3600;

impl Document for Status {
    fn page(&self) -> Page {
        let mut page = Page::default();
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(self.machines.iter().map(|machine| row(machine, self)));
        page.rows(&rows);
        self.machines.iter().flat_map(|machine| notes(machine, self.now)).for_each(|note| page.line(note));
        let mut rows = vec![["INTERFACE", "MAC", "ADDRESSES", "STATE"].map(str::to_owned)];
        rows.extend(self.interfaces.iter().map(interface));
        page.line("");
        page.rows(&rows);
        if !self.copies.is_empty() {
            page.line("");
            page.rows(&copies(&self.copies, self.now));
        }
        for address in &self.missing_addresses {
            page.line(format_args!(
                "{address} is not an address of this host: TFTP, HTTP and NFS can't be reached there"
            ));
        }
        if let Some(https) = &self.https {
            page.text(format_args!("\n{}\n", secured(https, self.now)));
        }
        for other in &self.other_servers {
            let ago = age(self.now.saturating_sub(other.at));
            page.line(format_args!("{} {ago} ago", other.in_words()));
        }
        if let Some(words) = self.decide.as_ref().and_then(|decide| silence(decide, self.now)) {
            page.text(format_args!("\n{words}\n"));
        }
        if let Some(words) = trouble(&self.state) {
            page.text(format_args!("\n{words}\n"));
        }
        if clock::is_off(self.clock_ahead) {
            page.text(format_args!("\n{}\n", clock::in_words(self.clock_ahead)));
        }
        if let Some(words) = self.confinement.as_ref().and_then(confine::Report::words) {
            page.text(format_args!("\n{words}\n"));
        }
        page
    }
}

/// A line for each copy of a tree.
pub fn copies(copies: &[Copy], now: u64) -> Vec<[String; 6]> {
    let short = |generation: GenerationId| generation.to_string().chars().take(12).collect::<String>();
    let row = |copy: &Copy| {
        let state = if copy.generation == copy.offered { "current" } else { "behind" };
        [
            copy.holder.to_string(),
            copy.address.to_string(),
            copy.what.clone(),
            short(copy.generation),
            age(now.saturating_sub(copy.at)),
            state.to_owned(),
        ]
    };
    let head = ["COPY KEPT BY", "ADDRESS", "OF", "GENERATION", "LAST ASKED", "TREE"].map(str::to_owned);
    std::iter::once(head).chain(copies.iter().map(row)).collect()
}

/// What clients can check the server by.
fn secured(https: &HttpsStatus, now: u64) -> String {
    let HttpsStatus { port, fingerprint, self_made, valid_until } = https;
    let whose = if *self_made { "the server's own certificate" } else { "the site's certificate" };
    let end = match valid_until {
        None => String::new(),
        Some(end) if *end < now => format!(", which expired {} ago", age(now - end)),
        Some(end) => format!(", valid for {}", age(end - now)),
    };
    format!("HTTPS on port {port}: {whose}{end}; its SHA-256 fingerprint is\n{fingerprint}")
}

/// Asks the running server.
pub fn status(state: &Path) -> Result<Status> {
    running(state, control::ask_status(state)?)
}

fn row(machine: &MachineStatus, status: &Status) -> [String; HEAD.len()] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let last = machine.steps.last().map(|step| step.step.clone());
    let since = machine.since.map(|since| age(status.now.saturating_sub(since)));
    [
        machine.name.clone(),
        machine.mac.clone(),
        or_dash(&machine.address),
        or_dash(machine.other.as_ref().map_or(&machine.profile, |_| &machine.other)),
        phase(machine, status),
        or_dash(&last),
        or_dash(&since),
        seen(machine, status),
        match &machine.behind {
            None => "-",
            Some(reasons) if reasons.is_empty() => "current",
            Some(_) => "behind",
        }
        .to_owned(),
    ]
}

/// The phase, and whether that is old news: a machine that is switched off tells nobody.
fn phase(machine: &MachineStatus, status: &Status) -> String {
    let Some(phase) = &machine.phase else {
        let is_silent = machine.steps.is_empty() && machine.other.is_none();
        return if is_silent { "never booted" } else { "-" }.to_owned();
    };
    // Nothing is known of the time before it began, so nobody is called quiet for that.
    let silent = status.now.saturating_sub(machine.seen.unwrap_or(status.began));
    if silent >= QUIET { format!("{phase}, quiet") } else { phase.clone() }
}

/// How long ago it was heard of; `>5m` where it was not since the server started, five minutes ago.
fn seen(machine: &MachineStatus, status: &Status) -> String {
    match machine.seen {
        Some(seen) => age(status.now.saturating_sub(seen)),
        None if machine.phase.is_some() => format!(">{}", age(status.now.saturating_sub(status.began))),
        None => "-".to_owned(),
    }
}

/// What has no room in a row.
fn notes(machine: &MachineStatus, now: u64) -> Vec<String> {
    let ago = |at: u64| age(now.saturating_sub(at));
    let refused = machine.refused.iter().map(|refused| format!("{} ago: {}", ago(refused.at), refused.told));
    let name = &machine.name;
    let stalled = machine.stalled.iter().map(|stalled| format!("{name}: {stalled} (see troubleshooting.md)"));
    let planned = machine.planned.iter().map(|planned| {
        let ago = ago(planned.since);
        if let Some(profile) = &planned.kernel_of {
            return format!("{name}: was given the kernel of {profile} {ago} ago, which mounts no root from here: it runs that, or somebody has looked at the script");
        }
        format!("{name}: its boot script was fetched {ago} ago and no root mounted since: it boots again, or somebody has looked at the script")
    });
    let failed = machine.failed.iter().map(|failed| {
        format!(
            "{name}: {}, {} ago (`oneroot boots {name}` has the kernel's last words)",
            failed.in_words(),
            ago(failed.at)
        )
    });
    refused.chain(stalled).chain(failed).chain(planned).collect()
}

fn interface(interface: &InterfaceStatus) -> [String; 4] {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    [
        interface.name.clone(),
        or_dash(interface.mac.as_deref().unwrap_or_default()),
        or_dash(&interface.addresses.join(", ")),
        interface.trouble.clone().unwrap_or_else(|| interface.state.clone()),
    ]
}

/// `42s`, `7m`, `3h`, `12d`.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        assert_eq!([age(5), age(600), age(7200), age(200_000)], ["5s", "10m", "2h", "2d"]);
    }
}
