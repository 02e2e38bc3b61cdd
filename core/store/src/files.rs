//! Files of configuration in the static tables, changed as a whole: read under a lock, changed by whoever asks, and written in
//! the same transaction. What a file means is for others.

use std::time::Duration;

use crate::error::StoreError;
use crate::pool::{Kind, Statement, is_about_others};
use crate::rows::StaticRow;
use crate::schema::Columns;
use crate::snapshot::Table;
use crate::store::Store;

/// Rows of one INSERT.
const ROWS_OF_INSERT: usize = 100;
/// How often a change is tried that others are in the way of.
const TRIES: u32 = 6;
/// The pause behind the first of them; each further one is longer by as much.
const PAUSE: Duration = Duration::from_millis(20);

/// Tables that files may be in.
const TABLES: [Table; 4] = [
    Table::StaticExtensions,
    Table::StaticPjsip,
    Table::StaticSorcery,
    Table::StaticManager,
];

/// A section of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Names and values, in their order.
    pub lines: Vec<(String, String)>,
}

/// A file: its sections, each name once, in the order in which they are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File(pub Vec<Section>);

/// How a change of a file ended.
#[derive(Debug, PartialEq, Eq)]
pub enum FileChange<E> {
    /// It is written.
    Done,
    /// Whoever changes it does not want it; nothing is written.
    Refused(E),
    /// There is no such file.
    Missing,
}

/// A static table as it is at hand.
struct Place {
    table: Table,
    columns: Columns,
}

/// A section as it stands in the tables.
#[derive(Default)]
struct Known {
    cat_metric: i32,
    /// Table and id of each row.
    rows: Vec<(Table, String)>,
}

/// A file as it stands in the tables.
#[derive(Default)]
struct Stored {
    file: File,
    /// Of each section of the file, in its order.
    known: Vec<Known>,
    /// The row that says that there is such a file, though it be empty.
    marks: Vec<(Table, String)>,
    /// Its name as it is written there.
    name: Option<String>,
    /// Where its rows are.
    table: Option<Table>,
}

/// Where a file is kept that there is not yet.
fn usual_table(file: &str) -> Table {
    match file.to_ascii_lowercase().as_str() {
        "manager.conf" => Table::StaticManager,
        "pjsip.conf" => Table::StaticPjsip,
        "sorcery.conf" => Table::StaticSorcery,
        _ => Table::StaticExtensions,
    }
}

/// A row, and whether it only marks a section or file that has no lines.
struct Read {
    row: StaticRow,
    id: String,
    table: Table,
    is_mark: bool,
}

impl Stored {
    fn of(mut rows: Vec<Read>) -> Self {
        let mut stored = Self::default();
        rows.sort_by_cached_key(|read| read.row.sort_key());
        for read in rows {
            let Read {
                row,
                id,
                table,
                is_mark,
            } = read;
            stored.name.get_or_insert_with(|| row.filename.clone());
            stored.table.get_or_insert(table);
            if is_mark && row.category.is_empty() {
                stored.marks.push((table, id));
                continue;
            }
            let sections = &mut stored.file.0;
            let at = sections
                .iter()
                .position(|section| section.name == row.category)
                .unwrap_or_else(|| {
                    sections.push(Section {
                        name: row.category.clone(),
                        lines: Vec::new(),
                    });
                    stored.known.push(Known {
                        cat_metric: row.cat_metric,
                        ..Known::default()
                    });
                    sections.len() - 1
                });
            if !is_mark {
                sections[at].lines.push((row.var_name, row.var_val));
            }
            stored.known[at].rows.push((table, id));
        }
        stored
    }
}

/// What is to be written.
struct Plan<'p> {
    kind: Kind,
    places: &'p [Place],
    statements: Vec<Statement>,
}

impl Plan<'_> {
    fn delete(&mut self, rows: &[(Table, String)]) {
        for (table, id) in rows {
            let sql = format!(
                "DELETE FROM {} WHERE {} = {}",
                self.kind.quote(table.name()),
                self.kind.quote("id"),
                match self.kind {
                    Kind::Postgres => {
                        format!("CAST(CAST({} AS TEXT) AS BIGINT)", self.kind.parameter(1))
                    }
                    _ => self.kind.parameter(1),
                }
            );
            let statement = Statement::with(sql, vec![Some(id.clone())]);
            self.statements.push(statement);
        }
    }

    /// The table that rows go to: this one, or where files usually are.
    fn place(&self, table: Table) -> Result<&Place, StoreError> {
        let find = |wanted: Table| self.places.iter().find(|place| place.table == wanted);
        find(table)
            .or_else(|| find(Table::StaticExtensions))
            .ok_or_else(|| StoreError::Schema {
                table: table.name().into(),
                why: "does not exist; `strowger db migrate` makes it".into(),
            })
    }

    /// Inserts a section; one without lines is a row that is commented out and says nothing. An empty name stands for the file.
    fn insert(
        &mut self,
        table: Table,
        file: &str,
        section: &Section,
        cat_metric: i32,
    ) -> Result<(), StoreError> {
        let place = self.place(table)?;
        let mark = [(String::new(), String::new())];
        let (lines, commented) = if section.lines.is_empty() {
            (&mark[..], "1")
        } else {
            (&section.lines[..], "0")
        };
        let mut rows = Vec::new();
        for (number, (name, value)) in lines.iter().enumerate() {
            let row = [
                ("cat_metric", Some(cat_metric.to_string())),
                ("var_metric", Some(number.to_string())),
                ("commented", Some(commented.to_owned())),
                ("filename", Some(file.to_owned())),
                ("category", Some(section.name.clone())),
                ("var_name", Some(name.clone())),
                ("var_val", Some(value.clone())),
            ];
            for (name, value) in &row {
                let most = place
                    .columns
                    .get(name)
                    .and_then(|found| found.characters_max);
                let length = value.as_deref().unwrap_or_default().chars().count();
                if let Some(most) = most.filter(|most| length > *most) {
                    return Err(StoreError::Refused(format!(
                        "column {name} of {} takes {most} characters, not {length}",
                        place.table.name()
                    )));
                }
            }
            rows.push(row);
        }
        let mut statements = Vec::new();
        for part in rows.chunks(ROWS_OF_INSERT) {
            let part: Vec<&[(&str, Option<String>)]> = part.iter().map(|row| &row[..]).collect();
            let table = place.table.name();
            statements.push(place.columns.insert_all(self.kind, table, &part));
        }
        self.statements.extend(statements);
        Ok(())
    }
}

impl Store {
    async fn static_places(&self) -> Result<Vec<Place>, StoreError> {
        let mut places = Vec::new();
        for table in TABLES {
            if let Some(columns) = Columns::find(self.pool(), table.name()).await? {
                for needed in [
                    "id",
                    "commented",
                    "filename",
                    "category",
                    "var_name",
                    "var_val",
                ] {
                    if !columns.has(needed) {
                        return Err(StoreError::Schema {
                            table: table.name().into(),
                            why: format!("has no column {needed}"),
                        });
                    }
                }
                places.push(Place { table, columns });
            }
        }
        Ok(places)
    }

    /// Changes a file, or makes another of it: what `change` leaves of `source` becomes `target`. All of it is done, or nothing.
    /// Lines that are commented out stay where they are. `change` is asked again where the database undoes a transaction because
    /// of another one (InnoDB locks gaps, so that two who write into an empty table may wait for each other).
    ///
    /// # Errors
    /// The database does not answer, or a table cannot hold it.
    pub async fn change_file<E>(
        &self,
        source: &str,
        target: &str,
        change: impl Fn(&mut File) -> Result<(), E> + Send + Sync,
    ) -> Result<FileChange<E>, StoreError> {
        let mut tries = 0;
        loop {
            let changed = self.try_to_change(source, target, &change).await;
            match changed {
                Err(error) if self.may_try_again(&error, &mut tries).await => {}
                changed => return changed,
            }
        }
    }

    /// Waits a moment where others were in the way, as long as it is worth another try.
    async fn may_try_again(&self, error: &StoreError, tries: &mut u32) -> bool {
        let StoreError::Sql { source, .. } = error else {
            return false;
        };
        *tries += 1;
        if *tries >= TRIES || !is_about_others(source, self.kind()) {
            return false;
        }
        tracing::debug!(%error, tries = *tries, "tried again");
        tokio::time::sleep(PAUSE * *tries).await;
        true
    }

    async fn try_to_change<E>(
        &self,
        source: &str,
        target: &str,
        change: &(impl Fn(&mut File) -> Result<(), E> + Send + Sync),
    ) -> Result<FileChange<E>, StoreError> {
        let places = self.static_places().await?;
        let failed = || StoreError::sql(format!("changing file {target}"));
        let mut transaction = self.pool().begin().await.map_err(failed())?;
        let (mut of_source, mut of_target) = (Vec::new(), Vec::new());
        for place in &places {
            let read = self
                .read_file(&mut transaction, place, [source, target])
                .await;
            for read in read.map_err(failed())? {
                if read.row.filename.eq_ignore_ascii_case(source) {
                    of_source.push(read);
                } else if read.row.filename.eq_ignore_ascii_case(target) {
                    // A database may take similar names for the same.
                    of_target.push(read);
                }
            }
        }
        let stored = Stored::of(of_source);
        let Some(name) = &stored.name else {
            return Ok(FileChange::Missing);
        };
        let mut file = stored.file.clone();
        if let Err(refused) = change(&mut file) {
            return Ok(FileChange::Refused(refused));
        }
        let mut plan = Plan {
            kind: self.kind(),
            places: &places,
            statements: Vec::new(),
        };
        if source.eq_ignore_ascii_case(target) {
            plan.rewrite(&stored, &file, name)?;
        } else {
            let other = Stored::of(of_target);
            plan.delete(&other.marks);
            other
                .known
                .iter()
                .for_each(|known| plan.delete(&known.rows));
            let table = other.table.unwrap_or_else(|| usual_table(target));
            let new = target.to_ascii_lowercase();
            let name = other.name.as_deref().unwrap_or(&new);
            for section in &file.0 {
                let known = stored
                    .file
                    .0
                    .iter()
                    .position(|old| old.name == section.name);
                let metric = known.map_or(0, |at| stored.known[at].cat_metric);
                plan.insert(table, name, section, metric)?;
            }
            if file.0.is_empty() {
                plan.insert(table, name, &unnamed(), 0)?;
            }
        }
        for statement in plan.statements {
            transaction.execute(statement).await.map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())?;
        Ok(FileChange::Done)
    }

    /// Makes a file without sections, its name in small letters, as whoever reads files writes it; false: there is one of this name.
    ///
    /// # Errors
    /// The database does not answer, or a table cannot hold it.
    pub async fn create_file(&self, name: &str) -> Result<bool, StoreError> {
        let name = name.to_ascii_lowercase();
        let mut tries = 0;
        loop {
            match self.try_to_create(&name).await {
                Err(error) if self.may_try_again(&error, &mut tries).await => {}
                created => return created,
            }
        }
    }

    async fn try_to_create(&self, name: &str) -> Result<bool, StoreError> {
        let places = self.static_places().await?;
        let failed = || StoreError::sql(format!("making file {name}"));
        let mut transaction = self.pool().begin().await.map_err(failed())?;
        for place in &places {
            let read = self.read_file(&mut transaction, place, [name, name]).await;
            if !read.map_err(failed())?.is_empty() {
                return Ok(false);
            }
        }
        let mut plan = Plan {
            kind: self.kind(),
            places: &places,
            statements: Vec::new(),
        };
        plan.insert(usual_table(name), name, &unnamed(), 0)?;
        for statement in plan.statements {
            transaction.execute(statement).await.map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())?;
        Ok(true)
    }

    /// The rows of two files in one table that count, and those that mark what is empty; nobody else changes them meanwhile.
    async fn read_file(
        &self,
        transaction: &mut crate::pool::Transaction,
        place: &Place,
        names: [&str; 2],
    ) -> Result<Vec<Read>, sqlx::Error> {
        const WANTED: [&str; 8] = [
            "id",
            "cat_metric",
            "var_metric",
            "commented",
            "filename",
            "category",
            "var_name",
            "var_val",
        ];
        let kind = self.kind();
        let table = place.table.name();
        let (mut sql, cells) = place.columns.select(kind, table, &WANTED);
        sql.push_str(&format!(
            " WHERE LOWER({0}) IN ({1}, {2})",
            kind.quote("filename"),
            kind.parameter(1),
            kind.parameter(2)
        ));
        let parameters = names.map(|name| Some(name.to_ascii_lowercase())).into();
        let statement = Statement::with(sql, parameters);
        let mut rows = Vec::new();
        let read = transaction.each_row_locked(table, statement, |get| {
            let cell = |at: usize| cells[at].and_then(get).unwrap_or_default();
            let number = |at: usize| cell(at).trim().parse().unwrap_or(0);
            let counts = matches!(cell(3).trim(), "" | "0" | "false");
            let is_mark = !counts && cell(6).is_empty() && cell(7).is_empty();
            if counts || is_mark {
                rows.push(Read {
                    row: StaticRow {
                        id: cell(0).parse().unwrap_or(0),
                        cat_metric: number(1),
                        var_metric: number(2),
                        filename: cell(4).to_owned(),
                        category: cell(5).to_owned(),
                        var_name: cell(6).to_owned(),
                        var_val: cell(7).to_owned(),
                    },
                    id: cell(0).to_owned(),
                    table: place.table,
                    is_mark,
                });
            }
        });
        read.await?;
        Ok(rows)
    }
}

/// The section that stands for a file without sections.
fn unnamed() -> Section {
    Section {
        name: String::new(),
        lines: Vec::new(),
    }
}

impl Plan<'_> {
    /// What is different from what stands there, section by section.
    fn rewrite(&mut self, stored: &Stored, file: &File, name: &str) -> Result<(), StoreError> {
        let table = stored.table.unwrap_or_else(|| usual_table(name));
        for (old, known) in stored.file.0.iter().zip(&stored.known) {
            let now = file.0.iter().find(|section| section.name == old.name);
            if now == Some(old) {
                continue;
            }
            self.delete(&known.rows);
            if let Some(section) = now {
                let home = known.rows.first().map_or(table, |(table, _)| *table);
                self.insert(home, name, section, known.cat_metric)?;
            }
        }
        for section in &file.0 {
            if !stored.file.0.iter().any(|old| old.name == section.name) {
                self.insert(table, name, section, 0)?;
            }
        }
        match (file.0.is_empty(), stored.marks.is_empty()) {
            (true, true) => self.insert(table, name, &unnamed(), 0)?,
            (false, false) => self.delete(&stored.marks),
            _ => {}
        }
        Ok(())
    }
}
