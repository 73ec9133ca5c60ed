//! libFuzzer's way into `dhcp/tests/targets/engine.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::dhcp::engine::run(data));
