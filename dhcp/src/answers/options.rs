//! Which options a server's reply has, the most needed first: what does not fit is left out from the end.

use std::net::Ipv4Addr;

use crate::context::{Assigned, Context};
use crate::policy::BootFile;
use crate::wire::encode::{BOOT_FILE, FILE, Kind, Options};
use crate::wire::message::MessageType;

/// What every reply begins with (RFC 2131 table 3).
pub(crate) fn head(context: &Context<'_>, kind: Kind) -> Options {
    vec![(53, vec![kind as u8]), (54, context.server_id().octets().to_vec())]
}

/// The client-id comes back (RFC 6842), and so does the choice of a network: it says that the choice was understood
/// (RFC 3011 §2).
pub(crate) fn echoes(context: &Context<'_>) -> Options {
    let request = context.request;
    let chosen = request.subnet_selection.map(|network| network.octets().to_vec());
    vec![(118, chosen.unwrap_or_default()), (61, request.client_id.clone())]
}

pub(crate) fn nak(context: &Context<'_>) -> Options {
    let mut options = head(context, Kind::Nak);
    options.extend(echoes(context));
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
        options.push((51, seconds.to_be_bytes().to_vec()));
        options.push((58, (seconds / 2).to_be_bytes().to_vec()));
        options.push((59, (seconds - seconds / 8).to_be_bytes().to_vec()));
    }
    options.push((1, subnet.network.mask().octets().to_vec()));
    options.push((3, router.map(|router| router.octets().to_vec()).unwrap_or_default()));
    if client.ipxe {
        // "no-pxedhcp": else iPXE waits two seconds and more for a proxy DHCP server.
        options.push((175, vec![176, 1, 1]));
    }
    let wants = |code| request.wanted.contains(&code);
    if let Some(boot) = boot {
        if client.http {
            // UEFI HTTP Boot throws away an offer that does not say this. PXE firmware must not be told its own class
            // back: it would go looking for a boot server on port 4011 and never start.
            options.push((60, b"HTTPClient".to_vec()));
        }
        // HTTP Boot needs the URL here; others find it in `file`, where it fits.
        if client.http || wants(BOOT_FILE) || boot.file.len() >= FILE {
            options.push((BOOT_FILE, boot.file.as_bytes().to_vec()));
        }
    }
    let hostname = context.machine.as_ref().and_then(|machine| machine.hostname.as_deref());
    options.push((6, subnet.dns.iter().flat_map(Ipv4Addr::octets).collect()));
    options.push((12, hostname.unwrap_or_default().as_bytes().to_vec()));
    options.push((15, subnet.domain.as_deref().unwrap_or_default().as_bytes().to_vec()));
    options.push((42, subnet.ntp.iter().flat_map(Ipv4Addr::octets).collect()));
    options.push((28, subnet.network.broadcast().octets().to_vec()));
    options.extend(echoes(context));
    if client.boots() {
        options.push((97, request.guid.clone()));
    }
    if let Some(boot) = boot.filter(|_| wants(66)) {
        options.push((66, boot.server.to_string().into_bytes()));
    }
    options
}
