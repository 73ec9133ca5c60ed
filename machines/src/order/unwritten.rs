//! Words of boots that are heard and not written yet: at most one of each kind for a boot, each written by one task at a time.

use std::collections::BTreeMap;

use oneroot_bootconf::pins::Pin;
use oneroot_ids::BootId;

/// A word that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lasting {
    /// Its secrets are closed.
    SecretsTaken,
    /// What it replaces is let go.
    Up,
}

struct Waiting {
    pin: Pin,
    is_being_written: bool,
}

/// Those of all boots.
#[derive(Default)]
pub(crate) struct Unwritten(BTreeMap<(BootId, Lasting), Waiting>);

impl Unwritten {
    /// One is heard: whether it is to be written now, and is not already.
    pub fn hear(&mut self, pin: &Pin, lasting: Lasting) -> bool {
        let new = Waiting { pin: pin.clone(), is_being_written: true };
        let known = self.0.insert((pin.boot, lasting), new);
        !known.is_some_and(|word| word.is_being_written)
    }

    /// What became of writing one. What is not written waits until somebody asks for it.
    pub fn end(&mut self, boot: BootId, lasting: Lasting, is_written: bool) {
        if is_written {
            self.0.remove(&(boot, lasting));
        } else if let Some(word) = self.0.get_mut(&(boot, lasting)) {
            word.is_being_written = false;
        }
    }

    /// Those that wait, to be written now. Boots that `is_held` does not know are over.
    pub fn take(&mut self, is_held: impl Fn(BootId) -> bool) -> Vec<(Pin, Lasting)> {
        self.0.retain(|(boot, _), word| word.is_being_written || is_held(*boot));
        let waiting = self.0.iter_mut().filter(|(_, word)| !word.is_being_written);
        let taken = waiting.map(|((_, lasting), word)| {
            word.is_being_written = true;
            (word.pin.clone(), *lasting)
        });
        taken.collect()
    }

    /// How many.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
