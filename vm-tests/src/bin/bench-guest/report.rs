//! What came out: when and where, a line for each walk, and each goal with its figure.

use std::fmt::Write as _;

use oneroot_testkit::wire::{Calls, NFS, NFSACL};
use oneroot_vm_tests::host;
use oneroot_vm_tests::walk::{Lister, Listing as _, Walk, procedure};

use crate::view::PUBLISHED;

/// Calls that may come beside a warm walk: a machine that runs has other programs too.
const OTHERS: u64 = 20;

/// A walk through a place.
pub struct Row {
    /// Its name.
    pub place: &'static str,
    /// Which part of the view; all when it is empty.
    pub below: &'static str,
    /// What walked.
    pub lister: Lister,
    /// `cold` or `warm`.
    pub state: &'static str,
    /// What it found, and what the guest counted.
    pub walk: Walk,
    /// Seconds of its server's processor.
    pub server_cpu: f64,
    /// What its server was asked, counted on the wire.
    pub wire: Calls,
    /// Whether the goals are about it: our server, mounted as a root is.
    pub goal: bool,
}

/// Something that the issue asks for.
pub struct Goal {
    what: String,
    figure: f64,
    most: f64,
    /// The figure is not larger than the bound.
    pub is_reached: bool,
}

/// A run.
pub struct Report {
    /// When, where and with what it began.
    begun: String,
    /// What the mounts have come to: lines of /proc/mounts.
    pub mounted: Vec<String>,
    /// In the order in which they were measured.
    rows: Vec<Row>,
}

impl Report {
    /// An empty one.
    pub fn new(kernel: &str, rounds: usize) -> Self {
        let (host, ganesha) = (host::told(), host::version("nfs-ganesha"));
        let begun = format!("{host}, nfs-ganesha {ganesha}; the guest's kernel {kernel}; rounds: {rounds}");
        Self { begun, mounted: Vec::new(), rows: Vec::new() }
    }

    /// Of the same walk in several rounds, the fewest seconds count, for what else the host does only adds to them; and the
    /// most calls.
    pub fn add(&mut self, row: Row) {
        let same = |had: &&mut Row| {
            (had.place, had.below, had.lister, had.state) == (row.place, row.below, row.lister, row.state)
        };
        let Some(had) = self.rows.iter_mut().find(same) else { return self.rows.push(row) };
        let seconds = had.walk.seconds.min(row.walk.seconds);
        let (cpu, server_cpu) = (had.walk.cpu.min(row.walk.cpu), had.server_cpu.min(row.server_cpu));
        if row.wire.all() > had.wire.all() {
            *had = row;
        }
        (had.walk.seconds, had.walk.cpu, had.server_cpu) = (seconds, cpu, server_cpu);
    }

    /// `find -ls` cold, no more than 2.3 calls for a directory and one for each further page, none of them for one file;
    /// warm, none.
    pub fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        let mut goal = |row: &Row, what: &str, figure: f64, most: f64| {
            let what = format!("{}, {}: {what}", row.place, row.state);
            goals.push(Goal { what, figure, most, is_reached: figure <= most });
        };
        for row in self.rows.iter().filter(|row| row.goal && row.lister == Lister::Find) {
            if row.state == "cold" {
                goal(row, "calls a directory, further pages apart", row.each(), 2.3);
                let single = row.wire.one_by_one() as f64 / row.walk.names as f64;
                goal(row, "GETATTR, LOOKUP and READDIR a name", single, 0.01);
            } else {
                goal(row, "calls", row.wire.for_listing() as f64, OTHERS as f64);
            }
        }
        goals
    }

    /// For people; Markdown, as docs/benchmarks.md has it.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.begun);
        for line in &self.mounted {
            let _ = writeln!(text, "    {line}");
        }
        text += "\n| place | listing | names | directories | | seconds | guest's CPU | server's CPU | calls | a directory | READDIRPLUS | GETATTR | LOOKUP | ACCESS | READLINK | GETACL |\n\
                 |---|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.line());
        }
        let differ = self.rows.iter().filter(|row| row.wire != Calls::default());
        let differ = differ.map(|row| row.wire.to(NFS).abs_diff(row.walk.sent.to(NFS))).max().unwrap_or(0);
        let _ = writeln!(
            text,
            "\nCalls are counted on the wire, `a directory` without READLINK and further pages. The guest's own counters, \
             which are for all its servers and know no GETACL, differ by {differ} at most in one walk.\n"
        );
        text += "| cold, oneroot's to nfs-ganesha's | listing | seconds | guest's CPU | server's CPU |\n|---|---|---:|---:|---:|\n";
        for ours in self.rows.iter().filter(|row| row.state == "cold") {
            let theirs = ours.place.replacen("oneroot", "nfs-ganesha", 1);
            let same =
                |row: &&Row| row.place == theirs && row.listing() == ours.listing() && row.state == "cold";
            if let Some(theirs) = self.rows.iter().find(same).filter(|theirs| theirs.place != ours.place) {
                let _ = writeln!(
                    text,
                    "| {} | `{}` | {:.2} | {:.2} | {:.2} |",
                    ours.place,
                    ours.listing(),
                    ours.walk.seconds / theirs.walk.seconds,
                    ours.walk.cpu / theirs.walk.cpu,
                    ours.server_cpu / theirs.server_cpu
                );
            }
        }
        text += "\n| goal, `find -xdev -ls` | figure | at most | |\n|---|---:|---:|---|\n";
        for goal in self.goals() {
            let word = if goal.is_reached { "reached" } else { "**not reached**" };
            let _ = writeln!(text, "| {} | {:.4} | {} | {word} |", goal.what, goal.figure, goal.most);
        }
        text
    }
}

impl Row {
    /// Calls for a directory's first page and all that comes with it.
    fn each(&self) -> f64 {
        let calls = self.wire.for_listing() - self.wire.further_pages(self.walk.directories);
        calls as f64 / self.walk.directories as f64
    }

    fn listing(&self) -> String {
        self.lister.command(if self.below == PUBLISHED { PUBLISHED } else { "/" })
    }

    /// Its line of the table.
    pub fn line(&self) -> String {
        let Walk { names, directories, seconds, cpu, .. } = &self.walk;
        let start = format!(
            "| {} | `{}` | {names} | {directories} | {} | {seconds:.2} | {cpu:.2} | {:.2} |",
            self.place,
            self.listing(),
            self.state,
            self.server_cpu
        );
        if self.wire == Calls::default() {
            return start + " 0 | | | | | | | |";
        }
        let count = |number| self.wire.of(NFS, number);
        format!(
            "{start} {} | {:.2} | {} | {} | {} | {} | {} | {} |",
            self.wire.all(),
            self.each(),
            count(procedure::READDIRPLUS),
            count(procedure::GETATTR),
            count(procedure::LOOKUP),
            count(procedure::ACCESS),
            count(procedure::READLINK),
            self.wire.to(NFSACL),
        )
    }
}
