//! Registering with somebody else's portmapper: what is asked, and what is made of the answer.

use std::sync::Arc;

use oneroot_nfsd::rpcbind::{NoAnswer, Question, call, done, name, port, registrations};
use oneroot_nfsd::{Mapping, MappingProtocol, Policy, PortTable, Ports, Replies, Transport};
use proptest::prelude::*;

use crate::wire::{self, Cred, u32s};
use crate::world::{self, World};

const XID: u32 = 0x0a0b_0c0d;
const NFS: Mapping = Mapping { program: 100_003, version: 3, protocol: MappingProtocol::Tcp, port: 2049 };

/// A reply with this accept_stat, and what follows it.
fn accepted(stat: u32, results: &[u32]) -> Vec<u8> {
    u32s(&[&[XID, 1, 0, 0, 0, stat], results].concat())
}

/// What this crate's own portmapper answers.
fn own_answer(question: Question) -> Vec<u8> {
    let service = world::service(&Arc::new(World::new()), Policy::default());
    let mut replies = Replies::new();
    let peer = "127.0.0.1:1023".parse().unwrap();
    service.call(peer, Transport::Udp, &call(XID, question, &NFS), &mut replies);
    replies.bytes().to_vec()
}

#[test]
fn a_call_is_what_the_rfc_says() {
    let none = Cred(0, vec![]);
    for (question, procedure, port) in
        [(Question::Set, 1, 2049), (Question::Unset, 2, 0), (Question::GetPort, 3, 0)]
    {
        let expected = wire::call(XID, [100_000, 2, procedure], &none, &u32s(&[100_003, 3, 6, port]));
        assert_eq!(call(XID, question, &NFS), expected, "{question:?}");
    }
}

#[test]
fn our_own_portmapper_understands_it_and_lets_nobody_register() {
    assert_eq!(port(XID, &own_answer(Question::GetPort)), Ok(Some(2049)));
    assert_eq!(done(XID, &own_answer(Question::Set)), Ok(false));
    assert_eq!(done(XID, &own_answer(Question::Unset)), Ok(false));
}

#[test]
fn what_is_served_over_tcp_is_registered_and_no_portmapper() {
    let ports = Ports { nfs: 2049, mount: 20048, portmap_tcp: Some(111), portmap_udp: Some(111) };
    let told: Vec<_> = registrations(&PortTable::new(ports))
        .iter()
        .map(|m| (name(m.program), m.program, m.version, m.protocol as u32, m.port))
        .collect();
    let expected =
        [("NFS", 100_003, 3, 6, 2049), ("MOUNT", 100_005, 3, 6, 20048), ("NFSACL", 100_227, 3, 6, 2049)];
    assert_eq!(told, expected);
}

#[test]
fn an_answer_is_read() {
    assert_eq!(done(XID, &accepted(0, &[1])), Ok(true));
    assert_eq!(done(XID, &accepted(0, &[0])), Ok(false));
    assert_eq!(port(XID, &accepted(0, &[0])), Ok(None));
    assert_eq!(port(XID, &accepted(0, &[65_535])), Ok(Some(65_535)));
    let verifier = u32s(&[XID, 1, 0, 2, 4, 0xffff_ffff, 0, 1]);
    assert_eq!(done(XID, &verifier), Ok(true), "a verifier is skipped, whatever it proves");
}

#[test]
fn each_refusal_is_told_from_the_others() {
    let cases = [
        (accepted(1, &[]), NoAnswer::ProgUnavail),
        (accepted(2, &[3, 4]), NoAnswer::ProgMismatch(3, 4)),
        (accepted(3, &[]), NoAnswer::Failed(3)),
        (accepted(4, &[]), NoAnswer::Failed(4)),
        (accepted(5, &[]), NoAnswer::Failed(5)),
        (u32s(&[XID, 1, 1, 0, 2, 2]), NoAnswer::RpcMismatch),
        // What rpcbind says to a SET that is not from 127.0.0.1.
        (u32s(&[XID, 1, 1, 1, 5]), NoAnswer::Denied(5)),
    ];
    for (reply, cause) in cases {
        assert_eq!(done(XID, &reply), Err(cause));
        assert_eq!(port(XID, &reply), Err(cause));
    }
}

#[test]
fn what_is_for_another_call_is_not_looked_at_further() {
    let mut other = accepted(0, &[1]);
    other[3] ^= 1;
    assert_eq!(done(XID, &other), Err(NoAnswer::NotOurs));
    assert_eq!(done(XID, &other[..8]), Err(NoAnswer::NotOurs));
    assert_eq!(done(XID, &call(XID, Question::Set, &NFS)), Err(NoAnswer::NotOurs), "our own call comes back");
}

#[test]
fn a_value_that_does_not_exist_is_no_answer() {
    assert_eq!(done(XID, &accepted(0, &[2])), Err(NoAnswer::Malformed));
    assert_eq!(port(XID, &accepted(0, &[65_536])), Err(NoAnswer::NoSuchPort(65_536)));
    let long_verifier = [u32s(&[XID, 1, 0, 0, 404]), vec![0; 404], u32s(&[0, 1])].concat();
    for reply in [
        accepted(0, &[1, 0]),
        accepted(6, &[1]),
        u32s(&[XID, 1, 2, 0, 0, 0, 1]),
        u32s(&[XID, 1, 1, 2, 0, 0, 0]),
        u32s(&[XID, 1, 0, 0, u32::MAX, 0, 1]),
        long_verifier,
    ] {
        assert_eq!(done(XID, &reply), Err(NoAnswer::Malformed), "{reply:?}");
    }
}

#[test]
fn a_reply_cut_anywhere_is_no_answer() {
    for whole in [accepted(0, &[1]), accepted(2, &[3, 4]), u32s(&[XID, 1, 1, 1, 5])] {
        for end in 0..whole.len() {
            let cause = if end < 8 { NoAnswer::NotOurs } else { NoAnswer::Malformed };
            assert_eq!(done(XID, &whole[..end]), Err(cause), "{end}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_port_that_is_not_in_them(mut bytes in prop::collection::vec(any::<u8>(), 0..600), ours: bool) {
        let head = u32s(&[XID, 1, 0, 0, 0, 0]);
        if ours && bytes.len() >= head.len() {
            bytes[..head.len()].copy_from_slice(&head);
        }
        let _ = done(XID, &bytes);
        if let Ok(Some(port)) = port(XID, &bytes) {
            prop_assert!(bytes.ends_with(&u32::from(port).to_be_bytes()));
        }
    }
}
