//! What somebody wants to have as files: words that become a type once.

use std::fmt;
use std::str::FromStr;

use oneroot_ids::GenerationId;

/// Bytes that such words have at most.
const LONGEST: usize = 300;

/// A tree that can be had: a profile's, or a machine's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Whatever the machine that asks would boot: `@self`.
    Own,
    /// That of a profile or a machine.
    Named(String, Which),
}

impl What {
    /// Whether this generation can be what is meant: one that is meant by its own name is no other.
    #[must_use]
    pub fn may_be(&self, generation: GenerationId) -> bool {
        match self {
            Self::Named(_, Which::Generation(begin)) => generation.to_string().starts_with(begin),
            Self::Own | Self::Named(..) => true,
        }
    }
}

/// Which generation of a profile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The one that new boots get.
    Head,
    /// So many before it: `NAME~1`.
    Back(usize),
    /// The one whose name begins so: `NAME@3f2a9c17d0e4`.
    Generation(String),
}

/// What was said is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoWhat {
    /// It is no name.
    #[error("it is PROFILE, PROFILE~1, PROFILE@GENERATION, a machine's name, or @self")]
    Words,
    /// Behind the @ there is no beginning of a generation's name.
    #[error(
        "behind the @ come the first 6 to 64 characters (0-9, a-f) of a generation's name, as `oneroot generations PROFILE` on the server shows it"
    )]
    Generation,
}

impl FromStr for What {
    type Err = NoWhat;

    fn from_str(text: &str) -> Result<Self, NoWhat> {
        if text == "@self" {
            return Ok(Self::Own);
        }
        let plain = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let (name, which) = match (text.split_once('~'), text.split_once('@')) {
            (Some((name, back)), None) => (name, Which::Back(back.parse().map_err(|_| NoWhat::Words)?)),
            (None, Some((name, generation))) => {
                let fits = (6..=64).contains(&generation.len())
                    && generation.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                let which = fits.then(|| Which::Generation(generation.to_owned()));
                (
                    name,
                    which.filter(|_| plain(name)).ok_or(if plain(name) {
                        NoWhat::Generation
                    } else {
                        NoWhat::Words
                    })?,
                )
            }
            (None, None) => (text, Which::Head),
            (Some(_), Some(_)) => return Err(NoWhat::Words),
        };
        (plain(name) && text.len() <= LONGEST)
            .then(|| Self::Named(name.to_owned(), which))
            .ok_or(NoWhat::Words)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("@self"),
            Self::Named(name, Which::Head) => f.write_str(name),
            Self::Named(name, Which::Back(back)) => write!(f, "{name}~{back}"),
            Self::Named(name, Which::Generation(generation)) => write!(f, "{name}@{generation}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_by_its_own_name_is_nothing_else() {
        let may_be = |text: &str| text.parse::<What>().unwrap().may_be(GenerationId([0x3f; 32]));
        for text in ["@self", "debian", "debian~1", "debian@3f3f3f", &format!("debian@{}", "3f".repeat(32))] {
            assert!(may_be(text), "{text}");
        }
        for text in ["debian@3f3f3e", "debian@f3f3f3", &format!("debian@{}e", "3f".repeat(31))] {
            assert!(!may_be(text), "{text}");
        }
    }

    #[test]
    fn what_is_said_is_said_again_and_all_else_is_refused() {
        for text in ["debian", "debian~1", "debian@3f2a9c17d0e4", "seat-01", "@self", "a.b_c"] {
            assert_eq!(text.parse::<What>().unwrap().to_string(), text);
        }
        for text in
            ["", "@other", "a/b", "..\0", "a~", "a~x", "a@", "a@12", "a@XYZXYZXY", "a~1@3f2a9c17", "a b", "é"]
        {
            assert!(text.parse::<What>().is_err(), "{text}");
        }
        for text in ["debian@d3d0", "debian@D3D0D3D0", "debian@"] {
            assert_eq!(text.parse::<What>(), Err(NoWhat::Generation), "{text}");
        }
        for text in ["@other", "a/b@d3d0d3"] {
            assert_eq!(text.parse::<What>(), Err(NoWhat::Words), "{text}");
        }
    }
}
