//! libFuzzer's way into `targets/mount_call.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::targets::mount_call::run(data));
