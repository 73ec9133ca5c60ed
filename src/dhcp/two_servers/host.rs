//! Two servers, the host that they run on, and how a client says something: all of it the scheduler's to turn.

use super::*;

/// A host whose time is the scheduler's.
pub(super) struct Clock {
    pub(super) now: AtomicU64,
    pub(super) random: AtomicU64,
}

impl Host for Clock {
    fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    fn shown(&self, time: u64) -> u64 {
        time
    }

    fn sure_since(&self) -> u64 {
        0
    }

    fn shown_ms(&self) -> u64 {
        self.now() * 1000
    }

    fn coarse(&self) -> u64 {
        self.now()
    }

    /// Nothing here waits for that: whatever is asked is answered before the scheduler has time pass.
    fn after(&self, _: u64) -> oneroot_machines::Passing {
        Box::pin(std::future::pending())
    }

    fn fill_random(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        let next = self.random.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        bytes.iter_mut().zip(next.iter().cycle()).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }

    pub(super) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// Not in a row: those of neighbours have addresses of their own to begin with.
pub(super) fn mac(number: u8) -> Mac {
    Mac::new([0x52, 0x54, 0, number * number, number * 29, 10 + number]).unwrap()
}

pub(super) fn site(home: &Path) -> Arc<Site> {
    std::fs::create_dir_all(home.join("root/boot")).unwrap();
    std::fs::write(home.join("root/boot/vmlinuz-1"), "kernel").unwrap();
    std::fs::write(home.join("root/boot/initrd.img-1"), "initrd").unwrap();
    let text = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
        [[network]]\nsubnet = \"10.0.0.0/24\"\npool = \"10.0.0.10-10.0.0.17\"\nlease = \"10m\"\n\
        [unknown]\nprofile = \"a\"\n[profile.a]\nsource = { directory = \"root\" }\n\
        [machine.alpha]\nmac = [\"ALPHA\", \"SECOND\"]\nprofile = \"a\"\n\
        [machine.beta]\nmac = \"BETA\"\nprofile = \"a\"\n";
    let named = [("ALPHA", 0), ("SECOND", 1), ("BETA", 2)];
    let text =
        named.iter().fold(text.to_owned(), |text, (name, at)| text.replace(name, &mac(*at).to_string()));
    let site = load_str("site.toml", &text, home).unwrap();
    let store = Store::open(&site.server.store).unwrap();
    let mut stage = Stage::begin(&store, |_| {}).unwrap();
    stage.directory(&home.join("root")).unwrap();
    let generation = stage.finish().unwrap().generation;
    let name = Ref::new(RefKind::Profile, "a").unwrap();
    store.stage_head(&name, Staged { generation, at: BEGIN, how: How::Staged }).unwrap();
    Arc::new(site)
}

pub(super) async fn server(site: &Arc<Site>, state: &Arc<State>, clock: &Arc<Clock>) -> Server {
    let store = Store::open(&site.server.store).unwrap();
    let guest = guest::stage(&store, BEGIN).unwrap();
    let planner = Planner::new(store, guest, Arc::new(Here));
    let opened = Machines::open(site.clone(), state.clone(), clock.clone(), planner, HandleKeys::of([7; 32]));
    let machines = opened.await.unwrap();
    let leasing = Leasing::open(machines.clone()).await.unwrap();
    let watches = [state.watch("").await.unwrap(), state.watch("").await.unwrap()];
    Server { machines, leasing, watches, asked: Vec::new(), answered: VecDeque::new() }
}

/// The next event, if it is there.
pub(super) fn ready(watch: &mut Watch) -> Option<Event> {
    // Whatever a test's task may do at a stretch, what is there is told.
    let next = pin!(tokio::task::unconstrained(watch.next()));
    match next.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(event) => event.ok(),
        Poll::Pending => None,
    }
}

/// A message of a client (RFC 2131 §2), with these options.
pub(super) fn packet(mac: Mac, xid: u8, ciaddr: Option<Ipv4Addr>, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&[1, 2, 3, xid]);
    bytes[12..16].copy_from_slice(&ciaddr.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    bytes[28..34].copy_from_slice(&mac.bytes());
    bytes.extend([99, 130, 83, 99]);
    for (code, value) in options {
        bytes.extend([*code, u8::try_from(value.len()).unwrap()]);
        bytes.extend(*value);
    }
    bytes.push(255);
    bytes.resize(bytes.len().max(300), 0);
    bytes
}

pub(super) fn option(reply: &Reply, code: u8) -> Option<&[u8]> {
    let mut rest = reply.payload.get(240..)?;
    loop {
        match *rest.first()? {
            0 => rest = &rest[1..],
            255 => return None,
            found => {
                let (value, after) = rest.get(2..)?.split_at_checked(usize::from(*rest.get(1)?))?;
                if found == code {
                    return Some(value);
                }
                rest = after;
            }
        }
    }
}
