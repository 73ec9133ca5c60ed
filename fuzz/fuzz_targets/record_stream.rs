//! libFuzzer's way into `targets/record_stream.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::targets::record_stream::run(data));
