//! Whatever comes in, on either port: no panic, one step, no reply larger than its client takes, and never an address or
//! a NAK from a proxy.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::net::{Ipv4Addr, SocketAddrV4};

use oneroot_dhcp::{
    BootFile, Claim, Client, Engine, Now, Policy, ProbeResult, Received, Reply, Request, Reservation,
    Revision, Route, Step, Subnet,
};
use oneroot_ids::Mac;
use proptest::prelude::*;

/// A site with an answer to everything, and long ones.
struct Open;

impl Policy for Open {
    fn replaced(&self, _: Mac, _: Mac) -> bool {
        false
    }

    fn reservation(&self, mac: Mac) -> Option<Reservation> {
        let address = Some(Ipv4Addr::new(10, 0, 3, mac.bytes()[5]));
        Some(Reservation { address, hostname: Some("x".repeat(usize::from(mac.bytes()[4]))) })
    }
    fn reserved(&self, _: Ipv4Addr) -> Option<Mac> {
        None
    }
    fn serve_unknown(&self) -> bool {
        true
    }
    fn boot(&self, client: &Client, server: Ipv4Addr) -> Option<BootFile> {
        let file = format!("http://10.0.0.1/{}", "y".repeat(usize::from(client.mac.bytes()[3])));
        Some(BootFile { server, file })
    }
    fn claim(&self, _: Ipv4Addr) -> Option<Claim> {
        None
    }
    fn moved(&self) -> Vec<Ipv4Addr> {
        vec![]
    }
    fn held_by(&self, mac: Mac) -> Option<Ipv4Addr> {
        (mac.bytes()[5] < 128).then_some(Ipv4Addr::new(10, 0, 4, mac.bytes()[5]))
    }
}

/// The address of the interface in the first network, and in the second.
const VIA: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 1, 0, 1)];

fn subnet(number: u8, proxy: bool, mtu: u16) -> Subnet {
    Subnet {
        network: format!("10.{number}.0.0/16").parse().unwrap(),
        server: Ipv4Addr::new(10, number, 0, 1),
        router: None,
        dns: vec![Ipv4Addr::new(10, 0, 0, 1); 60],
        ntp: vec![Ipv4Addr::new(10, 0, 0, 3); 20],
        domain: Some("x".repeat(200)),
        pool: Some((Ipv4Addr::new(10, number, 1, 0), Ipv4Addr::new(10, number, 2, 0))),
        exclude: vec![(Ipv4Addr::new(10, number, 1, 3), Ipv4Addr::new(10, number, 1, 9))],
        reserved: vec![],
        named: 0,
        lease_secs: u32::MAX,
        mtu,
        authoritative: true,
        proxy,
    }
}

/// An option that the engine reads, with a value that it may believe.
fn option() -> impl Strategy<Value = Vec<u8>> {
    let address = || (0u8..3, 0u8..5, any::<u8>()).prop_map(|(b, c, d)| vec![10, b, c, d]);
    let any_of = |codes: &'static [u8], value: BoxedStrategy<Vec<u8>>| {
        (prop::sample::select(codes), value).prop_map(|(code, value)| {
            let mut option = vec![code, u8::try_from(value.len()).unwrap()];
            option.extend(value);
            option
        })
    };
    let classes: Vec<Vec<u8>> =
        vec![b"PXEClient:Arch".to_vec(), b"HTTPClient:Arch".to_vec(), b"iPXE".to_vec()];
    let relay = (prop::sample::select(vec![5u8, 11]), address()).prop_map(|(code, address)| {
        let mut option = vec![code, 4];
        option.extend(address);
        option
    });
    prop_oneof![
        any_of(&[50, 54, 118], address().boxed()),
        any_of(&[60, 77], prop::sample::select(classes).boxed()),
        any_of(&[93], prop::sample::select(vec![vec![0, 0], vec![0, 7], vec![0, 16]]).boxed()),
        any_of(&[82], relay.boxed()),
        any_of(&[57], any::<[u8; 2]>().prop_map(|size| size.to_vec()).boxed()),
        any_of(&[55, 61, 77, 82, 93, 97, 175], prop::collection::vec(any::<u8>(), 0..=255).boxed()),
        any_of(&[55], Just(vec![66, 67]).boxed()),
        prop::collection::vec(any::<u8>(), 1..20),
    ]
}

/// A datagram that passes the first checks, so that what follows is reached.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let address = || prop_oneof![2 => Just([0; 4]), 1 => (0u8..3, 0u8..5, any::<u8>()).prop_map(|(b, c, d)| [10, b, c, d])];
    let mac = (0u8..3, any::<[u8; 2]>(), 0u8..8);
    let head = (address(), address(), mac, 1u8..9, any::<u16>());
    (head, prop::collection::vec(option(), 0..8)).prop_map(|((ciaddr, giaddr, mac, kind, flags), options)| {
        let (third, [fourth, fifth], last) = mac;
        let mut packet = vec![1, 1, 6, 0, 0, 0, 0, 1, 0, 0];
        packet.extend(flags.to_be_bytes());
        packet.extend(ciaddr);
        packet.resize(24, 0);
        packet.extend(giaddr);
        packet.extend([2, 0, third, fourth, fifth, last]);
        packet.resize(236, 0);
        packet.extend([99, 130, 83, 99, 53, 1, kind]);
        packet.extend(options.concat());
        packet.truncate(1500);
        packet
    })
}

/// A datagram, whether it comes to port 4011, and by which interface.
fn datagrams() -> impl Strategy<Value = Vec<(Vec<u8>, bool, usize)>> {
    let packet = prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..600), 6 => plausible()];
    prop::collection::vec((packet, any::<bool>(), 0..3usize), 1..30)
}

/// Every reply that comes of these datagrams, with its request; commits succeed.
fn replies(
    engine: &mut Engine,
    datagrams: &[(Vec<u8>, bool, usize)],
    now: Now,
) -> Vec<(Request, bool, usize, Reply)> {
    let mut found = vec![];
    for (payload, on_4011, via) in datagrams {
        let received = Received { payload, via: VIA.get(*via..=*via).unwrap_or_default() };
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 9, 9), 4011);
        let step = if *on_4011 {
            engine.handle_4011(now, &Open, received, from)
        } else {
            engine.handle(now, &Open, received)
        };
        let step = match step {
            Step::Commit { token, .. } => engine.committed(token, Ok(Revision(1))),
            Step::Probe { token, .. } => engine.probed(now, &Open, token, ProbeResult::Answered),
            step => step,
        };
        if let Step::Reply(reply) = step {
            found.push((Request::parse(payload).unwrap(), *on_4011, *via, reply));
        }
    }
    found
}

fn kind(reply: &Reply) -> u8 {
    // The message type is the first option of every reply of ours.
    assert_eq!(reply.payload[240..242], [53, 1]);
    reply.payload[242]
}

/// Whether a reply says what to load: in option 67, or, unless it must be there, in `file`.
fn has_boot_file(payload: &[u8], only_option: bool) -> bool {
    let mut rest = &payload[240..];
    while let [code, length, tail @ ..] = rest {
        match code {
            67 => return true,
            255 => break,
            _ => rest = &tail[usize::from(*length)..],
        }
    }
    !only_option && payload[108] != 0
}

proptest! {
    #[test]
    fn any_bytes_are_answered_or_dropped_and_no_reply_is_larger_than_its_client_takes(
        datagrams in datagrams(), wall in any::<u64>(), mono in any::<u64>(), mtu in 500u16..2000,
    ) {
        let mut engine = Engine::new(vec![subnet(0, false, mtu), subnet(1, false, mtu), subnet(2, true, mtu)], []);
        for (request, _, _, reply) in replies(&mut engine, &datagrams, Now { wall, sure_since: 0, mono }) {
            let takes = request.max_size.unwrap_or(576).max(576).min(mtu.max(576)) - 28;
            prop_assert!((300..=usize::from(takes)).contains(&reply.payload.len()));
            prop_assert_eq!(reply.payload.iter().rev().find(|byte| **byte != 0), Some(&255), "has its end mark");
        }
    }

    #[test]
    fn a_proxy_gives_no_address_and_says_no_to_nobody(
        datagrams in datagrams(), wall in any::<u64>(), mono in any::<u64>(),
    ) {
        let mut engine = Engine::new(vec![subnet(0, true, 1500)], []);
        for (request, on_4011, _, reply) in replies(&mut engine, &datagrams, Now { wall, sure_since: 0, mono }) {
            prop_assert_eq!(&reply.payload[16..20], [0; 4], "yiaddr");
            prop_assert_eq!((reply.address, reply.leased), (None, false));
            prop_assert_eq!(kind(&reply), if on_4011 { 5 } else { 2 });
            let client = Client::of(&request);
            prop_assert!(client.boots());
            // UEFI comes to port 4011 for it; all others are told what to load, or nothing. Only a relay's 255 bytes
            // could leave no room for it.
            let redirected = !on_4011 && !client.ipxe && !client.http && !client.is_bios();
            if !redirected && request.relay_info.is_empty() {
                prop_assert!(has_boot_file(&reply.payload, client.http && !client.ipxe && !on_4011));
            }
        }
    }

    /// Where the site has other networks too, none of their answers goes out on the proxy's link.
    #[test]
    fn nothing_that_comes_from_a_proxy_link_brings_an_address_there(
        datagrams in datagrams(), wall in any::<u64>(), mono in any::<u64>(),
    ) {
        let mut engine = Engine::new(vec![subnet(0, true, 1500), subnet(1, false, 1500)], []);
        for (_, on_4011, via, reply) in replies(&mut engine, &datagrams, Now { wall, sure_since: 0, mono }) {
            if via == 0 && !on_4011 && matches!(reply.route, Route::Broadcast | Route::Direct(..)) {
                prop_assert_eq!(&reply.payload[16..20], [0; 4], "yiaddr");
                prop_assert_eq!(kind(&reply), 2);
            }
        }
    }
}
