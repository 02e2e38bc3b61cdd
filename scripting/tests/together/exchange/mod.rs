//! One shard with a dialplan, in this process, and small phones on loopback that call it and are called. What a
//! dialplan did is read from the global variables it sets.

mod phone;

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
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
use strowger_store::{
    Aor, AstDb, CdrSpool, DtmfMode, Endpoint, ExtensionRow, Realtime, Snapshot, StaticRow, Table,
};

pub(crate) type Manner = phone::Manner;
pub(crate) type Phone = phone::Phone;

/// The context that the calling phone is in.
pub(crate) const CONTEXT: &str = "test";

struct NoTable;

impl ContactWriter for NoTable {
    fn upsert(&self, _: strowger_store::Contact) {}
    fn delete(&self, _: &str, _: &str) {}
}

/// A step: extension, application, data. Priorities count up by extension.
pub(crate) type Row<'r> = (&'r str, &'r str, &'r str);

pub(crate) struct Exchange {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plans: Arc<Plans>,
    pub(crate) data: tempfile::TempDir,
    address: SocketAddr,
    snapshot: Mutex<Snapshot>,
    shard: Option<RunningShard>,
    media: Mutex<Option<WorkerControl>>,
    _writer: Writer,
    runtime: tokio::runtime::Runtime,
}

fn rows_of(rows: &[Row<'_>]) -> Vec<ExtensionRow> {
    let mut priorities: HashMap<(&str, &str), i32> = HashMap::new();
    (1..)
        .zip(rows)
        .map(|(id, (exten, app, appdata))| {
            let (context, exten) = exten
                .split_once('@')
                .map_or((CONTEXT, *exten), |(exten, context)| (context, exten));
            let priority = priorities.entry((context, exten)).or_default();
            *priority += 1;
            ExtensionRow {
                id,
                context: context.to_owned(),
                exten: exten.to_owned(),
                priority: *priority,
                app: (*app).to_owned(),
                appdata: (*appdata).to_owned(),
            }
        })
        .collect()
}

fn put(file: &std::path::Path, text: &str) {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    std::fs::write(file, text).expect("written");
}

impl Exchange {
    /// An exchange with these rows; `phones` are devices it can dial as `PJSIP/<name>`. Extensions are of
    /// [`CONTEXT`] unless written `exten@context`.
    pub(crate) fn start(rows: &[Row<'_>], phones: &[&Phone]) -> Self {
        Self::start_with(rows, phones, &[])
    }

    /// The same with lines of `extensions.conf`: section, name, value.
    pub(crate) fn start_with(
        rows: &[Row<'_>],
        phones: &[&Phone],
        statics: &[(&str, &str, &str)],
    ) -> Self {
        Self::start_all(rows, phones, statics, &[], Limits::default(), |_, _| {})
    }

    /// The same with files of Lua: name and text.
    pub(crate) fn start_with_files(
        rows: &[Row<'_>],
        phones: &[&Phone],
        files: &[(&str, &str)],
    ) -> Self {
        Self::start_all(rows, phones, &[], files, Limits::default(), |_, _| {})
    }

    /// The same with a configuration that is changed before; it is given the data folder too.
    pub(crate) fn start_with_config(
        rows: &[Row<'_>],
        phones: &[&Phone],
        files: &[(&str, &str)],
        configure: impl FnOnce(&mut Config, &std::path::Path),
    ) -> Self {
        Self::start_all(rows, phones, &[], files, Limits::default(), configure)
    }

    /// The same with lines of `extensions.conf` and another configuration.
    pub(crate) fn start_configured(
        rows: &[Row<'_>],
        phones: &[&Phone],
        statics: &[(&str, &str, &str)],
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        Self::start_all(
            rows,
            phones,
            statics,
            &[],
            Limits::default(),
            |config, _| configure(config),
        )
    }

    /// The same with lines of `extensions.conf`, every step through the machine or not.
    pub(crate) fn start_in_machine(
        rows: &[Row<'_>],
        statics: &[(&str, &str, &str)],
        all_in_machine: bool,
    ) -> Self {
        let limits = Limits {
            all_in_machine,
            ..Limits::default()
        };
        Self::start_all(rows, &[], statics, &[], limits, |_, _| {})
    }

    fn start_all(
        rows: &[Row<'_>],
        phones: &[&Phone],
        statics: &[(&str, &str, &str)],
        files: &[(&str, &str)],
        limits: Limits,
        configure: impl FnOnce(&mut Config, &std::path::Path),
    ) -> Self {
        // RUST_LOG=debug shows what happens in a failing test.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::default();
        config.data.0 = data.path().to_owned();
        configure(&mut config, data.path());
        for (name, text) in files {
            put(&data.path().join("dialplan").join(name), text);
        }
        let config = Arc::new(config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let paths = Paths::new(&config).expect("the data folder");
        let mut snapshot = Snapshot::default();
        let endpoints = Arc::make_mut(&mut snapshot.endpoints);
        let endpoint = |id: &str| Endpoint {
            id: id.to_owned(),
            context: CONTEXT.to_owned(),
            allow: vec!["alaw".to_owned()],
            aors: vec![id.to_owned()],
            dtmf_mode: DtmfMode::Info,
            // What these tests hear goes through the exchange.
            direct_media: false,
            ..Endpoint::default()
        };
        endpoints.insert("tester".to_owned(), Arc::new(endpoint("tester")));
        for phone in phones {
            endpoints.insert(phone.name.clone(), Arc::new(endpoint(&phone.name)));
            Arc::make_mut(&mut snapshot.aors).insert(
                phone.name.clone(),
                Arc::new(Aor {
                    id: phone.name.clone(),
                    contact: vec![format!("sip:{}@{}", phone.name, phone.address)],
                    ..Aor::default()
                }),
            );
        }
        snapshot.extensions = Arc::new(rows_of(rows));
        snapshot.statics = Arc::new(
            (1..)
                .zip(statics)
                .map(|(id, (category, name, value))| StaticRow {
                    id,
                    filename: "extensions.conf".to_owned(),
                    category: (*category).to_owned(),
                    var_name: (*name).to_owned(),
                    var_val: (*value).to_owned(),
                    ..StaticRow::default()
                })
                .collect(),
        );
        snapshot.versions = [1; Table::ALL.len()];
        let shared = {
            let _guard = runtime.enter();
            Shared::new(
                Arc::clone(&config),
                paths.clone(),
                Realtime::fixed(snapshot.clone()),
                AstDb::open(&paths.data.join("astdb.sqlite3")).expect("the key-value file"),
                Arc::new(SoundStore::new(
                    paths.sounds.clone(),
                    runtime.handle().clone(),
                )),
                Arc::new(Contacts::new("", Box::new(NoTable))),
                CdrSpool::open(&paths.spool).expect("the spool"),
                Mp3Jobs::start(paths.spool.join("recordings"), false).expect("two threads"),
                runtime.handle().clone(),
            )
        };
        let plans = PlanWatcher::start(&shared);
        let (handle, writer) = writer::spawn(WriterConfig::default()).expect("the file thread");
        let worker = worker::spawn(
            WorkerConfig {
                core: None,
                realtime: false,
                ..WorkerConfig::default()
            },
            handle,
        )
        .expect("the media thread");
        let (media, _, control) = worker.split();
        let first = First::datagrams(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a socket");
        let address = first.addresses()[0];
        let inbox = Arc::new(Inbox::default());
        shared.set_inboxes(vec![Arc::clone(&inbox)]);
        let shard = shard::start(ShardSetup {
            index: 0,
            count: 1,
            core: None,
            media,
            ports: PortRange::new(20_000, 29_999),
            legs_max: 1000,
            shared: Arc::clone(&shared),
            inbox,
            counters: Arc::new(ShardCounters::default()),
            dialplan: strowger_scripting::factory(Arc::clone(&plans), limits),
        })
        .expect("the shard starts");
        runtime.block_on(table::start(&shared, first));
        Self {
            shared,
            plans,
            data,
            address,
            snapshot: Mutex::new(snapshot),
            shard: Some(shard),
            media: Mutex::new(Some(control)),
            _writer: writer,
            runtime,
        }
    }

    /// Puts other rows in the table, and waits until they are compiled.
    pub(crate) fn change(&self, rows: &[Row<'_>]) {
        let before = self.plans.versions();
        {
            let mut snapshot = self
                .snapshot
                .lock()
                .expect("no test thread failed while it held the rows");
            snapshot.extensions = Arc::new(rows_of(rows));
            snapshot.versions[Table::Extensions as usize] += 1;
            self.shared.realtime.publish(snapshot.clone());
        }
        wait_until("the changed rows are compiled", || {
            self.plans.versions() > before
        });
    }

    /// Changes other tables; they count at once.
    pub(crate) fn change_tables(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = self
            .snapshot
            .lock()
            .expect("no test thread failed while it held the rows");
        change(&mut snapshot);
        self.shared.realtime.publish(snapshot.clone());
        wait_until("the queues are what the tables say", || {
            self.shared.queues.follow(&snapshot)
        });
    }

    /// The control runtime.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    /// Puts a file of Lua in place, as an editor does: written aside and renamed.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let folder = self.data.path().join("dialplan");
        let aside = folder.join(format!("{name}.new"));
        put(&aside, text);
        std::fs::rename(&aside, folder.join(name)).expect("renamed");
    }

    /// Calls `exten` while other calls may go on.
    pub(crate) fn call_alone(&self, exten: &str) -> Ended {
        Caller::new(self.address, exten).run("", &|| false)
    }

    /// Calls `exten` and stays until the exchange ends the call. Digits are dialled by SIP INFO, 300 ms apart, after the
    /// answer. Comes back when the exchange has forgotten the call.
    pub(crate) fn call(&self, exten: &str, digits: &str) -> Ended {
        self.call_until(exten, digits, || false)
    }

    /// The same among other calls: comes back when the caller's telephone knows that it is over.
    pub(crate) fn call_once(&self, exten: &str, digits: &str) -> Ended {
        Caller::new(self.address, exten).run(digits, &|| false)
    }

    /// The same among other calls, but the caller hangs up as soon as `leave` says so.
    pub(crate) fn call_leaving(&self, exten: &str, leave: impl Fn() -> bool) -> Ended {
        Caller::new(self.address, exten).run("", &leave)
    }

    /// The same with digits.
    pub(crate) fn call_leaving_with(
        &self,
        exten: &str,
        digits: &str,
        leave: impl Fn() -> bool,
    ) -> Ended {
        Caller::new(self.address, exten).run(digits, &leave)
    }

    /// Sends a text outside of a call, and waits for the answer.
    pub(crate) fn send_message(&self, exten: &str, kind: &str, body: &str) -> u16 {
        let caller = Caller::new(self.address, exten);
        let branch = format!("{}-message", caller.call_id);
        let local = caller.socket.local_addr().expect("an address");
        let text = format!(
            "MESSAGE sip:{exten}@{} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n\
             From: \"Tester\" <sip:tester@{local}>;tag=caller\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 MESSAGE\r\nX-Kind: greeting\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            caller.to,
            caller.call_id,
            body.len()
        );
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE, "nobody answers the text");
            caller
                .socket
                .send_to(text.as_bytes(), self.address)
                .expect("sent");
            let answered = caller.receive().as_deref().and_then(status_of);
            if let Some(status) = answered.filter(|status| *status >= 200) {
                return status;
            }
        }
    }

    /// Adds lines of configuration files to the table: file, section, name, value.
    pub(crate) fn statics(&self, lines: &[(&str, &str, &str, &str)]) {
        let mut snapshot = self
            .snapshot
            .lock()
            .expect("no test thread failed while it held the rows");
        let mut rows = (*snapshot.statics).clone();
        for (filename, category, name, value) in lines {
            rows.push(StaticRow {
                id: 1000 + rows.len() as i64,
                filename: (*filename).to_owned(),
                category: (*category).to_owned(),
                var_name: (*name).to_owned(),
                var_val: (*value).to_owned(),
                ..StaticRow::default()
            });
        }
        snapshot.statics = Arc::new(rows);
        self.shared.realtime.publish(snapshot.clone());
    }

    /// Does the channel of this name ring?
    pub(crate) fn rings(&self, name: &str) -> bool {
        let asked = self
            .shared
            .with_channel(name, |channel| channel.can_be_picked_up());
        self.runtime.block_on(asked).unwrap_or(false)
    }

    /// Is the channel of this name bridged with another?
    pub(crate) fn bridged(&self, name: &str) -> bool {
        let asked = self
            .shared
            .with_channel(name, |channel| channel.data().bridged.is_some());
        self.runtime.block_on(asked).unwrap_or(false)
    }

    /// The same as [`Self::call`], but the caller hangs up as soon as `leave` says so.
    pub(crate) fn call_until(&self, exten: &str, digits: &str, leave: impl Fn() -> bool) -> Ended {
        let ended = Caller::new(self.address, exten).run(digits, &leave);
        wait_until("the call is over", || self.shared.channels() == 0);
        ended
    }

    /// Puts a sound of silence of this length into the sounds folder.
    pub(crate) fn sound(&self, name: &str, seconds: u32) {
        let bytes = seconds * 16_000;
        let mut wav = Vec::new();
        wav.extend_from_slice(b"RIFF");
        wav.extend_from_slice(&(36 + bytes).to_le_bytes());
        wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
        wav.extend_from_slice(&8000_u32.to_le_bytes());
        wav.extend_from_slice(&16_000_u32.to_le_bytes());
        wav.extend_from_slice(b"\x02\0\x10\0data");
        wav.extend_from_slice(&bytes.to_le_bytes());
        wav.resize(wav.len() + bytes as usize, 0);
        let folder = &self.shared.paths().sounds;
        std::fs::create_dir_all(folder).expect("the sounds folder");
        std::fs::write(folder.join(format!("{name}.wav")), wav).expect("the sound");
    }

    /// Puts a prompt of a tenth of a second in place of the one that is built in.
    pub(crate) fn short_sound(&self, name: &str) {
        let folder = self.shared.paths().sounds.join("en");
        let file = folder.join(format!("{name}.alaw"));
        let folder = file.parent().unwrap_or(&folder);
        std::fs::create_dir_all(folder).expect("the sounds folder");
        std::fs::write(&file, [0xd5; 800]).expect("the sound");
    }

    /// Ends the media thread under the running exchange.
    pub(crate) fn end_media(&self) {
        drop(
            self.media
                .lock()
                .expect("no test thread failed with it")
                .take(),
        );
    }

    /// A global variable, empty when it is not set.
    pub(crate) fn global(&self, name: &str) -> String {
        self.shared.globals.get(name).unwrap_or_default()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(shard) = self.shard.take() {
            shard.stop();
        }
    }
}

/// What a busy machine may take for anything that a test waits for; nothing here takes so long by itself.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How a call ended for the phone that placed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The final response.
    pub(crate) status: u16,
    /// The exchange sent BYE.
    pub(crate) by_exchange: bool,
    /// Provisional responses, in order.
    pub(crate) provisional: Vec<u16>,
    /// Texts that were sent to it, repetitions left out.
    pub(crate) messages: Vec<String>,
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n";

fn header<'m>(message: &'m str, name: &str) -> &'m str {
    message
        .lines()
        .find_map(|line| {
            line.split_once(':')
                .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        })
        .map_or("", |(_, value)| value.trim())
}

fn status_of(message: &str) -> Option<u16> {
    message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

fn response(request: &str, status: u16, body: &str, contact: SocketAddr) -> String {
    let mut text = format!("SIP/2.0 {status} X\r\n");
    for line in request.lines().take_while(|line| !line.is_empty()) {
        let name = line
            .split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        match name.as_str() {
            "via" | "from" | "call-id" | "cseq" | "record-route" => {
                text.push_str(&format!("{line}\r\n"))
            }
            "to" if line.contains("tag=") => text.push_str(&format!("{line}\r\n")),
            "to" => text.push_str(&format!("{line};tag=peer\r\n")),
            _ => {}
        }
    }
    text.push_str(&format!("Contact: <sip:peer@{contact}>\r\n"));
    if !body.is_empty() {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    text
}

struct Caller {
    socket: UdpSocket,
    exchange: SocketAddr,
    exten: String,
    call_id: String,
    cseq: u32,
    to: String,
    target: String,
}

impl Caller {
    fn new(exchange: SocketAddr, exten: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout");
        // The kernel may give a port again: it does not tell calls apart.
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let number = CALLS.fetch_add(1, Ordering::Relaxed);
        Self {
            socket,
            exchange,
            exten: exten.to_owned(),
            call_id: format!("call-{number}-{exten}"),
            cseq: 1,
            to: format!("<sip:{exten}@{exchange}>"),
            target: format!("sip:{exten}@{exchange}"),
        }
    }

    fn send(&self, method: &str, cseq: u32, branch: &str, kind: &str, body: &str) {
        let local = self.socket.local_addr().expect("an address");
        let uri = if method == "INVITE" || method == "CANCEL" {
            format!("sip:{}@{}", self.exten, self.exchange)
        } else {
            self.target.clone()
        };
        let content = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Type: {kind}\r\n")
        };
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n\
             From: \"Tester\" <sip:tester@{local}>;tag=caller\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:tester@{local}>\r\n{content}Content-Length: {}\r\n\r\n{body}",
            self.to,
            self.call_id,
            body.len()
        );
        self.socket
            .send_to(text.as_bytes(), self.exchange)
            .expect("sent");
    }

    fn receive(&self) -> Option<String> {
        let mut buffer = [0; 65536];
        let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        // The port may have been that of another call.
        (header(&message, "Call-ID") == self.call_id).then_some(message)
    }

    fn run(mut self, digits: &str, leave: &dyn Fn() -> bool) -> Ended {
        let invite = format!("{}-invite", self.call_id);
        self.send("INVITE", 1, &invite, "application/sdp", SDP);
        let mut ended = Ended {
            status: 0,
            by_exchange: false,
            provisional: Vec::new(),
            messages: Vec::new(),
        };
        let started = Instant::now();
        let mut repeat_at = Some(started + Duration::from_millis(500));
        let mut digits = digits.chars();
        let mut next_digit = None;
        let mut leaving = false;
        loop {
            if started.elapsed() > PATIENCE {
                panic!("the call to {} hangs: {ended:?}", self.exten);
            }
            if repeat_at.is_some_and(|at| Instant::now() >= at) {
                self.send("INVITE", 1, &invite, "application/sdp", SDP);
                repeat_at = Some(Instant::now() + Duration::from_millis(500));
            }
            if !leaving && leave() {
                leaving = true;
                if ended.status == 200 {
                    self.cseq += 1;
                    let branch = format!("{}-bye", self.call_id);
                    self.send("BYE", self.cseq, &branch, "", "");
                } else {
                    self.send("CANCEL", 1, &invite, "", "");
                }
            }
            if next_digit.is_some_and(|at| Instant::now() >= at) {
                next_digit = digits.next().map(|digit| {
                    // A pause.
                    if digit == 'w' {
                        return Instant::now() + Duration::from_millis(300);
                    }
                    self.cseq += 1;
                    let branch = format!("{}-info-{}", self.call_id, self.cseq);
                    let body = format!("Signal={digit}\r\nDuration=100\r\n");
                    self.send("INFO", self.cseq, &branch, "application/dtmf-relay", &body);
                    Instant::now() + Duration::from_millis(300)
                });
            }
            let Some(message) = self.receive() else {
                continue;
            };
            repeat_at = None;
            let method = header(&message, "CSeq")
                .split(' ')
                .nth(1)
                .unwrap_or_default()
                .to_owned();
            match status_of(&message) {
                // That it came (100) is nothing that a dialplan signals.
                Some(100) => {}
                Some(status) if method == "INVITE" && status < 200 => {
                    ended.provisional.push(status);
                    ended.provisional.dedup();
                }
                Some(status) if method == "INVITE" => {
                    self.to = header(&message, "To").to_owned();
                    if status == 200 {
                        self.target = header(&message, "Contact")
                            .trim_matches(['<', '>'])
                            .to_owned();
                        let branch = format!("{}-ack", self.call_id);
                        self.send("ACK", 1, &branch, "", "");
                        next_digit.get_or_insert(Instant::now() + Duration::from_millis(100));
                        if leaving && ended.status != 200 {
                            // The CANCEL crossed the answer (RFC 3261 §15).
                            self.cseq += 1;
                            let branch = format!("{}-bye", self.call_id);
                            self.send("BYE", self.cseq, &branch, "", "");
                        }
                        ended.status = 200;
                        if leaving {
                            // The answer and our CANCEL crossed each other.
                            self.cseq += 1;
                            let branch = format!("{}-bye", self.call_id);
                            self.send("BYE", self.cseq, &branch, "", "");
                        }
                    } else {
                        self.send("ACK", 1, &invite, "", "");
                        ended.status = status;
                        return ended;
                    }
                }
                Some(_) if method == "BYE" => return ended,
                Some(_) => {}
                None if message.starts_with("BYE") => {
                    let local = self.socket.local_addr().expect("an address");
                    let text = response(&message, 200, "", local);
                    self.socket
                        .send_to(text.as_bytes(), self.exchange)
                        .expect("sent");
                    ended.by_exchange = true;
                    return ended;
                }
                None if message.starts_with("MESSAGE") => {
                    let local = self.socket.local_addr().expect("an address");
                    let text = response(&message, 200, "", local);
                    self.socket
                        .send_to(text.as_bytes(), self.exchange)
                        .expect("sent");
                    let body = message.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                    ended.messages.push(body.to_owned());
                    ended.messages.dedup();
                }
                None => {}
            }
        }
    }
}
