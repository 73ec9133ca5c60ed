//! What `tftp/tests/tftp/target.rs` needs of that folder.

#[allow(dead_code)]
#[path = "../../tftp/tests/tftp/files.rs"]
mod files;
#[path = "../../tftp/tests/tftp/target.rs"]
pub mod target;
#[allow(dead_code)]
#[path = "../../tftp/tests/tftp/wire.rs"]
mod wire;
