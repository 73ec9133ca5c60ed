//! libFuzzer's way into `targets/rpc_header.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::targets::rpc_header::run(data));
