//! A table of a site file once it is checked, and what tables of every kind have: names, paths.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use oneroot_ids::Mac;

use crate::site::report::Span;
use crate::site::section::{Diagnostics, Located};

/// A checked table, with the places of those values that are compared with other tables.
#[derive(Debug)]
pub(crate) struct Table<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
    pub(crate) places: HashMap<(&'static str, String), Span>,
}

impl<T> Table<T> {
    /// Where it stands among the others: the order of the files, and in each.
    pub(crate) fn order(&self) -> (usize, usize) {
        (self.span.file, self.span.span.start)
    }

    /// Where `key` says `value`; the table's own place for a value that no file says.
    pub(crate) fn place(&self, key: &'static str, value: &impl ToString) -> &Span {
        self.places.get(&(key, value.to_string())).unwrap_or(&self.span)
    }
}

/// The places collected while a table is read.
#[derive(Default)]
pub(crate) struct Places(pub(crate) HashMap<(&'static str, String), Span>);

impl Places {
    pub(crate) fn keep<T: ToString>(&mut self, key: &'static str, at: Located<T>) -> T {
        self.0.insert((key, at.value.to_string()), at.span);
        at.value
    }
}

/// A machine's name is its host's: labels of letters, digits and hyphens (RFC 1123 §2.1), which systemd insists on, and
/// nothing that a command would take for an address.
pub(crate) fn host_name(name: &str) -> Result<(), &'static str> {
    let label = |label: &str| {
        !label.is_empty() && !label.contains('_') && !label.starts_with('-') && !label.ends_with('-')
    };
    if !name.split('.').all(label) {
        Err(
            "is not a host's name: between dots there are letters, digits and hyphens, and no hyphen first or last",
        )
    } else if name.parse::<Ipv4Addr>().is_ok() || name.parse::<Mac>().is_ok() {
        Err("reads as an address; give the machine a name")
    } else {
        Ok(())
    }
}

/// Names become files' and hosts' names.
pub(crate) fn good_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let last = !name.ends_with(['-', '.']) && !name.contains("..");
    first && last && name.len() <= 63 && name.bytes().all(allowed)
}

/// A path on the server, relative to the site file.
pub(crate) fn path(at: Located<String>, home: &Path, diagnostics: &mut Diagnostics) -> Option<PathBuf> {
    placed(at, home, diagnostics).map(|at| at.value)
}

pub(crate) fn placed(
    at: Located<String>,
    home: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<Located<PathBuf>> {
    at.check(diagnostics, |text| {
        let good = !text.is_empty() && !text.contains('\0');
        if good { Ok(home.join(text)) } else { Err("is not a path") }
    })
}
