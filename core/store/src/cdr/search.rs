//! Call records that programs ask for: of a time, of a group, of a call. Few searches run at a time, so that those who write
//! records and read changes always have connections of their own.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use crate::error::StoreError;
use crate::pool::{Kind, Statement, TextRow};
use crate::schema::{Column, Columns};
use crate::store::Store;

const TABLE: &str = "cdr";
/// Searches at a time.
const SEARCHES_MAX: usize = 2;
/// Records that are read at a time.
const PAGE: u64 = 500;
/// How long a search waits for its turn.
const TURN_MAX: Duration = Duration::from_secs(5);
/// Contexts of a group that are looked for; more would make a statement that some engines refuse.
const CONTEXTS_MAX: usize = 500;

static TURNS: Semaphore = Semaphore::const_new(SEARCHES_MAX);

/// Whose records are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CdrOwner {
    /// What `group_uuid` of a record says.
    pub group: String,
    /// Contexts of the group: a record without `group_uuid` is known by its `dcontext`. The first 500 count.
    pub contexts: Vec<String>,
}

/// Which call records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CdrQuery {
    /// Calls that began at this local time or later, `YYYY-MM-DD HH:MM:SS`.
    pub from: Option<String>,
    /// Calls that began at this local time or earlier.
    pub until: Option<String>,
    /// Columns that say exactly this; a table without the column has no such record.
    pub equal: Vec<(&'static str, String)>,
    /// `uniqueid` or `linkedid` is this.
    pub call: Option<String>,
    pub owner: Option<CdrOwner>,
    /// The newest first; otherwise the oldest.
    pub newest_first: bool,
    /// Rows left out at the beginning.
    pub skip: u64,
    /// Rows given at most; 0: all.
    pub limit: u64,
}

/// Puts conditions and their parameters together.
struct Conditions<'a> {
    kind: Kind,
    columns: &'a Columns,
    parts: Vec<String>,
    parameters: Vec<Option<String>>,
}

impl Conditions<'_> {
    fn value(&mut self, column: &Column, value: &str) -> String {
        self.parameters.push(Some(value.to_owned()));
        let mark = self.kind.parameter(self.parameters.len());
        match self.kind {
            Kind::Postgres => format!("CAST(CAST({mark} AS TEXT) AS {})", column.kind),
            Kind::Sqlite | Kind::MySql => mark,
        }
    }

    fn compare(&mut self, column: &Column, sign: &str, value: &str) -> String {
        let value = self.value(column, value);
        format!("{} {sign} {value}", self.kind.quote(&column.name))
    }

    /// `column` is one of these.
    fn any(&mut self, column: &Column, values: &[String]) -> Option<String> {
        if values.is_empty() {
            return None;
        }
        let marks: Vec<_> = values
            .iter()
            .map(|value| self.value(column, value))
            .collect();
        let name = self.kind.quote(&column.name);
        Some(format!("{name} IN ({})", marks.join(", ")))
    }

    fn of(&mut self, query: &CdrQuery) {
        let columns = self.columns;
        let start = start(columns);
        for (sign, time) in [(">=", &query.from), ("<=", &query.until)] {
            if let (Some(start), Some(time)) = (start, time) {
                let part = self.compare(start, sign, time);
                self.parts.push(part);
            }
        }
        for (name, value) in &query.equal {
            let part = match columns.get(name) {
                Some(column) => self.compare(column, "=", value),
                None => NOTHING.to_owned(),
            };
            self.parts.push(part);
        }
        if let Some(id) = &query.call {
            let found = ["uniqueid", "linkedid"].into_iter();
            let found: Vec<_> = found
                .filter_map(|name| Some(self.compare(columns.get(name)?, "=", id)))
                .collect();
            self.parts.push(either(&found));
        }
        if let Some(owner) = &query.owner {
            let part = self.owned(owner);
            self.parts.push(part);
        }
    }

    fn owned(&mut self, owner: &CdrOwner) -> String {
        let columns = self.columns;
        let group = columns.get("group_uuid");
        let mut found = Vec::new();
        if let Some(group) = group {
            found.push(self.compare(group, "=", &owner.group));
        }
        let known = &owner.contexts[..owner.contexts.len().min(CONTEXTS_MAX)];
        if let Some(context) = columns.get("dcontext")
            && let Some(of_context) = self.any(context, known)
        {
            found.push(match group {
                // Who says whose it is, is believed.
                Some(group) => {
                    let name = self.kind.quote(&group.name);
                    let text = self.kind.as_text(&name);
                    format!("({of_context} AND ({name} IS NULL OR {text} = ''))")
                }
                None => of_context,
            });
        }
        either(&found)
    }

    fn text(&self) -> String {
        if self.parts.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.parts.join(" AND "))
        }
    }
}

/// A condition that holds for no row.
const NOTHING: &str = "1 = 0";

fn either(parts: &[String]) -> String {
    if parts.is_empty() {
        NOTHING.to_owned()
    } else {
        format!("({})", parts.join(" OR "))
    }
}

/// The column that says when a call began; older tables name it otherwise.
fn start(columns: &Columns) -> Option<&Column> {
    columns.get("start").or_else(|| columns.get("calldate"))
}

impl CdrQuery {
    /// Begins behind a page whose records began at these times.
    fn go_on_behind(&mut self, starts: &[Option<String>]) {
        let edge = if self.newest_first {
            &mut self.until
        } else {
            &mut self.from
        };
        let Some(last) = starts.last().cloned().flatten() else {
            // Records without a time are counted.
            self.skip += starts.len() as u64;
            return;
        };
        let same = starts.iter().rev();
        let same = same
            .take_while(|start| start.as_deref() == Some(last.as_str()))
            .count();
        let all = same == starts.len() && edge.as_deref() == Some(last.as_str());
        self.skip = same as u64 + if all { self.skip } else { 0 };
        *edge = Some(last);
    }

    /// The statement that counts, or the one that reads `wanted`, with the place of each of them in a row.
    fn statement(
        &self,
        kind: Kind,
        columns: &Columns,
        wanted: Option<&[&str]>,
    ) -> (Statement, Vec<Option<usize>>) {
        let mut conditions = Conditions {
            kind,
            columns,
            parts: Vec::new(),
            parameters: Vec::new(),
        };
        conditions.of(self);
        let (mut sql, places) = match wanted {
            None => {
                let count = kind.as_text("COUNT(*)");
                (format!("SELECT {count} FROM {TABLE}"), Vec::new())
            }
            Some(wanted) => {
                // The time when a call began, under whatever name.
                let began = start(columns).map_or("start", |column| column.name.as_str());
                let named = wanted.iter().map(|name| match *name {
                    "start" => began,
                    name => name,
                });
                columns.select(kind, TABLE, &named.collect::<Vec<_>>())
            }
        };
        sql.push_str(&conditions.text());
        if wanted.is_some() {
            let way = if self.newest_first { " DESC" } else { "" };
            let order = [
                start(columns),
                columns.get("sequence"),
                columns.get("uniqueid"),
            ];
            let order: Vec<_> = order
                .into_iter()
                .flatten()
                .map(|column| format!("{}{way}", kind.quote(&column.name)))
                .collect();
            if !order.is_empty() {
                sql.push_str(&format!(" ORDER BY {}", order.join(", ")));
            }
            if self.limit > 0 {
                sql.push_str(&format!(" LIMIT {} OFFSET {}", self.limit, self.skip));
            }
        }
        (Statement::with(sql, conditions.parameters), places)
    }
}

impl Store {
    /// Waits for the turn of a search.
    async fn search_turn(&self) -> Result<SemaphorePermit<'static>, StoreError> {
        match tokio::time::timeout(TURN_MAX, TURNS.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(StoreError::Refused(format!(
                "{SEARCHES_MAX} searches of call records run already, which is the limit; try again later"
            ))),
        }
    }

    async fn cdr_columns(&self) -> Result<Columns, StoreError> {
        let columns = Columns::find(self.pool(), TABLE).await?;
        columns.ok_or_else(|| StoreError::Schema {
            table: TABLE.into(),
            why: "does not exist; `strowger db migrate` makes it".into(),
        })
    }

    /// How many call records there are of these.
    ///
    /// # Errors
    /// The database does not answer within 30 s, or too many search already.
    pub async fn count_cdr(&self, query: &CdrQuery) -> Result<u64, StoreError> {
        let _turn = self.search_turn().await?;
        let columns = self.cdr_columns().await?;
        let (statement, _) = query.statement(self.kind(), &columns, None);
        let count = self.pool().value(statement).await;
        let count = count.map_err(StoreError::sql("counting call records"))?;
        Ok(count.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Gives these columns of call records to `takers`, some rows at a time; a column that the table lacks is NULL. The order is that
    /// of their beginning. Between pages the turn and the connection are given back: who takes rows slowly holds neither.
    ///
    /// # Errors
    /// The database does not answer, or too many search already.
    pub async fn send_cdr(
        &self,
        query: &CdrQuery,
        wanted: &[&str],
        takers: mpsc::Sender<Vec<TextRow>>,
    ) -> Result<(), StoreError> {
        let mut rest = query.clone();
        let mut columns_wanted = wanted.to_vec();
        columns_wanted.push("start");
        let mut left = if query.limit == 0 {
            u64::MAX
        } else {
            query.limit
        };
        while left > 0 {
            rest.limit = left.min(PAGE);
            let mut page = {
                let _turn = self.search_turn().await?;
                let columns = self.cdr_columns().await?;
                let (statement, places) =
                    rest.statement(self.kind(), &columns, Some(&columns_wanted));
                let found = places.iter().flatten().count();
                let rows = self.pool().rows(statement, found.max(1)).await;
                let rows = rows.map_err(StoreError::sql("reading call records"))?;
                let wide = rows.into_iter().map(|row| {
                    let cell = |place: &Option<usize>| row.get((*place)?).cloned().flatten();
                    places.iter().map(cell).collect::<TextRow>()
                });
                wide.collect::<Vec<_>>()
            };
            let count = page.len() as u64;
            let starts: Vec<_> = page.iter_mut().filter_map(Vec::pop).collect();
            if count > 0 && takers.send(page).await.is_err() {
                return Ok(());
            }
            if count < rest.limit {
                break;
            }
            left -= count;
            rest.go_on_behind(&starts);
        }
        Ok(())
    }

    /// All rows of a search, for those who ask for few.
    ///
    /// # Errors
    /// As [`Store::send_cdr`].
    pub async fn find_cdr(
        &self,
        query: &CdrQuery,
        wanted: &[&str],
    ) -> Result<Vec<TextRow>, StoreError> {
        let (takers, mut rows) = mpsc::channel(4);
        let take = async {
            let mut all = Vec::new();
            while let Some(mut batch) = rows.recv().await {
                all.append(&mut batch);
            }
            all
        };
        let (sent, all) = tokio::join!(self.send_cdr(query, wanted, takers), take);
        sent.map(|()| all)
    }
}
