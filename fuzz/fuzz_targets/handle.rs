//! libFuzzer's way into `targets/handle.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::targets::handle::run(data));
