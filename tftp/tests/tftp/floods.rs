//! Floods of requests, and what one call may return at most.

use std::net::SocketAddr;

use oneroot_tftp::{
    EXPIRE_BATCH, Engine, MAX_PER_ADDRESS, MAX_RESENDS, MAX_SESSIONS, MAX_WINDOWSIZE, Now, Outcome, Peer,
    SessionId, Step,
};

use crate::files::Made;
use crate::wire;

fn peer(remote: SocketAddr) -> Peer {
    Peer { remote, local: "10.0.0.1".parse().unwrap() }
}

/// A request with these options; the transfer that it opened, if it did, and the steps of opening.
fn ask(
    engine: &mut Engine,
    now: Now,
    remote: SocketAddr,
    options: &[&str],
) -> Option<(SessionId, Vec<Step>)> {
    let request = wire::encode(&[&["rrq", "f", "octet"], options].concat());
    let steps = engine.request(now, peer(remote), &request);
    assert!(steps.len() <= 2, "at most one transfer goes for one that comes");
    let session = steps.iter().find_map(|step| match step {
        Step::Open { session, .. } => Some(*session),
        _ => None,
    })?;
    Some((session, engine.opened(now, session, Box::new(Made::new(1_000_000)))))
}

fn forged(number: u32) -> SocketAddr {
    SocketAddr::new(std::net::Ipv4Addr::from(0xc633_0000 + number).into(), 4000)
}

fn is_data(step: &Step) -> bool {
    matches!(step, Step::Send { datagrams, .. } if datagrams.bytes()[1] == 3)
}

/// How many datagrams a transfer sends by a step.
fn count(step: &Step) -> usize {
    if let Step::Send { datagrams, .. } = step { datagrams.iter().count() } else { 0 }
}

#[test]
fn an_honest_client_is_served_in_a_flood_of_forged_requests() {
    let mut engine = Engine::new();
    let honest: SocketAddr = "10.0.0.7:2070".parse().unwrap();
    for number in 0..10_000 {
        ask(&mut engine, Now(u64::from(number) / 10), forged(number), &[]);
        assert!(engine.sessions() <= MAX_SESSIONS);
    }
    let (session, steps) = ask(&mut engine, Now(1000), honest, &[]).unwrap();
    assert!(is_data(&steps[0]));
    // The flood goes on while its first ACK is under way; at 10,000 a second that leaves 100 ms.
    for number in 10_000..11_000 {
        ask(&mut engine, Now(1000 + u64::from(number - 10_000) / 10), forged(number), &[]);
    }
    let steps = engine.packet(Now(1100), session, honest, &wire::encode(&["ack", "1"]));
    assert!(is_data(&steps[0]), "its place was kept: {steps:?}");
    // From now on no flood can take it away.
    for number in 20_000..30_000 {
        ask(&mut engine, Now(1200), forged(number), &[]);
    }
    let steps = engine.packet(Now(1300), session, honest, &wire::encode(&["ack", "2"]));
    assert!(is_data(&steps[0]));
    assert!(engine.counters().evicted >= 10_000);
    assert_eq!(engine.counters().busy, 0);
}

#[test]
fn one_source_with_a_thousand_ports_holds_its_share_and_no_more() {
    let mut engine = Engine::new();
    for port in 1..=1000 {
        ask(&mut engine, Now(0), SocketAddr::new("10.0.0.9".parse().unwrap(), port), &[]);
        assert!(engine.sessions() <= MAX_PER_ADDRESS);
    }
    assert!(ask(&mut engine, Now(0), "10.0.0.7:2070".parse().unwrap(), &[]).is_some());
}

#[test]
fn a_flood_that_ends_leaves_nothing_behind() {
    let mut engine = Engine::new();
    for number in 0..10_000 {
        ask(&mut engine, Now(0), forged(number), &["timeout", "255"]);
    }
    let mut datagrams = 0;
    while let Some(due) = engine.next_deadline() {
        datagrams += engine.expire(due).iter().map(count).sum::<usize>();
    }
    assert_eq!(engine.sessions(), 0);
    assert_eq!(datagrams, 2 * MAX_SESSIONS);
}

#[test]
fn one_ack_is_answered_by_one_step_with_a_whole_window_of_equal_blocks() {
    let mut engine = Engine::new();
    let remote = "10.0.0.7:2070".parse().unwrap();
    for windowsize in [1_u16, 2, 8, 64] {
        let options = ["blksize", "1000", "windowsize", &windowsize.to_string()];
        let (session, _) = ask(&mut engine, Now(0), remote, &options).unwrap();
        let mut acked = 0;
        loop {
            let steps = engine.packet(Now(0), session, remote, &wire::encode(&["ack", &acked.to_string()]));
            let [Step::Send { datagrams, .. }] = steps.as_slice() else {
                assert!(matches!(steps.as_slice(), [Step::Ended { .. }]), "{steps:?}");
                break;
            };
            assert_eq!(datagrams.stride(), 1004);
            assert_eq!(datagrams.count(), datagrams.iter().count());
            assert_eq!(datagrams.bytes(), datagrams.iter().collect::<Vec<_>>().concat());
            acked += datagrams.count();
            // A million bytes are a thousand whole blocks and an empty one.
            let is_last = acked == 1001;
            assert!(is_last || datagrams.count() == usize::from(windowsize), "{}", datagrams.count());
            let lengths: Vec<usize> = datagrams.iter().map(<[u8]>::len).collect();
            let (last, others) = lengths.split_last().unwrap();
            assert!(others.iter().all(|length| *length == 1004));
            assert_eq!(*last, if is_last { 4 } else { 1004 });
        }
        assert_eq!(acked, 1001);
    }
}

#[test]
fn many_windows_due_at_once_are_sent_in_small_batches() {
    let mut engine = Engine::new();
    for number in 0..u32::try_from(MAX_SESSIONS).unwrap() {
        let (session, _) = ask(&mut engine, Now(0), forged(number), &["windowsize", "64"]).unwrap();
        engine.packet(Now(0), session, forged(number), &wire::encode(&["ack", "0"]));
    }
    let (mut blocks, mut timed_out) = (0, 0);
    while let Some(due) = engine.next_deadline() {
        let steps = engine.expire(due);
        assert!(steps.len() <= EXPIRE_BATCH, "a window is one step");
        let sent: usize = steps.iter().filter(|step| is_data(step)).map(count).sum();
        assert!(sent <= EXPIRE_BATCH * usize::from(MAX_WINDOWSIZE));
        blocks += sent;
        let ended =
            |step: &&Step| matches!(step, Step::Ended { outcome: Outcome::TimedOut { bytes: 0 }, .. });
        timed_out += steps.iter().filter(ended).count();
    }
    assert_eq!(blocks, MAX_SESSIONS * usize::from(MAX_WINDOWSIZE) * usize::from(MAX_RESENDS));
    assert_eq!(timed_out, MAX_SESSIONS);
}
