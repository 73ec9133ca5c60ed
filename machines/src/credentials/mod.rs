//! Access tokens (docs/decisions/0019-https-and-access-tokens.md): what one is, what it is good for, and whether it still is.
//! How they are made and taken back is in [`crate::granting`].
//!
//! | a token | then |
//! |---|---|
//! | that no server on this state has made | unknown |
//! | whose time is over, by site time | expired |
//! | that somebody has taken back | revoked, at once |
//! | else | it has its views, and nothing else |

pub(crate) mod record;
pub(crate) mod secret;
pub(crate) mod view;
