//! From columns to types. What does not parse is reported with its column, never guessed.

use std::{fmt::Display, str::FromStr};

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row as _, sqlite::SqliteRow};

use super::StoreError;
use crate::{clock::Millis, domain::config::JobConfig};

fn corrupt(column: &'static str, cause: impl Display) -> StoreError {
    StoreError::Corrupt { column, cause: cause.to_string() }
}

pub(super) fn parsed<T: FromStr<Err: Display>>(row: &SqliteRow, column: &'static str) -> Result<T, StoreError> {
    row.try_get::<&str, _>(column)?.parse().map_err(|cause| corrupt(column, cause))
}

pub(super) fn optional_parsed<T: FromStr<Err: Display>>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    let text = row.try_get::<Option<&str>, _>(column)?;
    text.map(|text| text.parse().map_err(|cause| corrupt(column, cause))).transpose()
}

pub(super) fn number<T: TryFrom<i64, Error: Display>>(row: &SqliteRow, column: &'static str) -> Result<T, StoreError> {
    row.try_get::<i64, _>(column)?.try_into().map_err(|cause| corrupt(column, cause))
}

pub(super) fn optional_number<T: TryFrom<i64, Error: Display>>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    let value = row.try_get::<Option<i64>, _>(column)?;
    value.map(|value| value.try_into().map_err(|cause| corrupt(column, cause))).transpose()
}

pub(super) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(row.try_get::<&str, _>(column)?).map_err(|cause| corrupt(column, cause))
}

pub(super) fn optional_json<T: DeserializeOwned>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    let text = row.try_get::<Option<&str>, _>(column)?;
    text.map(|text| serde_json::from_str(text).map_err(|cause| corrupt(column, cause))).transpose()
}

pub(super) fn time(row: &SqliteRow, column: &'static str) -> Result<Timestamp, StoreError> {
    instant(row.try_get(column)?, column)
}

pub(super) fn optional_time(row: &SqliteRow, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
    row.try_get::<Option<Millis>, _>(column)?.map(|millis| instant(millis, column)).transpose()
}

fn instant(millis: Millis, column: &'static str) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(millis).map_err(|cause| corrupt(column, cause))
}

/// A value as a JSON column.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T, column: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|cause| corrupt(column, cause))
}

/// A configuration as the column `config` keeps it.
pub(super) fn written(config: &JobConfig) -> Result<String, StoreError> {
    config.written().map(|json| json.to_string()).map_err(|cause| corrupt("config", cause))
}

/// An unsigned number as SQLite keeps it; what does not fit is no real size, step or count.
pub(super) fn stored(value: u64, column: &'static str) -> Result<i64, StoreError> {
    value.try_into().map_err(|cause| corrupt(column, cause))
}
