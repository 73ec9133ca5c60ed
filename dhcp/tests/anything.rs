//! Whatever comes in: no panic, one step, and a reply that fits a frame.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::net::Ipv4Addr;

use oneroot_dhcp::{BootFile, Client, Engine, Mac, Now, Policy, Received, Reservation, Step, Subnet};
use proptest::prelude::*;

struct Open;

impl Policy for Open {
    fn reservation(&self, _: Mac) -> Option<Reservation> {
        None
    }
    fn reserved(&self, _: Ipv4Addr) -> Option<Mac> {
        None
    }
    fn serve_unknown(&self) -> bool {
        true
    }
    fn boot(&self, client: &Client) -> Option<BootFile> {
        Some(BootFile { server: Ipv4Addr::new(10, 0, 0, 1), file: format!("http://10.0.0.1/{}", client.mac) })
    }
    fn holder(&self, _: Ipv4Addr) -> Option<Mac> {
        None
    }
    fn held_by(&self, _: Mac) -> Option<Ipv4Addr> {
        None
    }
}

fn engine() -> Engine {
    let subnet = Subnet {
        network: "10.0.0.0/16".parse().unwrap(),
        server: Ipv4Addr::new(10, 0, 0, 1),
        router: None,
        dns: vec![Ipv4Addr::new(10, 0, 0, 1); 70],
        domain: Some("x".repeat(200)),
        pool: Some((Ipv4Addr::new(10, 0, 1, 0), Ipv4Addr::new(10, 0, 2, 0))),
        lease_secs: u32::MAX,
        mtu: 1500,
    };
    Engine::new(vec![subnet], [])
}

/// A datagram that passes the first checks, so that what follows is reached.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 4]>(), any::<[u8; 6]>(), prop::collection::vec(any::<u8>(), 0..1200)).prop_map(
        |(giaddr, mac, options)| {
            let mut packet = vec![1, 1, 6, 0, 0, 0, 0, 1];
            packet.resize(24, 0);
            packet.extend(giaddr.map(|byte| if byte < 200 { 0 } else { byte }));
            packet.extend(mac);
            packet.resize(236, 0);
            packet.extend([99, 130, 83, 99, 53, 1, options.first().map_or(1, |kind| kind % 9)]);
            packet.extend(options);
            packet
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_answered_or_dropped(packets in prop::collection::vec(
        prop_oneof![prop::collection::vec(any::<u8>(), 0..600), plausible()], 1..20), wall in any::<u64>(), mono in any::<u64>()) {
        let mut engine = engine();
        for packet in packets {
            match engine.handle(Now { wall, mono }, &Open, Received { payload: &packet }) {
                Step::Reply(reply) => prop_assert!((300..=1472).contains(&reply.payload.len())),
                Step::Commit { token, .. } => {
                    let step = engine.committed(token, Ok(oneroot_dhcp::Revision(1)));
                    prop_assert!(matches!(step, Step::Reply(_)));
                }
                Step::Dropped(_) => {}
            }
        }
    }
}
