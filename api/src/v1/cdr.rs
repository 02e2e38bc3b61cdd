//! Call records, page by page.

use serde::Serialize;
use strowger_store::CdrQuery;
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::problem::Problem;
use super::{Answered, On};
use crate::http::{Fields, json};
use crate::product::log::{COLUMNS, record, time};
use crate::recordings::unreadable;

/// Records of one page.
pub(super) const PAGE_MAX: u64 = 1000;
/// Records that a cursor may leave out among those of one second.
const SKIP_MAX: u64 = 1_000_000;

/// Call records, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CdrPage {
    /// Columns of `cdr` by name, text or null.
    #[schema(value_type = Vec<std::collections::BTreeMap<String, Option<String>>>)]
    records: Vec<Fields>,
    /// Give it back as `cursor` for the next page; null: this is the last.
    next: Option<String>,
}

/// Where a page begins: at the records of a second, behind those of it that were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) start: String,
    pub(super) skip: u64,
}

impl Cursor {
    pub(super) fn read(text: &str) -> Option<Self> {
        let (start, skip) = text.split_once('~')?;
        let skip = skip.parse().ok().filter(|skip| *skip <= SKIP_MAX)?;
        let start = time(start, false)?.format("%Y-%m-%d %H:%M:%S").to_string();
        Some(Self { start, skip })
    }

    pub(super) fn text(&self) -> String {
        format!("{}~{}", self.start.replace(' ', "T"), self.skip)
    }

    /// The place behind records that began at these times.
    pub(super) fn behind(before: Option<&Self>, starts: &[&str]) -> Option<Self> {
        let start = (*starts.last().filter(|start| !start.is_empty())?).to_owned();
        let same = starts.iter().rev().take_while(|known| **known == start);
        let same = same.count();
        let earlier = before.filter(|before| before.start == start && same == starts.len());
        Some(Self {
            skip: same as u64 + earlier.map_or(0, |before| before.skip),
            start,
        })
    }
}

/// When a record began, to the second: a table may keep parts of it, or a zone.
pub(super) fn seconds(start: &str) -> &str {
    start.get(..19).unwrap_or(start)
}

/// What the parameters of a search come to.
pub(super) fn query_of(on: &On) -> Result<(CdrQuery, Option<String>), Problem> {
    let edge = |name: &str, end: bool| match on.query.given(name) {
        None => Ok(None),
        Some(text) => match time(text, end) {
            Some(time) => Ok(Some(time.format("%Y-%m-%d %H:%M:%S").to_string())),
            None => Err(Problem::bad(format!(
                "{name}: {text:?} is no time; right is for example 2024-10-30T09:59:15 or 2024-10-30"
            ))),
        },
    };
    let mut query = CdrQuery {
        from: edge("from", false)?,
        until: edge("until", true)?,
        call: on.query.given("call").map(str::to_owned),
        owner: on.caller.cdr_owner(),
        newest_first: true,
        ..CdrQuery::default()
    };
    for name in [
        "src",
        "dst",
        "dcontext",
        "disposition",
        "accountcode",
        "direction",
    ] {
        if let Some(value) = on.query.given(name) {
            query.equal.push((name, value.to_owned()));
        }
    }
    Ok((query, on.query.given("cursor").map(str::to_owned)))
}

/// Begins where the page before ended.
pub(super) fn go_on(
    query: &mut CdrQuery,
    cursor: Option<String>,
) -> Result<Option<Cursor>, Problem> {
    let Some(text) = cursor else {
        return Ok(None);
    };
    let wrong = || Problem::bad(format!("cursor: {text:?} is none of ours"));
    let cursor = Cursor::read(&text).ok_or_else(wrong)?;
    // Tables may keep parts of a second.
    query.until = Some(format!("{}.999999", cursor.start));
    query.skip = cursor.skip;
    Ok(Some(cursor))
}

/// Call records.
#[utoipa::path(get, path = "/api/v1/cdr", tag = "cdr", params(
    ("from" = Option<String>, Query, description = "Calls that began then or later, in the zone of the server"),
    ("until" = Option<String>, Query, description = "Calls that began then or earlier"),
    ("src" = Option<String>, Query), ("dst" = Option<String>, Query), ("dcontext" = Option<String>, Query),
    ("disposition" = Option<String>, Query), ("accountcode" = Option<String>, Query), ("direction" = Option<String>, Query),
    ("call" = Option<String>, Query, description = "`uniqueid` or `linkedid`"),
    ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "100 if missing"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = CdrPage), (status = 400, description = "What is wrong", content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer, or too many search", content_type = "application/problem+json")))]
pub(super) async fn search(on: On) -> Answered {
    let limit = on.number("limit", 100, PAGE_MAX)?;
    let (mut query, cursor) = query_of(&on)?;
    let cursor = go_on(&mut query, cursor)?;
    // One more shows whether there is another page.
    query.limit = limit + 1;
    let rows = on.api.store.find_cdr(&query, &COLUMNS).await;
    let rows = rows.map_err(|error| Problem::from(unreadable(&error)))?;
    let mut records: Vec<Fields> = rows.into_iter().map(record).collect();
    let more = records.len() as u64 > limit;
    records.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let starts: Vec<&str> = records.iter().map(|record| record.get("start")).collect();
    let next = more
        .then(|| Cursor::behind(cursor.as_ref(), &starts))
        .flatten();
    let page = CdrPage {
        next: next.map(|next| next.text()),
        records,
    };
    Ok(json(StatusCode::OK, &page))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cursor_goes_on_within_a_second_and_behind_it() {
        let (a, b) = ("2024-01-01 00:00:02", "2024-01-01 00:00:01");
        let first = Cursor::behind(None, &[a, b, b]).expect("a cursor");
        assert_eq!(first.text(), "2024-01-01T00:00:01~2");
        assert_eq!(Cursor::read(&first.text()), Some(first.clone()));
        let second = Cursor::behind(Some(&first), &[b, b]).expect("a cursor");
        assert_eq!(second.skip, 4);
        let third = Cursor::behind(Some(&second), &[b, "2023-01-01 00:00:00"]);
        assert_eq!(third.map(|third| third.skip), Some(1));
        for text in [
            "",
            "x",
            "2024-01-01T00:00:01",
            "2024-01-01T00:00:01~-1",
            "~1",
            "2024-01-01T00:00:01~9999999999",
        ] {
            assert_eq!(Cursor::read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_cursor_is_too_strange(text in "\\PC{0,40}") {
            if let Some(cursor) = Cursor::read(&text) {
                prop_assert_eq!(Cursor::read(&cursor.text()), Some(cursor));
            }
        }
    }
}
