//! HTTP's targets, beside the crate's own tests.

#[path = "../../http/tests/http/heads.rs"]
pub mod heads;
#[path = "../../http/tests/http/target.rs"]
pub mod target;
