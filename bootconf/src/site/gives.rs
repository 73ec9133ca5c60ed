//! What a table of the site gives to the machines that it is about. Groups and machines' own tables say it, and so does an
//! assignment: one type, so that a decision adds them all up in the same way.

use serde::{Deserialize, Serialize};

use crate::site::layers::Layer;
use crate::site::mounts::Mounts;
use crate::site::secrets::Secrets;
use crate::site::types::Vars;

/// What a table gives to each machine that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gives {
    /// What it boots, where nothing that is nearer to it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boots: Option<Boots>,
    /// Workloads, bottom first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<String>,
    /// Directories laid over the profile. Only the site's own files name directories: none is ever read from a record.
    #[serde(skip)]
    pub layers: Vec<Layer>,
    /// What they mount. Only the site's own files say that.
    #[serde(skip)]
    pub mounts: Mounts,
    /// Which secrets each of them has. Only the site's own files say that.
    #[serde(skip)]
    pub secrets: Secrets,
    /// Kernel arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// What its templates may say.
    #[serde(default, skip_serializing_if = "Vars::is_empty")]
    pub vars: Vars,
}

/// What a machine boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boots {
    /// The root of a profile.
    Profile(String),
    /// What somebody chooses in a menu.
    Menu(String),
    /// Its own disk, or whatever its firmware has next.
    Local,
    /// Nothing yet: it waits, and says so.
    Hold,
}

impl Boots {
    /// The profile, where it is one.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        if let Self::Profile(name) = self { Some(name) } else { None }
    }

    /// The menu, where it is one.
    #[must_use]
    pub fn menu(&self) -> Option<&str> {
        if let Self::Menu(name) = self { Some(name) } else { None }
    }

    /// The key that says so in a site's file, and its value.
    #[must_use]
    pub fn as_said(&self) -> (&'static str, &str) {
        match self {
            Self::Profile(name) => ("profile", name),
            Self::Menu(name) => ("menu", name),
            Self::Local => ("boot", "local"),
            Self::Hold => ("boot", "hold"),
        }
    }
}

impl Gives {
    /// The profile that it says, where it says one.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        self.boots.as_ref().and_then(Boots::profile)
    }

    /// The menu that it says, where it says one.
    #[must_use]
    pub fn menu(&self) -> Option<&str> {
        self.boots.as_ref().and_then(Boots::menu)
    }

    /// All of it, for a sentence.
    #[must_use]
    pub fn in_words(&self) -> String {
        let boots = self.boots.iter().map(|boots| {
            let (key, value) = boots.as_said();
            format!("{key} {value}")
        });
        let list =
            |what: &str, words: &[String]| (!words.is_empty()).then(|| format!("{what} {}", words.join(" ")));
        let vars: Vec<String> = self.vars.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let words: Vec<String> = boots
            .chain(list("workloads", &self.workloads))
            .chain(list("arguments", &self.args))
            .chain(list("variables", &vars))
            .collect();
        if words.is_empty() { "nothing of its own".to_owned() } else { words.join(", ") }
    }
}
