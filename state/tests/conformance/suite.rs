//! What every backend promises. `conforms` is all of it; each part has a backend with nothing in it.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use oneroot_state::{
    Backend, Change, Error, Event, Expect, Listing, MAX_KEY, MAX_OPERATIONS, MAX_TXN, MAX_VALUE, Revision,
    Txn, Watch, restore,
};

/// What makes backends with nothing in them.
pub trait Fresh {
    type Backend: Backend;

    fn fresh(&mut self) -> Self::Backend;
}

pub async fn conforms(from: &mut impl Fresh) {
    a_write_is_seen_and_revisions_rise(&from.fresh()).await;
    what_is_expected_holds_or_nothing_is_written(&from.fresh()).await;
    a_removal_counts_and_leaves_nothing_to_expect(&from.fresh()).await;
    a_listing_is_in_order_and_of_one_revision(&from.fresh()).await;
    a_transaction_of_nothing_answers_the_revision(&from.fresh()).await;
    what_is_too_large_is_refused_and_what_is_not_is_taken(&from.fresh()).await;
    a_watch_begins_with_what_is_there_and_tells_each_transaction_once(&from.fresh()).await;
    a_watch_that_falls_behind_is_given_everything_again(&from.fresh()).await;
    a_call_of_next_that_is_dropped_has_taken_nothing(&from.fresh()).await;
    watches_that_begin_while_others_write_miss_nothing(Arc::new(from.fresh())).await;
    of_many_that_expect_the_same_one_gets_it(Arc::new(from.fresh())).await;
    for seed in 0..20 {
        any_transactions_do_what_a_map_does(&from.fresh(), seed).await;
    }
    a_restore_is_as_many_transactions_as_it_takes(&from.fresh()).await;
}

fn put(key: &str, value: &str) -> Txn {
    Txn::new().put(key, value.as_bytes().to_vec())
}

async fn text(backend: &impl Backend, key: &str) -> Option<String> {
    let found = backend.get(key).await.unwrap()?;
    Some(String::from_utf8(found.value.to_vec()).unwrap())
}

async fn keys(backend: &impl Backend, prefix: &str) -> Vec<String> {
    backend.list(prefix).await.unwrap().records.into_iter().map(|(key, _)| key).collect()
}

async fn changed(watch: &mut Watch) -> Vec<Change> {
    match watch.next().await.unwrap() {
        Event::Changed(changes) => changes,
        Event::Snapshot(_) => panic!("missed nothing, and was given everything again"),
    }
}

async fn snapshot(watch: &mut Watch) -> Listing {
    match watch.next().await.unwrap() {
        Event::Snapshot(listing) => listing,
        Event::Changed(changes) => panic!("told {changes:?} before what is there"),
    }
}

async fn a_write_is_seen_and_revisions_rise(backend: &impl Backend) {
    let first = backend.commit(put("a/1", "one")).await.unwrap();
    let second = backend.commit(put("a/1", "two")).await.unwrap();
    let third = backend.commit(put("b", "three").put("c", b"three".to_vec())).await.unwrap();
    assert!(first > Revision(0) && second > first && third > second);
    let found = backend.get("a/1").await.unwrap().unwrap();
    assert_eq!((&*found.value, found.revision), (&b"two"[..], second));
    for key in ["b", "c"] {
        assert_eq!(backend.get(key).await.unwrap().unwrap().revision, third, "one transaction, one revision");
    }
    assert!(backend.get("d").await.unwrap().is_none());
}

async fn what_is_expected_holds_or_nothing_is_written(backend: &impl Backend) {
    let first = backend.commit(put("a/1", "one")).await.unwrap();
    let second = backend.commit(put("a/2", "two")).await.unwrap();
    match backend.commit(put("a/1", "lost").expect("a/1", Expect::Absent)).await {
        Err(Error::Conflict { key, current }) => assert_eq!((key.as_str(), current), ("a/1", Some(first))),
        other => panic!("{other:?}"),
    }
    let half = put("b", "no").put("a/1", b"no".to_vec()).expect("a/2", Expect::At(first));
    assert!(matches!(backend.commit(half).await, Err(Error::Conflict { .. })));
    assert_eq!((text(backend, "b").await, text(backend, "a/1").await.as_deref()), (None, Some("one")));
    match backend.commit(put("b", "no").expect("nowhere", Expect::At(second))).await {
        Err(Error::Conflict { key, current }) => assert_eq!((key.as_str(), current), ("nowhere", None)),
        other => panic!("{other:?}"),
    }
    // A key that is expected and not written guards all the same.
    let good = put("b", "yes").expect("a/1", Expect::At(first)).expect("a/2", Expect::Any);
    let third = backend.commit(good.delete("a/2").expect("c", Expect::Absent)).await.unwrap();
    assert!(third > second);
    assert_eq!((text(backend, "b").await.as_deref(), text(backend, "a/2").await), (Some("yes"), None));
    let alone = backend.commit(Txn::new().expect("b", Expect::At(first))).await;
    assert!(matches!(alone, Err(Error::Conflict { .. })), "an expectation alone is one too");
}

async fn a_removal_counts_and_leaves_nothing_to_expect(backend: &impl Backend) {
    let first = backend.commit(put("a", "one")).await.unwrap();
    let removed = backend.commit(Txn::new().delete("a").expect("a", Expect::At(first))).await.unwrap();
    assert!(removed > first);
    assert!(matches!(
        backend.commit(put("a", "no").expect("a", Expect::At(first))).await,
        Err(Error::Conflict { .. })
    ));
    let nothing = backend.commit(Txn::new().delete("never")).await.unwrap();
    assert!(nothing >= removed, "what is not there can be removed");
    let again = backend.commit(put("a", "again").expect("a", Expect::Absent)).await.unwrap();
    assert!(again > removed, "what comes back is newer than it ever was");
}

async fn a_listing_is_in_order_and_of_one_revision(backend: &impl Backend) {
    for key in ["b/2", "a/1", "a/10", "a/2", "a", "a-", "ab", "b/1", "a/\u{e9}", "A/1"] {
        backend.commit(put(key, "x")).await.unwrap();
    }
    assert_eq!(keys(backend, "a/").await, ["a/1", "a/10", "a/2", "a/\u{e9}"]);
    assert_eq!(keys(backend, "a/1").await, ["a/1", "a/10"]);
    assert_eq!(
        keys(backend, "").await,
        ["A/1", "a", "a-", "a/1", "a/10", "a/2", "a/\u{e9}", "ab", "b/1", "b/2"]
    );
    assert!(keys(backend, "c").await.is_empty());
    let last = backend.commit(Txn::new().delete("a/2")).await.unwrap();
    let listing = backend.list("b/").await.unwrap();
    assert_eq!(listing.revision, last, "of the store, not of what was asked for");
    let asked = ["b/1", "a/2", "a/1", "b/1"].map(str::to_owned);
    let read = backend.read(&asked).await.unwrap();
    assert_eq!(read.revision, last);
    assert_eq!(read.records.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a/1", "b/1"]);
    assert!(backend.read(&[]).await.unwrap().records.is_empty());
}

async fn a_transaction_of_nothing_answers_the_revision(backend: &impl Backend) {
    let last = backend.commit(put("a", "x")).await.unwrap();
    assert_eq!(backend.commit(Txn::new()).await.unwrap(), last);
    assert_eq!(backend.commit(Txn::new().expect("a", Expect::At(last))).await.unwrap(), last);
    assert!(backend.commit(put("b", "x")).await.unwrap() > last);
}

async fn what_is_too_large_is_refused_and_what_is_not_is_taken(backend: &impl Backend) {
    let (key, value) = ("k".repeat(MAX_KEY), vec![7; MAX_VALUE]);
    backend.commit(Txn::new().put(key.clone(), value.clone())).await.unwrap();
    assert_eq!(backend.get(&key).await.unwrap().unwrap().value.len(), MAX_VALUE);
    let longer = backend.commit(put(&format!("{key}k"), "x")).await;
    assert!(matches!(longer, Err(Error::TooLarge { .. })));
    let larger = backend.commit(Txn::new().put("a", vec![7; MAX_VALUE + 1])).await;
    assert!(matches!(larger, Err(Error::TooLarge { .. })));
    let together = backend.commit(Txn::new().put("a", value).put("b", vec![7; MAX_TXN - MAX_VALUE])).await;
    assert!(matches!(together, Err(Error::TooMuch { .. })));

    let many = |count: usize| {
        (0..count).fold(Txn::new(), |txn, number| {
            let key = format!("many/{number}");
            txn.expect(key.clone(), Expect::Absent).put(key, b"x".to_vec())
        })
    };
    match backend.commit(many(MAX_OPERATIONS + 1)).await {
        Err(Error::TooMuch { operations, .. }) => assert_eq!(operations, MAX_OPERATIONS + 1),
        other => panic!("{other:?}"),
    }
    let expects =
        (0..=MAX_OPERATIONS).fold(put("a", "x"), |txn, at| txn.expect(format!("{at}"), Expect::Any));
    assert!(matches!(backend.commit(expects).await, Err(Error::TooMuch { .. })));
    assert_eq!(keys(backend, "").await, [key], "nothing of what was refused is there");
    backend.commit(many(MAX_OPERATIONS)).await.unwrap();
    assert_eq!(keys(backend, "many/").await.len(), MAX_OPERATIONS);
}

async fn a_watch_begins_with_what_is_there_and_tells_each_transaction_once(backend: &impl Backend) {
    backend.commit(put("a/2", "two").put("b/1", b"x".to_vec())).await.unwrap();
    let at = backend.commit(put("a/1", "one")).await.unwrap();
    let mut watch = backend.watch("a/").await.unwrap();
    let mut other = backend.watch("").await.unwrap();
    backend.commit(put("b/2", "x")).await.unwrap();
    let first = backend.commit(put("a/3", "three").delete("a/1").put("b/3", b"x".to_vec())).await.unwrap();
    let second = backend.commit(put("a/3", "four")).await.unwrap();

    let there = snapshot(&mut watch).await;
    assert_eq!(there.revision, at);
    assert_eq!(there.records.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a/1", "a/2"]);
    let told = |mut changes: Vec<Change>| {
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        let one = |change: Change| {
            (change.key.to_string(), change.value.map(|value| value.to_vec()), change.revision)
        };
        changes.into_iter().map(one).collect::<Vec<_>>()
    };
    let changes = told(changed(&mut watch).await);
    let three = ("a/3".to_owned(), Some(b"three".to_vec()), first);
    assert_eq!(changes, [("a/1".to_owned(), None, first), three], "a transaction is told whole");
    assert_eq!(told(changed(&mut watch).await), [("a/3".to_owned(), Some(b"four".to_vec()), second)]);

    assert_eq!(snapshot(&mut other).await.records.len(), 3);
    assert_eq!([changed(&mut other).await.len(), changed(&mut other).await.len()], [1, 3]);
}

async fn a_watch_that_falls_behind_is_given_everything_again(backend: &impl Backend) {
    backend.commit(put("a/gone", "x").put("a/stays", b"x".to_vec())).await.unwrap();
    let mut watch = backend.watch("a/").await.unwrap();
    assert_eq!(snapshot(&mut watch).await.records.len(), 2);
    backend.commit(Txn::new().delete("a/gone")).await.unwrap();
    // A backend may keep as many as it likes: what counts is what the watcher has in the end.
    let mut rows: BTreeMap<String, Revision> = BTreeMap::from([("a/gone".to_owned(), Revision(1))]);
    let mut last = Revision(0);
    for number in 0..3000 {
        last = backend.commit(put("a/busy", &number.to_string())).await.unwrap();
    }
    let mut seen = Revision(0);
    while seen < last {
        seen = apply(&mut rows, watch.next().await.unwrap(), seen);
    }
    let listing = backend.list("a/").await.unwrap();
    assert_eq!(rows, listing.records.into_iter().map(|(key, at)| (key, at.revision)).collect());
    let next = backend.commit(put("a/next", "x")).await.unwrap();
    assert_eq!(changed(&mut watch).await.first().unwrap().revision, next, "and goes on from there");
}

/// Takes an event in, and says up to where that goes: never back.
fn apply(rows: &mut BTreeMap<String, Revision>, event: Event, seen: Revision) -> Revision {
    match event {
        Event::Snapshot(listing) => {
            assert!(listing.revision >= seen);
            *rows = listing.records.into_iter().map(|(key, at)| (key, at.revision)).collect();
            listing.revision
        }
        Event::Changed(changes) => {
            let revision = changes.first().unwrap().revision;
            assert!(revision > seen, "each change once, and in order");
            assert!(changes.iter().all(|change| change.revision == revision), "one transaction at a time");
            for change in changes {
                match change.value {
                    Some(_) => drop(rows.insert(change.key.to_string(), revision)),
                    None => drop(rows.remove(&*change.key)),
                }
            }
            revision
        }
    }
}

async fn a_call_of_next_that_is_dropped_has_taken_nothing(backend: &impl Backend) {
    let mut watch = backend.watch("a/").await.unwrap();
    let poll = |watch: &mut Watch| {
        let mut next = Box::pin(watch.next());
        // Dropped at once, whatever came of it.
        match next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => Some(event.unwrap()),
            Poll::Pending => None,
        }
    };
    let mut told: Vec<Revision> = Vec::new();
    let mut due = Vec::new();
    for number in 0..200 {
        let event = poll(&mut watch);
        if let Some(Event::Changed(changes)) = event {
            told.push(changes.first().unwrap().revision);
        }
        if number % 3 == 0 {
            due.push(backend.commit(put("a/1", "x")).await.unwrap());
        }
    }
    while told.len() < due.len() {
        if let Event::Changed(changes) = watch.next().await.unwrap() {
            told.push(changes.first().unwrap().revision);
        }
    }
    // The first may have been there already when the watch was asked first.
    assert_eq!(told, due);
}

async fn watches_that_begin_while_others_write_miss_nothing(backend: Arc<impl Backend>) {
    const WRITES: usize = 300;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let backend = backend.clone();
            tokio::spawn(async move {
                for number in 0..WRITES {
                    let key = format!("a/{}", (writer * 7 + number) % 20);
                    let txn = if number % 5 == 0 { Txn::new().delete(key) } else { put(&key, "x") };
                    backend.commit(txn).await.unwrap();
                }
            })
        })
        .collect();
    let watchers: Vec<_> = (0..20)
        .map(|_| {
            let backend = backend.clone();
            tokio::spawn(async move {
                let (mut watch, mut rows) = (backend.watch("a/").await.unwrap(), BTreeMap::new());
                let mut seen = Revision(0);
                // Until the end is told, which is written last.
                while !rows.contains_key("a/end") {
                    seen = apply(&mut rows, watch.next().await.unwrap(), seen);
                }
                rows
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    backend.commit(put("a/end", "x")).await.unwrap();
    let listing = backend.list("a/").await.unwrap();
    let due: BTreeMap<_, _> = listing.records.into_iter().map(|(key, at)| (key, at.revision)).collect();
    for watcher in watchers {
        assert_eq!(watcher.await.unwrap(), due);
    }
}

async fn of_many_that_expect_the_same_one_gets_it(backend: Arc<impl Backend>) {
    for round in 0..20 {
        let key = format!("address/{round}");
        let claims: Vec<_> = (0..8)
            .map(|who: u32| {
                let (backend, key) = (backend.clone(), key.clone());
                let txn = put(&key, &who.to_string()).expect(key.clone(), Expect::Absent);
                tokio::spawn(async move { backend.commit(txn).await.is_ok().then_some(who) })
            })
            .collect();
        let mut got = Vec::new();
        for claim in claims {
            got.extend(claim.await.unwrap());
        }
        assert_eq!(got.len(), 1, "one of many gets it");
        assert_eq!(text(backend.as_ref(), &key).await, Some(got[0].to_string()));
    }
}

/// Against a map: what is written, what is refused, and what a reader and a watcher find.
async fn any_transactions_do_what_a_map_does(backend: &impl Backend, seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut chance = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut model: BTreeMap<String, Revision> = BTreeMap::new();
    let (mut last, mut watched, mut seen) = (Revision(0), BTreeMap::new(), Revision(0));
    let mut watch = backend.watch("").await.unwrap();
    for step in 0..100 {
        let (mut txn, mut holds, mut written) = (Txn::new(), true, BTreeMap::new());
        for _ in 0..=chance(4) {
            let key = format!("k/{}", chance(6));
            let current = model.get(&key).copied();
            match chance(6) {
                0 => {
                    holds &= current.is_none();
                    txn = txn.expect(key.clone(), Expect::Absent);
                }
                1 => {
                    let at = if chance(4) == 0 { last } else { current.unwrap_or(last) };
                    holds &= current == Some(at);
                    txn = txn.expect(key.clone(), Expect::At(at));
                }
                _ => {}
            }
            let removes = chance(4) == 0;
            txn = if removes {
                txn.delete(key.clone())
            } else {
                txn.put(key.clone(), step.to_string().into_bytes())
            };
            written.insert(key, removes);
        }
        match backend.commit(txn).await {
            Ok(revision) => {
                assert!(holds && revision > last, "seed {seed}, step {step}");
                last = revision;
                for (key, removes) in written {
                    if removes {
                        model.remove(&key)
                    } else {
                        model.insert(key, revision)
                    };
                }
            }
            Err(Error::Conflict { .. }) => assert!(!holds, "seed {seed}, step {step}"),
            Err(cause) => panic!("seed {seed}, step {step}: {cause}"),
        }
        let listing = backend.list("").await.unwrap();
        let rows: BTreeMap<_, _> = listing.records.into_iter().map(|(key, at)| (key, at.revision)).collect();
        assert_eq!((rows, listing.revision), (model.clone(), last), "seed {seed}, step {step}");
        if chance(3) == 0 {
            while seen < last {
                seen = apply(&mut watched, watch.next().await.unwrap(), seen);
            }
            assert_eq!(watched, model, "seed {seed}, step {step}");
        }
    }
}

async fn a_restore_is_as_many_transactions_as_it_takes(backend: &impl Backend) {
    let records: BTreeMap<String, Arc<[u8]>> = (0..500)
        .map(|number| {
            (format!("leases/{number:04}"), Arc::from(vec![7; if number % 100 == 0 { MAX_VALUE } else { 9 }]))
        })
        .collect();
    restore(backend, records.clone()).await.unwrap();
    let found = backend.list("").await.unwrap().records.into_iter().map(|(key, at)| (key, at.value));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), records, "and no mark is left");
}
