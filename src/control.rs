//! The server's own socket in the state directory, through which `oneroot status` asks. It answers root and the server's own
//! user, whatever became of the directory's mode and the socket's: a backup has every key.
//!
//! One line in, one JSON document out, closed. Some are asked at once, and nobody else waits for any of them.

use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use oneroot_bootconf::hardware::Claims;
use oneroot_ids::Mac;
use rustix::fs::Mode;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream as Questioner};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::net::interfaces::Interfaces;
use crate::reload::{Ask, Reread};
use crate::status::Status;
use crate::tls::Https;
use crate::{backup, clock};
use oneroot_machines::{
    BootsStatus, KeyStatus, MachineChange, Machines, MappedMachine, Mapping, MappingRecords, OneMachine,
    PinStatus, Request, SecretChange, SecretStatus, Sighting, TokenStatus, TokenWanted,
};

/// The question that is answered by a stream of lines ([`backup`]), as long as it takes.
const BACKUP: &str = "backup";
/// The questions that are answered once the site was read.
const RELOAD: &str = "reload";
const PLAN: &str = "plan";
/// Time for which a server that gives a backup may say nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest question: a list of ten thousand machines to adopt is below two million bytes.
const LONGEST: u64 = 4 << 20;
/// Time in which a questioner must have asked, and in which it must have taken the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for which a questioner waits for more of the answer: the state of a disk may be part of it.
const ANSWER: Duration = Duration::from_secs(60);
/// The same for a reload: every template is tried for every machine.
const READING: Duration = Duration::from_secs(600);
/// Conversations at once; the kernel keeps a few more waiting.
const MOST: usize = 16;

/// Whoever asks for a reload, and is told what became of it.
pub type Reloads = mpsc::Sender<(Ask, oneshot::Sender<Reread>)>;

fn path(state: &Path) -> PathBuf {
    state.join("control.sock")
}

/// The socket before it has a name, for a confined process makes none. bind gives the name the socket's own mode, less the
/// umask, so it never has one that lets others in (unix(7)).
pub fn socket() -> Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).context("cannot make the control socket")?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    Ok(socket)
}

/// Binds the socket. The state's lock is held, so what lies at its path is a dead server's.
pub fn listen(state: &Path, socket: Socket) -> Result<UnixListener> {
    let path = path(state);
    match std::fs::remove_file(&path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(cause).context("the old control socket");
        }
        _ => {}
    }
    let bind = || -> io::Result<UnixListener> {
        socket.bind(&SockAddr::unix(&path)?)?;
        socket.listen(i32::try_from(MOST).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        UnixListener::from_std(socket.into())
    };
    bind().with_context(|| format!("cannot bind {}", path.display()))
}

/// All that answers are made of.
#[derive(Clone)]
pub struct Answers {
    pub machines: Arc<Machines>,
    pub interfaces: Arc<Interfaces>,
    pub https: Arc<Https>,
    pub reloads: Reloads,
}

/// Answers questions, each in a task of its own.
pub async fn serve(socket: UnixListener, answers: Answers) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        // Before anybody is accepted: who finds no place waits in the kernel's queue and holds no descriptor here.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = socket.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answers = answers.clone();
        tokio::spawn(async move {
            // A questioner that hangs or goes away costs nobody anything.
            let _ = converse(stream, &answers).await;
            drop(place);
        });
    }
}

async fn converse(mut stream: Questioner, answers: &Answers) -> Result<()> {
    let uid = stream.peer_cred()?.uid();
    if uid != 0 && uid != geteuid().as_raw() {
        tracing::warn!(uid, "refused to answer a user who is not root on the control socket");
        let refusal = Refusal { refused: "the server answers root and its own user only".to_owned() };
        timeout(PATIENCE, stream.write_all(&serde_json::to_vec(&refusal)?)).await??;
        return Ok(());
    }
    let mut question = String::new();
    let read = async { BufReader::new((&mut stream).take(LONGEST)).read_line(&mut question).await };
    timeout(PATIENCE, read).await??;
    if question.trim() == BACKUP {
        // It is long, and may be taken slowly.
        backup::give(answers.machines.state.as_ref(), clock::now(), stream).await;
        return Ok(());
    }
    let answer = match question.trim() {
        RELOAD => serde_json::to_vec(&reload(&answers.reloads, Ask::Reload).await?)?,
        PLAN => serde_json::to_vec(&reload(&answers.reloads, Ask::Plan).await?)?,
        question => answer(answers, question).await?,
    };
    timeout(PATIENCE, stream.write_all(&answer)).await??;
    Ok(())
}

/// Has the site read again by whoever does that one at a time.
async fn reload(reloads: &Reloads, ask: Ask) -> Result<Reloaded> {
    let (asked, done) = oneshot::channel();
    reloads.send((ask, asked)).await?;
    Ok(match done.await? {
        Ok(changes) => Reloaded { problems: Vec::new(), changes },
        Err(problems) => Reloaded { problems, changes: Vec::new() },
    })
}

/// In the place of an answer.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    refused: String,
}

/// Works something out that is as large as the site is, away from the threads that serve.
async fn apart<T: Serialize + Send + 'static>(
    answers: &Answers,
    ask: impl FnOnce(&Answers) -> T + Send + 'static,
) -> Result<Vec<u8>> {
    let answers = answers.clone();
    tokio::task::spawn_blocking(move || Ok(serde_json::to_vec(&ask(&answers))?)).await?
}

async fn answer(answers: &Answers, question: &str) -> Result<Vec<u8>> {
    let machines = &answers.machines;
    Ok(match question.split_once(' ').unwrap_or((question, "")) {
        ("status", "") => apart(answers, |of| Status::of(&of.machines, &of.interfaces, &of.https)).await?,
        ("pins", "") => apart(answers, |of| of.machines.held()).await?,
        ("keys", what) => serde_json::to_vec(&keys(machines, what).await)?,
        ("machine", machine) => {
            let machine = machine.to_owned();
            apart(answers, move |of| of.machines.one(&machine)).await?
        }
        ("boots", machine) => boots(answers, machine.to_owned()).await?,
        ("told", mac) => serde_json::to_vec(&machines.known_of(mac.parse()?))?,
        ("sightings", "") => apart(answers, |of| of.machines.sightings()).await?,
        ("mapping", "") => apart(answers, |of| of.machines.mapping()).await?,
        ("mapped", "") => apart(answers, |of| of.machines.mapping_records()).await?,
        ("change", asked) => {
            let ChangeAsked { request, by } = serde_json::from_str(asked)?;
            let changed = match machines.change_mapping(&request, &by).await {
                Ok(machines) => Changed { machines, error: None },
                Err(cause) => Changed { machines: Vec::new(), error: Some(format!("{cause:#}")) },
            };
            serde_json::to_vec(&changed)?
        }
        ("tokens", "") => serde_json::to_vec(&machines.tokens())?,
        ("token", asked) => serde_json::to_vec(&change_token(machines, serde_json::from_str(asked)?).await)?,
        ("secrets", machine) => {
            let asked = Some(machine).filter(|machine| !machine.is_empty());
            serde_json::to_vec(&SecretsTold::of(machines.secrets(asked).await))?
        }
        ("secret", asked) => {
            serde_json::to_vec(&change_secret(machines, serde_json::from_str(asked)?).await)?
        }
        ("clock", "") => serde_json::to_vec(&clock::ahead())?,
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
        #[cfg(debug_assertions)]
        ("passed", seconds) => serde_json::to_vec(&clock::let_pass(seconds.parse()?))?,
        #[cfg(debug_assertions)]
        ("system-call", words) => serde_json::to_vec(&crate::confine::hook::call(words)?)?,
        _ => b"{\"error\":\"no such question\"}".to_vec(),
    })
}

async fn boots(answers: &Answers, machine: String) -> Result<Vec<u8>> {
    let named = |machine: String| Some(machine).filter(|machine| !machine.is_empty());
    apart(answers, move |of| of.machines.boots(named(machine).as_deref())).await
}

async fn keys(machines: &Arc<Machines>, what: &str) -> Keys {
    let keys = match what {
        "" => machines.keys().await,
        "rotate" => machines.rotate_keys().await,
        _ => machines.retire_keys().await,
    };
    match keys {
        Ok(keys) => Keys { keys, error: None },
        Err(cause) => Keys { keys: Vec::new(), error: Some(format!("{cause:#}")) },
    }
}

async fn change_secret(machines: &Arc<Machines>, asked: SecretAsked) -> SecretsTold {
    let SecretAsked { machine, name, change, by } = asked;
    let changed = machines.change_secret(&machine, &name, &change, &by).await;
    SecretsTold::of(changed.map(|secret| secret.into_iter().collect()))
}

async fn change_token(machines: &Arc<Machines>, asked: TokenAsked) -> TokenChanged {
    let changed = match &asked.change {
        TokenChange::New(wanted) => {
            machines.new_token(wanted, &asked.by).await.map(|(secret, token)| (token, Some(secret)))
        }
        TokenChange::Revoke(name) => machines.revoke_token(name, &asked.by).await.map(|token| (token, None)),
    };
    match changed {
        Ok((token, secret)) => TokenChanged { token: Some(token), secret, error: None },
        Err(cause) => TokenChanged { token: None, secret: None, error: Some(format!("{cause:#}")) },
    }
}

/// A change of a machine's secret, and who asks for it. It has no `Debug`, for a secret may be in it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretAsked {
    pub machine: String,
    pub name: String,
    pub change: SecretChange,
    pub by: String,
}

/// Secrets as they are now, or why that can't be told or was not done.
#[derive(Serialize, Deserialize)]
pub struct SecretsTold {
    pub secrets: Vec<SecretStatus>,
    pub error: Option<String>,
}

impl SecretsTold {
    fn of(told: oneroot_machines::Result<Vec<SecretStatus>>) -> Self {
        match told {
            Ok(secrets) => Self { secrets, error: None },
            Err(cause) => Self { secrets: Vec::new(), error: Some(format!("{cause:#}")) },
        }
    }
}

/// Asks a running server for the secrets that there are, of one machine or of all; `None` when none runs.
pub fn ask_secrets(state: &Path, machine: Option<&str>) -> Result<Option<SecretsTold>> {
    let machine = machine.unwrap_or_default();
    anyhow::ensure!(!machine.contains('\n'), "{machine:?} is not the name of a machine");
    ask_json(state, &format!("secrets {machine}"))
}

/// Asks a running server for a change of a machine's secret; `None` when none runs.
pub fn ask_secret_change(state: &Path, asked: &SecretAsked) -> Result<Option<SecretsTold>> {
    ask_json(state, &format!("secret {}", serde_json::to_string(asked)?))
}

/// What is asked of access tokens.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenChange {
    /// Make one.
    New(TokenWanted),
    /// Take the one of this name back.
    Revoke(String),
}

/// A change of the tokens, and who asks for it.
#[derive(Serialize, Deserialize)]
struct TokenAsked {
    change: TokenChange,
    by: String,
}

/// What became of a change of the tokens. It has no `Debug`, for a secret may be in it.
#[derive(Serialize, Deserialize)]
pub struct TokenChanged {
    /// The token as it is now.
    pub token: Option<TokenStatus>,
    /// The secret of a new one.
    pub secret: Option<String>,
    /// Why it did not happen.
    pub error: Option<String>,
}

/// What became of a release.
#[derive(Debug, Serialize, Deserialize)]
pub struct Released {
    /// Pins that ended.
    pub pins: usize,
    /// Why it did not happen.
    pub error: Option<String>,
}

/// The keys that there are, or why they are as they were.
#[derive(Debug, Serialize, Deserialize)]
pub struct Keys {
    /// All of them.
    pub keys: Vec<KeyStatus>,
    /// Why it did not happen.
    pub error: Option<String>,
}

/// A change of the mapping, and who asks for it.
#[derive(Debug, Serialize, Deserialize)]
struct ChangeAsked {
    request: Request,
    by: String,
}

/// What became of a change of the mapping.
#[derive(Debug, Serialize, Deserialize)]
pub struct Changed {
    /// The machines that it was about, as they are now.
    pub machines: Vec<MappedMachine>,
    /// Why it did not happen.
    pub error: Option<String>,
}

/// What became of a reload.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// Why the site did not come into force; nothing when it did.
    pub problems: Vec<String>,
    /// What it changes, and for whom, from the next boot on.
    #[serde(default)]
    pub changes: Vec<MachineChange>,
}

/// Asks a running server to read its site again; `None` when none runs.
pub fn ask_reload(state: &Path) -> Result<Option<Reloaded>> {
    ask_json(state, RELOAD)
}

/// Asks a running server for a change of the mapping; `None` when none runs.
pub fn ask_change(state: &Path, request: &Request, by: &str) -> Result<Option<Changed>> {
    let asked = ChangeAsked { request: request.clone(), by: by.to_owned() };
    ask_json(state, &format!("change {}", serde_json::to_string(&asked)?))
}

/// Asks a running server for a change of the tokens; `None` when none runs.
pub fn ask_token_change(state: &Path, change: TokenChange, by: String) -> Result<Option<TokenChanged>> {
    let asked = TokenAsked { change, by };
    ask_json(state, &format!("token {}", serde_json::to_string(&asked)?))
}

/// Asks a running server for all tokens; `None` when none runs.
pub fn ask_tokens(state: &Path) -> Result<Option<Vec<TokenStatus>>> {
    ask_json(state, "tokens")
}

/// Asks a running server which NICs have wanted to boot, with all that they told; `None` when none runs.
pub fn ask_sightings(state: &Path) -> Result<Option<Vec<Sighting>>> {
    ask_json(state, "sightings")
}

/// Asks a running server for all that the state says over the site's files; `None` when none runs.
pub fn ask_mapping(state: &Path) -> Result<Option<Mapping>> {
    ask_json(state, "mapping")
}

/// The same as it is kept, with the NICs that each machine was last seen with: to be laid over a site.
pub fn ask_mapped(state: &Path) -> Result<Option<MappingRecords>> {
    ask_json(state, "mapped")
}

/// Asks a running server what its site as it lies there would change; `None` when none runs.
pub fn ask_plan(state: &Path) -> Result<Option<Reloaded>> {
    ask_json(state, PLAN)
}

/// Asks a running server what is told of a NIC, and from where it last asked; `None` when none runs.
pub fn ask_told(state: &Path, mac: Mac) -> Result<Option<(Claims, Option<IpAddr>)>> {
    ask_json(state, &format!("told {mac}"))
}

/// Asks a running server for all that it knows of one machine, if there is one; `None` when none runs.
pub fn ask_machine(state: &Path, machine: &str) -> Result<Option<Option<OneMachine>>> {
    anyhow::ensure!(!machine.contains('\n'), "{machine:?} is not the name of a machine");
    ask_json(state, &format!("machine {machine}"))
}

/// Asks a running server what became of the last boots, of one machine if it is named and there; `None` when none runs.
pub fn ask_boots(state: &Path, machine: Option<&str>) -> Result<Option<Option<BootsStatus>>> {
    let machine = machine.unwrap_or_default();
    anyhow::ensure!(!machine.contains('\n'), "{machine:?} is not the name of a machine");
    ask_json(state, format!("boots {machine}").trim_end())
}

/// Asks a running server how its machines are; `None` when none runs.
pub fn ask_status(state: &Path) -> Result<Option<Status>> {
    ask_json(state, "status")
}

/// Asks a running server to let go of a machine; `None` when none runs.
pub fn ask_release(state: &Path, machine: &str) -> Result<Option<Released>> {
    anyhow::ensure!(!machine.contains('\n'), "{machine:?} is not the name of a machine");
    ask_json(state, &format!("release {machine}"))
}

/// Asks a running server to let go of machines that have given no sign for so many seconds; `None` when none runs.
pub fn ask_release_quiet(state: &Path, seconds: u64) -> Result<Option<Released>> {
    ask_json(state, &format!("release-quiet {seconds}"))
}

/// Asks a running server for its keys, or to change them first: `rotate`, `retire`; `None` when none runs.
pub fn ask_keys(state: &Path, change: Option<&str>) -> Result<Option<Keys>> {
    ask_json(state, format!("keys {}", change.unwrap_or_default()).trim_end())
}

/// Asks a running server which views its pins hold; `None` when none runs.
pub fn ask_pins(state: &Path) -> Result<Option<Vec<PinStatus>>> {
    ask_json(state, "pins")
}

/// Asks a running server by how many seconds the wall clock is ahead of its time; `None` when none runs.
pub fn ask_clock(state: &Path) -> Result<Option<i64>> {
    ask_json(state, "clock")
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
    read.context("the server's answer cannot be parsed; is it another version?").map(Some)
}

fn ask(state: &Path, question: &str) -> Result<Option<Vec<u8>>> {
    let Some(mut stream) = asked(state, question)? else { return Ok(None) };
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    // No other answer has this one key and nothing beside it.
    match serde_json::from_slice::<Refusal>(&answer) {
        Ok(Refusal { refused }) => Err(anyhow::anyhow!(refused).context(not_ours(state))),
        Err(_) => Ok(Some(answer)),
    }
}

fn asked(state: &Path, question: &str) -> Result<Option<UnixStream>> {
    let mut stream = match UnixStream::connect(path(state)) {
        Ok(stream) => stream,
        // One that nobody listens on was left by a server that was killed.
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => return Err(not_ours(state)),
        Err(cause) => return Err(cause).with_context(|| format!("cannot ask {}", path(state).display())),
    };
    stream.set_read_timeout(Some(if question == RELOAD || question == PLAN { READING } else { ANSWER }))?;
    writeln!(stream, "{question}")?;
    Ok(Some(stream))
}

/// What somebody is told who may not ask.
fn not_ours(state: &Path) -> anyhow::Error {
    let owner = std::fs::metadata(state).map(|meta| meta.uid()).ok().filter(|uid| *uid != 0);
    let owner = owner.map_or(String::new(), |uid| format!(", or as user {uid}, who has the state"));
    anyhow::anyhow!(
        "user {} may not ask the server about {}; run this as root{owner}",
        geteuid().as_raw(),
        state.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_has_its_mode_from_the_first_moment_on() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("socket");
        socket().unwrap().bind(&SockAddr::unix(&path).unwrap()).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().mode() & 0o777,
            0o600,
            "before anything else is done to it"
        );
    }
}
