//! What wakes the thread up: a datagram on one of its sockets, a bell that tasks ring, or the time.

use std::io;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

/// How many sockets are told of at a time; the others are told of next, for the kernel goes round.
const AT_ONCE: usize = 256;

/// Wakes the thread from elsewhere. However often it is rung before the thread looks, it is heard once.
#[derive(Clone)]
pub struct Bell(Arc<OwnedFd>);

impl Bell {
    /// Rings it.
    pub fn ring(&self) {
        // The counter is full, or it was rung: the thread wakes up in any case.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// All that is waited for.
pub struct Wakeups {
    queue: OwnedFd,
    bell: Bell,
}

/// The number under which the bell is told of.
pub const BELL: u64 = u64::MAX;

impl Wakeups {
    /// Nothing but the bell.
    pub fn new() -> io::Result<Self> {
        let queue = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = Bell(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?));
        epoll::add(&queue, &*bell.0, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
        Ok(Self { queue, bell })
    }

    /// The bell.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Waits for datagrams of this socket too, until it is closed. It is told of under this number as long as it has any, so
    /// that nobody has to ask it whether there are more.
    pub fn add(&self, socket: &UdpSocket, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.queue, socket, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?)
    }

    /// Waits until something has happened, or for so long, and says whose turn it is; the bell is quiet again.
    pub fn wait(&self, longest: Duration, numbers: &mut Vec<u64>) -> io::Result<()> {
        let longest = Timespec::try_from(longest).map_err(io::Error::other)?;
        let mut events = [MaybeUninit::uninit(); AT_ONCE];
        match epoll::wait(&self.queue, &mut events, Some(&longest)) {
            Ok((happened, _)) => numbers.extend(happened.iter().map(|event| event.data.u64())),
            Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
        if numbers.contains(&BELL) {
            let _ = rustix::io::read(&*self.bell.0, &mut [0; 8]);
        }
        Ok(())
    }
}
