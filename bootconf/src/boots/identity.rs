//! Who a machine is: the MAC finds it, the machine id stays with it (docs/decisions/0003).

use oneroot_ids::{Mac, MachineId};
use serde::{Deserialize, Serialize};

/// What is remembered of a machine, durably, from the first packet on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// Its id.
    pub id: MachineId,
    /// Every address that it was seen with or that the site gives it.
    pub macs: Vec<Mac>,
    /// The name that the site gives it; none for an unknown machine.
    pub name: Option<String>,
    /// The name that it has by a rule of the site, while nobody has named it: it follows from what the machine tells, so it opens
    /// nothing, and the site's own names count before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// Seconds since 1970.
    pub first_seen: u64,
}

/// Whether a machine may have a name by a rule: no other machine on record has it by its site, and none that was there before it
/// has it by a rule.
pub fn may_claim<'r>(
    name: &str,
    own: Option<MachineId>,
    known: impl IntoIterator<Item = &'r MachineRecord> + Clone,
) -> bool {
    let order = |record: &MachineRecord| (record.first_seen, record.id);
    let mut records = known.clone().into_iter();
    let mine = own
        .and_then(|id| records.find(|record| record.id == id))
        .filter(|record| record.claimed.as_deref() == Some(name));
    known.into_iter().filter(|record| Some(record.id) != own).all(|record| {
        let has_it = record.claimed.as_deref() == Some(name);
        // Two servers may have given it at the same moment.
        let is_later = mine.is_some_and(|mine| order(mine) < order(record));
        record.name.as_deref() != Some(name) && (!has_it || is_later)
    })
}

/// The record for a machine that shows `mac`, and whether it has to be written.
///
/// `site` is the site's name for the MAC and all MACs of that machine; `known` are all records; `fresh` is the id that a
/// new machine gets, `now` seconds since 1970.
///
/// | what the records say | the machine is |
/// |---|---|
/// | another record has the site's name, and the MAC's own record is of another name | that one: the NIC has moved |
/// | one has the MAC, and no MAC that the site doesn't give this machine | that one, under a new name if the site gives one |
/// | one has the MAC and others too, under another name | new: the NIC has moved to a box that was not here yet |
/// | one shares a MAC of the site's list | that one: it has several NICs |
/// | one has the site's name | that one: its NIC was replaced |
/// | none of it | new |
///
/// The record of a named machine has the site's MACs and no others. So a NIC that was taken out and turns up in another
/// box does not bring the first box's id, pins and secrets with it.
pub fn recognise<'r>(
    mac: Mac,
    site: Option<(&str, &[Mac])>,
    known: impl IntoIterator<Item = &'r MachineRecord>,
    fresh: MachineId,
    now: u64,
) -> (MachineRecord, bool) {
    let (mut by_mac, mut by_list, mut by_name) = (None, None, None);
    for record in known {
        if record.macs.contains(&mac) {
            by_mac = Some(record);
        }
        let Some((name, macs)) = site else { continue };
        if record.name.as_deref() == Some(name) {
            by_name = Some(record);
        } else if record.name.is_none() && record.macs.iter().any(|seen| macs.contains(seen)) {
            // Found by its NICs only where it has no name: one of another name is that machine's, whatever the site says of
            // its NICs.
            by_list = Some(record);
        }
    }
    let old = match (site, by_mac) {
        (None, found) => found,
        (Some((name, macs)), Some(record)) => match &record.name {
            Some(other) if other != name => {
                let renamed = record.macs.iter().all(|seen| *seen == mac || macs.contains(seen));
                by_name.or(renamed.then_some(record))
            }
            _ => by_name.or(Some(record)),
        },
        (Some(_), None) => by_name.or(by_list),
    };
    let mut record = old.cloned().unwrap_or(MachineRecord {
        id: fresh,
        macs: Vec::new(),
        name: None,
        claimed: None,
        first_seen: now,
    });
    if let Some((name, macs)) = site {
        // The site's name takes the place of one that a rule has given.
        (record.name, record.claimed) = (Some(name.to_owned()), None);
        record.macs = macs.to_vec();
    }
    if !record.macs.contains(&mac) {
        record.macs.push(mac);
    }
    let changed = old != Some(&record);
    (record, changed)
}

/// The other records that have one of `record`'s MACs, without them: to be written in the same transaction as `record`,
/// or the MAC would be two machines' after a restart. Their ids and pins stay.
pub fn disowned<'r>(
    record: &MachineRecord,
    known: impl IntoIterator<Item = &'r MachineRecord>,
) -> Vec<MachineRecord> {
    let taken = |mac: &Mac| record.macs.contains(mac);
    let losers = known.into_iter().filter(|other| other.id != record.id && other.macs.iter().any(taken));
    let without = |other: &MachineRecord| MachineRecord {
        macs: other.macs.iter().filter(|mac| !taken(mac)).copied().collect(),
        ..other.clone()
    };
    losers.map(without).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> Mac {
        Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
    }

    #[test]
    fn a_replaced_nic_keeps_the_machine() {
        let first = MachineId::from_random([1; 16]);
        let (old, new) = recognise(mac(1), Some(("alpha", &[mac(1)])), [], first, 7);
        assert!(new);
        let (same, changed) =
            recognise(mac(2), Some(("alpha", &[mac(2)])), [&old], MachineId::from_random([2; 16]), 8);
        assert!(changed);
        assert_eq!(same.id, first);
        assert_eq!(same.macs, [mac(2)]);
        let (other, _) = recognise(mac(1), None, [&same], MachineId::from_random([3; 16]), 9);
        assert_ne!(other.id, first, "the old NIC in another box is another machine");
    }

    #[test]
    fn a_nic_that_moves_to_another_machine_becomes_that_machine() {
        let (alpha, beta) = (MachineId::from_random([1; 16]), MachineId::from_random([2; 16]));
        let record = |id, macs: &[Mac], name: &str| MachineRecord {
            id,
            macs: macs.to_vec(),
            name: Some(name.to_owned()),
            claimed: None,
            first_seen: 7,
        };
        let known = [record(alpha, &[mac(1), mac(2)], "alpha"), record(beta, &[mac(3)], "beta")];
        let fresh = MachineId::from_random([9; 16]);
        let (moved, _) = recognise(mac(2), Some(("beta", &[mac(2), mac(3)])), &known, fresh, 8);
        assert_eq!(moved.id, beta);
        assert_eq!(disowned(&moved, &known), [record(alpha, &[mac(1)], "alpha")]);
        let (into_a_new_box, _) = recognise(mac(2), Some(("gamma", &[mac(2)])), &known, fresh, 8);
        assert_eq!(into_a_new_box.id, fresh, "alpha has its other NIC still");
    }

    #[test]
    fn a_new_nic_that_was_seen_before_it_was_named_joins_the_machine_that_it_was_put_in() {
        let (alpha, _) =
            recognise(mac(1), Some(("alpha", &[mac(1)])), [], MachineId::from_random([1; 16]), 7);
        let (seen, _) = recognise(mac(2), None, [&alpha], MachineId::from_random([2; 16]), 8);
        assert_ne!(seen.id, alpha.id);
        let known = [alpha.clone(), seen.clone()];
        let fresh = MachineId::from_random([3; 16]);
        let (joined, _) = recognise(mac(2), Some(("alpha", &[mac(2)])), &known, fresh, 9);
        assert_eq!(joined.id, alpha.id);
        assert_eq!(disowned(&joined, &known), [MachineRecord { macs: vec![], ..seen }]);
    }

    #[test]
    fn a_renamed_machine_keeps_its_id() {
        let both = [mac(1), mac(2)];
        let (old, _) = recognise(mac(1), Some(("alpha", &both)), [], MachineId::from_random([1; 16]), 7);
        let (new, changed) =
            recognise(mac(2), Some(("omega", &both)), [&old], MachineId::from_random([2; 16]), 8);
        assert_eq!((new.id, new.name.as_deref(), changed), (old.id, Some("omega"), true));
    }

    #[test]
    fn a_second_nic_named_after_the_first_was_seen_joins_its_record() {
        let (seen, _) = recognise(mac(1), None, [], MachineId::from_random([1; 16]), 7);
        let both = [mac(1), mac(2)];
        let (named, _) =
            recognise(mac(2), Some(("alpha", &both)), [&seen], MachineId::from_random([2; 16]), 8);
        assert_eq!((named.id, named.macs), (seen.id, both.to_vec()));
    }

    #[test]
    fn of_two_machines_that_claim_one_name_the_first_has_it_and_a_machine_of_the_site_before_both() {
        let id = |number: u8| MachineId::from_random([number; 16]);
        let record = |number: u8, name: Option<&str>, claimed: Option<&str>| MachineRecord {
            id: id(number),
            macs: vec![mac(number)],
            name: name.map(str::to_owned),
            claimed: claimed.map(str::to_owned),
            first_seen: u64::from(number),
        };
        let [first, second] = [1, 2].map(|number| record(number, None, Some("node-7")));
        let plain = record(2, None, None);
        let site = record(3, Some("node-7"), None);
        let may = |own: u8, known: &[MachineRecord]| may_claim("node-7", Some(id(own)), known);
        assert!(may_claim("node-7", None, std::slice::from_ref(&plain)));
        assert!(
            !may_claim("node-7", None, std::slice::from_ref(&first)),
            "a machine without a record is later than any"
        );
        assert!(may(1, &[first.clone(), plain.clone()]) && !may(2, &[first.clone(), plain]));
        // Two servers gave it at once.
        assert!(may(1, &[first.clone(), second.clone()]) && !may(2, &[second, first.clone()]));
        assert!(!may(1, &[first, site]));
    }

    #[test]
    fn two_nics_of_one_machine_share_its_record() {
        let both = [mac(1), mac(2)];
        let (first, _) = recognise(mac(1), Some(("alpha", &both)), [], MachineId::from_random([1; 16]), 7);
        let (again, changed) =
            recognise(mac(2), Some(("alpha", &both)), [&first], MachineId::from_random([2; 16]), 8);
        assert_eq!((again.id, changed), (first.id, false));
    }

    #[test]
    fn an_unknown_machine_that_gets_a_name_keeps_its_id() {
        let (seen, _) = recognise(mac(1), None, [], MachineId::from_random([1; 16]), 7);
        let (named, _) =
            recognise(mac(1), Some(("alpha", &[mac(1)])), [&seen], MachineId::from_random([2; 16]), 8);
        assert_eq!((named.id, named.first_seen), (seen.id, 7));
    }
}
