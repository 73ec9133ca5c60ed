//! Which secrets machines have: the `secrets` table of a profile, group, workload, rule or machine. It says how one comes about and
//! where programs look for it, never what it is. A key is the secret's name, and of one name the nearest table's word counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::site::mounts::place;
use crate::site::section::{Diagnostics, Item, Section};
use crate::site::table::Places;

/// Secrets by their names.
pub type Secrets = BTreeMap<String, Secret>;

/// What may stand where a secret is said.
const FORMS: &str = "\"ssh-key\", \"random\", \"made\", \"set\", \"none\", or a table such as { kind = \"set\", at = \"/etc/krb5.keytab\" }";
/// Secrets of one table, and of one machine.
pub const MOST: usize = 32;
/// Bytes of a name.
const LONGEST_NAME: usize = 64;
/// What a file with a secret may be: read and written, by nobody else than root and those whom it is for.
const MODES: u16 = 0o660;
/// The mode of one of which nothing is said.
const MODE: u16 = 0o600;
/// Where sshd looks for the keys of a host.
const SSH: &str = "/etc/ssh";

/// A secret of each machine that a table is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Secret {
    /// How it comes about.
    pub kind: SecretKind,
    /// Where the machine's programs look for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Permission bits of its file.
    pub mode: u16,
    /// Owner of its file.
    pub user: u16,
    /// Group of its file.
    pub group: u16,
    /// Whether the machine is not to come up without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// How a secret comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretKind {
    /// An admin says it for each machine, with `oneroot secret set`.
    Set,
    /// The server makes a key of a host for SSH (Ed25519), once for each machine.
    SshKey,
    /// The server makes 32 random bytes, written as 64 hexadecimal digits, once for each machine.
    Random,
    /// The site's program makes it (`[make_secrets]`), once for each machine.
    Made,
    /// None: what a table that is further away says does not count.
    None,
}

impl SecretKind {
    /// All, as they are said.
    const ALL: [(Self, &str); 5] = [
        (Self::Set, "set"),
        (Self::SshKey, "ssh-key"),
        (Self::Random, "random"),
        (Self::Made, "made"),
        (Self::None, "none"),
    ];

    /// Whether the server makes it, or has it made, where there is none yet.
    #[must_use]
    pub fn is_made(self) -> bool {
        matches!(self, Self::SshKey | Self::Random | Self::Made)
    }
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = Self::ALL.iter().find(|(kind, _)| kind == self);
        f.write_str(said.map_or("", |(_, word)| *word))
    }
}

impl Secret {
    /// One of which no more is said.
    fn of(name: &str, kind: SecretKind) -> Self {
        let at = (kind == SecretKind::SshKey).then(|| format!("{SSH}/{name}"));
        Self { kind, at, mode: MODE, user: 0, group: 0, required: false }
    }
}

/// The secrets of a table.
pub(crate) fn secrets(
    section: &mut Section<'_>,
    places: &mut Places,
    diagnostics: &mut Diagnostics,
) -> Secrets {
    let (mut secrets, mut taken) = (Secrets::new(), BTreeSet::new());
    for (name, item) in section.each(diagnostics, "secrets", FORMS) {
        let Some(name) = name.check(diagnostics, self::name) else { continue };
        let span = name.span.clone();
        let name = places.keep("secrets", name);
        let secret = match item {
            Item::Text(text) => {
                text.check(diagnostics, |text| kind(&text)).map(|said| Secret::of(&name, said.value))
            }
            Item::Table(table) => long(&name, table, diagnostics),
        };
        let Some(secret) = secret else { continue };
        if secrets.len() == MOST {
            diagnostics.note(&span, format!("is one more than the {MOST} that a machine has at most"));
        }
        let public = secret.at.iter().filter(|_| secret.kind == SecretKind::SshKey);
        let public = public.map(|at| format!("{at}{PUBLIC}"));
        for at in secret.at.iter().cloned().chain(public) {
            if !taken.insert(at.clone()) {
                diagnostics.note(&span, format!("another secret of this table is at {at}"));
            }
        }
        secrets.insert(name, secret);
    }
    secrets
}

/// What is said in a table.
fn long(name: &str, mut table: Section<'_>, diagnostics: &mut Diagnostics) -> Option<Secret> {
    let said = table.string(diagnostics, "kind").and_then(|at| at.check(diagnostics, |text| kind(&text)));
    table.missing(diagnostics, "kind", "how it comes about: \"set\", \"ssh-key\", \"random\" or \"made\"");
    let at = table.string(diagnostics, "at").and_then(|at| at.check(diagnostics, file));
    let mode = table.string(diagnostics, "mode").and_then(|at| at.check(diagnostics, |text| mode(&text)));
    let user = table.number(diagnostics, "user", 0..=u16::MAX);
    let group = table.number(diagnostics, "group", 0..=u16::MAX);
    let required = table.boolean(diagnostics, "required").is_some_and(|at| at.value);
    table.finish(diagnostics);
    let plain = Secret::of(name, said?.value);
    Some(Secret {
        at: at.map(|at| at.value).or(plain.at),
        mode: mode.map_or(plain.mode, |at| at.value),
        user: user.map_or(0, |at| at.value),
        group: group.map_or(0, |at| at.value),
        required,
        ..plain
    })
}

/// A secret's name, which is a file's, on the machine and in a command.
pub fn name(text: String) -> Result<String, String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_plain = text.bytes().all(is_good) && !text.starts_with(['.', '-']);
    if text.is_empty() || text.len() > LONGEST_NAME || !is_plain {
        return Err(format!(
            "{text:?} is no name of a secret: up to {LONGEST_NAME} letters, digits, `.`, `_` and `-`, the first a letter or a digit"
        ));
    }
    if text.ends_with(PUBLIC) {
        return Err(format!("{text:?} would be the public half of another: it may not end with {PUBLIC}"));
    }
    Ok(text)
}

/// The end of the name of an SSH key's public half, which no secret may have.
pub const PUBLIC: &str = ".pub";

fn kind(text: &str) -> Result<SecretKind, String> {
    let said = SecretKind::ALL.iter().find(|(_, word)| *word == text);
    said.map(|(kind, _)| *kind).ok_or_else(|| format!("{text:?} is none of {FORMS}"))
}

fn file(text: String) -> Result<String, String> {
    let at = place(text)?;
    if at.ends_with('*') {
        return Err(format!("{at:?} must name a file"));
    }
    Ok(at)
}

fn mode(text: &str) -> Result<u16, String> {
    let mode = u16::from_str_radix(text, 8).ok().filter(|mode| mode & !MODES == 0 && mode & 0o400 != 0);
    mode.ok_or_else(|| {
        format!("{text:?} is no mode of a secret's file, such as \"0600\" or \"0640\": nobody but its owner and its group has it")
    })
}
