//! What a token is good for: trees, by the words that `oneroot export` takes, once they are looked up.

use std::fmt;

use oneroot_bootconf::Site;
use oneroot_ids::GenerationId;
use serde::{Deserialize, Serialize};

/// A tree, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum TokenView {
    /// A profile, with all generations that it had, has and will have.
    Profile(String),
    /// One generation of a profile.
    Generation {
        /// The profile.
        profile: String,
        /// Which.
        generation: GenerationId,
    },
    /// What the machine of this name boots, its own files too.
    Machine(String),
}

impl TokenView {
    /// Whether whoever may have this may have that.
    #[must_use]
    pub fn covers(&self, asked: &Self) -> bool {
        match (self, asked) {
            (Self::Profile(profile), Self::Generation { profile: of, .. }) => profile == of,
            _ => self == asked,
        }
    }

    /// The profile or the machine that a site has to have for it.
    pub(crate) fn is_in(&self, site: &Site) -> bool {
        match self {
            Self::Profile(profile) | Self::Generation { profile, .. } => site.profiles.contains_key(profile),
            Self::Machine(machine) => site.machines.contains_key(machine),
        }
    }
}

impl fmt::Display for TokenView {
    /// For people: `profile debian`, `debian@3f2a9c17d0e4`, `machine alpha`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(profile) => write!(f, "profile {profile}"),
            Self::Generation { profile, generation } => {
                write!(f, "{profile}@{:.12}", generation.to_string())
            }
            Self::Machine(machine) => write!(f, "machine {machine}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_its_generations_and_nothing_has_more_than_it_says() {
        let generation = |profile: &str, byte| TokenView::Generation {
            profile: profile.to_owned(),
            generation: GenerationId([byte; 32]),
        };
        let (profile, machine) = (TokenView::Profile("a".to_owned()), TokenView::Machine("a".to_owned()));
        let all = [
            profile.clone(),
            TokenView::Profile("b".to_owned()),
            generation("a", 1),
            generation("a", 2),
            generation("b", 1),
            machine.clone(),
            TokenView::Machine("b".to_owned()),
        ];
        for view in &all {
            for asked in &all {
                let more = view == &profile
                    && matches!(asked, TokenView::Generation { profile, .. } if profile == "a")
                    || view == &all[1] && asked == &all[4];
                assert_eq!(view.covers(asked), view == asked || more, "{view} {asked}");
            }
        }
    }

    #[test]
    fn views_are_written_as_they_were_for_ever() {
        let all = [
            TokenView::Profile("debian".to_owned()),
            TokenView::Generation { profile: "debian".to_owned(), generation: GenerationId([0x3f; 32]) },
            TokenView::Machine("alpha".to_owned()),
        ];
        let written = serde_json::to_string(&all).unwrap();
        let id = "3f".repeat(32);
        assert_eq!(
            written,
            format!(
                r#"[{{"profile":"debian"}},{{"generation":{{"profile":"debian","generation":"{id}"}}}},{{"machine":"alpha"}}]"#
            )
        );
        assert_eq!(serde_json::from_str::<Vec<TokenView>>(&written).unwrap(), all);
        assert_eq!(
            all.map(|view| view.to_string()),
            ["profile debian", "debian@3f3f3f3f3f3f", "machine alpha"]
        );
    }
}
