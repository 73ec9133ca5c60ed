//! What a table says is booted, and the `[menu.NAME]` tables.

use crate::site::gives::Boots;
use crate::site::menus::{Choice, Menu, Title};
use crate::site::networks::seconds_of;
use crate::site::section::{Diagnostics, Located, Section};
use crate::site::table::{Places, Table, good_name};
use crate::site::tables::gives;

/// Seconds: a menu that is gone before anybody has read it is none, and one that stays for a day is a slip of the fingers.
const TIMES: std::ops::RangeInclusive<u32> = 1..=3600;
/// Lines of a screen, but for those around them.
const MOST_CHOICES: usize = 20;

/// What a table says is booted: at most one of `profile`, `menu` and `boot`.
pub(crate) fn boots(
    section: &mut Section<'_>,
    places: &mut Places,
    diagnostics: &mut Diagnostics,
) -> Option<Boots> {
    let named = |at: Located<String>, key, as_boots: fn(String) -> Boots, places: &mut Places| {
        let span = at.span.clone();
        Located { value: as_boots(places.keep(key, at)), span }
    };
    let profile = section.string(diagnostics, "profile");
    let menu = section.string(diagnostics, "menu");
    let boot = section.string(diagnostics, "boot").and_then(|at| {
        at.check(diagnostics, |word| match word.as_str() {
            "local" => Ok(Boots::Local),
            "hold" => Ok(Boots::Hold),
            _ => Err(format!(
                "{word:?} is none of \"local\", \"hold\"; a tree is named by `profile`, a menu by `menu`"
            )),
        })
    });
    let profile = profile.map(|at| named(at, "profile", Boots::Profile, places));
    let menu = menu.map(|at| named(at, "menu", Boots::Menu, places));
    let mut said: Vec<Located<Boots>> = [profile, menu, boot].into_iter().flatten().collect();
    // In the order of the file, so that the later one is told of as the one too many.
    said.sort_by_key(|at| at.span.span.start);
    let mut said = said.into_iter();
    let first = said.next()?;
    for other in said {
        let (key, _) = first.value.as_said();
        diagnostics
            .note(&other.span, format!("is a second thing to boot, beside `{key}`; say one of the two"));
    }
    Some(first.value)
}

/// A `[menu.NAME]` table.
pub(crate) fn menu(mut section: Section<'_>, diagnostics: &mut Diagnostics) -> Table<Menu> {
    let span = section.span.clone();
    let mut places = Places::default();
    let title = title(&mut section, diagnostics);
    section.missing(diagnostics, "title", "what stands over the menu");
    let timeout = section.string(diagnostics, "timeout");
    let timeout = timeout.and_then(|at| at.check(diagnostics, |text| time_of(&text)));
    let default = section.string(diagnostics, "default");
    section.required(diagnostics, "choice", "a menu has choices, [[menu.NAME.choice]]");
    let mut choices: Vec<Choice> = Vec::new();
    for table in section.sections(diagnostics, "choice") {
        let at = table.span.clone();
        let Some(choice) = choice(table, &mut places, diagnostics) else { continue };
        if choices.iter().any(|known| known.name == choice.name) {
            diagnostics.note(&at, format!("there is another choice {:?} in this menu", choice.name));
        } else if choices.len() == MOST_CHOICES {
            diagnostics.note(&at, format!("is one too many: {MOST_CHOICES} are on one screen"));
        }
        choices.push(choice);
    }
    let is_there = |name: &String| choices.iter().any(|choice| choice.name == *name);
    if let Some(at) = default.as_ref().filter(|at| !is_there(&at.value)) {
        diagnostics.note(&at.span, format!("there is no choice {:?} in this menu", at.value));
    }
    section.finish(diagnostics);
    // A menu with a mistake in it is never shown.
    let title = title.unwrap_or_else(Title::nothing);
    let value =
        Menu { title, timeout: timeout.map(|at| at.value), default: default.map(|at| at.value), choices };
    Table { value, span, places: places.0 }
}

/// One choice; none where it has no name to be asked for by.
fn choice(mut section: Section<'_>, places: &mut Places, diagnostics: &mut Diagnostics) -> Option<Choice> {
    let span = section.span.clone();
    let name = section.string(diagnostics, "name");
    section.missing(diagnostics, "name", "what the choice is asked for by, such as \"rescue\"");
    let title = title(&mut section, diagnostics);
    let gives = gives(&mut section, places, diagnostics);
    if !matches!(gives.boots, Some(Boots::Profile(_) | Boots::Local)) {
        diagnostics.note(&span, "boots nothing: say `profile = \"…\"` or `boot = \"local\"`");
    }
    section.finish(diagnostics);
    let name = name?.check(diagnostics, |name| {
        if good_name(&name) {
            Ok(name)
        } else {
            Err("is not a choice's name: a-z, 0-9, '-', '_' and '.', a letter or digit first")
        }
    })?;
    let title = title.or_else(|| name.value.parse().ok())?;
    Some(Choice { name: name.value, title, gives })
}

fn title(section: &mut Section<'_>, diagnostics: &mut Diagnostics) -> Option<Title> {
    let title = section.string(diagnostics, "title")?;
    title.check(diagnostics, |text| text.parse::<Title>()).map(|at| at.value)
}

/// Seconds, written as times are: `20s`, `5m`.
fn time_of(text: &str) -> Result<u32, String> {
    match seconds_of(text) {
        Ok(Some(seconds)) if TIMES.contains(&seconds) => Ok(seconds),
        _ => Err(format!("{text:?} is not a time from \"1s\" to \"1h\" (s, m, h)")),
    }
}
