//! What helps where init says what it could not do: one table for the log, `oneroot status`, `oneroot boots` and
//! docs/troubleshooting.md, which has a row for each.
//!
//! The machine's sentence says what it saw. What is to be changed is changed here, at the server or in its site, so it is said
//! here.

use oneroot_initrd::report::Phase;

use crate::index::timelines::{HOOKS, MOUNTS, SECRETS, SPACE};

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub struct Remedy {
    /// What init was busy with.
    pub phase: Phase,
    /// Words of its sentence, in small letters; none for any other of that phase.
    pub words: &'static [&'static str],
    /// What helps.
    pub helps: &'static str,
}

/// The first row that fits counts.
pub const TABLE: &[Remedy] = &[
    Remedy {
        phase: Phase::Settings,
        words: &[],
        helps: "the initrd is not whole or another server's: boot it again, and look at what lies between it and this server",
    },
    Remedy {
        phase: Phase::Drivers,
        words: &["firmware"],
        helps: "put the firmware's package into the tree and stage it: firmware-realtek for rtl_nic, firmware-bnx2 and \
                firmware-bnx2x for bnx2, firmware-qlogic for qed, firmware-misc-nonfree for most others",
    },
    Remedy {
        phase: Phase::Drivers,
        words: &["no driver"],
        helps: "say `drivers = \"all\"` in the profile; where that changes nothing, the tree's modprobe.d blacklists it, or this kernel has no such driver: take a newer one",
    },
    Remedy {
        phase: Phase::Drivers,
        words: &["no nic"],
        helps: "is the NIC that booted still there, and not passed to something else? `drivers = \"all\"` in the profile loads \
                those of USB and other buses too",
    },
    Remedy {
        phase: Phase::Drivers,
        words: &[],
        helps: "the kernel's last words say which module it was: look whether it fits this kernel, and say \
                `drivers = \"all\"` in the profile if another driver is to try",
    },
    Remedy {
        phase: Phase::Carrier,
        words: &[],
        helps: "look at the cable and at the switch port: is it up, and does spanning tree keep it silent (portfast)?",
    },
    Remedy {
        phase: Phase::Address,
        words: &["vlan"],
        helps: "is the switch port a member of that VLAN, and tagged?",
    },
    Remedy {
        phase: Phase::Address,
        words: &[],
        helps: "somebody else may have its address: `oneroot status` names other DHCP servers that were seen",
    },
    Remedy {
        phase: Phase::Root,
        words: &["refused:"],
        helps: "the server's log says whose the address is; another DHCP server that gives addresses there is the usual cause",
    },
    Remedy {
        phase: Phase::Root,
        words: &["the boot is over"],
        helps: "a later boot or `oneroot release` ended this one: start the machine again",
    },
    Remedy {
        phase: Phase::Root,
        words: &["no nfs", "not know nfs"],
        helps: "this kernel has no NFS client: take one that has (`oneroot check` names it)",
    },
    Remedy {
        phase: Phase::Root,
        words: &[],
        helps: "is the server up? A firewall may keep TCP port 2049 from it, here or on the way",
    },
    Remedy {
        phase: Phase::Overlay,
        words: &["memory", "enomem"],
        helps: "the machine has too little memory for its writable layer: make `overlay` in the profile smaller, or `zram`",
    },
    Remedy {
        phase: Phase::Overlay,
        words: &[],
        helps: "this kernel has no overlay file system: take one that has (`oneroot check` names it)",
    },
    Remedy {
        phase: Phase::Files,
        words: &[],
        helps: "the machine has too little memory for its writable layer, or a layer has something else where this file goes",
    },
    Remedy {
        phase: Phase::HandOver,
        words: &[],
        helps: "the tree has no /sbin/init, or none for this machine's processor: `oneroot ls MACHINE /sbin/init`",
    },
];

/// What helps where something could not be mounted beside the root: the machine itself runs, and knows more.
const MOUNT: &str = "look there at `journalctl -b -u '*.mount'`, whether the file server gives it to this machine, and whether the \
                     tree has what mounts it (mount.nfs is in nfs-common, or nfs-utils)";

/// What a machine has by `lasts` that no server has.
pub const MEMORY: &str = "memory of its own";
/// What helps where it can't be had.
const NO_MEMORY: &str = "its console says why: the size in `lasts` may be too small for what the tree has there, the machine's memory too small for \
                         both, or that place a link or a file in the tree";

/// And where its writable layer fills up.
const FULL: &str = "look there at `du -xh / | sort -h | tail` for what it is (logs and caches are the usual ones: `log` in the profile sends logs away, \
                    `mounts` and `lasts` give caches a place of their own), and say `overlay` in the profile for another size or `zram`";

/// What is said of a hook that examines its machine begins so.
pub const EXAMINE: &str = "examine.d/";
/// What helps where one failed.
const NO_FACTS: &str = "it prints one JSON object such as {\"rack\": \"b7\", \"gpu\": 2}, of texts, whole numbers, true and false, in 60 s; its console \
                        has what it said on stderr";

/// And where another hook failed.
const HOOK: &str = "its console has what it said; it gets what is in /.oneroot/facts, and 60 s";

/// And where a secret could not be had.
const SECRET: &str = "`oneroot secret list MACHINE` says whether there is one: one of kind \"set\" is made by `oneroot secret set MACHINE NAME <FILE`; \
                      the server's log says where it was refused";

/// What helps against a failure.
pub fn of(phase: &str, told: &str) -> Option<&'static str> {
    match phase {
        MOUNTS if told.contains(MEMORY) => return Some(NO_MEMORY),
        MOUNTS => return Some(MOUNT),
        SPACE => return Some(FULL),
        HOOKS if told.contains(EXAMINE) => return Some(NO_FACTS),
        HOOKS => return Some(HOOK),
        SECRETS => return Some(SECRET),
        _ => {}
    }
    let (phase, told) = (phase.parse::<Phase>().ok()?, told.to_lowercase());
    let fits = |row: &&Remedy| {
        row.phase == phase && (row.words.is_empty() || row.words.iter().any(|words| told.contains(words)))
    };
    TABLE.iter().find(fits).map(|row| row.helps)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/troubleshooting.md");

    #[test]
    fn every_failure_has_something_that_helps_and_the_usual_ones_their_own() {
        for phase in Phase::ALL {
            assert!(of(phase.as_str(), "a sentence of nobody's").is_some(), "{phase}");
        }
        let all = |told| of("drivers", told).unwrap();
        assert!(all("no driver for 8086:15f3 in 6.1.0-56").contains("drivers = \"all\""));
        assert!(all("module igc: Firmware intel/x.bin missing").contains("firmware-misc-nonfree"));
        assert!(
            of("root", "192.168.77.1:2049 refused: this address is not alpha's").unwrap().contains("log")
        );
        let silent =
            of("root", "192.168.77.1:2049 does not answer: ECONNREFUSED, nothing listens there").unwrap();
        assert!(silent.contains("firewall may"), "{silent}");
        assert_eq!(of("no phase", "x"), None);
    }

    #[test]
    fn the_troubleshooting_page_has_a_row_for_each_in_its_order() {
        let text = PAGE.split("\n## When init says why").nth(1).unwrap().split_whitespace();
        let mut text = text.collect::<Vec<_>>().join(" ");
        for row in TABLE {
            let helps = row.helps.split_whitespace().collect::<Vec<_>>().join(" ");
            let wanted = format!("| {helps} |");
            let at = text.find(&wanted).unwrap_or_else(|| panic!("no row for {helps:?}"));
            text = text.split_off(at);
        }
    }
}
