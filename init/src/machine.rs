//! The machine on its way up: what it was told, how it tells, and what it does when it does not get on.
//!
//! Three kinds of failure. A server that is silent is waited for, however long it takes. Anything else that may still mend is
//! tried on, and after the site's time the machine is started again. What can't mend waits for that time and does nothing more.

use std::net::Ipv4Addr;
use std::time::Duration;

use oneroot_initrd::settings::{Address, Settings};

use crate::arguments::Arguments;
use crate::kernel::{Kernel, Link};
use crate::telling::Teller;
use crate::trouble::Trouble;

/// What a program of the tree's finds in its environment, beside TERM: as the kernel gives init, and a PATH.
pub const HOME: (&str, &str) = ("HOME", "/");
/// Where its programs are.
pub const PATH: (&str, &str) = ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
/// A shell that somebody has asked for.
const SHELL: &str = "/bin/sh";
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a machine that does not get on tries to say why, where its servers are too busy.
const LAST: Duration = Duration::from_secs(60);

/// The end of a way up that did not lead up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// It is to be started again.
    Restart,
    /// It stays as it is: the site does not want it started again.
    Stay,
}

/// What ends a phase that goes over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// The way up.
    Over(Over),
    /// The link is gone: one on USB that was plugged anew, or one whose driver has begun anew, is another link, also where it has the
    /// old one's name.
    NicIsGone,
}

impl From<Over> for Halt {
    fn from(over: Over) -> Self {
        Self::Over(over)
    }
}

/// It.
pub struct Machine<'k> {
    /// The kernel.
    pub kernel: &'k dyn Kernel,
    /// What the server says.
    pub settings: Settings,
    /// What the kernel's command line says.
    pub arguments: Arguments,
    /// Who tells.
    pub teller: Teller<'k>,
    /// Where a tree can be entered, if any: there a shell may be.
    pub tree: Option<Tree>,
    /// The address that it has.
    pub held: Option<Held>,
    failing: Option<Duration>,
}

/// An address that it has, and for how long. Times are the kernel's.
#[derive(Debug, Clone)]
pub struct Held {
    /// What it is of.
    pub link: Link,
    /// It.
    pub address: Address,
    /// Who has given it, where that is known.
    pub server: Option<Ipv4Addr>,
    /// When it is asked for again; none for a lease without end.
    pub ask: Option<Duration>,
    /// When it was first asked for again, where nobody has answered since.
    pub asks_since: Option<Duration>,
    /// When it ends.
    pub end: Option<Duration>,
}

/// A tree, as far as it is the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// Mounted there.
    At(&'static str),
    /// It is the root.
    Root,
}

impl<'k> Machine<'k> {
    /// One that has just read its settings.
    #[must_use]
    pub fn new(kernel: &'k dyn Kernel, settings: Settings, arguments: Arguments, teller: Teller<'k>) -> Self {
        Self { kernel, settings, arguments, teller, tree: None, held: None, failing: None }
    }

    /// Seconds for which a NIC or its carrier is waited for.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.settings.patience.into())
    }

    /// It got on.
    pub fn gets_on(&mut self) {
        self.failing = None;
    }

    /// It does not get on for now: tells it, and waits.
    ///
    /// # Errors
    /// When the site wants it started again.
    pub fn waits(&mut self, trouble: &Trouble, pause: Duration) -> Result<(), Over> {
        let now = self.kernel.now();
        let next = match self.settings.restart {
            _ if trouble.is_silence() => "it is asked again, as long as it takes".to_owned(),
            Some(seconds) => format!("tries on; the machine starts again after {seconds} s"),
            None => "tries on, as long as it takes".to_owned(),
        };
        self.teller.fail(trouble, &next);
        if trouble.is_silence() {
            self.failing = None;
        } else {
            let since = *self.failing.get_or_insert(now);
            let restart = self.settings.restart.map(|seconds| Duration::from_secs(seconds.into()));
            if restart.is_some_and(|restart| self.kernel.now() >= since + restart) {
                self.teller.last(LAST);
                return Err(Over::Restart);
            }
        }
        self.kernel.sleep(pause);
        Ok(())
    }

    /// The same, of something that goes over a link, for which nobody waits once that is gone.
    ///
    /// # Errors
    /// When the site wants it started again, or the link is gone.
    pub fn waits_over(&mut self, link: &Link, trouble: &Trouble, pause: Duration) -> Result<(), Halt> {
        self.has(link)?;
        Ok(self.waits(trouble, pause)?)
    }

    /// Whether a link is there still; where the kernel does not say, it is.
    ///
    /// # Errors
    /// [`Halt::NicIsGone`].
    pub fn has(&self, link: &Link) -> Result<(), Halt> {
        let is_gone = |links: Vec<Link>| links.iter().all(|there| there.index != link.index);
        if self.kernel.links().is_ok_and(is_gone) { Err(Halt::NicIsGone) } else { Ok(()) }
    }

    /// It will not get on by itself: tells it, gives a shell to who has asked for one, and waits for its restart.
    pub fn is_stuck(&mut self, trouble: &Trouble) -> Over {
        let next = match self.settings.restart {
            Some(seconds) => format!("the machine starts again in {seconds} s"),
            None => "the machine stays as it is, for the site does not want it started again".to_owned(),
        };
        self.teller.fail(trouble, &next);
        if self.arguments.shell {
            self.shell();
        }
        let begun = self.kernel.now();
        self.teller.last(LAST);
        match self.settings.restart {
            Some(seconds) => {
                let waited = self.kernel.now().saturating_sub(begun);
                self.kernel.sleep(Duration::from_secs(seconds.into()).saturating_sub(waited));
                Over::Restart
            }
            None => Over::Stay,
        }
    }

    /// A shell of the tree's, on the console; there is none of ours.
    fn shell(&mut self) {
        match self.tree {
            None => {
                return self.kernel.print("  oneroot.shell: there is no tree yet that could have a shell");
            }
            Some(Tree::At(place)) => {
                for own in ["/dev", "/proc", "/sys"] {
                    // What can't be moved is missing in the shell, and that is all.
                    let _ = self.kernel.carry(own, &format!("{place}{own}"));
                }
                if self.kernel.enter(place).is_err() {
                    return self.kernel.print("  oneroot.shell: the tree can't be entered");
                }
                self.tree = Some(Tree::Root);
            }
            Some(Tree::Root) => {}
        }
        self.kernel.print("  oneroot.shell: when it ends, the machine does what the site says of failures");
        if let Err(errno) = self.kernel.run(SHELL, &["-i"], &[HOME, PATH, ("TERM", "linux")], None) {
            let name = crate::kernel::name(errno);
            self.kernel.print(&format!("  oneroot.shell: {SHELL} does not start: {name}"));
        }
    }

    /// The pause after so many tries: twice as long each time, and up to a quarter more or less, so that a hundred machines whose
    /// server was away do not all come back in one moment.
    #[must_use]
    pub fn pause(&self, tries: u32) -> Duration {
        pause(self.kernel, tries)
    }
}

/// See [`Machine::pause`].
#[must_use]
pub fn pause(kernel: &dyn Kernel, tries: u32) -> Duration {
    let whole = Duration::from_secs(1 << tries.min(5)).min(LONGEST_PAUSE);
    let quarter = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX) / 4;
    let more = Duration::from_millis(kernel.random() % (2 * quarter + 1));
    (whole + more).saturating_sub(Duration::from_millis(quarter))
}
