//! Whole boots against a kernel that is made up, each a promise; hours of waiting take no time.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

mod fake;
mod lab;

mod addresses;
mod files;
mod nics;
mod roots;
mod servers;
mod tells;
mod whole;
