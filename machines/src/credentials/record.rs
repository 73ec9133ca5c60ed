//! A token as it is kept: a record of the state, under its name.

use std::fmt;
use std::str::FromStr;

use oneroot_bootconf::assignment::Signed;
use oneroot_state::Table;
use serde::{Deserialize, Serialize};

use crate::credentials::secret::SecretHash;
use crate::credentials::view::TokenView;

/// Tokens by name.
pub const TOKENS: Table<TokenRecord> = Table::new("tokens");
/// Longest name.
const LONGEST: usize = 64;

/// What an admin calls a token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct TokenName(String);

impl FromStr for TokenName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first && text.len() <= LONGEST && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "{text:?} is not a token's name: up to {LONGEST} letters, digits, dots, hyphens and underscores, a letter or a digit first"
        ))
    }
}

impl TryFrom<String> for TokenName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its name.
    pub name: TokenName,
    /// Of its secret, which nobody but its owner has.
    pub hash: SecretHash,
    /// What it is good for.
    pub views: Vec<TokenView>,
    /// Who has made it, and when.
    pub made: Signed,
    /// When it ends, seconds of site time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Who has taken it back, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Signed>,
}

/// Who a token says that somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The token's name.
    pub name: String,
    /// What it is good for.
    pub views: Vec<TokenView>,
}

impl Granted {
    /// Whether it is good for this.
    #[must_use]
    pub fn covers(&self, asked: &TokenView) -> bool {
        self.views.iter().any(|view| view.covers(asked))
    }
}

/// Why a token is good for nothing. Whoever shows one that was good is told why; no guess comes so far.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Nobody here has made it.
    #[error("it is no token of this server")]
    Unknown,
    /// Its time is over.
    #[error("token {0} has expired; make another with `oneroot token new`")]
    Expired(TokenName),
    /// Somebody has taken it back.
    #[error("token {0} was revoked")]
    Revoked(TokenName),
}

impl TokenRecord {
    /// What it is good for at a moment of site time.
    ///
    /// # Errors
    /// That it is good for nothing.
    pub fn granted(&self, now: u64) -> Result<Granted, TokenRefused> {
        if self.revoked.is_some() {
            return Err(TokenRefused::Revoked(self.name.clone()));
        }
        if self.expires.is_some_and(|end| end <= now) {
            return Err(TokenRefused::Expired(self.name.clone()));
        }
        Ok(Granted { name: self.name.to_string(), views: self.views.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::secret::Secret;

    fn record() -> TokenRecord {
        TokenRecord {
            name: "mirror".parse().unwrap(),
            hash: Secret::from_random([7; 32]).hash(),
            views: vec![TokenView::Profile("debian".to_owned())],
            made: Signed { by: "ada".to_owned(), at: 1000 },
            expires: Some(2000),
            revoked: None,
        }
    }

    #[test]
    fn a_token_is_good_until_its_second_and_not_in_it_and_never_once_it_is_revoked() {
        let record = record();
        let granted = record.granted(1999).unwrap();
        assert!(granted.covers(&TokenView::Profile("debian".to_owned())));
        assert!(!granted.covers(&TokenView::Machine("debian".to_owned())));
        assert_eq!(record.granted(2000), Err(TokenRefused::Expired(record.name.clone())));
        let for_ever = TokenRecord { expires: None, ..record.clone() };
        assert!(for_ever.granted(u64::MAX).is_ok());
        let revoked = TokenRecord { revoked: Some(record.made.clone()), ..record.clone() };
        assert_eq!(revoked.granted(0), Err(TokenRefused::Revoked(record.name.clone())));
        assert_eq!(revoked.granted(u64::MAX), Err(TokenRefused::Revoked(record.name)));
    }

    #[test]
    fn a_name_is_a_key_of_the_state_and_a_word_of_a_shell() {
        for good in ["a", "mirror-2", "Ada.Lovelace_1", "7", &"x".repeat(64)] {
            assert_eq!(good.parse::<TokenName>().unwrap().to_string(), good);
        }
        for bad in ["", "-a", ".a", "_a", "a/b", "a b", "a\n", "ä", "--json", &"x".repeat(65)] {
            assert!(bad.parse::<TokenName>().is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<TokenName>("\"a/b\"").is_err());
    }

    #[test]
    fn a_record_is_written_as_it_was_for_ever_and_one_with_more_in_it_reads() {
        let record = record();
        let written = serde_json::to_string(&record).unwrap();
        let hash = blake3::hash(&[7; 32]).to_hex();
        assert_eq!(
            written,
            format!(
                r#"{{"name":"mirror","hash":"{hash}","views":[{{"profile":"debian"}}],"made":{{"by":"ada","at":1000}},"expires":2000}}"#
            )
        );
        assert_eq!(serde_json::from_str::<TokenRecord>(&written).unwrap(), record);
        let newer = written.replacen('{', r#"{"more":1,"#, 1);
        assert_eq!(serde_json::from_str::<TokenRecord>(&newer).unwrap(), record);
    }
}
