//! What the fuzzers begin with and what they have kept, as ordinary tests.

mod targets;

use targets::{modinfo, modprobe, modules, report, settings};

#[test]
fn any_module_names_firmware_below_its_directory_or_is_none() {
    oneroot_testkit::replay("modinfo", modinfo::seeds(), modinfo::run);
}

#[test]
fn whatever_an_admin_says_of_modules_is_the_same_in_the_initrd() {
    oneroot_testkit::replay("modprobe", modprobe::seeds(), modprobe::run);
}

#[test]
fn any_tables_are_read_in_bounds_or_refused_and_are_the_same_in_the_initrd() {
    oneroot_testkit::replay("modules", modules::seeds(), modules::run);
}

#[test]
fn any_report_is_bounded_and_shown_as_it_is_or_refused() {
    oneroot_testkit::replay("report", report::seeds(), report::run);
}

#[test]
fn any_settings_are_read_in_their_one_meaning_or_refused() {
    oneroot_testkit::replay("settings", settings::seeds(), settings::run);
}
