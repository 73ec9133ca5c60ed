//! What the disk alone has to promise, and what memory and tables do besides (conformance/ has what every backend does).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at its first surprise")]

use std::sync::Arc;

use oneroot_state::{Backend, Disk, Error, Expect, Memory, Table, Trouble, Txn, restore};

fn put(key: &str, value: &str) -> Txn {
    Txn::new().put(key, value.as_bytes().to_vec())
}

async fn text(backend: &impl Backend, key: &str) -> Option<String> {
    let found = backend.get(key).await.unwrap()?;
    Some(String::from_utf8(found.value.to_vec()).unwrap())
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

fn logs(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let all = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.to_str().unwrap().contains("state.log.")).collect()
}

#[tokio::test]
async fn a_log_that_is_removed_under_the_writer_is_noticed_before_anybody_is_answered() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("state");
    let disk = Disk::open(&dir).unwrap();
    disk.commit(put("a", "in the file")).await.unwrap();
    disk.commit(put("b", "in the log")).await.unwrap();
    assert_eq!(logs(&dir).len(), 1);
    logs(&dir).iter().for_each(|log| std::fs::remove_file(log).unwrap());
    let refused = disk.commit(put("c", "nowhere")).await;
    assert!(matches!(refused, Err(Error::NotDurable(_))), "{refused:?}");
    disk.commit(put("d", "in a new file")).await.unwrap();
    close(disk).await;
    let disk = reopen(&dir).await;
    for (key, is_there) in [("a", true), ("b", true), ("c", false), ("d", true)] {
        assert_eq!(text(&disk, key).await.is_some(), is_there, "{key}");
    }
}

#[tokio::test]
async fn after_an_orderly_end_the_file_has_everything_and_there_is_no_log() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("state");
    let disk = Disk::open(&dir).unwrap();
    for number in 0..20 {
        disk.commit(put(&format!("lease/{number}"), "x")).await.unwrap();
    }
    assert_eq!(logs(&dir).len(), 1);
    close(disk).await;
    drop(reopen(&dir).await);
    assert!(logs(&dir).is_empty());
    let elsewhere = home.path().join("elsewhere");
    std::fs::DirBuilder::new().create(&elsewhere).unwrap();
    std::fs::set_permissions(&elsewhere, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::copy(dir.join("state.redb"), elsewhere.join("state.redb")).unwrap();
    assert_eq!(Disk::open(&elsewhere).unwrap().list("lease/").await.unwrap().records.len(), 20);
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
    assert_eq!(disk.list("lease/").await.unwrap().records.len(), 2000);
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

#[tokio::test]
async fn a_restore_that_was_cut_off_leaves_a_state_that_nobody_opens() {
    let home = tempfile::tempdir().unwrap();
    let disk = Disk::open(&home.path().join("state")).unwrap();
    let records = (0..300).map(|number| (format!("pins/{number}"), Arc::from(&b"x"[..]))).collect();
    // The process ends between two transactions: the future is dropped while one is under way.
    let mut restoring = Box::pin(restore(&disk, records));
    while disk.list("pins/").await.unwrap().records.is_empty() {
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(restoring.as_mut().poll(context).is_ready())
        });
        assert!(!polled.await, "it ended before anybody could cut it off");
        tokio::task::yield_now().await;
    }
    drop(restoring);
    close(disk).await;
    let refused = Disk::open(&home.path().join("state")).err().unwrap();
    assert!(matches!(refused, Error::HalfRestored { .. }), "{refused}");
}

#[tokio::test]
async fn whoever_is_not_told_what_became_of_a_commit_finds_it_made_or_not() {
    let memory = Memory::default();
    memory.trouble([Some(Trouble::AnswerLost), Some(Trouble::RequestLost), Some(Trouble::Unavailable), None]);
    for key in ["made", "lost"] {
        assert!(matches!(memory.commit(put(key, "x")).await, Err(Error::OutcomeUnknown(_))));
    }
    assert!(matches!(memory.commit(put("refused", "x")).await, Err(Error::Unavailable(_))));
    memory.commit(put("last", "x")).await.unwrap();
    let there = memory.list("").await.unwrap().records;
    assert_eq!(there.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["last", "made"]);
    memory.set_unreachable(true);
    assert!(matches!(memory.list("").await, Err(Error::Unavailable(_))));
    assert!(matches!(memory.watch("").await.err(), Some(Error::Unavailable(_))));
}
