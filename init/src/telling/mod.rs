//! How the boot goes, told to whoever sits at the console and to the servers.
//!
//! What happens before there is an address is kept, and told when there is one. Servers that do not answer cost a boot at most
//! [`BUDGET`] altogether. A failure may cost [`ONE`] for each server on top, for then the machine waits anyway. A server that is too
//! busy for a report gets it again after a pause that grows, and costs a boot [`BUDGET`] once more; one that refuses it does not.

mod page;

use std::net::SocketAddr;
use std::time::Duration;

use oneroot_ids::BootId;
use oneroot_initrd::report::{MOST_KERNEL_LINES, Phase, Report};
use oneroot_initrd::settings::Settings;

use crate::kernel::Kernel;
use crate::trouble::Trouble;

/// What waiting for the servers may cost a boot that goes well.
pub const BUDGET: Duration = Duration::from_secs(3);
/// What one report may cost.
pub const ONE: Duration = Duration::from_secs(1);
/// Reports that are kept: of more, the newest are what is not known yet.
const MOST_KEPT: usize = 16;
/// The same trouble is told again after this, so that a server which was away hears of it.
const AGAIN: Duration = Duration::from_secs(60);
/// The first pause before a report is sent again that no server had time for, and the longest; each up to half as much longer, so
/// that machines which overran a server together do not do so again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A clock that is wrong by less is the real init's to put right.
const FAR_OFF: u64 = 86_400;

/// Who tells.
pub struct Teller<'k> {
    kernel: &'k dyn Kernel,
    boot: Option<BootId>,
    servers: Vec<SocketAddr>,
    /// There is an address to tell from.
    can_post: bool,
    kept: Vec<Report>,
    /// When what is kept is sent again, and the pause before that; none where no server was too busy.
    later: Option<(Duration, Duration)>,
    budget: Duration,
    phase: Phase,
    since: Duration,
    last: Option<(String, Duration)>,
    clock_is_set: bool,
}

impl<'k> Teller<'k> {
    /// One that tells the console alone, until it is told of servers.
    #[must_use]
    pub fn new(kernel: &'k dyn Kernel) -> Self {
        Self {
            kernel,
            boot: None,
            servers: Vec::new(),
            can_post: false,
            kept: Vec::new(),
            later: None,
            budget: BUDGET,
            phase: Phase::Settings,
            since: kernel.now(),
            last: None,
            clock_is_set: false,
        }
    }

    /// Whose boot this is, and who hears of it.
    pub fn know(&mut self, settings: &Settings) {
        self.boot = Some(settings.boot);
        self.servers =
            settings.servers.iter().map(|server| SocketAddr::new(server.address, server.http)).collect();
        self.kernel.print(&page::title(settings, &self.kernel.release()));
    }

    /// What it is busy with now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// A phase begins.
    pub fn begin(&mut self, phase: Phase) {
        (self.phase, self.since, self.last) = (phase, self.kernel.now(), None);
    }

    /// It has come to an end, and to this.
    pub fn done(&mut self, came_to: &str) {
        let report = self.report(None, None);
        self.kernel.print(&page::done(&report, came_to));
        self.tell(report);
    }

    /// There is an address now.
    pub fn connected(&mut self) {
        self.can_post = true;
    }

    /// It does not go on. Said once, and again when a while has gone by.
    pub fn fail(&mut self, trouble: &Trouble, next: &str) {
        let (sentence, now) = (trouble.to_string(), self.kernel.now());
        let said = self.last.as_ref().filter(|(last, _)| *last == sentence).map(|(_, at)| *at);
        // What nobody could be told yet is kept, once.
        if said.is_some_and(|at| now < at + AGAIN || !self.can_post) {
            if self.later.is_some() {
                self.send(true);
            }
            return;
        }
        let report = self.report(Some(sentence.clone()), None);
        if said.is_none() {
            self.kernel.print(&page::failed(&report, &sentence, next));
        }
        self.last = Some((sentence, now));
        self.tell(report);
    }

    /// Something that is to be known and stops nothing.
    pub fn note(&mut self, trouble: &Trouble) {
        let sentence = trouble.to_string();
        let report = self.report(None, Some(sentence.clone()));
        self.kernel.print(&page::failed(&report, &sentence, "the boot goes on"));
        self.tell(report);
    }

    /// The last chance to be heard, before another program takes over or the machine starts again: what a server was too busy for
    /// is sent again within that time.
    pub fn last(&mut self, patience: Duration) {
        let end = self.kernel.now() + patience;
        while let Some((at, pause)) = self.later.filter(|_| !self.kept.is_empty()) {
            self.kernel.sleep(at.min(end).saturating_sub(self.kernel.now()));
            // One more time when there is no more time.
            let is_last = at >= end;
            if is_last {
                self.later = Some((Duration::ZERO, pause));
            }
            self.send(true);
            if is_last {
                return;
            }
        }
    }

    fn report(&self, failure: Option<String>, note: Option<String>) -> Report {
        let now = self.kernel.now();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let is_well = failure.is_none() && note.is_none();
        let kernel = if is_well { Vec::new() } else { self.kernel.log(MOST_KERNEL_LINES) };
        let took_ms = millis(now.saturating_sub(self.since));
        Report { phase: self.phase, at_ms: millis(now), took_ms, failure, note, kernel }
    }

    /// Tells it, and all that is kept, or keeps it. The order stays.
    fn tell(&mut self, report: Report) {
        let waits = report.failure.is_some();
        if self.kept.len() >= MOST_KEPT {
            self.kept.remove(0);
        }
        self.kept.push(report);
        self.send(waits);
    }

    /// Tells all that is kept, if it is time for that. `waits` where the machine waits anyway.
    fn send(&mut self, waits: bool) {
        let Some(boot) = self.boot.filter(|_| self.can_post) else { return };
        if self.later.is_some_and(|(at, _)| self.kernel.now() < at) {
            return;
        }
        let path = format!("/b/{boot}/report");
        let mut is_busy = false;
        for place in 0..self.servers.len() {
            let mut answers = false;
            while let (Some(report), Some(server)) = (self.kept.first(), self.servers.get(place)) {
                let within = if waits { ONE } else { self.budget.min(ONE) };
                let before = self.kernel.now();
                if within.is_zero() {
                    return;
                }
                let answer = self.kernel.post(*server, &path, &report.to_string(), within);
                let Ok(answer) = answer else {
                    if !waits {
                        self.budget = self.budget.saturating_sub(self.kernel.now().saturating_sub(before));
                    }
                    break;
                };
                self.set_clock(answer.date);
                if answer.is_busy() {
                    is_busy = true;
                    break;
                }
                self.kept.remove(0);
                answers = true;
            }
            if answers {
                // It is asked first from now on.
                self.servers.swap(0, place);
            }
        }
        self.later = self.next_try(is_busy);
    }

    /// When what is kept is sent again, and the pause before that.
    fn next_try(&self, is_busy: bool) -> Option<(Duration, Duration)> {
        let (first, longest) = PAUSES;
        let pause = self.later.map_or(first, |(_, last)| (last * 2).min(longest));
        let half = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX) / 2;
        let more = Duration::from_millis(self.kernel.random() % (half + 1));
        is_busy.then(|| (self.kernel.now() + pause + more, pause))
    }

    /// A machine without a battery for its clock begins in 1970, where no certificate holds yet. It is set once, and never back: a server
    /// may have no battery either, and then another knows better, or the same one later.
    fn set_clock(&mut self, date: Option<u64>) {
        let Some(date) = date.filter(|_| !self.clock_is_set) else { return };
        if date.saturating_sub(self.kernel.clock()) > FAR_OFF && self.kernel.set_clock(date).is_ok() {
            self.clock_is_set = true;
            self.kernel.print("  the clock was far off and is set by the server's");
        }
    }
}
