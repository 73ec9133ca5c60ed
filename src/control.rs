//! The server's own socket in the state directory, through which `oneroot status` asks. Who may open the directory may ask.
//!
//! One line in, one JSON document out, closed.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::time::timeout;

use crate::machines::{Machines, Status};

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
            let answer = match question.trim() {
                "status" => serde_json::to_vec(&machines.status()).map_err(io::Error::other)?,
                other => format!("{{\"error\":\"no such question\",\"question\":{other:?}}}").into_bytes(),
            };
            stream.write_all(&answer).await
        };
        // A questioner that hangs or goes away costs nobody anything.
        let _ = timeout(PATIENCE, conversation).await;
    }
}

/// Asks a running server how its machines are; `None` when none runs.
pub fn ask_status(state: &Path) -> Result<Option<Status>> {
    let mut stream = match UnixStream::connect(path(state)) {
        Ok(stream) => stream,
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(cause) => return Err(cause).with_context(|| format!("cannot ask {}", path(state).display())),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"status\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(Some(
        serde_json::from_slice(&answer)
            .context("the server's answer does not read; is it another version?")?,
    ))
}
