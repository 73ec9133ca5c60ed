//! What a machine has found out about itself while it came up: the facts that the programs in `/etc/oneroot/examine.d` of its tree
//! print, each a flat JSON object (docs/decisions/0023). They are the machine's claims like all else that it tells, of names that the
//! site's admin has made up, and they are there at its next boot.
//!
//! What a program prints is taken whole or not at all. Of one that has failed, or has printed what is no such object, the last facts
//! stay; what a program no longer prints goes. A program that the machine does not tell of is not in the tree that it boots now: its facts
//! stay as long as there is room beside those that it tells, or two profiles with programs of their own would each take away what the
//! machine boots the other one by.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use oneroot_initrd::examined::{Examination, LARGEST, MOST_HOOKS, MOST_PRINTED, Outcome};
use oneroot_initrd::report::shown;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{NoFact, Told};

/// Facts of one machine at most.
pub const MOST_FACTS: usize = 64;
/// Texts of one list at most.
pub const MOST_TEXTS: usize = 16;
/// Of what is wrong with what a program has printed, so many bytes are told.
const TOLD: usize = 160;

/// What a program calls a fact: 1 to [`Key::LONGEST`] letters, digits, hyphens and underscores, a letter first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// What a fact is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A whole number. Of others two programs need not print the same digits.
    Number(i64),
    /// A text.
    Text(Told),
    /// Several texts, at most 16.
    List(Vec<Told>),
}

/// The facts that one program has printed.
type Printed = BTreeMap<Key, Value>;

/// All facts of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Examined(Printed);

/// What is kept of a machine: its facts by the programs that have printed them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExaminedRecord {
    hooks: BTreeMap<String, OfHook>,
}

/// What one program has printed, and since when it prints that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OfHook {
    facts: Printed,
    /// Seconds of site time.
    since: u64,
}

/// Why what a program has printed is not taken: a sentence without its subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// There is nothing.
    #[error("has printed nothing; one that has found nothing prints {{}}")]
    Empty,
    /// It is longer than what one may print.
    #[error("has printed more than {} KiB", MOST_PRINTED >> 10)]
    TooLong,
    /// It is no flat object of such facts.
    #[error("has printed what are no facts: {0}")]
    Malformed(String),
    /// Of all of its machine's there would be too many.
    #[error("has printed too much: a machine has {MOST_FACTS} facts and {} KiB of them at most", LARGEST >> 10)]
    TooMany,
}

/// What becomes of a machine's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// As it is now.
    pub record: ExaminedRecord,
    /// Programs of which nothing was taken, and why.
    pub refused: Vec<(String, NotTaken)>,
}

impl Key {
    /// Bytes of one at most.
    pub const LONGEST: usize = 32;

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = NoFact;

    fn from_str(text: &str) -> Result<Self, NoFact> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_good = text.len() <= Self::LONGEST
            && text.bytes().all(plain)
            && text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
        if is_good {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoFact("a fact's name: 1 to 32 letters, digits, hyphens and underscores, a letter first"))
        }
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Value {
    /// As conditions compare it: the texts of a list one by one, all else as it is printed.
    pub fn texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let (one, list): (Option<Cow<'_, str>>, &[Told]) = match self {
            Self::Bool(is) => (Some(Cow::Borrowed(if *is { "true" } else { "false" })), &[]),
            Self::Number(number) => (Some(number.to_string().into()), &[]),
            Self::Text(text) => (Some(text.as_str().into()), &[]),
            Self::List(texts) => (None, texts.as_slice()),
        };
        one.into_iter().chain(list.iter().map(|text| text.as_str().into()))
    }

    /// What somebody has typed, as a program would print it.
    ///
    /// # Errors
    /// [`NoFact`].
    pub fn typed(text: &str) -> Result<Self, NoFact> {
        Ok(match (text, text.parse::<i64>()) {
            ("true", _) => Self::Bool(true),
            ("false", _) => Self::Bool(false),
            // What no program prints as a number is none: `007`, `+7`.
            (_, Ok(number)) if number.to_string() == text => Self::Number(number),
            (_, _) => Self::Text(text.parse()?),
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.texts().collect();
        f.write_str(&texts.join(", "))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a whole number, true, false, or a list of texts")
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(Value::Bool(is))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Number).map_err(|_| E::custom("a number is too large"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        text.parse().map(Value::Text).map_err(|told: NoFact| E::custom(format_args!("a value {told}")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element::<Told>()? {
            if texts.len() == MOST_TEXTS {
                return Err(A::Error::custom(format_args!("a list has more than {MOST_TEXTS} texts")));
            }
            texts.push(text);
        }
        Ok(Value::List(texts))
    }
}

/// The object that a program prints. Each name once: readers don't agree which of two would count.
struct Object(Printed);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Printed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object of facts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Printed, A::Error> {
                let mut facts = Printed::new();
                while let Some(key) = map.next_key::<Key>()? {
                    let value = map.next_value()?;
                    if facts.insert(key.clone(), value).is_some() {
                        return Err(A::Error::custom(format_args!("{key} is there twice")));
                    }
                    if facts.len() > MOST_FACTS {
                        return Err(A::Error::custom(format_args!("there are more than {MOST_FACTS}")));
                    }
                }
                Ok(facts)
            }
        }

        deserializer.deserialize_map(Each).map(Self)
    }
}

/// Reads what a program has printed.
fn read(printed: &[u8]) -> Result<Printed, NotTaken> {
    if printed.len() > MOST_PRINTED {
        return Err(NotTaken::TooLong);
    }
    if printed.trim_ascii().is_empty() {
        return Err(NotTaken::Empty);
    }
    // Of what is no object the reader would tell what it is.
    if !printed.trim_ascii_start().starts_with(b"{") {
        return Err(NotTaken::Malformed("a JSON object begins with {".to_owned()));
    }
    let malformed = |cause: serde_json::Error| NotTaken::Malformed(shown(&cause.to_string(), TOLD));
    serde_json::from_slice::<Object>(printed).map(|Object(facts)| facts).map_err(malformed)
}

impl Examined {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A fact.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.0.get(key)
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.0.iter()
    }

    /// Takes a fact in place of what was known.
    pub fn suppose(&mut self, key: Key, value: Value) {
        self.0.insert(key, value);
    }
}

impl ExaminedRecord {
    /// The machine's facts: of two programs that print one name, the one whose own name comes later counts.
    #[must_use]
    pub fn facts(&self) -> Examined {
        let each = self.hooks.values().flat_map(|hook| &hook.facts);
        Examined(each.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Its programs, and since when each prints what it does: seconds of site time.
    pub fn programs(&self) -> impl Iterator<Item = (&str, u64)> {
        self.hooks.iter().map(|(name, hook)| (name.as_str(), hook.since))
    }

    /// The program that counts for a fact, and since when it prints what it does: seconds of site time.
    #[must_use]
    pub fn origin(&self, key: &Key) -> Option<(&str, u64)> {
        let mut having = self.hooks.iter().rev().filter(|(_, hook)| hook.facts.contains_key(key));
        having.next().map(|(name, hook)| (name.as_str(), hook.since))
    }

    /// The record once a machine has examined itself, at a moment of site time. Of programs that it does not tell of, the one that has said
    /// nothing new for longest makes room first.
    #[must_use]
    pub fn after(&self, examination: &Examination, now: u64) -> Taken {
        let mut taken = self.told(examination, now);
        let is_told = |name: &str| examination.hooks.keys().any(|told| told.as_str() == name);
        let mut silent: Vec<_> = self.hooks.iter().filter(|(name, _)| !is_told(name)).collect();
        silent.sort_by_key(|(_, hook)| Reverse(hook.since));
        let hooks = &mut taken.record.hooks;
        for (name, hook) in silent.into_iter().take(MOST_HOOKS.saturating_sub(hooks.len())) {
            hooks.insert(name.clone(), hook.clone());
            if !is_bounded(hooks) {
                hooks.remove(name);
            }
        }
        taken
    }

    /// What stands of the programs that a machine tells of.
    fn told(&self, examination: &Examination, now: u64) -> Taken {
        let mut taken = Taken { record: Self::default(), refused: Vec::new() };
        for (name, outcome) in examination.hooks.iter().take(MOST_HOOKS) {
            let name = name.as_str();
            let known = self.hooks.get(name);
            let mut kept = known.cloned();
            if let Outcome::Printed(printed) = outcome {
                match read(printed) {
                    Ok(facts) if known.is_some_and(|known| known.facts == facts) => {}
                    Ok(facts) => kept = Some(OfHook { facts, since: now }),
                    Err(cause) => taken.refused.push((name.to_owned(), cause)),
                }
            }
            for kept in [kept, known.cloned()].into_iter().flatten() {
                taken.record.hooks.insert(name.to_owned(), kept);
                if is_bounded(&taken.record.hooks) {
                    break;
                }
                taken.record.hooks.remove(name);
                if taken.refused.last().is_none_or(|(last, _)| last != name) {
                    taken.refused.push((name.to_owned(), NotTaken::TooMany));
                }
            }
        }
        taken
    }
}

fn is_bounded(hooks: &BTreeMap<String, OfHook>) -> bool {
    let each = || hooks.values().map(|hook| &hook.facts);
    // As the site's program and templates' process are told them.
    let bytes = |facts: &Printed| serde_json::to_string(facts).map_or(LARGEST, |text| text.len());
    each().map(BTreeMap::len).sum::<usize>() <= MOST_FACTS && each().map(bytes).sum::<usize>() <= LARGEST
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_initrd::examined::HookName;

    fn examination(hooks: &[(&str, Option<&str>)]) -> Examination {
        let outcome = |printed: Option<&str>| match printed {
            Some(text) => Outcome::Printed(text.as_bytes().to_vec()),
            None => Outcome::Failed,
        };
        let hooks =
            hooks.iter().map(|(name, printed)| (name.parse::<HookName>().unwrap(), outcome(*printed)));
        Examination { hooks: hooks.collect() }
    }

    fn shown(record: &ExaminedRecord) -> String {
        serde_json::to_string(&record.facts()).unwrap()
    }

    #[test]
    fn what_hooks_print_are_the_machines_facts_and_the_later_name_counts() {
        let hooks = [
            (
                "10-rack",
                Some(r#"{"rack": "b7", "gpu": 2, "has-scratch": true, "disks": ["sda", "nvme0n1"]}"#),
            ),
            ("20-site", Some("{\"rack\": \"b8\", \"less\": -3}\n")),
        ];
        let taken = ExaminedRecord::default().after(&examination(&hooks), 7);
        assert_eq!(taken.refused, []);
        assert_eq!(
            shown(&taken.record),
            r#"{"disks":["sda","nvme0n1"],"gpu":2,"has-scratch":true,"less":-3,"rack":"b8"}"#
        );
        let text = serde_json::to_string(&taken.record).unwrap();
        assert_eq!(serde_json::from_str::<ExaminedRecord>(&text).unwrap(), taken.record);
        let rack: Key = "rack".parse().unwrap();
        assert_eq!(taken.record.origin(&rack), Some(("20-site", 7)));
        let disks: Vec<_> = taken
            .record
            .facts()
            .get(&"disks".parse().unwrap())
            .unwrap()
            .texts()
            .map(Cow::into_owned)
            .collect();
        assert_eq!(disks, ["sda", "nvme0n1"]);
    }

    #[test]
    fn a_failed_hook_keeps_its_last_facts_and_what_is_no_longer_printed_goes() {
        let first = ExaminedRecord::default()
            .after(&examination(&[("a", Some(r#"{"one": 1, "two": 2}"#)), ("b", Some(r#"{"three": 3}"#))]), 1)
            .record;
        let after = |hooks: &[(&str, Option<&str>)]| first.after(&examination(hooks), 9);
        let same = after(&[("a", Some(r#"{"two": 2, "one": 1}"#)), ("b", Some(r#"{"three":3}"#))]);
        assert_eq!(same.record, first, "nothing is to be written");
        assert_eq!(shown(&after(&[("a", None), ("b", None)]).record), r#"{"one":1,"three":3,"two":2}"#);
        assert_eq!(
            shown(&after(&[("a", Some(r#"{"two": 5}"#)), ("b", None)]).record),
            r#"{"three":3,"two":5}"#
        );
        assert_eq!(shown(&after(&[("a", Some("{}")), ("b", Some("{}"))]).record), "{}", "nothing is found");
        assert_eq!(shown(&after(&[("b", Some("{}"))]).record), r#"{"one":1,"two":2}"#, "a is another tree's");
        let odd = after(&[("a", Some("no JSON")), ("b", Some(r#"{"three": 4}"#))]);
        assert_eq!(shown(&odd.record), r#"{"one":1,"three":4,"two":2}"#);
        assert_eq!(odd.refused.len(), 1);
        assert_eq!(odd.record.origin(&"three".parse().unwrap()), Some(("b", 9)));
        assert_eq!(odd.record.origin(&"one".parse().unwrap()), Some(("a", 1)));
    }

    #[test]
    fn what_is_no_flat_object_of_plain_facts_is_refused_whole_in_words_that_repeat_nothing() {
        let long = format!("{{\"x\": \"{}\"}}", "a".repeat(129));
        let many = format!("{{\"x\": [{}]}}", vec!["\"a\""; 17].join(","));
        let deep = format!("{{\"x\": {}", "[".repeat(2000));
        let name = format!("{{\"{}\": 1}}", "a".repeat(33));
        for bad in [
            "",
            " \n",
            "null",
            "[]",
            "\"a\"",
            "{",
            "{\"a\": 1}x",
            "{\"a\": null}",
            "{\"a\": {}}",
            "{\"a\": 1.5}",
            "{\"a\": 1e3}",
            "{\"a\": \"\"}",
            "{\"a\": \"x\\ny\"}",
            "{\"a\": \"\\u0000\"}",
            "{\"a\": [1]}",
            "{\"a\": [[]]}",
            "{\"a\": 1, \"a\": 1}",
            "{\"\": 1}",
            "{\"1a\": 1}",
            "{\"a b\": 1}",
            "{\"-a\": 1}",
            "{\"ä\": 1}",
            "{\"a\": 9223372036854775808}",
            "{a: 1}",
            "{\"a\": \u{1b}[2J}",
            "{\"\u{1b}[2J\": 1}",
            &long,
            &many,
            &deep,
            &name,
        ] {
            let told = read(bad.as_bytes()).unwrap_err().to_string();
            assert!(told.len() < 300 && !told.contains('\u{1b}') && !told.contains("aaaa"), "{bad}: {told}");
        }
        assert_eq!(read(&[b' '; MOST_PRINTED + 1]), Err(NotTaken::TooLong));
        assert!(read(b"{\"a\": \"\xff\"}").is_err());
    }

    #[test]
    fn a_machine_has_so_many_facts_and_no_more_whichever_hook_prints_them() {
        let facts = |from: usize, count: usize| {
            let each: Vec<String> =
                (from..from + count).map(|number| format!("\"f{number}\": {number}")).collect();
            format!("{{{}}}", each.join(", "))
        };
        let (half, more) = (facts(0, 40), facts(40, 40));
        let taken = ExaminedRecord::default()
            .after(&examination(&[("a", Some(&half)), ("b", Some(&more)), ("c", Some("{\"x\": 1}"))]), 1);
        assert_eq!(taken.refused, [("b".to_owned(), NotTaken::TooMany)]);
        assert_eq!(taken.record.facts().all().count(), 41);
        assert!(read(facts(0, 65).as_bytes()).is_err());
        // Hooks that print much one after the other, each of which keeps its last word.
        let much = |letter: &str| {
            let texts = vec![format!("\"{}\"", letter.repeat(120)); 16].join(",");
            format!("{{\"{letter}1\": [{texts}], \"{letter}2\": [{texts}]}}")
        };
        let mut record = ExaminedRecord::default();
        let names: Vec<String> = ('a'..='h').map(|name| name.to_string()).collect();
        for talks in &names {
            let text = much(talks);
            let hooks: Vec<_> =
                names.iter().map(|name| (name.as_str(), (name == talks).then_some(text.as_str()))).collect();
            record = record.after(&examination(&hooks), 1).record;
        }
        assert!(
            is_bounded(&record.hooks)
                && serde_json::to_string(&record).unwrap().len() < LARGEST + MOST_HOOKS * 80
        );
    }

    /// What is kept after a machine has told these one after the other, each as programs that print.
    fn kept(told: &[&[(&str, String)]]) -> ExaminedRecord {
        told.iter().zip(1..).fold(ExaminedRecord::default(), |before, (printed, now)| {
            let hooks = printed
                .iter()
                .map(|(name, text)| (name.parse().unwrap(), Outcome::Printed(text.clone().into_bytes())));
            let taken = before.after(&Examination { hooks: hooks.collect() }, now);
            assert_eq!(taken.refused, []);
            taken.record
        })
    }

    #[test]
    fn two_trees_with_programs_of_their_own_do_not_take_each_others_facts_away() {
        let one: &[_] = &[("10-rack", "{\"rack\": 7}".to_owned()), ("20-gpu", "{\"gpu\": true}".to_owned())];
        let other: &[_] = &[("10-rack", "{\"rack\": 7}".to_owned()), ("30-disk", "{\"disk\": 2}".to_owned())];
        let all = r#"{"disk":2,"gpu":true,"rack":7}"#;
        assert_eq!(shown(&kept(&[one, other])), all);
        assert_eq!(kept(&[one, other, one, other]), kept(&[one, other]), "nothing is written any more");
        assert_eq!(shown(&kept(&[one, other, &[]])), all, "it has told of no program");
        let no_more: &[_] = &[("20-gpu", "{}".to_owned())];
        assert_eq!(
            shown(&kept(&[one, other, no_more])),
            r#"{"disk":2,"rack":7}"#,
            "it ran, and has found nothing"
        );
    }

    #[test]
    fn programs_that_are_not_there_make_room_for_those_that_are_the_oldest_first() {
        let facts = |name: &str, count: usize| {
            let each: Vec<String> = (0..count).map(|number| format!("\"{name}{number}\": 1")).collect();
            format!("{{{}}}", each.join(", "))
        };
        let hook = |name: &'static str, count: usize| (name, facts(name, count));
        let kept = kept(&[&[hook("b", 20)], &[hook("a", 20)], &[hook("z", 20)], &[hook("m", 20)]]);
        let names = ["a0", "b0", "m0", "z0"].map(|name| kept.origin(&name.parse().unwrap()).is_some());
        assert_eq!(names, [true, false, true, true]);
        // Names without end, each another boot's.
        let mut record = ExaminedRecord::default();
        for boot in 1..200 {
            let printed = Outcome::Printed(format!("{{\"f{boot}\": 1}}").into_bytes());
            let hooks = [(format!("h{boot}").parse().unwrap(), printed)].into();
            record = record.after(&Examination { hooks }, boot).record;
        }
        assert_eq!(record.facts().all().count(), MOST_HOOKS);
        assert!(record.origin(&"f199".parse().unwrap()).is_some());
    }

    #[test]
    fn what_is_typed_is_what_a_program_would_print() {
        assert_eq!(Value::typed("true"), Ok(Value::Bool(true)));
        assert_eq!(Value::typed("-7"), Ok(Value::Number(-7)));
        assert_eq!(Value::typed("b7"), Ok(Value::Text("b7".parse().unwrap())));
        assert!(Value::typed("").is_err());
    }
}
