//! What only this site's servers can have made, and know again.

pub(crate) mod passes;
pub(crate) mod seals;
