//! A table as it stands when an import begins to write there: which columns it has, its rows by the unit that they belong to,
//! and what they say. Knows nothing of files.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest as _, Sha256};

use crate::error::StoreError;
use crate::pool::{Kind, Pool, Statement, Transaction};
use crate::schema::Columns;

/// Tables with the columns that tell units apart, and the number that the database gives each row.
const TABLES: [(&str, &[&str], Option<&str>); 23] = [
    ("ps_endpoints", &["id"], None),
    ("ps_aors", &["id"], None),
    ("ps_auths", &["id"], None),
    ("ps_domain_aliases", &["id"], None),
    ("ps_endpoint_id_ips", &["id"], None),
    ("ps_registrations", &["id"], None),
    ("ps_transports", &["id"], None),
    ("ps_globals", &["id"], None),
    ("ps_systems", &["id"], None),
    ("ps_resource_list", &["id"], None),
    ("ps_inbound_publications", &["id"], None),
    ("ps_asterisk_publications", &["id"], None),
    ("ps_outbound_publishes", &["id"], None),
    ("realtime_extensions", &["context", "exten"], Some("id")),
    ("static_extensions", &["filename", "category"], Some("id")),
    ("static_manager", &["filename", "category"], Some("id")),
    ("static_pjsip", &["filename", "category"], Some("id")),
    (
        "static_sorcery",
        &["filename", "category", "var_name", "var_val"],
        Some("id"),
    ),
    ("queues", &["name"], None),
    (
        "queue_members",
        &["queue_name", "interface"],
        Some("uniqueid"),
    ),
    ("voicemail", &["context", "mailbox"], Some("uniqueid")),
    ("musiconhold", &["name"], None),
    ("musiconhold_entry", &["name"], None),
];
pub(crate) fn described(table: &str) -> (&'static [&'static str], Option<&'static str>) {
    let found = TABLES.iter().find(|(name, ..)| *name == table);
    found.map_or((&["id"], None), |(_, keys, own)| (keys, *own))
}

/// The table of this name, if units go there.
pub(crate) fn known(table: &str) -> Option<&'static str> {
    let found = TABLES.iter().find(|(name, ..)| *name == table);
    found.map(|(name, ..)| *name)
}

/// Where rows are read: within the transaction that writes, or, where nothing is written, anywhere.
pub(crate) enum Source<'s> {
    Pool(&'s Pool),
    Transaction(Transaction),
}

impl Source<'_> {
    pub(crate) async fn each_row(
        &mut self,
        table: &str,
        sql: String,
        row: impl for<'r> FnMut(&'r dyn Fn(usize) -> Option<&'r str>) + Send,
    ) -> Result<(), StoreError> {
        let statement = Statement::new(sql);
        let read = match self {
            Self::Pool(pool) => pool.each_row(statement, row).await,
            Self::Transaction(open) => open.each_row_locked(table, statement, row).await,
        };
        read.map_err(StoreError::sql(format!("reading table {table}")))
    }
}

/// A row: each column by its name in small letters.
pub(crate) type Row = HashMap<String, String>;

/// A table as it stands.
pub(crate) struct Stand {
    pub(crate) kind: Kind,
    pub(crate) columns: Columns,
    /// Rows by the key of their unit.
    pub(crate) rows: HashMap<String, Vec<Row>>,
}

impl Stand {
    pub(crate) async fn read(
        source: &mut Source<'_>,
        kind: Kind,
        table: &str,
        columns: Columns,
    ) -> Result<Self, StoreError> {
        let (keys, _) = described(table);
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        let (sql, places) = columns.select(kind, table, &wanted);
        let mut rows: HashMap<String, Vec<Row>> = HashMap::new();
        let read = source.each_row(table, sql, |get| {
            let mut row = Row::new();
            for (name, place) in names.iter().zip(&places) {
                let text = place.and_then(get).unwrap_or_default();
                row.insert(name.to_ascii_lowercase(), text.to_owned());
            }
            let key: Vec<&str> = keys
                .iter()
                .map(|key| row.get(*key).map_or("", String::as_str))
                .collect();
            rows.entry(key.join("|")).or_default().push(row);
        });
        read.await?;
        Ok(Self {
            kind,
            columns,
            rows,
        })
    }

    /// The rows of a unit.
    pub(crate) fn of(&self, key: &str) -> &[Row] {
        self.rows.get(key).map_or(&[], Vec::as_slice)
    }

    /// A value as the table would give it back.
    fn normal(&self, column: &str, value: &str) -> String {
        let Some(found) = self.columns.get(column) else {
            return value.to_owned();
        };
        let value = self
            .columns
            .fit(found, Some(value.to_owned()))
            .unwrap_or_default();
        match value.trim().parse::<f64>() {
            Ok(number) if found.is_number() && number.is_finite() => number.to_string(),
            _ => value,
        }
    }

    /// What rows say in these columns.
    pub(crate) fn content<'c>(
        &self,
        columns: &BTreeSet<String>,
        rows: impl Iterator<Item = HashMap<&'c str, &'c str>>,
    ) -> String {
        let mut rows: Vec<String> = rows
            .map(|row| {
                let cells: Vec<String> = columns
                    .iter()
                    .map(|column| {
                        let value = row.get(column.as_str()).copied().unwrap_or_default();
                        format!("{column}={}", self.normal(column, value))
                    })
                    .collect();
                cells.join("\u{1f}")
            })
            .collect();
        rows.sort_unstable();
        fingerprint(&rows.join("\u{1e}"))
    }

    pub(crate) fn content_now(&self, key: &str, columns: &BTreeSet<String>) -> Option<String> {
        let rows = self.rows.get(key)?;
        let rows = rows.iter().map(|row| {
            let cells = row.iter();
            cells
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect()
        });
        Some(self.content(columns, rows))
    }
}

pub(crate) fn fingerprint(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
