//! The two hosts: one that floods, and one whose machines ask for their addresses and are timed.

use std::fmt;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use oneroot_testkit::{Lab, ip};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The relays' addresses. Nobody looks at what the flood is answered.
const MACHINES: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
const FLOOD: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 3);
/// Time after which a message counts as unanswered. Nothing is asked twice.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two machines.
const PAUSE: Duration = Duration::from_millis(15);

/// DISCOVER messages, so many in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// Each of another MAC.
    MadeUp(u32),
    /// All of the MAC of the machine that is measured.
    Own(u32),
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MadeUp(0) => write!(f, "none"),
            Self::MadeUp(rate) => write!(f, "{rate}/s of made-up MACs"),
            Self::Own(rate) => write!(f, "{rate}/s with its own MAC"),
        }
    }
}

/// What the machines have seen.
#[derive(Debug, Default)]
pub struct Measured {
    /// Times from DISCOVER to ACK that were begun, and that came to their end.
    pub asked: u64,
    pub answered: u64,
    /// Microseconds of each that was answered, in order.
    pub times: Vec<u64>,
}

/// The value that so many percent are not above.
pub fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1).min(last)).copied()
}

/// A machine of the site.
pub fn machine(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x52, 0x54, a, b, c, d]
}

/// A MAC that the site does not know.
pub fn stranger(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [2, 0xff, a, b, c, d]
}

/// Machines from this number on ask for their addresses, one after the other, while the flood goes on; and how many
/// messages it had.
pub fn measure(lab: &Lab, flood: Flood, first: u32, time: Duration) -> Result<(Measured, u64)> {
    let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let measured = std::thread::scope(|scope| -> Result<Measured> {
        let (done, sent) = (&done, &sent);
        lab.plug("lab0", move |nic| -> Result<()> {
            ip(&format!("addr add {FLOOD}/15 dev {nic}"))?;
            let socket = UdpSocket::bind((FLOOD, 67))?;
            scope.spawn(move || pour(&socket, flood, first, done, sent));
            Ok(())
        })??;
        let measured = lab.on_host(&format!("{MACHINES}/15"), || ask(flood, first, time));
        done.store(true, Ordering::Relaxed);
        measured?
    })?;
    Ok((measured, sent.load(Ordering::Relaxed)))
}

/// Sends at an even rate, a handful at a time, until it is told to stop.
fn pour(socket: &UdpSocket, flood: Flood, first: u32, done: &AtomicBool, sent: &AtomicU64) {
    let rate = match flood {
        Flood::MadeUp(rate) | Flood::Own(rate) => u64::from(rate),
    };
    let begun = Instant::now();
    while !done.load(Ordering::Relaxed) {
        let due =
            u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_mul(rate) / 1_000_000;
        for number in sent.load(Ordering::Relaxed)..due {
            let number = u32::try_from(number).unwrap_or(0);
            let mac = match flood {
                Flood::MadeUp(_) => stranger(1 << 24 | number),
                Flood::Own(_) => machine(first),
            };
            let _ = socket.send_to(&message(number, 1, mac, FLOOD, &[]), (SERVER, 67));
            sent.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn ask(flood: Flood, first: u32, time: Duration) -> Result<Measured> {
    let socket = UdpSocket::bind((MACHINES, 67))?;
    // The flood has to be there first.
    std::thread::sleep(Duration::from_secs(1));
    let (mut measured, begun) = (Measured::default(), Instant::now());
    for number in 0.. {
        if begun.elapsed() >= time {
            break;
        }
        let mac = machine(if matches!(flood, Flood::Own(_)) { first } else { first + number });
        measured.asked += 1;
        let from = Instant::now();
        if dora(&socket, number, mac)? {
            measured.answered += 1;
            measured.times.push(u64::try_from(from.elapsed().as_micros())?);
        }
        std::thread::sleep(PAUSE);
    }
    measured.times.sort_unstable();
    Ok(measured)
}

/// DISCOVER, OFFER, REQUEST, ACK; nothing is said twice.
fn dora(socket: &UdpSocket, number: u32, mac: [u8; 6]) -> Result<bool> {
    let Some(offer) = exchange(socket, message(number << 1, 1, mac, MACHINES, &[]))? else {
        return Ok(false);
    };
    let mut address = [0; 4];
    address.copy_from_slice(&offer[16..20]);
    let options = [(50, address.into()), (54, SERVER)];
    let ack = exchange(socket, message(number << 1 | 1, 3, mac, MACHINES, &options))?;
    Ok(ack.is_some_and(|ack| ack[242] == 5))
}

fn exchange(socket: &UdpSocket, message: Vec<u8>) -> Result<Option<Vec<u8>>> {
    socket.send_to(&message, (SERVER, 67))?;
    let begun = Instant::now();
    let mut reply = vec![0; 1500];
    while let Some(left) = PATIENCE.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        socket.set_read_timeout(Some(left))?;
        let Ok(count) = socket.recv(&mut reply) else { continue };
        if count > 243 && reply[4..8] == message[4..8] {
            return Ok(Some(reply));
        }
    }
    Ok(None)
}

/// A client's message that comes by a relay.
pub fn message(xid: u32, kind: u8, mac: [u8; 6], relay: Ipv4Addr, options: &[(u8, Ipv4Addr)]) -> Vec<u8> {
    let mut packet = vec![1, 1, 6, 0];
    packet.extend(xid.to_be_bytes());
    packet.resize(24, 0);
    packet.extend(relay.octets());
    packet.extend(mac);
    packet.resize(236, 0);
    packet.extend([99, 130, 83, 99, 53, 1, kind]);
    for (code, address) in options {
        packet.extend([*code, 4]);
        packet.extend(address.octets());
    }
    packet.push(255);
    packet
}
