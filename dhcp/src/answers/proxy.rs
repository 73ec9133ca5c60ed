//! Beside another DHCP server: what to boot, and never an address (PXE 2.1 §2.2).
//!
//! | client | OFFER on port 67 |
//! |---|---|
//! | iPXE | 60, siaddr, file: it boots from that, and makes no round to port 4011 |
//! | UEFI HTTP Boot | 60 = HTTPClient, 67 = URL |
//! | BIOS | 60, 97, 43 = "load the file, ask nobody", siaddr, file |
//! | other PXE firmware, so UEFI | 60, 97, siaddr: it comes to port 4011 of that address |
//! | anything else | silence: Linux takes the first OFFER, and would configure 0.0.0.0 from ours |
//!
//! On port 4011 PXE firmware is told siaddr and file, wherever its address is from.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::answers::options;
use crate::context::{BROADCAST, Context};
use crate::policy::BootFile;
use crate::step::{DropReason, Reply, Route, Step};
use crate::wire::encode::BOOT_FILE;
use crate::wire::encode::{Answer, FILE, Kind};
use crate::wire::message::MessageType;

/// Longest value of an option; a URL that is longer can't be told.
const LONGEST: usize = 255;
/// PXE discovery control, 8: no discovery, no menu, load the file of this offer. Old ROMs want an end mark inside.
const JUST_LOAD: [u8; 4] = [6, 1, 8, 255];

/// Kinds of client, which must be told different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Firmware {
    Ipxe,
    Http,
    Bios,
    Uefi,
}

/// An OFFER without an address.
pub(crate) fn offer(context: &Context<'_>) -> Result<Step, DropReason> {
    if context.request.kind != MessageType::Discover {
        return Err(DropReason::Proxied);
    }
    let client = &context.client;
    let firmware = match client {
        _ if client.ipxe => Firmware::Ipxe,
        _ if client.http => Firmware::Http,
        _ if client.is_bios() => Firmware::Bios,
        _ if client.pxe => Firmware::Uefi,
        _ => return Err(DropReason::Proxied),
    };
    let boot = boot(context)?;
    let relay = context.request.giaddr;
    let route =
        if relay.is_unspecified() { Route::Broadcast } else { Route::Relay(SocketAddrV4::new(relay, 67)) };
    // The other server gives the address later: neither we nor a relay could send to the client alone.
    let flags = context.request.flags | BROADCAST;
    Ok(Step::Reply(reply(context, Kind::Offer, firmware, flags, &boot, route)))
}

/// Port 4011: the ACK that tells PXE firmware what to load. There is no lease in it.
pub(crate) fn boot_server(context: &Context<'_>, from: SocketAddrV4) -> Result<Step, DropReason> {
    let client = &context.client;
    if !(client.pxe || client.ipxe)
        || !matches!(context.request.kind, MessageType::Request | MessageType::Inform)
    {
        return Err(DropReason::NotFirmware);
    }
    let boot = boot(context)?;
    // What firmware says on port 4011 is one thing for all of it: there is no "come to 4011" left to tell.
    let step = reply(context, Kind::Ack, Firmware::Ipxe, context.request.flags, &boot, Route::Back(from));
    Ok(Step::Reply(step))
}

fn boot(context: &Context<'_>) -> Result<BootFile, DropReason> {
    let boot = context.policy.boot(&context.client, context.place.subnet.server);
    boot.filter(|boot| boot.file.len() <= LONGEST).ok_or(DropReason::NothingToBoot)
}

fn reply(
    context: &Context<'_>,
    kind: Kind,
    firmware: Firmware,
    flags: u16,
    boot: &BootFile,
    route: Route,
) -> Reply {
    let request = context.request;
    let class: &[u8] = if firmware == Firmware::Http { b"HTTPClient" } else { b"PXEClient" };
    let mut options = options::head(context, kind);
    options.push(60, class);
    if firmware == Firmware::Bios {
        options.push(43, JUST_LOAD);
    }
    let told = firmware != Firmware::Uefi;
    if told && (firmware == Firmware::Http || boot.file.len() >= FILE || request.wanted.contains(&BOOT_FILE))
    {
        options.push(BOOT_FILE, &boot.file);
    }
    options.push(97, &request.guid);
    options::echo(context, &mut options);
    let answer = Answer {
        request,
        flags,
        ciaddr: if kind == Kind::Ack { request.ciaddr } else { Ipv4Addr::UNSPECIFIED },
        yiaddr: Ipv4Addr::UNSPECIFIED,
        siaddr: boot.server,
        file: if told { &boot.file } else { "" },
        options,
        mtu: context.place.subnet.mtu,
    };
    context.send(&answer, route, None)
}
