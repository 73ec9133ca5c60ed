//! `oneroot status`: a line for each machine, and one for each interface.

use std::path::Path;

use anyhow::Result;

use crate::cli::Exit;
use crate::machines::MachineStatus;
use crate::net::interfaces::InterfaceStatus;
use crate::print;
use crate::{clock, control};

/// Asks the running server and prints what it says.
pub fn run(state: &Path, json: bool) -> Result<Exit> {
    let Some(status) = control::ask_status(state)? else {
        print::trouble(format_args!(
            "oneroot: no server is running on {}; start one with `oneroot serve`",
            state.display()
        ));
        return Ok(Exit::NotRunning);
    };
    if json {
        print::json(&status)?;
        return Ok(Exit::Done);
    }
    let mut rows =
        vec![["MACHINE", "MAC", "ADDRESS", "PROFILE", "PHASE", "LAST STEP", "SINCE"].map(str::to_owned)];
    rows.extend(status.machines.iter().map(|machine| row(machine, status.now)));
    print::rows(&rows)?;
    for refused in status.machines.iter().filter_map(|machine| machine.refused.as_ref()) {
        let ago = age(status.now.saturating_sub(refused.at));
        print::text(format_args!("{ago} ago: {}\n", refused.told))?;
    }
    for machine in &status.machines {
        if let Some(stalled) = &machine.stalled {
            print::line(format_args!("{}: {stalled} (see troubleshooting.md)", machine.name))?;
        }
    }
    let mut rows = vec![["INTERFACE", "MAC", "ADDRESSES", "STATE"].map(str::to_owned)];
    rows.extend(status.interfaces.iter().map(interface));
    print::line("")?;
    print::rows(&rows)?;
    for address in &status.missing_addresses {
        print::line(format_args!(
            "{address} is no address of this host: TFTP, HTTP and NFS can't be reached there"
        ))?;
    }
    if clock::is_off(status.clock_ahead) {
        print::text(format_args!("\n{}\n", clock::in_words(status.clock_ahead)))?;
    }
    if let Some(confinement) = &status.confinement
        && let Some(words) = confinement.words()
    {
        print::text(format_args!("\n{words}\n"))?;
    }
    Ok(Exit::Done)
}

fn row(machine: &MachineStatus, now: u64) -> [String; 7] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let last = machine.steps.last().map(|step| step.step.clone());
    let since = machine.since.map(|since| age(now.saturating_sub(since)));
    [
        machine.name.clone(),
        machine.mac.clone(),
        or_dash(&machine.address),
        or_dash(&machine.profile),
        or_dash(&machine.phase),
        or_dash(&last),
        or_dash(&since),
    ]
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
