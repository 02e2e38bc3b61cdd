//! `get_log_cdr`: the call records of a time, streamed as they come from the database.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{Datelike as _, Local, NaiveDate, NaiveDateTime, NaiveTime};
use strowger_store::{CdrQuery, TextRow};
use tokio::sync::mpsc;
use warp::Reply as _;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_TYPE, HeaderValue};
use warp::reply::Response;

use super::Product;
use crate::http::{Fields, Parameters, Refused};
use crate::keys::Caller;
use crate::recordings::unreadable;

/// The fields of a record, in the order in which they are given.
pub(crate) const COLUMNS: [&str; 25] = [
    "accountcode",
    "src",
    "dst",
    "dcontext",
    "clid",
    "channel",
    "dstchannel",
    "lastapp",
    "lastdata",
    "start",
    "answer",
    "end",
    "duration",
    "billsec",
    "disposition",
    "amaflags",
    "userfield",
    "uniqueid",
    "linkedid",
    "peeraccount",
    "sequence",
    "source",
    "destination",
    "direction",
    "group_uuid",
];
/// Records that one answer has at most.
const RECORDS_MAX: u64 = 200_000;
/// Pieces of an answer that wait for a client.
const PIECES_WAITING: usize = 2;
/// How times are written.
const TIME: &str = "%Y-%m-%d %H:%M:%S";

/// A time as people write it; `end`: a day alone means its end.
pub(crate) fn time(text: &str, end: bool) -> Option<NaiveDateTime> {
    read_time(text, end).filter(|time| (1..=9999).contains(&time.year()))
}

fn read_time(text: &str, end: bool) -> Option<NaiveDateTime> {
    let text = text.trim().replace('T', " ");
    let forms = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"];
    let mut read = forms
        .into_iter()
        .filter_map(|form| NaiveDateTime::parse_from_str(&text, form).ok());
    read.next().or_else(|| {
        let day = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?;
        Some(edge(day, end))
    })
}

/// The first second of a day, or its last.
fn edge(day: NaiveDate, end: bool) -> NaiveDateTime {
    let last = NaiveTime::from_hms_opt(23, 59, 59).unwrap_or_default();
    day.and_time(if end { last } else { NaiveTime::default() })
}

/// From when until when.
pub(crate) fn interval(
    parameters: &Parameters,
    today: NaiveDate,
) -> Result<(String, String), Refused> {
    let read = |name: &str, end: bool| {
        match parameters.given(name) {
        None => Ok(edge(today, end)),
        Some(text) => time(text, end).ok_or_else(|| {
            Refused::bad(format!(
                "{name}: {text:?} is no time; right is for example 2024-10-30 09:59:15 or 2024-10-30"
            ))
        }),
    }
    };
    let (start, end) = (read("start", false)?, read("end", true)?);
    if end < start {
        return Err(Refused::bad("end: it lies before start"));
    }
    Ok((start.format(TIME).to_string(), end.format(TIME).to_string()))
}

/// A record as it is given: a time without a fraction, and no time where the database has none.
pub(crate) fn record(row: TextRow) -> Fields {
    let cells = COLUMNS.iter().zip(row);
    Fields(
        cells
            .map(|(name, value)| {
                let value = match *name {
                    "start" | "answer" | "end" => value
                        .filter(|time| !time.is_empty() && !time.starts_with("0000-00-00"))
                        .map(|time| time.chars().take(19).collect()),
                    _ => value,
                };
                ((*name).to_owned(), value)
            })
            .collect(),
    )
}

pub(super) async fn log(
    product: &Arc<Product>,
    caller: &Caller,
    parameters: &Parameters,
) -> Result<Response, Refused> {
    let (from, until) = interval(parameters, Local::now().date_naive())?;
    let query = CdrQuery {
        from: Some(from),
        until: Some(until),
        owner: caller.cdr_owner(),
        ..CdrQuery::default()
    };
    let store = product.store.clone();
    let count = store
        .count_cdr(&query)
        .await
        .map_err(|error| unreadable(&error))?;
    if count > RECORDS_MAX {
        let why = format!(
            "start, end: {count} records lie between; {RECORDS_MAX} are the limit of an answer"
        );
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    let (give, take) = mpsc::channel(PIECES_WAITING);
    tokio::spawn(async move {
        let (batches, rows) = mpsc::channel::<Vec<TextRow>>(1);
        let read = store.send_cdr(&query, &COLUMNS, batches);
        let write = async {
            // Gone with this: the database is left when nobody takes the answer any more.
            let mut rows = rows;
            let mut first = true;
            while let Some(batch) = rows.recv().await {
                let piece = piece(batch, std::mem::take(&mut first));
                if give.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
        };
        let (read, ()) = tokio::join!(read, write);
        let end = match read {
            Ok(()) => Ok(Bytes::from_static(b"]}")),
            Err(error) => {
                tracing::warn!(%error, "API: call records");
                // The answer breaks off: half of the records must not look like all of them.
                Err(std::io::Error::other("the database stopped answering"))
            }
        };
        let _ = give.send(end).await;
    });
    let beginning = futures_util::stream::once(async { Ok(Bytes::from_static(b"{\"data\":[")) });
    let rest = futures_util::stream::unfold(take, |mut take| async move {
        let piece = take.recv().await?;
        Some((piece, take))
    });
    let all = futures_util::StreamExt::chain(beginning, rest);
    let mut response = warp::reply::stream::<_, Bytes, std::io::Error>(all).into_response();
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// Records as a piece of a JSON list.
fn piece(batch: Vec<TextRow>, mut first: bool) -> Bytes {
    let mut text = Vec::new();
    for row in batch {
        if !std::mem::take(&mut first) {
            text.push(b',');
        }
        // Texts in a map: nothing that JSON could not hold.
        let _ = serde_json::to_writer(&mut text, &record(row));
    }
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(start: &str, end: &str) -> Result<(String, String), Refused> {
        let mut parameters = Parameters::default();
        for (name, value) in [("start", start), ("end", end)] {
            let pushed = parameters.push(name.to_owned(), value.to_owned());
            pushed.expect("room for it");
        }
        let today = NaiveDate::from_ymd_opt(2024, 10, 30).expect("a day");
        interval(&parameters, today)
    }

    #[test]
    fn a_time_without_bounds_is_today() {
        for (start, end, from, until) in [
            ("", "", "2024-10-30 00:00:00", "2024-10-30 23:59:59"),
            (
                "2024-10-01",
                "",
                "2024-10-01 00:00:00",
                "2024-10-30 23:59:59",
            ),
            (
                "2024-10-01",
                "2024-10-02",
                "2024-10-01 00:00:00",
                "2024-10-02 23:59:59",
            ),
            (
                "2024-10-30 09:59:15",
                "2024-10-30T10:00",
                "2024-10-30 09:59:15",
                "2024-10-30 10:00:00",
            ),
        ] {
            assert_eq!(asked(start, end), Ok((from.to_owned(), until.to_owned())));
        }
        for (start, end, word) in [
            ("yesterday", "", "start: \"yesterday\""),
            ("", "2024-13-01", "end: \"2024-13-01\""),
            ("2024-10-30", "2024-10-29", "end: it lies before start"),
            ("", "2024-10-30 25:00:00", "end: "),
        ] {
            let refused = asked(start, end).expect_err(word);
            assert!(refused.why.starts_with(word), "{refused}");
        }
    }

    #[test]
    fn records_follow_each_other_as_a_list_whose_missing_values_are_null() {
        let mut row: TextRow = vec![None; COLUMNS.len()];
        row[1] = Some("79123456789".to_owned());
        row[4] = Some("\"Сергей\" <79123456789>".to_owned());
        row[9] = Some("2024-10-30 09:59:15.000".to_owned());
        row[10] = Some("0000-00-00 00:00:00".to_owned());
        row[13] = Some("0".to_owned());
        let text = [
            piece(vec![row.clone(), row.clone()], true),
            piece(vec![row], false),
        ]
        .concat();
        let text = format!("[{}]", String::from_utf8(text).expect("text"));
        let read: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read.len(), 3);
        assert_eq!(read[0]["clid"], "\"Сергей\" <79123456789>");
        assert_eq!(read[0]["start"], "2024-10-30 09:59:15");
        assert!(read[0]["answer"].is_null() && read[0]["accountcode"].is_null());
        assert_eq!(read[2]["billsec"], "0");
        let names: Vec<_> = text.split('"').skip(1).step_by(2).take(1).collect();
        assert_eq!(names, ["accountcode"]);
    }

    proptest! {
        #[test]
        fn no_time_is_too_strange(text in "\\PC{0,30}") {
            if let Some(read) = time(&text, true) {
                prop_assert!(asked(&read.format(TIME).to_string(), "9999-01-01").is_ok() || read.format("%Y").to_string().len() > 4);
            }
        }
    }
}
