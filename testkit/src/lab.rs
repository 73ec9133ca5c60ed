//! A network of its own for a test: a namespace with a bridge, and a port for each machine.
//!
//! The calling thread moves into a new network namespace, and every program that it starts is in it too. Nothing of the
//! host's network is touched, and nothing is left behind: the namespace ends with its last process. Root is not needed
//! where the whole test runs under `unshare -Ur`.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::thread::UnshareFlags;

/// The server's address in every lab.
pub const SERVER: &str = "192.168.77.1";
/// The address of the host that plays machines ([`Lab::on_machines`]); a DHCP server takes it for a relay.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// The interface that it is on.
pub const INTERFACE: &str = "lab0";

/// A network namespace with a switch. The thread that made it stays in it.
pub struct Lab {
    ports: AtomicU32,
}

impl Lab {
    /// Moves the calling thread into a fresh network.
    pub fn new() -> Result<Self> {
        // SAFETY: CLONE_NEWNET changes which network the calling thread sees and nothing else: no memory, no descriptor
        // and no signal handling is shared with or taken from other threads by it.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .context("cannot make a network namespace; run as root, or under `unshare -Ur`")?;
        for command in [
            "link set lo up".to_owned(),
            format!("link add {INTERFACE} type bridge forward_delay 0 mcast_snooping 0"),
            // Else the switch would take a port's address, and lose it with that port.
            format!("link set {INTERFACE} address 52:54:00:ff:00:01"),
            format!("addr add {SERVER}/24 dev {INTERFACE}"),
            format!("link set {INTERFACE} up"),
        ] {
            ip(&command)?;
        }
        Ok(Self { ports: AtomicU32::new(0) })
    }

    /// A new port of the switch: the name of a tap device for QEMU.
    pub fn port(&self) -> Result<String> {
        let name = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        ip(&format!("tuntap add {name} mode tap"))
            .context("cannot make a tap device: /dev/net/tun must be readable and writable")?;
        ip(&format!("link set {name} master {INTERFACE} up"))?;
        Ok(name)
    }
}

impl Lab {
    /// Another switch, on which the server has `address` (with its prefix length).
    pub fn switch(&self, name: &str, address: &str) -> Result<()> {
        ip(&format!("link add {name} type bridge forward_delay 0 mcast_snooping 0"))?;
        ip(&format!("addr add {address} dev {name}"))?;
        ip(&format!("link set {name} up"))
    }

    /// Does something on another host of this network, which has `address` (with its prefix length) and nothing else:
    /// a relay, another server.
    pub fn on_host<T: Send>(&self, address: &str, act: impl FnOnce() -> T + Send) -> Result<T> {
        self.plug(INTERFACE, |nic| {
            ip(&format!("addr add {address} dev {nic}"))?;
            Ok(act())
        })?
    }

    /// Does something on a host without an address, and is told the name of its NIC. The host is a thread in a namespace
    /// of its own, on a cable to the switch; programs that it starts and leaves running keep it up.
    pub fn plug<T: Send>(&self, switch: &str, act: impl FnOnce(&str) -> T + Send) -> Result<T> {
        let number = self.ports.fetch_add(1, Ordering::Relaxed);
        let (cable, end) = (format!("port{number}"), format!("host{number}"));
        ip(&format!("link add {cable} type veth peer name {end}"))?;
        ip(&format!("link set {cable} master {switch} up"))?;
        let (ready, is_ready) = mpsc::channel();
        let (plugged, is_plugged) = mpsc::channel();
        let end = end.as_str();
        thread::scope(move |scope| {
            let host = scope.spawn(move || {
                // SAFETY: as in `new`.
                unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
                // `ip` takes a namespace by the number of a thread in it, and only from here on is this one in another than
                // the switch.
                ready.send(rustix::thread::gettid().as_raw_nonzero())?;
                is_plugged.recv()?;
                ip("link set lo up")?;
                ip(&format!("link set {end} up"))?;
                ready.send(rustix::thread::gettid().as_raw_nonzero())?;
                is_plugged.recv()?;
                Ok(act(end))
            });
            if let Ok(thread) = is_ready.recv() {
                ip(&format!("link set {end} netns {thread}"))?;
                plugged.send(())?;
            }
            if is_ready.recv().is_ok() {
                forwards(&cable)?;
                plugged.send(())?;
            }
            host.join().map_err(|_| anyhow::anyhow!("what was done on the host panicked"))?
        })
    }
}

/// Waits until a switch passes on what comes in by a port: the kernel notices a cable a moment after both ends are up, and
/// what is sent before that is lost.
fn forwards(port: &str) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let begun = Instant::now();
    while !said(&format!("-d link show {port}"))?.contains("state forwarding") {
        if begun.elapsed() > PATIENCE {
            bail!("{port} does not come to forward anything");
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Runs `ip` with these words.
pub fn ip(words: &str) -> Result<()> {
    said(words).map(drop)
}

/// What `ip` says to these words.
fn said(words: &str) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(words.split(' ')).stdin(Stdio::null());
    let path = std::env::var("PATH").unwrap_or_default();
    let done = command.env("PATH", format!("{path}:/usr/sbin:/sbin")).output().context("cannot run ip")?;
    if !done.status.success() {
        bail!("ip {words}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
