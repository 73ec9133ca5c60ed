//! What somebody boots, when that has been decided: a profile, or nothing of ours right now, which is no mistake.

use crate::decide::asked::{Asked, Catalogue};
use crate::decide::decision::{Decision, NoPlan, Provenance, chosen, decide};
use crate::site::gives::Boots;
use crate::site::menus::Menu;

/// What somebody boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// A profile, of which a plan is made.
    Profile(Box<Decision>),
    /// Something of which there is no plan.
    Other(Other),
}

/// What somebody is told who boots no profile right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// The machine's name; none for one that nobody has named.
    pub name: Option<String>,
    /// What it is told.
    pub way: Way,
    /// The groups that it is in, in the order of the site.
    pub groups: Vec<String>,
    /// Where that comes from.
    pub why: Vec<Provenance>,
}

/// What there is but profiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// On to its own disk.
    Local,
    /// To choose from this menu, of this name.
    Menu(String, Menu),
    /// To wait.
    Hold,
}

impl Decided {
    /// The decision for a profile, where it is one.
    #[must_use]
    pub fn into_profile(self) -> Option<Decision> {
        match self {
            Self::Profile(decision) => Some(*decision),
            Self::Other(_) => None,
        }
    }
}

impl Way {
    /// What the machine does, in words.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Local => "boots from its own disk".to_owned(),
            Self::Menu(name, _) => format!("is shown the menu {name}"),
            Self::Hold => "is held: nothing says what it boots".to_owned(),
        }
    }

    /// In a word or two, where a profile's name would stand: `local`, `menu NAME`, `held`.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Local => "local".to_owned(),
            Self::Menu(name, _) => format!("menu {name}"),
            Self::Hold => "held".to_owned(),
        }
    }
}

/// Every profile that somebody may boot: the one, or those of the menu.
///
/// # Errors
/// As [`decide`].
pub fn profiles_of(catalogue: &Catalogue<'_>, asked: &Asked) -> Result<Vec<Decision>, NoPlan> {
    let other = match decide(catalogue, asked)? {
        Decided::Profile(decision) => return Ok(vec![*decision]),
        Decided::Other(other) => other,
    };
    let Way::Menu(_, menu) = other.way else { return Ok(Vec::new()) };
    let profiles = menu.choices.iter().filter(|choice| matches!(choice.gives.boots, Some(Boots::Profile(_))));
    let decided = profiles.map(|choice| Ok(chosen(catalogue, asked, &choice.name)?.into_profile()));
    decided.filter_map(Result::transpose).collect()
}
