//! Many thousand clients that are switched on at once: more than offers are held to.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

use std::collections::HashMap;
use std::net::Ipv4Addr;

use oneroot_dhcp::{
    BootFile, Claim, Client, Engine, Now, Policy, Received, Reservation, Revision, Step, Subnet,
};
use oneroot_ids::Mac;

/// A site that names nobody.
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
    fn boot(&self, _: &Client, _: Ipv4Addr) -> Option<BootFile> {
        None
    }
    fn claim(&self, _: Ipv4Addr) -> Option<Claim> {
        None
    }
    fn moved(&self) -> Vec<Ipv4Addr> {
        Vec::new()
    }
    fn held_by(&self, _: Mac) -> Option<Ipv4Addr> {
        None
    }
    fn replaced(&self, _: Mac, _: Mac) -> bool {
        false
    }
}

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn subnet() -> Subnet {
    Subnet {
        network: "10.0.0.0/16".parse().unwrap(),
        server: SERVER,
        router: None,
        dns: Vec::new(),
        ntp: Vec::new(),
        domain: None,
        pool: Some((Ipv4Addr::new(10, 0, 1, 0), Ipv4Addr::new(10, 0, 255, 0))),
        exclude: Vec::new(),
        reserved: Vec::new(),
        named: 0,
        lease_secs: 3600,
        mtu: 1500,
        authoritative: true,
        proxy: false,
    }
}

fn message(number: u32, kind: u8, options: &[(u8, Ipv4Addr)]) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[28..30].copy_from_slice(&[2, 0]);
    bytes[30..34].copy_from_slice(&number.to_be_bytes());
    bytes.extend([99, 130, 83, 99, 53, 1, kind]);
    for (code, address) in options {
        bytes.extend([*code, 4]);
        bytes.extend(address.octets());
    }
    bytes.push(255);
    bytes
}

#[test]
fn of_ten_thousand_that_ask_at_once_each_has_the_address_that_it_was_offered_and_no_two_the_same() {
    let mut engine = Engine::new(vec![subnet()], []);
    let (now, via) = (Now { wall: 1_000_000, sure_since: 0, mono: 1_000_000 }, [SERVER]);
    let take =
        |engine: &mut Engine, payload: &[u8]| engine.handle(now, &Open, Received { payload, via: &via });
    let offered: Vec<Ipv4Addr> = (0..10_000)
        .map(|number| match take(&mut engine, &message(number, 1, &[])) {
            Step::Reply(reply) => reply.address.unwrap(),
            other => panic!("{number}: {other:?}"),
        })
        .collect();
    let mut given: HashMap<Ipv4Addr, u32> = HashMap::new();
    let mut anew = 0;
    for (number, offered) in (0..).zip(offered) {
        let wanted = [(50, offered), (54, SERVER)];
        match take(&mut engine, &message(number, 3, &wanted)) {
            Step::Commit { token, change } => {
                assert_eq!(change.put.address, offered);
                assert_eq!(given.insert(offered, number), None);
                assert!(matches!(
                    engine.committed(token, Ok(Revision(1 + u64::from(number)))),
                    Step::Reply(_)
                ));
            }
            // An offer that has given way may be another's by now.
            Step::Reply(refused) => {
                assert_eq!(refused.address, None, "{number}");
                anew += 1;
            }
            other => panic!("{number}: {other:?}"),
        }
    }
    assert!(anew < 500, "{anew} of 10000 begin anew");
}
