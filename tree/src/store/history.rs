//! What a reference remembers, as a value: which generation is its head, and whether a rollback holds it.
//!
//! | the head came by | somebody | then |
//! |---|---|---|
//! | any way | stages what is the head already | nothing changes |
//! | staged, edited, rolled forward | stages another | it is the head |
//! | rolled back (and edited since, or not) | stages another | it *waits*: right behind the head, where nothing boots it |
//! | any way | stages another to be held | the same |
//! | any way | goes to the newest that was made | it is the head, *rolled forward*: no rollback holds any more |
//! | any way | goes back, without a name | what was the head before is: what waits never was |
//! | any way | goes to any other | it is the head, *rolled back*, and holds |

use std::fmt;

use oneroot_ids::GenerationId;

/// Generations that a reference remembers; older ones are only in the stacks that use them.
const MOST: usize = 100;

/// One line of a reference's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// The generation.
    pub generation: GenerationId,
    /// When it became the head, or was staged to wait, seconds since 1970.
    pub at: u64,
    /// What was done to bring it here: staged, edited, rolled back or forward, held.
    pub how: How,
}

/// How a generation came into a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its source was staged.
    Staged,
    /// A command changed the one before; its source does not know of that.
    Edited,
    /// It had been made before another, and was gone back to.
    RolledBack,
    /// It is the newest, and a rollback was taken back.
    RolledForward,
    /// Its source was staged while a rollback held, or to be held: it has never been the head by that.
    Waiting,
}

impl How {
    const ALL: [Self; 5] = [Self::Staged, Self::Edited, Self::RolledBack, Self::RolledForward, Self::Waiting];

    /// As it is written in the reference, and for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Edited => "edited",
            Self::RolledBack => "rolled-back",
            Self::RolledForward => "rolled-forward",
            Self::Waiting => "waiting",
        }
    }

    fn is_made(self) -> bool {
        matches!(self, Self::Staged | Self::Edited | Self::Waiting)
    }
}

/// Where a generation went that was staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It is the head already, with the time that it had.
    Unchanged,
    /// It is the head.
    Head,
    /// A rollback holds the head where it is.
    Waits,
}

/// All that a reference remembers, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History(Vec<Staged>);

impl History {
    /// From its text, a line each; `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let line = |line: &str| {
            let mut words = line.split(' ');
            let (generation, at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            // The first oneroots knew one way only, and did not write it.
            let how = words
                .next()
                .map_or(Some(How::Staged), |word| How::ALL.into_iter().find(|how| how.as_str() == word))?;
            Some(Staged { generation, at, how })
        };
        text.lines().map(line).collect::<Option<_>>().map(Self)
    }

    /// Each, newest first: the head, and what came before it or waits behind it.
    #[must_use]
    pub fn all(&self) -> &[Staged] {
        &self.0
    }

    /// What new boots get.
    #[must_use]
    pub fn head(&self) -> Option<Staged> {
        self.0.first().copied()
    }

    /// The rollback that holds the head where it is.
    #[must_use]
    pub fn held(&self) -> Option<Staged> {
        // An edit of what was gone back to is still that.
        let came = self.0.iter().find(|staged| !matches!(staged.how, How::Edited | How::Waiting));
        came.filter(|staged| staged.how == How::RolledBack).copied()
    }

    /// The generation that was made last, whether it is the head or not.
    #[must_use]
    pub fn newest(&self) -> Option<Staged> {
        // By their order and not by their times: clocks are set back. What waits was made while that was the head which stands
        // right before it, and what was gone forward to was the newest then, whatever line tells of its making.
        let waits = |at: usize| self.0.get(at + 1).filter(|staged| staged.how == How::Waiting);
        let is_newest = |staged: &Staged| staged.how.is_made() || staged.how == How::RolledForward;
        let mut all = self.0.iter().enumerate();
        all.find_map(|(at, staged)| waits(at).or_else(|| is_newest(staged).then_some(staged))).copied()
    }

    /// What was the head before the present one: whoever goes back in a hurry does not mean what waits and nobody has tried.
    #[must_use]
    pub fn before(&self) -> Option<Staged> {
        let head = self.head()?;
        let was_head = |staged: &&Staged| staged.how != How::Waiting && staged.generation != head.generation;
        self.0.iter().find(was_head).copied()
    }

    /// How it would become the head by an admin's word.
    #[must_use]
    pub fn way_to(&self, generation: GenerationId) -> How {
        let is_newest = self.newest().is_some_and(|newest| newest.generation == generation);
        if is_newest { How::RolledForward } else { How::RolledBack }
    }

    /// Makes it the head, however it came.
    pub(super) fn put(&mut self, staged: Staged) {
        self.0.insert(0, staged);
        self.0.truncate(MOST);
    }

    /// Takes in what was staged from the source.
    pub(super) fn stage(&mut self, staged: Staged) -> Placed {
        if self.head().is_some_and(|head| head.generation == staged.generation) {
            return Placed::Unchanged;
        }
        if self.held().is_none() {
            self.put(staged);
            return Placed::Head;
        }
        self.hold(staged)
    }

    /// Takes in what was staged and is not to be the head yet; what comes first is the head all the same, for there is no other.
    pub(super) fn hold(&mut self, staged: Staged) -> Placed {
        let Some(head) = self.head() else {
            self.put(staged);
            return Placed::Head;
        };
        if head.generation == staged.generation {
            return Placed::Unchanged;
        }
        if self.newest().is_none_or(|newest| newest.generation != staged.generation) {
            self.0.insert(1, Staged { how: How::Waiting, ..staged });
            // What makes room is never the line that holds.
            let oldest = self.0.iter().rposition(|staged| staged.how == How::Waiting);
            if let Some(oldest) = oldest.filter(|_| self.0.len() > MOST) {
                self.0.remove(oldest);
            }
        }
        Placed::Waits
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|Staged { generation, at, how }| writeln!(f, "{generation} {at} {}", how.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u8) -> GenerationId {
        GenerationId([number; 32])
    }

    fn one(number: u8, at: u64, how: How) -> Staged {
        Staged { generation: generation(number), at, how }
    }

    /// Two generations, of which the second is bad, and gone back from.
    fn rolled_back() -> History {
        let mut history = History::default();
        assert_eq!(history.stage(one(1, 10, How::Staged)), Placed::Head);
        assert_eq!(history.stage(one(2, 20, How::Staged)), Placed::Head);
        assert_eq!(history.way_to(generation(1)), How::RolledBack);
        history.put(one(1, 30, How::RolledBack));
        history
    }

    #[test]
    fn what_is_staged_after_a_rollback_waits_and_the_head_stays() {
        let mut history = rolled_back();
        let held = history.held();
        assert_eq!(held, Some(one(1, 30, How::RolledBack)));
        assert_eq!(history.stage(one(2, 40, How::Staged)), Placed::Waits, "its source is as it was");
        assert_eq!(history.all().len(), 3);
        assert_eq!(history.stage(one(3, 50, How::Staged)), Placed::Waits);
        assert_eq!(history.stage(one(3, 60, How::Staged)), Placed::Waits, "once is enough");
        assert_eq!(history.all()[..2], [one(1, 30, How::RolledBack), one(3, 50, How::Waiting)]);
        assert_eq!(history.stage(one(1, 70, How::Staged)), Placed::Unchanged);
        assert_eq!(history.held(), held, "though it is what the source has");
        history.put(one(4, 80, How::Edited));
        assert_eq!(history.held(), held, "an edit of what was gone back to");
        assert_eq!(history.stage(one(5, 90, How::Staged)), Placed::Waits);
        assert_eq!(history.head(), Some(one(4, 80, How::Edited)));
    }

    #[test]
    fn what_is_staged_to_be_held_waits_until_it_is_gone_to_or_staged_again() {
        let mut history = History::default();
        assert_eq!(history.hold(one(1, 10, How::Staged)), Placed::Head, "there is nothing that could stay");
        assert_eq!(history.hold(one(2, 20, How::Staged)), Placed::Waits);
        assert_eq!(history.hold(one(2, 30, How::Staged)), Placed::Waits);
        assert_eq!(history.all(), [one(1, 10, How::Staged), one(2, 20, How::Waiting)]);
        assert_eq!((history.held(), history.way_to(generation(2))), (None, How::RolledForward));
        assert_eq!(history.stage(one(2, 40, How::Staged)), Placed::Head, "staged without being held");
    }

    #[test]
    fn going_back_without_a_name_passes_over_what_is_held() {
        let mut history = History::default();
        history.stage(one(1, 10, How::Staged));
        history.stage(one(2, 20, How::Staged));
        history.hold(one(3, 30, How::Staged));
        assert_eq!(history.all()[1].generation, generation(3), "it stands right behind the head");
        assert_eq!(history.before(), Some(one(1, 10, How::Staged)));
        let how = history.way_to(generation(1));
        assert_eq!(how, How::RolledBack);
        history.put(one(1, 40, how));
        assert_eq!(history.way_to(generation(3)), How::RolledForward, "it is still the newest that was made");
        assert_eq!(history.way_to(generation(2)), How::RolledBack);
        let mut first = History::default();
        first.stage(one(1, 10, How::Staged));
        first.hold(one(2, 20, How::Staged));
        assert_eq!(first.before(), None, "nothing was the head before");
    }

    #[test]
    fn going_back_from_what_was_held_and_became_the_head_is_a_rollback_that_holds() {
        let mut history = History::default();
        history.stage(one(1, 10, How::Staged));
        history.hold(one(2, 20, How::Staged));
        let how = history.way_to(generation(2));
        assert_eq!(how, How::RolledForward);
        history.put(one(2, 30, how));
        assert_eq!(history.before().map(|before| before.generation), Some(generation(1)));
        let how = history.way_to(generation(1));
        assert_eq!(how, How::RolledBack);
        history.put(one(1, 40, how));
        assert_eq!(history.stage(one(3, 50, How::Staged)), Placed::Waits);
    }

    #[test]
    fn going_to_the_newest_ends_a_rollback_and_going_elsewhere_does_not() {
        let mut history = rolled_back();
        history.stage(one(3, 50, How::Staged));
        for (number, way) in [(1, How::RolledBack), (2, How::RolledBack), (3, How::RolledForward)] {
            assert_eq!(history.way_to(generation(number)), way, "{number}");
        }
        history.put(one(3, 60, How::RolledForward));
        assert_eq!(history.held(), None);
        assert_eq!(history.stage(one(4, 70, How::Staged)), Placed::Head);
    }

    #[test]
    fn a_history_is_its_text_and_the_first_oneroots_wrote_no_way() {
        let mut history = rolled_back();
        history.stage(one(3, 50, How::Staged));
        history.put(one(3, 60, How::RolledForward));
        history.put(one(4, 70, How::Edited));
        assert_eq!(History::parse(&history.to_string()), Some(history));
        let old = History::parse(&format!("{} 7\n", generation(1))).unwrap();
        assert_eq!(old.all(), [one(1, 7, How::Staged)]);
        for bad in ["x 7 staged\n", "\n", &format!("{} 7 sideways\n", generation(1))] {
            assert_eq!(History::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_history_has_an_end() {
        let mut history = rolled_back();
        (0..300u64).for_each(|round| {
            history.stage(one(u8::try_from(round % 200).unwrap() + 10, 100 + round, How::Staged));
        });
        assert_eq!(history.all().len(), MOST);
        assert_eq!(history.head(), Some(one(1, 30, How::RolledBack)));
        // An edit stands before the line that holds.
        let mut history = rolled_back();
        history.put(one(3, 40, How::Edited));
        (0..300u64).for_each(|round| {
            let placed = history.stage(one(u8::try_from(round % 200).unwrap() + 10, 100, How::Staged));
            assert_eq!(placed, Placed::Waits, "{round}");
        });
        assert_eq!((history.all().len(), history.held()), (MOST, Some(one(1, 30, How::RolledBack))));
    }
}
