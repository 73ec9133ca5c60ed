//! The binary's own part in reading a request: the file itself, for the binary is no library.

#[path = "../../src/http/range.rs"]
mod range;
#[path = "../../src/http/target.rs"]
pub mod target;
