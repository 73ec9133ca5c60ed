//! Assignments that end by themselves: at their time, with the boot that they were for, or with everybody having the generation
//! that they gave to one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use oneroot_bootconf::assignment::{Mapped, Signed};
use oneroot_bootconf::pins::Pin;
use oneroot_bootconf::root::Root;
use oneroot_ids::{GenerationId, MachineId};

use crate::error::Result;
use crate::index::MachineIndex;
use crate::index::stalls::LOADED;
use crate::machines::Machines;
use crate::mapping::write::{Draft, Wanted};

impl Machines {
    /// Takes away what was assigned for a time that is over, for one boot that has its root now, or before others got it that
    /// they get now.
    pub(crate) async fn end_assignments(self: &Arc<Self>) -> Result<()> {
        let heads = self.heads_waited_for().await;
        // Looked for without the lock first, for every tick asks and nearly always nothing has ended; then once more under
        // it.
        let ended: Vec<MachineId> = {
            let index = self.index();
            let ended = index.mapped.keys().filter(|id| self.left_now(&index, **id, &heads).is_some());
            ended.copied().collect()
        };
        if ended.is_empty() {
            return Ok(());
        }
        let nobody = Signed { by: "oneroot".to_owned(), at: self.host.now() };
        let _one_at_a_time = self.mapping.lock().await;
        for id in ended {
            let without = |machines: &Self| {
                let (site, index) = (machines.site(), machines.index());
                let Some(mapped) = machines.left_now(&index, id, &heads) else { return Ok(Draft::default()) };
                let macs = site.machines.get(&mapped.name).map(|machine| machine.macs.clone());
                Ok(Draft::of(Wanted::of(&mapped.name.clone(), macs.unwrap_or_default(), mapped)))
            };
            for name in self.write_mapping(&nobody, &without).await? {
                tracing::info!(machine = name, "what was assigned to it for now is over");
            }
        }
        Ok(())
    }

    /// The heads of profiles of which somebody was assigned a generation before others.
    async fn heads_waited_for(self: &Arc<Self>) -> BTreeMap<String, GenerationId> {
        let profiles: BTreeSet<String> = {
            let index = self.index();
            let assigned =
                index.mapped.values().flat_map(|(mapped, _)| mapped.assigned.iter().chain(&mapped.for_now));
            assigned.flat_map(|assigned| assigned.until_head.iter().cloned()).collect()
        };
        self.heads(profiles).await
    }

    /// What is left of a machine's mapping, where some of it has ended.
    fn left_now(
        &self,
        index: &MachineIndex,
        id: MachineId,
        heads: &BTreeMap<String, GenerationId>,
    ) -> Option<Mapped> {
        let (mapped, _) = index.mapped.get(&id)?;
        let mut left = mapped.clone();
        if self.has_ended(index, id) {
            left.for_now = None;
        }
        left.assigned = left.assigned.and_then(|assigned| assigned.without_heads(heads));
        left.for_now = left.for_now.and_then(|assigned| assigned.without_heads(heads));
        (left != *mapped).then_some(left)
    }

    /// The same, by somebody else and soon: whoever waits for an answer does not wait for this.
    pub(crate) fn end_assignments_soon(self: &Arc<Self>) {
        let any =
            self.index().mapped.values().any(|(mapped, _)| mapped.for_now.as_ref().is_some_and(|at| at.once));
        if !any {
            return;
        }
        let machines = self.clone();
        tokio::spawn(async move {
            if let Err(cause) = machines.end_assignments().await {
                tracing::error!(%cause, "cannot end an assignment; it is tried again in a moment");
            }
        });
    }

    /// Whether what is assigned to a machine is over, or was for one boot whose root is mounted; where that boot has no root of
    /// ours, all that it loads was asked for. After a restart in between nobody knows that, and it boots so once more.
    fn has_ended(&self, index: &MachineIndex, id: MachineId) -> bool {
        let Some((mapped, _)) = index.mapped.get(&id) else { return false };
        let Some(assigned) = &mapped.for_now else { return false };
        let is_used = |pin: &Pin| {
            let Some(plan) = index.plans.get(&pin.boot) else { return false };
            let is_loaded = || self.steps().of(pin.mac).iter().any(|step| step.step == LOADED);
            let is_by_it = plan.assigned.as_ref() == Some(&assigned.signed);
            is_by_it && (pin.is_mounted() || plan.root == Root::None && is_loaded())
        };
        let was_used = || index.pins_of(id).any(|(pin, _)| is_used(pin));
        assigned.is_over(self.host.now()) || assigned.once && was_used()
    }
}
