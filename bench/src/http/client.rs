//! The load: so many clients at once, each on one connection and from an address of its own, which fetch files one after the
//! other. Contents are thrown away by the kernel (tcp(7), MSG_TRUNC), so that the client's share of the processor is small.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{RecvFlags, recv};
use rustix::time::Timespec;

use crate::{cpu, peers, rpc};

/// Threads of the load.
const THREADS: usize = 2;
/// Bytes taken at a time.
const TAKEN: usize = 1 << 20;
/// Nobody waits longer for a byte.
const SILENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Where to, and what each client asks for in turn.
pub struct Load {
    /// The server.
    pub to: SocketAddrV4,
    /// The paths of each client.
    pub paths: Vec<Vec<String>>,
}

/// What came out.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Megabytes (10^6) that were taken.
    pub megabytes: f64,
    /// How long it took.
    pub took: Duration,
    /// The server's microseconds of processor for each of them.
    pub server_cpu: f64,
    /// The load's.
    pub client_cpu: f64,
    /// Half of the files (of the clients, where each fetches its files once) took no longer, in milliseconds.
    pub p50: f64,
    /// 99 of 100 did.
    pub p99: f64,
}

/// For how long.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// Everybody has fetched all of his files once.
    Once,
    /// That time is over; files are fetched again and again.
    Over(Duration),
}

#[derive(Default)]
struct Shared {
    taken: AtomicU64,
    stop: AtomicBool,
}

/// Loads the server whose processes these are.
pub fn run(processes: &[u32], load: &Load, until: Until) -> Result<Measured> {
    let again = matches!(until, Until::Over(_));
    let shared = Arc::new(Shared::default());
    let mut parts: Vec<Vec<Fetch>> = (0..THREADS).map(|_| Vec::new()).collect();
    for (number, paths) in load.paths.iter().enumerate() {
        let requests =
            paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes());
        let socket = rpc::connect(peers::client(number), load.to)?.into();
        parts[number % THREADS].push(Fetch::new(socket, requests.collect(), again));
    }
    let look = || Look::at(processes, &shared);
    let mut begun = look()?;
    let threads: Vec<_> = parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| (shared.clone(), part))
        .map(|(shared, part)| thread::spawn(move || fetch(part, &shared)))
        .collect();
    let mut ended = None;
    if let Until::Over(time) = until {
        thread::sleep(time / 4);
        begun = look()?;
        thread::sleep(time);
        ended = Some(look()?);
        shared.stop.store(true, Ordering::Relaxed);
    }
    let mut times = Vec::new();
    for thread in threads {
        times.extend(thread.join().map_err(|_| anyhow!("a client panicked"))??);
    }
    let ended = match ended {
        Some(ended) => ended,
        None => look()?,
    };
    ensure!(!times.is_empty(), "not one file was fetched whole");
    times.sort_unstable();
    Ok(Measured::between(&begun, &ended, &times))
}

/// What has been taken and spent so far.
struct Look {
    time: Instant,
    taken: u64,
    server: u64,
    client: u64,
}

impl Look {
    fn at(processes: &[u32], shared: &Shared) -> Result<Self> {
        let server = processes.iter().map(|pid| cpu::of(*pid)).sum::<Result<u64>>()?;
        let (taken, client) = (shared.taken.load(Ordering::Relaxed), cpu::of(std::process::id())?);
        Ok(Self { time: Instant::now(), taken, server, client })
    }
}

impl Measured {
    fn between(begun: &Look, ended: &Look, times: &[Duration]) -> Self {
        let percentile =
            |part: usize| times.get(times.len() * part / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        let megabytes = (ended.taken - begun.taken) as f64 / 1e6;
        let each = |from: u64, to: u64| (to - from) as f64 / 1e3 / megabytes;
        Self {
            megabytes,
            took: ended.time - begun.time,
            server_cpu: each(begun.server, ended.server),
            client_cpu: each(begun.client, ended.client),
            p50: percentile(50),
            p99: percentile(99),
        }
    }
}

/// One client.
struct Fetch {
    socket: OwnedFd,
    requests: Vec<Vec<u8>>,
    again: bool,
    next: usize,
    head: Vec<u8>,
    /// Of the file that is being fetched; none while its head is read.
    left: Option<u64>,
    begun: Instant,
}

impl Fetch {
    fn new(socket: OwnedFd, requests: Vec<Vec<u8>>, again: bool) -> Self {
        Self { socket, requests, again, next: 0, head: Vec::new(), left: None, begun: Instant::now() }
    }

    fn ask(&mut self) -> Result<()> {
        let request = &self.requests[self.next % self.requests.len()];
        self.next += 1;
        let sent = rustix::net::send(&self.socket, request, rustix::net::SendFlags::NOSIGNAL)?;
        ensure!(sent == request.len(), "a request did not fit into the socket");
        Ok(())
    }

    /// Takes what is there: how many bytes of files, and whether a file has ended with them.
    fn take(&mut self, scratch: &mut [u8]) -> Result<(u64, bool)> {
        let taken = match self.left {
            Some(left) => {
                let most = TAKEN.min(usize::try_from(left)?);
                recv(&self.socket, &mut scratch[..most], RecvFlags::TRUNC)?.1
            }
            None => recv(&self.socket, &mut scratch[..4096], RecvFlags::empty())?.1,
        };
        ensure!(taken > 0, "the server has closed a connection after {} requests", self.next);
        let mut contents = taken as u64;
        if self.left.is_none() {
            self.head.extend_from_slice(&scratch[..taken]);
            let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
                return Ok((0, false));
            };
            let head = String::from_utf8_lossy(&self.head[..end]).into_owned();
            ensure!(head.starts_with("HTTP/1.1 200 "), "the server says {head}");
            let length =
                head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).context("no length")?;
            self.left = Some(length.parse()?);
            contents = (self.head.len() - end - 4) as u64;
            self.head.clear();
        }
        let left = self.left.unwrap_or(0).checked_sub(contents).context("more than the file")?;
        self.left = (left > 0).then_some(left);
        Ok((contents, left == 0))
    }
}

/// Lets these clients fetch; how long each file took, or each client.
fn fetch(mut clients: Vec<Fetch>, shared: &Shared) -> Result<Vec<Duration>> {
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    for (number, client) in clients.iter_mut().enumerate() {
        epoll::add(&poll, &client.socket, EventData::new_u64(number as u64), EventFlags::IN)?;
        client.begun = Instant::now();
        client.ask()?;
    }
    let (mut scratch, mut times, mut done) = (vec![0; TAKEN], Vec::new(), 0);
    let mut events = vec![Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 256];
    while done < clients.len() && !shared.stop.load(Ordering::Relaxed) {
        let count = epoll::wait(&poll, &mut events[..], Some(&SILENCE))?;
        if count == 0 {
            bail!("nobody has got a byte for a minute");
        }
        for event in &events[..count] {
            let client = &mut clients[event.data.u64() as usize];
            let (taken, is_whole) = client.take(&mut scratch)?;
            shared.taken.fetch_add(taken, Ordering::Relaxed);
            if !is_whole {
                continue;
            }
            if client.again || client.next == client.requests.len() {
                times.push(client.begun.elapsed());
            }
            if client.again || client.next < client.requests.len() {
                if client.again {
                    client.begun = Instant::now();
                }
                client.ask()?;
            } else {
                epoll::delete(&poll, &client.socket)?;
                done += 1;
            }
        }
    }
    Ok(times)
}
