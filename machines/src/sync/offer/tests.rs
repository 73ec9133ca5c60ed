//! Who waits for a tree, who is told what, and against what.

use super::*;
use crate::boots::tests_on::{Server, two};
use crate::host::still::NOW;
use oneroot_tree::store::{How, Staged};
use oneroot_tree::{Ref, RefKind, Stage};
use std::path::Path;
use std::time::Duration;

/// Long enough that only what waits for ever has not come.
const PATIENCE: Duration = Duration::from_secs(60);

async fn own(server: &Server, peer: IpAddr, have: Option<GenerationId>) -> (GenerationId, Given) {
    let asker = Asker { peer: (peer, 700).into(), secured: false, bearer: None };
    let offer = server.machines.offer(&asker, &What::Own, Wanted::Index(have), tokio::time::sleep(PATIENCE));
    let offered = offer.await.unwrap();
    (offered.generation, offered.given)
}

/// What an index is told against is in its first byte.
fn is_told_against_another(given: &Given) -> bool {
    match given {
        Given::Index(packed) => packed[0] == 2,
        _ => panic!("no index"),
    }
}

fn stage(server: &Server, home: &Path, profile: &str) -> GenerationId {
    let store = server.machines.planner.store();
    let mut stage = Stage::begin(store, |_| {}).unwrap();
    stage.directory(home).unwrap();
    let generation = stage.finish().unwrap().generation;
    let name = Ref::new(RefKind::Profile, profile).unwrap();
    store.stage_head(&name, Staged { generation, at: NOW, how: How::Staged }).unwrap();
    generation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_tree_already_hears_so_though_all_rooms_are_taken() {
    let home = tempfile::tempdir().unwrap();
    let ([one, _], peer) = two(home.path()).await;
    let (tree, _) = own(&one, peer, None).await;
    let rooms = one.machines.flats.rooms.clone();
    let all = rooms.acquire_many(u32::try_from(rooms.available_permits()).unwrap()).await.unwrap();
    let same = tokio::time::timeout(PATIENCE / 2, own(&one, peer, Some(tree))).await;
    assert!(matches!(same.unwrap(), (_, Given::Same)));
    // And what was made for another who had nothing.
    let again = tokio::time::timeout(PATIENCE / 2, own(&one, peer, None)).await;
    assert!(matches!(again.unwrap(), (_, Given::Index(_))));
    // Who needs one waits as long as he will, and is told.
    std::fs::write(home.path().join("root/more"), "more").unwrap();
    stage(&one, &home.path().join("root"), "a");
    let asker = Asker { peer: (peer, 700).into(), secured: false, bearer: None };
    let waits = one.machines.offer(&asker, &What::Own, Wanted::Index(None), async {});
    assert!(matches!(waits.await, Err(SyncRefused::Busy)));
    drop(all);
    assert_ne!(own(&one, peer, Some(tree)).await.0, tree);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_his_tree_to_be_looked_up_waits_as_long_as_he_will_and_is_told() {
    let home = tempfile::tempdir().unwrap();
    let ([one, _], peer) = two(home.path()).await;
    let turns = one.machines.flats.turns.clone();
    let all = turns.acquire_many(u32::try_from(turns.available_permits()).unwrap()).await.unwrap();
    let asker = Asker { peer: (peer, 700).into(), secured: false, bearer: None };
    let waits = one.machines.offer(&asker, &What::Own, Wanted::Index(None), async {});
    let told = tokio::time::timeout(PATIENCE / 12, waits).await;
    assert!(matches!(told, Ok(Err(SyncRefused::Busy))));
    drop(all);
    own(&one, peer, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_room_waits_for_his_tree_to_be_made_as_long_as_he_will_and_is_told() {
    let home = tempfile::tempdir().unwrap();
    let ([one, _], peer) = two(home.path()).await;
    let asker = Asker { peer: (peer, 700).into(), secured: false, bearer: None };
    let site = one.machines.site();
    let allowed = one.machines.allowed(&site, &asker, &What::Own, Wanted::Index(None)).await.unwrap();
    let held = one.machines.flats.held_up(allowed.view.id());
    let patience = tokio::time::sleep(Duration::from_millis(20));
    let waits = one.machines.offer(&asker, &What::Own, Wanted::Index(None), patience);
    let told = tokio::time::timeout(PATIENCE / 12, waits).await;
    drop(held);
    assert!(matches!(told, Ok(Err(SyncRefused::Busy))));
    own(&one, peer, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_against_a_tree_that_the_asker_was_never_told() {
    let home = tempfile::tempdir().unwrap();
    let ([one, _], peer) = two(home.path()).await;
    let secret = home.path().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("file"), "of somebody else").unwrap();
    let secret = stage(&one, &secret, "b");
    let (tree, given) = own(&one, peer, Some(secret)).await;
    assert!(!is_told_against_another(&given), "it says that the store knows {secret}");
    // Nor against the profile's own generation: this machine's tree is another one.
    let plain = stage(&one, &home.path().join("root"), "a");
    assert!(!is_told_against_another(&own(&one, peer, Some(plain)).await.1));
    std::fs::write(home.path().join("root/more"), "more").unwrap();
    stage(&one, &home.path().join("root"), "a");
    assert!(is_told_against_another(&own(&one, peer, Some(tree)).await.1), "it was told that one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_lasts_as_long_as_its_work_though_whoever_asked_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let ([one, _], _) = two(home.path()).await;
    let turns = one.machines.flats.turns.clone();
    let free = turns.available_permits();
    let (begins, begun) = tokio::sync::oneshot::channel();
    let (ends, ended) = std::sync::mpsc::channel::<()>();
    let machines = one.machines.clone();
    let hangs = move || {
        let _ = (begins.send(()), ended.recv());
        Ok(())
    };
    let asked = tokio::spawn(async move { machines.with_a_turn(hangs).await });
    begun.await.unwrap();
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    assert_eq!(turns.available_permits(), free - 1, "the thread hangs in it still");
    drop(ends);
    let all = turns.acquire_many(u32::try_from(free).unwrap()).await;
    assert!(all.is_ok());
}
