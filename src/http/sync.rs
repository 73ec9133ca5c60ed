//! Trees as files, for hosts that keep a copy: their indexes, and objects as one stream (docs/decisions/0020-sync.md).
//!
//! | request | answer |
//! |---|---|
//! | `GET /sync/1/WHAT/index` | the index, packed; its `Etag` names the tree |
//! | `GET /sync/1/WHAT/index?have=GENERATION` | the same, told against that one; 304 when it is that one |
//! | `POST /sync/1/WHAT/objects/GENERATION`, of a list of objects | their bytes, one behind the other |
//!
//! Who may is [`oneroot_machines::sync`]'s to say. A stream holds two buffers of a [`PIECE`] and 2 open files each, and the list of
//! what is wanted; how many there are at once is [`Streams`](super::streams::Streams)' to say.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use oneroot_http::{Answer, File, Manner, Method, Refusal, Request, StatusCode};
use oneroot_ids::GenerationId;
use oneroot_machines::sync::{Asker, Given, Holder, SyncRefused, Wanted, What};
use oneroot_machines::{Machines, Objects, Resource};
use oneroot_tree::wants::Wants;

use super::sending::Sending;
use super::streams::{LEAST, Place};
use super::{Connection, Next, following};
use crate::clock;

/// Bytes of a file up to which it is read into memory with others: a copy costs less than a call of its own, and than a piece that
/// ends with it.
const SMALL: usize = 64 * 1024;
/// Bytes after which a piece is sent.
const PIECE: u64 = 448 * 1024;
/// Large files in one piece at most: each is a descriptor.
const FILES: usize = 2;
/// What is said to one for whom there is no place.
const BUSY: &str = "as many trees as this server sends at once are on their way; ask again in a moment";
/// Time that somebody waits for a tree to be looked up and made while others' are: well below a client's patience.
const WAITS: Duration = Duration::from_secs(20);
/// What a tree's files are, to whoever asks by another program.
const KIND: &str = "application/octet-stream";
/// Time for the whole list of what is wanted.
const LIST_TIME: Duration = Duration::from_secs(30);

/// What is asked for.
pub struct Asked {
    what: What,
    wanted: Wanted,
    /// Bytes of the list of contents that are wanted.
    list: u64,
    bearer: Option<String>,
    head: usize,
    is_head: bool,
    manner: Manner,
}

/// What a request under `/sync/` asks for; none where it is another's.
pub fn asked(request: &Request<'_>) -> Option<Result<Asked, Refusal>> {
    let path = request.target.path().strip_prefix("/sync/")?;
    let bearer = request.bearer.as_ref().map(|bearer| bearer.as_str().to_owned());
    let (head, is_head) = (request.head_length(), request.method == Method::Head);
    let manner = request.manner();
    let whole = |what: &str, wanted, list| {
        let what = what.parse().map_err(|cause| said(StatusCode::BAD_REQUEST, &cause))?;
        Ok(Asked { what, wanted, list, bearer: bearer.clone(), head, is_head, manner })
    };
    let parts: Vec<&str> = path.split('/').collect();
    Some(match (request.method, parts.as_slice()) {
        (Method::Get | Method::Head, ["1", what, "index"]) => {
            let have = request.target.query().and_then(|query| query.strip_prefix("have="));
            whole(what, Wanted::Index(have.and_then(|have| have.parse().ok())), 0)
        }
        (Method::Post, ["1", what, "objects", generation]) => {
            match (generation.parse(), request.body_length()) {
                (Ok(generation), Some(list)) => whole(what, Wanted::Contents(generation), list),
                (Err(_), _) => Err(Refusal::Missing),
                (_, None) => {
                    Err(Refusal::Said(StatusCode::LENGTH_REQUIRED, "say how long the list is".to_owned()))
                }
            }
        }
        _ => Err(Refusal::Missing),
    })
}

fn said(status: StatusCode, words: &dyn std::fmt::Display) -> Refusal {
    Refusal::Said(status, words.to_string())
}

/// The status of an answer that is a refusal, and its words; `again` says when one for whom there is no room asks again.
fn refused(cause: &SyncRefused, again: impl FnOnce() -> u64) -> Refusal {
    let status = match cause {
        SyncRefused::NobodyKnown | SyncRefused::Token => StatusCode::UNAUTHORIZED,
        SyncRefused::Bare | SyncRefused::NotYours(_) => StatusCode::FORBIDDEN,
        SyncRefused::NotThere(..) => StatusCode::NOT_FOUND,
        SyncRefused::Changed(_) => StatusCode::CONFLICT,
        SyncRefused::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        SyncRefused::Busy => return Refusal::Busy(cause.to_string(), again()),
    };
    said(status, cause)
}

impl Connection {
    /// Answers a request for a tree.
    pub(super) async fn tree(&mut self, asked: Asked, date: &str) -> io::Result<Next> {
        let peer = self.peer;
        let is_contents = matches!(asked.wanted, Wanted::Contents(_));
        let secured = self.wire.is_sealed() || peer.ip().is_loopback();
        let asker = Asker { peer, secured, bearer: asked.bearer.as_deref() };
        // Who may not have it is refused, and puts nobody off.
        let is_full = is_contents && !self.http.streams.has_room(peer.ip(), clock::coarse_ms());
        if is_full && self.http.machines.may_ask(&asker, &asked.what) {
            return self.send_away(date).await;
        }
        let patience = tokio::time::sleep(WAITS);
        let offer = self.http.machines.offer(&asker, &asked.what, asked.wanted, patience);
        let offered = match Box::pin(offer).await {
            Ok(offered) => offered,
            Err(cause) => {
                if let SyncRefused::Failed(cause) = &cause {
                    tracing::warn!(peer = %peer.ip(), what = %asked.what, %cause, "a tree could not be told");
                }
                let again = || self.http.streams.again(clock::coarse_ms());
                return self.refuse(refused(&cause, again), date).await;
            }
        };
        if let Wanted::Index(Some(have)) = asked.wanted {
            self.http.machines.copied(&asker, &asked.what, &offered, have);
        }
        match offered.given {
            Given::Same => self.index(&asked, offered.generation, None, date).await,
            Given::Index(packed) => self.index(&asked, offered.generation, Some(packed), date).await,
            Given::Contents(objects) => {
                let is_machine = matches!(offered.holder, Holder::Machine(_));
                let streams = &self.http.streams;
                let place = streams.enter(&self.slot, peer.ip(), is_machine, clock::coarse_ms());
                match place {
                    Some(place) => self.objects(&asked, (objects, place), offered.generation, date).await,
                    None => self.send_away(date).await,
                }
            }
        }
    }

    /// Says that there is no place for a stream.
    async fn send_away(&mut self, date: &str) -> io::Result<Next> {
        let again = self.http.streams.again(clock::coarse_ms());
        self.refuse(Refusal::Busy(BUSY.to_owned(), again), date).await
    }

    async fn index(
        &mut self,
        asked: &Asked,
        generation: GenerationId,
        packed: Option<Arc<[u8]>>,
        date: &str,
    ) -> io::Result<Next> {
        let tag = format!("\"{generation}\"");
        let mut head = Vec::with_capacity(512);
        let Ok(Some(request)) = self.inbox.first() else { return Ok(Next::End) };
        let answer = match &packed {
            None => Answer::Known(&tag),
            Some(packed) => Answer::Whole(File { length: packed.len() as u64, tag: Some(&tag), kind: KIND }),
        };
        let keeps = answer.write(&request, date, &mut head);
        let next = following(&request, keeps);
        let mut sending = self.sending();
        match packed.filter(|_| !asked.is_head) {
            None => sending.head(head).await?,
            Some(packed) => {
                let part = 0..packed.len() as u64;
                sending.answer(head, Resource::Bytes(packed), part).await?;
            }
        }
        Ok(next)
    }

    async fn objects(
        &mut self,
        asked: &Asked,
        (objects, place): (Objects, Place),
        generation: GenerationId,
        date: &str,
    ) -> io::Result<Next> {
        let length = Wants::length(objects.len());
        if asked.list != length as u64 {
            return self.refuse(said(StatusCode::BAD_REQUEST, &oneroot_tree::wants::NoWants), date).await;
        }
        let mut head = Vec::with_capacity(512);
        let list = self.body(asked.head, length, LIST_TIME).await?;
        let wanted = Wants::parse(&list, objects.len());
        let answered = wanted.and_then(|wants| Ok((wants.total(&objects)?, wants)));
        let (total, wants) = match answered {
            Ok(answered) => answered,
            Err(cause) => {
                // The head of the request is forgotten by now; the connection ends with this.
                let refusal = Answer::Refused(said(StatusCode::BAD_REQUEST, &cause));
                refusal.write_as(asked.manner.last(), date, &mut head);
                self.sending().head(head).await?;
                return Ok(Next::End);
            }
        };
        Answer::Made(total, KIND).write_as(asked.manner.last(), date, &mut head);
        tracing::info!(peer = %self.peer.ip(), what = %asked.what, %generation, bytes = total, "sends files of a tree");
        self.slot.throughput.ask(LEAST, clock::coarse_ms());
        let machines = self.http.machines.clone();
        let mut sending = Sending { to: &mut self.wire, slot: &self.slot, reads: &self.http.tree_reads };
        sending.bytes(&head, true).await?;
        let stream = Stream { machines, objects, wants: Arc::new(wants), at: 0, begun: false, _place: place };
        stream.send(&mut sending).await?;
        Ok(Next::End)
    }
}

/// Objects on their way.
struct Stream {
    machines: Arc<Machines>,
    objects: Objects,
    wants: Arc<Wants>,
    /// The next object that is looked at.
    at: usize,
    /// Whether the first one is on its way: what is skipped of it is skipped.
    begun: bool,
    /// Held while something is read: a peer that is gone does not take the thread with it.
    _place: Place,
}

/// What is sent next: small files together in memory, and large ones from the page cache, in their order.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    parts: Vec<Part>,
    /// Bytes of all of it.
    length: u64,
}

enum Part {
    /// Up to here of those in memory.
    Bytes(usize),
    /// A file, from where it begins to its end.
    File(Arc<std::fs::File>, u64, u64),
}

impl Stream {
    async fn send(mut self, sending: &mut Sending<'_>) -> io::Result<()> {
        let reads = sending.reads.clone();
        let next = |mut stream: Self, piece: Piece| {
            let reads = reads.clone();
            let read = move || stream.piece(piece).map(|piece| (stream, piece));
            tokio::spawn(async move { reads.wait(read).await })
        };
        let mut reading = next(self, Piece::default());
        let mut used = Piece::default();
        loop {
            let (stream, piece) = reading.await.map_err(io::Error::other)??;
            self = stream;
            if piece.parts.is_empty() {
                return Ok(());
            }
            // The next is read while this one is sent.
            reading = next(self, used);
            let mut from = 0;
            for part in &piece.parts {
                match part {
                    Part::Bytes(to) => {
                        sending.bytes(piece.bytes.get(from..*to).unwrap_or_default(), true).await?;
                        from = *to;
                    }
                    Part::File(file, at, end) => sending.file(file, *at, *end).await?,
                }
            }
            used = piece;
        }
    }

    /// Reads the next piece, into the room of one that was sent; one without parts is the end.
    fn piece(&mut self, mut piece: Piece) -> io::Result<Piece> {
        piece.bytes.clear();
        // All that it may come to, so that it never grows to twice as much.
        piece.bytes.reserve_exact(usize::try_from(PIECE).unwrap_or(0) + SMALL);
        piece.parts.clear();
        piece.length = 0;
        while let Some((object, size)) = self.objects.get(self.at).copied() {
            let at = self.at;
            self.at += 1;
            if !self.wants.has(at) {
                continue;
            }
            let skip = if self.begun { 0 } else { self.wants.skip() };
            self.begun = true;
            if size == skip {
                continue;
            }
            let read = self.machines.read_object(object, skip, size, SMALL, &mut piece.bytes);
            let file =
                read.inspect_err(|cause| oneroot_machines::objects::Objects::complain(object, cause))?;
            match (file, piece.parts.last_mut()) {
                (Some(file), _) => piece.parts.push(Part::File(file, skip, size)),
                (None, Some(Part::Bytes(to))) => *to = piece.bytes.len(),
                (None, _) => piece.parts.push(Part::Bytes(piece.bytes.len())),
            }
            piece.length += size - skip;
            let files = piece.parts.iter().filter(|part| matches!(part, Part::File(..))).count();
            if piece.length >= PIECE || files >= FILES {
                break;
            }
        }
        Ok(piece)
    }
}
