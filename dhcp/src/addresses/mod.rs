//! Whose an address is, and how it becomes somebody's: looked for, offered, committed, probed, left to rest.

pub(crate) mod allocator;
pub(crate) mod commits;
pub(crate) mod declined;
pub(crate) mod found;
pub(crate) mod offers;
pub(crate) mod probes;
pub(crate) mod rates;
pub(crate) mod writes;
