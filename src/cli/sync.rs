//! What can be asked of `oneroot sync` and `oneroot pull`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use oneroot_machines::sync::What;

use super::Output;
use crate::remote::Address;
use crate::tls::Fingerprint;

/// A server, and how to ask it.
#[derive(Args, Clone)]
pub struct From {
    /// The server: http://SERVER, http://SERVER:8080 or https://SERVER
    #[arg(long, value_name = "URL")]
    pub from: Option<Address>,
    /// Know the server of an https:// URL by its certificate's SHA-256, as `oneroot status` on it shows it, and by nothing else
    #[arg(long, value_name = "SHA256")]
    pub fingerprint: Option<Fingerprint>,
    /// A file with a token in it [default: the environment's ONEROOT_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A token does not belong here: everybody on this host can read a command line
    #[arg(long, hide = true, value_parser = no_token)]
    token: Option<String>,
}

fn no_token(_: &str) -> Result<String, String> {
    Err("everybody on this host can read a command line: put the token into the environment as ONEROOT_TOKEN, or into a file for --token-file".to_owned())
}

/// What to make equal to what, and how.
#[derive(Args, Clone)]
pub struct SyncAsked {
    /// A profile, PROFILE~1, PROFILE@GENERATION, a machine's name, or @self: what this machine would boot
    #[arg(required_unless_present = "rollback")]
    pub what: Option<What>,
    /// The directory; it becomes exactly that tree, and what else is in it goes
    #[arg(required_unless_present = "rollback")]
    pub directory: Option<PathBuf>,
    #[command(flatten)]
    pub server: From,
    /// Take contents from this store, too
    #[arg(long, value_name = "DIRECTORY")]
    pub store: Option<PathBuf>,
    /// Make a whole tree beside it, which takes its name in one step
    #[arg(long)]
    pub atomic: bool,
    /// With --atomic, trees before this one that are kept, as DIRECTORY.1 and so on
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(..=100))]
    pub keep: u16,
    /// Go back to the tree before, which --atomic has kept; no server is asked
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["what", "from", "atomic"])]
    pub rollback: Option<PathBuf>,
    /// A path as it is in the tree (/etc/fstab, /home), and all below it: left as it is, there or not; also several times
    #[arg(long = "keep-path", alias = "exclude", value_name = "PATH")]
    pub kept: Vec<KeptPath>,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Also where the directory was never synced and has files that would go
    #[arg(long)]
    pub force: bool,
    /// Leave out what only root may set: other owners, devices, capabilities
    #[arg(long)]
    pub unprivileged: bool,
    /// Take no more than so many bytes a second, 16K or more: 500K, 10M
    #[arg(long, value_name = "RATE")]
    pub limit: Option<Rate>,
    /// Give way to all other work on this host
    #[arg(long)]
    pub nice: bool,
    /// Go on, and look for another tree so many seconds after the last time [default: 60]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60", conflicts_with_all = ["dry_run", "rollback"], value_parser = clap::value_parser!(u32).range(1..))]
    pub watch: Option<u32>,
    /// A program that is run before anything changes; if it fails, nothing does
    #[arg(long, value_name = "PROGRAM")]
    pub before: Option<PathBuf>,
    /// A program that is run when something has changed
    #[arg(long, value_name = "PROGRAM")]
    pub after: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

/// What to bring into this server's store.
#[derive(Args, Clone)]
pub struct PullAsked {
    /// A profile of the other server, PROFILE~1, or PROFILE@GENERATION
    pub what: What,
    #[command(flatten)]
    pub server: From,
    /// Which profile of this site it is a generation of [default: the one of the same name]
    #[arg(long = "as", value_name = "PROFILE")]
    pub profile: Option<String>,
    /// Give nobody what has come but machines that are assigned its generation, until a later one comes without this
    #[arg(long)]
    pub hold: bool,
    /// Take no more than so many bytes a second, 16K or more: 500K, 10M
    #[arg(long, value_name = "RATE")]
    pub limit: Option<Rate>,
    #[command(flatten)]
    pub output: Output,
}

/// A path below the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPath(pub Vec<u8>);

impl FromStr for KeptPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<&str> = text.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        if names.is_empty() || names.contains(&"..") {
            return Err(format!("{text:?} is no path below the directory"));
        }
        if text.contains('*') {
            return Err(format!("{text:?} is a pattern; say each path, or the directory that they are in"));
        }
        Ok(Self(names.join("/").into_bytes()))
    }
}

/// Bytes a second at least: one that takes less lets a server's socket stay full for longer than it waits for anybody.
const LEAST_RATE: u64 = 16 << 10;

/// Bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub u64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = |ending: char| {
            text.strip_suffix(ending).or_else(|| text.strip_suffix(ending.to_ascii_lowercase()))
        };
        let (digits, times) = [('K', 1 << 10), ('M', 1 << 20), ('G', 1 << 30)]
            .into_iter()
            .find_map(|(ending, times)| Some((unit(ending)?, times)))
            .unwrap_or((text, 1));
        let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(times));
        let rate = number.filter(|rate| *rate >= LEAST_RATE).map(Self);
        rate.ok_or_else(|| {
            format!("{text:?} is no rate: say bytes a second, 16K or more, with K, M or G behind the number, such as 500K or 10M")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units_and_paths_stay_below() {
        assert_eq!("500K".parse(), Ok(Rate(512_000)));
        assert_eq!(
            ("10m".parse().map_err(drop), "7".parse::<Rate>().map_err(drop)),
            (Ok(Rate(10 << 20)), Err(()))
        );
        for text in ["", "0", "16383", "15K", "-1", "M", "1T", "500KB", "10M/s", "99999999999G"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert_eq!("/etc//fstab".parse(), Ok(KeptPath(b"etc/fstab".to_vec())));
        assert!("/".parse::<KeptPath>().is_err() && "a/../b".parse::<KeptPath>().is_err());
    }
}
