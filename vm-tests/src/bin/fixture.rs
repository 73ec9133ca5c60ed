//! Makes a fixture of `tests/old_state.rs`: a site with its store, its state and a backup, as the binary under test leaves
//! them when it is killed, and what its machines were told.
//!
//! `ONEROOT_BIN=… cargo run -p oneroot-vm-tests --bin fixture -- tests/fixtures/COMMIT.tar.zst`, as root.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use oneroot_testkit::rpc::opaque;
use oneroot_testkit::{Boot, Lab, Machine, Root, Server, SiteFiles, ip};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const PROXIED: &str = "[[network]]\nsubnet = \"192.168.78.0/24\"\nserver = \"192.168.78.1\"\nproxy = true\n\n\
                       [unknown]\nprofile = \"debian\"\n";
/// How far each machine of the first network comes.
const MACHINES: [(&str, u8, &str); 4] =
    [("alpha", 10, "up"), ("beta", 11, "running"), ("gamma", 12, "booting"), ("stranger", 99, "up")];

fn main() -> Result<()> {
    let out = std::env::args().nth(1).context("usage: fixture FILE.tar.zst")?;
    let lab = Lab::new()?;
    lab.switch("lab1", "192.168.78.1/24")?;
    let mut server = Server::start(site()?)?;
    let mut told = lab.on_machines([192, 168, 77, 2].into(), |host| {
        let each = MACHINES.into_iter().map(|(name, last, phase)| {
            let machine = host.lease(last, PATIENCE)?.context("no lease")?;
            comes_to(name, phase, &machine)
        });
        each.collect::<Result<Vec<Value>>>()
    })??;
    told.push(lab.plug("lab1", |nic| {
        ip(&format!("link set {nic} address 52:54:00:00:00:0d"))?;
        ip(&format!("addr add 192.168.78.13/24 dev {nic}"))?;
        ip("route add 192.168.77.0/24 via 192.168.78.1")?;
        comes_to("delta", "running", &Machine { last: 13, address: Ipv4Addr::new(192, 168, 78, 13) })
    })??);
    server.run(&["state", "backup", "backup.json"])?;
    server.kill9()?;
    let home = server.site.path();
    fs::write(home.join("told.json"), serde_json::to_string_pretty(&told)?)?;
    // In pax form, for times count by the nanosecond.
    let packed = Command::new("tar")
        .args(["--zstd", "--format=pax", "--exclude=control.sock", "-cSf", &out, "-C"])
        .arg(home)
        .args(["--sort=name", "--numeric-owner"])
        .args(["site.toml", "layers", "root", "store", "state", "backup.json", "told.json"])
        .status()?;
    ensure!(packed.success(), "cannot write {out}");
    Ok(())
}

fn site() -> Result<SiteFiles> {
    let mut site = SiteFiles::with_alpha(b"kernel of the fixture")?;
    let both = site.text().replace("interface = \"lab0\"", "interface = [\"lab0\", \"lab1\"]");
    site.set_text(&both);
    site.add(PROXIED);
    site.machine("beta", "0b", "")?;
    site.machine("gamma", "0c", "address = \"192.168.77.12\"")?;
    site.machine("delta", "0d", "")?;
    site.file("common", "etc/motd", "of all\n")?;
    site.file("alpha", "etc/issue.j2", "{{ name }} at {{ address }}\n")?;
    fs::create_dir_all(site.path().join("root/etc"))?;
    fs::write(site.path().join("root/etc/os-release"), "ID=fixture\n")?;
    // Larger than what is served from memory.
    fs::write(site.path().join("root/big"), vec![7; 100_000])?;
    Ok(site)
}

/// Boots a machine up to a phase, and tells what it was given.
fn comes_to(name: &str, phase: &str, machine: &Machine) -> Result<Value> {
    let boot = machine.boot()?;
    let told = |root: &[u8], hostname: &[u8], files: Option<BTreeMap<String, String>>| {
        json!({
            "name": name, "last": machine.last, "address": machine.address, "boot": boot.id, "export": boot.export,
            "phase": phase, "root_handle": hex(root), "hostname_handle": hex(hostname), "files": files,
        })
    };
    if phase == "booting" {
        return Ok(told(&[], &[], None));
    }
    let mut root = machine.mount(&boot.export)?;
    if phase == "up" {
        say_up(&mut root, &boot)?;
    }
    let files = root.read_all()?.into_iter();
    let files = files.map(|(path, bytes)| (path, blake3::hash(&bytes).to_hex().to_string())).collect();
    let hostname = root.lookup("etc/hostname").unwrap_or_default();
    Ok(told(root.handle(), &hostname, Some(files)))
}

/// A word is heard by being looked up, and is never there.
fn say_up(root: &mut Root, boot: &Boot) -> Result<()> {
    let say = root.lookup(".oneroot/say")?;
    if root.nfs(3, &[opaque(&say), opaque(format!("{}.up", boot.id).as_bytes())].concat()).is_ok() {
        bail!("the word is there");
    }
    // It is taken in after the answer.
    std::thread::sleep(Duration::from_millis(500));
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
