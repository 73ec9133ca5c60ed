//! What the fuzzers begin with and what they have kept, as ordinary tests.

mod targets;

use targets::{answer, examined, facts, names, site, template};

#[test]
fn whatever_a_program_prints_is_an_answer_of_the_site_or_one_line_that_says_why_not() {
    oneroot_testkit::replay("answer", answer::seeds(), answer::run);
}

#[test]
fn whatever_a_machine_has_found_out_is_few_plain_facts_or_a_line_that_says_why_not() {
    oneroot_testkit::replay("examined", examined::seeds(), examined::run);
}

#[test]
fn whatever_a_machine_tells_becomes_facts_that_are_bounded_and_read_again_as_the_same() {
    oneroot_testkit::replay("facts", facts::seeds(), facts::run);
}

#[test]
fn any_name_is_read_in_its_one_meaning_or_refused_in_a_line() {
    oneroot_testkit::replay("names", names::seeds(), names::run);
}

#[test]
fn any_text_is_a_site_or_a_bounded_report_with_places() {
    oneroot_testkit::replay("site", site::seeds(), site::run);
}

#[test]
fn facts_come_out_of_templates_as_they_went_in() {
    oneroot_testkit::replay("template", template::seeds(), template::run);
}
