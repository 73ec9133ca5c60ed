//! What an admin does with secrets: sets one, has one made anew, removes one, and sees which there are. Nobody sees what one is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::assignment::Signed;
use oneroot_bootconf::decided::profiles_of;
use oneroot_bootconf::pins::Pin;
use oneroot_bootconf::secrets::{SecretKind, Secrets, name as good_name};
use oneroot_ids::Mac;
use oneroot_state::Backend as _;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, SecretRefused};
use crate::handing::giving::stays;
use crate::handing::making::TURN_WITHIN;
use crate::machines::Machines;
use crate::planner::decider::Decider;
use crate::secrets::record::{Kept, MachineSecrets, SECRETS};
use crate::secrets::seal::SiteSeal;
use crate::secrets::turns::Turn;
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
    /// Who has set it or had it made, and when, seconds since 1970; none while there is none.
    pub made: Option<Signed>,
    /// Whether the site says that the machine has it.
    pub wanted: bool,
}

/// What an admin wants.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SecretChange {
    /// It is these bytes from now on.
    Set(Vec<u8>),
    /// It is made anew.
    Rotate,
    /// There is none any more.
    Remove,
}

/// It does not say what is set.
impl fmt::Debug for SecretChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Set(_) => "Set",
            Self::Rotate => "Rotate",
            Self::Remove => "Remove",
        })
    }
}

impl Machines {
    /// Has secrets made by somebody who may start the site's program; the first to be handed in counts.
    pub fn make_secrets_by(&self, maker: Arc<dyn Decider>) {
        let _ = self.secrets.maker.set(maker);
    }

    /// What secrets are sealed with from now on; the first to be handed in counts.
    pub fn seal_by(&self, seal: SiteSeal) {
        let _ = self.secrets.seal.set(seal);
    }

    /// Whether there is any secret. A record may have none: one that was removed leaves it, and so does a boot that asks for none any more.
    ///
    /// # Errors
    /// The state's.
    pub async fn has_secrets(&self) -> Result<bool> {
        for (key, found) in self.state.list(&SECRETS.prefix()).await?.records {
            let record: MachineSecrets = SECRETS.parse(&key, &found.value)?;
            if !record.kept.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All secrets, or a machine's, by machine and name: those that there are, and those that the site says there should be.
    ///
    /// # Errors
    /// The state's.
    pub async fn secrets(self: &Arc<Self>, machine: Option<&str>) -> Result<Vec<SecretStatus>> {
        let is_meant = |name: &str| machine.is_none_or(|only| only == name);
        // All machines are decided for it: away from the threads that serve.
        let (machines, only) = (self.clone(), machine.map(str::to_owned));
        let decided = tokio::task::spawn_blocking(move || machines.secrets_wanted(only.as_deref()));
        let mut wanted = decided.await?;
        let mut all = Vec::new();
        for (key, found) in self.state.list(&SECRETS.prefix()).await?.records {
            let Some(name) = SECRETS.record(&key).filter(|name| is_meant(name)) else { continue };
            let record: MachineSecrets = SECRETS.parse(&key, &found.value)?;
            for (secret, kept) in &record.kept {
                // One of another kind is given to nobody: it is listed beside the one that is still to be made.
                let which = (name.to_owned(), secret.clone());
                let is_wanted = wanted.get(&which).is_some_and(|kind| stays(kept, *kind));
                if is_wanted {
                    wanted.remove(&which);
                }
                all.push(self.secret_status(name, secret, kept, is_wanted));
            }
        }
        all.extend(wanted.into_iter().map(|((machine, name), kind)| SecretStatus {
            machine,
            name,
            kind,
            public: None,
            made: None,
            wanted: true,
        }));
        all.sort_by(|a, b| (&a.machine, &a.name).cmp(&(&b.machine, &b.name)));
        Ok(all)
    }

    /// The secrets that the site says these machines have, by all that they have told, whatever of a menu they choose; and where it is for
    /// the site's program to say, whose word of a machine is not known, those of that machine's newest boot.
    fn secrets_wanted(&self, only: Option<&str>) -> BTreeMap<(String, String), SecretKind> {
        let site = self.site();
        let mut wanted = BTreeMap::new();
        for (name, machine) in site.machines.iter().filter(|(name, _)| only.is_none_or(|only| only == *name))
        {
            let newest = self.newest_boot(&machine.macs);
            let Some(mac) = newest.as_ref().map(|(pin, _)| pin.mac).or(machine.macs.first().copied()) else {
                continue;
            };
            let address = newest.as_ref().map(|(pin, _)| pin.address);
            let asked = Asked { address, ..Asked::by(mac) }.telling(self.claims(mac, None));
            let catalogue = Catalogue::of(&site);
            let said = self.program_said(&catalogue, &asked);
            let told = said.as_ref().and_then(Option::as_ref);
            let catalogue = told.map_or(catalogue, |gives| catalogue.told(gives));
            for decision in profiles_of(&catalogue, &asked).into_iter().flatten() {
                let secrets = decision.secrets.into_iter();
                wanted.extend(secrets.map(|(secret, said)| ((name.clone(), secret), said.kind)));
            }
            let booted = newest.filter(|_| said.is_none()).into_iter().flat_map(|(_, secrets)| secrets);
            for (secret, said) in booted {
                wanted.entry((name.clone(), secret)).or_insert(said.kind);
            }
        }
        wanted
    }

    /// The newest boot by one of these NICs, with the secrets that it is given.
    fn newest_boot(&self, macs: &[Mac]) -> Option<(Pin, Secrets)> {
        let index = self.index();
        let machine = macs.iter().find_map(|mac| index.machine_of(*mac))?;
        let pins = index.pins_of(machine).map(|(pin, _)| pin).filter(|pin| macs.contains(&pin.mac));
        let newest = pins.max_by_key(|pin| (pin.made, pin.boot))?;
        let secrets = index.plans.get(&newest.boot).map(|plan| plan.secrets.clone()).unwrap_or_default();
        Some((newest.clone(), secrets))
    }

    fn secret_status(&self, machine: &str, name: &str, kept: &Kept, wanted: bool) -> SecretStatus {
        let Kept { kind, public, made, .. } = kept;
        SecretStatus {
            machine: machine.to_owned(),
            name: name.to_owned(),
            kind: *kind,
            public: public.clone(),
            made: Some(Signed { at: self.host.shown(made.at), ..made.clone() }),
            wanted,
        }
    }

    /// Sets, rotates or removes a machine's secret. A running machine has what it has until it boots again. None where it was
    /// removed.
    ///
    /// # Errors
    /// [`Error::Secret`], and the state's.
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
        let (turn, printed) = self.printed_anew(machine, &name, change).await?.unzip();
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
                    (SecretChange::Rotate, Some(known)) => {
                        Some(self.rotated(machine, &name, known.kind, printed.as_deref(), &signed)?)
                    }
                    (SecretChange::Remove, Some(_)) => None,
                };
                match kept {
                    Some(kept) => drop(record.kept.insert(name.clone(), kept)),
                    None => drop(record.kept.remove(&name)),
                }
                Ok(Some(record))
            })
            .await;
        drop(turn);
        let not_kept = |cause: Error| match printed {
            Some(_) => SecretRefused::NotKept(cause.to_string()).into(),
            None => cause,
        };
        let record = record.map_err(not_kept)?;
        let what = match change {
            SecretChange::Set(_) => "set",
            SecretChange::Rotate => "made anew",
            SecretChange::Remove => "removed",
        };
        tracing::info!(machine, secret = name, %by, "a secret was {what}");
        let wanted = self.secrets_wanted(Some(machine)).remove(&(machine.to_owned(), name.clone()));
        Ok(record.kept.get(&name).map(|kept| {
            self.secret_status(machine, &name, kept, wanted.is_some_and(|kind| stays(kept, kind)))
        }))
    }

    /// One in the place of another of this kind.
    fn rotated(
        &self,
        machine: &str,
        name: &str,
        kind: SecretKind,
        printed: Option<&[u8]>,
        signed: &Signed,
    ) -> Result<Kept> {
        match (kind, printed) {
            (SecretKind::Made, Some(plain)) => self.printed_kept(machine, name, plain, signed),
            (kind, _) if !kind.is_made() => Err(SecretRefused::NotMade(name.to_owned()).into()),
            // It is of another kind than a moment ago.
            (SecretKind::Made, None) | (_, Some(_)) => Err(Error::Contended),
            (kind, None) => self.made(machine, name, kind, signed),
        }
    }

    /// What the site's program makes, where a secret of its kind is to be made anew, and the turn in which it does: no machine that boots
    /// has it run meanwhile.
    async fn printed_anew(
        &self,
        machine: &str,
        name: &str,
        change: &SecretChange,
    ) -> Result<Option<(Turn, Vec<u8>)>> {
        if !matches!(change, SecretChange::Rotate) {
            return Ok(None);
        }
        // What the server makes by itself waits for no program; one that is not there yet may be what is being made.
        if self.is_printed(machine, name).await? == Some(false) {
            return Ok(None);
        }
        if self.secrets.seal.get().is_none() {
            return Err(Error::NoSiteSeal);
        }
        let mut turn = tokio::select! {
            turn = self.secrets.turns.take(machine) => turn,
            () = self.host.after(TURN_WITHIN) => return Err(SecretRefused::Busy(machine.to_owned()).into()),
        };
        // It may be another's by now.
        if self.is_printed(machine, name).await? != Some(true) {
            return Ok(None);
        }
        let said = self.secrets_wanted(Some(machine));
        if said.get(&(machine.to_owned(), name.to_owned())) != Some(&SecretKind::Made) {
            return Err(SecretRefused::NotSaid { machine: machine.to_owned(), name: name.to_owned() }.into());
        }
        turn.forget();
        Ok(Some((turn, self.have_printed(machine, name, false).await?)))
    }

    /// Whether the site's program has made a secret; none where there is no such secret.
    async fn is_printed(&self, machine: &str, name: &str) -> Result<Option<bool>> {
        let record = self.secrets_of(machine).await?;
        Ok(record.kept.get(name).map(|kept| kept.kind == SecretKind::Made))
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
