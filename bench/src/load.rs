//! The load generator: a fixed number of calls under way on each connection, for a fixed time (a closed loop).
//!
//! One thread and blocking sockets for each connection. Calls are encoded before the clock runs; a round is one write of
//! as many calls as replies have come, and one read. An xid carries the slot whose send time it belongs to.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::cpu;
use crate::rpc::{self, Replies};

/// What is asked, over and over, and by whom.
#[derive(Clone)]
pub struct Work {
    /// The address that calls.
    pub from: Ipv4Addr,
    /// Encoded calls; connections of one client begin at different places in the list.
    pub calls: Arc<Vec<Vec<u8>>>,
}

/// Connections, and calls under way on each.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Connections.
    pub connections: usize,
    /// Calls under way on each; 256 at most.
    pub depth: usize,
}

/// How long.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Before anything is counted.
    pub warm_up: Duration,
    /// While it is counted.
    pub counted: Duration,
}

/// What came out.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Calls answered in a second.
    pub rate: f64,
    /// Half of the calls took no longer than so many microseconds.
    pub p50: f64,
    /// 99 of 100 did.
    pub p99: f64,
    /// The server's CPU microseconds for each call.
    pub server_cpu: f64,
    /// The load generator's.
    pub client_cpu: f64,
    /// Calls counted.
    pub calls: u64,
}

#[derive(Default)]
struct Shared {
    counting: AtomicBool,
    stop: AtomicBool,
}

/// Loads the server whose process is `pid`.
pub fn run(pid: u32, to: SocketAddrV4, work: &[Work], shape: Shape, span: Span) -> Result<Measured> {
    ensure!((1..=256).contains(&shape.depth), "between 1 and 256 calls can be under way");
    let shared = Arc::new(Shared::default());
    let mut threads = Vec::new();
    let mut counters = Vec::new();
    for number in 0..shape.connections {
        let work = work[number % work.len()].clone();
        let stream = rpc::connect(work.from, to)?;
        let (shared, answered) = (shared.clone(), Arc::new(AtomicU64::new(0)));
        counters.push(answered.clone());
        let start = work.calls.len() / shape.connections * number;
        let client = Client { calls: work.calls, next: start, depth: shape.depth, shared, answered };
        threads.push(thread::Builder::new().stack_size(128 * 1024).spawn(move || client.converse(stream))?);
    }
    let answered = || counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum::<u64>();
    thread::sleep(span.warm_up);
    let (begun, calls, server, client) =
        (Instant::now(), answered(), cpu::of(pid)?, cpu::of(std::process::id())?);
    shared.counting.store(true, Ordering::Relaxed);
    thread::sleep(span.counted);
    shared.counting.store(false, Ordering::Relaxed);
    let (took, calls) = (begun.elapsed(), answered() - calls);
    let (server, client) = (cpu::of(pid)? - server, cpu::of(std::process::id())? - client);
    shared.stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for thread in threads {
        latencies.extend(thread.join().map_err(|_| anyhow!("a client panicked"))??);
    }
    ensure!(calls > 0, "not one call was answered");
    latencies.sort_unstable();
    let percentile =
        |part: usize| latencies.get(latencies.len() * part / 100).map_or(0.0, |ns| f64::from(*ns) / 1000.0);
    let each = |nanoseconds: u64| nanoseconds as f64 / 1000.0 / calls as f64;
    Ok(Measured {
        rate: calls as f64 / took.as_secs_f64(),
        p50: percentile(50),
        p99: percentile(99),
        server_cpu: each(server),
        client_cpu: each(client),
        calls,
    })
}

struct Client {
    calls: Arc<Vec<Vec<u8>>>,
    next: usize,
    depth: usize,
    shared: Arc<Shared>,
    answered: Arc<AtomicU64>,
}

impl Client {
    /// Until it is told to stop; the latencies, in nanoseconds.
    fn converse(mut self, mut stream: std::net::TcpStream) -> Result<Vec<u32>> {
        let mut sent = vec![Instant::now(); self.depth];
        let mut free: Vec<usize> = (0..self.depth).collect();
        let (mut out, mut replies, mut latencies) = (Vec::new(), Replies::default(), Vec::new());
        let mut round = rpc::fresh_xid();
        while !self.shared.stop.load(Ordering::Relaxed) {
            out.clear();
            let now = Instant::now();
            for slot in free.drain(..) {
                let call = &self.calls[self.next % self.calls.len()];
                self.next += 1;
                round = round.wrapping_add(1);
                let start = out.len();
                out.extend_from_slice(call);
                rpc::put_xid(&mut out[start..], round << 8 | u32::try_from(slot)?);
                sent[slot] = now;
            }
            stream.write_all(&out)?;
            while free.is_empty() {
                replies.fill(&mut stream)?;
                let now = Instant::now();
                let counting = self.shared.counting.load(Ordering::Relaxed);
                while let Some((reply, _)) = replies.next()? {
                    ensure!(reply.status == 0, "a call failed with status {}", reply.status);
                    let slot = (reply.xid & 0xff) as usize;
                    ensure!(slot < self.depth && !free.contains(&slot), "a reply to no call");
                    if counting {
                        latencies.push(u32::try_from((now - sent[slot]).as_nanos()).unwrap_or(u32::MAX));
                    }
                    free.push(slot);
                }
                self.answered.fetch_add(free.len() as u64, Ordering::Relaxed);
            }
        }
        Ok(latencies)
    }
}
