//! The real binary, with a site of the test's own.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::lab::{INTERFACE, SERVER};
use crate::patience::patient;

/// The directory of a site, being written.
pub struct SiteFiles {
    home: tempfile::TempDir,
    text: String,
}

impl SiteFiles {
    /// A site with the lab's network and a profile `debian` from this tar, with `layers/common` over it.
    pub fn new(debian: &Path, pool: &str, lease: &str) -> Result<Self> {
        Self::with_source(&format!("tar = \"{}\"", debian.display()), pool, lease)
    }

    /// The same with a tree of one file, for tests in which nothing boots.
    pub fn small() -> Result<Self> {
        let site = Self::with_source("directory = \"root\"", "192.168.77.100-192.168.77.199", "1h")?;
        let motd = site.path().join("root/etc/motd");
        fs::create_dir_all(motd.parent().context("a file has a directory")?)?;
        fs::write(motd, "hello\n")?;
        Ok(site)
    }

    /// The same with any `source = { … }`.
    pub fn with_source(source: &str, pool: &str, lease: &str) -> Result<Self> {
        let home = tempfile::tempdir()?;
        fs::create_dir_all(home.path().join("layers/common"))?;
        let text = format!(
            "[server]\naddress = \"{SERVER}\"\ninterface = \"{INTERFACE}\"\nstore = \"store\"\nstate = \"state\"\n\n\
             [[network]]\nsubnet = \"192.168.77.0/24\"\npool = \"{pool}\"\nlease = \"{lease}\"\n\n\
             [profile.debian]\nsource = {{ {source} }}\nlayers = [\"layers/common\"]\nargs = [\"console=ttyS0\"]\n"
        );
        Ok(Self { home, text })
    }

    /// A site of one machine, `alpha` at 192.168.77.10 with MAC `52:54:00:00:00:0a`, whose root is a directory `root` with
    /// this kernel and an initrd.
    pub fn with_alpha(kernel: &[u8]) -> Result<Self> {
        let pool = "192.168.77.100-192.168.77.199";
        let mut site = Self::with_source("directory = \"root\"", pool, "12h")?;
        site.machine("alpha", "0a", "address = \"192.168.77.10\"")?;
        let boot = site.path().join("root/boot");
        fs::create_dir_all(&boot)?;
        fs::write(boot.join("vmlinuz-1"), kernel)?;
        fs::write(boot.join("initrd.img-1"), "initrd")?;
        Ok(site)
    }

    /// The same of two machines: beta is at .11.
    pub fn with_two() -> Result<Self> {
        let mut site = Self::with_alpha(b"kernel")?;
        site.machine("beta", "0b", "address = \"192.168.77.11\"")?;
        Ok(site)
    }

    /// A site as it was left by somebody else: what this tar has, `site.toml` among it.
    pub fn unpacked(tar: &Path) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let done = Command::new("tar").arg("-C").arg(home.path()).arg("-xf").arg(tar).status()?;
        if !done.success() {
            bail!("cannot unpack {}", tar.display());
        }
        let text = fs::read_to_string(home.path().join("site.toml"))?;
        Ok(Self { home, text })
    }

    /// The small site with one loader, `ipxe.efi`, that is a line of text.
    pub fn with_loader() -> Result<Self> {
        let mut site = Self::small()?;
        fs::create_dir(site.path().join("loaders"))?;
        fs::write(site.path().join("loaders/ipxe.efi"), "a loader")?;
        site.server("loaders = \"loaders\"");
        Ok(site)
    }

    /// A copy of a site that stands in a directory, with store and state of its own.
    pub fn copied(from: &Path) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let done = Command::new("cp").arg("-dR").arg(from.join(".")).arg(home.path()).status()?;
        ensure!(done.success(), "cannot copy {}", from.display());
        let text = fs::read_to_string(home.path().join("site.toml"))?;
        let mut site = Self { home, text };
        site.server("store = \"store\"\nstate = \"state\"");
        Ok(site)
    }

    /// Adds a line to the site's `[server]`.
    pub fn server(&mut self, line: &str) {
        self.text = self.text.replacen("[server]\n", &format!("[server]\n{line}\n"), 1);
    }

    /// Adds TOML to the site.
    pub fn add(&mut self, text: &str) {
        self.text.push('\n');
        self.text.push_str(text);
    }

    /// Writes a file of a layer: `layers/LAYER/PATH`.
    pub fn file(&self, layer: &str, path: &str, text: &str) -> Result<PathBuf> {
        let path = self.home.path().join("layers").join(layer).join(path);
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        fs::write(&path, text)?;
        Ok(path)
    }

    /// A machine `name` with MAC `52:54:00:00:00:LAST` and a layer of its own with its hostname.
    pub fn machine(&mut self, name: &str, last: &str, more: &str) -> Result<()> {
        self.file(name, "etc/hostname", &format!("{name}\n"))?;
        self.add(&format!(
            "[machine.{name}]\nmac = \"52:54:00:00:00:{last}\"\nprofile = \"debian\"\nlayer = \"layers/{name}\"\n{more}\n"
        ));
        Ok(())
    }

    /// The site file's text so far.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Another text for the site file; written with the next stage or reload.
    pub fn set_text(&mut self, text: &str) {
        text.clone_into(&mut self.text);
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// Writes the site file; `stage` and `reload` do so too.
    pub fn write(&self) -> Result<()> {
        Ok(fs::write(self.home.path().join("site.toml"), &self.text)?)
    }
}

/// The server process; killed when dropped. Its log is shown when the test fails.
pub struct Server {
    /// Its site.
    pub site: SiteFiles,
    /// What the first stage printed.
    pub staged: String,
    binary: PathBuf,
    process: Option<Child>,
    environment: Vec<(String, String)>,
}

impl Server {
    /// A server that does not run yet.
    pub fn new(site: SiteFiles) -> Result<Self> {
        Ok(Self { site, staged: String::new(), binary: binary()?, process: None, environment: Vec::new() })
    }

    /// The program that it runs.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Runs another one from the next start on.
    pub fn set_binary(&mut self, binary: PathBuf) {
        self.binary = binary;
    }

    /// Runs it with these variables in its environment, from the next start on.
    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.environment = environment.iter().map(owned).collect();
    }

    /// Stages everything and serves, in the calling thread's network.
    pub fn start(site: SiteFiles) -> Result<Self> {
        Self::start_with(site, &[])
    }

    /// The same with variables in its environment.
    pub fn start_with(site: SiteFiles, environment: &[(&str, &str)]) -> Result<Self> {
        let mut server = Self::new(site)?;
        server.set_environment(environment);
        server.staged = server.stage()?;
        server.restart()?;
        Ok(server)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.current_dir(self.site.path()).args(words).stdin(Stdio::null());
        command
    }

    /// `oneroot WORDS`, which must succeed; what it printed.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        said(words, &self.command(words).output().context("cannot run oneroot")?)
    }

    /// The same with something to read.
    pub fn tell(&self, words: &[&str], text: &str) -> Result<String> {
        let mut command = self.command(words);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().context("cannot run oneroot")?;
        // Its end is told by closing it.
        child.stdin.take().context("no pipe to oneroot")?.write_all(text.as_bytes())?;
        said(words, &child.wait_with_output()?)
    }

    /// Stages everything that has changed.
    pub fn stage(&self) -> Result<String> {
        self.site.write()?;
        self.run(&["stage"])
    }

    /// Another server with the same site and a copy of this one's store, and with no state: not started yet.
    pub fn twin(&self) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let copied = Command::new("cp")
            .arg("-a")
            .args(["layers", "store"].map(|name| self.site.path().join(name)))
            .arg(home.path())
            .status()?;
        if !copied.success() {
            bail!("cannot copy {}", self.site.path().display());
        }
        let site = SiteFiles { home, text: self.site.text.clone() };
        site.write()?;
        Self::new(site)
    }

    /// Starts the server, and waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        // Of two at once nobody would end the first, and it would answer for the second.
        let runs = self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)));
        ensure!(!runs, "the server runs: end it before it is started again");
        let log = fs::File::options().append(true).create(true).open(self.site.path().join("serve.log"))?;
        self.process = Some(
            self.command(&["-v", "serve"])
                .envs(self.environment.clone())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()?,
        );
        let begun = Instant::now();
        while self.run(&["status", "--json"]).is_err() {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            if ended.is_some() || begun.elapsed() > patient(Duration::from_secs(60)) {
                bail!("the server did not come up; its log:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Kills it as a power cut would: no signal handler runs.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("no server was started")?.id())
    }

    /// Memory that the process has resident, in KiB; fails when it has ended.
    pub fn resident(&mut self) -> Result<u64> {
        self.kibibytes("VmRSS:")
    }

    /// The most memory that it has had resident, in KiB; fails when it has ended.
    pub fn most_resident(&mut self) -> Result<u64> {
        self.kibibytes("VmHWM:")
    }

    fn kibibytes(&mut self, what: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what)).context("no such line")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Descriptors that it has open; fails when it has ended.
    pub fn descriptors(&mut self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.id()?))?.count())
    }

    /// How many it may open from now on: at most what this process may, for it has that from here.
    pub fn limit_descriptors(&mut self, most: u64) -> Result<()> {
        use rustix::process::{Pid, Resource, getrlimit, prlimit};
        let process = Pid::from_raw(i32::try_from(self.id()?)?);
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = Some(limit.maximum.map_or(most, |maximum| maximum.min(most)));
        prlimit(process, Resource::Nofile, limit)?;
        Ok(())
    }

    /// Its process, which must run.
    fn id(&mut self) -> Result<u32> {
        let process = self.process.as_mut().context("no server was started")?;
        match process.try_wait()? {
            None => Ok(process.id()),
            Some(ended) => bail!("the server has ended: {ended}; its log:\n{}", self.log()),
        }
    }

    /// What `oneroot status` says of a machine.
    pub fn machine(&self, name: &str) -> Result<Value> {
        let status: Value = serde_json::from_str(&self.run(&["status", "--json"])?)?;
        let machines =
            status.get("machines").and_then(Value::as_array).context("no machines in the status")?;
        let found = machines.iter().find(|machine| machine.get("name").and_then(Value::as_str) == Some(name));
        found.cloned().with_context(|| format!("no machine {name} in the status"))
    }

    /// Waits until the log has these words: a line waits in a queue before it is written.
    pub fn wait_for_log(&self, words: &str, limit: Duration) -> Result<()> {
        let (begun, limit) = (Instant::now(), patient(limit));
        while !self.log().contains(words) {
            if begun.elapsed() > limit {
                bail!("the log never said {words:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until a machine has come to a step of its boot.
    pub fn wait_for_step(&self, name: &str, step: &str, limit: Duration) -> Result<()> {
        let (begun, limit) = (Instant::now(), patient(limit));
        loop {
            let machine = self.machine(name)?;
            let steps = machine.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
            if steps.iter().any(|seen| seen.get("step").and_then(Value::as_str) == Some(step)) {
                return Ok(());
            }
            if begun.elapsed() > limit {
                bail!("{name} did not come to {step:?} within {limit:?}: {machine:#}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Sends it a signal by name: `HUP`, `TERM`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let process = self.process.as_ref().context("the server does not run")?;
        let sent = Command::new("kill").arg(format!("-{name}")).arg(process.id().to_string()).status()?;
        if sent.success() { Ok(()) } else { bail!("cannot send {name} to the server") }
    }

    /// Writes the site anew, asks the server to read it, and gives what the log says of that.
    pub fn reload(&self) -> Result<String> {
        self.site.write()?;
        let before = self.log().len();
        self.signal("HUP")?;
        let begun = Instant::now();
        loop {
            let log = self.log();
            let new = log.get(before..).unwrap_or_default();
            if new.contains("in force") {
                return Ok(new.to_owned());
            }
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("the server did not reload: {new}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has ended by itself; its exit code.
    pub fn wait(&mut self) -> Result<Option<i32>> {
        let mut process = self.process.take().context("the server does not run")?;
        Ok(process.wait()?.code())
    }

    /// Everything that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.site.path().join("serve.log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- server's log ----\n{}", self.log());
        }
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.kill9();
    }
}

/// What it printed, where it ended well.
fn said(words: &[&str], done: &Output) -> Result<String> {
    if !done.status.success() {
        bail!("oneroot {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// `$ONEROOT_BIN`, else the newest that cargo has built beside this test.
pub fn binary() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("ONEROOT_BIN") {
        return Ok(binary.into());
    }
    let here = std::env::current_exe()?;
    let target = here.ancestors().find(|dir| dir.join("oneroot").is_file());
    target.map(|dir| dir.join("oneroot")).context("no oneroot binary; build it with `cargo build --release`")
}
