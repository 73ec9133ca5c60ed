//! The command line: what can be asked, and what the exit codes say.

pub mod mapping;
pub mod secret;
pub mod sync;
pub mod token;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use oneroot_bootconf::hardware::{Claims, Fact, Key, Value};

/// Where a packaged oneroot looks for its site.
const SYSTEM_SITE: &str = "/etc/oneroot/site.toml";

/// What somebody types on the first day.
const FIRST: &str = "\
Examples:
  oneroot init >site.toml          a commented site to fill in
  oneroot check                    what is wrong with it, and what is missing around it
  oneroot stage                    read its sources; machines get them at their next boot
  oneroot serve                    as root, or `systemctl start oneroot`
  oneroot status                   how far each machine is
  oneroot explain alpha            what alpha would boot, and why
  oneroot rollback debian          the tree before, for new boots
`oneroot COMMAND --help` has more, `oneroot man | man -l -` the whole page.";

/// One root tree, many machines: DHCP, TFTP, HTTP boot and a read-only NFS root in one program.
///
/// Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the site is wrong; 4 no server is running.
#[derive(Parser)]
#[command(version, after_help = FIRST)]
pub struct Cli {
    /// The site file [default: ./site.toml if it is there, else /etc/oneroot/site.toml]
    #[arg(long, global = true, value_name = "FILE")]
    site: Option<PathBuf>,
    /// Say more; twice, say everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

/// `oneroot boots`.
#[derive(Args)]
pub struct Boots {
    /// A machine, by its name or MAC [default: all]
    pub machine: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Print a commented site.toml, ready to edit
    Init,
    /// Say everything that is wrong with the site, with file, line and reason
    Check {
        /// Say instead what is decided for this machine, by which table, and what that hides
        #[arg(long)]
        machine: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Read profiles and layers into generations
    #[command(after_help = "Examples:\n\
\x20 oneroot stage                    everything that the site has\n\
\x20 oneroot stage debian layers/lab  one profile and one layer\n\
\x20 oneroot stage --json             a document: {\"staged\": […], \"failed\": […]}")]
    Stage {
        /// Only these: profile names, machine names, layer directories [default: everything]
        names: Vec<String>,
        #[command(flatten)]
        how: StageHow,
        #[command(flatten)]
        output: Output,
    },
    /// Run a command (a shell, `apt install x`) in a copy of a profile's tree, and make the result its next generation
    Edit {
        /// The profile
        profile: String,
        /// The command and its arguments [default: a shell]
        #[arg(last = true)]
        command: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Write a generation, or the root that a machine would boot, to a tar archive or an empty directory
    #[command(after_help = "Examples:\n\
\x20 oneroot export alpha alpha.tar          the root that alpha would boot\n\
\x20 oneroot export debian~1 /srv/before     a generation, as a directory (as root)\n\
\x20 oneroot export debian - | zstd >a.tzst  compressed by a program of yours")]
    Export {
        /// A machine, a profile, NAME~1, or the first characters of a generation
        what: String,
        /// A directory that is empty or not there yet; a file that ends in .tar; or - for an archive on stdout
        to: PathBuf,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Make a directory of this host equal to a tree of a server, and keep it so; the server's site is not needed
    #[command(after_help = "Examples:\n\
\x20 oneroot sync debian /srv/debian --from http://boot            as root, with a token in ONEROOT_TOKEN\n\
\x20 oneroot sync @self /mnt/disk --from http://boot --keep-path /etc/machine-id   what this machine would boot\n\
\x20 oneroot sync debian /srv/debian --from http://boot --atomic --watch          a whole tree at a time, for ever\n\
\x20 oneroot sync --rollback /srv/debian                           the tree before")]
    Sync(Box<sync::SyncAsked>),
    /// Bring a generation of another server's profile into this server's store, as if it had been staged here
    #[command(after_help = "Examples:\n\
\x20 oneroot pull debian --from https://first --fingerprint 3f:2a:…    with a token in ONEROOT_TOKEN\n\
\x20 oneroot pull debian@3f2a9c17d0e4 --from http://first --hold       for a canary first")]
    Pull(Box<sync::PullAsked>),
    /// List what was staged when: all of it, or one profile, machine or layer
    Generations {
        /// A profile, machine or layer
        name: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Give new boots an earlier generation again; running machines keep what they have
    #[command(after_help = "Examples:\n\
\x20 oneroot rollback debian                 the generation before; `stage` leaves it there\n\
\x20 oneroot generations debian              which there are\n\
\x20 oneroot rollback debian 3f2a9c17d0e4    one of those: the newest ends the rollback")]
    Rollback {
        /// A profile, machine or layer
        name: String,
        /// Which: ~2, or the first characters of its name [default: the one before]
        generation: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Show what changed from one generation to another
    #[command(after_help = "Examples:\n\
\x20 oneroot diff debian~1 debian            what the last stage changed")]
    Diff {
        /// A name, NAME~1 for the one before, or the first characters of a generation
        old: String,
        /// The same
        new: String,
        #[command(flatten)]
        output: Output,
    },
    /// List a directory of a generation, or of the root that a machine would boot
    Ls {
        /// A machine, a profile, NAME~1, or the first characters of a generation
        what: String,
        /// A path in it
        #[arg(default_value = "/")]
        path: String,
        #[command(flatten)]
        output: Output,
    },
    /// Print a file of a generation, or of the root that a machine would boot
    Cat {
        /// A machine, a profile, NAME~1, or the first characters of a generation
        what: String,
        /// A path in it
        path: String,
    },
    /// Remove from the store what no machine, profile or layer needs any more, and say who holds what
    #[command(after_help = "Examples:\n\
\x20 oneroot gc --dry-run                    what would go, and who holds what\n\
\x20 oneroot gc --release 7                  releases machines not seen for a week first")]
    Gc {
        #[command(flatten)]
        asked: GcAsked,
        #[command(flatten)]
        output: Output,
    },
    /// Read the whole store and say what its disk has not kept
    Verify(Output),
    /// Show what a machine would boot and where each part comes from; with a path, which layer the file comes from
    Explain {
        /// Its name, or one of its MAC addresses
        machine: String,
        /// A path in its root
        path: Option<String>,
        #[command(flatten)]
        supposed: SupposedFacts,
        #[command(flatten)]
        output: Output,
    },
    /// Show what a machine's initrd is made of, or write it to a file
    #[command(after_help = "Examples:\n\
\x20 oneroot initrd alpha                    what it is made of, and why\n\
\x20 oneroot initrd alpha -o initrd.img      the whole of it\n\
\x20 oneroot initrd alpha --fact nic=8086:15f3    for a NIC that it does not have")]
    Initrd(InitrdAsked),
    /// Show what a machine would be told: boot script, kernel arguments, rendered files
    Render {
        /// Its name, or one of its MAC addresses
        machine: String,
        #[command(flatten)]
        supposed: SupposedFacts,
        #[command(flatten)]
        output: Output,
    },
    /// Serve DHCP, TFTP, HTTP and NFS in the foreground
    Serve,
    /// Keep the state (leases, pins, keys) elsewhere, or bring it back
    #[command(subcommand)]
    State(StateCommand),
    /// Release a machine that is gone: its address and its root are free again
    Release {
        /// Its name, a MAC, an address or a boot: what `oneroot status` has of it
        machine: String,
        #[command(flatten)]
        output: Output,
    },
    /// List the keys that NFS handles are sealed with, or replace the one in use
    #[command(after_help = "Examples:\n\
\x20 oneroot keys                     which there are, and who may hold something of each\n\
\x20 oneroot keys rotate              a new one, which seals from the server's next start on; machines run on\n\
\x20 oneroot keys retire              old ones go, once every machine has booted since that start")]
    Keys {
        /// What to do with them [default: list them]
        change: Option<KeysCommand>,
        #[command(flatten)]
        output: Output,
    },
    /// Assign machines what they boot, over what the site says, from their next boot on
    #[command(after_help = "Examples:\n\
\x20 oneroot assign node7 --profile desktop             another profile\n\
\x20 oneroot assign node7 --workload render --until 2d  one workload more, for two days\n\
\x20 oneroot assign node7 --profile rescue --once       for one boot\n\
\x20 oneroot assign 'seat-{01..40}' --workload exam     a whole row\n\
\x20 oneroot assign node7 --generation debian~1         what `stage --hold` has made, before others get it")]
    Assign(mapping::Assign),
    #[command(flatten)]
    Mapping(mapping::MappingCommand),
    /// Make, list and revoke access tokens: secrets by which programs that are no machine of the site have a tree
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Set, rotate, remove and list machines' secrets: what a machine has beside its tree, and nobody else
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// Show what the site as it lies there would change, and for whom, if it were reloaded
    Plan(Output),
    /// Have the running server read the site again, and say whether it is in force or what is wrong with it
    Reload(Output),
    /// Show every machine and how far it has booted
    Status(Output),
    /// Show the last boots: how long each took for what, what it could not do and what helps
    #[command(after_help = "Examples:\n\
\x20 oneroot boots          the last boots of all machines, a line for each\n\
\x20 oneroot boots alpha    alpha's last five, with each step and the kernel's last words")]
    Boots(Boots),
    /// Print what a shell needs to complete oneroot's words
    #[command(after_help = "Examples:\n\
\x20 oneroot completions bash >/etc/bash_completion.d/oneroot   (the package brings it)")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// What to do with the keys.
#[derive(clap::ValueEnum, Clone, Copy)]
pub enum KeysCommand {
    /// Make a new one
    Rotate,
    /// Forget old ones
    Retire,
}

/// What to do with the state.
#[derive(Subcommand)]
pub enum StateCommand {
    /// Write all of it to a file, of a running server too
    Backup {
        /// The file; it is as secret as the state
        file: PathBuf,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Fill a new state directory from a backup
    Restore {
        /// The file, or - for standard input
        file: PathBuf,
        /// Take an older oneroot's backup too, which has no checksum at its end
        #[arg(long)]
        unverified: bool,
        #[command(flatten)]
        output: Output,
    },
}

/// What a machine is supposed to tell.
#[derive(Args)]
pub struct SupposedFacts {
    /// Suppose that the machine tells this, whatever it has told: product="OptiPlex 7080", nic=8086:15f3, examined.rack=b7
    #[arg(long = "fact", value_name = "NAME=VALUE")]
    pub facts: Vec<Supposed>,
}

/// A fact that is supposed to be told, in place of what was.
#[derive(Clone)]
pub enum Supposed {
    /// By firmware, DHCP or a relay.
    Told(Fact, String),
    /// By a program of its own tree.
    Examined(Key, Value),
}

impl Supposed {
    /// Puts it among what is told.
    pub fn put(&self, claims: &mut Claims) {
        match self {
            Self::Told(fact, value) => {
                // It was read when it was typed.
                let _ = claims.suppose(*fact, value);
            }
            Self::Examined(key, value) => claims.examined.suppose(key.clone(), value.clone()),
        }
    }
}

impl FromStr for Supposed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
        if let Some(name) = name.strip_prefix("examined.") {
            let key = name.parse().map_err(|told| format!("{name:?} {told}"))?;
            let value = Value::typed(value).map_err(|told| format!("{value:?} {told}"))?;
            return Ok(Self::Examined(key, value));
        }
        let fact = name.parse().map_err(|told| format!("{name:?} {told}"))?;
        Claims::default().suppose(fact, value).map_err(|told| format!("{value:?} {told}"))?;
        Ok(Self::Told(fact, value.to_owned()))
    }
}

/// How to print.
#[derive(Args, Clone, Copy)]
pub struct Output {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Cli {
    /// The site file to read.
    pub fn site(&self) -> PathBuf {
        let here = Path::new("site.toml");
        match &self.site {
            Some(path) => path.clone(),
            None if here.exists() => here.to_owned(),
            None => PathBuf::from(SYSTEM_SITE),
        }
    }
}

/// Exit codes, as the help tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed; the reason is on stderr.
    Failed = 1,
    /// The site is wrong.
    BadSite = 3,
    /// No server is running.
    NotRunning = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// How to stage.
#[derive(Args, Clone, Copy)]
pub struct StageHow {
    /// Read every file of directories again, though size and times say that it is as it was, and put right what the store's
    /// disk has damaged
    #[arg(long)]
    pub afresh: bool,
    /// Give nobody what is made but machines that are assigned its generation, until it is staged without this
    #[arg(long)]
    pub hold: bool,
}

/// What was asked for.
#[derive(Args)]
pub struct InitrdAsked {
    /// Its name, or one of its MAC addresses
    pub machine: String,
    /// The file that is written; - for standard output
    #[arg(short = 'o', value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Replace a file
    #[arg(long, requires = "to")]
    pub force: bool,
    #[command(flatten)]
    pub supposed: SupposedFacts,
    #[command(flatten)]
    pub output: Output,
}

/// What was asked for.
#[derive(Args)]
pub struct GcAsked {
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Generations of each profile, layer and machine that are kept, the present one included
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub keep: u16,
    /// Hours for which whatever was staged or used stays, needed or not
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..))]
    pub grace: u16,
    /// First release machines that have not been seen for so many days: one that still runs loses its root
    #[arg(long, value_name = "DAYS", conflicts_with = "dry_run", value_parser = clap::value_parser!(u16).range(1..))]
    pub release: Option<u16>,
}
