//! The site's programs, the one that decides and the one that makes secrets, run for a server that can start nothing itself
//! (docs/decisions/0014-decide.md, 0025).

mod launcher;
mod run;
#[cfg(test)]
mod tests;
mod wire;

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oneroot_bootconf::answer::LONGEST as LONGEST_ANSWER;
use oneroot_bootconf::{Program, Site};
use oneroot_machines::planner::decider::{Decider, Running};
use oneroot_machines::secrets::LASTS;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use wire::{FREE, LONGEST, LONGEST_QUESTION, Outcome, Ran};

/// Time beyond its own that a run is waited for: until it is killed, and its answer is here.
const BEYOND: Duration = Duration::from_secs(2);
/// Of what a program says on stderr, the part that is told with a failure, in characters.
const TOLD: usize = 300;
const OPEN: &str = "can be changed by every user, and is run for the site; chmod o-w it";
const GONE: &str = "has ended, and can only be had again by a restart";

/// What a program of the site's is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It says what machines boot.
    Decide,
    /// It makes their secrets.
    MakeSecrets,
}

impl Purpose {
    /// The site's, where it has one.
    fn program(self, site: &Site) -> Option<&Program> {
        match self {
            Self::Decide => site.decide.as_ref(),
            Self::MakeSecrets => site.make_secrets.as_ref(),
        }
    }

    /// How long a run waits for a place. Whoever asks what to boot waits for as long as for the answer; whose secrets are being made is told to
    /// ask again, and of a room that is switched on at once nobody goes without only because others were first.
    fn waits(self, program: &Program) -> Duration {
        Duration::from_secs(match self {
            Self::Decide => program.timeout.into(),
            Self::MakeSecrets => LASTS,
        })
    }

    /// What its launcher and its runners are called.
    fn names(self) -> [&'static CStr; 2] {
        match self {
            Self::Decide => [c"or-decide", c"or-decide-run"],
            Self::MakeSecrets => [c"or-secrets", c"or-secrets-run"],
        }
    }
}

/// The way to the process that runs the program, before there is a runtime.
pub struct Lanes {
    program: Program,
    waits: Duration,
    sockets: Vec<OwnedFd>,
}

impl Lanes {
    /// Forks that process, where the site has such a program. Before this one has a second thread, and before it is confined.
    ///
    /// # Errors
    /// There are no sockets or no process to be had.
    pub fn begin(site: &Site, purpose: Purpose) -> io::Result<Option<Self>> {
        let Some(program) = purpose.program(site) else { return Ok(None) };
        let sockets = launcher::begin(program, &site.home, purpose)?;
        Ok(Some(Self { program: program.clone(), waits: purpose.waits(program), sockets }))
    }

    /// The same for a runtime's tasks.
    ///
    /// # Errors
    /// The runtime can't watch a socket.
    pub fn open(self) -> io::Result<Launched> {
        let watched = |socket: OwnedFd| {
            rustix::io::ioctl_fionbio(&socket, true)?;
            // SAFETY: an `OwnedFd` is one descriptor, open until it is dropped, and nobody takes it out of the `AsyncFd` before.
            Ok(unsafe { AsyncFd::register(socket) }?)
        };
        let count = self.sockets.len();
        let free = self.sockets.into_iter().map(watched).collect::<io::Result<Vec<_>>>()?;
        Ok(Launched(Arc::new(Inner {
            program: self.program,
            waits: self.waits,
            free: Mutex::new(free),
            all: Arc::new(Semaphore::new(count)),
            strangers: Arc::new(Semaphore::new(count.saturating_sub(1))),
        })))
    }
}

/// Runs the program by way of the launcher.
pub struct Launched(Arc<Inner>);

struct Inner {
    program: Program,
    /// For a place.
    waits: Duration,
    free: Mutex<Vec<Lane>>,
    /// A place for each lane.
    all: Arc<Semaphore>,
    /// One place less: whatever strangers do, a machine that the site names finds one.
    strangers: Arc<Semaphore>,
}

type Lane = AsyncFd<OwnedFd>;

/// A lane, for as long as a run is on it.
struct TakenLane {
    inner: Arc<Inner>,
    lane: Option<Lane>,
    _stranger: Option<OwnedSemaphorePermit>,
    place: Option<OwnedSemaphorePermit>,
}

impl Decider for Launched {
    fn run(&self, question: Vec<u8>, is_named: bool) -> Running {
        let inner = self.0.clone();
        Box::pin(async move { inner.run(&question, is_named).await })
    }
}

impl Inner {
    async fn run(self: &Arc<Self>, question: &[u8], is_named: bool) -> Result<Vec<u8>, String> {
        if question.len() > LONGEST_QUESTION {
            return Err(format!("was not asked: the question has more than {LONGEST_QUESTION} bytes"));
        }
        let patience = Duration::from_secs(self.program.timeout.into());
        // Nobody waits for long but a machine of the site's.
        let waits = if is_named { self.waits } else { patience };
        let Ok(held) = timeout(waits, self.place(is_named)).await else {
            return Err(format!(
                "was not asked: as many runs as there may be were under way for {} s",
                waits.as_secs()
            ));
        };
        let held = held.ok_or_else(|| GONE.to_owned())?;
        let told = timeout(patience + BEYOND, held.ask(question)).await;
        match told {
            Ok(Ok(Some(ran))) => {
                tokio::spawn(held.until_free());
                in_words(&self.program, ran)
            }
            Ok(Ok(None)) => Err("was killed, as the kernel does when memory runs out".to_owned()),
            Ok(Err(_)) => {
                held.lost();
                Err(GONE.to_owned())
            }
            Err(_) => {
                tokio::spawn(held.until_free());
                Err(format!("has not ended within {} s, and was not seen to be ended", self.program.timeout))
            }
        }
    }

    /// A lane, once one is free; none when there are no lanes any more.
    async fn place(self: &Arc<Self>, is_named: bool) -> Option<TakenLane> {
        let stranger = match is_named {
            true => None,
            false => Some(self.strangers.clone().acquire_owned().await.ok()?),
        };
        let place = self.all.clone().acquire_owned().await.ok()?;
        let lane = self.free().pop()?;
        Some(TakenLane { inner: self.clone(), lane: Some(lane), _stranger: stranger, place: Some(place) })
    }

    fn free(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TakenLane {
    /// How the run has gone; none where the lane is free again without a word of that.
    async fn ask(&self, question: &[u8]) -> io::Result<Option<Ran>> {
        let lane = self.lane.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let sent =
            lane.async_io(Interest::WRITABLE, |socket| Ok(send(socket, question, SendFlags::NOSIGNAL)?));
        sent.await?;
        told(lane).await
    }

    /// Waits until nothing of the run is left.
    async fn until_free(self) {
        loop {
            let next = match &self.lane {
                Some(lane) => told(lane).await,
                None => return,
            };
            match next {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => return self.lost(),
            }
        }
    }

    /// The process at the other end is gone, and all lanes with it.
    fn lost(mut self) {
        drop(self.lane.take());
        if !self.inner.all.is_closed() {
            let path = self.inner.program.path.display();
            tracing::error!(
                "the process that runs the site's program {path} {GONE}; machines do without what it says"
            );
        }
        self.inner.all.close();
        self.inner.strangers.close();
    }
}

impl Drop for TakenLane {
    fn drop(&mut self) {
        // First the lane, then the place: whoever has a place finds a lane.
        self.inner.free().extend(self.lane.take());
        drop(self.place.take());
    }
}

/// The next message of a lane: how the run has gone, or none for that the lane is free.
async fn told(lane: &Lane) -> io::Result<Option<Ran>> {
    let mut bytes = vec![0; LONGEST];
    let heard = lane.async_io(Interest::READABLE, |socket| {
        let (_, length) = recv(socket, &mut bytes[..], RecvFlags::empty())?;
        Ok(length)
    });
    let length = heard.await?;
    match bytes.get(..length).unwrap_or_default() {
        [] => Err(io::ErrorKind::UnexpectedEof.into()),
        message if message == FREE => Ok(None),
        message => Ran::of(message).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
    }
}

/// Runs the program for a command, as the user who has given it: what the program leaves behind in a group of its own is that user's.
///
/// # Errors
/// Why it has not answered.
pub fn run_here(program: &Program, home: &Path, question: &[u8]) -> Result<Vec<u8>, String> {
    in_words(program, run::run(program, home, question, None))
}

/// What stands in the way of running a program of the site's, by what the file system says of it; nothing where it has none.
pub fn lacks(site: &Site, purpose: Purpose) -> Option<String> {
    let path = &purpose.program(site)?.path;
    let lacks = match path.metadata() {
        Err(cause) => format!("cannot be run: {cause}"),
        Ok(meta) if !meta.is_file() => "is not a regular file".to_owned(),
        Ok(meta) if meta.permissions().mode() & 0o111 == 0 => "is not executable; chmod +x it".to_owned(),
        Ok(_) if run::is_open(path) => OPEN.to_owned(),
        Ok(_) => return None,
    };
    let path = path.display();
    Some(match purpose {
        Purpose::Decide => {
            format!("the decide program {path} {lacks}: until then machines boot by rules and groups")
        }
        Purpose::MakeSecrets => {
            format!(
                "the program {path} that makes secrets {lacks}: until then no machine gets a new one of it"
            )
        }
    })
}

/// What it has printed, or why that is no answer.
fn in_words(program: &Program, ran: Ran) -> Result<Vec<u8>, String> {
    let why = match ran.outcome {
        Outcome::Answered(printed) => return Ok(printed),
        Outcome::Exit(code) => format!("has ended with exit code {code}"),
        Outcome::Signal(libc::SIGXCPU) => "has taken more of a processor than it may".to_owned(),
        Outcome::Signal(signal) => format!("was ended by signal {signal}"),
        Outcome::Late => format!("has not ended within {} s", program.timeout),
        Outcome::TooLong => format!("has printed more than {} KiB", LONGEST_ANSWER >> 10),
        Outcome::NotRun(errno) => format!("cannot be run: {}", io::Error::from_raw_os_error(errno)),
        Outcome::Open => OPEN.to_owned(),
        Outcome::Gone => "was ended with the server".to_owned(),
    };
    // The last line says what was wrong, as a rule; each is cut, and the log escapes what is no plain text.
    let said = String::from_utf8_lossy(&ran.said);
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    Err(match last {
        Some(line) => format!("{why}; it says: {}", line.chars().take(TOLD).collect::<String>()),
        None => why,
    })
}
