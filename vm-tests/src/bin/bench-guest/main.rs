//! `make bench-guest`: what a kernel's NFS client makes of our view, beside nfs-ganesha with the same tree and a squashfs
//! of it, all in one guest. What the figures mean is said in docs/benchmarks.md.
#![allow(clippy::print_stdout, reason = "it is a program that shows something")]

mod report;
mod view;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use oneroot_testkit::wire::{Calls, Wire};
use oneroot_testkit::{Ganesha, Lab, Server};
use oneroot_vm_tests::walk::{Lister, Walk};
use oneroot_vm_tests::{Guest, Hardware, artifacts, cpu_seconds};
use report::{Report, Row};
use serde_json::Value;

const ONEROOT: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const GANESHA: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// MiB: the guest has memory to spare for all that it learns of the tree.
const MEMORY: u32 = 1536;
/// The longest walk takes a minute or two on an idle machine, where the CPU is emulated.
const WALK: Duration = Duration::from_secs(1800);
/// As `bootconf/src/plan/args.rs` has a root mounted: what a machine has mounted never changes.
const AS_ROOT: &str = ",nocto,acregmin=86400,acregmax=86400,acdirmin=86400,acdirmax=86400";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("bench-guest: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

/// Usage: `bench-guest [ROUNDS]`
fn run() -> Result<bool> {
    let rounds = std::env::args()
        .nth(1)
        .map_or(Ok(1), |rounds| rounds.parse())
        .context("usage: bench-guest [ROUNDS]")?;
    artifacts::tools("bench-guest")?;
    let debian = artifacts::debian()?;
    let lab = Lab::new()?;
    eprintln!("staging a Debian and {} files over it", view::FILES);
    let server = Server::start(view::site(&debian)?)?;
    let tree = server.site.path().join("exported");
    server.run(&["export", "alpha", tree.to_str().context("a temporary directory has a plain name")?])?;
    let image = server.site.path().join("view.squashfs");
    squash(&tree, &image)?;

    eprintln!("switching the guest on");
    let mut guest = Hardware::new("alpha", "0a").memory(MEMORY).disk(image).power_on(&lab)?;
    let work = server.site.path();
    let start = || Ganesha::start(&tree, work, GANESHA);
    let ganesha = lab.on_host(&format!("{GANESHA}/24"), start)??;
    let mut wire = Wire::listen("port0")?;
    guest.log_in()?;
    guest.wait_until_settled();
    let (machine, server_pid) = (server.machine("alpha")?, server.pid()?);
    let view = machine.get("view").and_then(Value::as_str).context("alpha has no view")?;
    let listings = [(Lister::Find, ""), (Lister::Ls, view::PUBLISHED), (Lister::Ls, "")];
    let places = places(&format!("/v/{view}"), &tree.display().to_string());

    let mut report = Report::new(&guest.ok("uname -r")?, rounds);
    // What the servers remember of the tree after a first walk is no client's to measure.
    for place in places.iter().filter(|place| place.kind == Kind::Nfs && !place.over) {
        eprintln!("{}: a first walk, not counted", place.name);
        place.mount(&mut guest)?;
        Walk::of(&mut guest, Lister::Find, place.top, WALK)?;
        report.mounted.push(guest.ok("grep ' /mnt/view nfs' /proc/mounts")?);
        place.unmount(&mut guest)?;
    }
    // One place right after the other: what else the host does disturbs them alike.
    for (lister, below) in listings.repeat(rounds) {
        for place in &places {
            // All of a running machine's root is more than its tree: /proc, /sys. What an overlay adds, the part shows.
            if lister == Lister::Ls && below.is_empty() && (place.kind == Kind::Root || place.over) {
                continue;
            }
            place.mount(&mut guest)?;
            let pid = match place.server {
                Some(GANESHA) => Some(ganesha.pid()),
                server => server.map(|_| server_pid),
            };
            let cpu = || pid.map_or(Ok(0.0), cpu_seconds);
            for state in ["cold", "warm"] {
                let top = format!("{}{below}", place.top);
                let before = place.calls(&mut wire)?;
                let server_cpu = cpu()?;
                let walk = Walk::of(&mut guest, lister, &top, WALK)?;
                let server_cpu = cpu()? - server_cpu;
                let wire = place.calls(&mut wire)?.since(&before);
                let goal = place.server == Some(ONEROOT) && place.options == Some(AS_ROOT);
                let row = Row { place: place.name, below, lister, state, walk, server_cpu, wire, goal };
                eprintln!("{}", row.line());
                report.add(row);
            }
            place.unmount(&mut guest)?;
        }
    }
    wire.stop()?;
    drop(ganesha);
    print!("{}", report.text());
    Ok(report.goals().iter().all(|goal| goal.is_reached))
}

fn squash(tree: &Path, image: &Path) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let made = Command::new("mksquashfs")
        .args([tree, image])
        .args(["-quiet", "-no-progress", "-no-xattrs", "-comp", "zstd", "-Xcompression-level", "3"])
        .env("PATH", path)
        .stdout(Stdio::null())
        .status()
        .context("cannot run mksquashfs")?;
    ensure!(made.success(), "mksquashfs failed");
    Ok(())
}

/// What is walked through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A mount of a server's.
    Nfs,
    /// The disk with the squashfs.
    Squashfs,
    /// The machine's own root, which it booted from.
    Root,
}

/// Something to walk through, and how it is reached.
struct Place {
    name: &'static str,
    kind: Kind,
    server: Option<Ipv4Addr>,
    /// Server and path.
    source: String,
    /// Options of the mount that matter here; none where it is no NFS.
    options: Option<&'static str>,
    /// The ports of a server's mount.
    ports: String,
    /// A writable overlay in memory lies over it, as `/.oneroot/init` lays one.
    over: bool,
    top: &'static str,
}

fn places(ours: &str, theirs: &str) -> Vec<Place> {
    let nfs = |name, server: Ipv4Addr, options, over: bool| {
        let (path, mount) = if server == ONEROOT { (ours, 2049) } else { (theirs, Ganesha::MOUNT) };
        let top = if over { "/mnt/over" } else { "/mnt/view" };
        let ports = format!("port=2049,mountport={mount}");
        let source = format!("{server}:{path}");
        Place {
            name,
            kind: Kind::Nfs,
            server: Some(server),
            source,
            options: Some(options),
            ports,
            over,
            top,
        }
    };
    let local = |name, kind, server, options, source: &str, top| Place {
        name,
        kind,
        server,
        source: source.to_owned(),
        options,
        ports: String::new(),
        over: false,
        top,
    };
    vec![
        nfs("oneroot", ONEROOT, AS_ROOT, false),
        nfs("nfs-ganesha", GANESHA, AS_ROOT, false),
        nfs("overlay over oneroot", ONEROOT, AS_ROOT, true),
        nfs("overlay over nfs-ganesha", GANESHA, AS_ROOT, true),
        local("the machine's own /", Kind::Root, Some(ONEROOT), Some(AS_ROOT), "", "/"),
        nfs("oneroot, default options", ONEROOT, "", false),
        nfs("nfs-ganesha, default options", GANESHA, "", false),
        local("squashfs", Kind::Squashfs, None, None, "/dev/vda", "/mnt/view"),
    ]
}

impl Place {
    /// As if it had never been seen.
    fn mount(&self, guest: &mut Guest) -> Result<()> {
        let Self { source, ports, .. } = self;
        guest.ok("mkdir -p /mnt/view /mnt/upper /mnt/over")?;
        match self.kind {
            Kind::Nfs => {
                let (Some(server), Some(options)) = (self.server, self.options) else { bail!("no server") };
                // In the kernel, without a helper program; and never one cache for two mounts.
                let options =
                    format!("ro,vers=3,proto=tcp,nolock,nosharecache,{ports},addr={server}{options}");
                guest.ok(&format!("mount -i -t nfs -o {options} {source} /mnt/view"))?;
            }
            Kind::Squashfs => {
                guest.ok(&format!("mount -t squashfs -o ro {source} /mnt/view"))?;
            }
            // A root can't be mounted anew. The programs that walk are read again before the walk, not in it.
            Kind::Root => {
                let forget = "sync; echo 3 >/proc/sys/vm/drop_caches; echo 3 >/proc/sys/vm/drop_caches";
                let warm = Lister::Find.command("/dev/null") + "; " + &Lister::Ls.command("/dev/null");
                guest.ok(&format!(
                    "{forget}; {warm}; awk 1 /dev/null; wc -l /dev/null; grep -c x /etc/hostname; true"
                ))?;
            }
        }
        if self.over {
            guest.ok("mount -t tmpfs tmpfs /mnt/upper && mkdir /mnt/upper/upper /mnt/upper/work")?;
            let layers = "lowerdir=/mnt/view,upperdir=/mnt/upper/upper,workdir=/mnt/upper/work";
            guest.ok(&format!("mount -t overlay -o {layers} overlay /mnt/over"))?;
        }
        Ok(())
    }

    fn unmount(&self, guest: &mut Guest) -> Result<()> {
        if self.over {
            guest.ok("umount /mnt/over && umount /mnt/upper")?;
        }
        if self.kind != Kind::Root {
            guest.ok("umount /mnt/view")?;
        }
        Ok(())
    }

    /// Calls to its server so far.
    fn calls(&self, wire: &mut Wire) -> Result<Calls> {
        self.server.map_or_else(|| Ok(Calls::default()), |server| wire.calls(server))
    }
}
