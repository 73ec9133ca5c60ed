//! Who keeps a copy of which tree: what each has said that it has, when it last asked for the index. Of this server's life; a copy
//! that is watched says so again within a minute.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use oneroot_ids::GenerationId;
use serde::{Deserialize, Serialize};

/// Copies that are known at most: of more, those that have not been heard of for the longest go.
const MOST: usize = 20_000;

/// Who keeps a copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holder {
    /// A machine, by its name or its MAC.
    Machine(String),
    /// Whoever has the token of this name.
    Token(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(name) => f.write_str(name),
            Self::Token(name) => write!(f, "token {name}"),
        }
    }
}

/// A copy, as it was last heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Who keeps it.
    pub holder: Holder,
    /// Where.
    pub address: IpAddr,
    /// Of what, as it was asked for.
    pub what: String,
    /// What it is.
    pub generation: GenerationId,
    /// What it would be if it were made equal now.
    pub offered: GenerationId,
    /// When, seconds since 1970.
    pub at: u64,
}

/// The copies that are known.
#[derive(Debug, Default)]
pub struct Copies(BTreeMap<(Holder, IpAddr, String), Copy>);

impl Copies {
    /// One was heard of.
    pub fn heard(&mut self, copy: Copy) {
        let key = (copy.holder.clone(), copy.address, copy.what.clone());
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, copy)| copy.at).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        self.0.insert(key, copy);
    }

    /// All of them, in the order of their holders.
    pub fn all(&self) -> impl Iterator<Item = &Copy> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_known_once_by_its_last_word_and_never_more_than_there_is_room_for() {
        let mut copies = Copies::default();
        let copy = |name: usize, at| Copy {
            holder: Holder::Token(name.to_string()),
            address: IpAddr::from([10, 0, 0, 1]),
            what: "debian".to_owned(),
            generation: GenerationId([1; 32]),
            offered: GenerationId([2; 32]),
            at,
        };
        for at in 0..3 {
            copies.heard(copy(0, at));
        }
        assert_eq!(copies.all().map(|copy| copy.at).collect::<Vec<_>>(), [2]);
        for name in 1..=MOST {
            copies.heard(copy(name, 3));
        }
        assert_eq!(copies.all().count(), MOST);
        assert!(copies.all().all(|copy| copy.at == 3), "the one that was not heard of went");
    }
}
