//! What all shards share: configuration, snapshots of the database, contacts, sounds, and the process-wide counters that
//! number channels and records. Everything here is read without waiting or written by one owner.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use strowger_store::{AstDb, CdrSpool, Globals, Realtime, Snapshot, TableWriter};
use tokio::runtime::Handle;

use crate::channel::{Channel, Directory, GlobalVariables};
use crate::conference::Conferences;
use crate::config::{Config, Sip};
use crate::counters::QualityCounters;
use crate::device::{Devices, Notice};
use crate::dns::Dns;
use crate::ending::{Ending, When, Wish};
use crate::endpoint::Gatekeeper;
use crate::endpoint::contacts::Contacts;
use crate::endpoint::registration::{self, RegistrationTable};
use crate::events::Events;
use crate::parking::ParkedCalls;
use crate::protect::{CallLimits, Protection, SecurityLog};
use crate::publication::Published;
use crate::queue::Queues;
use crate::record::jobs::Mp3Jobs;
use crate::record::retention::{self, Retention};
use crate::shard::Shard;
use crate::shard::inbox::{Inbox, ShardMessage};
use crate::sounds::SoundStore;
use crate::subscription::Registry;
use crate::trace::Tracer;
use crate::transport::connections::ConnectionTable;
use crate::transport::table::Transports;
use crate::voicemail::Voicemail;

/// Where the exchange keeps its files.
#[derive(Clone, Debug)]
pub struct Paths {
    pub data: PathBuf,
    /// Recordings of MixMonitor.
    pub monitor: PathBuf,
    pub sounds: PathBuf,
    /// Dialplans in Lua.
    pub dialplan: PathBuf,
    pub spool: PathBuf,
    /// Scripts of AGI.
    pub agi: PathBuf,
}

impl Paths {
    /// Paths under the configured data directory, made absolute.
    pub fn new(config: &Config) -> std::io::Result<Self> {
        create_private(&config.data.0)?;
        let data = config.data.0.canonicalize()?;
        Ok(Self {
            monitor: data.join(&config.recording.directory),
            sounds: data.join("sounds"),
            dialplan: data.join(&config.dialplan.lua),
            spool: data.join("spool"),
            agi: data.join(&config.agi.directory),
            data,
        })
    }
}

/// Makes a folder (and those above it) that only its owner can enter: it holds passwords, recordings and call records. A
/// folder that exists stays as it is.
pub fn create_private(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// How long another shard may take to answer.
const SHARD_WAIT: Duration = Duration::from_secs(5);

/// Process-wide numbers of call detail records.
static CDR_SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// The next CDR sequence number.
pub(crate) fn next_cdr_sequence() -> u64 {
    CDR_SEQUENCE.fetch_add(1, Ordering::Relaxed)
}

/// A UUID of version 4.
pub(crate) fn new_uuid() -> String {
    let (high, low) = (crate::random_u64(), crate::random_u64());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

/// State shared by all shards.
pub struct Shared {
    pub config: Arc<Config>,
    pub paths: Paths,
    pub realtime: Realtime,
    pub astdb: AstDb,
    pub globals: GlobalVariables,
    /// The channels of all shards, by name.
    pub directory: Directory,
    pub sounds: Arc<SoundStore>,
    pub contacts: Arc<Contacts>,
    pub gatekeeper: Gatekeeper,
    /// Who is kept out.
    pub protection: Protection,
    /// Our registrations with other servers, as they stand.
    pub registrations: Arc<RegistrationTable>,
    pub cdr: CdrSpool,
    pub conferences: Conferences,
    /// Who is free, rings or talks.
    pub devices: Devices,
    pub queues: Queues,
    pub voicemail: Voicemail,
    /// Subscriptions of phones.
    pub subscriptions: Registry,
    /// What other exchanges tell of their devices and mailboxes.
    pub published: Published,
    /// Writes rows of queues and mailboxes.
    writer: OnceLock<TableWriter>,
    /// What happens, for programs that watch.
    pub events: Events,
    /// What was said over SIP, for people.
    pub tracer: Tracer,
    /// Calls that wait in parking lots.
    pub parked: ParkedCalls,
    /// How legs sounded that have ended.
    pub quality: QualityCounters,
    /// The transports that are open.
    pub transports: Transports,
    /// The connections of all shards.
    pub(crate) connections: Arc<ConnectionTable>,
    /// Looks host names up.
    pub dns: Dns,
    /// MP3 files of recordings.
    pub mp3: Mp3Jobs,
    /// How long recordings are kept.
    pub retention: Retention,
    /// How the exchange is to end.
    pub ending: Ending,
    /// The control runtime: SQL, files, child processes.
    pub control: Handle,
    pub started: SystemTime,
    pub started_at: Instant,
    inboxes: OnceLock<Vec<Arc<Inbox>>>,
    uniqueid: AtomicU64,
    channel_sequence: AtomicU64,
    local_sequence: AtomicU64,
    originates: AtomicUsize,
    channels: AtomicUsize,
    calls_processed: AtomicU64,
    draining: AtomicBool,
}

/// Signs the nonces of this process.
fn secret() -> [u8; 32] {
    let mut bytes = [0u8; 32];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&crate::random_u64().to_ne_bytes());
    }
    bytes
}

/// How we call ourselves: as `strowger.toml` says where it says anything, else as the row of `ps_globals` does.
fn agent(config: &Sip, globals: &Globals) -> String {
    let row = globals.user_agent.as_ref();
    row.filter(|_| config.user_agent == Sip::default().user_agent)
        .unwrap_or(&config.user_agent)
        .clone()
}

impl Shared {
    /// Puts the shared parts together.
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, at start, with one value of each kind"
    )]
    pub fn new(
        config: Arc<Config>,
        paths: Paths,
        realtime: Realtime,
        astdb: AstDb,
        sounds: Arc<SoundStore>,
        contacts: Arc<Contacts>,
        cdr: CdrSpool,
        mp3: Mp3Jobs,
        control: Handle,
    ) -> Arc<Self> {
        let gatekeeper = Gatekeeper::new(secret(), crate::clock::now());
        let limits = &config.limits;
        let protection = Protection::new(
            &config.protection,
            CallLimits {
                per_source: limits.calls_per_source,
                per_source_second: limits.calls_per_source_second,
                per_endpoint: limits.calls_per_endpoint,
                per_endpoint_second: limits.calls_per_endpoint_second,
            },
            SecurityLog::new(config.log.security_everything),
            Arc::clone(gatekeeper.names()),
        );
        let dns = {
            // The resolver's own tasks belong to the control runtime.
            let _control = control.enter();
            Dns::new(&config.sip.dns_servers().unwrap_or_default())
        };
        let tracer = Tracer::new(&config.trace);
        let shared = Arc::new(Self {
            protection,
            tracer,
            config,
            transports: Transports::default(),
            connections: Arc::default(),
            dns,
            paths,
            realtime,
            astdb,
            globals: GlobalVariables::default(),
            events: Events::default(),
            directory: Directory::default(),
            sounds,
            contacts,
            gatekeeper,
            registrations: Arc::default(),
            cdr,
            conferences: Conferences::default(),
            devices: Devices::default(),
            queues: Queues::default(),
            voicemail: Voicemail::default(),
            subscriptions: Registry::default(),
            writer: OnceLock::new(),
            parked: ParkedCalls::default(),
            published: Published::default(),
            quality: QualityCounters::default(),
            mp3,
            retention: Retention::default(),
            ending: Ending::default(),
            control,
            started: SystemTime::now(),
            started_at: crate::clock::now(),
            inboxes: OnceLock::new(),
            uniqueid: AtomicU64::new(0),
            channel_sequence: AtomicU64::new(0),
            local_sequence: AtomicU64::new(0),
            originates: AtomicUsize::new(0),
            channels: AtomicUsize::new(0),
            calls_processed: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&shared);
        shared.contacts.on_change(Box::new(move |aor| {
            if let Some(shared) = weak.upgrade() {
                shared.devices.tell(Notice::Contacts(aor.to_owned()));
            }
        }));
        let weak = Arc::downgrade(&shared);
        shared.contacts.on_binding(Box::new(move |contact, became| {
            if let Some(shared) = weak.upgrade() {
                crate::shard::tell_binding(&shared, contact, became);
            }
        }));
        let weak = Arc::downgrade(&shared);
        shared.parked.on_change(Box::new(move |device| {
            if let Some(shared) = weak.upgrade() {
                shared.devices.touch(device);
            }
        }));
        shared.events.pass_on(&shared.control);
        crate::device::start(&shared);
        crate::endpoint::names::start(&shared);
        crate::publication::start(&shared);
        crate::queue::start(&shared);
        crate::trace::start(&shared);
        crate::voicemail::start(&shared);
        retention::start(&shared);
        shared
    }

    /// Has rows of queues and mailboxes written; once, at the start. Without, there is no database to write to.
    pub fn set_writer(&self, writer: TableWriter) {
        let _ = self.writer.set(writer);
    }

    /// Writes rows of queues and mailboxes.
    pub fn writer(&self) -> Option<&TableWriter> {
        self.writer.get()
    }

    /// The database as last read.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.realtime.current()
    }

    /// User-Agent and Server of what we send: of `strowger.toml` where it names one, else of `ps_globals`.
    pub fn user_agent(&self) -> String {
        agent(&self.config.sip, &self.snapshot().globals)
    }

    /// `<epoch seconds>.<counter>`.
    pub fn next_uniqueid(&self) -> String {
        let seconds = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        format!(
            "{seconds}.{}",
            self.uniqueid.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// The number in the next `PJSIP/<endpoint>-%08x`.
    pub(crate) fn next_channel_sequence(&self) -> u64 {
        self.channel_sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Spreads calls that begin here over the shards.
    pub(crate) fn next_originate(&self) -> usize {
        self.originates.fetch_add(1, Ordering::Relaxed)
    }

    /// The number in the next `Local/<exten>@<context>-%08x`.
    pub(crate) fn next_local_sequence(&self) -> u64 {
        self.local_sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Channels alive on all shards.
    pub fn channels(&self) -> usize {
        self.channels.load(Ordering::Relaxed)
    }

    /// Incoming calls taken since start.
    pub fn calls_processed(&self) -> u64 {
        self.calls_processed.load(Ordering::Relaxed)
    }

    pub(crate) fn channel_created(&self, incoming: bool) {
        self.channels.fetch_add(1, Ordering::Relaxed);
        if incoming {
            self.calls_processed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn channel_destroyed(&self) {
        self.channels.fetch_sub(1, Ordering::Relaxed);
    }

    /// Stops taking new calls; those in progress go on. A signal says so: nobody takes it back.
    pub fn drain(&self) {
        self.ending.fix();
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Asks for an end, which the process brings about. False: something as urgent was asked for before.
    pub fn ask_to_end(&self, wish: Wish) -> bool {
        let asked = self.ending.ask(wish);
        if asked && wish.when > When::Convenient {
            self.draining.store(true, Ordering::Relaxed);
        }
        asked
    }

    /// Takes back what was asked for; new calls are taken again. False: there is nothing to be taken back, or it is too late.
    pub fn end_no_more(&self) -> bool {
        let taken_back = self.ending.take_back();
        if taken_back {
            self.draining.store(false, Ordering::Relaxed);
        }
        taken_back
    }

    /// True while no new calls are taken.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Tells the shards of each other; once, before the first starts.
    pub fn set_inboxes(&self, inboxes: Vec<Arc<Inbox>>) {
        let _ = self.inboxes.set(inboxes);
    }

    /// The queues into the shards, by shard number.
    pub fn inboxes(&self) -> &[Arc<Inbox>] {
        self.inboxes.get().map_or(&[], Vec::as_slice)
    }

    /// Connections open at present, those still shaking hands included.
    pub fn open_connections(&self) -> usize {
        self.connections.open()
    }

    /// Runs `/bin/sh -c command` on the control runtime and waits for its end.
    pub async fn shell(&self, command: String) -> std::io::Result<ExitStatus> {
        self.control
            .spawn(async move { crate::child::shell(&command).status().await })
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }

    /// Does something with a channel of any shard, on its own thread. None if there is none, or its shard does not
    /// answer in time.
    pub async fn with_channel<R: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Channel) -> R + Send + 'static,
    ) -> Option<R> {
        let inbox = self.inboxes().get(self.directory.shard_of(name)?)?;
        let (answer, answered) = tokio::sync::oneshot::channel();
        let name = name.to_owned();
        let errand = ShardMessage::Errand(Box::new(move |shard| {
            if let Some(channel) = shard.channel_by_name(&name) {
                let _ = answer.send(work(&channel));
            }
        }));
        inbox.send(errand).ok()?;
        let answered = tokio::time::timeout(SHARD_WAIT, answered);
        answered.await.ok()?.ok()
    }

    /// Has something done to a channel of any shard, in the order in which it was asked for; nobody waits for it. False: there
    /// is no such channel, or its shard's queue is full.
    pub fn post_to_channel(
        &self,
        name: &str,
        work: impl FnOnce(&Channel) + Send + 'static,
    ) -> bool {
        let shard = self.directory.shard_of(name);
        let Some(inbox) = shard.and_then(|shard| self.inboxes().get(shard)) else {
            return false;
        };
        let name = name.to_owned();
        let errand = ShardMessage::Errand(Box::new(move |shard| {
            if let Some(channel) = shard.channel_by_name(&name) {
                work(&channel);
            }
        }));
        inbox.send(errand).is_ok()
    }

    /// Registers with another server now (`ps_registrations` of this name), whatever the plan was; also what was given up.
    /// False: there is no such row, or its shard's queue is full.
    pub fn register_now(&self, id: &str) -> bool {
        self.post_to_registration(id, |shard, id| shard.register_now(id))
    }

    /// Takes a registration with another server back until [`Self::register_now`], or until its row changes. False as there.
    pub fn unregister(&self, id: &str) -> bool {
        self.post_to_registration(id, |shard, id| shard.unregister(id))
    }

    fn post_to_registration(
        &self,
        id: &str,
        work: impl FnOnce(&Rc<Shard>, &str) + Send + 'static,
    ) -> bool {
        let known = self.snapshot().registrations.iter().any(|row| row.id == id);
        let inboxes = self.inboxes();
        let Some(inbox) = inboxes
            .get(registration::owner(id, inboxes.len()))
            .filter(|_| known)
        else {
            return false;
        };
        let id = id.to_owned();
        let errand = ShardMessage::Errand(Box::new(move |shard| work(shard, &id)));
        inbox.send(errand).is_ok()
    }

    /// Where things are kept.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The folder that relative recording names belong to.
    pub fn monitor(&self) -> &Path {
        &self.paths.monitor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_table_counts_where_the_file_says_nothing_else() {
        let row = Globals {
            user_agent: Some("Exchange of the table".into()),
            ..Globals::default()
        };
        let file = Sip {
            user_agent: "Exchange of the file".into(),
            ..Sip::default()
        };
        assert_eq!(agent(&Sip::default(), &Globals::default()), "Strowger");
        assert_eq!(agent(&Sip::default(), &row), "Exchange of the table");
        assert_eq!(agent(&file, &row), "Exchange of the file");
    }
}
