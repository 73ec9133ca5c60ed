//! `when = { … }`: what has to be true of a machine, in the same words for a `[[rule]]` and for a layer. All the words have to fit;
//! of the values of one word, one. A fact that nobody has told fits nothing.
//!
//! Texts are compared without regard to case: one maker is `LENOVO` on one board and `Lenovo` on the next.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use oneroot_ids::Mac;

use crate::hardware::{Arch, Claims, Fact, Firmware, Key};
use crate::site::groups::{MacPattern, like};
use crate::site::networks::without_host_bits;
use crate::site::section::{Diagnostics, Located, Section};

/// Values of one word at most, and characters of one text.
const MOST: usize = 256;
const LONGEST: usize = 128;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct When {
    words: Vec<Word>,
    /// As the site has it, in one line.
    shown: String,
}

/// One word of a condition, with its values.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Mac(Vec<MacPattern>),
    Network(Vec<Ipv4Network>),
    Relay(Vec<Ipv4Network>),
    Memory(Vec<Memory>),
    Text(Fact, Vec<TextPattern>),
    /// What the machine has found out about itself; of a list, one text has to fit.
    Examined(Key, Vec<TextPattern>),
}

/// A text in which `*` stands for any number of characters and `?` for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPattern(String);

/// An amount of memory, in MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Memory(RangeInclusive<u32>);

/// Who is asked about, as far as a condition can tell.
#[derive(Debug, Clone)]
pub struct Case<'c> {
    /// Its NICs.
    pub macs: Vec<Mac>,
    /// The address that it asks from, and those that are kept for it.
    pub addresses: Vec<Ipv4Addr>,
    /// What is told of it.
    pub claims: &'c Claims,
}

impl When {
    /// One that nothing makes true: in the place of one that could not be read.
    pub(crate) fn never() -> Self {
        Self { words: vec![Word::Mac(Vec::new())], shown: String::new() }
    }

    /// Whether it is true.
    #[must_use]
    pub fn fits(&self, case: &Case<'_>) -> bool {
        self.words.iter().all(|word| word.fits(case))
    }

    /// Whether it is always true.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether whatever makes `other` true makes this true. It may say no where that is so, and never yes where it is not.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.words.iter().all(|word| other.words.iter().any(|narrow| word.covers(narrow)))
    }

    /// Networks that its address has to be in one of; none where it may be anywhere.
    pub(crate) fn networks(&self) -> Option<&[Ipv4Network]> {
        self.words.iter().find_map(|word| match word {
            Word::Network(all) if !all.is_empty() => Some(all.as_slice()),
            _ => None,
        })
    }

    /// Patterns of one of its facts.
    pub(crate) fn texts(&self, wanted: Fact) -> Option<&[TextPattern]> {
        self.words.iter().find_map(|word| match word {
            Word::Text(fact, patterns) if *fact == wanted && !patterns.is_empty() => {
                Some(patterns.as_slice())
            }
            _ => None,
        })
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Word {
    fn fits(&self, case: &Case<'_>) -> bool {
        let claims = case.claims;
        match self {
            Self::Mac(patterns) => patterns.iter().any(|one| case.macs.iter().any(|mac| one.fits(*mac))),
            Self::Network(networks) => {
                networks.iter().any(|network| case.addresses.iter().any(|at| network.contains(*at)))
            }
            Self::Relay(networks) => claims
                .location
                .relay
                .is_some_and(|relay| networks.iter().any(|network| network.contains(relay))),
            Self::Memory(ranges) => {
                claims.hardware.memory.is_some_and(|memory| ranges.iter().any(|one| one.0.contains(&memory)))
            }
            Self::Text(fact, patterns) => {
                claims.text(*fact).is_some_and(|text| patterns.iter().any(|pattern| pattern.fits(&text)))
            }
            Self::Examined(key, patterns) => claims.examined.get(key).is_some_and(|value| {
                value.texts().any(|text| patterns.iter().any(|pattern| pattern.fits(&text)))
            }),
        }
    }

    /// Whether each of the other's values is within one of these.
    fn covers(&self, other: &Self) -> bool {
        fn all<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
            // One that could not be read has no values, and would be covered by anything.
            !narrow.is_empty() && narrow.iter().all(|one| wide.iter().any(|other| covers(other, one)))
        }
        match (self, other) {
            (Self::Mac(wide), Self::Mac(narrow)) => all(wide, narrow, MacPattern::covers),
            (Self::Network(wide), Self::Network(narrow)) | (Self::Relay(wide), Self::Relay(narrow)) => {
                all(wide, narrow, |wide, narrow| narrow.is_subnet_of(*wide))
            }
            (Self::Memory(wide), Self::Memory(narrow)) => all(wide, narrow, |wide, narrow| {
                wide.0.contains(narrow.0.start()) && wide.0.contains(narrow.0.end())
            }),
            (Self::Text(one, wide), Self::Text(same, narrow)) => {
                one == same && all(wide, narrow, TextPattern::covers)
            }
            (Self::Examined(one, wide), Self::Examined(same, narrow)) => {
                one == same && all(wide, narrow, TextPattern::covers)
            }
            _ => false,
        }
    }
}

impl TextPattern {
    /// Whether a text is like it.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        like(self.0.as_bytes(), text.as_bytes(), |wanted, byte| {
            wanted == b'?' || wanted.eq_ignore_ascii_case(&byte)
        })
    }

    /// Whether all that is like the other is like this: its `*` stands for what the other has there, `*` and `?` too, and its `?`
    /// for any one character.
    fn covers(&self, other: &Self) -> bool {
        like(self.0.as_bytes(), other.0.as_bytes(), |wanted, byte| match byte {
            b'*' => false,
            byte => wanted == b'?' || wanted.eq_ignore_ascii_case(&byte),
        })
    }
}

impl FromStr for TextPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if text.is_empty() || text.len() > LONGEST || !printable || text.trim() != text {
            return Err(
                "is like no fact: 1 to 128 printable ASCII characters, no space first or last, `*` for any characters and `?` for one",
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("{text:?} is not an amount of memory in MiB: \"8192-\", \"-4096\" or \"4096-8191\"");
        let (least, most) = text.split_once('-').ok_or_else(bad)?;
        let end = |text: &str, open| match text {
            "" => Ok(open),
            text if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().map_err(|_| bad()),
            _ => Err(bad()),
        };
        match (end(least, 0)?, end(most, u32::MAX)?) {
            _ if text == "-" => Err(bad()),
            (least, most) if least > most => Err("ends before it begins".to_owned()),
            (least, most) => Ok(Self(least..=most)),
        }
    }
}

/// Reads the condition of a table; none where it has none.
pub(crate) fn when(section: &mut Section<'_>, diagnostics: &mut Diagnostics) -> Option<Located<When>> {
    let mut table = section.section(diagnostics, "when")?;
    let span = table.span.clone();
    let mut read = Reader { words: Vec::new(), shown: Vec::new() };
    read.word(&mut table, diagnostics, "mac", Word::Mac, str::parse::<MacPattern>);
    read.word(&mut table, diagnostics, "network", Word::Network, network);
    for fact in Fact::ALL {
        match fact {
            Fact::Relay => read.word(&mut table, diagnostics, "relay", Word::Relay, network),
            Fact::Memory => read.word(&mut table, diagnostics, "memory", Word::Memory, str::parse::<Memory>),
            fact => {
                let word = |patterns| Word::Text(fact, patterns);
                read.word(&mut table, diagnostics, fact.as_str(), word, |text| text_of(fact, text));
            }
        }
    }
    read.examined(&mut table, diagnostics);
    table.finish(diagnostics);
    Some(Located { value: When { words: read.words, shown: read.shown.join(", ") }, span })
}

struct Reader {
    words: Vec<Word>,
    shown: Vec<String>,
}

impl Reader {
    fn word<T, E: fmt::Display>(
        &mut self,
        table: &mut Section<'_>,
        diagnostics: &mut Diagnostics,
        key: &'static str,
        word: impl FnOnce(Vec<T>) -> Word,
        parse: impl Fn(&str) -> Result<T, E>,
    ) {
        if !table.has(key) {
            return;
        }
        table.required(diagnostics, key, "a word that nothing fits makes it never true; leave it out");
        let listed = table.strings(diagnostics, key, true);
        self.shows(key, &listed, diagnostics);
        let values = listed.into_iter().filter_map(|at| at.check(diagnostics, |text| parse(&text)));
        self.words.push(word(values.map(|at| at.value).collect()));
    }

    /// `examined = { NAME = …, … }`. Where it is wrong, it is never true.
    fn examined(&mut self, table: &mut Section<'_>, diagnostics: &mut Diagnostics) {
        if !table.has("examined") {
            return;
        }
        let named = table.section(diagnostics, "examined");
        let words = named.map(|named| {
            let span = named.span.clone();
            let words = named.all_words(diagnostics);
            if words.is_empty() {
                diagnostics.note(&span, "is empty: say which fact, or leave it out");
            }
            words
        });
        let words = words.unwrap_or_default();
        if words.is_empty() {
            self.words.push(Word::Mac(Vec::new()));
        }
        for (key, listed) in words {
            let told = |key: String| key.parse::<Key>().map_err(|told| format!("{key:?} {told}"));
            let Some(key) = key.check(diagnostics, told) else {
                self.words.push(Word::Mac(Vec::new()));
                continue;
            };
            self.shows(&format!("examined.{}", key.value), &listed, diagnostics);
            let values = listed.into_iter().filter_map(|at| at.check(diagnostics, |text| text.parse()));
            self.words.push(Word::Examined(key.value, values.map(|at| at.value).collect()));
        }
    }

    /// How a word and its values are shown; there may be so many.
    fn shows(&mut self, key: &str, listed: &[Located<String>], diagnostics: &mut Diagnostics) {
        if let Some(more) = listed.get(MOST) {
            diagnostics.note(&more.span, format!("is one too many: {MOST} at most"));
        }
        let texts: Vec<String> = listed.iter().map(|at| format!("{:?}", at.value)).collect();
        self.shown.push(match texts.as_slice() {
            [one] => format!("{key} = {one}"),
            all => format!("{key} = [{}]", all.join(", ")),
        });
    }
}

/// Of facts that are one of a few words, a pattern is one of those or like one.
fn text_of(fact: Fact, text: &str) -> Result<TextPattern, String> {
    let pattern: TextPattern = text.parse().map_err(str::to_owned)?;
    let all: Vec<&str> = match fact {
        Fact::Arch => Arch::ALL.map(Arch::as_str).to_vec(),
        Fact::Firmware => Firmware::ALL.map(Firmware::as_str).to_vec(),
        _ => return Ok(pattern),
    };
    if all.iter().any(|word| pattern.fits(word)) {
        Ok(pattern)
    } else {
        Err(format!("{text:?} is none of {}", all.join(", ")))
    }
}

/// A network, or one address.
fn network(text: &str) -> Result<Ipv4Network, String> {
    match text.parse() {
        Ok(network) => without_host_bits(network),
        Err(_) => Err(format!("{text:?} is not a network such as 192.168.77.0/24")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> TextPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_text_is_like_its_pattern_in_any_case() {
        assert!(pattern("optiplex 7?8*").fits("OptiPlex 7080") && pattern("LENOVO").fits("Lenovo"));
        assert!(!pattern("OptiPlex").fits("OptiPlex 7080") && !pattern("?").fits(""));
        for bad in ["", " a", "a ", "a\n", "ä", &"x".repeat(129)] {
            assert!(bad.parse::<TextPattern>().is_err(), "{bad:?}");
        }
    }

    /// Against a plain reading: whatever is like the narrow one has to be like the wide one.
    #[test]
    fn a_pattern_that_covers_another_fits_all_that_the_other_does() {
        let letters = ["a", "b", "?", "*"];
        let mut patterns: Vec<String> = letters.map(str::to_owned).to_vec();
        let mut texts: Vec<String> = vec!["a".to_owned(), "b".to_owned()];
        for _ in 0..3 {
            let longer = patterns.iter().flat_map(|one| letters.map(|letter| format!("{one}{letter}")));
            patterns = longer.chain(letters.map(str::to_owned)).collect();
            texts =
                texts.iter().flat_map(|one| [format!("{one}a"), format!("{one}b"), one.clone()]).collect();
        }
        patterns.sort();
        patterns.dedup();
        let mut covered = 0;
        for wide in patterns.iter().map(|text| pattern(text)) {
            for narrow in patterns.iter().map(|text| pattern(text)).filter(|narrow| wide.covers(narrow)) {
                covered += 1;
                for text in texts.iter().filter(|text| narrow.fits(text)) {
                    assert!(wide.fits(text), "{wide:?} {narrow:?} {text}");
                }
            }
        }
        assert!(covered > patterns.len());
        assert!(pattern("X*").covers(&pattern("x1*")) && !pattern("X1*").covers(&pattern("X*")));
        assert!(!pattern("?").covers(&pattern("*")) && pattern("*").covers(&pattern("?")));
    }

    #[test]
    fn memory_is_from_so_much_to_so_much() {
        let range = |text: &str| text.parse::<Memory>().map(|memory| memory.0).ok();
        assert_eq!(range("8192-"), Some(8192..=u32::MAX));
        assert_eq!(range("-4096"), Some(0..=4096));
        assert_eq!(range("4096-8191"), Some(4096..=8191));
        for bad in ["", "-", "8192", "8191-4096", "8G-", "+1-2", "1-2-3", "99999999999-"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
