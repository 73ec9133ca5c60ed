//! Many datagrams by one call (sendmmsg(2)), each to whom it is for.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny};

/// Sends these, in their order, and does not wait; how many have left. An error is that of the first.
pub fn send<'d>(socket: impl AsFd, all: impl Iterator<Item = (SocketAddr, &'d [u8])>) -> io::Result<usize> {
    let (peers, slices): (Vec<SocketAddrAny>, Vec<[IoSlice<'d>; 1]>) =
        all.map(|(to, payload)| (SocketAddrAny::from(to), [IoSlice::new(payload)])).unzip();
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
        peers.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: Vec<MMsgHdr<'_>> = peers
        .iter()
        .zip(&slices)
        .zip(&mut controls)
        .map(|((to, slice), control)| MMsgHdr::new_with_addr(to, slice, control))
        .collect();
    Ok(rustix::net::sendmmsg(socket, &mut messages, SendFlags::DONTWAIT)?)
}
