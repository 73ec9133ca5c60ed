//! What becomes of boots: pins and their ends, whose an address is, who may have what (docs/decisions/0003 has the tables).

pub mod access;
pub mod admission;
pub mod again;
pub mod binding;
pub mod identity;
pub mod pins;
pub mod unknown;
