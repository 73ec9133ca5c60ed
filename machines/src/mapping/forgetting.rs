//! What a machine has found out is forgotten, and it stays: for facts that lead it where it can't boot, and so can't find out others
//! (docs/decisions/0023).

use std::sync::Arc;

use oneroot_state::{Backend as _, Error as StateError, Expect, Txn};

use crate::boots::commit::TRIES;
use crate::error::{Error, MappingRefused, Result};
use crate::index::tables::EXAMINED;
use crate::machines::Machines;
use crate::mapping::request::MappedMachine;

impl Machines {
    /// Forgets what a machine has found out about itself; it is named as `release` takes it.
    pub(super) async fn forget_examined(self: &Arc<Self>, machine: &str) -> Result<Vec<MappedMachine>> {
        let nothing = || Error::from(MappingRefused::NothingExamined(machine.to_owned()));
        for _ in 0..TRIES {
            let id = self.called(machine)?.ok_or_else(nothing)?;
            let (revision, name) = {
                let index = self.index();
                let (_, revision) = index.examined.get(&id).ok_or_else(nothing)?;
                let name = index.machines.get(&id).and_then(|(record, _)| record.name.clone());
                (*revision, name)
            };
            let txn = EXAMINED.delete(EXAMINED.expect(Txn::new(), id, Expect::At(revision)), id);
            match self.state.commit(txn.clone()).await {
                Ok(written) => {
                    self.committed(&txn, written);
                    return Ok(vec![self.mapped(name.as_deref().unwrap_or(machine))]);
                }
                // It tells something new just now.
                Err(StateError::Conflict { .. } | StateError::OutcomeUnknown(_)) => self.read_anew().await?,
                Err(cause) => return Err(cause.into()),
            }
        }
        Err(Error::Contended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boots::tests_on::{Server, two};
    use crate::mapping::request::Request;
    use oneroot_bootconf::MachineRecord;
    use oneroot_bootconf::again::Ask;
    use oneroot_bootconf::hardware::ExaminedRecord;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn facts_that_keep_a_machine_from_booting_are_forgotten_and_it_stays_who_it_is() {
        let home = tempfile::tempdir().unwrap();
        let ([mut one, mut other], peer) = two(home.path()).await;
        one.machines.boot_script(peer, one.mac, None, Ask::Whole).await.unwrap();
        let id = one.machines.index().machine_of(one.mac).unwrap();
        let mac = one.mac.to_string();
        let ask = async |server: &Server| {
            let request = Request::ForgetExamined { machine: mac.clone() };
            server.machines.change_mapping(&request, "ada").await.map(drop)
        };
        let told = ask(&one).await.unwrap_err().to_string();
        assert!(told.contains("has found out nothing about itself"), "{told}");
        let record = "{\"hooks\":{\"a\":{\"facts\":{\"rack\":7},\"since\":1}}}";
        let record: ExaminedRecord = serde_json::from_str(record).unwrap();
        let tell =
            || async { one.machines.state.commit(EXAMINED.put(Txn::new(), id, &record).unwrap()).await };
        tell().await.unwrap();
        other.hear();
        // The other server has not heard that it told again, and is told of a conflict.
        tell().await.unwrap();
        ask(&other).await.unwrap();
        one.hear();
        assert!(one.machines.index().examined.is_empty());
        assert!(EXAMINED.get(one.machines.state.as_ref(), id).await.unwrap().is_none());
        let records: Vec<MachineRecord> =
            one.machines.index().machines.values().map(|(record, _)| record.clone()).collect();
        assert!(records.iter().any(|record| record.id == id), "it is the machine that it was");
    }
}
