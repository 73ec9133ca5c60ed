//! What another site would change for whom, before it is in force: the decisions of both are compared, nothing is looked up in
//! the store.

use std::collections::BTreeSet;

use oneroot_bootconf::Site;
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decided;
use oneroot_bootconf::decision::{Decision, NoPlan, decide};
use oneroot_bootconf::differences::{chosen_otherwise, lists};
use serde::{Deserialize, Serialize};

use crate::machines::Machines;

/// What changes for one machine, from its next boot on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineChange {
    /// Its name; whoever has none is `unknown machines`, and of each network where they differ.
    pub machine: String,
    /// What changes, in words.
    pub what: Vec<String>,
}

impl Machines {
    /// What would change for whom, were a site with these files put in force. In the order of the names.
    pub fn changes_with(&self, files: &Site) -> Vec<MachineChange> {
        let (old, new) = (self.site(), self.laid_over(files));
        let now = self.host.now();
        let (was, is) = (Catalogue::of(&old).at(now), Catalogue::of(&new).at(now));
        let names: BTreeSet<&String> = old.machines.keys().chain(new.machines.keys()).collect();
        let named = names.into_iter().filter_map(|name| {
            let what = match (old.machines.get(name), new.machines.get(name)) {
                (None, _) => vec!["is new".to_owned()],
                (_, None) => vec!["is no machine of the site any more".to_owned()],
                (Some(before), Some(after)) => {
                    let asked = |machine: &oneroot_bootconf::Machine| {
                        machine.macs.first().map(|mac| Asked::by(*mac).telling(self.claims(*mac, None)))
                    };
                    let mut what = differences(
                        asked(before).map(|asked| decide(&was, &asked)),
                        asked(after).map(|asked| decide(&is, &asked)),
                    );
                    if before.macs != after.macs {
                        what.push("has other NICs".to_owned());
                    }
                    if before.addresses != after.addresses {
                        what.push("has another address".to_owned());
                    }
                    what
                }
            };
            Some(MachineChange { machine: name.clone(), what }).filter(|change| !change.what.is_empty())
        });
        named.chain(unknown(&was, &is)).collect()
    }
}

/// What changes for machines that nobody has named: in each network of the new site where it differs.
fn unknown(was: &Catalogue<'_>, is: &Catalogue<'_>) -> Vec<MachineChange> {
    let asked = is.everybody().filter(|(name, _)| name.is_none()).map(|(_, asked)| asked);
    let changes = asked.filter_map(|asked| {
        let what = differences(Some(decide(was, &asked)), Some(decide(is, &asked)));
        let place = asked.address.map_or(String::new(), |address| format!(" at {address}"));
        Some(MachineChange { machine: format!("unknown machines{place}"), what })
            .filter(|change| !change.what.is_empty())
    });
    changes.collect()
}

type Decided = Option<Result<decided::Decided, NoPlan>>;

fn differences(before: Decided, after: Decided) -> Vec<String> {
    let (before, after) = match (before, after) {
        (Some(Ok(decided::Decided::Profile(before))), Some(Ok(decided::Decided::Profile(after)))) => {
            (before, after)
        }
        (before, after) => {
            let (before, after) = (in_words(before), in_words(after));
            return if before == after { Vec::new() } else { vec![format!("{after}, not {before}")] };
        }
    };
    let mut what = chosen_otherwise((&before.profile, &before.workloads), &after);
    let unsaid = |_: &str| String::new();
    what.extend(lists("arguments", (&before.args, &after.args), unsaid));
    let vars = |decision: &Decision| -> Vec<String> {
        decision.vars.iter().map(|(name, value)| format!("{name}={value}")).collect()
    };
    what.extend(lists("variables", (&vars(&before), &vars(&after)), unsaid));
    if before.parts != after.parts && before.profile == after.profile && before.workloads == after.workloads {
        what.push("other layers".to_owned());
    }
    let loaded = |decision: &Decision| {
        (decision.kernel.clone(), decision.initrds.clone(), decision.root, decision.initramfs)
    };
    if loaded(&before) != loaded(&after) {
        what.push("another kernel or initrd".to_owned());
    }
    what
}

/// What is booted, in words.
fn in_words(decided: Decided) -> String {
    match decided {
        None => "no NIC".to_owned(),
        Some(Ok(decided::Decided::Profile(decision))) => format!("profile {}", decision.profile),
        Some(Ok(decided::Decided::Other(other))) => other.way.shown(),
        Some(Err(cause)) => format!("nothing ({cause})"),
    }
}
