//! libFuzzer's way into `tree/tests/targets/sent.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::tree::sent::run(data));
