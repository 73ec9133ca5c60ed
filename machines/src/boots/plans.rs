//! Plans: one is made when a boot script is fetched and no boot that there is answers it (rules: `oneroot_bootconf::again`),
//! and it is durable before the first byte leaves.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::host::random;
use oneroot_bootconf::again::{Ask, Request};
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decided::{Decided, Other, Way};
use oneroot_bootconf::decision::{Decision, NoPlan, chosen, decide};
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::hardware::Hardware;
use oneroot_bootconf::identity::{disowned, recognise};
use oneroot_bootconf::kernels::Loaded;
use oneroot_bootconf::pins::{Event, Phase, Pin, changes};
use oneroot_bootconf::plan::{BootPlan, Mounted, Terms};
use oneroot_bootconf::screens::Told;
use oneroot_bootconf::{MachineRecord, Site, screens, script};
use oneroot_ids::{BootId, Mac, MachineId, ViewId};

use crate::access::mounts::Asker;
use crate::boots::commit::{Changed, Prepared, TRIES};
use crate::index::stalls::{HELD, LOCAL, MENU};
use crate::machines::{Machines, present};
use crate::order::gate::Slot;
use crate::order::turns::Thing;

/// All that a boot is told but whose it is: with a machine and a boot it is a plan.
struct Draft {
    /// One site for the whole plan, whatever is reloaded meanwhile.
    site: Arc<Site>,
    peer: IpAddr,
    mac: Mac,
    decision: Decision,
    facts: Facts,
    view: ViewId,
    loaded: Loaded,
    mounted: Mounted,
}

impl Draft {
    /// The name that a rule gives.
    fn claimed(&self) -> Option<&String> {
        self.decision.name.as_ref().filter(|_| self.decision.is_claimed)
    }
}

/// A machine as it is, or has to be.
struct Recognised {
    record: MachineRecord,
    /// Whether the record has to be written.
    is_new: bool,
    pins: Vec<Pin>,
}

/// What a request comes to once nobody else changes its machine.
enum InTurn {
    /// Its NIC belongs to somebody else by now.
    Another,
    /// Another request has made its boot meanwhile.
    Answered(Box<BootPlan>),
    /// This boot, once it is written.
    Planned(Box<BootPlan>, Box<Prepared>),
}

/// A plan, and whether it was made for this request.
type Planned = (BootPlan, bool);

impl Machines {
    /// The boot script for the machine at `peer` with this MAC: a plan, a pin, and the words that start it; or what it is told for
    /// which there is no plan. `choice` is what somebody has chosen in the machine's menu, as the request has it.
    ///
    /// `None` when the address is not this MAC's: nobody gets another machine's script by guessing. The peer has shown that it
    /// hears us: by a TCP connection, or by a cookie.
    pub(crate) async fn boot_script(
        self: &Arc<Self>,
        peer: IpAddr,
        mac: Mac,
        choice: Option<&str>,
        ask: Ask,
    ) -> Option<String> {
        self.script_by(peer, mac, choice, ask, None).await
    }

    /// The same, by what the machine says now of its hardware; else what it has said last counts.
    pub(crate) async fn script_by(
        self: &Arc<Self>,
        peer: IpAddr,
        mac: Mac,
        choice: Option<&str>,
        ask: Ask,
        told: Option<Hardware>,
    ) -> Option<String> {
        let asker = self.asked_by(&self.site(), peer, mac)?;
        if ask != Ask::Length {
            self.adopt_who_comes(mac).await;
        }
        // Taken anew: one that was adopted just now boots by its name already.
        let site = self.site();
        let asked = Asked::at(mac, peer).telling(self.claims(mac, told.clone()));
        let catalogue = Catalogue::of(&site).at(self.host.now());
        if ask == Ask::Length && self.would_ask(&catalogue, &asked) {
            // Nobody's question for a length has a program run.
            return None;
        }
        // Before a place is taken: a program may take its time, and nobody else's.
        let said = self.program_says(&site, &catalogue, &asked, ask).await;
        let catalogue = said.as_ref().map_or(catalogue, |gives| catalogue.told(gives));
        let (decided, choice) = decided(&catalogue, &asked, choice);
        let is_planned = !matches!(decided, Ok(Decided::Other(_)));
        if is_planned
            && ask == Ask::Length
            && site.machine(mac).is_none()
            && self.index().machine_of(mac).is_none()
        {
            // What a script would be made of is put into the store, and of made-up NICs there is no end: the length of a
            // script is told to those that have had one, or have a name.
            return None;
        }
        if ask != Ask::Length {
            self.hears(mac, peer, told);
        }
        // Where another server gives the addresses, this is what says who is there.
        // Only where it is news, for whoever takes the tables for writing ends every answer that NFS has remembered.
        if ask != Ask::Length && self.index().mac_at(peer) != Some(mac) {
            self.index_mut().noted(peer, mac);
        }
        let base = script::http_base(site.server_for(peer), site.server.http_port);
        let url = screens::own_url(&base, mac, choice.as_deref());
        let decision = match decided {
            Ok(Decided::Other(other)) => return Some(self.without_plan(&other, (peer, mac), &base, ask)),
            Ok(Decided::Profile(decision)) => Ok(*decision),
            Err(cause) => Err(cause),
        };
        let planned = self.plan(&site, (asker, peer, &asked), mac, decision, ask).await;
        Some(self.script_of(planned, mac, ask, (&base, &url)))
    }

    /// The words for what came of a plan; `url` is where the machine asks again.
    fn script_of(&self, planned: Result<Planned>, mac: Mac, ask: Ask, (base, url): (&str, &str)) -> String {
        match planned {
            Ok((plan, made)) => {
                if made {
                    tracing::info!(machine = plan.name, %mac, boot = %plan.boot, profile = plan.profile, view = %plan.view, "boots");
                } else {
                    tracing::debug!(machine = plan.name, %mac, boot = %plan.boot, ?ask, "asks again for its boot script");
                }
                if ask != Ask::Length {
                    self.step(mac, "script", false);
                }
                script::boot(base, &plan, url)
            }
            Err(cause) => {
                tracing::warn!(machine = self.name_of(mac), %mac, reason = format!("{cause}"), "has nothing to boot");
                if ask != Ask::Length {
                    let told = format!("{} has nothing to boot: {cause}", self.name_of(mac));
                    self.steps().refuse(mac, told, present(self.host.as_ref()));
                }
                script::refused(url, &format!("{cause}"))
            }
        }
    }

    /// What a machine is told that boots no profile now. Nothing of it is durable.
    fn without_plan(&self, other: &Other, (peer, mac): (IpAddr, Mac), base: &str, ask: Ask) -> String {
        let name = self.name_of(mac);
        let told = other.way.in_words();
        let step = match &other.way {
            Way::Local => LOCAL,
            Way::Menu(..) => MENU,
            Way::Hold => HELD,
        };
        if ask != Ask::Length {
            // One that is held asks twice a minute.
            let is_new = self.steps().of(mac).last().is_none_or(|last| last.step != step);
            if is_new {
                tracing::info!(machine = name, %mac, %peer, "{told}");
            } else {
                tracing::debug!(machine = name, %mac, %peer, "{told}");
            }
            self.step(mac, step, false);
        }
        screens::of(&other.way, &Told { name: other.name.as_deref(), mac, address: peer }, base)
    }

    /// What asks the machine at `peer` for the facts of its hardware, and leads it to its boot script. It costs nothing and
    /// changes nothing.
    pub(crate) fn ask_script(&self, peer: IpAddr, mac: Mac) -> Option<String> {
        let site = self.site();
        let base = script::http_base(site.server_for(peer), site.server.http_port);
        self.asked_by(&site, peer, mac).map(|_| script::ask(&script::url(&base, mac)))
    }

    /// A decision for a machine that can't have the name which a rule gives it goes without.
    fn named(&self, site: &Site, mac: Mac, decision: Decision) -> Decision {
        let Some(name) = decision.name.as_ref().filter(|_| decision.is_claimed) else { return decision };
        if self.may_be_called(site, name, mac) {
            return decision;
        }
        tracing::warn!(%mac, name, "a rule would call it {name}, and another machine has that name");
        decision.unnamed()
    }

    /// What leads the machine at `peer` to its boot script by TFTP. It costs nothing and changes nothing, for nobody knows who
    /// has sent the request.
    pub(crate) fn lead_script(&self, peer: IpAddr, mac: Mac) -> Option<String> {
        let site = self.site();
        let cookie = self.cookies.make(peer, mac, self.host.now());
        self.asked_by(&site, peer, mac).map(|_| script::lead(site.server_for(peer), mac, &cookie))
    }

    fn asked_by(&self, site: &Site, peer: IpAddr, mac: Mac) -> Option<Asker> {
        let asker = self.asker(site, peer, mac);
        if asker.is_none() {
            tracing::warn!(%peer, %mac, "refused a boot script to an address that this machine does not have");
        }
        asker
    }

    async fn plan(
        self: &Arc<Self>,
        site: &Arc<Site>,
        (asker, peer, asked): (Asker, IpAddr, &Asked),
        mac: Mac,
        decision: Result<Decision, NoPlan>,
        ask: Ask,
    ) -> Result<Planned> {
        let catalogue = Catalogue::of(site).at(self.host.now());
        let decision = self.named(site, mac, decision?);
        let slot = self.gate.enter(peer, site.machine(mac).is_some()).await?;
        // Before anything is made for it.
        self.has_room(site, mac, self.host.now())?;
        let facts = Facts::of(&catalogue, &decision, asked);
        let (machines, home, wanted, frozen) =
            (self.clone(), site.home.clone(), decision.clone(), facts.clone());
        let (slot, stacked) = on_disk(slot, move || machines.planner.stack(&home, &wanted, &frozen)).await?;
        let loaded = stacked.loaded.clone()?;
        let (view, mounted) = (stacked.id, stacked.mounted.clone());
        let draft = Draft { site: site.clone(), peer, mac, decision, facts, view, loaded, mounted };
        let is_vouched_for = asker == Asker::Vouched;
        let request = Request { mac, address: peer, ask, now: self.host.now(), is_vouched_for };
        // One id for all tries: what a plan touches is compared before and after a wait, and never the same with a new id
        // each time.
        let fresh = MachineId::from_random(random(self.host.as_ref()).map_err(Error::Random)?);
        let machine = self.recognised(&draft, fresh, request.now);
        if let Some(plan) = self.again(&draft, &machine, &request)? {
            return Ok((plan, false));
        }
        let boot = BootId::from_random(random(self.host.as_ref()).map_err(Error::Random)?);
        if ask == Ask::Length {
            // As long as any other: all ids have one length.
            return Ok((self.plan_of(&draft, machine.record.id, boot), false));
        }
        // Before the pin, which promises a view that can be read. A crash in between leaves a view that nobody holds, and
        // no pin without one.
        let machines = self.clone();
        let named = move || machines.planner.name(&stacked).and_then(|view| machines.read(view));
        let (slot, read) = on_disk(slot, named).await?;
        // What is left waits for this machine's record and the disk, and takes no thread.
        let own_turn = slot.leave();
        let planned = self.pinned(&draft, request, fresh, boot).await;
        drop((own_turn, read));
        match planned {
            // Another was quicker, so this one goes without: by the gate once more, where it would wait for its own turn for
            // ever if it still had that.
            Err(Error::NameTaken(_)) => {
                let decision = Ok(draft.decision.unnamed());
                Box::pin(self.plan(site, (asker, peer, asked), mac, decision, ask)).await
            }
            planned => planned,
        }
    }

    /// What a machine with this record is told by a boot with this id.
    fn plan_of(&self, draft: &Draft, machine: MachineId, boot: BootId) -> BootPlan {
        BootPlan::of(&Terms {
            site: &draft.site,
            decision: &draft.decision,
            facts: &draft.facts,
            loaded: &draft.loaded,
            view: draft.view,
            mounted: &draft.mounted,
            mac: draft.mac,
            machine,
            boot,
            seal: draft.site.is_proxied(draft.peer).then(|| self.boot_tokens.make(boot, draft.view)),
        })
    }

    /// The boot that there is, where it answers a request.
    fn again(&self, draft: &Draft, machine: &Recognised, request: &Request) -> Result<Option<BootPlan>> {
        if machine.is_new {
            return Ok(None);
        }
        if let Some(address) = request.waits_for(&machine.pins) {
            return Err(Error::BootsElsewhere(address));
        }
        let index = self.index();
        let told = |boot| index.plans.get(&boot).cloned();
        let wanted = |boot| self.plan_of(draft, machine.record.id, boot);
        let plan = request.answered_by(&machine.pins, &told, &wanted);
        if let Some(plan) = plan.as_ref().filter(|_| request.ask != Ask::Length) {
            index.hear(plan.machine, request.now);
        }
        Ok(plan)
    }

    /// Writes the plan of a boot with its pin, unless another request has done so meanwhile. `fresh` and `boot` are ids that
    /// nobody has yet.
    async fn pinned(
        self: &Arc<Self>,
        draft: &Draft,
        mut request: Request,
        fresh: MachineId,
        boot: BootId,
    ) -> Result<Planned> {
        for _ in 0..TRIES {
            let things = self.touched(draft, &self.recognised(draft, fresh, request.now));
            let turn = self.turns.take(things.clone()).await;
            // The wait may have been long: the time of its turn says what is young, and dates the pin.
            request.now = self.host.now();
            match self.in_turn(draft, &request, (fresh, boot), &things)? {
                InTurn::Another => {}
                InTurn::Answered(plan) => return Ok((*plan, false)),
                InTurn::Planned(plan, prepared) => {
                    if self.commit(turn, *prepared).await? {
                        return Ok((*plan, true));
                    }
                }
            }
        }
        Err(Error::Contended)
    }

    /// What a request comes to for who has the turns for `things`.
    fn in_turn(
        self: &Arc<Self>,
        draft: &Draft,
        request: &Request,
        (fresh, boot): (MachineId, BootId),
        things: &BTreeSet<Thing>,
    ) -> Result<InTurn> {
        let known = self.applied();
        let machine = self.recognised(draft, fresh, request.now);
        if !self.touched(draft, &machine).is_subset(things) {
            return Ok(InTurn::Another);
        }
        if let Some(plan) = self.again(draft, &machine, request)? {
            return Ok(InTurn::Answered(Box::new(plan)));
        }
        // `named` looked before the wait, and a machine that came at the same moment may have been given the name since.
        if let Some(name) = draft.claimed()
            && !self.may_be_called(&draft.site, name, draft.mac)
        {
            return Err(Error::NameTaken(name.clone()));
        }
        let plan = self.plan_of(draft, machine.record.id, boot);
        let change = self.change_for(draft, &machine, &plan, request.now)?;
        Ok(InTurn::Planned(Box::new(plan), Box::new(self.prepared(&known, change)?)))
    }

    /// All that is written for a plan.
    fn change_for(
        self: &Arc<Self>,
        draft: &Draft,
        machine: &Recognised,
        plan: &BootPlan,
        now: u64,
    ) -> Result<Changed> {
        let pin = Pin {
            machine: plan.machine,
            boot: plan.boot,
            view: plan.view,
            phase: Phase::Booting,
            mac: draft.mac,
            address: draft.peer,
            made: now,
            since: now,
            named: true,
        };
        let (place, mut pins) = self.room_for(&draft.site, &machine.record, now)?;
        pins.extend(changes(&machine.pins, &Event::Planned(pin), &|pin| self.in_use(pin), now));
        let records = if machine.is_new { self.with_disowned(&machine.record) } else { Vec::new() };
        Ok(Changed { records, place, plan: Some(plan.clone()), pins, ..Changed::default() })
    }

    /// The machine's record as it is or has to be, and its pins.
    fn recognised(&self, draft: &Draft, fresh: MachineId, now: u64) -> Recognised {
        let index = self.index();
        let site = draft.site.machine(draft.mac).map(|(name, machine)| (name, machine.macs.as_slice()));
        let records = index.machines.values().map(|(record, _)| record);
        let (mut record, mut is_new) = recognise(draft.mac, site, records, fresh, now);
        let claimed = draft.claimed().cloned();
        is_new |= record.claimed != claimed;
        record.claimed = claimed;
        let pins = index.pins_of(record.id).map(|(pin, _)| pin.clone()).collect();
        Recognised { record, is_new, pins }
    }

    /// A record, and those that lose a NIC to it: written together, or a NIC would be two machines' after a restart.
    fn with_disowned(&self, record: &MachineRecord) -> Vec<MachineRecord> {
        let index = self.index();
        let mut records = disowned(record, index.machines.values().map(|(record, _)| record));
        records.push(record.clone());
        records
    }

    /// All that a plan may change, and all that says which machine it is for. Who has the turn for these is alone with them:
    /// nobody else can make a record with one of the MACs or the name, or change one of the records.
    fn touched(&self, draft: &Draft, machine: &Recognised) -> BTreeSet<Thing> {
        let site = draft.site.machine(draft.mac);
        let name =
            site.map(|(name, _)| name.to_owned()).or_else(|| draft.claimed().cloned()).map(Thing::Name);
        let macs = site.map_or(&[][..], |(_, machine)| machine.macs.as_slice());
        let macs = macs.iter().chain(&machine.record.macs).chain([&draft.mac]).map(|mac| Thing::Nic(*mac));
        let written =
            if machine.is_new { self.with_disowned(&machine.record) } else { vec![machine.record.clone()] };
        let records = written.iter().map(|record| Thing::Machine(record.id));
        name.into_iter().chain(macs).chain(records).collect()
    }
}

/// What is decided for a request, and the choice that it makes: a word that is no choice of the machine's menu is as none.
fn decided(
    catalogue: &Catalogue<'_>,
    asked: &Asked,
    word: Option<&str>,
) -> (Result<Decided, NoPlan>, Option<String>) {
    let plain = decide(catalogue, asked);
    let choice = match (&plain, word) {
        (Ok(Decided::Other(Other { way: Way::Menu(_, menu), .. })), Some(word)) => menu.choice(word),
        _ => None,
    };
    match choice.map(|choice| choice.name.clone()) {
        Some(choice) => (chosen(catalogue, asked, &choice), Some(choice)),
        None => (plain, None),
    }
}

/// Does something that waits for the disk in a thread of its own, which keeps the place of its plan to the end: whoever has
/// asked may be gone by then, and ask again.
async fn on_disk<T: Send + 'static>(
    slot: Slot,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<(Slot, T)> {
    tokio::task::spawn_blocking(move || work().map(|done| (slot, done))).await?
}
