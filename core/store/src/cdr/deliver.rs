//! From the spool into the table `cdr`: in order, each record once.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use super::files::{self, Item, Position};
use super::spool::{CdrSpool, Shared};
use super::table::CdrTable;
use crate::error::StoreError;
use crate::pool::is_about_the_row;
use crate::store::{Store, explain};

/// Records stored in one transaction.
const BATCH: usize = 256;
/// Rest after a batch that was not full, in which the next one gathers: a transaction costs much more than a record. What comes
/// after silence is stored at once.
const REST: Duration = Duration::from_millis(50);
/// Longest pause between attempts while the database is down.
const PAUSE_MAX: Duration = Duration::from_secs(5);

impl CdrSpool {
    /// Starts to store records in the database, those of former runs first. To be called once, inside the control
    /// runtime; the task ends when the last handle of the spool goes, and may be aborted at any time.
    pub fn deliver(&self, store: Store) -> JoinHandle<()> {
        let delivery = Delivery {
            shared: Arc::clone(&self.shared),
            store,
            table: None,
            unclear: true,
            pause: Duration::ZERO,
        };
        tokio::spawn(delivery.run())
    }

    /// Waits until everything pushed is stored (or rejected); `false` if that takes longer than `limit`.
    pub async fn drain(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !self.shared.all_done() {
            if Instant::now() >= end {
                return false;
            }
            sleep(Duration::from_millis(5)).await;
        }
        true
    }
}

struct Delivery {
    shared: Arc<Shared>,
    store: Store,
    table: Option<CdrTable>,
    /// Whether records at the position may be in the database already.
    unclear: bool,
    /// Pause after the last failed attempt; zero while all is well.
    pause: Duration,
}

/// What became of a record.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Open,
    Stored,
    Rejected,
}

impl Delivery {
    async fn run(mut self) {
        loop {
            match self.step().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // The disk: reading the spool or noting what was stored.
                    self.failed(&error.to_string());
                    if !self.rest().await {
                        return;
                    }
                }
            }
        }
    }

    /// Deals with one batch; `false` at the end.
    async fn step(&mut self) -> Result<bool, StoreError> {
        let position = *self.shared.done.lock();
        let durable = self.shared.durable();
        let end = (position.segment == durable.segment).then_some(durable.offset);
        if position.segment > durable.segment {
            return Ok(false);
        }
        let dir = self.shared.dir.clone();
        let items = blocking("reading the spool", move || {
            files::read(&dir, position, end, BATCH)
        })
        .await?;
        let Some((_, last)) = items.last() else {
            if end.is_none() {
                return self.leave(position).await.map(|()| true);
            }
            if self.shared.ended.load(Relaxed) {
                return Ok(false);
            }
            self.shared.wake.notified().await;
            return Ok(true);
        };
        let last = *last;
        if position.segment < self.shared.first {
            self.unclear = true;
        }
        let items: Vec<_> = items.into_iter().map(|(item, _)| item).collect();
        let mut fates = vec![Fate::Open; items.len()];
        while let Err(error) = self.store(&items, &mut fates).await {
            self.failed(&error.to_string());
            self.table = None;
            self.unclear = true;
            if !self.rest().await {
                return Ok(false);
            }
        }
        #[cfg(test)]
        if self.shared.crash_after_commit.load(Relaxed) {
            return Ok(false);
        }
        self.note(last).await?;
        // Stored records are noted, so what follows cannot be in the database.
        self.unclear = false;
        if !self.pause.is_zero() {
            tracing::info!("call detail records: stored again");
            self.pause = Duration::ZERO;
        }
        if items.len() < BATCH && !self.shared.ended.load(Relaxed) {
            sleep(REST).await;
        }
        Ok(true)
    }

    /// Stores what is open of a batch; every record has a fate when it succeeds.
    async fn store(&mut self, items: &[Item], fates: &mut [Fate]) -> Result<(), StoreError> {
        let pool = self.store.pool();
        let table = match &self.table {
            Some(table) => table,
            None => self.table.insert(CdrTable::find(pool).await?),
        };
        let counters = &self.shared.counters;
        for (item, fate) in items.iter().zip(fates.iter_mut()) {
            if matches!(item, Item::Damaged(_)) && *fate == Fate::Open {
                reject(&self.shared, "damaged in the spool", item).await?;
                *fate = Fate::Rejected;
            }
        }
        let records = |fates: &[Fate], wanted: &[Fate]| -> Vec<(usize, &super::Cdr)> {
            items
                .iter()
                .enumerate()
                .filter(|(at, _)| wanted.contains(&fates[*at]))
                .filter_map(|(at, item)| match item {
                    Item::Record(cdr) => Some((at, &**cdr)),
                    Item::Damaged(_) => None,
                })
                .collect()
        };
        if self.unclear {
            let candidates = records(fates, &[Fate::Open, Fate::Stored]);
            if !candidates.is_empty() {
                let cdrs: Vec<_> = candidates.iter().map(|(_, cdr)| *cdr).collect();
                let present = table.present(pool, &cdrs).await;
                let mut present =
                    present.map_err(StoreError::sql("looking for stored call detail records"))?;
                // Those known to be stored account for rows first.
                for wanted in [Fate::Stored, Fate::Open] {
                    for (at, cdr) in &candidates {
                        if fates[*at] == wanted
                            && let Some(count) = present.get_mut(&table.key(cdr))
                            && *count > 0
                        {
                            *count -= 1;
                            if wanted == Fate::Open {
                                fates[*at] = Fate::Stored;
                                counters.known.fetch_add(1, Relaxed);
                            }
                        }
                    }
                }
            }
        }
        let open = records(fates, &[Fate::Open]);
        if open.is_empty() {
            return Ok(());
        }
        let statements = open
            .iter()
            .map(|(_, cdr)| table.insert(pool, cdr))
            .collect();
        let error = match pool.transaction(statements).await {
            Ok(()) => {
                counters.stored.fetch_add(open.len() as u64, Relaxed);
                open.iter().for_each(|(at, _)| fates[*at] = Fate::Stored);
                return Ok(());
            }
            Err(error) => error,
        };
        if !is_about_the_row(&error, pool.kind()) {
            return Err(StoreError::sql("storing call detail records")(error));
        }
        // One of them is bad: each for itself, so that it does not hold up the others.
        for (at, cdr) in open {
            match pool.execute(table.insert(pool, cdr)).await {
                Ok(_) => {
                    counters.stored.fetch_add(1, Relaxed);
                    fates[at] = Fate::Stored;
                }
                Err(error) if is_about_the_row(&error, pool.kind()) => {
                    reject(&self.shared, &explain(&error), &items[at]).await?;
                    fates[at] = Fate::Rejected;
                }
                Err(error) => return Err(StoreError::sql("storing call detail records")(error)),
            }
        }
        Ok(())
    }

    /// Notes that everything before `position` is done.
    async fn note(&self, position: Position) -> Result<(), StoreError> {
        let dir = self.shared.dir.clone();
        blocking("noting what is stored", move || {
            files::save_position(&dir, position)
        })
        .await?;
        *self.shared.done.lock() = position;
        Ok(())
    }

    /// Goes on to the next segment, and removes the finished one.
    async fn leave(&self, position: Position) -> Result<(), StoreError> {
        let dir = self.shared.dir.clone();
        let next = blocking("looking for the next segment", move || {
            Ok(files::segments(&dir)?
                .into_iter()
                .find(|segment| *segment > position.segment))
        })
        .await?;
        let segment = next.unwrap_or_else(|| self.shared.durable().segment);
        self.note(Position { segment, offset: 0 }).await?;
        let path = files::segment_path(&self.shared.dir, position.segment);
        blocking("removing a segment", move || {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        })
        .await
    }

    fn failed(&mut self, error: &str) {
        self.shared.counters.failures.fetch_add(1, Relaxed);
        if self.pause.is_zero() {
            tracing::error!(
                error,
                "call detail records: cannot be stored; they wait in the spool"
            );
        }
        self.pause = (self.pause * 2).clamp(Duration::from_millis(100), PAUSE_MAX);
    }

    /// Waits before the next attempt; `false` if the end came instead.
    async fn rest(&self) -> bool {
        let ended = async {
            while !self.shared.ended.load(Relaxed) {
                self.shared.wake.notified().await;
            }
        };
        timeout(self.pause, ended).await.is_err()
    }
}

async fn reject(shared: &Arc<Shared>, reason: &str, item: &Item) -> Result<(), StoreError> {
    shared.counters.rejected.fetch_add(1, Relaxed);
    let uniqueid = match item {
        Item::Record(cdr) => cdr.uniqueid.as_str(),
        Item::Damaged(_) => "",
    };
    tracing::error!(
        reason,
        uniqueid,
        "call detail records: one is rejected; it is kept in rejected.log of the spool"
    );
    let line = files::reject_line(reason, item);
    let dir = shared.dir.clone();
    blocking("keeping a rejected record", move || {
        files::append_reject(&dir, &line)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let result = spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)));
    result.map_err(StoreError::file(what))
}
