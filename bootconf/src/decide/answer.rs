//! What the site's program answers (docs/decide.md): one JSON document, held to the rules of the site's own tables.
//!
//! An answer that is wrong in any part is none at all. What would be taken of it and what not would be a guess, and its machine would
//! boot what nobody has said.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::decide::asked::{Asked, Catalogue};
use crate::decide::decided::Decided;
use crate::decide::decision::decide;
use crate::site::Site;
use crate::site::gives::{Boots, Gives};
use crate::site::mounts::Mounts;
use crate::site::secrets::Secrets;
use crate::site::validate::LONGEST_LINE;

/// Longest answer, in bytes.
pub const LONGEST: usize = 64 << 10;
/// Of what is wrong with one, so many characters are told.
const TOLD: usize = 300;

/// Why what a program has printed is no answer: sentences about it, without their subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// There is too much of it.
    #[error("has printed more than {} KiB", LONGEST >> 10)]
    TooLong,
    /// There is none.
    #[error("has printed nothing; of a machine of which it knows nothing it should print {{}}")]
    Empty,
    /// It is no such document.
    #[error("has printed what is no answer: {0}")]
    Malformed(String),
    /// It says what no table of the site may say.
    #[error("has answered what a site may not say: {0}")]
    Refused(String),
}

/// The document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, deserialize_with = "some")]
    profile: Option<String>,
    #[serde(default, deserialize_with = "some")]
    menu: Option<String>,
    #[serde(default, deserialize_with = "some")]
    boot: Option<Way>,
    #[serde(default)]
    workloads: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default, deserialize_with = "variables")]
    vars: BTreeMap<String, String>,
}

/// What there is but profiles and menus.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Local,
    Hold,
}

impl Document {
    /// What is booted: at most one of three keys, as in a table of the site.
    fn boots(&mut self) -> Result<Option<Boots>, BadAnswer> {
        let way = self.boot.take().map(|way| match way {
            Way::Local => Boots::Local,
            Way::Hold => Boots::Hold,
        });
        let profile = self.profile.take().map(Boots::Profile);
        let mut said = [profile, self.menu.take().map(Boots::Menu), way].into_iter().flatten();
        let first = said.next();
        match said.next() {
            Some(_) => Err(BadAnswer::Refused(
                "`profile`, `menu` and `boot` are one word too many; say one".to_owned(),
            )),
            None => Ok(first),
        }
    }
}

/// What a key says that is there: null would be a second way to leave it out.
fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Names and values, each name once: which of two would count is a guess too.
fn variables<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Each;

    impl<'de> Visitor<'de> for Each {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("names with strings")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut vars = BTreeMap::new();
            while let Some(name) = map.next_key::<String>()? {
                let value = map.next_value()?;
                if vars.insert(name.clone(), value).is_some() {
                    return Err(A::Error::custom(format_args!("variable {name:?} is there twice")));
                }
            }
            Ok(vars)
        }
    }

    deserializer.deserialize_map(Each)
}

impl Gives {
    /// What a program's answer gives, where a site may say it.
    ///
    /// # Errors
    /// [`BadAnswer`]: all of it is refused.
    pub fn answered(bytes: &[u8], site: &Site) -> Result<Self, BadAnswer> {
        if bytes.len() > LONGEST {
            return Err(BadAnswer::TooLong);
        }
        if bytes.trim_ascii().is_empty() {
            return Err(BadAnswer::Empty);
        }
        // A list would be read as the values in the order of the keys.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(BadAnswer::Malformed("a JSON object begins with {".to_owned()));
        }
        let mut document: Document =
            serde_json::from_slice(bytes).map_err(|cause| BadAnswer::Malformed(short(&cause.to_string())))?;
        let gives = Self {
            boots: document.boots()?,
            workloads: document.workloads,
            layers: Vec::new(),
            mounts: Mounts::new(),
            secrets: Secrets::new(),
            args: document.args,
            vars: document.vars,
        };
        match gives.problems(site).first() {
            Some(problem) => Err(BadAnswer::Refused(short(problem))),
            None => Ok(gives),
        }
    }

    /// The same for somebody, with all else that this machine gets.
    ///
    /// # Errors
    /// [`BadAnswer`]: all of it is refused.
    pub fn answered_for(catalogue: &Catalogue<'_>, asked: &Asked, bytes: &[u8]) -> Result<Self, BadAnswer> {
        let gives = Self::answered(bytes, catalogue.site())?;
        // Where nothing is booted there is no line either.
        let decided = decide(&catalogue.told(&gives), asked).ok().and_then(Decided::into_profile);
        let args = decided.iter().flat_map(|decision| &decision.args);
        let length: usize = args.map(|argument| argument.len() + 1).sum();
        if length > LONGEST_LINE {
            let told = format!(
                "with it the machine's kernel arguments have {length} bytes together, and {LONGEST_LINE} are the most"
            );
            return Err(BadAnswer::Refused(told));
        }
        Ok(gives)
    }
}

/// A program may quote a machine, and a machine may say much.
fn short(told: &str) -> String {
    let mut short: String = told.chars().take(TOLD).collect();
    if short.len() < told.len() {
        short.push('…');
    }
    short
}
