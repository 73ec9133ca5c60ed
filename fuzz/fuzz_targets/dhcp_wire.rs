//! libFuzzer's way into `dhcp/tests/targets/wire.rs`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oneroot_fuzz::dhcp::wire::run(data));
