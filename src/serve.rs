//! `strowger serve`: puts the parts together in the order they need each other, waits for signals, and takes them
//! apart again.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use strowger_api::manager::Manager;
use strowger_api::{Apis, ShardSource, Sources};
use strowger_core::config::Cores;
use strowger_core::counters::ShardCounters;
use strowger_core::ending::When;
use strowger_core::endpoint::contacts::Contacts;
use strowger_core::record::jobs::Mp3Jobs;
use strowger_core::shard::inbox::Inbox;
use strowger_core::shard::{self, RunningShard, ShardSetup};
use strowger_core::sounds::SoundStore;
use strowger_core::transport::table::{self, First};
use strowger_core::transport::tls::{Minimum, Tls, TlsFiles};
use strowger_core::{Config, Paths, Shared};
use strowger_media::ports::PortRange;
use strowger_media::worker::{self, WorkerConfig, WorkerControl};
use strowger_media::writer::{self, WriterConfig, WriterHandle};
use strowger_scripting::PlanWatcher;
use strowger_store::{
    AstDb, CdrSpool, ContactWriter, Kind, OptionsRow, Realtime, Store, TableWriter,
};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::demo;

/// What is left of the database side for the end of the process.
struct Keeping {
    store: Store,
    cdr: CdrSpool,
    contacts: ContactWriter,
    rows: TableWriter,
    /// Of the exchange before, to go on.
    subscriptions: Vec<OptionsRow>,
    astdb: AstDb,
    realtime: Realtime,
}

/// Serves until the end. The program that is to begin then, if one is.
pub(crate) fn serve(config: Config, runtime: &Runtime) -> anyhow::Result<Option<PathBuf>> {
    // Known before anything can be put in its place: then what was put there begins.
    let program = std::env::current_exe().context("where the program is");
    let config = Arc::new(config);
    let paths = Paths::new(&config)
        .with_context(|| format!("data directory {}", config.data.0.display()))?;
    let cores = cores(&config)?;
    // Everything that another program can be in the way of comes first.
    let listeners = Listeners::bind(&config, cores.len())?;
    let (shared, mut keeping) = runtime.block_on(open(&config, &paths))?;
    let plans = PlanWatcher::start(&shared);
    let factory = strowger_scripting::factory(
        Arc::clone(&plans),
        strowger_scripting::Limits {
            memory_bytes: config.dialplan.memory_mib * 1024 * 1024,
            ..strowger_scripting::Limits::default()
        },
    );
    let (writer_handle, writer) =
        writer::spawn(WriterConfig::default()).context("cannot start the file thread")?;
    let (first, last) = config.rtp.range()?;
    let port_ranges = PortRange::new(first, last).split(cores.len());
    let inboxes: Vec<_> = cores.iter().map(|_| Arc::new(Inbox::default())).collect();
    shared.set_inboxes(inboxes.clone());
    if !keeping.subscriptions.is_empty() {
        shared.subscriptions.expect(inboxes.len());
    }
    let mut shards: Vec<RunningShard> = Vec::new();
    let mut media: Vec<WorkerControl> = Vec::new();
    let mut sources = Vec::new();
    let parts = cores.iter().zip(port_ranges).zip(inboxes).enumerate();
    for (index, ((core, ports), inbox)) in parts {
        let worker = worker::spawn(
            WorkerConfig {
                name: format!("media-{index}"),
                core: Some(*core),
                realtime: config.shards.realtime,
                ..WorkerConfig::default()
            },
            writer_handle.clone(),
        )
        .with_context(|| {
            format!("cannot start media thread {index} (io_uring of Linux 6.1 or newer is needed)")
        })?;
        let (handle, media_counters, control) = worker.split();
        let liveness = control.liveness();
        media.push(control);
        let counters = Arc::new(ShardCounters::default());
        let running = shard::start(ShardSetup {
            index,
            count: cores.len(),
            core: Some(*core),
            media: handle,
            ports,
            legs_max: WorkerConfig::default().max_legs,
            shared: Arc::clone(&shared),
            inbox: Arc::clone(&inbox),
            counters: Arc::clone(&counters),
            dialplan: Arc::clone(&factory),
        })
        .with_context(|| format!("cannot start signalling thread {index}"))?;
        shards.push(running);
        sources.push(ShardSource {
            counters,
            inbox,
            media: Box::new(move || media_counters.snapshot()),
            media_runs: Box::new(move || liveness.is_running()),
        });
    }
    runtime.block_on(table::start(&shared, listeners.transports));
    shared.restore_subscriptions(std::mem::take(&mut keeping.subscriptions));
    let manager = {
        let _control = runtime.enter();
        Manager::start(&shared, &plans, keeping.store.clone())
    };
    let mut process = process_numbers(
        &keeping,
        &shared,
        &plans,
        shared.mp3.clone(),
        writer_handle.clone(),
    );
    let apis = {
        let _control = runtime.enter();
        Arc::new(Apis::new(&shared, &manager, keeping.store.clone()))
    };
    let counted = Arc::clone(&apis);
    let doors = Arc::clone(&apis);
    process.push(("http_", Box::new(move || counted.counters())));
    let counted = Arc::clone(&manager);
    process.push(("manager_", Box::new(move || counted.counters())));
    let sources = Arc::new(Sources {
        shared: Arc::clone(&shared),
        shards: sources,
        process,
        ready: AtomicBool::new(true),
        control_key: crate::control::key(&paths.data)?,
    });
    let http = runtime.spawn(strowger_api::serve(
        listeners.http,
        Arc::clone(&sources),
        apis,
    ));
    // The banner is for a person; a closed stdout is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{}", demo::banner(&config, &paths.data));
    let end = runtime.block_on(wait_for_end(&shared, &plans, &config));
    sources.ready.store(false, Ordering::Relaxed);
    if end != End::AtOnce {
        let limit = Duration::from_secs(config.http.close_s);
        runtime.block_on(async {
            tokio::select! {
                () = doors.close(limit) => {}
                // Whoever sends a signal wants no restart.
                () = asked_to_end() => shared.drain(),
            }
        });
    }
    let ended_in_time = shared.channels() == 0;
    for shard in &shards {
        shard.ask_to_stop();
    }
    for shard in shards {
        shard.join();
    }
    drop(media);
    drop(writer_handle);
    drop(writer);
    http.abort();
    runtime.block_on(close(&keeping));
    if !ended_in_time {
        tracing::warn!("ended with calls in progress");
    }
    if shared.ending.restarts() {
        tracing::info!("restarting");
        return program.map(Some);
    }
    Ok(None)
}

/// Puts the program, as it is now on disk, in the place of this process, with the same arguments: its number stays, so who watches over
/// it sees no end. Every descriptor is closed by that. Returns only where it fails.
pub(crate) fn begin_again(program: &Path) -> anyhow::Error {
    let arguments = std::env::args_os().skip(1);
    let error = Command::new(program).args(arguments).exec();
    anyhow!(error).context(format!("cannot start {} again", program.display()))
}

/// The cores that carry shards.
fn cores(config: &Config) -> anyhow::Result<Vec<usize>> {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    match &config.shards.cores {
        Cores::All => Ok((0..available).collect()),
        Cores::List(list) => {
            if let Some(wrong) = list.iter().find(|core| **core >= available) {
                return Err(anyhow!(
                    "configuration key shards.cores: there is no core {wrong}; this machine has 0 to {}",
                    available - 1
                ));
            }
            Ok(list.clone())
        }
    }
}

struct Listeners {
    transports: First,
    http: strowger_api::Listeners,
}

impl Listeners {
    fn bind(config: &Config, shards: usize) -> anyhow::Result<Self> {
        Ok(Self {
            transports: First::bind(config, shards)?,
            http: http_listeners(config)?,
        })
    }
}

/// HTTP without TLS, and with it where the configuration says so.
fn http_listeners(config: &Config) -> anyhow::Result<strowger_api::Listeners> {
    let http = &config.http;
    let plain = strowger_api::bind("http.bind", http.bind)?;
    let Some(address) = http.tls_bind else {
        return Ok(strowger_api::Listeners { plain, tls: None });
    };
    let file = |name: &str| (!name.is_empty()).then(|| config.data.0.join(name));
    let tls = Tls::load(&TlsFiles {
        certificate: file(&http.certificate),
        key: file(&http.key),
        authorities: None,
        verify_client: false,
        require_client_cert: false,
        verify_server: false,
        minimum: Minimum::Tls12,
    });
    let tls = tls.context("configuration keys http.certificate and http.key")?;
    let listener = strowger_api::bind("http.tls_bind", address)?;
    Ok(strowger_api::Listeners {
        plain,
        tls: Some((listener, tls)),
    })
}

async fn open(config: &Arc<Config>, paths: &Paths) -> anyhow::Result<(Arc<Shared>, Keeping)> {
    let store: Store = crate::open_store(config).await?;
    if store.kind() == Kind::Sqlite {
        for problem in store.migrate().await? {
            tracing::warn!("database: {problem}");
        }
    }
    if demo::is_embedded_default(config) {
        demo::seed(&store, config).await?;
    }
    let (realtime, problems) = Realtime::start(
        store.clone(),
        Duration::from_millis(config.database.refresh_ms),
    )
    .await?;
    for problem in problems {
        tracing::warn!("database: {problem}");
    }
    std::fs::create_dir_all(&paths.monitor).with_context(|| paths.monitor.display().to_string())?;
    let cdr = CdrSpool::open(&paths.spool)?;
    cdr.deliver(store.clone());
    let astdb = AstDb::open(&paths.data.join("astdb.sqlite3"))?;
    let subscriptions = store.subscriptions().await?;
    let rows = TableWriter::spawn(store.clone());
    let writer = ContactWriter::spawn(store.clone());
    let contacts = Arc::new(Contacts::new("", Box::new(writer.clone())));
    let restored = contacts.restore(
        &realtime.current().contacts,
        strowger_core::endpoint::contacts::epoch_now(),
    );
    tracing::info!(restored, "registrations restored");
    let mp3 = Mp3Jobs::start(paths.spool.join("recordings"), config.recording.keep_wav)
        .context("cannot start the threads that make MP3 files")?;
    let control = tokio::runtime::Handle::current();
    let sounds = Arc::new(SoundStore::with_programs(
        paths.sounds.clone(),
        control.clone(),
        config.agi.music_programs_max,
    ));
    let shared = Shared::new(
        Arc::clone(config),
        paths.clone(),
        realtime.clone(),
        astdb.clone(),
        sounds,
        contacts,
        cdr.clone(),
        mp3,
        control,
    );
    shared.set_writer(rows.clone());
    start_protection(config, &shared)?;
    shared.queue_log("NONE", "NONE", "NONE", "QUEUESTART", &[]);
    Ok((
        shared,
        Keeping {
            store,
            cdr,
            contacts: writer,
            rows,
            subscriptions,
            astdb,
            realtime,
        },
    ))
}

/// Opens the log of security events, and counts addresses as known that telephones were registered from.
fn start_protection(config: &Config, shared: &Shared) -> anyhow::Result<()> {
    if !config.log.security.is_empty() {
        let path = shared.paths().data.join(&config.log.security);
        let log = &shared.protection.log;
        log.start(&path)
            .with_context(|| format!("configuration key log.security: {}", path.display()))?;
    }
    for contact in shared.snapshot().contacts.iter() {
        let ip = contact.via_addr.as_deref().and_then(|ip| ip.parse().ok());
        if let Some(ip) = ip {
            shared.protection.proved(ip);
        }
    }
    Ok(())
}

fn process_numbers(
    keeping: &Keeping,
    shared: &Arc<Shared>,
    plans: &Arc<strowger_scripting::Plans>,
    mp3: Mp3Jobs,
    writer: WriterHandle,
) -> Vec<(&'static str, strowger_api::Numbers)> {
    let (cdr, contacts, astdb, realtime) = (
        keeping.cdr.clone(),
        keeping.contacts.clone(),
        keeping.astdb.clone(),
        keeping.realtime.clone(),
    );
    let (rows, devices) = (keeping.rows.clone(), Arc::clone(shared));
    let registrations = Arc::clone(&shared.registrations);
    let protection = Arc::clone(shared);
    let tracer = Arc::clone(shared);
    let kept = Arc::clone(shared);
    let (connected, names, music) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    let fax = Arc::clone(plans.fax());
    let (plans, agi) = (Arc::clone(plans), Arc::clone(plans.agi()));
    vec![
        ("agi_", Box::new(move || agi.counters())),
        ("fax_", Box::new(move || fax.counters())),
        ("", Box::new(move || cdr.counters())),
        ("", Box::new(move || contacts.counters())),
        ("", Box::new(move || astdb.counters())),
        ("", Box::new(move || rows.counters())),
        (
            "device_",
            Box::new(move || vec![("changes_late", devices.devices.lost())]),
        ),
        (
            "outbound_registrations_",
            Box::new(move || registrations.counts().to_vec()),
        ),
        (
            "protection_",
            Box::new(move || protection.protection.counters()),
        ),
        ("trace_", Box::new(move || tracer.tracer.counters())),
        ("recordings_", Box::new(move || mp3.counters())),
        ("recordings_", Box::new(move || kept.retention.counters())),
        ("", Box::new(move || writer.counters().snapshot())),
        (
            "connections_",
            Box::new(move || vec![("open", connected.open_connections() as u64)]),
        ),
        ("dns_", Box::new(move || names.dns.counters())),
        ("music_", Box::new(move || music.sounds.music_counters())),
        (
            "log_",
            Box::new(|| vec![("lines_lost", crate::logging::lost_lines())]),
        ),
        (
            "database_",
            Box::new(move || vec![("up", u64::from(realtime.healthy()))]),
        ),
        (
            "dialplan_",
            Box::new(move || {
                let mut numbers = vec![
                    ("versions", plans.versions()),
                    ("compile_us", plans.compile_us()),
                    ("failures", plans.failures()),
                ];
                numbers.extend(plans.counters().snapshot());
                numbers
            }),
        ),
    ]
}

/// How the waiting for an end ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The last call is over, or the time is.
    InOrder,
    /// Somebody does not want to wait.
    AtOnce,
}

/// Waits for a signal: TERM and INT drain (a second one ends at once), HUP reads the database and the dialplan's files anew. Or for
/// what somebody asks for over the Manager.
async fn wait_for_end(
    shared: &Arc<Shared>,
    plans: &strowger_scripting::Plans,
    config: &Config,
) -> End {
    let (Ok(mut term), Ok(mut interrupt), Ok(mut hup)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    ) else {
        tracing::error!("cannot wait for signals");
        return End::AtOnce;
    };
    let mut limit: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
            _ = hup.recv() => {
                plans.look_at_files();
                table::renew(shared, true).await;
                match shared.realtime.refresh_now().await {
                    Ok(changed) => tracing::info!(changed, "reloaded"),
                    Err(error) => tracing::error!(%error, "reload"),
                }
                continue;
            }
            () = shared.ending.changed() => {
                match shared.ending.wish() {
                    Some(wish) => tracing::info!(?wish, channels = shared.channels(), "an end was asked for"),
                    None => tracing::info!("the end was taken back: new calls are taken"),
                }
                continue;
            }
            () = tokio::time::sleep(Duration::from_millis(50)), if limit.is_some() || shared.ending.wish().is_some() => {
                let now = shared.ending.wish().is_some_and(|wish| wish.when == When::Now);
                if now || shared.channels() == 0 || limit.is_some_and(|at| Instant::now() >= at) {
                    return End::InOrder;
                }
                continue;
            }
        }
        if limit.is_some() {
            return End::AtOnce;
        }
        shared.drain();
        tracing::info!(
            channels = shared.channels(),
            "draining: no new calls are taken"
        );
        limit = Some(Instant::now() + Duration::from_secs(config.limits.drain_s));
    }
}

/// Waits for TERM or INT.
async fn asked_to_end() {
    let (Ok(mut term), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Writes what is still in memory.
async fn close(keeping: &Keeping) {
    let limit = Duration::from_secs(5);
    keeping.cdr.flush(limit);
    if !keeping.cdr.drain(limit).await {
        tracing::warn!("call records wait in the spool for the next start");
    }
    if !keeping.contacts.flush(limit).await {
        tracing::warn!("registrations of the last moments are not in the database");
    }
    if !keeping.rows.flush(limit).await {
        tracing::error!("not all rows of queues and mailboxes were written");
    }
    if !keeping.astdb.flush(limit) {
        tracing::warn!("values of the last moments are not in astdb.sqlite3");
    }
}
