//! A kernel, a network and a tree that are made up, with a clock of their own: hours go by at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oneroot_init::boot::{Started, boot};
use oneroot_init::kernel::{Answer, Ended, Errno, Kernel, Kind, Link, Mount, Port, Ran, Result};
use oneroot_init::machine::Over;
use oneroot_initrd::report::Report;

/// A file of the initramfs, of the kernel's or of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    File(Vec<u8>),
    Directory,
    Link(String),
}

pub type Files = BTreeMap<String, Node>;
pub type Event = Box<dyn FnOnce(&mut State) + Send>;
/// What a DHCP server does with a datagram.
pub type Dhcp = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>;

/// A server with NFS at 2049 and HTTP at 80.
#[derive(Debug, Clone)]
pub struct Server {
    pub is_up: bool,
    pub mounts: std::result::Result<(), Errno>,
    pub reports: Vec<Report>,
}

/// How a boot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It became this.
    Init(Vec<String>),
    /// It did not.
    Over(Over),
    /// It still tries when the test has seen enough.
    Tries,
}

#[derive(Default)]
pub struct State {
    pub now: Duration,
    pub console: Vec<String>,
    pub log: Vec<String>,
    /// Initramfs, `/proc`, `/sys` and `/dev`.
    pub files: Files,
    /// What the servers have.
    pub tree: Files,
    pub links: Vec<Link>,
    /// Links that can have a carrier, once they are up.
    pub plugged: BTreeSet<u32>,
    pub loaded: Vec<String>,
    /// With which options, where there were any.
    pub options: BTreeMap<String, String>,
    /// What comes of loading a module, where that is not nothing.
    pub bad_modules: BTreeMap<String, Errno>,
    /// The same of the first time alone.
    pub bad_at_first: BTreeMap<String, Errno>,
    /// What happens when a module is loaded.
    pub on_load: BTreeMap<String, Event>,
    pub mounts: Vec<(String, String, String)>,
    pub bad_mounts: BTreeMap<String, Errno>,
    pub servers: BTreeMap<SocketAddr, Server>,
    pub dhcp: Vec<Dhcp>,
    pub asked: Vec<Vec<u8>>,
    pub addresses: Vec<(u32, Ipv4Addr, u8)>,
    pub routers: Vec<Ipv4Addr>,
    pub mtus: Vec<(u32, u16)>,
    /// What a link carries at most, where that is not everything.
    pub largest_mtu: Option<u16>,
    pub said: Vec<String>,
    pub run: Vec<Vec<String>>,
    /// Programs that are run and come to nothing, by the last of their words.
    pub bad_runs: BTreeMap<String, Errno>,
    /// What programs do that are asked something, by their paths: how long it takes, and what it comes to.
    pub programs: BTreeMap<String, (Duration, Result<Ran>)>,
    /// Those that were asked.
    pub ran: Vec<String>,
    /// Files that may not be run.
    pub lost_modes: BTreeSet<String>,
    /// Directories that can't be read.
    pub bad_lists: BTreeMap<String, Errno>,
    pub started: Vec<Vec<String>>,
    pub environment: Vec<String>,
    pub became: Option<Vec<String>>,
    pub is_entered: bool,
    pub clock: u64,
    /// What its servers' clocks say, in the order of their reports; then they are right.
    pub dates: Vec<u64>,
    pub name: String,
    pub swap: Option<String>,
    /// Servers take no reports.
    pub is_deaf: bool,
    /// What they answer to so many reports, the last first, that they take none of.
    pub busy: Vec<u16>,
    /// What was told of the machine itself, to whom and when.
    pub examined: Vec<(SocketAddr, Duration, String)>,
    /// When those came.
    pub turned_away: Vec<Duration>,
    pub is_without_zram: bool,
    /// What compresses a zram by the kernel's word alone.
    pub bad_compression: Option<String>,
    /// A router that the kernel refuses.
    pub bad_router: Option<Ipv4Addr>,
    /// Whether one is on the link though it has no address there.
    pub on_link: bool,
    /// How often the first server was tried for a root.
    pub rounds: u64,
    /// Reports after which something happens: how many, and what.
    pub on_reports: BTreeMap<usize, Event>,
    pub events: Vec<(Duration, Event)>,
    pub random: u64,
    pub limit: Duration,
}

/// Enough was seen.
struct Enough;

pub struct Fake(Mutex<State>);

impl Fake {
    pub fn new(state: State) -> Self {
        Self(Mutex::new(state))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has something happen at that time.
    pub fn at(&self, seconds: u64, event: impl FnOnce(&mut State) + Send + 'static) {
        self.state().events.push((Duration::from_secs(seconds), Box::new(event)));
    }

    /// Boots it, and looks on for so many seconds of its own.
    pub fn boot(&self, seconds: u64) -> End {
        self.state().limit = Duration::from_secs(seconds);
        let started = Started { arguments: vec!["single".to_owned()], term: None };
        let ended = panic::catch_unwind(AssertUnwindSafe(|| boot(self, &started)));
        match (ended, self.state().became.clone()) {
            (_, Some(init)) => End::Init(init),
            (Ok(over), None) => End::Over(over),
            (Err(payload), None) if payload.is::<Enough>() => End::Tries,
            (Err(payload), None) => panic::resume_unwind(payload),
        }
    }

    /// All that stands on the console.
    pub fn page(&self) -> String {
        self.state().console.join("\n")
    }

    fn pass(&self, time: Duration) {
        let mut state = self.state();
        let end = state.now + time;
        loop {
            let next = state
                .events
                .iter()
                .enumerate()
                .filter(|(_, (at, _))| *at <= end)
                .min_by_key(|(_, (at, _))| *at);
            let Some((place, at)) = next.map(|(place, (at, _))| (place, *at)) else { break };
            let (_, event) = state.events.remove(place);
            state.now = state.now.max(at);
            event(&mut state);
        }
        state.now = end;
        if state.now > state.limit {
            drop(state);
            panic::resume_unwind(Box::new(Enough));
        }
    }
}

impl State {
    /// Whose files a path is about, and the path there.
    fn place(&self, path: &str) -> (bool, String) {
        let kernels = ["/proc", "/sys", "/dev"].iter().any(|own| path.starts_with(own));
        if self.is_entered {
            return (!kernels, path.to_owned());
        }
        let mounted = |at: &str| self.mounts.iter().any(|(_, target, _)| target == at);
        for at in ["/lower", "/new"] {
            if let Some(below) = path.strip_prefix(at).filter(|_| mounted(at)) {
                return (true, if below.is_empty() { "/".to_owned() } else { below.to_owned() });
            }
        }
        (false, path.to_owned())
    }

    fn node(&self, path: &str) -> Option<&Node> {
        let (in_tree, path) = self.place(path);
        if in_tree { self.tree.get(&path) } else { self.files.get(&path) }
    }

    /// Where a path leads.
    fn leads(&self, path: &str) -> String {
        match self.node(path) {
            Some(Node::Link(to)) if to.starts_with('/') => self.leads(to),
            Some(Node::Link(to)) => {
                let mut parts: Vec<&str> = path.split('/').collect();
                parts.pop();
                for part in to.split('/') {
                    if part == ".." {
                        parts.pop();
                    } else {
                        parts.push(part);
                    }
                }
                self.leads(&parts.join("/"))
            }
            _ => path.to_owned(),
        }
    }

    fn put(&mut self, path: &str, node: Node) {
        let (in_tree, path) = self.place(path);
        if in_tree {
            self.tree.insert(path, node)
        } else {
            self.files.insert(path, node)
        };
    }

    pub fn text(&self, path: &str) -> Option<String> {
        match self.node(&self.leads(path))? {
            Node::File(content) => Some(String::from_utf8_lossy(content).into_owned()),
            _ => None,
        }
    }
}

struct FakePort<'k>(&'k Fake, Mutex<Vec<Vec<u8>>>, u32);

impl Port for FakePort<'_> {
    fn send(&self, message: &[u8]) -> Result<()> {
        let mut state = self.0.state();
        if !state.links.iter().any(|link| link.index == self.2 && link.carrier) {
            return Err(Errno::NODEV);
        }
        state.asked.push(message.to_vec());
        let answers = state.dhcp.iter_mut().filter_map(|server| server(message)).collect();
        *self.1.lock().unwrap() = answers;
        Ok(())
    }

    fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        let mut answers = self.1.lock().unwrap();
        if answers.is_empty() {
            drop(answers);
            self.0.pass(within);
            return None;
        }
        Some(answers.remove(0))
    }
}

impl Kernel for Fake {
    fn now(&self) -> Duration {
        self.state().now
    }
    fn sleep(&self, how_long: Duration) {
        self.pass(how_long);
    }
    fn random(&self) -> u64 {
        let mut state = self.state();
        state.random =
            state.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.random >> 16
    }
    fn release(&self) -> String {
        "6.1.0-56".to_owned()
    }
    fn open_console(&self) -> Result<()> {
        Ok(())
    }
    fn print(&self, line: &str) {
        self.state().console.push(line.to_owned());
    }
    fn log(&self, most: usize) -> Vec<String> {
        let log = self.state().log.clone();
        log.iter().rev().take(most).rev().cloned().collect()
    }
    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.state().text(path).map(String::into_bytes).ok_or(Errno::NOENT)
    }
    fn write(&self, path: &str, content: &[u8], _mode: u32) -> Result<()> {
        let mut state = self.state();
        if path.contains("zram") && state.is_without_zram {
            return Err(Errno::NOENT);
        }
        let chosen = state.text("/sys/block/zram0/comp_algorithm");
        if path.ends_with("/disksize") && state.bad_compression.is_some() && chosen == state.bad_compression {
            return Err(Errno::INVAL);
        }
        let path = state.leads(path);
        state.put(&path, Node::File(content.to_vec()));
        Ok(())
    }
    fn list(&self, path: &str) -> Result<Vec<String>> {
        let state = self.state();
        if let Some(errno) = state.bad_lists.get(path) {
            return Err(*errno);
        }
        let (in_tree, path) = state.place(path);
        let files = if in_tree { &state.tree } else { &state.files };
        let below = format!("{}/", path.trim_end_matches('/'));
        let names = files.keys().filter_map(|name| name.strip_prefix(&below)?.split('/').next());
        let names: BTreeSet<String> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Ok(names.into_iter().collect())
    }
    fn kind(&self, path: &str) -> Option<Kind> {
        match self.state().node(path)? {
            Node::File(_) => Some(Kind::File),
            Node::Directory => Some(Kind::Directory),
            Node::Link(_) => Some(Kind::Link),
        }
    }
    fn is_there(&self, path: &str) -> bool {
        let mut state = self.state();
        if let Some((_, word)) = path.split_once("/.oneroot/say/") {
            state.said.push(word.to_owned());
        }
        let path = state.leads(path);
        state.node(&path).is_some()
    }
    fn is_same(&self, one: &str, other: &str) -> bool {
        let state = self.state();
        let (one, other) = (state.leads(one), state.leads(other));
        one == other && state.node(&one).is_some()
    }
    fn read_link(&self, path: &str) -> Result<String> {
        match self.state().node(path) {
            Some(Node::Link(to)) => Ok(to.clone()),
            Some(_) => Err(Errno::INVAL),
            None => Err(Errno::NOENT),
        }
    }
    fn link(&self, to: &str, path: &str) -> Result<()> {
        self.state().put(path, Node::Link(to.to_owned()));
        Ok(())
    }
    fn make_directory(&self, path: &str) -> Result<()> {
        let mut state = self.state();
        for end in path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]) {
            if state.node(&path[..end]).is_none() {
                state.put(&path[..end], Node::Directory);
            }
        }
        Ok(())
    }
    fn remove(&self, path: &str) -> Result<()> {
        let mut state = self.state();
        let (in_tree, path) = state.place(path);
        let gone = if in_tree { state.tree.remove(&path) } else { state.files.remove(&path) };
        gone.map(drop).ok_or(Errno::NOENT)
    }
    fn load(&self, path: &str, options: &str) -> Result<()> {
        let mut state = self.state();
        let name = path.rsplit('/').next().unwrap().trim_end_matches(".ko").to_owned();
        if !options.is_empty() {
            state.options.insert(name.clone(), options.to_owned());
        }
        let at_first = state.bad_at_first.remove(&name);
        if let Some(errno) = at_first.or_else(|| state.bad_modules.get(&name).copied()) {
            return Err(errno);
        }
        if let Some(event) = state.on_load.remove(&name) {
            event(&mut state);
        }
        state.loaded.push(name);
        Ok(())
    }
    fn links(&self) -> Result<Vec<Link>> {
        Ok(self.state().links.clone())
    }
    fn bring_up(&self, link: u32) -> Result<()> {
        let mut state = self.state();
        let plugged = state.plugged.contains(&link);
        let found = state.links.iter_mut().find(|known| known.index == link).ok_or(Errno::NODEV)?;
        found.carrier = plugged || found.made;
        Ok(())
    }
    fn set_mtu(&self, link: u32, mtu: u16) -> Result<()> {
        let mut state = self.state();
        if state.largest_mtu.is_some_and(|largest| mtu > largest) {
            return Err(Errno::INVAL);
        }
        state.mtus.push((link, mtu));
        Ok(())
    }
    fn add_vlan(&self, link: u32, _vlan: u16, name: &str) -> Result<()> {
        let mut state = self.state();
        if !state.loaded.iter().any(|module| module == "8021q") {
            return Err(Errno::OPNOTSUPP);
        }
        let over = state.links.iter().find(|known| known.index == link).cloned().ok_or(Errno::NODEV)?;
        state.links.push(Link { index: 90, name: name.to_owned(), made: true, ..over });
        Ok(())
    }
    fn add_address(&self, link: u32, address: Ipv4Addr, prefix: u8) -> Result<()> {
        self.state().addresses.push((link, address, prefix));
        Ok(())
    }
    fn remove_address(&self, link: u32, address: Ipv4Addr, prefix: u8) -> Result<()> {
        self.state().addresses.retain(|known| *known != (link, address, prefix));
        Ok(())
    }
    fn add_router(&self, _link: u32, router: Ipv4Addr, on_link: bool) -> Result<()> {
        let mut state = self.state();
        if state.bad_router == Some(router) {
            return Err(Errno::NETUNREACH);
        }
        state.routers.push(router);
        state.on_link |= on_link;
        Ok(())
    }
    fn open_port(&self, link: &str) -> Result<Box<dyn Port + '_>> {
        let found = self.state().links.iter().find(|known| known.name == link).map(|known| known.index);
        Ok(Box::new(FakePort(self, Mutex::default(), found.ok_or(Errno::NODEV)?)))
    }
    fn reach(&self, server: SocketAddr, within: Duration) -> Result<()> {
        let at = SocketAddr::new(server.ip(), 80);
        self.state().rounds += u64::from(server.ip().to_string().ends_with(".1"));
        let is_up = self.state().servers.get(&at).is_some_and(|server| server.is_up);
        if !is_up {
            self.pass(within);
            return Err(Errno::TIMEDOUT);
        }
        Ok(())
    }
    fn post(&self, server: SocketAddr, path: &str, text: &str, within: Duration) -> Result<Answer> {
        let what = path.strip_prefix("/b/0202020202020202/").unwrap();
        let mut state = self.state();
        let right = state.now.as_secs() + 1_800_000_000;
        let clock = if state.dates.is_empty() { right } else { state.dates.remove(0) };
        let total: usize = state.servers.values().map(|server| server.reports.len()).sum();
        let deaf = state.is_deaf;
        if deaf || !state.servers.get(&server).is_some_and(|server| server.is_up) {
            drop(state);
            self.pass(within);
            return Err(Errno::TIMEDOUT);
        }
        if let Some(status) = state.busy.pop() {
            let now = state.now;
            state.turned_away.push(now);
            return Ok(Answer { status, date: Some(clock), words: "it says why".to_owned() });
        }
        if what == "examined" {
            let now = state.now;
            state.examined.push((server, now, text.to_owned()));
            return Ok(Answer { status: 204, date: Some(clock), ..Answer::default() });
        }
        assert_eq!(what, "report");
        let found = state.servers.get_mut(&server).unwrap();
        found.reports.push(text.parse().unwrap());
        if let Some(event) = state.on_reports.remove(&(total + 1)) {
            event(&mut state);
        }
        Ok(Answer { status: 204, date: Some(clock), ..Answer::default() })
    }
    fn mount(&self, mount: &Mount<'_>) -> Result<()> {
        let mut state = self.state();
        if let Some(errno) = state.bad_mounts.get(mount.kind) {
            return Err(*errno);
        }
        if mount.kind == "nfs" {
            assert!(
                mount.read_only && mount.options.contains("mountport=2049,mountproto=tcp,proto=tcp,vers=3")
            );
            let address = mount.source.split(':').next().unwrap().parse().unwrap();
            let server = state.servers.get(&SocketAddr::new(address, 80)).filter(|server| server.is_up);
            server.ok_or(Errno::TIMEDOUT)?.mounts?;
        }
        let words = [mount.source, mount.target, mount.kind].map(str::to_owned);
        let [source, target, kind] = words;
        state.mounts.push((source, target, kind));
        Ok(())
    }
    fn carry(&self, from: &str, to: &str) -> Result<()> {
        self.state().mounts.push((from.to_owned(), to.to_owned(), "move".to_owned()));
        Ok(())
    }
    fn enter(&self, new_root: &str) -> Result<()> {
        let mut state = self.state();
        state.bad_mounts.get(new_root).map_or(Ok(()), |errno| Err(*errno))?;
        state.is_entered = true;
        Ok(())
    }
    fn page_size(&self) -> u64 {
        4096
    }
    fn swap_on(&self, device: &str) -> Result<()> {
        self.state().swap = Some(device.to_owned());
        Ok(())
    }
    fn clock(&self) -> u64 {
        self.state().clock
    }
    fn set_clock(&self, seconds: u64) -> Result<()> {
        self.state().clock = seconds;
        Ok(())
    }
    fn set_name(&self, name: &str) -> Result<()> {
        name.clone_into(&mut self.state().name);
        Ok(())
    }
    fn run(
        &self,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        _: Option<Duration>,
    ) -> Result<bool> {
        let mut words = vec![program.to_owned()];
        words.extend(arguments.iter().map(|word| (*word).to_owned()));
        words.extend(
            environment.iter().filter(|(name, _)| *name == "INTERFACE").map(|(_, value)| (*value).to_owned()),
        );
        let mut state = self.state();
        let bad = words.last().and_then(|word| state.bad_runs.get(word).copied());
        state.run.push(words);
        if let Some(errno) = bad {
            return Err(errno);
        }
        let refuses = arguments.first().and_then(|script| state.text(script));
        let is_good = !refuses.is_some_and(|text| text.contains("exit 1"));
        state.node(program).map(|_| is_good).ok_or(Errno::NOENT)
    }
    fn may_run(&self, path: &str) -> Result<Option<bool>> {
        let state = self.state();
        match state.node(&state.leads(path)) {
            Some(Node::File(_)) => Ok(Some(!state.lost_modes.contains(path))),
            Some(_) => Ok(None),
            None => Err(Errno::NOENT),
        }
    }
    fn ask(&self, program: &str, most: usize, within: Duration) -> Result<Ran> {
        let mut state = self.state();
        state.ran.push(program.to_owned());
        let (takes, comes_to) = state.programs.get(program).cloned().unwrap();
        drop(state);
        self.pass(takes.min(within));
        let ran = comes_to?;
        let ended = match ran.ended {
            _ if takes > within => Ended::Late,
            _ if ran.printed.len() > most => Ended::TooMuch,
            ended => ended,
        };
        Ok(Ran { ended, ..ran })
    }
    fn start(&self, program: &str, arguments: &[&str], _: &[(&str, &str)]) -> Result<()> {
        let mut state = self.state();
        state.node(program).ok_or(Errno::NOENT)?;
        let words = [program].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        state.started.push(words);
        Ok(())
    }
    fn become_program(&self, program: &str, arguments: &[String], environment: &[(&str, &str)]) -> Errno {
        let mut state = self.state();
        if let Some(errno) = state.bad_mounts.get("exec") {
            return *errno;
        }
        let words = [program.to_owned()].into_iter().chain(arguments.iter().cloned()).collect();
        state.became = Some(words);
        state.environment = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        drop(state);
        panic::resume_unwind(Box::new(Enough));
    }
    fn restart(&self) {}
}
