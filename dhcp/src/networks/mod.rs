//! Which network a client is in, and which addresses it has to give.

pub(crate) mod ranges;
pub(crate) mod subnets;
