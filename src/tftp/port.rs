//! A transfer's own port (RFC 1350 §4), and how a window leaves it: by one system call where the kernel can cut it up.
//!
//! What arrives is the same either way: UDP_SEGMENT (udp(7)) makes of one piece of memory the datagrams that as many calls
//! would have sent.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use oneroot_tftp::Datagrams;
use socket2::SockRef;

use super::segments;
use crate::net::many;

/// Two of the largest windows, as the kernel counts a datagram of 1.5 KB: one under way, one that is sent again. Where a
/// link takes no more than that, what is dropped would have been dropped by the network.
const BUFFER: usize = 2 * 64 * 2304;

/// One transfer's port.
pub struct Port {
    socket: UdpSocket,
    peer: SocketAddr,
    /// What UDP_SEGMENT is set to; nothing if the kernel or the path to this peer refuses it.
    segment: Option<usize>,
}

impl Port {
    /// A port of the address that was asked.
    pub fn bind(local: IpAddr, peer: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((local, 0))?;
        socket.set_nonblocking(true)?;
        // It works with what the system gives, too.
        let _ = SockRef::from(&socket).set_send_buffer_size(BUFFER);
        Ok(Self { socket, peer, segment: Some(0) })
    }

    /// The socket.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Who is served by it.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends all of them to the peer.
    pub fn send(&mut self, datagrams: &Datagrams) -> io::Result<()> {
        let stride = datagrams.stride();
        if datagrams.count() == 1 {
            // A longer one than the last window's blocks would be cut up like those.
            if self.segment.is_some_and(|segment| segment != 0 && segment < datagrams.bytes().len()) {
                self.set_segment(0)?;
            }
            return self.socket.send_to(datagrams.bytes(), self.peer).map(drop);
        }
        let at_once = (segments::MOST_BYTES / stride).clamp(1, segments::MOST);
        for part in datagrams.bytes().chunks(stride.saturating_mul(at_once)) {
            if self.segment.is_some() {
                match self.send_segmented(part, stride) {
                    Err(cause) if segments::is_refusal(&cause) => {
                        tracing::debug!(peer = %self.peer, %cause, "TFTP blocks are sent one by one");
                        self.refuse();
                    }
                    sent => {
                        sent?;
                        continue;
                    }
                }
            }
            self.send_each(part, stride)?;
        }
        Ok(())
    }

    /// By one call for all.
    fn send_segmented(&mut self, part: &[u8], stride: usize) -> io::Result<()> {
        if self.segment != Some(stride) {
            self.set_segment(stride)?;
        }
        self.socket.send_to(part, self.peer).map(drop)
    }

    /// By one call too, in which each is a message of its own.
    fn send_each(&self, part: &[u8], stride: usize) -> io::Result<()> {
        let mut rest = part;
        while !rest.is_empty() {
            let count = many::send(&self.socket, rest.chunks(stride).map(|bytes| (self.peer, bytes)))?;
            rest = rest.get(count.max(1).saturating_mul(stride)..).unwrap_or_default();
        }
        Ok(())
    }

    fn set_segment(&mut self, length: usize) -> io::Result<()> {
        segments::cut(&self.socket, length)?;
        self.segment = Some(length);
        Ok(())
    }

    /// From now on nothing is left to the kernel to cut up.
    fn refuse(&mut self) {
        // Where the option is not known it is not set either.
        let _ = self.set_segment(0);
        self.segment = None;
    }
}
