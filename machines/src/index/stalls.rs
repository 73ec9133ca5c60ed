//! Boots that don't go on. Which step was the last, how long that may take, and what usually holds a machine up there: one
//! table for the log, `oneroot status` and docs/troubleshooting.md, which has a section for each row.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A boot script that only said why there is nothing to boot.
pub const REFUSED: &str = "refused";

/// Kernel and initrds of a profile whose root does not come from here were fetched: nothing more is to come.
pub const LOADED: &str = "loaded";
/// It was told to go on to its own disk.
pub const LOCAL: &str = "local";
/// It shows a menu.
pub const MENU: &str = "menu";
/// It waits for somebody to name it.
pub const HELD: &str = "held";

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The last step, as [`crate::index::steps::BootStep::step`] has it. One that ends in `*` stands for all that begin so, and `*` alone
    /// for every other word of a machine's own.
    pub step: &'static str,
    /// Seconds after which a boot without a further step counts as stalled.
    pub seconds: u64,
    /// What the machine has done.
    pub did: &'static str,
    /// What usually holds it up there, the most frequent first.
    pub causes: &'static [&'static str],
}

/// In the order of a boot. A boot that is `up`, or can't tell, is over; one that was refused was told why; and what has no root of
/// ours, boots its own disk, shows a menu or waits to be named is not waited for.
pub const TABLE: &[Row] = &[
    Row {
        step: "offer",
        seconds: 60,
        did: "was told what to boot, beside another DHCP server",
        causes: &[
            "the other DHCP server names a boot file of its own",
            "the other DHCP server has given it no address",
            "a firewall keeps UDP port 4011 or 69 from it",
        ],
    },
    Row {
        step: "address",
        seconds: 60,
        did: "has its address",
        causes: &[
            "a firewall keeps UDP port 69 or TCP port 80 from it",
            "its firmware does not take the loader (Secure Boot, another architecture)",
            "it took the answer of another DHCP server too",
        ],
    },
    Row {
        step: "loader",
        seconds: 60,
        did: "fetched iPXE",
        causes: &[
            "Secure Boot does not let iPXE run",
            "iPXE has no driver for this NIC",
            "the switch port is not forwarding yet (spanning tree without portfast)",
        ],
    },
    Row {
        step: "script",
        seconds: 60,
        did: "fetched its boot script",
        causes: &[
            "this iPXE is built without HTTP",
            "a firewall or proxy cuts off HTTP",
            "the machine was switched off or restarted",
        ],
    },
    Row {
        step: "kernel",
        seconds: 120,
        did: "fetched its kernel",
        causes: &[
            "without an initrd: the kernel has no driver for this NIC or no NFS root of its own",
            "the download is slow or was cut off",
            "the machine has too little memory",
        ],
    },
    Row {
        step: "initrd",
        seconds: 120,
        did: "fetched its initrd",
        causes: &[
            "the initrd has no driver for this NIC",
            "the kernel panicked before it had a network; the machine's console says so",
            "the download is slow or was cut off",
        ],
    },
    Row {
        step: "initramfs",
        seconds: 60,
        did: "asked for an address from its initramfs",
        causes: &[
            "the initrd can't mount NFS (nfs-common or the nfs module is missing in it)",
            "a firewall keeps TCP port 111 or 2049 from it",
            "the site's own kernel arguments name another root or NIC",
        ],
    },
    Row {
        step: "settings",
        seconds: 120,
        did: "runs oneroot's init in its initrd",
        causes: &[
            "the machine was switched off or restarted",
            "a driver holds its module loading up: the console's last lines name it",
        ],
    },
    Row {
        step: "drivers",
        seconds: 120,
        did: "has a driver for its NIC",
        causes: &[
            "its reports of a missing carrier reach nobody: is the link up?",
            "the machine was switched off or restarted",
        ],
    },
    Row {
        step: "carrier",
        seconds: 120,
        did: "has a carrier",
        causes: &[
            "the switch port is not forwarding yet (spanning tree without portfast)",
            "a firewall keeps TCP port 80 from it, so that it can't say what it waits for",
        ],
    },
    Row {
        step: "network",
        seconds: 120,
        did: "took its address in its initrd",
        causes: &[
            "a firewall keeps TCP port 2049 and 80 from it",
            "the machine was switched off or restarted",
        ],
    },
    Row {
        step: "root",
        seconds: 60,
        did: "mounted its root",
        causes: &[
            "the tree has no /bin/sh, mount or chroot",
            "the site's own kernel arguments name another init",
            "the kernel and the initrd are of different versions",
        ],
    },
    Row {
        step: "init",
        seconds: 60,
        did: "runs oneroot's init",
        causes: &[
            "the kernel has no overlay module",
            "the machine has too little memory for its writable layer",
        ],
    },
    Row {
        step: "layer",
        seconds: 60,
        did: "has its writable layer",
        causes: &[
            "the machine has too little memory for its writable layer",
            "the machine was switched off or restarted",
        ],
    },
    Row {
        step: "files",
        seconds: 60,
        did: "has its files in place",
        causes: &[
            "the machine has too little memory for its writable layer",
            "the machine was switched off or restarted",
        ],
    },
    Row {
        step: "failed-*",
        seconds: 0,
        did: "says that its init failed",
        causes: &[
            "failed-overlay: the kernel has no overlay module",
            "failed-tmpfs, failed-root, failed-pivot: too little memory, or a tree without mount",
            "failed-init: the tree has no init, or one that does not run on this processor",
        ],
    },
    Row {
        step: "*",
        seconds: 600,
        did: "handed over to the tree's own init",
        causes: &[
            "a unit of the tree waits for something (a disk in fstab, a network that never comes)",
            "the tree has no init",
            "the tree's network manager took down the NIC that carries the root",
        ],
    },
];

/// Steps after which there is nothing to wait for.
const ENDS: [&str; 7] = ["up", "up-unknown", REFUSED, LOADED, LOCAL, MENU, HELD];
/// Answers to a request for a boot script that begin no boot: the next answer takes their place.
const WITHOUT_BOOT: [&str; 4] = [REFUSED, LOCAL, MENU, HELD];

/// A boot that does not go on, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stalled {
    /// The last step.
    pub step: String,
    /// Seconds since then.
    pub seconds: u64,
    /// What the machine has done, in words.
    pub did: String,
    /// What usually holds it up there.
    pub causes: Vec<String>,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, seconds, did, causes } = self;
        write!(f, "{did} ({step}) and did nothing more for {seconds} s; usual causes: {}", causes.join("; "))
    }
}

impl Row {
    fn is_for(&self, step: &str) -> bool {
        match self.step.strip_suffix('*') {
            Some(begin) => step.starts_with(begin),
            None => self.step == step,
        }
    }
}

/// Whether a boot whose last step was this one, so many seconds ago, has stalled. `is_over` when it had come up before that.
pub fn stalled(last: &str, is_over: bool, seconds: u64) -> Option<Stalled> {
    if is_over || ENDS.contains(&last) {
        return None;
    }
    let row = TABLE.iter().find(|row| row.is_for(last)).filter(|row| seconds >= row.seconds)?;
    Some(Stalled {
        step: last.to_owned(),
        seconds,
        did: row.did.to_owned(),
        causes: row.causes.iter().map(ToString::to_string).collect(),
    })
}

/// Whether a step ends a boot, whatever words come after it.
pub fn ends(step: &str) -> bool {
    ENDS.contains(&step)
}

/// Whether a step is an answer to a request for a boot script that begins no boot.
pub fn is_without_boot(step: &str) -> bool {
    WITHOUT_BOOT.contains(&step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/troubleshooting.md");

    #[test]
    fn a_boot_has_stalled_from_the_stated_time_on_and_not_a_second_earlier() {
        for row in TABLE {
            let step = row.step.replace('*', "word");
            let told = stalled(&step, false, row.seconds).unwrap();
            assert_eq!((told.step.as_str(), told.did.as_str()), (step.as_str(), row.did));
            assert!(!told.causes.is_empty());
            assert_eq!(row.seconds.checked_sub(1).and_then(|early| stalled(&step, false, early)), None);
            assert_eq!(stalled(&step, true, u64::MAX), None, "it came up before that");
        }
        for end in ENDS {
            assert_eq!(stalled(end, false, u64::MAX), None);
        }
    }

    /// What oneroot's two inits say of their failures.
    const INITS: [&str; 3] = [
        include_str!("../guest/init"),
        include_str!("../../../init/src/overlay.rs"),
        include_str!("../../../init/src/hand_over.rs"),
    ];

    #[test]
    fn every_word_that_an_init_says_of_its_failure_has_its_cause() {
        let causes = TABLE.iter().find(|row| row.step == "failed-*").unwrap().causes.join(" ");
        let mut words: Vec<&str> = INITS
            .iter()
            .flat_map(|text| text.split('"'))
            .filter(|word| word.starts_with("failed-"))
            .collect();
        // The script says `fail WORD` for each.
        let script =
            INITS[0].lines().filter_map(|line| line.split_once("|| fail ")?.1.split_whitespace().next());
        let script: Vec<String> = script.map(|word| format!("failed-{word}")).collect();
        words.extend(script.iter().map(String::as_str));
        words.retain(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        assert!(words.contains(&"failed-init") && words.contains(&"failed-tmpfs"), "{words:?}");
        for word in words {
            assert!(causes.contains(word), "{word}: {causes}");
        }
    }

    #[test]
    fn the_troubleshooting_page_has_the_section_the_time_and_the_causes_of_each_row_in_its_order() {
        let sections: Vec<&str> = PAGE.split("\n## After ").skip(1).collect();
        let heads: Vec<&str> = sections.iter().filter_map(|text| text.lines().next()).collect();
        let wanted: Vec<String> = TABLE.iter().map(|row| format!("`{}`", row.step)).collect();
        assert_eq!(heads, wanted);
        for (row, text) in TABLE.iter().zip(sections) {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let began = format!("The machine {}, and nothing more for {} s.", row.did, row.seconds);
            assert!(text.contains(&began), "{}: no {began:?} in {text}", row.step);
            for cause in row.causes {
                assert!(text.contains(&format!("| {cause} |")), "{}: no row for {cause:?}", row.step);
            }
        }
    }
}
