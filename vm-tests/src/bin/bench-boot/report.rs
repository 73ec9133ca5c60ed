//! What came out: when and where, a line for each tree and initrd, and each goal with its figure.

use std::fmt::Write as _;

use oneroot_vm_tests::host;

/// An initrd of oneroot's for a NIC that is known, and one with the common drivers.
const MOST_BYTES: f64 = 3e6;
const MOST_COMMON_BYTES: f64 = 9e6;
/// Part of the time that the tree's own initrd takes from the kernel's start to the root.
const MOST_OF_THE_TIME: f64 = 0.5;

/// How a boot went. Seconds count from the kernel's start.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Until its root was mounted.
    pub to_root: f64,
    /// Until it said that it is up.
    pub to_up: f64,
    /// Memory that is not available any more when everything is started.
    pub used_kib: u64,
    /// Of NFS, until it was up.
    pub calls: u64,
}

/// A tree that came up by an initrd.
pub struct Row {
    /// What made the tree's own.
    pub tree: &'static str,
    /// Whose it was.
    pub by: &'static str,
    /// Its size.
    pub bytes: u64,
    /// What came of it.
    pub boot: Boot,
}

impl Row {
    /// Its line of the table.
    pub fn line(&self) -> String {
        let Boot { to_root, to_up, used_kib, calls } = &self.boot;
        let (megabytes, mebibytes) = (self.bytes as f64 / 1e6, *used_kib as f64 / 1024.0);
        format!(
            "| {} | {} | {megabytes:.2} | {to_root:.2} | {to_up:.2} | {mebibytes:.0} | {calls} |",
            self.tree, self.by
        )
    }

    fn is_ours(&self) -> bool {
        self.by != "its own"
    }
}

/// Something that was asked for.
pub struct Goal {
    what: String,
    figure: f64,
    most: f64,
    /// The figure is not larger than the bound.
    pub is_reached: bool,
}

/// A run.
pub struct Report {
    begun: String,
    rows: Vec<Row>,
    /// Trees, what an initrd of oneroot's is for, and its bytes.
    sizes: Vec<(&'static str, &'static str, u64)>,
}

impl Report {
    /// An empty one.
    pub fn new(rounds: usize) -> Self {
        Self { begun: format!("{}; rounds: {rounds}", host::told()), rows: Vec::new(), sizes: Vec::new() }
    }

    /// Of the same in several rounds the fewest seconds count, for what else the host does only adds to them; of memory and
    /// calls, the most.
    pub fn add(&mut self, row: Row) {
        let same = |had: &&mut Row| (had.tree, had.by) == (row.tree, row.by);
        let Some(had) = self.rows.iter_mut().find(same) else { return self.rows.push(row) };
        let (had, new) = (&mut had.boot, &row.boot);
        had.to_root = had.to_root.min(new.to_root);
        had.to_up = had.to_up.min(new.to_up);
        had.used_kib = had.used_kib.max(new.used_kib);
        had.calls = had.calls.max(new.calls);
    }

    /// An initrd of oneroot's that nothing booted by.
    pub fn size(&mut self, tree: &'static str, what: &'static str, bytes: u64) {
        self.sizes.push((tree, what, bytes));
    }

    /// Bytes, and the time to the root beside the tree's own initrd.
    pub fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        let mut goal = |what: String, figure: f64, most: f64| {
            goals.push(Goal { what, figure, most, is_reached: figure <= most });
        };
        for ours in self.rows.iter().filter(|row| row.is_ours()) {
            goal(format!("{}: bytes for the machine's NIC", ours.tree), ours.bytes as f64, MOST_BYTES);
            let theirs = self.rows.iter().find(|row| row.tree == ours.tree && !row.is_ours());
            if let Some(theirs) = theirs {
                let part = ours.boot.to_root / theirs.boot.to_root;
                goal(format!("{}: part of its own time to the root", ours.tree), part, MOST_OF_THE_TIME);
            }
        }
        for (tree, what, bytes) in &self.sizes {
            let most = if *what == "a known NIC" { MOST_BYTES } else { MOST_COMMON_BYTES };
            goal(format!("{tree}: bytes for {what}"), *bytes as f64, most);
        }
        goals
    }

    /// For people; Markdown, as docs/benchmarks.md has it.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}\n\n| tree | initrd | MB | kernel to root, s | kernel to up, s | memory in use, MiB | NFS calls |\n\
             |---|---|---:|---:|---:|---:|---:|\n",
            self.begun
        );
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.line());
        }
        text += "\n| goal | figure | at most | |\n|---|---:|---:|---|\n";
        for goal in self.goals() {
            let word = if goal.is_reached { "reached" } else { "**not reached**" };
            let figure =
                if goal.most < 10.0 { format!("{:.2}", goal.figure) } else { goal.figure.to_string() };
            let _ = writeln!(text, "| {} | {figure} | {} | {word} |", goal.what, goal.most);
        }
        text
    }
}
