//! A network's pool: which of its addresses is free, found without looking at the others.
//!
//! Each address stands in one place, by what the tables say of it ([`Standing`]); whoever changes a table has it put where
//! it belongs now ([`Pool::place`]). What ends by time alone is in the order in which it ends ([`Pool::due`]). So an address
//! is found, given and freed in a number of steps that grows with the logarithm of the pool.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use crate::networks::ranges::Ranges;
use crate::networks::subnets::Subnet;

/// Addresses whose time has come that are looked at with one message. Were there more, the next messages take them.
const AT_ONCE: usize = 1024;

/// What is to be known of an address before it can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody has had it.
    New,
    /// It is somebody's, until a table says otherwise.
    Taken,
    /// It is somebody's until then, seconds of site time.
    Until(u64),
    /// Its lease ended then.
    Ended(u64),
    /// Its lease looks ended. It is sure to be from then on; before, whoever had it is asked for.
    Doubtful(u64),
}

/// An address to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This one.
    Give(Ipv4Addr),
    /// This one, if nobody answers there.
    Probe(Ipv4Addr),
}

impl Choice {
    pub(crate) fn address(self) -> Ipv4Addr {
        match self {
            Self::Give(address) | Self::Probe(address) => address,
        }
    }
}

/// Leases that have ended, the longest ended first.
type Queue = BTreeSet<(u64, u32)>;

/// Those of strangers, and those of NICs that the site names and has no address for: they are given to others last.
#[derive(Debug, Default)]
struct Queues {
    ended: Queue,
    doubtful: Queue,
}

#[derive(Debug)]
struct Slot {
    standing: Standing,
    /// Whether a NIC for which room is kept has it here.
    named: bool,
}

/// The addresses that a network gives to machines without one of their own.
#[derive(Debug)]
pub(crate) struct Pool {
    first: u32,
    last: u32,
    members: Ranges,
    new: Ranges,
    /// All but those that are new.
    slots: HashMap<u32, Slot>,
    strangers: Queues,
    named: Queues,
    /// What changes by itself, by when.
    timed: Queue,
    /// NICs for which room is kept, and how many of them have it.
    room: u64,
    settled: u64,
}

impl Pool {
    /// A pool of which nothing has been given. `None` for a network without one.
    pub(crate) fn of(subnet: &Subnet) -> Option<Self> {
        let (first, last) = subnet.pool.filter(|_| !subnet.proxy)?;
        let (first, last) = (u32::from(first), u32::from(last));
        let mut members = Ranges::default();
        members.put(first, last);
        for (from, to) in &subnet.exclude {
            members.cut(u32::from(*from), u32::from(*to));
        }
        let network = [subnet.network.network(), subnet.network.broadcast(), subnet.server];
        let single = network.into_iter().chain(subnet.router).filter(|address| !subnet.usable(*address));
        for address in single.chain(subnet.reserved.iter().copied()) {
            members.take(u32::from(address));
        }
        Some(Self {
            first,
            last,
            new: members.clone(),
            members,
            slots: HashMap::new(),
            strangers: Queues::default(),
            named: Queues::default(),
            timed: Queue::new(),
            room: u64::from(subnet.named),
            settled: 0,
        })
    }

    /// Its lowest address, by which it is known from others; `None` for an address that it does not give.
    pub(crate) fn known_by(&self, address: Ipv4Addr) -> Option<u32> {
        self.members.contains(u32::from(address)).then_some(self.first)
    }

    /// Puts an address where it belongs now. `named` says whether a NIC for which room is kept has it
    /// here.
    pub(crate) fn place(&mut self, address: Ipv4Addr, standing: Standing, named: bool) {
        let address = u32::from(address);
        // Who is offered an address and takes it has it all the time.
        let is_there = |slot: &Slot| slot.standing == standing && slot.named == named;
        if self.slots.get(&address).is_some_and(is_there) || !self.members.contains(address) {
            return;
        }
        match self.slots.remove(&address) {
            None => drop(self.new.take(address)),
            Some(Slot { standing, named }) => {
                self.settled -= u64::from(named);
                let queues = if named { &mut self.named } else { &mut self.strangers };
                match standing {
                    Standing::Until(time) => drop(self.timed.remove(&(time, address))),
                    Standing::Ended(time) => drop(queues.ended.remove(&(time, address))),
                    Standing::Doubtful(time) => {
                        self.timed.remove(&(time, address));
                        queues.doubtful.remove(&(time, address));
                    }
                    Standing::New | Standing::Taken => {}
                }
            }
        }
        let queues = if named { &mut self.named } else { &mut self.strangers };
        match standing {
            Standing::New => return self.new.put(address, address),
            Standing::Taken => {}
            Standing::Until(time) => drop(self.timed.insert((time, address))),
            Standing::Ended(time) => drop(queues.ended.insert((time, address))),
            Standing::Doubtful(time) => {
                self.timed.insert((time, address));
                queues.doubtful.insert((time, address));
            }
        }
        self.settled += u64::from(named);
        self.slots.insert(address, Slot { standing, named });
    }

    /// Addresses whose standing has changed by time alone, for [`Pool::place`].
    pub(crate) fn due(&self, now: u64) -> Vec<Ipv4Addr> {
        let due = self.timed.iter().take_while(|(time, _)| *time <= now).take(AT_ONCE);
        due.map(|(_, address)| Ipv4Addr::from(*address)).collect()
    }

    /// The address for a client that has none: the first that nobody has had, from where its hash points on; else that of
    /// the lease that ended first, of equals the one that is nearest behind the hash. A stranger gets none of those that
    /// the site's machines had last, and nothing where only the room for them is left.
    pub(crate) fn choose(&self, hash: u64, stranger: bool) -> Option<Choice> {
        if stranger && !self.has_spare() {
            return None;
        }
        // All from first to last: a hash that points to a place that was cut out leads to the next one.
        let size = u64::from(self.last - self.first) + 1;
        let start = self.first + u32::try_from(hash % size).unwrap_or(0);
        let give = |address: u32| Choice::Give(address.into());
        let probe = |address: u32| Choice::Probe(address.into());
        let of = |queues: &Queues| {
            longest(&queues.ended, start).map(give).or_else(|| longest(&queues.doubtful, start).map(probe))
        };
        let new = self.new.from(start).map(give).or_else(|| of(&self.strangers));
        new.or_else(|| if stranger { None } else { of(&self.named) })
    }

    /// Whether a stranger who takes an address leaves room for every NIC that the site names.
    pub(crate) fn has_spare(&self) -> bool {
        self.free_to_strangers() > self.room.saturating_sub(self.settled)
    }

    /// Whether nothing is free for anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.free() == 0
    }

    /// Whether nobody has it right now, so that giving it takes from what is free.
    pub(crate) fn is_free(&self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        let ended = |slot: &Slot| matches!(slot.standing, Standing::Ended(_) | Standing::Doubtful(_));
        self.slots.get(&address).map_or(self.new.contains(address), ended)
    }

    /// Whether so much is given that strangers' leases must be short.
    pub(crate) fn is_tight(&self) -> bool {
        let size = self.members.len();
        (size - self.free()) * 4 >= size * 3
    }

    fn free(&self) -> u64 {
        self.free_to_strangers() + (self.named.ended.len() + self.named.doubtful.len()) as u64
    }

    fn free_to_strangers(&self) -> u64 {
        self.new.len() + (self.strangers.ended.len() + self.strangers.doubtful.len()) as u64
    }
}

fn longest(queue: &Queue, start: u32) -> Option<u32> {
    let (time, _) = queue.first()?;
    let nearest = queue.range((*time, start)..=(*time, u32::MAX)).next();
    nearest.or_else(|| queue.first()).map(|(_, address)| *address)
}

/// The pools of all networks.
#[derive(Debug, Default)]
pub(crate) struct Pools(BTreeMap<u32, Pool>);

impl Pools {
    pub(crate) fn of<'s>(subnets: impl Iterator<Item = &'s Subnet>) -> Self {
        Self(subnets.filter_map(Pool::of).map(|pool| (pool.first, pool)).collect())
    }

    pub(crate) fn with(&self, address: Ipv4Addr) -> Option<&Pool> {
        let address = u32::from(address);
        self.0.range(..=address).next_back().map(|(_, pool)| pool).filter(|pool| address <= pool.last)
    }

    pub(crate) fn with_mut(&mut self, address: Ipv4Addr) -> Option<&mut Pool> {
        let address = u32::from(address);
        self.0.range_mut(..=address).next_back().map(|(_, pool)| pool).filter(|pool| address <= pool.last)
    }

    /// A network's.
    pub(crate) fn in_subnet(&self, subnet: &Subnet) -> Option<&Pool> {
        self.0.get(&u32::from(subnet.pool?.0))
    }
}
