//! libFuzzer's way into `tftp/tests/tftp/target.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::tftp::target::run(data));
