//! The words that close a boot's secrets and end what it replaces: said once, and written whatever becomes of the disk meanwhile.

use oneroot_bootconf::pins::Phase;
use oneroot_state::State;

use super::*;
use crate::index::tables::PINS;
use crate::secrets::record::SECRETS as RECORDS;

async fn closed(lab: &Lab) -> bool {
    let state: &State = lab.one.machines.state.as_ref();
    let found = RECORDS.get(state, "alpha").await.unwrap();
    found.is_some_and(|found| found.value.closed.contains(&lab.pin.boot))
}

async fn phase(lab: &Lab) -> Phase {
    PINS.get(lab.one.machines.state.as_ref(), lab.pin.boot).await.unwrap().unwrap().value.phase
}

/// Ticks until nothing is to be written any more.
async fn tick(lab: &Lab) {
    lab.one.machines.tick().await;
    for _ in 0..1000 {
        if lab.one.machines.unwritten.lock().unwrap().len() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_machine_says_while_the_disk_is_full_is_written_once_it_is_not() {
    let lab = lab().await;
    set(&lab.one, "token", b"t0ken").await.unwrap();
    ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    lab.one.memory().fail(u64::MAX);
    say(&lab.one, &lab, "secrets-taken").await;
    say(&lab.one, &lab, "up").await;
    assert_eq!((closed(&lab).await, phase(&lab).await), (false, Phase::Running));
    tick(&lab).await;
    assert_eq!((closed(&lab).await, phase(&lab).await), (false, Phase::Running), "nor by a tick meanwhile");
    lab.one.memory().fail(0);
    tick(&lab).await;
    assert_eq!((closed(&lab).await, phase(&lab).await), (true, Phase::Up));
    assert!(lab.one.machines.unwritten.lock().unwrap().len() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_heard_while_the_disk_hangs_however_many_are_said() {
    let lab = lab().await;
    let held = lab.one.memory().hold().await;
    let heard = |word: &str| {
        let text = format!("{}.{word}", lab.pin.boot);
        let peer = SocketAddr::new(lab.peer, 700);
        drop(lab.one.machines.heard(&ProgressReport { peer, view: lab.pin.view, text }));
    };
    (0..5000).for_each(|_| heard("up"));
    heard("hand-over");
    let steps = lab.one.machines.steps().of(lab.pin.mac).to_vec();
    assert!(steps.iter().any(|step| step.step == "hand-over"), "{steps:?}");
    assert_eq!(lab.one.machines.unwritten.lock().unwrap().len(), 1, "what is said again waits once");
    drop(held);
    tick(&lab).await;
    assert_eq!(phase(&lab).await, Phase::Up);
}
