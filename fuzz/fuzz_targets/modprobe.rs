//! libFuzzer's way into `initrd/tests/targets/modprobe.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::initrd::modprobe::run(data));
