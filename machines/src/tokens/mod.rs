//! What only this site's servers can have made, and know again.

pub(crate) mod boot_tokens;
pub mod keys;
pub(crate) mod seals;
