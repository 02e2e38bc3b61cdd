//! Tables to rows: columns that exist are read, the rest takes its default, and what a person should know about it
//! becomes a [`Problem`].

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::error::{Problem, Severity, StoreError};
use crate::pool::{Pool, Statement};
use crate::rows::{
    BadCell, Cells, Contact, DomainAlias, Endpoint, ExtensionRow, MediaEncryption, MusicEntry,
    MusicRow, OptionsRow, Row, StaticRow,
};
use crate::schema::Columns;
use crate::snapshot::{Snapshot, Table};

/// Problems reported of one table, besides their number.
const PROBLEMS_MAX: usize = 20;

/// The static tables make one list, which [`table`] reads whole when asked for the first of them.
pub(crate) fn is_loaded_with_another(table: Table) -> bool {
    matches!(
        table,
        Table::StaticPjsip | Table::StaticSorcery | Table::StaticManager
    )
}

/// The table whose load includes this one.
pub(crate) fn loaded_as(table: Table) -> Table {
    if is_loaded_with_another(table) {
        Table::StaticExtensions
    } else {
        table
    }
}

/// Reads one table into the snapshot. Tells whether anything is different from before.
pub(crate) async fn table(
    pool: &Pool,
    table: Table,
    snapshot: &mut Snapshot,
) -> Result<(bool, Vec<Problem>), StoreError> {
    let mut load = Load {
        pool,
        problems: Vec::new(),
        more: 0,
    };
    let changed = match table {
        Table::Endpoints => {
            let endpoints = load.by_id(table).await?;
            load.unsupported(&endpoints);
            replace(&mut snapshot.loaded.endpoints, endpoints)
        }
        Table::Aors => replace(&mut snapshot.loaded.aors, load.by_id(table).await?),
        Table::Auths => replace(&mut snapshot.loaded.auths, load.by_id(table).await?),
        Table::Identifies => replace(&mut snapshot.loaded.identifies, load.sorted(table).await?),
        Table::Transports => replace(&mut snapshot.loaded.transports, load.sorted(table).await?),
        Table::Registrations => replace(
            &mut snapshot.loaded.registrations,
            load.sorted(table).await?,
        ),
        Table::DomainAliases => {
            let rows: Vec<DomainAlias> = load.sorted(table).await?;
            replace(
                &mut snapshot.loaded.domain_aliases,
                rows.into_iter().map(|row| (row.id.clone(), row)).collect(),
            )
        }
        Table::Globals => {
            let row = load.sorted(table).await?.into_iter().next();
            replace(&mut snapshot.loaded.globals, row)
        }
        Table::Systems => {
            let row = load.sorted(table).await?.into_iter().next();
            replace(&mut snapshot.loaded.system, row)
        }
        Table::Extensions => replace(&mut snapshot.extensions, load.extensions().await?),
        Table::Music => replace(&mut snapshot.music, load.music().await?),
        Table::MusicEntries => replace(&mut snapshot.music_entries, load.music_entries().await?),
        Table::Queues => {
            let mut rows = load.options(table, &["name"]).await?;
            rows.sort_by(|a, b| a.get("name").cmp(b.get("name")));
            replace(&mut snapshot.queues, rows)
        }
        Table::QueueMembers => {
            let mut rows = load.options(table, &["queue_name", "interface"]).await?;
            let order = |row: &OptionsRow| row.get("uniqueid").parse().unwrap_or(i64::MAX);
            rows.sort_by(|a, b| {
                (a.get("queue_name"), order(a), a.get("interface")).cmp(&(
                    b.get("queue_name"),
                    order(b),
                    b.get("interface"),
                ))
            });
            replace(&mut snapshot.queue_members, rows)
        }
        Table::QueueRules => {
            let rows = load.options(table, &["rule_name", "time"]).await?;
            replace(&mut snapshot.queue_rules, rows)
        }
        Table::Voicemail => {
            let mut rows = load.options(table, &["mailbox"]).await?;
            rows.sort_by_key(|row| row.get("uniqueid").parse().unwrap_or(i64::MAX));
            replace(&mut snapshot.voicemail, rows)
        }
        Table::ResourceLists => {
            let rows = load.named(table).await?;
            replace(&mut snapshot.resource_lists, rows)
        }
        Table::InboundPublications => {
            let rows = load.named(table).await?;
            replace(&mut snapshot.inbound_publications, rows)
        }
        Table::AsteriskPublications => {
            let rows = load.named(table).await?;
            replace(&mut snapshot.asterisk_publications, rows)
        }
        Table::OutboundPublishes => {
            let rows = load.named(table).await?;
            replace(&mut snapshot.outbound_publishes, rows)
        }
        Table::ApiUsers => {
            let mut rows = load.options(table, &["uuid", "api_key"]).await?;
            rows.sort_by(|a, b| a.get("uuid").cmp(b.get("uuid")));
            replace(&mut snapshot.api_users, rows)
        }
        Table::ApiContexts => {
            let mut rows = load.options(table, &["name"]).await?;
            rows.sort_by(|a, b| a.get("name").cmp(b.get("name")));
            replace(&mut snapshot.api_contexts, rows)
        }
        Table::StaticExtensions
        | Table::StaticPjsip
        | Table::StaticSorcery
        | Table::StaticManager => {
            let mut rows = Vec::new();
            let mut marks = Vec::new();
            let mut sorcery_speaks = false;
            for table in [
                Table::StaticExtensions,
                Table::StaticPjsip,
                Table::StaticSorcery,
                Table::StaticManager,
            ] {
                sorcery_speaks |= load.statics(table, &mut rows, &mut marks).await?;
            }
            StaticRow::sort(&mut rows);
            let spoke = std::mem::replace(&mut snapshot.loaded.sorcery_speaks, sorcery_speaks);
            marks.sort();
            let others = replace(&mut snapshot.static_marks, marks);
            replace(&mut snapshot.statics, rows) || others || spoke != sorcery_speaks
        }
    };
    if load.more > 0 {
        load.problems.push(Problem {
            severity: Severity::Warning,
            table: table.name().into(),
            row: None,
            what: format!("{} more such values", load.more),
        });
    }
    Ok((changed, load.problems))
}

/// Puts the new value in place if it differs.
fn replace<T: PartialEq>(place: &mut Arc<T>, new: T) -> bool {
    let changed = **place != new;
    if changed {
        *place = Arc::new(new);
    }
    changed
}

/// Contacts that have neither expired nor died with the connection they came by.
pub(crate) async fn contacts(
    pool: &Pool,
    now_s: i64,
) -> Result<(Vec<Contact>, Vec<Problem>), StoreError> {
    let mut load = Load {
        pool,
        problems: Vec::new(),
        more: 0,
    };
    let mut rows: Vec<Contact> = load.rows("ps_contacts", false).await?;
    rows.retain(|contact| {
        contact.expiration_time > now_s && !contact.prune_on_boot && !contact.uri.is_empty()
    });
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    Ok((rows, load.problems))
}

/// Subscriptions of the exchange before this one.
pub(crate) async fn subscriptions(pool: &Pool) -> Result<Vec<OptionsRow>, StoreError> {
    let mut load = Load {
        pool,
        problems: Vec::new(),
        more: 0,
    };
    load.options_of("ps_subscription_persistence", &["id", "packet"])
        .await
}

/// Deletes contacts that [`contacts`] would not give, except those another server looks after.
pub(crate) async fn prune_contacts(
    pool: &Pool,
    now_s: i64,
    reg_server: &str,
) -> Result<u64, StoreError> {
    let mut load = Load {
        pool,
        problems: Vec::new(),
        more: 0,
    };
    let rows: Vec<Contact> = load.rows("ps_contacts", false).await?;
    let dead: Vec<_> = rows
        .into_iter()
        .filter(|row| {
            row.expiration_time <= now_s
                || (row.prune_on_boot
                    && (row.reg_server == reg_server || row.reg_server.is_empty()))
        })
        .collect();
    let count = dead.len() as u64;
    for group in dead.chunks(200) {
        let marks: Vec<_> = (1..=group.len())
            .map(|n| pool.kind().parameter(n))
            .collect();
        let sql = format!("DELETE FROM ps_contacts WHERE id IN ({})", marks.join(", "));
        let ids = group.iter().map(|row| Some(row.id.clone())).collect();
        pool.execute(Statement::with(sql, ids))
            .await
            .map_err(StoreError::sql("deleting dead contacts"))?;
    }
    Ok(count)
}

/// One load, and what it found wrong.
struct Load<'a> {
    pool: &'a Pool,
    problems: Vec<Problem>,
    more: usize,
}

impl Load<'_> {
    fn problem(&mut self, severity: Severity, table: &str, row: Option<String>, what: String) {
        if self.problems.len() >= PROBLEMS_MAX {
            self.more += 1;
        } else {
            self.problems.push(Problem {
                severity,
                table: table.into(),
                row,
                what,
            });
        }
    }

    /// What an endpoint asks for and will not get.
    fn unsupported(&mut self, endpoints: &FxHashMap<String, Arc<Endpoint>>) {
        let mut refused: Vec<(&String, &str)> = endpoints
            .iter()
            .filter_map(|(id, endpoint)| match endpoint.media_encryption {
                MediaEncryption::Dtls => Some((id, "media_encryption=dtls is")),
                MediaEncryption::No if endpoint.webrtc => {
                    Some((id, "webrtc=yes wants DTLS-SRTP, which is"))
                }
                _ => None,
            })
            .collect();
        refused.sort();
        for (id, what) in refused {
            self.problem(
                Severity::Error,
                Table::Endpoints.name(),
                Some(id.clone()),
                format!("{what} not spoken here: calls of this endpoint are refused (use sdes)"),
            );
        }
    }

    /// The columns of a table; `None` if it does not exist and may be missing.
    async fn columns(
        &mut self,
        table: &str,
        required: bool,
    ) -> Result<Option<Columns>, StoreError> {
        let found = Columns::find(self.pool, table).await?;
        if found.is_none() {
            if required {
                return Err(StoreError::Schema {
                    table: table.into(),
                    why: "does not exist; `strowger db migrate` makes it".into(),
                });
            }
            self.problem(
                Severity::Warning,
                table,
                None,
                "does not exist: nothing is read from it".into(),
            );
        }
        Ok(found)
    }

    /// Refuses a table without its essential columns, and names other missing ones once.
    fn check(
        &mut self,
        table: &str,
        columns: &Columns,
        wanted: &[&str],
        essential: &[&str],
    ) -> Result<(), StoreError> {
        let missing: Vec<_> = wanted
            .iter()
            .filter(|name| !columns.has(name))
            .copied()
            .collect();
        let fatal: Vec<_> = missing
            .iter()
            .filter(|name| essential.contains(*name))
            .copied()
            .collect();
        if !fatal.is_empty() {
            return Err(StoreError::Schema {
                table: table.into(),
                why: format!(
                    "has no column {}, without which its rows mean nothing",
                    fatal.join(", ")
                ),
            });
        }
        if !missing.is_empty() {
            let what = format!("has no column {}: the default is used", missing.join(", "));
            self.problem(Severity::Warning, table, None, what);
        }
        Ok(())
    }

    /// All rows of a table that is described by its struct.
    async fn rows<R: Row + Send>(
        &mut self,
        table: &str,
        required: bool,
    ) -> Result<Vec<R>, StoreError> {
        let Some(columns) = self.columns(table, required).await? else {
            return Ok(Vec::new());
        };
        self.check(table, &columns, R::COLUMNS, &["id"])?;
        let (sql, places) = columns.select(self.pool.kind(), table, R::COLUMNS);
        let id_place = R::COLUMNS
            .iter()
            .position(|name| *name == "id")
            .and_then(|at| places.get(at).copied().flatten());
        let mut rows = Vec::new();
        let mut bad_rows: Vec<(String, BadCell)> = Vec::new();
        let mut bad = Vec::new();
        let mut nameless = 0_usize;
        self.pool
            .each_row(Statement::new(sql), |get| {
                let id = id_place.and_then(get).unwrap_or_default();
                if id.is_empty() {
                    nameless += 1;
                    return;
                }
                rows.push(R::read(Cells::new(get, &places, R::COLUMNS, &mut bad)));
                bad_rows.extend(bad.drain(..).map(|cell| (id.to_owned(), cell)));
            })
            .await
            .map_err(StoreError::sql(format!("reading table {table}")))?;
        for (id, cell) in bad_rows {
            let what = format!(
                "column {} says `{}`, which it cannot: the default is used",
                cell.column, cell.text
            );
            self.problem(Severity::Warning, table, Some(id), what);
        }
        if nameless > 0 {
            self.problem(
                Severity::Error,
                table,
                None,
                format!("{nameless} rows without id are ignored"),
            );
        }
        Ok(rows)
    }

    async fn by_id<R: Row + Send>(
        &mut self,
        table: Table,
    ) -> Result<FxHashMap<String, Arc<R>>, StoreError> {
        let rows = self.rows(table.name(), table.required()).await?;
        Ok(rows
            .into_iter()
            .map(|row: R| (row.id().clone(), Arc::new(row)))
            .collect())
    }

    async fn sorted<R: Row + Send>(&mut self, table: Table) -> Result<Vec<R>, StoreError> {
        let mut rows = self.rows(table.name(), table.required()).await?;
        rows.sort_by(|a: &R, b: &R| a.id().cmp(b.id()));
        Ok(rows)
    }

    async fn extensions(&mut self) -> Result<Vec<ExtensionRow>, StoreError> {
        const WANTED: [&str; 6] = ["id", "context", "exten", "priority", "app", "appdata"];
        let table = Table::Extensions.name();
        let Some(columns) = self.columns(table, true).await? else {
            return Ok(Vec::new());
        };
        self.check(
            table,
            &columns,
            &WANTED,
            &["context", "exten", "priority", "app"],
        )?;
        let (sql, places) = columns.select(self.pool.kind(), table, &WANTED);
        let mut rows = Vec::new();
        let mut bad = Vec::new();
        self.pool
            .each_of_many_rows(
                Statement::new(sql),
                places.iter().flatten().count(),
                |get| {
                    let cell = |at: usize| places[at].and_then(get).unwrap_or_default();
                    let id = cell(0).parse().unwrap_or(0);
                    let priority = cell(3).trim();
                    let Ok(priority) = priority.parse() else {
                        bad.push((
                            id,
                            format!("priority `{priority}` is no number: the row is ignored"),
                        ));
                        return;
                    };
                    rows.push(ExtensionRow {
                        id,
                        context: cell(1).to_owned(),
                        exten: cell(2).to_owned(),
                        priority,
                        app: cell(4).to_owned(),
                        appdata: cell(5).to_owned(),
                    });
                },
            )
            .await
            .map_err(StoreError::sql(format!("reading table {table}")))?;
        for (id, what) in bad {
            self.problem(Severity::Error, table, Some(id.to_string()), what);
        }
        rows.sort_unstable_by(|a, b| {
            (&a.context, &a.exten, a.priority, a.id).cmp(&(&b.context, &b.exten, b.priority, b.id))
        });
        Ok(rows)
    }

    async fn music(&mut self) -> Result<Vec<MusicRow>, StoreError> {
        const WANTED: [&str; 7] = [
            "name",
            "mode",
            "directory",
            "digit",
            "sort",
            "application",
            "format",
        ];
        let mut rows = Vec::new();
        self.small(Table::Music, &WANTED, &["name"], |cells| {
            let [name, mode, directory, digit, sort, application, format] = cells;
            rows.push(MusicRow {
                name,
                mode,
                directory,
                digit,
                sort,
                application,
                format,
            });
        })
        .await?;
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    }

    async fn music_entries(&mut self) -> Result<Vec<MusicEntry>, StoreError> {
        const WANTED: [&str; 3] = ["name", "position", "entry"];
        let mut rows = Vec::new();
        self.small(Table::MusicEntries, &WANTED, &["name", "entry"], |cells| {
            let [name, position, entry] = cells;
            rows.push(MusicEntry {
                name,
                position: position.trim().parse().unwrap_or(0),
                entry,
            });
        })
        .await?;
        rows.sort_by(|a, b| (&a.name, a.position, &a.entry).cmp(&(&b.name, b.position, &b.entry)));
        Ok(rows)
    }

    /// All columns of each row of an optional table; rows where `essential` ones say nothing are left out.
    async fn options(
        &mut self,
        table: Table,
        essential: &[&str],
    ) -> Result<Vec<OptionsRow>, StoreError> {
        self.options_of(table.name(), essential).await
    }

    /// The same of a table whose rows have an `id`, in the order of these.
    async fn named(&mut self, table: Table) -> Result<Vec<OptionsRow>, StoreError> {
        let mut rows = self.options(table, &["id"]).await?;
        rows.sort_by(|a, b| a.get("id").cmp(b.get("id")));
        Ok(rows)
    }

    async fn options_of(
        &mut self,
        table: &str,
        essential: &[&str],
    ) -> Result<Vec<OptionsRow>, StoreError> {
        let Some(columns) = self.columns(table, false).await? else {
            return Ok(Vec::new());
        };
        self.check(table, &columns, essential, essential)?;
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        let (sql, places) = columns.select(self.pool.kind(), table, &wanted);
        let mut rows = Vec::new();
        let mut left_out = 0_usize;
        self.pool
            .each_row(Statement::new(sql), |get| {
                let cells = names.iter().zip(&places).filter_map(|(name, place)| {
                    let text = get((*place)?)?;
                    (!text.is_empty()).then(|| (name.to_ascii_lowercase(), text.to_owned()))
                });
                let row = OptionsRow {
                    options: cells.collect(),
                };
                if essential.iter().any(|name| row.get(name).is_empty()) {
                    left_out += 1;
                } else {
                    rows.push(row);
                }
            })
            .await
            .map_err(StoreError::sql(format!("reading table {table}")))?;
        if left_out > 0 {
            let what = format!(
                "{left_out} rows without {} are ignored",
                essential.join(" and ")
            );
            self.problem(Severity::Error, table, None, what);
        }
        Ok(rows)
    }

    /// Gives the cells of each row of an optional table that has no column `id`; what is missing or NULL is empty.
    async fn small<const N: usize>(
        &mut self,
        table: Table,
        wanted: &[&str; N],
        essential: &[&str],
        mut row: impl FnMut([String; N]) + Send,
    ) -> Result<(), StoreError> {
        let table = table.name();
        let Some(columns) = self.columns(table, false).await? else {
            return Ok(());
        };
        self.check(table, &columns, wanted, essential)?;
        let (sql, places) = columns.select(self.pool.kind(), table, wanted);
        self.pool
            .each_row(Statement::new(sql), |get| {
                row(std::array::from_fn(|at| {
                    let place = places.get(at).copied().flatten();
                    place.and_then(get).unwrap_or_default().to_owned()
                }));
            })
            .await
            .map_err(StoreError::sql(format!("reading table {table}")))
    }

    /// The lines of one static table that are not commented out. True if any, commented out or not, is of sorcery.conf.
    async fn statics(
        &mut self,
        table: Table,
        rows: &mut Vec<StaticRow>,
        marks: &mut Vec<(String, String)>,
    ) -> Result<bool, StoreError> {
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
        let table = table.name();
        let Some(columns) = self.columns(table, false).await? else {
            return Ok(false);
        };
        self.check(
            table,
            &columns,
            &WANTED,
            &["filename", "category", "var_name", "var_val"],
        )?;
        let (sql, places) = columns.select(self.pool.kind(), table, &WANTED);
        let mut sorcery = false;
        self.pool
            .each_row(Statement::new(sql), |get| {
                let cell = |at: usize| places[at].and_then(get).unwrap_or_default();
                sorcery |= cell(4) == "sorcery.conf";
                if !matches!(cell(3).trim(), "" | "0" | "false") {
                    if cell(6).is_empty() && cell(7).is_empty() {
                        marks.push((cell(4).to_owned(), cell(5).to_owned()));
                    }
                    return;
                }
                rows.push(StaticRow {
                    id: cell(0).parse().unwrap_or(0),
                    cat_metric: cell(1).trim().parse().unwrap_or(0),
                    var_metric: cell(2).trim().parse().unwrap_or(0),
                    filename: cell(4).to_owned(),
                    category: cell(5).to_owned(),
                    var_name: cell(6).to_owned(),
                    var_val: cell(7).to_owned(),
                });
            })
            .await
            .map_err(StoreError::sql(format!("reading table {table}")))?;
        Ok(sorcery)
    }
}
