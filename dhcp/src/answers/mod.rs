//! A message becomes a decision: what a client is told in each of its states, and what it is told to boot.

pub(crate) mod options;
pub(crate) mod proxy;
pub(crate) mod replies;
pub(crate) mod states;
