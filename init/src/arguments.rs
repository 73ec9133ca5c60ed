//! The kernel's command line: what it says over the settings, and how much is said on the console.

use oneroot_initrd::modules::conf::words;
use oneroot_initrd::settings::{Size, size};

/// What of it is init's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `oneroot.boot=`: this boot, as the boot script has it.
    pub boot: Option<String>,
    /// `oneroot.init=`: another real init.
    pub init: Option<String>,
    /// `oneroot.tmpfs=`: another size of what takes what is written.
    pub tmpfs: Option<Size>,
    /// `oneroot.shell`: a shell of the tree's where something fails.
    pub shell: bool,
    /// Somebody wants to see what the kernel says.
    pub talkative: bool,
}

impl Arguments {
    /// Out of the command line. Of a word that is said twice, the last counts, as it does for the kernel; one that can't be
    /// read says nothing.
    #[must_use]
    pub fn of(line: &str) -> Self {
        let mut arguments = Self::default();
        for word in words(line) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "oneroot.boot" => arguments.boot = Some(value.to_owned()),
                "oneroot.init" if value.starts_with('/') => arguments.init = Some(value.to_owned()),
                "oneroot.tmpfs" => arguments.tmpfs = size(value).or(arguments.tmpfs),
                "oneroot.shell" => arguments.shell = value != "0",
                "debug" | "ignore_loglevel" | "loglevel" => arguments.talkative = true,
                _ => {}
            }
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_a_quoted_one_is_one() {
        let line = "BOOTIF=01-52-54-00-00-00-0a oneroot.boot=02 oneroot.init=/sbin/one oneroot.init=/sbin/other \
                    x=\"a oneroot.shell b\" oneroot.tmpfs=1g oneroot.tmpfs=rubbish oneroot.init=relative quiet\n";
        let arguments = Arguments::of(line);
        let wanted = Arguments {
            boot: Some("02".to_owned()),
            init: Some("/sbin/other".to_owned()),
            tmpfs: Some(Size::Mib(1024)),
            ..Arguments::default()
        };
        assert_eq!(arguments, wanted);
        let asks = Arguments::of("oneroot.shell loglevel=7");
        assert!(asks.shell && asks.talkative && !Arguments::of("oneroot.shell oneroot.shell=0").shell);
    }
}
