//! Who boots what, and why: a pure function of a catalogue and of who asks (docs/decisions/0012).

pub mod answer;
pub mod asked;
pub mod decided;
pub mod decision;
pub mod differences;
pub mod facts;
mod no_plan;
pub mod question;
pub mod stacks;
pub mod voices;
