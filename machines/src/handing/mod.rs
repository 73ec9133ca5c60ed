//! Secrets in the hands of those whom they are for: machines that come up, and admins (docs/decisions/0025-secrets.md).

mod giving;
pub(crate) mod keeping;
mod making;
#[cfg(test)]
mod tests;
