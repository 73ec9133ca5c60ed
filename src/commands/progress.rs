//! How far something is that takes long: on a terminal, while it goes on.

use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use oneroot_sources::Progress;

use crate::escape;

/// Shows that something goes on, on a terminal.
pub fn spinner(name: &str, quiet: bool) -> ProgressBar {
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    bar.set_style(
        ProgressStyle::with_template("{spinner} {prefix}: {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    bar.set_prefix(escape::line(name).into_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Makes a spinner a bar, where it is known about how much is to come.
pub fn expect(bar: &ProgressBar, entries: u64) {
    bar.set_length(entries);
    let style = ProgressStyle::with_template("{spinner} {prefix} [{bar:24}] {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
}

/// How far a source is, on a bar of its own.
pub struct Shown<'b>(pub &'b ProgressBar);

impl Progress for Shown<'_> {
    fn is_shown(&self) -> bool {
        !self.0.is_hidden()
    }

    fn said(&self, line: &str) {
        self.0.set_message(escape::line(line).into_owned());
    }

    fn pulled(&self, done: u64, all: u64) {
        self.0.set_message(format!("pulling, {} of {}", HumanBytes(done), HumanBytes(all)));
    }
}
