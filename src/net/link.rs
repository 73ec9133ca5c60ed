//! Packet sockets (packet(7)): whole frames out, and addresses of interfaces in and out.
//!
//! DHCP answers go out as whole Ethernet frames with checksums of our own: a client without an address can't be asked
//! by ARP, and a UDP socket on a veth or virtio link leaves the checksum to hardware that isn't there; iPXE drops such
//! frames without a word.

use std::io;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Bytes of `struct sockaddr_ll` (packet(7)): family 2, protocol 2, interface 4, type 2, packet 1, length 1, address 8.
const LINK_ADDRESS: usize = 20;
/// Where in it the interface's number begins, and the length of a hardware address, which that follows.
const INDEX_AT: usize = 4;
const LENGTH_AT: usize = 11;
/// `ETH_P_IP`.
pub const IPV4: u16 = 0x0800;

/// Why a socket for packets can't be had.
pub const NO_RAW: &str = "cannot open a raw socket; it needs CAP_NET_RAW";

/// Sends whole Ethernet frames, by any interface, and hears nothing. It belongs to no interface, so it outlives all.
#[derive(Debug)]
pub struct Frames(Socket);

impl Frames {
    /// Needs CAP_NET_RAW here and not again.
    pub fn open() -> Result<Self> {
        // Protocol 0: frames go out, nothing comes in, so no filter is needed.
        let raw = packets(Type::RAW)?;
        raw.set_nonblocking(true)?;
        Ok(Self(raw))
    }

    /// Sends one frame by the interface with this number; a full queue is waited for by nobody, for the client asks again.
    pub fn send(&self, index: u32, frame: &[u8]) -> io::Result<()> {
        self.0.send_to(frame, &link_address(index, IPV4, None)?).map(drop)
    }
}

/// Hears what a filter lets in of one protocol's packets, without their Ethernet headers, on all interfaces: it belongs to none,
/// so it outlives all. What this host sends itself is not heard. Needs CAP_NET_RAW here and not again.
pub fn hearing(protocol: u16, filter: &[SockFilter]) -> Result<Socket> {
    // Protocol 0 hears nothing, so that nothing is in the buffer that the filter has not seen.
    let socket = packets(Type::DGRAM)?;
    socket.attach_filter(filter)?;
    socket.bind(&link_address(0, protocol, None)?)?;
    Ok(socket)
}

fn packets(kind: Type) -> Result<Socket> {
    Socket::new(Domain::PACKET, kind, Some(Protocol::from(0))).context(NO_RAW)
}

/// The address of an interface, 0 for all, by which a packet socket is bound to it or sends from it. `protocol` is as
/// Ethernet writes it: what the socket then hears. `to` is whom a frame goes to.
pub fn link_address(index: u32, protocol: u16, to: Option<[u8; 6]>) -> io::Result<SockAddr> {
    let family = u16::try_from(i32::from(Domain::PACKET)).map_err(io::Error::other)?;
    let index = i32::try_from(index).map_err(io::Error::other)?;
    let mut bytes = [0u8; LINK_ADDRESS];
    let fields = family.to_ne_bytes().into_iter().chain(protocol.to_be_bytes()).chain(index.to_ne_bytes());
    bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    if let Some(mac) = to {
        let address = [6].into_iter().chain(mac);
        bytes.iter_mut().skip(LENGTH_AT).zip(address).for_each(|(to, from)| *to = from);
    }
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is larger than the 20 bytes of sockaddr_ll, zeroed, plain data without padding rules, and we
    // hold the only reference to it; `bytes` can't overlap it. What is in it is a whole sockaddr_ll of that length.
    let address = unsafe {
        std::ptr::copy_nonoverlapping(
            bytes.as_ptr(),
            std::ptr::from_mut(&mut storage).cast::<u8>(),
            bytes.len(),
        );
        SockAddr::new(storage, length)
    };
    Ok(address)
}

/// The bytes of a packet socket's address.
fn bytes_of(address: &SockAddr) -> &[u8] {
    // SAFETY: the pointer is to the address's storage, which lives as long as `address`, is initialised in full, and is
    // at least `len()` bytes long; bytes have no alignment and no invalid values.
    unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), address.len() as usize) }
}

/// The number of the interface by which a packet came.
pub fn index_in(address: &SockAddr) -> Option<u32> {
    bytes_of(address).get(INDEX_AT..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// Receives into initialised bytes, and says from where.
pub fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<(usize, SockAddr)> {
    let length = buffer.len();
    // SAFETY: the same bytes, of a type with the same layout, for as long as `buffer` is borrowed; socket2 promises that
    // what a socket writes there is initialised, so they are when the borrow ends.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast(), length) };
    socket.recv_from(bytes)
}

/// A socket that tasks can wait for. It does not block.
pub fn registered(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    socket.set_nonblocking(true)?;
    // SAFETY: the socket owns its descriptor, and nobody closes or replaces it: it goes with the AsyncFd that owns it.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}
