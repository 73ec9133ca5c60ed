//! Which options a server's reply has, the most needed first: what does not fit is left out from the end.

use std::net::Ipv4Addr;

use crate::context::{Assigned, Context};
use crate::policy::BootFile;
use crate::wire::encode::{BOOT_FILE, FILE, Kind, Options};
use crate::wire::message::MessageType;

/// The link's MTU (RFC 2132 §5.1).
const MTU: u8 = 26;
/// What each Ethernet carries: firmware that loads some MiB gains nothing by more, and some of it restarts its link for that.
const ETHERNET_MTU: u16 = 1500;

/// What every reply begins with (RFC 2131 table 3).
pub(crate) fn head(context: &Context<'_>, kind: Kind) -> Options {
    let mut options = Options::with_room();
    options.push(53, [kind as u8]);
    options.push(54, context.server_id().octets());
    options
}

/// The client-id comes back (RFC 6842), and so does the choice of a network: it says that the choice was understood
/// (RFC 3011 §2).
pub(crate) fn echo(context: &Context<'_>, options: &mut Options) {
    options.addresses(118, &context.request.subnet_selection);
    options.push(61, &context.request.client_id);
}

pub(crate) fn nak(context: &Context<'_>) -> Options {
    let mut options = head(context, Kind::Nak);
    echo(context, &mut options);
    options
}

/// An OFFER's or an ACK's; no lease time where no address is given.
pub(crate) fn full(
    context: &Context<'_>,
    boot: Option<&BootFile>,
    given: Option<Assigned>,
    router: Option<Ipv4Addr>,
) -> Options {
    let (subnet, request, client) = (&context.place.subnet, context.request, &context.client);
    let kind = if request.kind == MessageType::Discover { Kind::Offer } else { Kind::Ack };
    let mut options = head(context, kind);
    if let Some(Assigned { secs: seconds, .. }) = given {
        options.push(51, seconds.to_be_bytes());
        options.push(58, (seconds / 2).to_be_bytes());
        options.push(59, (seconds - seconds / 8).to_be_bytes());
    }
    options.push(1, subnet.network.mask().octets());
    options.addresses(3, &router);
    if client.ipxe {
        // "no-pxedhcp": else iPXE waits two seconds and more for a proxy DHCP server.
        options.push(175, [176, 1, 1]);
    }
    let wants = |code| request.wanted.contains(&code);
    if let Some(boot) = boot {
        if client.http {
            // UEFI HTTP Boot throws away an offer that does not say this. PXE firmware must not be told its own class
            // back: it would go looking for a boot server on port 4011 and never start.
            options.push(60, b"HTTPClient");
        }
        // HTTP Boot needs the URL here; others find it in `file`, where it fits.
        if client.http || wants(BOOT_FILE) || boot.file.len() >= FILE {
            options.push(BOOT_FILE, &boot.file);
        }
    }
    if let Some(mtu) = Some(client.mac).filter(|_| wants(MTU)).and_then(|mac| context.policy.mtu(mac)) {
        let mtu = if client.boots() { mtu.min(ETHERNET_MTU) } else { mtu };
        options.push(MTU, mtu.to_be_bytes());
    }
    let hostname = context.machine.as_ref().and_then(|machine| machine.hostname.as_deref());
    options.addresses(6, &subnet.dns);
    options.push(12, hostname.unwrap_or_default());
    options.push(15, subnet.domain.as_deref().unwrap_or_default());
    options.addresses(42, &subnet.ntp);
    options.push(28, subnet.network.broadcast().octets());
    echo(context, &mut options);
    if client.boots() {
        options.push(97, &request.guid);
    }
    if let Some(boot) = boot.filter(|_| wants(66)) {
        options.push(66, boot.server.to_string());
    }
    options
}
