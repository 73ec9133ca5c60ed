//! libFuzzer's way into `tree/tests/targets/initrd.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::tree::initrd::run(data));
