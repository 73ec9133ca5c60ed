//! One table of a site file while it is read: takes keys by name and type, notes what is wrong, and in the end reports
//! the keys that nobody took.

use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::report::{Spot, nearest};

/// All mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(pub(crate) Vec<(Spot, String, Option<String>)>);

impl Mistakes {
    pub(crate) fn note(&mut self, spot: &Spot, reason: impl Into<String>) {
        self.0.push((spot.clone(), reason.into(), None));
    }

    pub(crate) fn note_with(&mut self, spot: &Spot, reason: impl Into<String>, hint: Option<String>) {
        self.0.push((spot.clone(), reason.into(), hint));
    }
}

/// A value with the place where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) spot: Spot,
}

impl<T> At<T> {
    /// Parses or checks the value; a failure is noted where it stands.
    pub(crate) fn check<U, E: std::fmt::Display>(
        self,
        mistakes: &mut Mistakes,
        check: impl FnOnce(T) -> Result<U, E>,
    ) -> Option<At<U>> {
        match check(self.value) {
            Ok(value) => Some(At { value, spot: self.spot }),
            Err(reason) => {
                mistakes.note(&self.spot, reason.to_string());
                None
            }
        }
    }
}

/// A table being read.
pub(crate) struct Section<'t> {
    table: &'t DeTable<'t>,
    pub(crate) spot: Spot,
    known: Vec<&'static str>,
}

type Value<'t> = &'t Spanned<DeValue<'t>>;

impl<'t> Section<'t> {
    pub(crate) fn new(table: &'t DeTable<'t>, spot: Spot) -> Self {
        Self { table, spot, known: Vec::new() }
    }

    /// The key's place, whether it is there or not.
    fn spot_of(&self, key: &str, value: Option<Value<'t>>) -> Spot {
        let full = if self.spot.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.spot.key) };
        Spot { file: self.spot.file, span: value.map_or(self.spot.span.clone(), Spanned::span), key: full }
    }

    fn take(&mut self, key: &'static str) -> Option<(Value<'t>, Spot)> {
        self.known.push(key);
        let value = self.table.get(key)?;
        Some((value, self.spot_of(key, Some(value))))
    }

    fn typed<T>(
        &mut self,
        mistakes: &mut Mistakes,
        key: &'static str,
        what: &str,
        as_type: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<At<T>> {
        let (value, spot) = self.take(key)?;
        let found = value.get_ref();
        match as_type(found) {
            Some(value) => Some(At { value, spot }),
            None => {
                mistakes.note(&spot, format!("must be {what}, not {}", article(found.type_str())));
                None
            }
        }
    }

    pub(crate) fn string(&mut self, mistakes: &mut Mistakes, key: &'static str) -> Option<At<String>> {
        self.typed(mistakes, key, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A string that reads as a `T`.
    pub(crate) fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        mistakes: &mut Mistakes,
        key: &'static str,
        what: &str,
    ) -> Option<At<T>> {
        let text = self.string(mistakes, key)?;
        text.check(mistakes, |text| text.parse().map_err(|_| format!("{text:?} is not {what}")))
    }

    pub(crate) fn boolean(&mut self, mistakes: &mut Mistakes, key: &'static str) -> Option<At<bool>> {
        self.typed(mistakes, key, "true or false", DeValue::as_bool)
    }

    pub(crate) fn port(&mut self, mistakes: &mut Mistakes, key: &'static str) -> Option<At<u16>> {
        let number = self.typed(mistakes, key, "a port number", |value| {
            let number = value.as_integer()?;
            Some(u16::from_str_radix(number.as_str(), number.radix()).ok().filter(|port| *port > 0))
        })?;
        number.check(mistakes, |port| port.ok_or("must be a port from 1 to 65535"))
    }

    /// A list of strings; a single string counts as a list of one where `single` allows it.
    pub(crate) fn strings(
        &mut self,
        mistakes: &mut Mistakes,
        key: &'static str,
        single: bool,
    ) -> Vec<At<String>> {
        let Some((value, spot)) = self.take(key) else { return Vec::new() };
        if let (true, Some(text)) = (single, value.get_ref().as_str()) {
            return vec![At { value: text.to_owned(), spot }];
        }
        let Some(list) = value.get_ref().as_array() else {
            mistakes.note(
                &spot,
                format!("must be a list of strings, not {}", article(value.get_ref().type_str())),
            );
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in list {
            let spot = Spot { span: item.span(), ..spot.clone() };
            match item.get_ref().as_str() {
                Some(text) => strings.push(At { value: text.to_owned(), spot }),
                None => mistakes
                    .note(&spot, format!("must be a string, not {}", article(item.get_ref().type_str()))),
            }
        }
        strings
    }

    pub(crate) fn section(&mut self, mistakes: &mut Mistakes, key: &'static str) -> Option<Section<'t>> {
        let table = self.typed(mistakes, key, "a table", DeValue::as_table)?;
        Some(Section::new(table.value, table.spot))
    }

    /// The tables of `[[key]]`.
    pub(crate) fn sections(&mut self, mistakes: &mut Mistakes, key: &'static str) -> Vec<Section<'t>> {
        let Some(list) = self.typed(mistakes, key, &format!("written as [[{key}]]"), DeValue::as_array)
        else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in list.value {
            let spot = Spot { span: item.span(), ..list.spot.clone() };
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section::new(table, spot)),
                None => mistakes.note(&spot, format!("must be written as [[{key}]]")),
            }
        }
        sections
    }

    /// The tables of `[key.NAME]`, by name.
    pub(crate) fn named(
        &mut self,
        mistakes: &mut Mistakes,
        key: &'static str,
    ) -> Vec<(At<String>, Section<'t>)> {
        let Some(outer) = self.section(mistakes, key) else { return Vec::new() };
        let mut named = Vec::new();
        for (name, value) in outer.table {
            let text = name.get_ref().to_string();
            let spot = Spot { span: name.span(), ..outer.spot_of(&text, None) };
            match value.get_ref().as_table() {
                Some(table) => {
                    named.push((At { value: text, spot: spot.clone() }, Section::new(table, spot)));
                }
                None => mistakes.note(&spot, format!("must be a table, [{key}.NAME]")),
            }
        }
        named
    }

    /// Every key of this table, which are the admin's own, with strings as values.
    pub(crate) fn all_strings(self, mistakes: &mut Mistakes) -> Vec<(String, At<String>)> {
        let mut strings = Vec::new();
        for (key, value) in self.table {
            let name = key.get_ref().to_string();
            let spot = self.spot_of(&name, Some(value));
            match value.get_ref().as_str() {
                Some(text) => strings.push((name, At { value: text.to_owned(), spot })),
                None => mistakes
                    .note(&spot, format!("must be a string, not {}", article(value.get_ref().type_str()))),
            }
        }
        strings
    }

    /// A list that has to have something in it, and has nothing or is not there.
    pub(crate) fn required(&self, mistakes: &mut Mistakes, key: &str, why: &str) {
        match self.table.get(key) {
            None => self.missing(mistakes, key, why),
            Some(value) if value.get_ref().as_array().is_some_and(|list| list.is_empty()) => {
                mistakes.note(&self.spot_of(key, Some(value)), format!("is empty: {why}"));
            }
            // Of a wrong type, which has been told.
            Some(_) => {}
        }
    }

    /// A required key that is not there.
    pub(crate) fn missing(&self, mistakes: &mut Mistakes, key: &str, why: &str) {
        if !self.table.contains_key(key) {
            mistakes.note(&self.spot_of(key, None), format!("is missing: {why}"));
        }
    }

    /// Notes every key that was not asked for.
    pub(crate) fn finish(self, mistakes: &mut Mistakes) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let spot = Spot { span: key.span(), ..self.spot_of(name, None) };
                mistakes.note_with(
                    &spot,
                    "is not a key of this table",
                    nearest(name, self.known.iter().copied()),
                );
            }
        }
    }
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}
