//! The table `cdr` as it is in the database at hand, and records put into it.

use chrono::{Local, TimeZone as _};
use rustc_hash::FxHashMap;

use super::Cdr;
use crate::error::StoreError;
use crate::pool::{Pool, Statement};
use crate::schema::Columns;

const TABLE: &str = "cdr";

/// Columns that together name a record, as far as the table has them.
const KEY: [&str; 5] = ["uniqueid", "linkedid", "channel", "dstchannel", "sequence"];

/// The table and its columns.
pub(super) struct CdrTable {
    columns: Columns,
}

impl CdrTable {
    pub(super) async fn find(pool: &Pool) -> Result<Self, StoreError> {
        let columns = Columns::find(pool, TABLE).await?;
        let refuse = |why: &str| StoreError::Schema {
            table: TABLE.into(),
            why: why.into(),
        };
        let columns =
            columns.ok_or_else(|| refuse("does not exist; `strowger db migrate` makes it"))?;
        if !values(&Cdr::default())
            .iter()
            .any(|(name, _)| columns.has(name))
        {
            return Err(refuse("has none of the columns of a call detail record"));
        }
        Ok(Self { columns })
    }

    /// The statement that inserts a record.
    pub(super) fn insert(&self, pool: &Pool, cdr: &Cdr) -> Statement {
        let mut values = values(cdr);
        if let Some(column) = self.columns.get("amaflags")
            && column.is_number()
            && let Some((_, value)) = values.iter_mut().find(|(name, _)| *name == "amaflags")
        {
            *value = match value.as_deref() {
                Some("OMIT") => Some("1".into()),
                Some("BILLING") => Some("2".into()),
                Some("DOCUMENTATION") => Some("3".into()),
                other => other
                    .filter(|text| text.parse::<i64>().is_ok())
                    .map(str::to_owned),
            };
        }
        for (name, value) in &cdr.custom {
            let taken = |other: &str| other.eq_ignore_ascii_case(name);
            // `id` belongs to the database.
            if !taken("id") && !values.iter().any(|(other, _)| taken(other)) {
                values.push((name, some(value)));
            }
        }
        self.columns.insert(pool.kind(), TABLE, &values)
    }

    /// The key of a record, as the table would give it back.
    pub(super) fn key(&self, cdr: &Cdr) -> Vec<String> {
        let values = values(cdr);
        KEY.iter()
            .filter_map(|name| {
                let column = self.columns.get(name)?;
                let value = values
                    .iter()
                    .find(|(other, _)| other == name)
                    .and_then(|(_, value)| value.clone());
                Some(self.columns.fit(column, value).unwrap_or_default())
            })
            .collect()
    }

    /// How many rows there are of each key, of the keys of these records.
    pub(super) async fn present(
        &self,
        pool: &Pool,
        records: &[&Cdr],
    ) -> Result<FxHashMap<Vec<String>, usize>, sqlx::Error> {
        let kind = pool.kind();
        let mut found = FxHashMap::default();
        let Some(column) = self.columns.get("uniqueid") else {
            return Ok(found);
        };
        let names: Vec<_> = KEY
            .iter()
            .filter(|name| self.columns.has(name))
            .copied()
            .collect();
        let (select, _) = self.columns.select(kind, TABLE, &names);
        let marks: Vec<_> = (1..=records.len()).map(|n| kind.parameter(n)).collect();
        let sql = format!(
            "{select} WHERE {} IN ({})",
            kind.quote(&column.name),
            marks.join(", ")
        );
        let parameters = records
            .iter()
            .map(|cdr| self.columns.fit(column, Some(cdr.uniqueid.clone())))
            .collect();
        for row in pool
            .rows(Statement::with(sql, parameters), names.len())
            .await?
        {
            let key: Vec<_> = row.into_iter().map(Option::unwrap_or_default).collect();
            *found.entry(key).or_insert(0) += 1;
        }
        Ok(found)
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A time as the table has it: local, in whole seconds.
fn time(micros: i64) -> Option<String> {
    if micros == 0 {
        return None;
    }
    let time = Local.timestamp_micros(micros).single()?;
    Some(time.format("%Y-%m-%d %H:%M:%S").to_string())
}

/// The standard columns of a record.
fn values(cdr: &Cdr) -> Vec<(&str, Option<String>)> {
    let start = time(cdr.start_us);
    vec![
        ("accountcode", some(&cdr.accountcode)),
        ("src", some(&cdr.src)),
        ("dst", some(&cdr.dst)),
        ("dcontext", some(&cdr.dcontext)),
        ("clid", some(&cdr.clid)),
        ("channel", some(&cdr.channel)),
        ("dstchannel", some(&cdr.dstchannel)),
        ("lastapp", some(&cdr.lastapp)),
        ("lastdata", some(&cdr.lastdata)),
        ("start", start.clone()),
        // The name of this column in older tables.
        ("calldate", start),
        ("answer", cdr.answer_us.and_then(time)),
        ("end", time(cdr.end_us)),
        ("duration", Some(cdr.duration.to_string())),
        ("billsec", Some(cdr.billsec.to_string())),
        ("disposition", some(&cdr.disposition)),
        ("amaflags", some(&cdr.amaflags)),
        ("userfield", some(&cdr.userfield)),
        ("uniqueid", some(&cdr.uniqueid)),
        ("linkedid", some(&cdr.linkedid)),
        ("peeraccount", some(&cdr.peeraccount)),
        ("sequence", Some(cdr.sequence.to_string())),
    ]
}
