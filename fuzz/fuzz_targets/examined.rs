//! libFuzzer's way into `bootconf/tests/targets/examined.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::bootconf::examined::run(data));
