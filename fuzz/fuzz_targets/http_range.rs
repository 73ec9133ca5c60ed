//! libFuzzer's way into `http/tests/http/target.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::http::target::run(data));
