//! Templates, rendered in a process of its own that the kernel bounds (docs/decisions/0011-templates-in-a-process.md).
//!
//! A template is somebody's program. minijinja counts its steps, and no step's stack, memory or time: a value that contains
//! itself ends the stack and with it the process, a list that is doubled sixty times is walked for years. Neither an
//! allocator nor a thread can be bounded from inside, and Rust can't come back from either end.
//!
//! ```text
//! oneroot ──control──▶ supervisor      forked first of all; forks a worker when asked, says how it has ended
//!    └──────one socket──────▶ worker   one request, one reply; bounded; ends with its template
//! ```
//!
//! Each worker has a socket of its own, which the supervisor passes on, so a worker that ends is the end of a stream: no
//! reply of one can be taken for another's.

mod supervisor;
mod wire;
mod worker;

use std::collections::{HashMap, HashSet};
use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::render::RenderError;
use oneroot_machines::planner::renderer::Renderer;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Pid;

use wire::{Asking, Replies, Reply, WORD, Word, receive, send};

/// Memory that a template may take, in bytes, with what the process has to begin with.
const MEMORY: u64 = 256 << 20;
/// The same of stack.
const STACK: u64 = 8 << 20;
/// Seconds of a processor.
const SECONDS: u64 = 5;
/// How long an answer is waited for. A worker ends by its share of a processor long before, unless it gets next to none or
/// is stopped from outside: it waits for nothing but its socket.
const PATIENCE: Duration = Duration::from_secs(120);
/// Workers that a request is tried with, where one ends that is not the template's doing.
const ATTEMPTS: usize = 3;
/// Texts whose end is remembered.
const MOST_STOPPED: usize = 1_000;
/// A text that has ended its process for as many different facts is tried for no others: of all the time of this process
/// a thousand machines with one bad layer would take an hour.
const TRIED: usize = 3;

/// The renderer of this program.
pub struct Processes {
    supervisor: Option<Pid>,
    lane: Mutex<Lane>,
    stopped: Mutex<HashMap<[u8; 32], Stopped>>,
}

/// A text that has ended its process.
struct Stopped {
    reason: String,
    /// For whom.
    facts: HashSet<[u8; 32]>,
}

/// The way to the processes: one request at a time.
enum Lane {
    /// No worker runs.
    Idle(UnixStream),
    /// One waits for requests.
    Ready(UnixStream, UnixStream),
    /// One has ended, or soon does; the supervisor says how.
    Ending(UnixStream),
    /// There is no supervisor, and none can be forked any more.
    Gone(String),
}

/// Why there is no reply.
enum Trouble {
    /// The worker has ended.
    Ended(Word),
    /// Nothing was heard for [`PATIENCE`].
    Silent,
    /// No worker could be forked, for now.
    NoWorker(i32),
    /// Nothing can be rendered until the next start.
    Gone(String),
}

impl Processes {
    /// Forks the supervisor: before this process has a second thread. Where that fails, each template fails with the reason.
    pub fn start() -> Self {
        let begun = supervisor::begin().and_then(|(child, control)| Ok((child, patient(control)?)));
        let (supervisor, lane) = match begun {
            Ok((child, control)) => (Some(child), Lane::Idle(control)),
            Err(cause) => {
                (None, Lane::Gone(format!("no process could be made for it when this one started: {cause}")))
            }
        };
        Self { supervisor, lane: Mutex::new(lane), stopped: Mutex::default() }
    }

    /// Ends the processes and waits until they have: a command leaves nothing for init to wait for. A confined server may
    /// not wait, and its processes end with it.
    pub fn end(&self) {
        // With this the supervisor's socket ends, and so does it.
        *self.lane.lock().unwrap_or_else(PoisonError::into_inner) = Lane::Gone("oneroot ends".to_owned());
        if let Some(child) = self.supervisor {
            supervisor::ended(child);
        }
    }

    /// What is known of a text and facts that have ended a process already.
    fn known(&self, keys: &([u8; 32], [u8; 32])) -> Option<String> {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let text = stopped.get(&keys.0)?;
        (text.facts.contains(&keys.1) || text.facts.len() >= TRIED).then(|| text.reason.clone())
    }

    fn remember(&self, (text, facts): ([u8; 32], [u8; 32]), reason: &str) {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if stopped.len() >= MOST_STOPPED {
            // All at once, for nobody keeps their age: what still ends its process does so once more, and is known again.
            stopped.clear();
        }
        let entry = stopped
            .entry(text)
            .or_insert_with(|| Stopped { reason: reason.to_owned(), facts: HashSet::new() });
        entry.facts.insert(facts);
    }

    fn is_known_to_end(&self) -> bool {
        !self.stopped.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// What names a text and facts among those that ended a process.
fn keys(text: &str, facts: &Facts) -> ([u8; 32], [u8; 32]) {
    let facts = serde_json::to_vec(facts).unwrap_or_default();
    (*blake3::hash(text.as_bytes()).as_bytes(), *blake3::hash(&facts).as_bytes())
}

impl Renderer for Processes {
    fn render(&self, file: &str, text: &str, facts: &Facts) -> Reply {
        let fault = |reason: String| RenderError { file: file.to_owned(), line: 0, reason };
        let asking = Asking { file, text, facts: std::slice::from_ref(facts), wanted: true };
        let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked with the lane in hand: whoever had it before may have learned it just now.
        if self.is_known_to_end()
            && let Some(reason) = self.known(&keys(text, facts))
        {
            return Err(fault(reason));
        }
        let mut last = Word::Exit(0);
        for _ in 0..ATTEMPTS {
            match lane.ask(&asking) {
                Ok(mut replies) => {
                    let reply = replies.pop();
                    return reply.unwrap_or_else(|| Err(fault(by_others(last))));
                }
                Err(Trouble::Ended(how)) => match by_the_template(how) {
                    Some(reason) => {
                        self.remember(keys(text, facts), &reason);
                        return Err(fault(reason));
                    }
                    None => last = how,
                },
                Err(Trouble::Silent) => {
                    let seconds = PATIENCE.as_secs();
                    return Err(fault(format!(
                        "was not rendered within {seconds} s: the process for it is stopped, or this host has no time for it; \
                         try again"
                    )));
                }
                Err(Trouble::NoWorker(errno)) => {
                    let cause = io::Error::from_raw_os_error(errno);
                    return Err(fault(format!(
                        "cannot be rendered now, for there is no process for it ({cause}); try again"
                    )));
                }
                Err(Trouble::Gone(why)) => {
                    return Err(fault(format!("cannot be rendered: {why}; start oneroot again")));
                }
            }
        }
        Err(fault(by_others(last)))
    }

    fn faults(&self, file: &str, text: &str, facts: &[Facts]) -> Vec<Option<RenderError>> {
        let mut faults = Vec::with_capacity(facts.len());
        for some in facts.chunks(AT_ONCE) {
            let asking = Asking { file, text, facts: some, wanted: false };
            let asked = || self.lane.lock().unwrap_or_else(PoisonError::into_inner).ask(&asking).ok();
            // A text that has ended a process may do so again: then each is asked for by itself, to see for whom.
            let known = self.is_known_to_end();
            match Some(()).filter(|()| !known).and_then(|()| asked()).filter(|all| all.len() == some.len()) {
                Some(all) => faults.extend(all.into_iter().map(Result::err)),
                None => faults.extend(some.iter().map(|facts| self.render(file, text, facts).err())),
            }
        }
        faults
    }
}

/// Machines that one request asks for: their facts are some hundred bytes each.
const AT_ONCE: usize = 64;

/// What a template has done that ends a process so; `None` where it was none of its doing.
fn by_the_template(how: Word) -> Option<String> {
    let mebibytes = MEMORY >> 20;
    match how {
        Word::Signal(libc::SIGXCPU) => Some(format!(
            "takes more than {SECONDS} s of a processor; does it loop without end, or double a list or a text?"
        )),
        Word::Signal(libc::SIGABRT) => Some(format!(
            "takes more than {mebibytes} MiB of memory; does it double a list or a text, or repeat one many times?"
        )),
        Word::Signal(libc::SIGSEGV | libc::SIGBUS) => Some(
            "nests too deeply: thousands of operators, filters or attributes in one expression, or of lists in lists, or a \
             value that contains itself; write it in several steps, or flat"
                .to_owned(),
        ),
        _ => None,
    }
}

/// The same for all else.
fn by_others(how: Word) -> String {
    match how {
        Word::Signal(libc::SIGKILL) => {
            "cannot be rendered now: the process for it was killed, as the kernel does when the \
                                        host or its container has no memory left (see `dmesg`); try again"
                .to_owned()
        }
        Word::Exit(worker::UNBOUNDED) => {
            "cannot be rendered: this host lets no process be bounded (setrlimit is refused)".to_owned()
        }
        Word::Signal(signal) => {
            format!("has ended the process that rendered it (signal {signal}); please report it")
        }
        Word::Exit(code) => {
            format!("has ended the process that rendered it (exit code {code}); please report it")
        }
        Word::Begun | Word::NotBegun(_) => "cannot be rendered now; try again".to_owned(),
    }
}

/// A socket on which nobody waits for ever.
fn patient(socket: UnixStream) -> io::Result<UnixStream> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn is_silence(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl Lane {
    /// Has one template rendered.
    fn ask(&mut self, asking: &Asking<'_>) -> Result<Replies, Trouble> {
        if let Self::Ending(_) = self {
            self.how_it_ended()?;
        }
        if let Self::Idle(_) = self {
            self.begin()?;
        }
        let done = match self {
            Self::Ready(_, worker) => send(worker, asking)
                .and_then(|()| receive(worker))
                .and_then(|reply| Ok(serde_json::from_slice(&reply)?)),
            Self::Gone(why) => return Err(Trouble::Gone(why.clone())),
            Self::Idle(_) | Self::Ending(_) => return Err(Trouble::Silent),
        };
        let cause = match done {
            Ok(reply) => return Ok(reply),
            Err(cause) => cause,
        };
        // With this its socket ends, and so does a worker that lives.
        self.turn(Self::Ending);
        if is_silence(&cause) {
            return Err(Trouble::Silent);
        }
        Err(Trouble::Ended(self.how_it_ended()?))
    }

    /// Goes on with the same supervisor.
    fn turn(&mut self, to: impl FnOnce(UnixStream) -> Self) {
        *self = match std::mem::replace(self, Self::Gone(String::new())) {
            Self::Idle(control) | Self::Ready(control, _) | Self::Ending(control) => to(control),
            Self::Gone(why) => Self::Gone(why),
        };
    }

    fn lost(&mut self, cause: &io::Error) -> Trouble {
        if is_silence(cause) {
            return Trouble::Silent;
        }
        let why = format!("the process that renders templates has ended ({cause})");
        tracing::error!(
            "{why}: machines whose templates are not rendered yet do not boot until the next start"
        );
        *self = Self::Gone(why.clone());
        Trouble::Gone(why)
    }

    fn begin(&mut self) -> Result<(), Trouble> {
        let Self::Idle(control) = self else { return Ok(()) };
        let begun = control.write_all(&[1]).and_then(|()| taken_over(control));
        match begun {
            Ok((Word::Begun, Some(worker))) => {
                self.turn(|control| Self::Ready(control, worker));
                Ok(())
            }
            Ok((Word::NotBegun(errno), _)) => Err(Trouble::NoWorker(errno)),
            // A worker whose socket did not arrive, as when this process may open no more: the end of its socket ends it.
            Ok((Word::Begun, None)) => {
                self.turn(Self::Ending);
                Err(Trouble::NoWorker(libc::EMFILE))
            }
            Ok(_) => Err(self.lost(&io::Error::other("it said what it was not asked"))),
            Err(cause) => Err(self.lost(&cause)),
        }
    }

    fn how_it_ended(&mut self) -> Result<Word, Trouble> {
        let Self::Ending(control) = self else { return Ok(Word::Exit(0)) };
        let mut bytes = [0; WORD];
        let heard = control.read_exact(&mut bytes);
        match (heard, Word::of(bytes)) {
            (Ok(()), Some(word @ (Word::Signal(_) | Word::Exit(_)))) => {
                self.turn(Self::Idle);
                Ok(word)
            }
            (Ok(()), _) => Err(self.lost(&io::Error::other("it said what it was not asked"))),
            (Err(cause), _) => Err(self.lost(&cause)),
        }
    }
}

/// The supervisor's word, and the socket that comes with it.
fn taken_over(control: &UnixStream) -> io::Result<(Word, Option<UnixStream>)> {
    let mut bytes = [0; WORD];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let heard =
        recvmsg(control, &mut [IoSliceMut::new(&mut bytes)], &mut with, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let word = Word::of(bytes).filter(|_| heard == WORD);
    let word = word.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    let passed = with.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    Ok((word, passed.map(UnixStream::from).map(patient).transpose()?))
}
