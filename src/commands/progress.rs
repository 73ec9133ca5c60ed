//! How far something is that takes long: on a terminal, while it goes on.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

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
