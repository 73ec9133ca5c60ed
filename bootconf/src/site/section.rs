//! One table of a site file while it is read: takes keys by name and type, notes what is wrong, and in the end reports
//! the keys that nobody took.

use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::site::report::{Span, nearest};

/// All mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics(pub(crate) Vec<(Span, String, Option<String>)>);

impl Diagnostics {
    pub(crate) fn note(&mut self, span: &Span, reason: impl Into<String>) {
        self.0.push((span.clone(), reason.into(), None));
    }

    pub(crate) fn note_with(&mut self, span: &Span, reason: impl Into<String>, hint: Option<String>) {
        self.0.push((span.clone(), reason.into(), hint));
    }
}

/// A value with the place where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

impl<T> Located<T> {
    /// Parses or checks the value; a failure is noted where it stands.
    pub(crate) fn check<U, E: std::fmt::Display>(
        self,
        diagnostics: &mut Diagnostics,
        check: impl FnOnce(T) -> Result<U, E>,
    ) -> Option<Located<U>> {
        match check(self.value) {
            Ok(value) => Some(Located { value, span: self.span }),
            Err(reason) => {
                diagnostics.note(&self.span, reason.to_string());
                None
            }
        }
    }
}

/// A value of a list in which there may be strings and tables.
pub(crate) enum Item<'t> {
    Text(Located<String>),
    Table(Section<'t>),
}

/// A table being read.
pub(crate) struct Section<'t> {
    table: &'t DeTable<'t>,
    pub(crate) span: Span,
    known: Vec<&'static str>,
}

type Value<'t> = &'t Spanned<DeValue<'t>>;

impl<'t> Section<'t> {
    pub(crate) fn new(table: &'t DeTable<'t>, span: Span) -> Self {
        Self { table, span, known: Vec::new() }
    }

    /// The key's place, whether it is there or not.
    fn spot_of(&self, key: &str, value: Option<Value<'t>>) -> Span {
        let full = if self.span.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.span.key) };
        Span { file: self.span.file, span: value.map_or(self.span.span.clone(), Spanned::span), key: full }
    }

    fn take(&mut self, key: &'static str) -> Option<(Value<'t>, Span)> {
        // Though it may not be there: what stands in its place may be meant for it.
        self.known.push(key);
        let value = self.table.get(key)?;
        Some((value, self.spot_of(key, Some(value))))
    }

    fn typed<T>(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
        what: &str,
        as_type: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<Located<T>> {
        let (value, span) = self.take(key)?;
        let found = value.get_ref();
        match as_type(found) {
            Some(value) => Some(Located { value, span }),
            None => {
                diagnostics.note(&span, format!("must be {what}, not {}", article(found.type_str())));
                None
            }
        }
    }

    pub(crate) fn string(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
    ) -> Option<Located<String>> {
        self.typed(diagnostics, key, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A string that reads as a `T`.
    pub(crate) fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
        what: &str,
    ) -> Option<Located<T>> {
        let text = self.string(diagnostics, key)?;
        text.check(diagnostics, |text| text.parse().map_err(|_| format!("{text:?} is not {what}")))
    }

    pub(crate) fn boolean(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
    ) -> Option<Located<bool>> {
        self.typed(diagnostics, key, "true or false", DeValue::as_bool)
    }

    pub(crate) fn port(&mut self, diagnostics: &mut Diagnostics, key: &'static str) -> Option<Located<u16>> {
        self.counted(diagnostics, key, "a port number", "must be a port from 1 to 65535", &(1..=u16::MAX))
    }

    /// A number in a range.
    pub(crate) fn number(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
        range: RangeInclusive<u16>,
    ) -> Option<Located<u16>> {
        let told = format!("must be a number from {} to {}", range.start(), range.end());
        self.counted(diagnostics, key, "a number", &told, &range)
    }

    fn counted(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
        what: &str,
        told: &str,
        range: &RangeInclusive<u16>,
    ) -> Option<Located<u16>> {
        let number = self.typed(diagnostics, key, what, |value| {
            let number = value.as_integer()?;
            Some(u16::from_str_radix(number.as_str(), number.radix()).ok().filter(|one| range.contains(one)))
        })?;
        number.check(diagnostics, |number| number.ok_or(told))
    }

    /// A list of strings; a single string counts as a list of one where `single` allows it.
    pub(crate) fn strings(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
        single: bool,
    ) -> Vec<Located<String>> {
        let Some((value, span)) = self.take(key) else { return Vec::new() };
        if let (true, Some(text)) = (single, value.get_ref().as_str()) {
            return vec![Located { value: text.to_owned(), span }];
        }
        let Some(list) = value.get_ref().as_array() else {
            diagnostics.note(
                &span,
                format!("must be a list of strings, not {}", article(value.get_ref().type_str())),
            );
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in list {
            let span = Span { span: item.span(), ..span.clone() };
            match item.get_ref().as_str() {
                Some(text) => strings.push(Located { value: text.to_owned(), span }),
                None => diagnostics
                    .note(&span, format!("must be a string, not {}", article(item.get_ref().type_str()))),
            }
        }
        strings
    }

    /// A list of strings and tables; `what` is what each has to be.
    pub(crate) fn items(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
        what: &str,
    ) -> Vec<Item<'t>> {
        let Some(list) = self.typed(diagnostics, key, "a list of strings", DeValue::as_array) else {
            return Vec::new();
        };
        let mut items = Vec::new();
        for item in list.value {
            let (value, span) = (item.get_ref(), Span { span: item.span(), ..list.span.clone() });
            match (value.as_str(), value.as_table()) {
                (Some(text), _) => items.push(Item::Text(Located { value: text.to_owned(), span })),
                (_, Some(table)) => items.push(Item::Table(Section::new(table, span))),
                _ => diagnostics.note(&span, format!("must be {what}, not {}", article(value.type_str()))),
            }
        }
        items
    }

    /// Every key of the table `key`, which are the admin's own, each with a string or a table; `what` is what each has to be.
    pub(crate) fn each(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
        what: &str,
    ) -> Vec<(Located<String>, Item<'t>)> {
        let Some(outer) = self.section(diagnostics, key) else { return Vec::new() };
        let mut each = Vec::new();
        for (name, value) in outer.table {
            let text = name.get_ref().to_string();
            let span = outer.spot_of(&text, Some(value));
            let name = Located { value: text, span: Span { span: name.span(), ..span.clone() } };
            match (value.get_ref().as_str(), value.get_ref().as_table()) {
                (Some(text), _) => each.push((name, Item::Text(Located { value: text.to_owned(), span }))),
                (_, Some(table)) => each.push((name, Item::Table(Section::new(table, span)))),
                _ => {
                    let found = article(value.get_ref().type_str());
                    diagnostics.note(&span, format!("must be {what}, not {found}"));
                }
            }
        }
        each
    }

    pub(crate) fn section(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
    ) -> Option<Section<'t>> {
        let table = self.typed(diagnostics, key, "a table", DeValue::as_table)?;
        Some(Section::new(table.value, table.span))
    }

    /// The tables of `[[key]]`.
    pub(crate) fn sections(&mut self, diagnostics: &mut Diagnostics, key: &'static str) -> Vec<Section<'t>> {
        let Some(list) = self.typed(diagnostics, key, &format!("written as [[{key}]]"), DeValue::as_array)
        else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in list.value {
            let span = Span { span: item.span(), ..list.span.clone() };
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section::new(table, span)),
                None => diagnostics.note(&span, format!("must be written as [[{key}]]")),
            }
        }
        sections
    }

    /// The tables of `[key.NAME]`, by name.
    pub(crate) fn named(
        &mut self,
        diagnostics: &mut Diagnostics,
        key: &'static str,
    ) -> Vec<(Located<String>, Section<'t>)> {
        let Some(outer) = self.section(diagnostics, key) else { return Vec::new() };
        let mut named = Vec::new();
        for (name, value) in outer.table {
            let text = name.get_ref().to_string();
            let span = Span { span: name.span(), ..outer.spot_of(&text, None) };
            match value.get_ref().as_table() {
                Some(table) => {
                    named.push((Located { value: text, span: span.clone() }, Section::new(table, span)));
                }
                None => diagnostics.note(&span, format!("must be a table, [{key}.NAME]")),
            }
        }
        named
    }

    /// Every key of this table, which are the admin's own, with strings as values.
    pub(crate) fn all_strings(self, diagnostics: &mut Diagnostics) -> Vec<(String, Located<String>)> {
        let mut strings = Vec::new();
        for (key, value) in self.table {
            let name = key.get_ref().to_string();
            let span = self.spot_of(&name, Some(value));
            match value.get_ref().as_str() {
                Some(text) => strings.push((name, Located { value: text.to_owned(), span })),
                None => diagnostics
                    .note(&span, format!("must be a string, not {}", article(value.get_ref().type_str()))),
            }
        }
        strings
    }

    /// Every key of this table, which are the admin's own, each with a string, a whole number, true or false, or a list of those; as
    /// texts.
    pub(crate) fn all_words(
        self,
        diagnostics: &mut Diagnostics,
    ) -> Vec<(Located<String>, Vec<Located<String>>)> {
        let mut words = Vec::new();
        for (key, value) in self.table {
            let name = key.get_ref().to_string();
            let span = self.spot_of(&name, Some(value));
            let key = Located { value: name, span: Span { span: key.span(), ..span.clone() } };
            let listed: Vec<Value<'t>> = match value.get_ref().as_array() {
                Some(list) => list.iter().collect(),
                None => vec![value],
            };
            if listed.is_empty() {
                diagnostics
                    .note(&span, "is empty: a word that nothing fits makes it never true; leave it out");
            }
            let mut texts = Vec::new();
            for item in listed {
                let span = Span { span: item.span(), ..span.clone() };
                match plain(item.get_ref()) {
                    Some(value) => texts.push(Located { value, span }),
                    None => diagnostics.note(
                        &span,
                        format!(
                            "must be a string, a whole number of 64 bits, true or false, or a list of those, not {}",
                            article(item.get_ref().type_str())
                        ),
                    ),
                }
            }
            words.push((key, texts));
        }
        words
    }

    /// A list that has to have something in it, and has nothing or is not there.
    pub(crate) fn required(&self, diagnostics: &mut Diagnostics, key: &str, why: &str) {
        match self.table.get(key) {
            None => self.missing(diagnostics, key, why),
            Some(value) if value.get_ref().as_array().is_some_and(|list| list.is_empty()) => {
                diagnostics.note(&self.spot_of(key, Some(value)), format!("is empty: {why}"));
            }
            // Of a wrong type, which has been told.
            Some(_) => {}
        }
    }

    /// Whether a key is there, of whatever type.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A required key that is not there.
    pub(crate) fn missing(&self, diagnostics: &mut Diagnostics, key: &str, why: &str) {
        if !self.table.contains_key(key) {
            diagnostics.note(&self.spot_of(key, None), format!("is missing: {why}"));
        }
    }

    /// Notes every key that was not asked for.
    pub(crate) fn finish(self, diagnostics: &mut Diagnostics) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let span = Span { span: key.span(), ..self.spot_of(name, None) };
                diagnostics.note_with(
                    &span,
                    "is not a key of this table",
                    nearest(name, self.known.iter().copied()),
                );
            }
        }
    }
}

/// A value that is one word, as a program would print it.
fn plain(value: &DeValue<'_>) -> Option<String> {
    let number =
        value.as_integer().and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
    let other = || Some(value.as_bool()?.to_string());
    value.as_str().map(str::to_owned).or_else(|| number.map(|number| number.to_string())).or_else(other)
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}
