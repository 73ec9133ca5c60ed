//! The words of the central mapping: who is what, and what each machine boots.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use oneroot_bootconf::gives::Boots;
use oneroot_ids::Mac;

use crate::cli::Output;

/// What to do with the mapping.
#[derive(Subcommand)]
pub enum MappingCommand {
    /// Take away what was assigned to machines: all of it, or parts
    Unassign(Unassign),
    /// List machines: what they boot, and who says so
    #[command(after_help = "Examples:\n\
\x20 oneroot machines --unknown                         who has come and has no name\n\
\x20 oneroot machines --group seats --behind            who has to boot again\n\
\x20 oneroot machines show node7                        all that is known of one\n\
\x20 oneroot machines export >machines.d/$(date +%F).toml   what was adopted and assigned, as a file of the site")]
    Machines(Machines),
    /// Give a machine that nobody has named its name
    #[command(after_help = "Examples:\n\
\x20 oneroot adopt 52:54:00:00:00:0b --name node8 --profile desktop\n\
\x20 oneroot adopt --next 'seat-{01..40}' --profile desktop     in the order in which they are switched on\n\
\x20 oneroot adopt --from machines.csv                          mac,name,profile,workloads")]
    Adopt(Adopt),
    /// Give an adopted machine another name
    Rename {
        /// Its name, or one of its MAC addresses
        machine: String,
        /// The new name
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Say that a machine has another NIC, or is another box: it keeps its name and all that it had
    Replace {
        /// Its name, or its old MAC address
        machine: String,
        /// Its MAC address from now on; may be said again
        #[arg(long = "mac", value_name = "MAC", required = true)]
        macs: Vec<Mac>,
        #[command(flatten)]
        output: Output,
    },
    /// Keep nothing of a machine but what the site's files say
    Forget {
        /// Its name, or one of its MAC addresses
        machine: String,
        /// Only what its programs in examine.d have found out; all else stays
        #[arg(long)]
        examined: bool,
        #[command(flatten)]
        output: Output,
    },
}

/// What a machine is assigned.
#[derive(Args, Clone, Default)]
pub struct Given {
    /// The profile that it boots
    #[arg(long)]
    pub profile: Option<String>,
    /// What it boots that is no profile: its own disk, or nothing
    #[arg(long, value_name = "local|hold", conflicts_with = "profile", value_parser = no_profile)]
    pub boot: Option<Boots>,
    /// The menu in which somebody chooses what it boots
    #[arg(long, conflicts_with_all = ["profile", "boot"])]
    pub menu: Option<String>,
    /// A workload that it gets, besides those it has; may be said again
    #[arg(long = "workload", value_name = "WORKLOAD")]
    pub workloads: Vec<String>,
    /// A variable for its templates; may be said again
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    pub vars: Vec<(String, String)>,
    /// A kernel argument; may be said again
    #[arg(long = "arg", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub args: Vec<String>,
}

/// `oneroot assign`.
#[derive(Args)]
pub struct Assign {
    /// Their names, rows of names such as 'seat-{01..40}', or MAC addresses
    #[arg(value_name = "MACHINE", required = true)]
    pub machines: Vec<String>,
    #[command(flatten)]
    pub given: Given,
    /// A generation of a profile that it boots though it is not the head: debian~1, or its first characters
    #[arg(long, value_name = "GENERATION")]
    pub generation: Option<String>,
    /// For how long: 90m, 12h, 2d
    #[arg(long, value_name = "TIME", value_parser = lasts)]
    pub until: Option<Duration>,
    /// For one boot: it ends when that boot has mounted its root
    #[arg(long)]
    pub once: bool,
    #[command(flatten)]
    pub output: Output,
}

/// `oneroot unassign`.
#[derive(Args)]
pub struct Unassign {
    /// Their names, rows of names such as 'seat-{01..40}', or MAC addresses
    #[arg(value_name = "MACHINE", required = true)]
    pub machines: Vec<String>,
    /// Only what it boots, a profile or not
    #[arg(long, visible_aliases = ["boot", "menu"])]
    pub profile: bool,
    /// Only this workload; may be said again
    #[arg(long = "workload", value_name = "WORKLOAD")]
    pub workloads: Vec<String>,
    /// Only the variable of this name; may be said again
    #[arg(long = "var", value_name = "NAME")]
    pub vars: Vec<String>,
    /// Only this kernel argument; may be said again
    #[arg(long = "arg", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub args: Vec<String>,
    /// Only the generations that it boots though they are not the head
    #[arg(long)]
    pub generation: bool,
    #[command(flatten)]
    pub output: Output,
}

/// `oneroot adopt`.
#[derive(Args)]
pub struct Adopt {
    /// A MAC address of the machine, as `oneroot machines --unknown` lists it
    #[arg(required_unless_present_any = ["next", "stop", "from"], conflicts_with_all = ["next", "stop", "from"], requires = "name")]
    pub mac: Option<Mac>,
    /// Its name
    #[arg(long)]
    pub name: Option<String>,
    /// Adopt machines that nobody has named as they are switched on, by names such as 'seat-{01..40}'
    #[arg(long, value_name = "NAMES", conflicts_with_all = ["name", "stop", "from"])]
    pub next: Option<String>,
    /// End that
    #[arg(long, conflicts_with_all = ["name", "from"])]
    pub stop: bool,
    /// Adopt all that a CSV file lists: a heading with `mac` and `name`, and with `profile`, `workloads`, `args` if need be
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub given: Given,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: Output,
}

/// `oneroot machines`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Machines {
    #[command(subcommand)]
    pub what: Option<MachinesCommand>,
    /// Only those of this profile
    #[arg(long)]
    pub profile: Option<String>,
    /// Only those in this group
    #[arg(long)]
    pub group: Option<String>,
    /// Only those in this phase: booting, running, up
    #[arg(long)]
    pub phase: Option<String>,
    /// Only those that would boot something else now than they did
    #[arg(long)]
    pub behind: bool,
    /// Those that nobody has named, with all that they told
    #[arg(long, conflicts_with_all = ["profile", "group", "phase", "behind"])]
    pub unknown: bool,
    #[command(flatten)]
    pub output: Output,
}

/// What else there is to know of machines.
#[derive(Subcommand)]
pub enum MachinesCommand {
    /// Show all that is known of one
    Show {
        /// Its name, or one of its MAC addresses
        machine: String,
        #[command(flatten)]
        output: Output,
    },
    /// Print what was adopted and assigned as a file for machines.d, to be kept with the site
    Export,
    /// Print names and addresses as lines of a hosts file, for the site's resolver
    Hosts,
}

impl Given {
    /// What it says is booted.
    pub fn boots(&self) -> Option<Boots> {
        let profile = self.profile.clone().map(Boots::Profile);
        profile.or_else(|| self.menu.clone().map(Boots::Menu)).or_else(|| self.boot.clone())
    }
}

fn no_profile(text: &str) -> Result<Boots, &'static str> {
    match text {
        "local" => Ok(Boots::Local),
        "hold" => Ok(Boots::Hold),
        _ => Err("it is local or hold"),
    }
}

/// For how long something is to be.
pub fn lasts(text: &str) -> Result<Duration, String> {
    const LONGEST: u64 = 10 * 366 * 86_400;
    let lasts = humantime::parse_duration(text).map_err(|cause| format!("{cause}; say 90m, 12h or 2d"))?;
    match lasts.as_secs() {
        0 => Err("is no time at all".to_owned()),
        1..=LONGEST => Ok(lasts),
        _ => Err("is more than ten years; leave it out for as long as nobody says otherwise".to_owned()),
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a variable is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
