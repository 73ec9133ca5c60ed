//! What every backend promises, tried on both; and what the disk alone has to promise.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at its first surprise")]

use std::sync::Arc;

use oneroot_state::{Backend, Change, Disk, Error, Event, Expect, Memory, Table, Txn, Watch, handle_keys};

fn put(key: &str, value: &str) -> Txn {
    Txn::new().put(key, value.as_bytes().to_vec())
}

async fn text(backend: &impl Backend, key: &str) -> Option<String> {
    let found = backend.get(key).await.unwrap()?;
    Some(String::from_utf8(found.value.to_vec()).unwrap())
}

async fn change(watch: &mut Watch) -> Change {
    match watch.next().await.unwrap() {
        Event::Changed(change) => change,
        Event::StartOver => panic!("missed nothing, and was told to start over"),
    }
}

/// The conformance suite.
async fn conforms(backend: &impl Backend) {
    // A write is seen, with a revision that grows.
    let first = backend.commit(put("a/1", "one")).await.unwrap();
    let second = backend.commit(put("a/2", "two")).await.unwrap();
    assert!(second > first);
    assert_eq!(text(backend, "a/1").await.as_deref(), Some("one"));

    // An expectation that does not hold changes nothing, and says what is there.
    let stale = put("a/1", "lost").expect("a/1", Expect::Absent);
    match backend.commit(stale).await {
        Err(Error::Conflict { key, current }) => assert_eq!((key.as_str(), current), ("a/1", Some(first))),
        other => panic!("{other:?}"),
    }
    let half = put("b", "no").put("a/1", b"no".to_vec()).expect("a/2", Expect::At(first));
    assert!(matches!(backend.commit(half).await, Err(Error::Conflict { .. })));
    assert_eq!(
        (text(backend, "b").await, text(backend, "a/1").await.as_deref()),
        (None, Some("one")),
        "all or nothing"
    );

    // One that holds does, over several keys.
    let both = Txn::new().expect("a/1", Expect::At(first)).put("a/1", b"uno".to_vec()).delete("a/2");
    let third = backend.commit(both).await.unwrap();
    assert_eq!((text(backend, "a/1").await.as_deref(), text(backend, "a/2").await), (Some("uno"), None));
    assert!(third > second);

    // A removal counts: the key that comes back has a newer revision than it ever had.
    let again = backend.commit(put("a/2", "again").expect("a/2", Expect::Absent)).await.unwrap();
    assert!(again > third);

    // A watch has what is there, then each change under its prefix once and in order.
    let mut watch = backend.watch("a/").await.unwrap();
    backend.commit(put("other", "x")).await.unwrap();
    backend.commit(put("a/3", "three")).await.unwrap();
    backend.commit(Txn::new().delete("a/1")).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let change = change(&mut watch).await;
        seen.push((change.key, change.value.is_some()));
    }
    let expected = [("a/1", true), ("a/2", true), ("a/3", true), ("a/1", false)];
    assert_eq!(seen, expected.map(|(key, there)| (key.to_owned(), there)));

    // A watcher that sleeps too long is told to start over, and then has what is there, the oldest change first.
    for number in 0..3000 {
        backend.commit(put("a/busy", &number.to_string())).await.unwrap();
    }
    assert_eq!(watch.next().await.unwrap(), Event::StartOver);
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(change(&mut watch).await.key);
    }
    assert_eq!(seen, ["a/2", "a/3", "a/busy"]);

    // One handle key, whoever asks first.
    let keys = handle_keys(backend, [1; 32]).await.unwrap();
    assert_eq!(handle_keys(backend, [2; 32]).await.unwrap(), keys);
    assert_eq!(keys.secret(), Some(&[1; 32]));
}

#[tokio::test]
async fn memory_keeps_the_promises() {
    conforms(&Memory::default()).await;
}

#[tokio::test]
async fn the_disk_keeps_the_promises() {
    // In memory where there is some: three thousand syncs are not what is tested.
    let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    conforms(&Disk::open(&home.path().join("state")).unwrap()).await;
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart_with_its_revision() {
    let home = tempfile::tempdir().unwrap();
    let disk = Disk::open(&home.path().join("state")).unwrap();
    let kept = disk.commit(put("kept", "yes")).await.unwrap();
    disk.commit(put("gone", "x")).await.unwrap();
    let removed = disk.commit(Txn::new().delete("gone")).await.unwrap();
    close(disk).await;
    let disk = reopen(&home.path().join("state")).await;
    assert_eq!(disk.get("kept").await.unwrap().unwrap().revision, kept);
    assert!(disk.get("gone").await.unwrap().is_none());
    assert!(disk.commit(put("next", "x")).await.unwrap() > removed, "the counter never goes back");
}

/// The writer ends when the last handle is gone; its lock goes with it.
async fn close(disk: Disk) {
    drop(disk);
    tokio::task::yield_now().await;
}

async fn reopen(path: &std::path::Path) -> Disk {
    for _ in 0..500 {
        match Disk::open(path) {
            Ok(disk) => return disk,
            Err(Error::InUse { .. }) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            Err(cause) => panic!("{cause}"),
        }
    }
    panic!("the directory stays locked");
}

#[tokio::test]
async fn a_second_process_on_the_directory_is_refused_and_told_so() {
    let home = tempfile::tempdir().unwrap();
    let _first = Disk::open(&home.path().join("state")).unwrap();
    let refused = Disk::open(&home.path().join("state")).err().unwrap();
    assert!(refused.to_string().contains("is in use by another oneroot"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_commits_share_few_syncs() {
    let home = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::open(&home.path().join("state")).unwrap());
    let before = disk.groups();
    let tasks: Vec<_> = (0..2000)
        .map(|number| {
            let disk = disk.clone();
            tokio::spawn(async move { disk.commit(put(&format!("lease/{number}"), "x")).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let groups = disk.groups() - before;
    assert!(groups <= 500, "{groups} groups for 2000 commits");
    assert_eq!(disk.list("lease/").await.unwrap().len(), 2000);
}

#[tokio::test]
async fn a_conflict_in_a_batch_fails_alone() {
    let home = tempfile::tempdir().unwrap();
    let disk = Disk::open(&home.path().join("state")).unwrap();
    let claim =
        |who: &str| disk.commit(put("address/10.0.0.5", who).expect("address/10.0.0.5", Expect::Absent));
    let (a, b, c) = tokio::join!(claim("a"), claim("b"), disk.commit(put("other", "x")));
    assert!(a.is_ok() != b.is_ok(), "one of two gets it");
    assert!(c.is_ok());
}

#[tokio::test]
async fn a_record_that_does_not_read_is_set_aside_and_stops_nothing() {
    let memory = Memory::default();
    let table: Table<u32> = Table::new("numbers");
    let good = table.put(Txn::new(), "good", &7).unwrap();
    memory.commit(good.put(table.key("bad"), b"{torn".to_vec())).await.unwrap();
    let (read, set_aside) = table.list(&memory).await.unwrap();
    assert_eq!(read.iter().map(|(key, at)| (key.as_str(), at.value)).collect::<Vec<_>>(), [("good", 7)]);
    assert_eq!(set_aside.len(), 1);
    assert!(set_aside.iter().all(|record| record.key == "numbers/bad"));
}

#[tokio::test]
async fn what_the_disk_did_not_take_changes_nothing() {
    let memory = Memory::default();
    memory.commit(put("a", "old")).await.unwrap();
    memory.fail_next();
    assert!(matches!(memory.commit(put("a", "new")).await, Err(Error::NotDurable(_))));
    assert_eq!(text(&memory, "a").await.as_deref(), Some("old"));
    memory.commit(put("a", "newer")).await.unwrap();
    assert_eq!(text(&memory, "a").await.as_deref(), Some("newer"));
}
