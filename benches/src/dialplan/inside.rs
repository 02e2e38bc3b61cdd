//! The exchange in this process: what `strowger serve` makes of its parts, with one shard and tables of the bench.

use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strowger_core::counters::ShardCounters;
use strowger_core::endpoint::contacts::{ContactWriter, Contacts};
use strowger_core::record::jobs::Mp3Jobs;
use strowger_core::shard::inbox::Inbox;
use strowger_core::shard::{self, RunningShard, ShardSetup};
use strowger_core::sounds::SoundStore;
use strowger_core::transport::table::{self, First};
use strowger_core::{Config, Paths, Shared};
use strowger_media::ports::PortRange;
use strowger_media::worker::{self, WorkerConfig, WorkerControl};
use strowger_media::writer::{self, Writer, WriterConfig};
use strowger_scripting::{Limits, PlanWatcher, Plans};
use strowger_store::{AstDb, CdrSpool, Endpoint, ExtensionRow, Realtime, Snapshot, Table};

use super::CONTEXT;

/// How often the heart of the signalling thread beats.
const BEAT: Duration = Duration::from_millis(1);

/// A timer on the signalling thread: by how much it was late at most, which is what a call would have waited.
#[derive(Debug, Default)]
pub struct Heart {
    late_us: AtomicU64,
    beats: AtomicU64,
}

impl Heart {
    async fn beat(self: Arc<Self>) {
        loop {
            let due = Instant::now() + BEAT;
            tokio::time::sleep_until(due.into()).await;
            let late = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.late_us.fetch_max(late, Ordering::Relaxed);
            self.beats.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The longest delay since it was asked last, and how often it was looked for.
    pub fn take(&self) -> (Duration, u64) {
        let late = self.late_us.swap(0, Ordering::Relaxed);
        (
            Duration::from_micros(late),
            self.beats.swap(0, Ordering::Relaxed),
        )
    }
}

struct NoTable;

impl ContactWriter for NoTable {
    fn upsert(&self, _: strowger_store::Contact) {}
    fn delete(&self, _: &str, _: &str) {}
}

/// A running exchange.
pub struct Inside {
    pub shared: Arc<Shared>,
    pub plans: Arc<Plans>,
    pub counters: Arc<ShardCounters>,
    pub heart: Arc<Heart>,
    pub address: SocketAddr,
    snapshot: Mutex<Snapshot>,
    shard: Option<RunningShard>,
    _media: WorkerControl,
    _writer: Writer,
    _runtime: tokio::runtime::Runtime,
    _data: tempfile::TempDir,
}

impl Inside {
    /// Starts one with these rows and, as name and text, files of Lua.
    pub fn start(rows: Vec<ExtensionRow>, files: &[(&str, &str)], limits: Limits) -> Result<Self> {
        Self::start_with(snapshot(rows), files, limits)
    }

    /// The same with all tables.
    pub fn start_with(snapshot: Snapshot, files: &[(&str, &str)], limits: Limits) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let mut config = Config::default();
        config.data.0 = data.path().to_owned();
        for (name, text) in files {
            let folder = data.path().join("dialplan");
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join(name), text)?;
        }
        let config = Arc::new(config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let paths = Paths::new(&config)?;
        let shared = {
            let _guard = runtime.enter();
            Shared::new(
                Arc::clone(&config),
                paths.clone(),
                Realtime::fixed(snapshot.clone()),
                AstDb::open(&paths.data.join("astdb.sqlite3"))?,
                Arc::new(SoundStore::new(
                    paths.sounds.clone(),
                    runtime.handle().clone(),
                )),
                Arc::new(Contacts::new("", Box::new(NoTable))),
                CdrSpool::open(&paths.spool)?,
                Mp3Jobs::start(Path::new(&paths.spool).join("recordings"), false)?,
                runtime.handle().clone(),
            )
        };
        let plans = PlanWatcher::start(&shared);
        let (handle, writer) = writer::spawn(WriterConfig::default())?;
        let worker = worker::spawn(
            WorkerConfig {
                core: None,
                realtime: false,
                max_legs: super::works::CALLS_MAX + 100,
                ..WorkerConfig::default()
            },
            handle,
        )?;
        let (media, _, control) = worker.split();
        let first = First::datagrams(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = *first.addresses().first().context("a socket")?;
        let inbox = Arc::new(Inbox::default());
        shared.set_inboxes(vec![Arc::clone(&inbox)]);
        let counters = Arc::new(ShardCounters::default());
        let heart = Arc::new(Heart::default());
        let factory = strowger_scripting::factory(Arc::clone(&plans), limits);
        let beating = Arc::clone(&heart);
        let shard = shard::start(ShardSetup {
            index: 0,
            count: 1,
            core: None,
            media,
            ports: PortRange::new(20_000, 60_000),
            legs_max: super::works::CALLS_MAX + 100,
            shared: Arc::clone(&shared),
            inbox,
            counters: Arc::clone(&counters),
            dialplan: Arc::new(move |shard| {
                tokio::task::spawn_local(Arc::clone(&beating).beat());
                factory(shard)
            }),
        })?;
        runtime.block_on(table::start(&shared, first));
        Ok(Self {
            shared,
            plans,
            counters,
            heart,
            address,
            snapshot: Mutex::new(snapshot),
            shard: Some(shard),
            _media: control,
            _writer: writer,
            _runtime: runtime,
            _data: data,
        })
    }

    /// Puts other rows in the table and waits until they are compiled.
    pub fn change(&self, rows: Vec<ExtensionRow>) {
        let before = self.plans.versions();
        {
            let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
            snapshot.extensions = Arc::new(rows);
            snapshot.versions[Table::Extensions as usize] += 1;
            self.shared.realtime.publish(snapshot.clone());
        }
        while self.plans.versions() == before {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until `condition` holds; an error after a minute.
    pub fn wait(&self, what: &str, condition: impl Fn() -> bool) -> Result<()> {
        let started = Instant::now();
        while !condition() {
            anyhow::ensure!(
                started.elapsed() < Duration::from_secs(60),
                "not in time: {what}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(shard) = self.shard.take() {
            shard.stop();
        }
    }
}

/// Tables with these rows, and one endpoint that calls.
pub fn snapshot(rows: Vec<ExtensionRow>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let endpoint = Endpoint {
        id: "tester".to_owned(),
        context: CONTEXT.to_owned(),
        allow: vec!["alaw".to_owned()],
        ..Endpoint::default()
    };
    Arc::make_mut(&mut snapshot.endpoints).insert("tester".to_owned(), Arc::new(endpoint));
    snapshot.extensions = Arc::new(rows);
    snapshot.versions = [1; Table::ALL.len()];
    snapshot
}
