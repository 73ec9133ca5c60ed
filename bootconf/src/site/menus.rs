//! Menus: what somebody who stands before a machine may choose from (`[menu.NAME]`).
//!
//! A title goes into an iPXE script, which splits lines into words and takes some of them for its own, and onto a screen of 80
//! columns. So it is a type that can only have been read from text which is neither.

use std::fmt;
use std::str::FromStr;

use crate::site::gives::Gives;

/// Characters of a title; a menu's lines are indented.
const LONGEST: usize = 70;

/// A `[menu.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// What stands over it.
    pub title: Title,
    /// Seconds after which the default is taken; none where somebody is waited for.
    pub timeout: Option<u32>,
    /// The name of the choice that is taken then; the first where none is named.
    pub default: Option<String>,
    /// What there is to choose from, in the order of the screen: at least one.
    pub choices: Vec<Choice>,
}

/// One line of a menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What it is asked for by.
    pub name: String,
    /// What stands on the screen.
    pub title: Title,
    /// What the machine gets: a profile or its own disk, and what more a table may give; no layers.
    pub gives: Gives,
}

impl Menu {
    /// The name of the choice that is taken where nobody chooses.
    #[must_use]
    pub fn default_choice(&self) -> &str {
        let first = || self.choices.first().map(|choice| choice.name.as_str());
        self.default.as_deref().or_else(first).unwrap_or_default()
    }

    /// The choice of a name, if it is one of this menu's.
    #[must_use]
    pub fn choice(&self, name: &str) -> Option<&Choice> {
        self.choices.iter().find(|choice| choice.name == name)
    }
}

/// Words on a screen: printable ASCII that means nothing to iPXE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    /// That of a menu that has none yet.
    pub(crate) fn nothing() -> Self {
        Self(String::new())
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Title {
    type Err = String;

    /// One that begins with a hyphen would be an option. `$`, `{` and `}` are settings, `|`, `&`, `;` and `#` stand between
    /// commands, and a backslash is for words to come.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let means = |byte: &u8| b"${}|&;#\\".contains(byte);
        if text.is_empty() || text.len() > LONGEST {
            Err(format!("is not a line of a screen: 1 to {LONGEST} characters"))
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            Err("has a character that firmware may not show: printable ASCII only".to_owned())
        } else if text.bytes().any(|byte| means(&byte)) || text.starts_with('-') {
            Err("means something to iPXE: none of $ { } | & ; # and \\, and no hyphen first".to_owned())
        } else if text.split(' ').any(str::is_empty) {
            Err("has a space too many: one between words, none around them".to_owned())
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_title_is_a_line_of_text_and_no_command() {
        for good in ["Debian", "What is installed here (Windows 11)", "memtest86+, all night!", "a-b"] {
            assert_eq!(good.parse::<Title>().unwrap().to_string(), good);
        }
        let long = "x".repeat(LONGEST + 1);
        for bad in [
            "",
            " a",
            "a ",
            "a  b",
            "a\nshell",
            "Größe",
            "a || shell",
            "a && b",
            "a; b",
            "a # b",
            "${net0/mac}",
            "-g",
            long.as_str(),
        ] {
            assert!(bad.parse::<Title>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_a_title_stays_one_line_of_the_same_words(text in "[ -~\\n\\t]{0,40}") {
            if let Ok(title) = text.parse::<Title>() {
                let words: Vec<&str> = title.0.split_ascii_whitespace().collect();
                prop_assert_eq!(words.join(" "), text);
                prop_assert!(!title.0.contains(['$', '|', '&', ';', '#', '\n']));
            }
        }
    }
}
