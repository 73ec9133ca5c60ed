//! libFuzzer's way into `http/tests/http/heads.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::http::heads::run(data));
