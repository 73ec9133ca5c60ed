//! The server's own socket in the state directory, through which `oneroot status` asks. Who may open the directory may ask.
//!
//! One line in, one JSON document out, closed.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use oneroot_bootconf::pins::Pin;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::time::timeout;

use crate::machines::{Machines, Status};
use crate::{backup, clock};

/// The question that is answered by a stream of lines ([`backup`]), as long as it takes.
const BACKUP: &str = "backup";
/// Time for which a server that gives a backup may say nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest question.
const LONGEST: u64 = 256;
/// Time that a questioner has.
const PATIENCE: Duration = Duration::from_secs(5);

fn path(state: &Path) -> PathBuf {
    state.join("control.sock")
}

/// Binds the socket. The state's lock is held, so what lies at its path is a dead server's.
pub fn listen(state: &Path) -> Result<UnixListener> {
    let path = path(state);
    match std::fs::remove_file(&path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(cause).context("the old control socket");
        }
        _ => {}
    }
    UnixListener::bind(&path).with_context(|| format!("cannot bind {}", path.display()))
}

/// Answers questions, one at a time: there are few, and each takes microseconds.
pub async fn serve(socket: UnixListener, machines: Arc<Machines>) {
    loop {
        let Ok((mut stream, _)) = socket.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let conversation = async {
            let mut question = String::new();
            BufReader::new((&mut stream).take(LONGEST)).read_line(&mut question).await?;
            if question.trim() == BACKUP {
                return io::Result::Ok(true);
            }
            let answer = answer(&machines, question.trim()).await.map_err(io::Error::other)?;
            stream.write_all(&answer).await?;
            Ok(false)
        };
        // A questioner that hangs or goes away costs nobody anything.
        if let Ok(Ok(true)) = timeout(PATIENCE, conversation).await {
            // It is long, and may be taken slowly: the next questioner does not wait for that.
            let machines = machines.clone();
            tokio::spawn(async move { backup::give(machines.state.as_ref(), clock::now(), stream).await });
        }
    }
}

async fn answer(machines: &Arc<Machines>, question: &str) -> Result<Vec<u8>> {
    Ok(match question.split_once(' ').unwrap_or((question, "")) {
        ("status", "") => serde_json::to_vec(&machines.status())?,
        ("pins", "") => serde_json::to_vec(&machines.held())?,
        ("release-quiet", seconds) => {
            let released = match machines.release_quiet(seconds.parse()?).await {
                Ok(pins) => Released { pins, error: None },
                Err(cause) => Released { pins: 0, error: Some(format!("{cause:#}")) },
            };
            serde_json::to_vec(&released)?
        }
        ("release", machine) => {
            let released = match machines.release(machine).await {
                Ok(pins) => Released { pins, error: None },
                Err(cause) => Released { pins: 0, error: Some(format!("{cause:#}")) },
            };
            serde_json::to_vec(&released)?
        }
        _ => b"{\"error\":\"no such question\"}".to_vec(),
    })
}

/// A pin, for people.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    /// Whose it is: a name, or a MAC.
    pub machine: String,
    /// `booting`, `running` or `up`.
    pub phase: String,
    /// What it holds.
    pub view: String,
    /// Seconds for which its machine has given no sign; none where no server runs that would know.
    #[serde(default)]
    pub quiet: Option<u64>,
}

impl Held {
    /// A pin under the name that its machine has.
    pub fn of(pin: &Pin, name: Option<String>) -> Self {
        Self {
            machine: name.unwrap_or_else(|| pin.mac.to_string()),
            phase: format!("{:?}", pin.phase).to_lowercase(),
            view: pin.view.to_string(),
            quiet: None,
        }
    }
}

/// What became of a release.
#[derive(Debug, Serialize, Deserialize)]
pub struct Released {
    /// Pins that ended.
    pub pins: usize,
    /// Why it did not happen.
    pub error: Option<String>,
}

/// Asks a running server how its machines are; `None` when none runs.
pub fn ask_status(state: &Path) -> Result<Option<Status>> {
    ask_json(state, "status")
}

/// Asks a running server to let go of a machine; `None` when none runs.
pub fn ask_release(state: &Path, machine: &str) -> Result<Option<Released>> {
    anyhow::ensure!(!machine.contains('\n'), "{machine:?} is no name of a machine");
    ask_json(state, &format!("release {machine}"))
}

/// Asks a running server to let go of machines that have given no sign for so many seconds; `None` when none runs.
pub fn ask_release_quiet(state: &Path, seconds: u64) -> Result<Option<Released>> {
    ask_json(state, &format!("release-quiet {seconds}"))
}

/// Asks a running server which views its pins hold; `None` when none runs.
pub fn ask_pins(state: &Path) -> Result<Option<Vec<Held>>> {
    ask_json(state, "pins")
}

/// Asks a running server for a backup of its state, which is still to be read; `None` when none runs.
pub fn ask_backup(state: &Path) -> Result<Option<UnixStream>> {
    let stream = asked(state, BACKUP)?;
    if let Some(stream) = &stream {
        stream.set_read_timeout(Some(SILENCE))?;
    }
    Ok(stream)
}

fn ask_json<T: for<'de> Deserialize<'de>>(state: &Path, question: &str) -> Result<Option<T>> {
    let Some(answer) = ask(state, question)? else { return Ok(None) };
    let read = serde_json::from_slice(&answer);
    read.context("the server's answer does not read; is it another version?").map(Some)
}

fn ask(state: &Path, question: &str) -> Result<Option<Vec<u8>>> {
    let Some(mut stream) = asked(state, question)? else { return Ok(None) };
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(Some(answer))
}

fn asked(state: &Path, question: &str) -> Result<Option<UnixStream>> {
    let mut stream = match UnixStream::connect(path(state)) {
        Ok(stream) => stream,
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(cause) => return Err(cause).with_context(|| format!("cannot ask {}", path(state).display())),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "{question}")?;
    Ok(Some(stream))
}
