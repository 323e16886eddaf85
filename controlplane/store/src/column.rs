//! Values as columns: times as milliseconds, addresses and lists as text.

use crate::error::StoreError;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use std::str::FromStr;

/// A column that was written in some form and is read back from it.
pub(crate) struct Column {
    pub(crate) op: &'static str,
    /// `table.column`.
    pub(crate) name: &'static str,
}

pub(crate) const fn column(op: &'static str, name: &'static str) -> Column {
    Column { op, name }
}

impl Column {
    fn bad(&self) -> StoreError {
        StoreError::BadRow { op: self.op, what: self.name }
    }

    pub(crate) fn time(&self, milliseconds: i64) -> Result<Timestamp, StoreError> {
        Timestamp::from_millisecond(milliseconds).map_err(|_| self.bad())
    }

    pub(crate) fn optional_time(&self, milliseconds: Option<i64>) -> Result<Option<Timestamp>, StoreError> {
        milliseconds.map(|value| self.time(value)).transpose()
    }

    pub(crate) fn parse<T: FromStr>(&self, text: &str) -> Result<T, StoreError> {
        text.parse().map_err(|_| self.bad())
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|_| self.bad())
    }

    pub(crate) fn to_json<T: Serialize>(&self, value: &T) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|_| self.bad())
    }

    pub(crate) fn number<T: TryFrom<i64>>(&self, value: i64) -> Result<T, StoreError> {
        T::try_from(value).map_err(|_| self.bad())
    }

    pub(crate) fn array<const N: usize>(&self, bytes: &[u8]) -> Result<[u8; N], StoreError> {
        bytes.try_into().map_err(|_| self.bad())
    }
}
