//! What waits for the engine, and in which order it is taken.
//!
//! | what | taken | how many wait |
//! |---|---|---|
//! | commits and probes that have come back | first | as many as were begun: the engine bounds them |
//! | messages of machines that the site names, or that run | next, one of each machine in turn | one of each machine, and [`WAITING`] in all besides; of one machine its last [`OF_ONE`] |
//! | messages of strangers | then, but at least one after every [`IN_A_ROW`] others | [`OF_STRANGERS`]; the oldest goes |
//!
//! Strangers that ask for a lease wait besides while the store has as many leases of theirs to write as it takes at once: to look at what they ask
//! would be to lose it.
//!
//! So a machine of the site never waits for strangers, nor for whoever speaks in another machine's name. Whoever floods in
//! its own name shares its places with it by the address that a message is from: what goes is the oldest of the one that
//! has most. Strangers are served in the order in which they came, and the newest first once many wait: who has waited long
//! has given up.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Messages of all machines that wait, beside one of each.
const WAITING: usize = 4096;
/// Messages of one machine that wait.
const OF_ONE: usize = 8;
/// Messages of strangers that wait; of those that ask for a lease so many besides.
const OF_STRANGERS: usize = 2048;
/// From so many on the newest of them is served first.
const MANY: usize = 256;
/// Messages of machines that are served before a stranger is, where one waits.
const IN_A_ROW: usize = 8;

/// Whose a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<K> {
    /// A machine's that is served first.
    Machine(K),
    /// Anybody else's.
    Unknown,
    /// Anybody else's who asks for a lease, which the store has to write.
    Asks,
}

/// All queues. `D` is what has come back, `K` a machine, `M` a message.
pub struct Inbox<D, K, M> {
    queues: Mutex<Queues<D, K, M>>,
    woken: Notify,
}

/// What is taken next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<D, M> {
    /// Something that was begun has come back.
    Done(D),
    /// Somebody asks.
    Heard(M),
}

/// One machine's messages, each with where it is from.
struct Machine<M> {
    waiting: VecDeque<(SocketAddr, M)>,
    /// Where the one that was taken last was from.
    last: Option<SocketAddr>,
}

impl<M> Machine<M> {
    /// Lets the oldest go of the sender that has most of them: its client has asked anew since.
    fn drop_one(&mut self) {
        let count = |from: SocketAddr| self.waiting.iter().filter(|(other, _)| *other == from).count();
        let most = self.waiting.iter().map(|(from, _)| count(*from)).max();
        let place = self.waiting.iter().position(|(from, _)| Some(count(*from)) == most);
        place.and_then(|place| self.waiting.remove(place));
    }

    /// The oldest that is not from where the last one was; else the oldest.
    fn next(&mut self) -> Option<M> {
        let other = self.waiting.iter().position(|(from, _)| Some(*from) != self.last);
        let (from, message) = self.waiting.remove(other.unwrap_or(0))?;
        self.last = Some(from);
        Some(message)
    }
}

struct Queues<D, K, M> {
    done: VecDeque<D>,
    machines: HashMap<K, Machine<M>>,
    turns: VecDeque<K>,
    of_machines: usize,
    strangers: VecDeque<M>,
    /// Those that ask for a lease.
    asking: VecDeque<M>,
    /// Whether those go next.
    is_their_turn: bool,
    in_a_row: usize,
    /// They wait.
    is_held: bool,
    /// Messages that had to go unheard since that was asked last.
    lost: u64,
}

impl<D, K: Copy + Eq + Hash, M> Inbox<D, K, M> {
    pub fn new() -> Self {
        let queues = Queues {
            done: VecDeque::new(),
            machines: HashMap::new(),
            turns: VecDeque::new(),
            of_machines: 0,
            strangers: VecDeque::new(),
            asking: VecDeque::new(),
            is_their_turn: false,
            in_a_row: 0,
            is_held: false,
            lost: 0,
        };
        Self { queues: Mutex::new(queues), woken: Notify::new() }
    }

    pub fn done(&self, done: impl IntoIterator<Item = D>) {
        self.with(|queues| queues.done.extend(done));
        self.woken.notify_one();
    }

    pub fn heard(&self, whose: Whose<K>, from: SocketAddr, message: M) {
        self.with(|queues| match whose {
            Whose::Machine(machine) => queues.machine(machine, from, message),
            Whose::Unknown => keep(&mut queues.strangers, &mut queues.lost, message),
            Whose::Asks => keep(&mut queues.asking, &mut queues.lost, message),
        });
        self.woken.notify_one();
    }

    /// The next one; for one reader alone.
    pub async fn next(&self) -> Next<D, M> {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.woken.notified().await;
        }
    }

    /// Takes as many as wait, up to so many, and says how many there were. What has come back counts as a message does: a disk that
    /// was slow gives thousands of leases back at once, and each is an answer to somebody. What is done with one says whether strangers
    /// have to wait after it.
    pub fn take_some(&self, most: usize, mut act: impl FnMut(Next<D, M>) -> bool) -> usize {
        let mut was_held = None;
        let taken = std::iter::from_fn(|| self.take()).take(most).map(|next| {
            let is_held = act(next);
            if was_held.replace(is_held) != Some(is_held) {
                self.hold_strangers(is_held);
            }
        });
        taken.count()
    }

    /// Has strangers wait, or lets them go on.
    pub fn hold_strangers(&self, is_held: bool) {
        self.with(|queues| queues.is_held = is_held);
    }

    /// How many went unheard since this was asked last: more waited than are kept.
    pub fn lost(&self) -> u64 {
        self.with(|queues| std::mem::take(&mut queues.lost))
    }

    /// The next one, if one waits.
    fn take(&self) -> Option<Next<D, M>> {
        self.with(Queues::next)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Queues<D, K, M>) -> T) -> T {
        act(&mut self.queues.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<D, K: Copy + Eq + Hash, M> Queues<D, K, M> {
    fn machine(&mut self, machine: K, from: SocketAddr, message: M) {
        let full = self.of_machines >= WAITING;
        let queue =
            self.machines.entry(machine).or_insert_with(|| Machine { waiting: VecDeque::new(), last: None });
        if queue.waiting.is_empty() {
            self.turns.push_back(machine);
        } else if full || queue.waiting.len() >= OF_ONE {
            queue.drop_one();
            self.of_machines -= 1;
            self.lost += 1;
        }
        queue.waiting.push_back((from, message));
        self.of_machines += 1;
    }

    fn next(&mut self) -> Option<Next<D, M>> {
        if let Some(done) = self.done.pop_front() {
            return Some(Next::Done(done));
        }
        let turn = self.in_a_row >= IN_A_ROW;
        let message = if turn {
            self.next_stranger().or_else(|| self.next_machine())
        } else {
            self.next_machine().or_else(|| self.next_stranger())
        };
        message.map(Next::Heard)
    }

    fn next_machine(&mut self) -> Option<M> {
        let machine = self.turns.pop_front()?;
        let queue = self.machines.get_mut(&machine)?;
        let message = queue.next();
        if queue.waiting.is_empty() {
            self.machines.remove(&machine);
        } else {
            self.turns.push_back(machine);
        }
        self.of_machines -= usize::from(message.is_some());
        self.in_a_row += 1;
        message
    }

    fn next_stranger(&mut self) -> Option<M> {
        let may_ask = !self.is_held && !self.asking.is_empty();
        if !may_ask && self.strangers.is_empty() {
            return None;
        }
        self.in_a_row = 0;
        let asks = may_ask && (self.is_their_turn || self.strangers.is_empty());
        self.is_their_turn = !asks;
        next(if asks { &mut self.asking } else { &mut self.strangers })
    }
}

/// Keeps a stranger's message in its queue.
fn keep<M>(queue: &mut VecDeque<M>, lost: &mut u64, message: M) {
    if queue.len() >= OF_STRANGERS {
        queue.pop_front();
        *lost += 1;
    }
    queue.push_back(message);
}

/// The next of a queue of strangers.
fn next<M>(queue: &mut VecDeque<M>) -> Option<M> {
    if queue.len() >= MANY { queue.pop_back() } else { queue.pop_front() }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Inbox<u32, u32, (u32, u32)>;

    fn from(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 68))
    }

    fn taken(inbox: &Numbers) -> Vec<Next<u32, (u32, u32)>> {
        std::iter::from_fn(|| inbox.with(Queues::next)).collect()
    }

    fn heard(inbox: &Numbers) -> Vec<(u32, u32)> {
        let message = |next| if let Next::Heard(message) = next { Some(message) } else { None };
        taken(inbox).into_iter().filter_map(message).collect()
    }

    #[test]
    fn machines_are_served_in_turn_and_before_strangers() {
        let inbox = Numbers::new();
        (0..3).for_each(|number| inbox.heard(Whose::Unknown, from(0), (0, number)));
        (0..100).for_each(|number| inbox.heard(Whose::Machine(1), from(0), (1, number)));
        inbox.heard(Whose::Machine(2), from(0), (2, 0));
        inbox.done([7]);
        let next = taken(&inbox);
        assert_eq!(next[0], Next::Done(7));
        assert_eq!(next[1..4], [Next::Heard((1, 92)), Next::Heard((2, 0)), Next::Heard((1, 93))]);
        assert_eq!(next.len(), 1 + 3 + OF_ONE + 1, "of one machine its last ones wait");
    }

    #[test]
    fn what_one_sync_gives_back_is_taken_in_the_same_turns_as_messages_are() {
        let inbox = Numbers::new();
        inbox.done(0..5_000);
        inbox.heard(Whose::Machine(1), from(0), (1, 0));
        let mut taken = Vec::new();
        assert_eq!(
            inbox.take_some(192, |next| {
                taken.push(next);
                false
            }),
            192
        );
        assert_eq!(
            taken,
            (0..192).map(Next::Done).collect::<Vec<_>>(),
            "a relay's buffer holds no more answers"
        );
        assert_eq!(inbox.take_some(10_000, |_| false), 5_000 - 192 + 1);
    }

    #[test]
    fn strangers_that_are_held_keep_no_machine_waiting_and_lose_nothing() {
        let inbox = Numbers::new();
        inbox.hold_strangers(true);
        (0..100).for_each(|number| inbox.heard(Whose::Asks, from(0), (0, number)));
        inbox.heard(Whose::Unknown, from(0), (2, 0));
        inbox.heard(Whose::Machine(1), from(0), (1, 0));
        assert_eq!(heard(&inbox), [(1, 0), (2, 0)], "who asks for no lease waits for no disk");
        inbox.done([7]);
        assert_eq!(taken(&inbox), [Next::Done(7)]);
        inbox.hold_strangers(false);
        assert_eq!(heard(&inbox), (0..100).map(|number| (0, number)).collect::<Vec<_>>());
    }

    #[test]
    fn a_stranger_is_served_though_machines_never_stop() {
        let inbox = Numbers::new();
        inbox.heard(Whose::Unknown, from(0), (0, 0));
        let served = (0..100).find(|number| {
            inbox.heard(Whose::Machine(1), from(0), (1, *number));
            inbox.with(Queues::next) == Some(Next::Heard((0, 0)))
        });
        assert_eq!(served, Some(u32::try_from(IN_A_ROW).unwrap()));
    }

    #[test]
    fn a_flood_of_strangers_keeps_no_machine_out_and_the_newest_is_served_first() {
        let inbox = Numbers::new();
        (0..50_000).for_each(|number| inbox.heard(Whose::Unknown, from(0), (0, number)));
        (0..9000).for_each(|number| inbox.heard(Whose::Machine(number), from(0), (1, number)));
        (0..9000).for_each(|number| inbox.heard(Whose::Machine(number), from(0), (2, number)));
        assert!(inbox.with(|queues| queues.of_machines) == 9000, "one of each, for there are many");
        let served = heard(&inbox);
        assert_eq!(served.iter().filter(|(kind, _)| *kind == 2).count(), 9000);
        assert_eq!(served.iter().find(|(kind, _)| *kind == 0), Some(&(0, 49_999)));
        assert_eq!(served.iter().filter(|(kind, _)| *kind == 0).count(), OF_STRANGERS);
        assert_eq!(inbox.lost(), 50_000 - OF_STRANGERS as u64 + 9_000, "what nobody hears is counted");
        assert!(inbox.with(|queues| queues.machines.is_empty() && queues.turns.is_empty()));
    }

    #[test]
    fn strangers_are_served_in_order_where_few_wait() {
        let inbox = Numbers::new();
        (0..100).for_each(|number| inbox.heard(Whose::Unknown, from(0), (0, number)));
        assert_eq!(heard(&inbox), (0..100).map(|number| (0, number)).collect::<Vec<_>>());
    }

    #[test]
    fn a_flood_in_a_machines_name_from_elsewhere_takes_no_place_of_its_own() {
        let inbox = Numbers::new();
        inbox.heard(Whose::Machine(1), from(1), (1, 0));
        (0..1000).for_each(|number| inbox.heard(Whose::Machine(1), from(2), (2, number)));
        inbox.heard(Whose::Machine(1), from(1), (1, 1));
        (0..1000).for_each(|number| inbox.heard(Whose::Machine(1), from(2), (2, number)));
        let served = heard(&inbox);
        assert_eq!(served.len(), OF_ONE);
        assert_eq!(served.iter().filter(|(whose, _)| *whose == 1).count(), 2);
        assert_eq!(served[..3], [(1, 0), (2, 994), (1, 1)], "in turn");
    }
}
