//! What has become of a machine's mapping: the last few changes, who made each and when. It stands in the mapping's own record,
//! so a change and the line that tells of it are written together or not at all. Nothing is decided by it.

use serde::{Deserialize, Serialize};

use crate::site::assignment::{Adoption, Assignment, Mapped, Signed};

/// Changes that are kept of each machine; the oldest goes first.
pub const MOST: usize = 16;
/// Characters that are kept of one: an assignment may name a hundred arguments.
const LONGEST: usize = 200;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What was done, in words.
    pub what: String,
    /// For how many seconds it was meant; none for as long as nobody says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<u64>,
    /// Who has done it, and when.
    #[serde(flatten)]
    pub signed: Signed,
}

impl Mapped {
    /// The record with what `by` has changed since it was `old` written at the end of its history.
    #[must_use]
    pub fn following(mut self, old: Option<&Self>, by: &Signed) -> Self {
        let nothing = Self::default();
        let old = old.unwrap_or(&nothing);
        let mut history = old.history.clone();
        history.extend(changes(old, &self, by));
        history.drain(..history.len().saturating_sub(MOST));
        self.history = history;
        self
    }
}

fn changes(old: &Mapped, new: &Mapped, by: &Signed) -> Vec<Change> {
    let change =
        |what: String| Change { what: what.chars().take(LONGEST).collect(), lasts: None, signed: by.clone() };
    let mut all = Vec::new();
    // Of a machine that had no record there is no name that it was called by.
    if !old.name.is_empty() && old.name != new.name {
        all.push(change(format!("renamed, was {}", old.name)));
    }
    let macs = |adopted: &Adoption| {
        let macs: Vec<String> = adopted.macs.iter().map(ToString::to_string).collect();
        macs.join(" ")
    };
    match (&old.adopted, &new.adopted) {
        (None, Some(now)) if now.instead_of.is_empty() => {
            all.push(change(format!("adopted, by MAC {}", macs(now))));
        }
        (was, Some(now)) if was.as_ref().is_none_or(|was| was.macs != now.macs) => {
            all.push(change(format!("replaced, has MAC {} now", macs(now))));
        }
        _ => {}
    }
    for (was, now, of) in [(&old.assigned, &new.assigned, ""), (&old.for_now, &new.for_now, " for now")] {
        match (was, now) {
            (_, Some(now)) if was.as_ref() != Some(now) => all.push(Change {
                lasts: now.until.map(|until| until.saturating_sub(by.at)),
                ..change(format!("assigned {}", in_words(now)))
            }),
            (Some(_), None) => all.push(change(format!("what was assigned{of} was taken away"))),
            _ => {}
        }
    }
    all
}

fn in_words(assigned: &Assignment) -> String {
    let generations = assigned.generations.iter().map(|(profile, id)| format!("{profile} as of {id}"));
    let given = Some(assigned.gives.in_words()).filter(|_| assigned.gives != Default::default());
    let once = assigned.once.then(|| "for one boot".to_owned());
    let words: Vec<String> = given.into_iter().chain(generations).chain(once).collect();
    words.join(", ")
}
