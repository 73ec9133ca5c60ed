//! All transfers: who gets a place, what a repeated request means, and whose packet it is.
//!
//! A full server helps those who have shown that they exist: a session that was never acknowledged may come from a
//! forged address, so it is the first to go. When nobody can go the request is dropped in silence: clients repeat a
//! request, but an ERROR would end their boot.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use crate::limits::{DUPLICATE_WITHIN, EXPIRE_BATCH, OPEN_WITHIN};
use crate::packet::{self, Incoming, Inside, ReadRequest};
use crate::session::{Flight, Reaction, Transfer};
use crate::{Content, Counters, Datagrams, Limits, Now, Outcome, Peer, SessionId, Step, TftpError};

/// Every transfer of a server. One per port 69; it answers each call at once and keeps no packet.
pub struct Engine {
    limits: Limits,
    counters: Counters,
    next_id: u64,
    sessions: HashMap<SessionId, Session>,
    /// A client's address and port has one transfer, as with a connection (RFC 1350 §4).
    by_remote: HashMap<SocketAddr, SessionId>,
    deadlines: BTreeSet<(Now, SessionId)>,
}

struct Session {
    peer: Peer,
    request: ReadRequest,
    started: Now,
    deadline: Now,
    /// None until the shell has opened the file.
    transfer: Option<Transfer>,
    /// The shell has been asked for contents, and has not answered.
    fetching: bool,
}

impl Session {
    fn proven(&self) -> bool {
        self.transfer.as_ref().is_some_and(Transfer::proven)
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// An engine with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// An engine with a site's own limits.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self {
            limits,
            counters: Counters::default(),
            next_id: 0,
            sessions: HashMap::new(),
            by_remote: HashMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many transfers there are now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// A datagram arrived on port 69.
    pub fn request(&mut self, now: Now, peer: Peer, datagram: &[u8]) -> Vec<Step> {
        let request = match packet::incoming(datagram) {
            // Nothing can be sent to port 0.
            Incoming::NotARequest => return self.silence(),
            _ if peer.remote.port() == 0 => return self.silence(),
            Incoming::Refused(cause) => {
                self.counters.bad_requests += 1;
                return vec![Step::Stray { to: peer.remote, bytes: packet::error(cause) }];
            }
            Incoming::Read(request) => request,
        };
        self.counters.requests += 1;
        let mut steps = Vec::new();
        if let Some(&id) = self.by_remote.get(&peer.remote) {
            let same =
                self.sessions.get(&id).is_some_and(|s| s.peer == peer && s.request.name == request.name);
            if same {
                return self.repeated(now, id, request);
            }
            self.end(id, Outcome::Replaced, &mut steps);
        }
        if !self.make_room(peer.remote.ip(), &mut steps) {
            self.counters.busy += 1;
            return steps;
        }
        let session = SessionId(self.next_id);
        self.next_id += 1;
        steps.push(Step::Open { session, peer, name: request.name.clone() });
        let deadline = now.after(OPEN_WITHIN);
        self.by_remote.insert(peer.remote, session);
        self.deadlines.insert((deadline, session));
        self.sessions.insert(
            session,
            Session { peer, request, started: now, deadline, transfer: None, fetching: false },
        );
        steps
    }

    fn silence(&mut self) -> Vec<Step> {
        self.counters.not_requests += 1;
        Vec::new()
    }

    /// The same client port asks for the same file again: it missed the answer, or the machine has been reset. Both
    /// are helped by starting over on the same port; a second transfer would confuse the first.
    fn repeated(&mut self, now: Now, id: SessionId, request: ReadRequest) -> Vec<Step> {
        self.counters.repeated += 1;
        let Some(session) = self.sessions.get_mut(&id) else { return Vec::new() };
        let copy = session.request == request && now < session.started.after(DUPLICATE_WITHIN);
        if session.proven() && copy {
            return Vec::new();
        }
        session.request = request;
        session.started = now;
        let Some(transfer) = session.transfer.take() else { return Vec::new() };
        let (transfer, reaction) = transfer.restart(now, session.peer, session.request.options, &self.limits);
        session.transfer = Some(transfer);
        self.react(id, reaction)
    }

    /// Finds a place for one more transfer to `address`; false if there is none.
    fn make_room(&mut self, address: IpAddr, steps: &mut Vec<Step>) -> bool {
        let (mut of_address, mut unproven, mut unproven_of_address) = (0, None, None);
        for (&id, session) in &self.sessions {
            let mine = session.peer.remote.ip() == address;
            of_address += usize::from(mine);
            if !session.proven() {
                unproven = older(unproven, (session.started, id));
                if mine {
                    unproven_of_address = older(unproven_of_address, (session.started, id));
                }
            }
        }
        let victim = if of_address >= self.limits.per_address {
            unproven_of_address
        } else if self.sessions.len() >= self.limits.sessions {
            unproven
        } else {
            return true;
        };
        let Some((_, id)) = victim else { return false };
        self.end(id, Outcome::Evicted, steps);
        true
    }

    /// The shell has found the file: the transfer begins. Without effect if it has ended in the meantime.
    pub fn opened(&mut self, now: Now, session: SessionId, content: Box<dyn Content>) -> Vec<Step> {
        let Some(entry) = self.sessions.get_mut(&session).filter(|entry| entry.transfer.is_none()) else {
            return Vec::new();
        };
        let (transfer, reaction) =
            Transfer::start(now, entry.peer, entry.request.options, &self.limits, content);
        entry.transfer = Some(transfer);
        self.react(session, reaction)
    }

    /// The shell has read what [`Step::Fetch`] asked for: the same contents, with those bytes in memory; none if they
    /// can't be read. Without effect if the transfer has ended.
    pub fn fetched(&mut self, now: Now, session: SessionId, content: Option<Box<dyn Content>>) -> Vec<Step> {
        let Some(entry) = self.sessions.get_mut(&session).filter(|entry| entry.fetching) else {
            return Vec::new();
        };
        entry.fetching = false;
        let Some(transfer) = &mut entry.transfer else { return Vec::new() };
        let reaction = transfer.fetched(now, content);
        self.react(session, reaction)
    }

    /// The shell won't serve the file: the client is told so at once. Without effect if the transfer has ended.
    pub fn refused(&mut self, _now: Now, session: SessionId, error: TftpError) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.sessions.contains_key(&session) {
            steps.push(Step::Send { session, datagrams: Datagrams::one(packet::error(error)) });
            self.end(session, Outcome::Refused(error), &mut steps);
        }
        steps
    }

    /// A datagram arrived on a transfer's own port, from `from`.
    pub fn packet(&mut self, now: Now, session: SessionId, from: SocketAddr, datagram: &[u8]) -> Vec<Step> {
        let Some(entry) = self.sessions.get_mut(&session) else { return Vec::new() };
        let packet = packet::inside(datagram);
        if from != entry.peer.remote {
            self.counters.strangers += 1;
            return match packet {
                // An ERROR is never answered, by whomever it is sent, and garbage gets no more than silence.
                Inside::Error(_) | Inside::Garbage => Vec::new(),
                _ if from.port() == 0 => Vec::new(),
                _ => vec![Step::Stray { to: from, bytes: packet::error(TftpError::UnknownTransfer) }],
            };
        }
        let reaction = match (packet, &mut entry.transfer) {
            (Inside::Ack(number), Some(transfer)) => transfer.acknowledged(now, number),
            (Inside::Error(code), Some(transfer)) => Reaction::End(None, transfer.stopped(code)),
            (Inside::Error(code), None) => Reaction::End(None, Outcome::ClientError { code }),
            _ => Reaction::Ignore,
        };
        self.react(session, reaction)
    }

    /// Time has passed: resends what is due and ends what is hopeless, at most [`EXPIRE_BATCH`] transfers in a call.
    pub fn expire(&mut self, now: Now) -> Vec<Step> {
        let due: Vec<_> =
            self.deadlines.iter().take_while(|(at, _)| *at <= now).take(EXPIRE_BATCH).copied().collect();
        let mut steps = Vec::new();
        for (_, id) in due {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let reaction = match &mut session.transfer {
                Some(transfer) => transfer.expired(now),
                None => Reaction::End(None, Outcome::NeverOpened),
            };
            steps.extend(self.react(id, reaction));
        }
        steps
    }

    /// When [`Engine::expire`] must be called next; none while there is no transfer.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Turns a transfer's wish into steps and keeps its deadline in order.
    fn react(&mut self, id: SessionId, reaction: Reaction) -> Vec<Step> {
        let mut steps = Vec::new();
        let flight = match reaction {
            Reaction::Ignore => {
                self.counters.ignored += 1;
                Flight::default()
            }
            Reaction::Forward(flight) => flight,
            Reaction::Again(flight) => {
                self.counters.resends += 1;
                flight
            }
            Reaction::End(farewell, outcome) => {
                let farewell = farewell.map(Datagrams::one);
                steps.extend(farewell.map(|datagrams| Step::Send { session: id, datagrams }));
                self.end(id, outcome, &mut steps);
                return steps;
            }
        };
        steps.extend(flight.datagrams.map(|datagrams| Step::Send { session: id, datagrams }));
        let Some(session) = self.sessions.get_mut(&id) else { return steps };
        // What is being read already comes first, even if it is not what is wanted any more; then this is asked again.
        if let Some(offset) = flight.wanted.filter(|_| !session.fetching) {
            session.fetching = true;
            steps.push(Step::Fetch { session: id, offset });
        }
        if let Some(transfer) = &session.transfer
            && transfer.deadline() != session.deadline
        {
            self.deadlines.remove(&(session.deadline, id));
            session.deadline = transfer.deadline();
            self.deadlines.insert((session.deadline, id));
        }
        steps
    }

    fn end(&mut self, id: SessionId, outcome: Outcome, steps: &mut Vec<Step>) {
        if let Some(session) = self.sessions.remove(&id) {
            self.by_remote.remove(&session.peer.remote);
            self.deadlines.remove(&(session.deadline, id));
            self.counters.ended(outcome);
            steps.push(Step::Ended { session: id, outcome });
        }
    }
}

fn older(oldest: Option<(Now, SessionId)>, other: (Now, SessionId)) -> Option<(Now, SessionId)> {
    Some(oldest.map_or(other, |oldest| oldest.min(other)))
}
