//! The names of a directory as a view has it: in runs, because the few names of an upper layer come between many of a lower
//! one. A machine's file in a directory of a thousand names costs three runs and no list of a thousand.

use std::cmp::Ordering;

/// Where a name comes from: the layer, and the place in its table of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NameRef {
    pub(super) layer: u16,
    pub(super) place: u32,
}

/// Names that follow one another in a layer's table, and that no other layer's come between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// The number that its first name has in the directory.
    number: u32,
    /// Its first name.
    from: NameRef,
}

/// The names of a directory, in byte order.
#[derive(Debug, Clone)]
pub(super) struct Names<'a> {
    runs: Runs<'a>,
    count: u32,
}

/// The runs of a directory.
#[derive(Debug, Clone)]
enum Runs<'a> {
    /// That of a directory which one layer alone has.
    One([Run; 1]),
    /// Those of a merged one.
    Many(&'a [Run]),
}

/// Names that are put together, in byte order.
#[derive(Default)]
pub(super) struct Gathered {
    runs: Vec<Run>,
    count: u32,
}

impl Gathered {
    /// `count` names from here on come next.
    pub(super) fn add(&mut self, from: NameRef, count: u32) {
        let follows = self.runs.last().is_some_and(|last| last.at(self.count) == from);
        if count > 0 && !follows {
            self.runs.push(Run { number: self.count, from });
        }
        self.count = self.count.saturating_add(count);
    }

    /// Puts its runs behind those of other directories; how many there are, and how many names.
    pub(super) fn put(&mut self, all: &mut Vec<Run>) -> (u32, u32) {
        let runs = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        all.append(&mut self.runs);
        (runs, std::mem::take(&mut self.count))
    }
}

impl Run {
    fn at(&self, number: u32) -> NameRef {
        NameRef { place: self.from.place.saturating_add(number.saturating_sub(self.number)), ..self.from }
    }
}

impl<'a> Names<'a> {
    /// Names that lie in a layer's table one after the other.
    pub(super) fn plain(from: NameRef, count: u32) -> Self {
        Self { runs: Runs::One([Run { number: 0, from }]), count }
    }

    /// Names of a merged directory.
    pub(super) fn merged(runs: &'a [Run], count: u32) -> Self {
        Self { runs: Runs::Many(runs), count }
    }

    fn runs(&self) -> &[Run] {
        match &self.runs {
            Runs::One(run) => run,
            Runs::Many(runs) => runs,
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.count
    }

    pub(super) fn get(&self, number: u32) -> Option<NameRef> {
        let place = self.runs().partition_point(|run| run.number <= number).checked_sub(1)?;
        self.runs().get(place).filter(|_| number < self.count).map(|run| run.at(number))
    }

    /// The number of a name, or that of the first one behind where it would be.
    pub(super) fn search<'n>(
        &self,
        name_of: impl Fn(NameRef) -> Option<&'n [u8]>,
        name: &[u8],
    ) -> Result<u32, u32> {
        let compare = |from: NameRef| name_of(from).map_or(Ordering::Less, |found| found.cmp(name));
        // The run first, so that all names that are compared after that lie beside one another.
        let runs = self.runs();
        let behind = runs.partition_point(|run| compare(run.from) != Ordering::Greater);
        let Some(run) = behind.checked_sub(1).and_then(|place| runs.get(place)) else { return Err(0) };
        let (mut low, mut high) = (run.number, runs.get(behind).map_or(self.count, |next| next.number));
        while low < high {
            let middle = low + (high - low) / 2;
            match compare(run.at(middle)) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Those from one number up to another, run by run: the first name of each, and how many follow one another.
    pub(super) fn between(self, begin: u32, end: u32) -> impl Iterator<Item = (NameRef, u32)> + use<'a> {
        let end = end.min(self.count);
        let first = self.runs().partition_point(|run| run.number <= begin).saturating_sub(1);
        (first..).map_while(move |place| {
            let run = self.runs().get(place).filter(|run| run.number < end)?;
            let until = self.runs().get(place + 1).map_or(end, |next| next.number.min(end));
            let number = run.number.max(begin);
            Some((run.at(number), until.saturating_sub(number)))
        })
    }

    /// Adds those from one number up to another to a list.
    pub(super) fn copy(&self, (begin, end): (u32, u32), to: &mut Gathered) {
        self.clone().between(begin, end).for_each(|(from, count)| to.add(from, count));
    }
}
