//! Leases, and which addresses of a pool are free.

pub(crate) mod later;
pub(crate) mod lease;
pub(crate) mod pool;
