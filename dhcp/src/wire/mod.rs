//! Bytes: requests as they are read, replies as they are written, whole Ethernet frames, what others say.

pub(crate) mod client;
pub(crate) mod encode;
pub mod frame;
pub(crate) mod message;
pub(crate) mod overheard;
