//! A network interface: its name, number and hardware address, and a raw socket to send frames from it.
//!
//! DHCP answers go out as whole Ethernet frames with checksums of our own: a client without an address can't be asked
//! by ARP, and a UDP socket on a veth or virtio link leaves the checksum to hardware that isn't there; iPXE drops such
//! frames without a word (reference E7).

use std::fs;
use std::io;

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

/// An Ethernet interface of this host.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its name, `eth0`.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Largest IP datagram that goes out in one frame.
    pub mtu: u16,
}

impl Interface {
    /// Reads an interface's facts from `/sys/class/net`.
    pub fn find(name: &str) -> Result<Self> {
        if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
            bail!("{name:?} can't be an interface's name");
        }
        let fact = |fact: &str| -> Result<String> {
            let path = format!("/sys/class/net/{name}/{fact}");
            let text =
                fs::read_to_string(path).with_context(|| format!("no interface {name}; see `ip link`"))?;
            Ok(text.trim().to_owned())
        };
        let address = fact("address")?;
        let bytes: Vec<u8> =
            address.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
        let mac =
            bytes.try_into().map_err(|_| anyhow::anyhow!("{name} is no Ethernet interface: {address}"))?;
        Ok(Self { name: name.to_owned(), index: fact("ifindex")?.parse()?, mac, mtu: fact("mtu")?.parse()? })
    }

    /// A socket that sends whole frames from this interface and receives none.
    pub fn raw(&self) -> Result<Socket> {
        // Protocol 0: frames go out, nothing comes in, so no filter is needed.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))
            .context("cannot open a raw socket; it needs CAP_NET_RAW")?;
        socket.set_nonblocking(true)?;
        socket
            .bind(&self.link_address()?)
            .with_context(|| format!("cannot bind a raw socket to {}", self.name))?;
        Ok(socket)
    }

    /// `struct sockaddr_ll` (packet(7)) with the interface's number and no protocol.
    fn link_address(&self) -> Result<SockAddr> {
        let family = u16::try_from(i32::from(Domain::PACKET))?;
        let mut bytes = [0u8; 20];
        let index = i32::try_from(self.index)?.to_ne_bytes();
        let fields = family.to_ne_bytes().into_iter().chain([0, 0]).chain(index);
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: the storage is larger than the 20 bytes of sockaddr_ll, zeroed, plain data without padding rules, and
        // we hold the only reference to it; `bytes` can't overlap it.
        let address = unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                std::ptr::from_mut(&mut storage).cast::<u8>(),
                bytes.len(),
            );
            SockAddr::new(storage, u32::try_from(bytes.len())?)
        };
        Ok(address)
    }
}

/// Sends one frame; a full queue is waited for by nobody, for the client asks again.
pub fn send_frame(socket: &Socket, frame: &[u8]) -> io::Result<()> {
    socket.send(frame).map(drop)
}
