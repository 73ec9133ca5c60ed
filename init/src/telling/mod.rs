//! How the boot goes, told to whoever sits at the console and to the servers.
//!
//! What happens before there is an address is kept, and told when there is one. Servers that do not answer cost a boot at most
//! [`BUDGET`] altogether. A failure may cost [`ONE`] for each server on top, for then the machine waits anyway.

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
        let report = self.report(None);
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
            return;
        }
        let report = self.report(Some(sentence.clone()));
        if said.is_none() {
            self.kernel.print(&page::failed(&report, &sentence, next));
        }
        self.last = Some((sentence, now));
        self.tell(report);
    }

    /// Something that is to be known and stops nothing.
    pub fn note(&mut self, trouble: &Trouble) {
        let sentence = trouble.to_string();
        let report = self.report(Some(sentence.clone()));
        self.kernel.print(&page::failed(&report, &sentence, "the boot goes on"));
        self.tell(report);
    }

    fn report(&self, failure: Option<String>) -> Report {
        let now = self.kernel.now();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let kernel = if failure.is_some() { self.kernel.log(MOST_KERNEL_LINES) } else { Vec::new() };
        let took_ms = millis(now.saturating_sub(self.since));
        Report { phase: self.phase, at_ms: millis(now), took_ms, failure, kernel }
    }

    /// Tells it, and all that is kept, or keeps it. The order stays.
    fn tell(&mut self, report: Report) {
        let waits = report.failure.is_some();
        if self.kept.len() >= MOST_KEPT {
            self.kept.remove(0);
        }
        self.kept.push(report);
        let Some(boot) = self.boot.filter(|_| self.can_post) else { return };
        let path = format!("/b/{boot}/report");
        for place in 0..self.servers.len() {
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
                self.kept.remove(0);
                // The one that answers is asked first from now on.
                self.servers.swap(0, place);
                self.set_clock(answer.date);
            }
        }
    }

    /// A machine without a battery for its clock begins in 1970, where no certificate holds yet.
    fn set_clock(&mut self, date: Option<u64>) {
        let Some(date) = date.filter(|_| !self.clock_is_set) else { return };
        self.clock_is_set = true;
        if self.kernel.clock().abs_diff(date) > FAR_OFF && self.kernel.set_clock(date).is_ok() {
            self.kernel.print("  the clock was far off and is set by the server's");
        }
    }
}
