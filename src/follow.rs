//! Following what other servers on the same state change. A watch that ends, or a state that can't be reached, is no reason to
//! stop serving: machines go on with what is known, and the state is asked again, after longer and longer pauses.

use std::sync::Arc;

use oneroot_state::{Backend, Error, Event, Watch};
use tokio::time::Instant;

use crate::net::Backoff;

/// A watch that begins anew whenever it ends.
pub struct Follower<B> {
    state: Arc<B>,
    prefixes: Vec<String>,
    watch: Option<Watch>,
    backoff: Backoff,
    /// Before this moment the state is not asked again.
    pause: Option<Instant>,
    /// It was said that the state can't be watched.
    is_told: bool,
}

impl<B: Backend> Follower<B> {
    /// Of all that happens under these prefixes.
    pub fn new(state: Arc<B>, prefixes: Vec<String>) -> Self {
        Self { state, prefixes, watch: None, backoff: Backoff::default(), pause: None, is_told: false }
    }

    /// Waits for the next event: first all that is there, and again after each time at which the state could not be watched;
    /// `None` once it is closed.
    ///
    /// CANCEL-SAFE: a call that is dropped has taken nothing, and the next one waits for the rest of a pause.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(pause) = self.pause {
                tokio::time::sleep_until(pause).await;
                self.pause = None;
            }
            match self.ask().await {
                Ok(event) => {
                    if std::mem::take(&mut self.is_told) {
                        tracing::info!("the state can be watched again");
                    }
                    self.backoff.reset();
                    return Some(event);
                }
                Err(Error::Closed) => return None,
                Err(cause) => {
                    self.watch = None;
                    self.pause = Some(Instant::now() + self.backoff.next());
                    if !std::mem::replace(&mut self.is_told, true) {
                        tracing::warn!(%cause, "what other servers change is not seen for now; machines are served on with what is known");
                    }
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<Event, Error> {
        let watch = match &mut self.watch {
            Some(watch) => watch,
            none => none.insert(self.state.watch_all(&self.prefixes).await?),
        };
        watch.next().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_state::{Memory, Txn};
    use std::time::Duration;

    fn keys(event: Event) -> Vec<String> {
        match event {
            Event::Snapshot(listing) => listing.records.into_iter().map(|(key, _)| key).collect(),
            Event::Changed(changes) => changes.into_iter().map(|change| change.key.to_string()).collect(),
        }
    }

    #[tokio::test]
    async fn what_was_changed_while_the_state_could_not_be_reached_is_told_afterwards() {
        let memory = Arc::new(Memory::default());
        let put = |key: &str| Txn::new().put(key, b"x".to_vec());
        memory.commit(put("a")).await.unwrap();
        let mut follower = Follower::new(memory.clone(), vec![String::new()]);
        assert_eq!(keys(follower.next().await.unwrap()), ["a"]);
        memory.commit(put("b")).await.unwrap();
        memory.set_unreachable(true);
        // Whoever waits for other things too drops the call again and again.
        for _ in 0..50 {
            let waited = tokio::time::timeout(Duration::from_millis(5), follower.next()).await;
            assert!(waited.is_err(), "nobody can be asked");
        }
        memory.set_unreachable(false);
        memory.commit(Txn::new().delete("a").put("c", b"x".to_vec())).await.unwrap();
        assert_eq!(keys(follower.next().await.unwrap()), ["b", "c"], "all that is there by now");
        memory.commit(put("d")).await.unwrap();
        assert_eq!(keys(follower.next().await.unwrap()), ["d"]);
    }
}
