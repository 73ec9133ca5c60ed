//! `make demo`: two diskless machines boot at once from one tree, on this machine alone, and say themselves what they
//! found. Exit 0 only when both came up right.
#![allow(clippy::print_stdout, reason = "it is a program that shows something")]

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use oneroot_testkit::{Lab, Server, SiteFiles};
use oneroot_vm_tests::{Guest, artifacts};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(600);

/// Steps of a boot in their order, and what they are for a reader.
const STEPS: [(&str, &str); 7] = [
    ("address", "DHCP: has an address"),
    ("script", "HTTP: has its boot script"),
    ("kernel", "HTTP: loads its kernel"),
    ("initrd", "HTTP: loads the initrd that is made for it"),
    ("root", "NFS: mounts its root"),
    ("overlay", "has a writable overlay"),
    ("up", "is up"),
];

/// Prints one line of JSON on the console when the machine is up: its own word on what it sees.
const REPORT: &str = r#"#!/bin/sh
hidden=absent; [ -e /etc/hide-me ] && hidden=present
printf 'REPORT {"hostname":"%s","motd":"%s","hidden":"%s","root":"%s","machine-id":"%s","failed":"%s","kernel":"%s"}\n' \
    "$(cat /proc/sys/kernel/hostname)" "$(cat /etc/motd)" "$hidden" "$(stat -fc %T /)" "$(cat /etc/machine-id)" \
    "$(systemctl --failed --no-legend | wc -l)" "$(uname -r)" >/dev/ttyS0
"#;

const UNIT: &str = "[Unit]\nDescription=Say what this machine sees\nDefaultDependencies=no\nAfter=multi-user.target\n\
                    [Service]\nType=oneshot\nExecStart=/bin/sh /usr/lib/demo/report\n";

/// What a machine of the demo has to report of itself.
struct Expected {
    name: &'static str,
    mac: &'static str,
    motd: &'static str,
    hidden: &'static str,
}

const MACHINES: [Expected; 2] = [
    Expected { name: "alpha", mac: "0a", motd: "alpha: the first of two", hidden: "absent" },
    Expected { name: "beta", mac: "0b", motd: "beta: the second of two", hidden: "present" },
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("demo: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    in_a_namespace()?;
    artifacts::tools("demo")?;
    println!(
        "a Debian 13 root without any initramfs tool: made once with mmdebstrap (a minute or two), then kept"
    );
    let debian = artifacts::bare()?;
    println!("  {}", debian.display());
    let lab = Lab::new()?;
    println!("staging it, and a small layer for each machine");
    let server = Server::start(site(&debian)?)?;
    print!("{}", server.staged);

    println!("switching on {} machines without disks (emulated CPUs: this takes a minute)", MACHINES.len());
    let started = Instant::now();
    let started_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let mut guests = Vec::new();
    for machine in &MACHINES {
        guests.push(Guest::power_on(&lab, machine.name, machine.mac)?);
    }
    watch(&server, started)?;

    let reports = reports(&mut guests)?;
    println!("\nwhat each machine says of itself:");
    print!("{}", table(&what_they_say(&reports)));
    println!("\nseconds from power on:");
    print!("{}", table(&when_they_were_there(&server, started_ms)?));
    let right = are_right(&reports);
    println!("\n{}", if right { "both came up right" } else { "something is not as it should be" });
    Ok(right)
}

/// Who is not root runs it once more as root of a user namespace: that is enough for everything here, with the users that a
/// Debian root has.
fn in_a_namespace() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let many = ["-r", "--map-auto"];
    let has_many = Command::new("unshare").args(many).arg("true").stderr(Stdio::null()).status();
    let words = if has_many.is_ok_and(|ended| ended.success()) { &many[..] } else { &["-r"] };
    let failed = Command::new("unshare").args(words).args(std::env::args_os()).exec();
    bail!("cannot run unshare: {failed}");
}

/// What each machine has printed on its console.
fn reports(guests: &mut [Guest]) -> Result<Vec<Value>> {
    let mut reports = Vec::new();
    for (machine, guest) in MACHINES.iter().zip(guests) {
        guest.wait_for("REPORT ", LIMIT)?;
        let line = guest.wait_for("}", Duration::from_secs(30))? + "}";
        reports.push(
            serde_json::from_str(&line).with_context(|| format!("{} reported {line:?}", machine.name))?,
        );
    }
    Ok(reports)
}

fn said<'a>(report: &'a Value, key: &str) -> &'a str {
    report.get(key).and_then(Value::as_str).unwrap_or("?")
}

fn what_they_say(reports: &[Value]) -> Vec<[String; 3]> {
    let mut rows = vec![["", "ALPHA", "BETA"].map(str::to_owned)];
    for key in ["hostname", "motd", "hidden", "root", "failed", "machine-id", "kernel"] {
        let label = match key {
            "hidden" => "/etc/hide-me",
            "root" => "type of /",
            "failed" => "failed units",
            other => other,
        };
        let mut row = [label.to_owned(), String::new(), String::new()];
        for (cell, report) in row.iter_mut().skip(1).zip(reports) {
            said(report, key).clone_into(cell);
        }
        rows.push(row);
    }
    rows
}

fn are_right(reports: &[Value]) -> bool {
    let is_right = |(machine, report): (&Expected, &Value)| {
        said(report, "hostname") == machine.name
            && said(report, "motd") == machine.motd
            && said(report, "hidden") == machine.hidden
            && said(report, "root") == "overlayfs"
            && said(report, "failed") == "0"
            && said(report, "machine-id").len() == 32
    };
    let ids: BTreeSet<&str> = reports.iter().map(|report| said(report, "machine-id")).collect();
    MACHINES.iter().zip(reports).all(is_right) && ids.len() == MACHINES.len()
}

fn when_they_were_there(server: &Server, started_ms: u128) -> Result<Vec<[String; 3]>> {
    let mut rows = vec![["", "ALPHA", "BETA"].map(str::to_owned)];
    for (step, label) in STEPS {
        let mut row = [label.to_owned(), String::new(), String::new()];
        for (cell, machine) in row.iter_mut().skip(1).zip(&MACHINES) {
            let at = step_at(&server.machine(machine.name)?, step);
            *cell = at.map_or("-".to_owned(), |at| {
                format!("{:.1}", seconds(u128::from(at).saturating_sub(started_ms)))
            });
        }
        rows.push(row);
    }
    Ok(rows)
}

fn site(debian: &std::path::Path) -> Result<SiteFiles> {
    let mut site = SiteFiles::new(debian, "192.168.77.100-192.168.77.199", "1h")?;
    site.add("[workload.demo]\nlayers = [\"layers/demo\"]\n");
    site.file("common", "etc/hide-me", "in the shared tree\n")?;
    site.file("demo", "usr/lib/demo/report", REPORT)?;
    let unit = site.file("demo", "etc/systemd/system/demo-report.service", UNIT)?;
    let wants = unit.with_file_name("multi-user.target.wants");
    std::fs::create_dir_all(&wants)?;
    std::os::unix::fs::symlink("../demo-report.service", wants.join("demo-report.service"))?;
    for machine in &MACHINES {
        site.machine(machine.name, machine.mac, "workloads = [\"demo\"]")?;
        site.file(machine.name, "etc/motd", &format!("{}\n", machine.motd))?;
    }
    site.file("alpha", "etc/.wh.hide-me", "")?;
    Ok(site)
}

/// Shows each step as it happens, until both machines are up.
fn watch(server: &Server, started: Instant) -> Result<()> {
    let mut shown = Vec::new();
    while shown.iter().filter(|(_, step)| *step == "up").count() < MACHINES.len() {
        if started.elapsed() > LIMIT {
            bail!("the machines did not come up within {LIMIT:?}; the server's log:\n{}", server.log());
        }
        for machine in &MACHINES {
            let now = server.machine(machine.name)?;
            for (step, label) in STEPS {
                if step_at(&now, step).is_some() && !shown.contains(&(machine.name, step)) {
                    shown.push((machine.name, step));
                    println!("  {:5.1} s  {:<6} {label}", started.elapsed().as_secs_f64(), machine.name);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn step_at(machine: &Value, step: &str) -> Option<u64> {
    let steps = machine.get("steps")?.as_array()?;
    let found = steps.iter().find(|seen| seen.get("step").and_then(Value::as_str) == Some(step))?;
    found.get("at_ms")?.as_u64()
}

fn seconds(milliseconds: u128) -> f64 {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX)).as_secs_f64()
}

fn table(rows: &[[String; 3]]) -> String {
    let mut widths = [0; 3];
    for row in rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(&format!("  {}\n", cells.join("  ").trim_end()));
    }
    out
}
