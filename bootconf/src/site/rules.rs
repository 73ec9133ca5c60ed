//! `[[rule]]`: what machines get by the facts that are told of them. The first rule that fits counts, and no other.

use std::path::Path;
use std::str::FromStr;

use oneroot_ids::Mac;

use crate::hardware::{Claims, Fact};
use crate::site::gives::Gives;
use crate::site::layers::layers;
use crate::site::section::{Diagnostics, Section};
use crate::site::table::{Places, Table, good_name, host_name};
use crate::site::tables::gives;
use crate::site::when::{When, when};

/// A `[[rule]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// For whom it is.
    pub when: When,
    /// What it calls a machine that nobody has named.
    pub name: Option<Naming>,
    /// What it gives.
    pub gives: Gives,
    /// Its line in the site file.
    pub line: usize,
}

/// How a rule names machines: `node-{serial}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The MAC's twelve digits.
    Mac,
    Fact(Fact),
}

impl Naming {
    /// The name of a machine with these facts, as a host's name has to be: in lower case, with a hyphen for whatever can't be in one.
    /// None where a fact is missing, or where nothing good comes of it.
    #[must_use]
    pub fn name(&self, mac: Option<Mac>, claims: &Claims) -> Option<String> {
        let mut name = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Mac => name.push_str(&mac?.to_string().replace(':', "")),
                Piece::Fact(fact) => {
                    let told = claims.text(*fact)?.to_ascii_lowercase();
                    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
                    let told: String = told.chars().map(plain).collect();
                    let words: Vec<&str> = told.split('-').filter(|word| !word.is_empty()).collect();
                    if words.is_empty() {
                        return None;
                    }
                    name.push_str(&words.join("-"));
                }
            }
        }
        (good_name(&name) && host_name(&name).is_ok()).then_some(name)
    }
}

impl FromStr for Naming {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, behind)) = rest.split_once('{') {
            let (fact, after) =
                behind.split_once('}').ok_or_else(|| format!("{text:?} has a `{{` without its `}}`"))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match fact {
                "mac" => Piece::Mac,
                fact => Piece::Fact(fact.parse().map_err(|told| format!("{fact:?} {told}; or it is mac"))?),
            });
            rest = after;
        }
        if pieces.is_empty() {
            return Err("is one name for any number of machines; say what tells them apart, such as \"node-{serial}\"".to_owned());
        }
        pieces.push(Piece::Text(rest.to_owned()));
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        let good = |piece: &Piece| match piece {
            Piece::Text(text) => text.bytes().all(allowed),
            Piece::Mac | Piece::Fact(_) => true,
        };
        if !pieces.iter().all(good) || text.len() > 63 {
            return Err(format!(
                "{text:?} makes no host's name: between the facts there are a-z, 0-9, '-' and '.', 63 together at most"
            ));
        }
        Ok(Self(pieces))
    }
}

/// A `[[rule]]` table.
pub(crate) fn rule(mut section: Section<'_>, home: &Path, diagnostics: &mut Diagnostics) -> Table<Rule> {
    let span = section.span.clone();
    let mut places = Places::default();
    section.missing(
        diagnostics,
        "when",
        "for which machines it is, such as when = { product = \"X1*\" }; `when = {}` is for all",
    );
    let when = when(&mut section, diagnostics).map_or_else(When::never, |at| at.value);
    let name = section.string(diagnostics, "name");
    let name = name.and_then(|at| at.check(diagnostics, |text| text.parse())).map(|at| at.value);
    let layers = layers(&mut section, home, &mut places, diagnostics);
    let gives = Gives { layers, ..gives(&mut section, &mut places, diagnostics) };
    if name.is_none() && gives == Gives::default() && !section.has("name") {
        diagnostics
            .note(&span, "gives nothing: say `profile`, `workloads`, `layers`, `args`, `vars` or `name`");
    }
    section.finish(diagnostics);
    Table { value: Rule { when, name, gives, line: 0 }, span, places: places.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(naming: &str, serial: &str) -> Option<String> {
        let mut claims = Claims::default();
        if !serial.is_empty() {
            claims.suppose(Fact::Serial, serial).unwrap();
        }
        let mac = "52:54:00:00:00:0a".parse().ok();
        naming.parse::<Naming>().unwrap().name(mac, &claims)
    }

    #[test]
    fn a_fact_becomes_part_of_a_hosts_name_or_there_is_no_name() {
        for (naming, serial, name) in [
            ("node-{serial}", "ABC 123/4", Some("node-abc-123-4")),
            ("{serial}.lab", "--A--", Some("a.lab")),
            ("n{mac}", "", Some("n52540000000a")),
            ("{mac}-{serial}", "7", Some("52540000000a-7")),
            ("node-{serial}", "", None),
            ("node-{serial}", "...", None),
            ("{serial}", "52:54:00:00:00:0a", Some("52-54-00-00-00-0a")),
            ("{serial}", "5254.0000.000a", Some("5254-0000-000a")),
            ("{mac}", "", None),
            ("-{serial}", "A", None),
            ("node-{serial}", &"x".repeat(60), None),
        ] {
            assert_eq!(
                named(naming, serial).as_deref(),
                name.filter(|name| name.parse::<Mac>().is_err()),
                "{naming} {serial}"
            );
        }
    }

    #[test]
    fn a_name_for_all_of_them_or_of_a_fact_that_there_is_not_is_refused() {
        for bad in ["node", "", "{seriel}", "{serial", "Node-{serial}", "a_{serial}", "a b{mac}", "{}"] {
            assert!(bad.parse::<Naming>().is_err(), "{bad}");
        }
    }
}
