//! Lists: the newest first, a page at a time, each item exactly once however many are added.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::{Error, Result};
use crate::ids::Id;

/// Items on a page unless `limit` says otherwise.
pub const LIMIT_DEFAULT: u32 = 50;
/// Most items on a page.
pub const LIMIT_MAX: u32 = 200;

/// Greater than every ULID: where a list begins.
const NEWEST: &str = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ";

/// The query of a list without filters.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items on the page, 1 to 200; 50 when left out.
    pub limit: Option<u32>,
    /// `nextCursor` of the page before.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// The part of the list that is asked for.
    ///
    /// # Errors
    /// When the limit is out of range or the cursor is none.
    pub fn slice<I: Id>(&self) -> Result<Slice> {
        Slice::new::<I>(self.limit, self.cursor.as_deref())
    }
}

/// A part of a list, for `WHERE id < $1 ORDER BY id DESC LIMIT $2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Only ids below this.
    pub below: String,
    limit: u32,
}

impl Slice {
    /// The `limit` items whose ids come after `cursor` in the list.
    ///
    /// # Errors
    /// When the limit is out of range or the cursor is none.
    pub fn new<I: Id>(limit: Option<u32>, cursor: Option<&str>) -> Result<Self> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let detail = format!("limit is not between 1 and {LIMIT_MAX}.");
            return Err(Error::invalid_request("invalid_limit", detail));
        }
        let below = match cursor {
            None => format!("{}{NEWEST}", I::PREFIX),
            Some(cursor) => cursor
                .parse::<I>()
                .map_err(|_| Error::invalid_request("invalid_cursor", "That is no nextCursor."))?
                .to_string(),
        };
        Ok(Self { below, limit })
    }

    /// Rows to ask the database for: one more than the page, which tells whether there is another.
    #[must_use]
    pub fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The page, from the rows asked for.
    #[must_use]
    pub fn page<T, I: fmt::Display>(&self, mut rows: Vec<T>, id: impl Fn(&T) -> I) -> Page<T> {
        let more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let next_cursor = rows
            .last()
            .filter(|_| more)
            .map(|last| id(last).to_string());
        Page {
            items: rows,
            next_cursor,
        }
    }
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// What to send as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}
