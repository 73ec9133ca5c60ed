//! How secrets come about that nobody has to say: the server makes them, or the site's program does, which runs for one machine once at a
//! time, and whose output is kept as soon as it is there (docs/decisions/0025-secrets.md).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use oneroot_bootconf::assignment::Signed;
use oneroot_bootconf::pins::Pin;
use oneroot_bootconf::question::SecretWanted;
use oneroot_bootconf::secrets::{SecretKind, Secrets as Wanted};
use oneroot_ids::{BootId, Mac};

use super::giving::stays;
use crate::error::{Error, Result, SecretRefused};
use crate::host::random;
use crate::machines::Machines;
use crate::secrets::LARGEST;
use crate::secrets::make::make;
use crate::secrets::record::{Kept, MachineSecrets};
use crate::secrets::turns::{Lack, Lacks, Turn};

/// Who is said to have made what the server makes by itself.
const SERVER: &str = "the server";
/// Why a machine goes without one that its next boot may have.
const MADE_STILL: &str = "it is being made still";
/// Seconds after which a machine is told to ask again where its secrets are being made still: its kernel waits for 20 s.
pub(super) const ANSWERED_WITHIN: u64 = 10;
/// Seconds from the mount of a boot's root after which a machine is given what there is, without what is being made still: a machine asks
/// for 300 s (`asks` in `guest/fetch-secrets`), and one that was told to ask again just before this has time to do so.
pub(super) const GIVES_REST_AFTER: u64 = 240;
/// Seconds for which somebody who rotates one waits until no other run for its machine is under way: a command is given an answer in 60.
pub(super) const TURN_WITHIN: u64 = 15;

impl Machines {
    /// Has the site's program make these for a machine; gives what could not be made, and why.
    ///
    /// # Errors
    /// [`Error::SecretsAreMade`] where that takes longer than whoever asks is let wait; it goes on. And the state's. A machine that has
    /// waited for as long as it can is told of none: it has the others, and what is being made still at its next boot.
    pub(super) async fn have_made(
        self: &Arc<Self>,
        pin: &Pin,
        machine: &str,
        of_program: Vec<String>,
    ) -> Result<Lacks> {
        // Nothing that a program prints could be kept.
        if self.secrets.seal.get().is_none() {
            return Err(Error::NoSiteSeal);
        }
        if of_program.is_empty() {
            return Ok(Lacks::default());
        }
        let mut patience = self.host.after(ANSWERED_WITHIN);
        let turn = tokio::select! {
            turn = self.secrets.turns.take(machine) => turn,
            () = &mut patience => return self.made_still(pin, machine, &of_program).await,
        };
        // In a task of its own, which nobody who gives up ends: what it makes is there when that one asks again.
        let run = {
            let (machines, boot) = (self.clone(), pin.boot);
            let (machine, secrets) = (machine.to_owned(), of_program.clone());
            tokio::spawn(async move { machines.make_all(turn, boot, &machine, &secrets).await })
        };
        let (lacks, was_told) = tokio::select! {
            ended = run => ended??,
            () = &mut patience => return self.made_still(pin, machine, &of_program).await,
        };
        was_told.store(true, Ordering::Relaxed);
        Ok(lacks)
    }

    /// What a boot goes without because it is being made still, once it can wait no longer.
    async fn made_still(&self, pin: &Pin, machine: &str, secrets: &[String]) -> Result<Lacks> {
        if self.host.now().saturating_sub(pin.since) < GIVES_REST_AFTER {
            return Err(Error::SecretsAreMade);
        }
        let mut lacks = Lacks::default();
        for secret in secrets {
            // The program makes one after the other.
            if !self.has_made(machine, secret).await? {
                lacks.insert(secret.clone(), Lack::new(MADE_STILL.to_owned()));
            }
        }
        Ok(lacks)
    }

    /// Whether there is a secret that would be made otherwise.
    async fn has_made(&self, machine: &str, secret: &str) -> Result<bool> {
        Ok(is_made(&self.secrets_of(machine).await?, secret))
    }

    /// Makes these, one after the other, and keeps each at once. What the program does not make keeps no other one back.
    async fn make_all(
        &self,
        mut turn: Turn,
        boot: BootId,
        machine: &str,
        secrets: &[String],
    ) -> Result<(Lacks, Arc<std::sync::atomic::AtomicBool>)> {
        let known = turn.known(boot);
        let (mut lacks, mut ended) = (Lacks::default(), Ok(()));
        for secret in secrets {
            // Whoever had the turn before, another server or an admin may have been quicker.
            let made = match (self.has_made(machine, secret).await, known.get(secret)) {
                (Ok(true), _) => Ok(()),
                (Ok(false), Some(lack)) => {
                    lacks.insert(secret.clone(), lack.clone());
                    Ok(())
                }
                (Ok(false), None) => self.make_one(machine, secret).await,
                (Err(cause), _) => Err(cause),
            };
            match made {
                Ok(()) => {}
                Err(Error::Secret(cause @ (SecretRefused::NoMaker | SecretRefused::NotPrinted { .. }))) => {
                    // Said here, for there may be nobody any more who asks.
                    if turn.is_news(secret, self.host.now()) {
                        tracing::error!(machine, secret, %cause, "a machine's secret was not made");
                    }
                    lacks.insert(secret.clone(), Lack { cause: cause.to_string(), is_logged: true });
                }
                // It is not the program's fault, and it passes: the machine asks again.
                Err(cause) => {
                    ended = Err(cause);
                    break;
                }
            }
        }
        // What has failed is not tried again before the machine was told, whatever came behind it.
        let was_told = turn.end(boot, lacks.clone());
        ended.map(|()| (lacks, was_told))
    }

    async fn make_one(&self, machine: &str, secret: &str) -> Result<()> {
        let plain = self.have_printed(machine, secret, true).await?;
        let by = Signed { by: SERVER.to_owned(), at: self.host.now() };
        let kept = self.printed_kept(machine, secret, &plain, &by)?;
        let put = |mut record: MachineSecrets| {
            if is_made(&record, secret) {
                return Ok(None);
            }
            record.kept.insert(secret.to_owned(), kept.clone());
            Ok(Some(record))
        };
        let written = self.change_secrets(machine, &put).await;
        let record = written.map_err(|cause| SecretRefused::NotKept(cause.to_string()))?;
        if record.kept.get(secret) != Some(&kept) {
            tracing::warn!(
                machine,
                secret,
                "a machine's secret was made twice: the one that was written first is kept"
            );
        }
        Ok(())
    }

    /// A secret as the site's program prints it; a sentence that says why there is none. `is_awaited` says that the machine waits for it.
    pub(super) async fn have_printed(
        &self,
        machine: &str,
        secret: &str,
        is_awaited: bool,
    ) -> Result<Vec<u8>, SecretRefused> {
        let site = self.site();
        let program = site.make_secrets.as_ref().zip(self.secrets.maker.get());
        let (program, maker) = program.ok_or(SecretRefused::NoMaker)?;
        let macs = site.machines.get(machine).map(|known| known.macs.iter().map(Mac::to_string).collect());
        let asked = SecretWanted { machine, secret, macs: macs.unwrap_or_default() };
        let printed = maker.run(asked.document(), is_awaited).await;
        let not_made = |told: String| SecretRefused::NotPrinted { program: program.path.clone(), told };
        let plain = printed.map_err(not_made)?;
        match plain.len() {
            0 => Err(not_made("has printed nothing".to_owned())),
            length if length > LARGEST => Err(not_made(format!("has printed more than {LARGEST} bytes"))),
            _ => Ok(plain),
        }
    }

    /// What it has printed, as it is kept.
    pub(super) fn printed_kept(
        &self,
        machine: &str,
        secret: &str,
        plain: &[u8],
        by: &Signed,
    ) -> Result<Kept> {
        let sealed = self.sealed(machine, secret, plain)?;
        Ok(Kept { sealed, kind: SecretKind::Made, public: None, made: by.clone() })
    }

    /// A machine's record, with all that the server makes by itself.
    pub(super) async fn whole(&self, name: &str, wanted: &Wanted) -> Result<MachineSecrets> {
        let by = Signed { by: SERVER.to_owned(), at: self.host.now() };
        self.change_secrets(name, &|mut record| {
            let mut is_new = false;
            for (secret, said) in wanted {
                let is_there = record.kept.get(secret).is_some_and(|kept| stays(kept, said.kind));
                if is_there || !said.kind.is_made() || said.kind == SecretKind::Made {
                    continue;
                }
                record.kept.insert(secret.clone(), self.made(name, secret, said.kind, &by)?);
                is_new = true;
            }
            Ok(is_new.then_some(record))
        })
        .await
    }

    /// One that the server makes.
    pub(super) fn made(&self, machine: &str, secret: &str, kind: SecretKind, by: &Signed) -> Result<Kept> {
        let drawn = random(self.host.as_ref()).map_err(Error::Random)?;
        let made = make(kind, machine, &drawn).ok_or(Error::SecretIsSet)?;
        let kept = self.sealed(machine, secret, &made.secret)?;
        Ok(Kept { sealed: kept, kind, public: made.public, made: by.clone() })
    }

    /// A secret, sealed.
    pub(super) fn sealed(&self, machine: &str, secret: &str, plain: &[u8]) -> Result<String> {
        let once = random(self.host.as_ref()).map_err(Error::Random)?;
        let seal = self.secrets.seal.get().ok_or(Error::NoSiteSeal)?;
        seal.seal(machine, secret, once, plain).ok_or(Error::NoSiteSeal)
    }
}

/// Those that the site's program is to make, of which a machine's record has none.
pub(super) fn left_to_program(wanted: &Wanted, record: &MachineSecrets) -> Vec<String> {
    let made = wanted.iter().filter(|(_, said)| said.kind == SecretKind::Made);
    made.filter(|(secret, _)| !is_made(record, secret)).map(|(secret, _)| secret.clone()).collect()
}

fn is_made(record: &MachineSecrets, secret: &str) -> bool {
    record.kept.get(secret).is_some_and(|kept| stays(kept, SecretKind::Made))
}
