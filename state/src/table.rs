//! Typed records over keys: a table is a prefix, and its values are JSON, which a person can read in a backup and an
//! older or newer binary can read in part.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::backend::Backend;
use crate::kv::{Change, Expect, Txn, Versioned};

/// A named set of records.
pub struct Table<T> {
    name: &'static str,
    holds: PhantomData<fn() -> T>,
}

/// A record that does not read. It is left where it is, and never stops a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The whole key, `TABLE/RECORD`.
    pub key: String,
    /// What the parser said.
    pub cause: String,
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    /// A table; its name is a path segment, for ever.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, holds: PhantomData }
    }

    /// The prefix of its keys, for a watch.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{}/", self.name)
    }

    /// The whole key of a record.
    #[must_use]
    pub fn key(&self, record: impl std::fmt::Display) -> String {
        format!("{}/{record}", self.name)
    }

    /// The record's own part of a key of this table.
    #[must_use]
    pub fn record<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(self.name)?.strip_prefix('/')
    }

    /// Reads a value of this table.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn parse(&self, key: &str, value: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(value).map_err(|cause| Error::Unreadable {
            key: key.to_owned(),
            table: self.name,
            cause: cause.to_string(),
        })
    }

    /// One record.
    ///
    /// # Errors
    /// The backend's, or [`Error::Unreadable`].
    pub async fn get(
        &self,
        backend: &impl Backend,
        record: impl std::fmt::Display,
    ) -> Result<Option<Versioned<T>>, Error> {
        let key = self.key(record);
        let Some(found) = backend.get(&key).await? else { return Ok(None) };
        Ok(Some(Versioned { value: self.parse(&key, &found.value)?, revision: found.revision }))
    }

    /// All records that read, and those that don't.
    ///
    /// # Errors
    /// The backend's.
    pub async fn list(
        &self,
        backend: &impl Backend,
    ) -> Result<(Vec<(String, Versioned<T>)>, Vec<Quarantined>), Error> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (key, found) in backend.list(&self.prefix()).await?.records {
            match self.parse(&key, &found.value) {
                Ok(value) => {
                    let record = self.record(&key).unwrap_or_default().to_owned();
                    good.push((record, Versioned { value, revision: found.revision }));
                }
                Err(cause) => bad.push(Quarantined { key, cause: cause.to_string() }),
            }
        }
        Ok((good, bad))
    }

    /// Adds a write of this record to a transaction.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for a value that JSON can't hold.
    pub fn put(&self, txn: Txn, record: impl std::fmt::Display, value: &T) -> Result<Txn, Error> {
        self.put_at(txn, &self.key(record).into(), value)
    }

    /// The same where its key is at hand.
    ///
    /// # Errors
    /// The same.
    pub fn put_at(&self, txn: Txn, key: &Arc<str>, value: &T) -> Result<Txn, Error> {
        let bytes = serde_json::to_vec(value).map_err(|cause| Error::Unreadable {
            key: key.to_string(),
            table: self.name,
            cause: cause.to_string(),
        })?;
        Ok(txn.put(key.clone(), bytes))
    }

    /// Adds a removal of this record to a transaction.
    #[must_use]
    pub fn delete(&self, txn: Txn, record: impl std::fmt::Display) -> Txn {
        txn.delete(self.key(record))
    }

    /// Adds an expectation on this record to a transaction.
    #[must_use]
    pub fn expect(&self, txn: Txn, record: impl std::fmt::Display, expect: Expect) -> Txn {
        txn.expect(self.key(record), expect)
    }

    /// The record that a watched change is about: its key's own part, and the value unless it was removed.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn changed(&self, change: &Change) -> Result<Option<(String, Option<T>)>, Error> {
        let Some(record) = self.record(&change.key) else { return Ok(None) };
        let value = change.value.as_ref().map(|value| self.parse(&change.key, value)).transpose()?;
        Ok(Some((record.to_owned(), value)))
    }
}
