//! Who may have secrets: the machine whose boot it is, by a small export of their own, `/s/BOOT`, for as long as that boot comes up.
//!
//! | asked | then |
//! |---|---|
//! | from a port of 1024 or above, or from where that boot's root is not mounted | refused |
//! | where another server gives the addresses, from behind a router | refused: nothing says who asks |
//! | by a machine that the site does not name | refused: anybody could be it |
//! | before the boot has said that it has them or that it is up, and within [`LASTS`] s of its mount | given, as often as it asks |
//! | later | refused, said in the log and shown in `status` |
//!
//! What it has said counts at once where it was heard, and everywhere and for good as soon as it is written.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use oneroot_bootconf::admission::Seen;
use oneroot_bootconf::pins::{Phase, Pin};
use oneroot_bootconf::secrets::{PUBLIC, SecretKind, Secrets as Wanted};
use oneroot_ids::{BootId, ViewId};
use oneroot_nfsd::{FIRST_UNPRIVILEGED_PORT, MountError, MountGrant, Refusal, Tree as _};
use oneroot_state::{Backend as _, Error as StateError, Expect, Txn};
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::view::Level;
use oneroot_tree::{IndexBuilder, View};

use crate::boots::commit::TRIES;
use crate::error::{Error, Result};
use crate::guest::MTIME;
use crate::handing::making::left_to_program;
use crate::host::random;
use crate::machines::Machines;
use crate::secrets::LASTS;
use crate::secrets::open::{MOST_OPEN, NotOpened, Open};
use crate::secrets::record::{Kept, MachineSecrets, SECRETS};
use crate::secrets::turns::{Lack, Lacks};
use crate::views::tree::MachineTree;

impl Machines {
    /// MNT of a boot's secrets.
    pub(crate) async fn mount_secrets(
        self: &Arc<Self>,
        peer: SocketAddr,
        boot: BootId,
    ) -> Result<MountGrant, MountError> {
        let (pin, name, wanted) = self.entitled(peer, boot)?;
        let given = async {
            // Whoever asks no more has no program run either.
            let known = self.secrets_of(&name).await?;
            self.is_open(boot, &known)?;
            let mut lacks = self.have_made(&pin, &name, left_to_program(&wanted, &known)).await?;
            let record = self.whole(&name, &wanted).await?;
            self.is_open(boot, &record)?;
            let (view, tree) = self.open_secrets(boot, &name, &wanted, &record, &mut lacks)?;
            Ok((view, tree, lacks))
        };
        let (view, tree, lacks) = given.await.map_err(|cause| self.cannot_give(&pin, &name, &cause))?;
        self.tell_of(&pin, &name, &lacks);
        tracing::info!(machine = name, mac = %pin.mac, %boot, "takes its secrets");
        Ok(MountGrant { view: view.0, root: tree.root() })
    }

    /// What is kept of a machine's secrets.
    pub(super) async fn secrets_of(&self, machine: &str) -> Result<MachineSecrets> {
        Ok(SECRETS.get(self.state.as_ref(), machine).await?.map(|found| found.value).unwrap_or_default())
    }

    /// Whether a boot has not said yet, here or to another server, that it asks no more.
    fn is_open(&self, boot: BootId, record: &MachineSecrets) -> Result<()> {
        let is_closed = record.closed.contains(&boot) || self.secrets.is_closed(boot);
        if is_closed { Err(Error::SecretsClosed) } else { Ok(()) }
    }

    /// Whose secrets they are, and which, if this peer may have them.
    fn entitled(&self, peer: SocketAddr, boot: BootId) -> Result<(Pin, String, Wanted), MountError> {
        let (site, now) = (self.site(), self.host.now());
        let known = {
            let index = self.index();
            let plan = index.plans.get(&boot).map(|plan| plan.secrets.clone());
            index.pins.get(&boot).map(|(pin, _)| pin.clone()).zip(plan)
        };
        let (pin, wanted) = known.ok_or(MountError::NoEnt)?;
        let named = site.machine(pin.mac).map(|(name, _)| name.to_owned());
        let (Some(name), false) = (named, wanted.is_empty()) else { return Err(MountError::NoEnt) };
        let why = if pin.address != peer.ip().to_canonical() || !pin.is_mounted() {
            "they were asked for from an address where its root is not mounted"
        } else if peer.port() >= FIRST_UNPRIVILEGED_PORT {
            "they were asked for from a port that any user of it has"
        } else if site.is_proxied(peer.ip()) && self.seen(peer.ip()) == Seen::Remote {
            "another server gives the addresses there and a router lies between, so nothing says who asks"
        } else if !is_coming_up(&pin, now) {
            "they were asked for once it was up, or ten minutes after its root was mounted"
        } else {
            return Ok((pin, name, wanted));
        };
        Err(self.refuse_secrets(&pin, &name, why))
    }

    /// It is nobody's fault on the machine, and most of it passes: then a machine asks again, which it does by the one error that stands
    /// for nothing else.
    fn cannot_give(&self, pin: &Pin, name: &str, cause: &Error) -> MountError {
        let told = format!("its secrets could not be given: {cause}");
        match cause {
            Error::SecretsClosed => return self.refuse_secrets(pin, name, &cause.to_string()),
            Error::SecretsAreMade => {
                if self.refusals().note(pin.machine, told, self.host.now()) {
                    tracing::info!(machine = name, mac = %pin.mac, "waits for its secrets: {cause}");
                }
            }
            _ => {
                if self.refusals().note(pin.machine, told, self.host.now()) {
                    tracing::error!(machine = name, mac = %pin.mac, %cause, "cannot give a machine its secrets");
                }
            }
        }
        if matches!(cause, Error::NoSiteSeal) { MountError::Io } else { MountError::ServerFault }
    }

    /// What it is not given, though the site says so, is told like a refusal: it asks as often as it likes. What was in its way before is of no
    /// interest once nothing is.
    fn tell_of(&self, pin: &Pin, name: &str, lacks: &Lacks) {
        if lacks.is_empty() {
            return self.refusals().forget(pin.machine);
        }
        let causes = |is_told: &dyn Fn(&Lack) -> bool| {
            let lacks = lacks.iter().filter(|(_, lack)| is_told(lack));
            lacks.map(|(secret, lack)| format!("{secret}: {}", lack.cause)).collect::<Vec<_>>().join("; ")
        };
        let told = format!("it goes without secrets: {}", causes(&|_| true));
        let (is_due, causes) =
            (self.refusals().note(pin.machine, told, self.host.now()), causes(&|lack| !lack.is_logged));
        if is_due && !causes.is_empty() {
            tracing::error!(machine = name, mac = %pin.mac, "cannot give a machine all of its secrets: {causes}");
        }
    }

    fn refuse_secrets(&self, pin: &Pin, name: &str, why: &str) -> MountError {
        let told = format!("its secrets were not given: {why}");
        if self.refusals().note(pin.machine, told, self.host.now()) {
            tracing::warn!(machine = name, mac = %pin.mac, boot = %pin.boot, "{name}'s secrets were not given: {why}");
        }
        MountError::Acces
    }

    /// Writes what a machine's record is to be, made of what it is, and gives what it is then. Asked again where somebody else was
    /// quicker, or nobody knows whether it was written.
    pub(super) async fn change_secrets(
        &self,
        machine: &str,
        change: &(dyn Fn(MachineSecrets) -> Result<Option<MachineSecrets>> + Sync),
    ) -> Result<MachineSecrets> {
        for _ in 0..TRIES {
            let found = SECRETS.get(self.state.as_ref(), machine).await?;
            let (known, expect) = match found {
                Some(found) => (found.value, Expect::At(found.revision)),
                None => (MachineSecrets::default(), Expect::Absent),
            };
            let Some(record) = change(known.clone())? else { return Ok(known) };
            let txn = SECRETS.expect(Txn::new(), machine, expect);
            match self.state.commit(SECRETS.put(txn, machine, &record)?).await {
                Ok(_) => return Ok(record),
                Err(StateError::Conflict { .. } | StateError::OutcomeUnknown(_)) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
        Err(Error::Contended)
    }

    /// A boot's secrets as a tree; the same where it is open already and has all that there is.
    fn open_secrets(
        &self,
        boot: BootId,
        machine: &str,
        wanted: &Wanted,
        record: &MachineSecrets,
        lacks: &mut Lacks,
    ) -> Result<(ViewId, Arc<MachineTree>)> {
        let seal = self.secrets.seal.get().ok_or(Error::NoSiteSeal)?;
        let mut opened = BTreeMap::new();
        for (secret, said) in wanted {
            let Some(kept) = record.kept.get(secret).filter(|kept| stays(kept, said.kind)) else { continue };
            match seal.open(machine, secret, &kept.sealed) {
                Some(plain) => drop(opened.insert(secret.clone(), (plain, &kept.public))),
                // The others are good, and the machine tells of the one that it lacks.
                None => {
                    let cause = Error::SealedElsewhere(secret.clone());
                    lacks.insert(secret.clone(), Lack::new(cause.to_string()));
                }
            }
        }
        let names = opened.keys().cloned().collect();
        if let Some(found) = self.secrets.of(boot, &names) {
            return Ok(found);
        }
        let (mut builder, mut contents) = (IndexBuilder::new(), Vec::new());
        let meta = |mode| Meta { mode, mtime: MTIME, ..Meta::default() };
        builder.insert(&TreePath::parse(b"")?, meta(0o700), Content::Directory { opaque: false })?;
        for (secret, (plain, public)) in opened {
            let public = public.as_ref().map(|line| format!("{line}\n").into_bytes());
            let files = [(secret.clone(), Some(plain)), (format!("{secret}{PUBLIC}"), public)];
            for (name, bytes) in files.into_iter().filter_map(|(name, bytes)| Some((name, bytes?))) {
                let lent = self.objects.lend(&bytes);
                let content = Content::Regular { object: lent.id(), size: bytes.len() as u64 };
                builder.insert(&TreePath::parse(name.as_bytes())?, meta(0o400), content)?;
                contents.push(lent);
            }
        }
        let view = ViewId(random(self.host.as_ref()).map_err(Error::Random)?);
        let level = Arc::new(Level::new(Arc::new(builder.finish()?), Vec::new()));
        let tree = MachineTree::new(Arc::new(View::new(view, level)));
        self.secrets.add(view, Open::new(boot, tree, names, contents)).map_err(|refused| match refused {
            NotOpened::Full => Error::SecretsWait(MOST_OPEN),
            NotOpened::Closed => Error::SecretsClosed,
        })
    }

    /// The tree of a boot's secrets, for a call from this peer; none where the view is none of these.
    pub(crate) fn secrets_in(&self, peer: IpAddr, view: ViewId) -> Option<Result<Arc<MachineTree>, Refusal>> {
        let (boot, tree) = self.secrets.in_view(view)?;
        let now = self.host.now();
        let index = self.index();
        let pin = index.pins.get(&boot).map(|(pin, _)| pin);
        Some(match pin {
            Some(pin) if pin.address != peer => Err(Refusal::Acces),
            Some(pin) if is_coming_up(pin, now) => Ok(tree),
            _ => Err(Refusal::Stale),
        })
    }

    /// A boot has its secrets: no other server gives any in its name from here on either.
    pub(crate) async fn write_closed(&self, pin: &Pin) -> Result<()> {
        let wanted = self.index().plans.get(&pin.boot).is_some_and(|plan| !plan.secrets.is_empty());
        let name = self.site().machine(pin.mac).map(|(name, _)| name.to_owned());
        let Some(name) = name.filter(|_| wanted) else { return Ok(()) };
        let closed = |record: MachineSecrets| {
            Ok((!record.closed.contains(&pin.boot)).then(|| record.closed_by(pin.boot)))
        };
        self.change_secrets(&name, &closed).await?;
        tracing::info!(machine = name, mac = %pin.mac, boot = %pin.boot, "asks for no secrets any more: they are closed");
        Ok(())
    }

    /// Lets go of what nobody may read any more.
    pub(crate) fn forget_secrets(&self) {
        let now = self.host.now();
        let index = self.index();
        let pin = |boot| index.pins.get(&boot).map(|(pin, _)| pin);
        let comes_up = |boot| pin(boot).is_some_and(|pin| is_coming_up(pin, now));
        self.secrets.keep(comes_up, |boot| pin(boot).is_some());
    }
}

/// Whether a secret that there is counts where the site wants one of a kind: one that an admin has set does, whatever would be made.
pub(super) fn stays(kept: &Kept, wanted: SecretKind) -> bool {
    kept.kind == wanted || kept.kind == SecretKind::Set
}

/// Whether a boot's root is mounted and it has not come up yet, of late.
fn is_coming_up(pin: &Pin, now: u64) -> bool {
    pin.phase == Phase::Running && now.saturating_sub(pin.since) < LASTS
}
