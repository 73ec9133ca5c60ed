//! The `[group.NAME]` tables: who is in each, and what they get.

use std::path::Path;
use std::str::FromStr;

use ipnetwork::Ipv4Network;

use crate::site::gives::Gives;
use crate::site::groups::{Group, Members};
use crate::site::layers::layers;
use crate::site::networks::without_host_bits;
use crate::site::section::{Diagnostics, Located, Section};
use crate::site::table::{Places, Table};
use crate::site::tables::gives;

/// A `[group.NAME]` table.
pub(crate) fn group(mut section: Section<'_>, home: &Path, diagnostics: &mut Diagnostics) -> Table<Group> {
    let span = section.span.clone();
    let mut places = Places::default();
    let members = Members {
        names: patterns(&mut section, "machines", diagnostics),
        macs: patterns(&mut section, "macs", diagnostics),
        networks: networks(&mut section, diagnostics),
    };
    if !["machines", "macs", "networks"].iter().any(|key| section.has(key)) {
        diagnostics.note(
            &span,
            "has no members: say `machines = [\"seat-*\"]`, `macs = [\"52:54:00:*\"]` or `networks = [\"192.168.77.0/24\"]`",
        );
    }
    let layers = layers(&mut section, home, &mut places, diagnostics);
    let gives = Gives { layers, ..gives(&mut section, &mut places, diagnostics) };
    section.finish(diagnostics);
    Table { value: Group { members, gives }, span, places: places.0 }
}

fn patterns<T: FromStr<Err: std::fmt::Display>>(
    section: &mut Section<'_>,
    key: &'static str,
    diagnostics: &mut Diagnostics,
) -> Vec<T> {
    let listed = section.strings(diagnostics, key, true).into_iter();
    listed.filter_map(|at| Some(at.check(diagnostics, |text| text.parse())?.value)).collect()
}

fn networks(section: &mut Section<'_>, diagnostics: &mut Diagnostics) -> Vec<Ipv4Network> {
    let parsed = |text: String| match text.parse() {
        Ok(network) => without_host_bits(network),
        Err(_) => Err(format!("{text:?} is not a network such as 192.168.77.0/24")),
    };
    let listed: Vec<Located<String>> = section.strings(diagnostics, "networks", true);
    listed.into_iter().filter_map(|at| Some(at.check(diagnostics, parsed)?.value)).collect()
}
