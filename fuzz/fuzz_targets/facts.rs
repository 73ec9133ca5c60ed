//! libFuzzer's way into `bootconf/tests/targets/facts.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::bootconf::facts::run(data));
