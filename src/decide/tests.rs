//! How long a run waits for a place.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::wire::Ran;
use super::*;

/// A program with one place, which has a run that does not end; and the launcher's end of its lane.
async fn busy(purpose: Purpose) -> (Arc<Launched>, OwnedFd) {
    let program = Program { path: "/x".into(), args: Vec::new(), timeout: 1, at_once: 1, cache: 0 };
    let (ours, launchers) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let waits = purpose.waits(&program);
    let launched = Arc::new(Lanes { program, waits, sockets: vec![ours] }.open().unwrap());
    tokio::spawn(launched.run(b"first".to_vec(), true));
    while launched.0.all.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    (launched, launchers)
}

#[tokio::test]
async fn whose_secrets_are_made_waits_for_a_place_for_longer_than_a_run_may_take() {
    let ((decides, _held), (makes, launcher)) =
        (busy(Purpose::Decide).await, busy(Purpose::MakeSecrets).await);
    let waits = tokio::spawn(makes.run(b"second".to_vec(), true));
    // Whoever asks what to boot gives up by then.
    let told = decides.run(b"second".to_vec(), true).await.unwrap_err();
    assert!(told.contains("were under way for 1 s"), "{told}");
    send(&launcher, &FREE, SendFlags::empty()).unwrap();
    send(&launcher, &Ran::silent(Outcome::Answered(b"made".to_vec())).bytes(), SendFlags::empty()).unwrap();
    assert_eq!(waits.await.unwrap(), Ok(b"made".to_vec()));
}
