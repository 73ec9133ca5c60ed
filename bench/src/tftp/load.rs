//! The load generator: many clients (RFC 1350, 2347, 2348, 7440) on one thread, each with a socket and an address of its own.
//!
//! A client does as little as one can: it takes a window, looks at the numbers of its blocks and acknowledges the last. What
//! it was told is checked: the blocks come in their order and have the file's length. After a second of silence it says the
//! last thing again.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use oneroot_testkit::SERVER;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use super::{BLKSIZE, address};

const PATIENCE: Duration = Duration::from_secs(1);
/// Nothing comes any more.
const TRIES: u32 = 20;

/// How many clients, what they ask for, and how many files each fetches, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Clients at a time.
    pub clients: usize,
    /// Blocks of a window.
    pub windowsize: u16,
    /// Files that each fetches.
    pub each: usize,
}

/// What came out.
pub struct Transfers {
    /// How long each took, from its request to its last block.
    pub times: Vec<Duration>,
    /// Packets that a client had to say again.
    pub again: u64,
}

struct Client {
    socket: UdpSocket,
    said: Vec<u8>,
    /// Once the server has answered from the port of the transfer.
    connected: bool,
    begun: Instant,
    heard: Instant,
    tries: u32,
    /// Blocks that are here, and those of them that are not acknowledged.
    blocks: u64,
    unanswered: u16,
    bytes: usize,
    fetched: usize,
}

struct Load<'a> {
    shape: Shape,
    name: &'a str,
    size: usize,
    queue: OwnedFd,
    buffer: Vec<u8>,
    times: Vec<Duration>,
    again: u64,
}

/// All clients begin at once.
pub fn run(shape: Shape, name: &str, size: usize) -> Result<Transfers> {
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut load = Load { shape, name, size, queue, buffer: vec![0; 2048], times: Vec::new(), again: 0 };
    let mut clients = (0..shape.clients).map(|number| load.begin(number, 0)).collect::<Result<Vec<_>>>()?;
    let mut events = Vec::with_capacity(256);
    let mut looked = Instant::now();
    while clients.iter().any(|client| client.fetched < shape.each) {
        let wait = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        epoll::wait(&load.queue, spare_capacity(&mut events), Some(&wait))?;
        for event in events.drain(..) {
            let number = usize::try_from(event.data.u64())?;
            let client = clients.get_mut(number).context("an event of nobody's")?;
            load.turn(client).with_context(|| format!("client {number}"))?;
            if client.bytes == usize::MAX {
                let fetched = client.fetched + 1;
                *client = if fetched < shape.each {
                    load.begin(number, fetched)?
                } else {
                    // The last ACK is on its way; nothing more is heard here.
                    epoll::delete(&load.queue, &client.socket)?;
                    client.fetched = fetched;
                    continue;
                };
            }
        }
        if looked.elapsed() > PATIENCE / 4 {
            looked = Instant::now();
            for client in clients.iter_mut().filter(|client| client.fetched < shape.each) {
                load.impatient(client)?;
            }
        }
    }
    Ok(Transfers { times: load.times, again: load.again })
}

impl Load<'_> {
    /// A new transfer, from a new port.
    fn begin(&self, number: usize, fetched: usize) -> Result<Client> {
        let socket = UdpSocket::bind((address(number), 0))?;
        socket.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.queue, &socket, data, epoll::EventFlags::IN)?;
        let mut said = [&[0, 1][..], self.name.as_bytes(), b"\0octet\0blksize\0"].concat();
        said.extend(format!("{BLKSIZE}\0").bytes());
        if self.shape.windowsize > 1 {
            said.extend(format!("windowsize\0{}\0", self.shape.windowsize).bytes());
        }
        socket.send_to(&said, (SERVER, 69))?;
        let now = Instant::now();
        Ok(Client {
            socket,
            said,
            connected: false,
            begun: now,
            heard: now,
            tries: 0,
            blocks: 0,
            unanswered: 0,
            bytes: 0,
            fetched,
        })
    }

    /// Takes what there is, up to the end of a window.
    fn turn(&mut self, client: &mut Client) -> Result<()> {
        loop {
            let received = client.socket.recv_from(&mut self.buffer);
            let (count, from) = match received {
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                received => received?,
            };
            if self.heard(client, count, from)? {
                return Ok(());
            }
        }
    }

    /// One datagram; whether it was answered.
    fn heard(&mut self, client: &mut Client, count: usize, from: SocketAddr) -> Result<bool> {
        client.heard = Instant::now();
        client.tries = 0;
        if !client.connected {
            client.socket.connect(from)?;
            client.connected = true;
        }
        let datagram = self.buffer.get(..count).unwrap_or_default();
        let Some((&[0, opcode, high, low], data)) = datagram.split_first_chunk() else {
            bail!("a packet of {count} bytes")
        };
        match opcode {
            6 => {
                let words = String::from_utf8_lossy(&datagram[2..]).to_lowercase();
                ensure!(words.contains(&format!("blksize\0{BLKSIZE}\0")), "other blocks: {words:?}");
                let window = format!("windowsize\0{}\0", self.shape.windowsize);
                ensure!(self.shape.windowsize == 1 || words.contains(&window), "another window: {words:?}");
                client.say(0)?;
                Ok(true)
            }
            3 => {
                let number = u16::from_be_bytes([high, low]);
                let [.., expected] = [client.blocks + 1].map(|next| (next & 0xffff) as u16);
                if number != expected {
                    // Doubled, or behind a gap: the window begins anew behind what is here.
                    self.again += 1;
                    return Ok(false);
                }
                client.blocks += 1;
                client.unanswered += 1;
                client.bytes += data.len();
                let is_last = data.len() < usize::from(BLKSIZE);
                if is_last || client.unanswered >= self.shape.windowsize {
                    client.say(number)?;
                }
                if is_last {
                    ensure!(client.bytes == self.size, "{} bytes of {}", client.bytes, self.size);
                    self.times.push(client.begun.elapsed());
                    client.bytes = usize::MAX;
                    return Ok(true);
                }
                Ok(client.unanswered == 0)
            }
            _ => bail!("an answer {datagram:?}"),
        }
    }

    fn impatient(&mut self, client: &mut Client) -> Result<()> {
        if client.heard.elapsed() < PATIENCE {
            return Ok(());
        }
        client.tries += 1;
        ensure!(client.tries <= TRIES, "nothing comes after block {}", client.blocks);
        self.again += 1;
        client.heard = Instant::now();
        if client.connected {
            client.say((client.blocks & 0xffff) as u16)
        } else {
            client.socket.send_to(&client.said, (SERVER, 69))?;
            Ok(())
        }
    }
}

impl Client {
    fn say(&mut self, block: u16) -> Result<()> {
        let [high, low] = block.to_be_bytes();
        self.unanswered = 0;
        self.socket.send(&[0, 4, high, low])?;
        Ok(())
    }
}
