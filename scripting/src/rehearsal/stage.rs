//! Where rehearsals are held: an exchange of its own with one shard, without sockets, with a data folder that goes with it.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strowger_core::channel::{Channel, Location, Party};
use strowger_core::counters::ShardCounters;
use strowger_core::dialplan::{
    Dialplan, DialplanFactory, Exists, LocalFuture, OutOfReach, Reach, SubroutineEnd,
};
use strowger_core::endpoint::contacts::{ContactWriter, Contacts};
use strowger_core::record::jobs::Mp3Jobs;
use strowger_core::shard::inbox::Inbox;
use strowger_core::shard::{self, RunningShard, Shard, ShardSetup};
use strowger_core::sounds::SoundStore;
use strowger_core::{Config, Paths, Shared};
use strowger_media::ports::PortRange;
use strowger_media::worker::{self, WorkerConfig, WorkerControl};
use strowger_media::writer::{self, Writer, WriterConfig};
use strowger_store::{AstDb, CdrSpool, Contact, Realtime, Snapshot};

use super::{Given, Outcome, Rehearsal};
use crate::host::Host;
use crate::plans::PlanWatcher;
use crate::vm::Limits;
use crate::{Script, runner};

/// How long a call may take by the clock.
const CALL_MAX: Duration = Duration::from_secs(20);

struct NoTable;

impl ContactWriter for NoTable {
    fn upsert(&self, _: Contact) {}
    fn delete(&self, _: &str, _: &str) {}
}

type Next = Arc<Mutex<Option<(Given, Sender<Outcome>)>>>;

/// The dialplan of the stage's shard.
struct Rehearsed {
    script: Script,
    next: Next,
}

impl Dialplan for Rehearsed {
    fn exists(&self, context: &str, exten: &str, caller: &str) -> Exists {
        self.script.exists(context, exten, caller)
    }

    fn hint(&self, context: &str, exten: &str) -> Option<String> {
        self.script.hint(context, exten)
    }

    fn feature_code(&self, channel: &Channel, name: &str) -> Option<String> {
        self.script.feature_code(channel, name)
    }

    fn run(&self, channel: Channel) -> LocalFuture<()> {
        let next = self
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((given, tell)) = next else {
            return self.script.run(channel);
        };
        let host = Rc::clone(&self.script.host);
        Box::pin(async move {
            let outcome = runner::rehearse(host, channel, Rehearsal::new(given)).await;
            let _ = tell.send(outcome);
        })
    }

    fn priority(&self, context: &str, exten: &str, caller: &str, written: &str) -> Option<i32> {
        self.script.priority(context, exten, caller, written)
    }

    fn application(
        &self,
        channel: Channel,
        name: String,
        data: String,
        reach: Reach,
    ) -> LocalFuture<()> {
        self.script.application(channel, name, data, reach)
    }

    fn read(&self, channel: &Channel, name: &str, reach: Reach) -> Result<String, OutOfReach> {
        self.script.read(channel, name, reach)
    }

    fn write(
        &self,
        channel: &Channel,
        name: &str,
        value: &str,
        reach: Reach,
    ) -> Result<(), String> {
        self.script.write(channel, name, value, reach)
    }

    fn subroutine(
        &self,
        channel: Channel,
        location: Location,
        arguments: Vec<String>,
    ) -> LocalFuture<SubroutineEnd> {
        self.script.subroutine(channel, location, arguments)
    }

    fn hangup_handlers(&self, channel: Channel) -> LocalFuture<()> {
        self.script.hangup_handlers(channel)
    }
}

/// A stage. It holds one call at a time.
pub struct Stage {
    shared: Arc<Shared>,
    next: Next,
    shard: Option<RunningShard>,
    _media: WorkerControl,
    _writer: Writer,
    data: PathBuf,
}

impl Stage {
    /// Sets up a stage for the dialplan of `snapshot` and the Lua files of `config`. What it writes goes to `data`, which
    /// is empty and stays the caller's. To be called within the control runtime, on a thread that may wait.
    ///
    /// # Errors
    /// What could not be started.
    pub fn new(config: &Config, snapshot: Snapshot, data: PathBuf) -> Result<Self, String> {
        let control = tokio::runtime::Handle::current();
        let mut own = Config::default();
        own.data.0.clone_from(&data);
        own.dialplan = config.dialplan.clone();
        own.dialplan.lua = std::path::absolute(config.data.0.join(&config.dialplan.lua))
            .map_err(|error| format!("the folder of Lua files: {error}"))?;
        let own = Arc::new(own);
        let paths = Paths::new(&own).map_err(|error| format!("{}: {error}", data.display()))?;
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let astdb = AstDb::open(&paths.data.join("astdb.sqlite3"))
            .map_err(|error| failed("the key-value file", &error))?;
        let cdr = CdrSpool::open(&paths.spool).map_err(|error| failed("the spool", &error))?;
        let mp3 = Mp3Jobs::start(paths.spool.join("recordings"), false)
            .map_err(|error| failed("the threads of recordings", &error))?;
        let shared = Shared::new(
            Arc::clone(&own),
            paths.clone(),
            Realtime::fixed(snapshot),
            astdb,
            Arc::new(SoundStore::new(paths.sounds.clone(), control.clone())),
            Arc::new(Contacts::new("", Box::new(NoTable))),
            cdr,
            mp3,
            control,
        );
        let plans = PlanWatcher::start(&shared);
        let (handle, writer) = writer::spawn(WriterConfig::default())
            .map_err(|error| failed("the file thread", &error))?;
        let worker = worker::spawn(
            WorkerConfig {
                core: None,
                realtime: false,
                ..WorkerConfig::default()
            },
            handle,
        )
        .map_err(|error| failed("the media thread (io_uring of Linux 6.1 or newer)", &error))?;
        let (media, _, control) = worker.split();
        let inbox = Arc::new(Inbox::default());
        shared.set_inboxes(vec![Arc::clone(&inbox)]);
        let next = Next::default();
        let limits = Limits {
            memory_bytes: own.dialplan.memory_mib * 1024 * 1024,
            ..Limits::default()
        };
        let slot = Arc::clone(&next);
        let dialplan: DialplanFactory = Arc::new(move |_: &Rc<Shard>| {
            let host = Host::new(Arc::clone(&plans), limits)
                .map_err(|error| format!("the script machine cannot start: {error}"))?;
            Ok(Rc::new(Rehearsed {
                script: Script { host },
                next: Arc::clone(&slot),
            }) as Rc<dyn Dialplan>)
        });
        let shard = shard::start(ShardSetup {
            index: 0,
            count: 1,
            core: None,
            media,
            ports: PortRange::new(20_000, 29_999),
            legs_max: 1,
            shared: Arc::clone(&shared),
            inbox,
            counters: Arc::new(ShardCounters::default()),
            dialplan,
        })
        .map_err(|error| failed("the signalling thread", &error))?;
        Ok(Self {
            shared,
            next,
            shard: Some(shard),
            _media: control,
            _writer: writer,
            data,
        })
    }

    /// Holds a call.
    pub(super) fn hold(&self, given: Given) -> Result<Outcome, String> {
        for (name, value) in &given.globals {
            self.shared.globals.set(name, value);
        }
        for (name, value) in &given.database {
            let Some((family, key)) = name.rsplit_once('/') else {
                return Err(format!("database: \"{name}\" is not family/key"));
            };
            self.shared
                .astdb
                .put(family, key, value)
                .map_err(|error| format!("database: {name}: {error}"))?;
        }
        let (tell, told): (Sender<Outcome>, Receiver<Outcome>) = channel();
        let place = Location::new(&given.context, &given.exten, given.priority);
        let (caller, variables) = (given.caller.clone(), given.variables.clone());
        let device = given.device.clone();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some((given, tell));
        let begun = self.shared.run_bare(&device, place, move |channel| {
            if let Some(endpoint) = channel.endpoint() {
                let party = endpoint.callerid.as_deref().map(Party::parse);
                let mut data = channel.data_mut();
                data.caller = party.unwrap_or_default();
            }
            if let Some(caller) = caller {
                channel.data_mut().caller = Party::parse(&caller);
            }
            let number = channel.data().caller.number.clone();
            channel.data_mut().ani = number;
            for (name, value) in &variables {
                channel.set_variable(name, value);
            }
        });
        if !begun {
            return Err("the stage takes no call".to_owned());
        }
        told.recv_timeout(CALL_MAX).map_err(|_| {
            format!(
                "the call is not over after {} s: a step waits for something that a test does not have",
                CALL_MAX.as_secs()
            )
        })
    }

    /// The folder of what the calls on it write.
    pub fn data(&self) -> &std::path::Path {
        &self.data
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(shard) = self.shard.take() {
            shard.stop();
        }
    }
}
