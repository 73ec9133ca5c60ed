//! Replies as bytes. Written by hand, for order matters here: what the client must have comes first, what does not fit is
//! left out from the end, and option 82 is the relay's own bytes, last (RFC 3046 §2.2). Options are never spread over
//! `sname` and `file` (option 52): the kernel, klibc and shim would not find them.

use std::net::Ipv4Addr;

use crate::client::Client;
use crate::policy::{BootFile, Subnet};
use crate::wire::Request;

/// BOOTP's length; shorter replies are dropped by some ROMs and relays (RFC 1542 §2.1).
const PADDED: usize = 300;
/// A reply to a client that says nothing of its size: 576 bytes of IP datagram (RFC 2131 §2).
const USUAL: u16 = 576;
/// IP and UDP headers, which option 57 counts.
const HEADERS: u16 = 28;
/// Longest `file` with its NUL.
const FILE: usize = 128;

/// Kinds of reply (RFC 2132 §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Offer = 2,
    Ack = 5,
    Nak = 6,
}

/// What a reply says.
pub(crate) struct Answer<'a> {
    pub(crate) kind: Kind,
    pub(crate) request: &'a Request,
    pub(crate) client: &'a Client,
    pub(crate) subnet: &'a Subnet,
    /// The client's address; none in a NAK and in an answer to INFORM.
    pub(crate) yiaddr: Option<Ipv4Addr>,
    /// Lease time; none where no lease is given.
    pub(crate) lease_secs: Option<u32>,
    pub(crate) hostname: Option<&'a str>,
    pub(crate) boot: Option<&'a BootFile>,
}

impl Answer<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let request = self.request;
        let mut bytes = vec![2, 1, 6, 0];
        bytes.extend(request.xid.to_be_bytes());
        bytes.extend([0, 0]);
        // A NAK through a relay must be broadcast: the client has no address that it could be sent to (RFC 2131 §4.3.2).
        let relayed_nak = self.kind == Kind::Nak && !request.giaddr.is_unspecified();
        bytes.extend((if relayed_nak { request.flags | 0x8000 } else { request.flags }).to_be_bytes());
        let told = self.kind != Kind::Nak;
        bytes.extend(if told { request.ciaddr } else { Ipv4Addr::UNSPECIFIED }.octets());
        bytes.extend(self.yiaddr.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        // shim, GRUB and the kernel's root server look at siaddr and nowhere else.
        let siaddr = self.boot.map_or(self.subnet.server, |boot| boot.server);
        bytes.extend(if told { siaddr } else { Ipv4Addr::UNSPECIFIED }.octets());
        bytes.extend(request.giaddr.octets());
        bytes.extend(request.mac.bytes());
        bytes.resize(108, 0);
        let file = self.boot.map(|boot| boot.file.as_bytes()).filter(|file| told && file.len() < FILE);
        bytes.extend(file.unwrap_or_default());
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99]);
        self.options(&mut bytes);
        bytes
    }

    fn options(&self, bytes: &mut Vec<u8>) {
        let asked = self.request.max_size.unwrap_or(USUAL).clamp(USUAL, self.subnet.mtu.max(USUAL));
        let limit = usize::from(asked - HEADERS);
        let relay = &self.request.relay_info;
        // The relay's own bytes and the end mark have their room before anything else.
        let reserved = 1 + if relay.is_empty() { 0 } else { 2 + relay.len() };
        let room = limit.saturating_sub(reserved);
        for (code, value) in self.wanted() {
            let Ok(length) = u8::try_from(value.len()) else { continue };
            if !value.is_empty() && bytes.len() + 2 + value.len() <= room {
                bytes.extend([code, length]);
                bytes.extend(value);
            }
        }
        if let (Ok(length), false) = (u8::try_from(relay.len()), relay.is_empty()) {
            bytes.extend([82, length]);
            bytes.extend(relay);
        }
        bytes.push(255);
        if bytes.len() < PADDED {
            bytes.resize(PADDED, 0);
        }
    }

    /// Code and value, the most needed first.
    fn wanted(&self) -> Vec<(u8, Vec<u8>)> {
        let (subnet, request) = (self.subnet, self.request);
        let mut options = vec![(53, vec![self.kind as u8]), (54, subnet.server.octets().to_vec())];
        if self.kind == Kind::Nak {
            options.push((61, request.client_id.clone()));
            return options;
        }
        if let Some(seconds) = self.lease_secs {
            options.push((51, seconds.to_be_bytes().to_vec()));
            options.push((58, (seconds / 2).to_be_bytes().to_vec()));
            options.push((59, (seconds - seconds / 8).to_be_bytes().to_vec()));
        }
        options.push((1, subnet.network.mask().octets().to_vec()));
        options.push((3, subnet.router.map(|router| router.octets().to_vec()).unwrap_or_default()));
        if self.client.ipxe {
            // "no-pxedhcp": else iPXE waits two seconds and more for a proxy DHCP server (reference E3).
            options.push((175, vec![176, 1, 1]));
        }
        if self.client.http {
            // UEFI HTTP Boot throws away an offer that does not say this. PXE firmware must not be told its own class
            // back: it would go looking for a boot server on port 4011 and never start (reference E4).
            options.push((60, b"HTTPClient".to_vec()));
        }
        options.push((6, subnet.dns.iter().flat_map(Ipv4Addr::octets).collect()));
        options.push((12, self.hostname.map(|name| name.as_bytes().to_vec()).unwrap_or_default()));
        options
            .push((15, subnet.domain.as_ref().map(|domain| domain.as_bytes().to_vec()).unwrap_or_default()));
        options.push((28, subnet.network.broadcast().octets().to_vec()));
        options.push((61, request.client_id.clone()));
        if self.client.boots() {
            options.push((97, request.guid.clone()));
        }
        if let Some(boot) = self.boot {
            let asked = |code| request.wanted.contains(&code);
            if asked(66) {
                options.push((66, boot.server.to_string().into_bytes()));
            }
            // Last, for old firmware writes a NUL behind it. HTTP Boot needs the URL here; others find it in `file`.
            if self.client.http || asked(67) || boot.file.len() >= FILE {
                options.push((67, boot.file.as_bytes().to_vec()));
            }
        }
        options
    }
}
