//! A directory server of a test's own: OpenLDAP's slapd, as Debian has it.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// A directory server; ended when dropped.
pub struct Slapd(Child);

impl Drop for Slapd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Slapd {
    /// Serves the entries of a file, `dc=example,dc=org` first, out of `home`, on the calling thread's loopback.
    pub fn start(home: &Path, entries: &Path) -> Result<Self> {
        Self::serve(home, entries, "dc=example,dc=org", ("ldap", "127.0.0.1:389"), "")
    }

    /// The same below another name, by `ldap` or `ldaps` at an address with its port, with more lines of slapd.conf(5) for all.
    pub fn serve(home: &Path, entries: &Path, suffix: &str, at: (&str, &str), more: &str) -> Result<Self> {
        fs::create_dir_all(home.join("db"))?;
        let conf = home.join("slapd.conf");
        let schemas =
            ["core", "cosine", "nis"].map(|name| format!("include /etc/ldap/schema/{name}.schema\n"));
        let text = format!(
            "{}{more}modulepath /usr/lib/ldap\nmoduleload back_mdb\ndatabase mdb\nsuffix \"{suffix}\"\ndirectory {}\n",
            schemas.concat(),
            home.join("db").display()
        );
        fs::write(&conf, text)?;
        let mut add = Command::new("/usr/sbin/slapadd");
        let added = add.arg("-f").arg(&conf).arg("-l").arg(entries).stdin(Stdio::null()).output();
        let added = added.context("no slapadd: it is in the package slapd")?;
        ensure!(added.status.success(), "slapadd: {}", String::from_utf8_lossy(&added.stderr));
        let (scheme, address) = at;
        let mut slapd = Command::new("/usr/sbin/slapd");
        slapd.arg("-f").arg(&conf).args(["-h", &format!("{scheme}://{address}/"), "-d", "stats"]);
        // What it was asked is for whoever looks into a failed test's directory.
        slapd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(home.join("log"))?);
        let slapd = Self(slapd.spawn().context("no slapd")?);
        let is_there = (0..3_000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            TcpStream::connect(address).is_ok()
        });
        if !is_there {
            bail!("slapd did not come up: {}", fs::read_to_string(home.join("log"))?);
        }
        Ok(slapd)
    }
}
