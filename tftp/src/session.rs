//! One transfer: negotiation (RFC 2347), blocks and windows (RFC 1350, 7440), and the timer.
//!
//! Blocks are counted from 1 in 64 bits; only the packet layer knows that the wire has 16. Between two packets a
//! transfer holds numbers, never data: a window that must be sent again is read again.

use std::io;

use crate::limits::{
    FIRST_INTERVAL, LONGEST_INTERVAL, MAX_RESENDS, MAX_RESENDS_UNPROVEN, MAX_WINDOWSIZE, OPEN_WITHIN,
};
use crate::packet::{self, DATA_HEADER, Options, wire_number};
use crate::{Content, Datagrams, Limits, Now, Outcome, Peer, TftpError};

/// Block size that every client may use without asking (RFC 1350 §2).
const DEFAULT_BLKSIZE: u16 = 512;

/// What a transfer wants to be done.
pub(crate) enum Reaction {
    /// Nothing; the packet changed nothing.
    Ignore,
    /// Send this for the first time.
    Forward(Flight),
    /// Send this once more.
    Again(Flight),
    /// It is over; the packet tells the client.
    End(Option<Vec<u8>>, Outcome),
}

/// What goes out at a time.
#[derive(Default)]
pub(crate) struct Flight {
    pub(crate) datagrams: Option<Datagrams>,
    /// Where the contents are wanted that are not in memory, and that follow.
    pub(crate) wanted: Option<u64>,
}

/// A transfer whose file is open.
pub(crate) struct Transfer {
    content: Box<dyn Content>,
    size: u64,
    blksize: u16,
    windowsize: u16,
    /// Seconds between resends, as the client wants them.
    timeout: Option<u8>,
    /// The OACK, until it is acknowledged.
    oack: Option<Vec<u8>>,
    /// The client asked for the size: an ERROR instead of the first ACK means that it wanted nothing else.
    probe: bool,
    /// The client has acknowledged something, so its address is not forged.
    proven: bool,
    /// Number of the last block, which is shorter than `blksize`, possibly empty.
    last: u64,
    /// Blocks up to here have arrived.
    acked: u64,
    /// Blocks up to here have been sent.
    sent: u64,
    /// How far had been sent after an ACK last made blocks go out again (`recover` in RFC 6582).
    recover: u64,
    resends: u8,
    /// When an ACK last made blocks go out again that had been sent twice or more, or may be there.
    hastened: Option<Now>,
    /// The block that is sent next when the contents are in memory; while they are not, nothing else is sent.
    wanted: Option<u64>,
    deadline: Now,
}

impl Transfer {
    /// Grants the options within the limits and makes the first packet.
    pub(crate) fn start(
        now: Now,
        peer: Peer,
        asked: Options,
        limits: &Limits,
        content: Box<dyn Content>,
    ) -> (Self, Reaction) {
        // What was asked is never exceeded: EDK2 ends a transfer whose OACK does.
        let granted = Options {
            blksize: asked.blksize.map(|size| size.min(limits.blksize(peer.remote.ip()))),
            windowsize: asked.windowsize.map(|blocks| blocks.min(limits.windowsize.clamp(1, MAX_WINDOWSIZE))),
            ..asked
        };
        let size = content.len();
        let blksize = granted.blksize.unwrap_or(DEFAULT_BLKSIZE);
        let mut transfer = Self {
            content,
            size,
            blksize,
            windowsize: granted.windowsize.unwrap_or(1),
            timeout: granted.timeout,
            oack: (granted != Options::default()).then(|| packet::oack(granted, size)),
            probe: granted.tsize,
            proven: false,
            // A file of exactly n blocks has an empty one behind them, or the client would wait for more.
            last: (size / u64::from(blksize)).saturating_add(1),
            acked: 0,
            sent: 0,
            recover: 0,
            resends: 0,
            hastened: None,
            wanted: None,
            deadline: now,
        };
        let reaction = transfer.flight(now).map_or_else(|over| over, Reaction::Forward);
        (transfer, reaction)
    }

    /// Starts anew for a client that repeats its request, with the options of the new request.
    pub(crate) fn restart(self, now: Now, peer: Peer, asked: Options, limits: &Limits) -> (Self, Reaction) {
        let spent = if self.proven { 0 } else { self.resends };
        let (mut fresh, reaction) = Self::start(now, peer, asked, limits, self.content);
        // Each request is worth one packet; only the resends by the timer have a budget, which is not filled up again.
        fresh.resends = spent;
        if fresh.wanted.is_none() {
            fresh.deadline = now.after(fresh.interval());
        }
        (fresh, reaction)
    }

    /// The same contents, of which what was wanted is in memory now; none if it can't be read.
    pub(crate) fn fetched(&mut self, now: Now, content: Option<Box<dyn Content>>) -> Reaction {
        let Some(content) = content else { return unreadable() };
        self.content = content;
        let Some(wanted) = self.wanted.take() else { return Reaction::Forward(Flight::default()) };
        // What was acknowledged meanwhile is not sent again.
        let first = wanted.max(self.acked + 1);
        self.flight_from(first, now).map_or_else(|over| over, Reaction::Forward)
    }

    pub(crate) fn deadline(&self) -> Now {
        self.deadline
    }

    pub(crate) fn proven(&self) -> bool {
        self.proven
    }

    pub(crate) fn acknowledged(&mut self, now: Now, number: u16) -> Reaction {
        if self.oack.is_some() {
            if number != 0 {
                return Reaction::Ignore;
            }
            self.oack = None;
            return self.proceed(now, 0);
        }
        // At most 64 blocks are under way, so 16 bits tell which is meant, and anything else is old or made up.
        let arrived = u64::from(number.wrapping_sub(wire_number(self.acked)));
        if arrived > self.sent - self.acked {
            return Reaction::Ignore;
        }
        if arrived == 0 { self.repeated(now) } else { self.proceed(now, arrived) }
    }

    /// `arrived` more blocks are known to be there: send what follows them. In a window with a gap this begins with
    /// the block behind the gap's edge (RFC 7440 §4).
    fn proceed(&mut self, now: Now, arrived: u64) -> Reaction {
        self.proven = true;
        self.resends = 0;
        self.acked += arrived;
        if self.acked >= self.last {
            return Reaction::End(None, Outcome::Completed { bytes: self.size });
        }
        if self.wanted.is_some() {
            return Reaction::Forward(Flight::default());
        }
        // EDK2 answers a doubled block as it answers a missing one. What is then sent for the second time makes more
        // such answers; were they believed too, every window to the end of the file would go out several times. So
        // among blocks that have been sent again, an ACK only brings new ones, and the timer fills a second gap.
        let gap = self.acked < self.sent;
        let believed = !gap || self.acked >= self.recover || self.may_hasten(now);
        let first = if believed { self.acked } else { self.sent } + 1;
        let reaction = self.flight_from(first, now).map_or_else(|over| over, Reaction::Forward);
        if gap && believed {
            self.recover = self.sent;
        }
        reaction
    }

    /// The client repeats the ACK that it has sent before.
    ///
    /// In lock step that is never a reason to send (RFC 1123 §4.2.3.1): each copy of an ACK would make a copy of a
    /// block, and each copy of a block a copy of an ACK, to the end of the file. With windows it is how a client says
    /// that the first block of a window is missing, so it is believed, but once per interval only.
    fn repeated(&mut self, now: Now) -> Reaction {
        if self.windowsize == 1
            || self.wanted.is_some()
            || !self.proven
            || self.resends >= MAX_RESENDS
            || !self.may_hasten(now)
        {
            return Reaction::Ignore;
        }
        // From the timer's budget: a client that only ever repeats itself must not be served for ever.
        self.resends += 1;
        self.again(now)
    }

    /// Whether an ACK of doubtful meaning may cause a resend; if so, the next one must wait for an interval.
    fn may_hasten(&mut self, now: Now) -> bool {
        let may = self.hastened.is_none_or(|at| now >= at.after(self.interval()));
        if may {
            self.hastened = Some(now);
        }
        may
    }

    pub(crate) fn stopped(&self, code: u16) -> Outcome {
        if self.probe && !self.proven { Outcome::Probed } else { Outcome::ClientError { code } }
    }

    /// The deadline has come.
    pub(crate) fn expired(&mut self, now: Now) -> Reaction {
        if self.wanted.is_some() {
            return unreadable();
        }
        let budget = if self.proven { MAX_RESENDS } else { MAX_RESENDS_UNPROVEN };
        if self.resends >= budget {
            return Reaction::End(None, self.silence());
        }
        self.resends += 1;
        self.again(now)
    }

    /// Everything on the way is sent once more.
    fn again(&mut self, now: Now) -> Reaction {
        let flight = self.flight(now);
        self.recover = self.sent;
        flight.map_or_else(|over| over, Reaction::Again)
    }

    /// What it means that the client says nothing any more.
    fn silence(&self) -> Outcome {
        if self.proven && self.sent == self.last {
            Outcome::Completed { bytes: self.size }
        } else {
            Outcome::TimedOut { bytes: self.acked.saturating_mul(u64::from(self.blksize)).min(self.size) }
        }
    }

    /// All packets that wait for an ACK.
    fn flight(&mut self, now: Now) -> Result<Flight, Reaction> {
        self.flight_from(self.acked + 1, now)
    }

    /// The OACK, or the window from block `first` on, as far as the contents are in memory; sets the time until the
    /// whole window is sent again.
    fn flight_from(&mut self, first: u64, now: Now) -> Result<Flight, Reaction> {
        self.deadline = now.after(self.interval());
        self.wanted = None;
        if let Some(oack) = &self.oack {
            return Ok(Flight { datagrams: Some(Datagrams::one(oack.clone())), wanted: None });
        }
        let end = self.acked.saturating_add(u64::from(self.windowsize)).min(self.last);
        let (datagrams, made) = self.blocks(first, end).map_err(|_| unreadable())?;
        if made >= end {
            self.sent = end;
            return Ok(Flight { datagrams, wanted: None });
        }
        // Blocks behind it may have been sent before, and may be acknowledged.
        self.sent = self.sent.max(made);
        self.wanted = Some(made + 1);
        self.deadline = now.after(OPEN_WITHIN);
        Ok(Flight { datagrams, wanted: Some(self.offset(made + 1)) })
    }

    /// Blocks `first` to `end`, or to where the contents are not in memory, and the last that was made.
    fn blocks(&self, first: u64, end: u64) -> io::Result<(Option<Datagrams>, u64)> {
        let stride = DATA_HEADER + usize::from(self.blksize);
        let most = usize::try_from((end + 1).saturating_sub(first)).map_err(io::Error::other)?;
        let mut bytes = vec![0; stride.saturating_mul(most)];
        let (mut made, mut length) = (first.saturating_sub(1), 0);
        for (number, place) in (first..=end).zip(bytes.chunks_mut(stride)) {
            match self.block(number, place) {
                Ok(count) => (made, length) = (number, length + count),
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                Err(cause) => return Err(cause),
            }
        }
        bytes.truncate(length);
        let datagrams = (length > 0).then(|| Datagrams::many(bytes, stride));
        Ok((datagrams, made))
    }

    /// Makes a block and says how many bytes it has; only the last is shorter than its place.
    fn block(&self, number: u64, place: &mut [u8]) -> io::Result<usize> {
        let offset = self.offset(number);
        let length = self.size.saturating_sub(offset).min(u64::from(self.blksize));
        let length = usize::try_from(length).map_err(io::Error::other)?;
        if let Some((header, data)) = place.split_first_chunk_mut() {
            *header = packet::data_header(number);
            self.read_exact_at(offset, data.get_mut(..length).unwrap_or_default())?;
        }
        Ok(DATA_HEADER + length)
    }

    /// Where a block begins.
    fn offset(&self, number: u64) -> u64 {
        number.saturating_sub(1).saturating_mul(u64::from(self.blksize))
    }

    fn read_exact_at(&self, mut offset: u64, mut rest: &mut [u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.content.read_at(offset, rest) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    rest = rest.get_mut(count..).unwrap_or_default();
                    offset = offset.saturating_add(count as u64);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }

    /// Milliseconds to wait after the packet that was just sent. The client's own figure holds as it is (RFC 2349);
    /// without one the interval doubles, for a client that is slow and not gone gets no faster by being asked more.
    fn interval(&self) -> u64 {
        match self.timeout {
            Some(seconds) => u64::from(seconds) * 1_000,
            None => (FIRST_INTERVAL << self.resends.min(MAX_RESENDS)).min(LONGEST_INTERVAL),
        }
    }
}

/// The contents can't be read, and the client is told so.
fn unreadable() -> Reaction {
    Reaction::End(Some(packet::error(TftpError::Unreadable)), Outcome::ReadFailed)
}
