//! Questions to the kernel over rtnetlink, and what it tells by itself (netlink(7), rtnetlink(7)).
//!
//! A question is answered before it has been sent, so asking waits for nobody. No privilege is needed, at the start or later.
//!
//! Framing and headers are the crate's; attributes are taken one by one, each only where it is wanted. The crate's own
//! messages refuse the whole when one attribute has another length than it knows, which a newer kernel is free to send.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{
    NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, sendto, socket_with,
};
use socket2::Socket;

/// The kernel cuts what it says into pieces of at most 32 KiB.
const PIECE: usize = 64 << 10;
/// A message begins at a multiple of this, and so does an attribute.
const ALIGNED: usize = 4;
/// Type and length in front of an attribute's value.
const ATTRIBUTE_HEADER: usize = 4;
/// Groups that the kernel tells by itself.
const LINK: u32 = 0x1;
const IPV4_ADDRESS: u32 = 0x10;
const IPV4_ROUTE: u32 = 0x40;
/// The kernel's own address.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

/// A message of the kernel's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is: `RTM_NEWLINK`, 16, and so on.
    pub kind: u16,
    /// All that follows the message's header, the family's own header first.
    pub payload: Vec<u8>,
}

impl Message {
    /// The value of an attribute, which stand behind a family's header of so many bytes.
    pub fn attribute(&self, header: usize, kind: u16) -> Option<&[u8]> {
        // The iterator ends at an attribute that is cut short; those before it are whole.
        let mut all = NlasIterator::new(self.payload.get(header..)?).map_while(Result::ok);
        let found = all.find(|attribute| attribute.kind() == kind)?;
        let length = usize::from(found.length());
        found.into_inner().get(ATTRIBUTE_HEADER..length)
    }
}

/// One question at a time, each with its answer.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    /// Of the last question. Held from a question to the end of its answer.
    number: Mutex<u32>,
}

impl Netlink {
    /// A socket in the network that this thread is in.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: socket(0)?, number: Mutex::new(0) })
    }

    /// What the kernel answers: nothing, one message or many. `flags` beside `NLM_F_REQUEST`.
    pub fn ask(&self, question: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<Message>> {
        let mut number = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        *number = number.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = *number;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        sendto(&self.socket, &bytes, SendFlags::empty(), &KERNEL)?;
        let mut answer = Vec::new();
        loop {
            for (header, message) in receive(self.socket.as_fd())? {
                // What an earlier question was still owed, when its answer broke off.
                if header.sequence_number != *number {
                    continue;
                }
                let many = header.flags & netlink_packet_core::NLM_F_MULTIPART != 0;
                match message.kind {
                    NLMSG_DONE => return Ok(answer),
                    NLMSG_ERROR => return refused(&message.payload).map(|()| answer),
                    _ => answer.push(message),
                }
                // An answer of one message has no end of its own.
                if !many {
                    return Ok(answer);
                }
            }
        }
    }
}

/// A socket that hears of each change of a link (`RTMGRP_LINK`), of an IPv4 address (`RTMGRP_IPV4_IFADDR`), or of an IPv4 route
/// (`RTMGRP_IPV4_ROUTE`), by which an interface without an address borrows another's.
pub fn news() -> io::Result<Socket> {
    socket(LINK | IPV4_ADDRESS | IPV4_ROUTE).map(Socket::from)
}

fn socket(groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// The messages of one datagram. `WouldBlock` when there is none; `ENOBUFS` when the kernel had more to say than fits.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Vec<(NetlinkHeader, Message)>> {
    let mut piece = vec![0; PIECE];
    let (_, count, from) = recvfrom(socket, &mut *piece, RecvFlags::empty())?;
    // Any process may send to a netlink socket whose number it guesses; the kernel's is 0.
    if from.and_then(|from| SocketAddrNetlink::try_from(from).ok()).is_none_or(|from| from.pid() != 0) {
        return Ok(Vec::new());
    }
    let mut rest = piece.get(..count).ok_or(io::ErrorKind::InvalidData)?;
    let mut messages = Vec::new();
    while let Ok(one) = NetlinkBuffer::new_checked(rest) {
        let length = usize::try_from(one.length()).unwrap_or(usize::MAX);
        let mut header = NetlinkHeader::default();
        header.message_type = one.message_type();
        header.flags = one.flags();
        header.sequence_number = one.sequence_number();
        messages.push((header, Message { kind: one.message_type(), payload: one.payload().to_vec() }));
        rest = rest.get(length.next_multiple_of(ALIGNED)..).unwrap_or_default();
    }
    Ok(messages)
}

/// `struct nlmsgerr` begins with an error number below zero, or zero for an acknowledgement.
fn refused(payload: &[u8]) -> io::Result<()> {
    let number = payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    match number.checked_neg() {
        Some(0) => Ok(()),
        Some(number) => Err(Errno::from_raw_os_error(number).into()),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
