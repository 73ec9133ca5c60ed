//! What the site's program has said of each NIC: asked for a machine that boots, remembered for as long as the site says, and
//! shared by all that ask the same at the same time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use oneroot_ids::Mac;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::decider::Decider;
use crate::host::Host;

/// NICs whose answers are remembered, as a hint to the table, and what all of them may weigh, in bytes.
const REMEMBERED: usize = 10_000;
const HEAVIEST: u64 = 64 << 20;
/// What a NIC weighs beside its answer.
const OVERHEAD: u64 = 256;
/// NICs that are asked about at once, those that wait for a run included.
const ASKED_AT_ONCE: usize = 1_024;
const ENDING: &str = "was not asked: the server is about to end";

/// An answer, or a sentence about the program that says why there is none, without its subject.
pub type Answer = Result<Arc<[u8]>, Arc<str>>;

/// How the program has done since the server started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecideStatus {
    /// Runs that were asked for.
    pub asked: u64,
    /// Those of which no answer came.
    pub failed: u64,
    /// Why the last of these has failed.
    #[serde(default)]
    pub last_error: Option<String>,
    /// When, seconds since 1970.
    #[serde(default)]
    pub last_failed_at: Option<u64>,
}

/// Answers so far, and who is being asked about.
pub struct Asking {
    by: OnceLock<Arc<dyn Decider>>,
    host: Arc<dyn Host>,
    answers: Cache<Mac, Remembered, Weights>,
    under_way: Mutex<HashMap<Mac, UnderWay>>,
    /// How often all that was said was forgotten: what a site before the present one asked is not remembered.
    forgotten: AtomicU64,
    status: Mutex<DecideStatus>,
}

/// The last answer of a NIC.
#[derive(Clone)]
struct Remembered {
    question: [u8; 32],
    answer: Arc<[u8]>,
    /// Seconds of site time at which it was given.
    at: u64,
}

#[derive(Clone)]
struct Weights;

impl Weighter<Mac, Remembered> for Weights {
    fn weight(&self, _: &Mac, remembered: &Remembered) -> u64 {
        remembered.answer.len() as u64 + OVERHEAD
    }
}

/// A question that somebody has asked, and where its answer will be.
#[derive(Clone)]
struct UnderWay {
    question: [u8; 32],
    answer: watch::Receiver<Option<Answer>>,
}

/// What there is of an answer.
enum Joined {
    Known(Arc<[u8]>),
    UnderWay(UnderWay),
}

/// A question about a NIC.
pub struct Asked {
    /// The NIC.
    pub mac: Mac,
    /// What people call its machine.
    pub machine: String,
    /// The question's document.
    pub question: Vec<u8>,
    /// Whether the site names the machine.
    pub is_named: bool,
    /// Seconds for which an answer counts.
    pub kept: u64,
    /// What is wrong with an answer.
    pub check: Check,
}

/// Looks at an answer: a sentence about the program that says what is wrong with it, without its subject.
pub type Check = Box<dyn Fn(&[u8]) -> Result<(), String> + Send>;

impl Asking {
    /// Nobody was asked yet, and nobody is there to be asked.
    pub fn new(host: Arc<dyn Host>) -> Self {
        Self {
            by: OnceLock::new(),
            host,
            answers: Cache::with_weighter(REMEMBERED, HEAVIEST, Weights),
            under_way: Mutex::default(),
            forgotten: AtomicU64::new(0),
            status: Mutex::default(),
        }
    }

    /// Who runs the program from now on; the first to say so counts.
    pub fn by(&self, decider: Arc<dyn Decider>) {
        let _ = self.by.set(decider);
    }

    /// How it has done.
    pub fn status(&self) -> DecideStatus {
        self.told().clone()
    }

    fn told(&self) -> MutexGuard<'_, DecideStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer about a NIC to this very question, if it was given within the last `kept` seconds.
    pub fn known(&self, mac: Mac, question: &[u8], kept: u64) -> Option<Arc<[u8]>> {
        self.fresh(mac, &name_of(question), kept)
    }

    fn fresh(&self, mac: Mac, question: &[u8; 32], kept: u64) -> Option<Arc<[u8]>> {
        let remembered = self.answers.get(&mac)?;
        let is_fresh = self.host.now() < remembered.at.saturating_add(kept);
        (is_fresh && remembered.question == *question).then_some(remembered.answer)
    }

    /// The last answer about a NIC, whatever the question was and however long ago: what it has booted by.
    pub fn last(&self, mac: Mac) -> Option<Arc<[u8]>> {
        self.answers.get(&mac).map(|remembered| remembered.answer)
    }

    /// The answer to a question: one that still counts, or one that is given now. Of one NIC there is one question at a time,
    /// whatever it tells of itself: who changes what it tells has its own machine wait, and no other.
    pub async fn ask(self: &Arc<Self>, asked: Asked) -> Answer {
        let question = name_of(&asked.question);
        let mut asked = Some(asked);
        while let Some((mac, kept)) = asked.as_ref().map(|asked| (asked.mac, asked.kept)) {
            let mut under_way = match self.joined(mac, question, kept, &mut asked)? {
                Joined::Known(answer) => return Ok(answer),
                Joined::UnderWay(one) => one,
            };
            let answer =
                under_way.answer.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
            // Else it was another question about this NIC, whose answer says nothing here; this one is asked next.
            if under_way.question == question {
                return answer.unwrap_or_else(|| Err(ENDING.into()));
            }
        }
        Err(ENDING.into())
    }

    /// The answer that still counts, or who is asking about a NIC already, or this question from now on, which is taken then.
    fn joined(
        self: &Arc<Self>,
        mac: Mac,
        question: [u8; 32],
        kept: u64,
        asked: &mut Option<Asked>,
    ) -> Result<Joined, Arc<str>> {
        // What is under way and what is remembered are looked at together: a run that ends between the looks would be run again.
        let mut all = self.under_way();
        if let Some(answer) = self.fresh(mac, &question, kept) {
            return Ok(Joined::Known(answer));
        }
        if let Some(one) = all.get(&mac) {
            return Ok(Joined::UnderWay(one.clone()));
        }
        if all.len() >= ASKED_AT_ONCE {
            return Err("was not asked: too many machines wait for it".into());
        }
        let (tell, answer) = watch::channel(None);
        let one = UnderWay { question, answer };
        if let Some(asked) = asked.take() {
            all.insert(mac, one.clone());
            // Who asked may be gone before there is an answer, and asks again.
            let forgotten = self.forgotten.load(Ordering::Acquire);
            tokio::spawn(self.clone().run(asked, (question, forgotten), tell));
        }
        Ok(Joined::UnderWay(one))
    }

    async fn run(
        self: Arc<Self>,
        asked: Asked,
        (question, forgotten): ([u8; 32], u64),
        tell: watch::Sender<Option<Answer>>,
    ) {
        let Asked { mac, machine, check, .. } = asked;
        let ran = match self.by.get() {
            Some(by) => by.run(asked.question, asked.is_named).await,
            None => Err("is new in the site, which takes a restart".to_owned()),
        };
        let answer: Answer =
            ran.and_then(|answer| check(&answer).map(|()| answer.into())).map_err(Into::into);
        match &answer {
            Ok(answer) => {
                self.told().asked += 1;
                let remembered = Remembered { question, answer: answer.clone(), at: self.host.now() };
                self.answers.insert(mac, remembered);
                // Looked at behind the insertion: whoever forgets counts first, so one of the two sees the other.
                if self.forgotten.load(Ordering::Acquire) != forgotten {
                    self.answers.remove(&mac);
                }
            }
            Err(cause) => {
                tracing::warn!(machine, %mac, %cause, "the decide program gave no answer: rules and groups decide");
                let mut status = self.told();
                (status.asked, status.failed) = (status.asked + 1, status.failed + 1);
                status.last_error = Some(cause.to_string());
                status.last_failed_at = Some(self.host.shown(self.host.now()));
            }
        }
        // Only once the answer is remembered: who asks in between finds one or the other, and starts no second run.
        self.under_way().remove(&mac);
        tell.send_replace(Some(answer));
    }

    /// Forgets all that was said: another site may not have what it names.
    pub fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.answers.clear();
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Mac, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(question: &[u8]) -> [u8; 32] {
    *blake3::hash(question).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::still::Still;
    use crate::planner::decider::Running;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;
    use tokio::sync::Semaphore;

    /// A program that answers when it is let, with what it is told to, and counts its runs.
    struct Fake {
        let_go: Arc<Semaphore>,
        answer: Result<Vec<u8>, String>,
        runs: AtomicUsize,
        at_once: Arc<AtomicUsize>,
        most: AtomicUsize,
    }

    impl Fake {
        fn of(answer: Result<&[u8], &str>, let_go: usize) -> Arc<Self> {
            Arc::new(Self {
                let_go: Arc::new(Semaphore::new(let_go)),
                answer: answer.map(<[u8]>::to_vec).map_err(str::to_owned),
                runs: AtomicUsize::new(0),
                at_once: Arc::default(),
                most: AtomicUsize::new(0),
            })
        }

        fn runs(&self) -> usize {
            self.runs.load(Ordering::SeqCst)
        }
    }

    impl Decider for Fake {
        fn run(&self, _: Vec<u8>, _: bool) -> Running {
            let (let_go, answer) = (self.let_go.clone(), self.answer.clone());
            let at_once = self.at_once.clone();
            // All of it before the run is counted, for that is what a test waits for.
            self.most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            self.runs.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                let _place = let_go.acquire_owned().await;
                at_once.fetch_sub(1, Ordering::SeqCst);
                answer
            })
        }
    }

    fn asking(fake: &Arc<Fake>) -> Arc<Asking> {
        let asking = Asking::new(Still::new());
        asking.by(fake.clone());
        Arc::new(asking)
    }

    fn mac(number: u32) -> Mac {
        let [a, b, c, d] = number.to_be_bytes();
        Mac::new([2, 0, a, b, c, d]).unwrap()
    }

    fn asked(number: u32, question: &str) -> Asked {
        let check = |answer: &[u8]| if answer == b"bad" { Err("is bad".to_owned()) } else { Ok(()) };
        Asked {
            mac: mac(number),
            machine: String::new(),
            question: question.as_bytes().to_vec(),
            is_named: true,
            kept: 60,
            check: Box::new(check),
        }
    }

    /// Waits until a program was run so often.
    async fn until(fake: &Fake, runs: usize) {
        while fake.runs() < runs {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_that_ask_the_same_at_once_share_a_run_and_whoever_goes_away_ends_none() {
        let fake = Fake::of(Ok(b"{}"), 0);
        let asking = asking(&fake);
        let mut waiting: Vec<_> = (0..64)
            .map(|_| {
                let asking = asking.clone();
                tokio::spawn(async move { asking.ask(asked(1, "who?")).await })
            })
            .collect();
        until(&fake, 1).await;
        waiting.drain(..32).for_each(|one| one.abort());
        fake.let_go.add_permits(1);
        for one in waiting {
            assert_eq!(&*one.await.unwrap().unwrap(), b"{}");
        }
        assert_eq!(&*asking.ask(asked(1, "who?")).await.unwrap(), b"{}", "and it is remembered");
        assert_eq!((fake.runs(), asking.status().asked, asking.under_way().len()), (1, 1, 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_tells_something_else_each_time_waits_for_its_own_runs_and_others_for_none_of_them() {
        let fake = Fake::of(Ok(b"{}"), 0);
        let asking = asking(&fake);
        let mut waiting: Vec<_> = (0..20)
            .map(|number| {
                let asking = asking.clone();
                tokio::spawn(async move { asking.ask(asked(1, &format!("is it {number}?"))).await })
            })
            .collect();
        until(&fake, 1).await;
        let others = asking.clone();
        let other = tokio::spawn(async move { others.ask(asked(2, "who?")).await });
        until(&fake, 2).await;
        assert_eq!(fake.most.load(Ordering::SeqCst), 2, "one of each");
        fake.let_go.add_permits(100);
        assert!(other.await.unwrap().is_ok());
        for one in waiting.drain(..) {
            assert!(one.await.unwrap().is_ok());
        }
        assert_eq!(fake.most.load(Ordering::SeqCst), 2);
        assert_eq!((fake.runs(), asking.answers.len()), (21, 2), "the last answer of each");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn who_asks_while_an_answer_is_remembered_starts_no_second_run() {
        const ROUNDS: u32 = 20_000;
        let fake = Fake::of(Ok(b"{}"), Semaphore::MAX_PERMITS);
        let asking = asking(&fake);
        for round in 0..ROUNDS {
            let ask = || {
                let asking = asking.clone();
                tokio::spawn(async move { asking.ask(asked(round, "who?")).await })
            };
            for one in [ask(), ask(), ask(), ask()] {
                assert!(one.await.unwrap().is_ok());
            }
        }
        assert_eq!(fake.runs(), ROUNDS as usize);
    }

    #[tokio::test]
    async fn what_fails_is_told_and_counted_and_asked_again() {
        for (answer, why) in [(Err("has failed"), "has failed"), (Ok(&b"bad"[..]), "is bad")] {
            let fake = Fake::of(answer, 9);
            let asking = asking(&fake);
            for run in 1..=3 {
                assert_eq!(asking.ask(asked(1, "who?")).await.unwrap_err().as_ref(), why);
                let status = asking.status();
                assert_eq!((fake.runs() as u64, status.asked, status.failed), (run, run, run));
                assert_eq!(status.last_error.as_deref(), Some(why));
            }
            assert_eq!(asking.last(mac(1)), None);
        }
        let nobody = Arc::new(Asking::new(Still::new()));
        assert!(nobody.ask(asked(1, "who?")).await.unwrap_err().contains("takes a restart"));
    }

    #[tokio::test]
    async fn an_answer_is_that_to_its_own_question_for_its_own_time_and_a_new_site_forgets_it() {
        let fake = Fake::of(Ok(b"{}"), 9);
        let asking = asking(&fake);
        asking.ask(asked(1, "who?")).await.unwrap();
        assert!(asking.known(mac(1), b"who?", 60).is_some() && asking.last(mac(1)).is_some());
        assert!(asking.known(mac(1), b"who?", 0).is_none(), "its time is over");
        assert!(asking.known(mac(1), b"whose?", 60).is_none() && asking.known(mac(2), b"who?", 60).is_none());
        asking.forget();
        assert!(asking.known(mac(1), b"who?", 60).is_none() && asking.last(mac(1)).is_none());
    }

    #[tokio::test]
    async fn answers_weigh_no_more_than_they_may_however_many_nics_there_are() {
        let fake = Fake::of(Ok(&[b'x'; 64 << 10]), 1 << 20);
        let asking = asking(&fake);
        for number in 0..1_500 {
            asking.ask(asked(number, "who?")).await.unwrap();
        }
        assert!(asking.answers.weight() <= HEAVIEST, "{} bytes", asking.answers.weight());
        assert!(asking.answers.len() >= 500, "{} are remembered", asking.answers.len());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_answer_that_the_site_before_asked_for_is_given_to_who_waits_and_not_remembered() {
        let fake = Fake::of(Ok(b"{}"), 0);
        let asking = asking(&fake);
        let waits = asking.clone();
        let waiting = tokio::spawn(async move { waits.ask(asked(1, "who?")).await });
        until(&fake, 1).await;
        asking.forget();
        fake.let_go.add_permits(2);
        assert_eq!(&*waiting.await.unwrap().unwrap(), b"{}");
        assert!(asking.known(mac(1), b"who?", 60).is_none() && asking.last(mac(1)).is_none());
        assert!(asking.ask(asked(1, "who?")).await.is_ok());
        assert_eq!(fake.runs(), 2, "the present site asks for itself");
        assert!(asking.known(mac(1), b"who?", 60).is_some());
    }
}
