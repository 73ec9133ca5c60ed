//! What an admin does with secrets: sets one, has one made anew, removes one, and sees which there are. Nobody sees what one is.

use oneroot_bootconf::assignment::Signed;
use oneroot_bootconf::secrets::{SecretKind, name as good_name};
use oneroot_state::Backend as _;
use serde::{Deserialize, Serialize};

use crate::error::{Result, SecretRefused};
use crate::machines::Machines;
use crate::secrets::record::{Kept, MachineSecrets, SECRETS};
use crate::secrets::seal::SiteSeal;
use crate::secrets::{LARGEST, MOST};

/// A secret as an admin sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretStatus {
    /// The machine's name.
    pub machine: String,
    /// The secret's.
    pub name: String,
    /// How it came about.
    pub kind: SecretKind,
    /// The half of it that is no secret.
    pub public: Option<String>,
    /// Who has set it or had it made, and when, seconds since 1970.
    pub made: Signed,
    /// Whether the site still has a machine of that name.
    pub named: bool,
}

/// What an admin wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SecretChange {
    /// It is these bytes from now on.
    Set(Vec<u8>),
    /// It is made anew.
    Rotate,
    /// There is none any more.
    Remove,
}

impl Machines {
    /// What secrets are sealed with from now on; the first to be handed in counts.
    pub fn seal_by(&self, seal: SiteSeal) {
        let _ = self.secrets.seal.set(seal);
    }

    /// All secrets, or a machine's, by machine and name.
    ///
    /// # Errors
    /// The state's.
    pub async fn secrets(&self, machine: Option<&str>) -> Result<Vec<SecretStatus>> {
        let mut all = Vec::new();
        for (key, found) in self.state.list(&SECRETS.prefix()).await?.records {
            let name = SECRETS.record(&key).filter(|name| machine.is_none_or(|only| only == *name));
            let Some(name) = name else { continue };
            let record: MachineSecrets = SECRETS.parse(&key, &found.value)?;
            all.extend(record.kept.iter().map(|(secret, kept)| self.secret_status(name, secret, kept)));
        }
        all.sort_by(|a, b| (&a.machine, &a.name).cmp(&(&b.machine, &b.name)));
        Ok(all)
    }

    fn secret_status(&self, machine: &str, name: &str, kept: &Kept) -> SecretStatus {
        let Kept { kind, public, made, .. } = kept;
        SecretStatus {
            machine: machine.to_owned(),
            name: name.to_owned(),
            kind: *kind,
            public: public.clone(),
            made: Signed { at: self.host.shown(made.at), ..made.clone() },
            named: self.site().machines.contains_key(machine),
        }
    }

    /// Sets, rotates or removes a machine's secret. A running machine has what it has until it boots again. None where it was
    /// removed.
    ///
    /// # Errors
    /// [`Error::Secret`](crate::Error::Secret), and the state's.
    pub async fn change_secret(
        &self,
        machine: &str,
        name: &str,
        change: &SecretChange,
        by: &str,
    ) -> Result<Option<SecretStatus>> {
        let name = good_name(name.to_owned()).map_err(SecretRefused::Words)?;
        if !matches!(change, SecretChange::Remove) && !self.site().machines.contains_key(machine) {
            return Err(SecretRefused::NoSuchMachine(machine.to_owned()).into());
        }
        let signed = Signed { by: by.to_owned(), at: self.host.now() };
        let no_such = || SecretRefused::NoSuchSecret { machine: machine.to_owned(), name: name.clone() };
        let record = self
            .change_secrets(machine, &|mut record| {
                let known = record.kept.get(&name);
                let kept = match (change, known) {
                    (SecretChange::Set(bytes), known) => {
                        if known.is_none() && record.kept.len() >= MOST {
                            return Err(SecretRefused::TooMany(MOST).into());
                        }
                        Some(self.set(machine, &name, bytes, &signed)?)
                    }
                    (_, None) => return Err(no_such().into()),
                    (SecretChange::Rotate, Some(known)) if !known.kind.is_made() => {
                        return Err(SecretRefused::NotMade(name.clone()).into());
                    }
                    (SecretChange::Rotate, Some(known)) => {
                        Some(self.made(machine, &name, known.kind, &signed)?)
                    }
                    (SecretChange::Remove, Some(_)) => None,
                };
                match kept {
                    Some(kept) => drop(record.kept.insert(name.clone(), kept)),
                    None => drop(record.kept.remove(&name)),
                }
                Ok(Some(record))
            })
            .await?;
        let what = match change {
            SecretChange::Set(_) => "set",
            SecretChange::Rotate => "made anew",
            SecretChange::Remove => "removed",
        };
        tracing::info!(machine, secret = name, %by, "a secret was {what}");
        Ok(record.kept.get(&name).map(|kept| self.secret_status(machine, &name, kept)))
    }

    fn set(&self, machine: &str, name: &str, bytes: &[u8], signed: &Signed) -> Result<Kept> {
        if bytes.is_empty() {
            return Err(SecretRefused::Empty.into());
        }
        if bytes.len() > LARGEST {
            return Err(SecretRefused::TooLarge(LARGEST).into());
        }
        let sealed = self.sealed(machine, name, bytes)?;
        Ok(Kept { sealed, kind: SecretKind::Set, public: None, made: signed.clone() })
    }
}
