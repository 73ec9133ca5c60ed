//! What stands on the console: a title, a line for each phase that is over, and where one is not, why, and what is next. Nothing
//! moves the cursor, for many a console is a serial line that somebody's log is made of.

use oneroot_initrd::report::Report;
use oneroot_initrd::settings::Settings;

pub(super) fn title(settings: &Settings, release: &str) -> String {
    format!("\noneroot: {} boots Linux {release} (boot {})", settings.name, settings.boot)
}

pub(super) fn done(report: &Report, came_to: &str) -> String {
    let line = format!("  {:<9} {:>7}  {came_to}", report.phase.as_str(), seconds(report.took_ms));
    line.trim_end().to_owned()
}

pub(super) fn failed(report: &Report, sentence: &str, next: &str) -> String {
    format!("  {:<9} {:>7}  {sentence}\n{:21}({next})", report.phase.as_str(), seconds(report.took_ms), "")
}

fn seconds(millis: u64) -> String {
    format!("{}.{:02} s", millis / 1000, millis % 1000 / 10)
}
