//! `strowger.toml`: every key, its default, and how the environment overrides it. Unknown keys are errors, so that a
//! misspelt setting is found at start and not in a call.

mod http;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use http::Http;

use crate::record::retention::KEEP_DAYS_MAX;

/// Sections whose keys may come from `STROWGER_SECTION_KEY`.
const SECTIONS: &[&str] = &[
    "database",
    "shards",
    "sip",
    "tls",
    "rtp",
    "http",
    "manager",
    "dialplan",
    "recording",
    "agi",
    "fax",
    "mail",
    "limits",
    "protection",
    "trace",
    "log",
];

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration file {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("configuration {origin}: {message}")]
    Parse { origin: String, message: String },
    #[error("configuration key {key}: {message}")]
    Value { key: &'static str, message: String },
}

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of everything the exchange keeps. Default `./var`.
    pub data: DataDir,
    pub database: Database,
    pub shards: Shards,
    pub sip: Sip,
    pub tls: Tls,
    pub rtp: Rtp,
    pub http: Http,
    pub manager: Manager,
    pub dialplan: DialplanConfig,
    /// Databases that scripts of the dialplan may ask, by name.
    pub sql: BTreeMap<String, SqlDatabase>,
    pub recording: Recording,
    pub agi: Agi,
    pub fax: Fax,
    pub mail: Mail,
    pub limits: Limits,
    /// Who is kept out.
    pub protection: crate::protect::Settings,
    /// Messages of calls that are kept, and passed on.
    pub trace: crate::trace::Settings,
    pub log: Log,
}

/// The data directory with its default.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct DataDir(pub PathBuf);

impl Default for DataDir {
    fn default() -> Self {
        Self(PathBuf::from("./var"))
    }
}

#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite://file` (relative to the data directory), `mysql://user:password@host/db`, `postgres://...`.
    pub url: String,
    /// How often changed rows are looked for, in ms (100 to 60000).
    pub refresh_ms: u64,
}

/// A URL of a database without what may be secret in it.
fn engine_of(url: &str) -> String {
    match url.split_once("://") {
        Some((engine, _)) => format!("{engine}://..."),
        None => "...".to_owned(),
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Database")
            .field("url", &engine_of(&self.url))
            .field("refresh_ms", &self.refresh_ms)
            .finish()
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: "sqlite://strowger.db".to_owned(),
            refresh_ms: 1000,
        }
    }
}

/// Which cores carry shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cores {
    All,
    List(Vec<usize>),
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Word(String),
            List(Vec<usize>),
        }
        match Form::deserialize(deserializer)? {
            Form::Word(word) if word == "all" => Ok(Self::All),
            Form::Word(word) => Err(serde::de::Error::custom(format!(
                "\"{word}\" is not known: \"all\" or a list of core numbers such as [0, 2]"
            ))),
            Form::List(list) if list.is_empty() => Err(serde::de::Error::custom(
                "the list of cores is empty: name at least one, or \"all\"",
            )),
            Form::List(list) => Ok(Self::List(list)),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shards {
    /// `"all"` or a list of core numbers; one media and one signalling thread for each.
    pub cores: Cores,
    /// SCHED_FIFO for media threads where permitted.
    pub realtime: bool,
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            cores: Cores::All,
            realtime: true,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// Addresses to listen on.
    pub udp: Vec<SocketAddr>,
    pub tcp: Vec<SocketAddr>,
    /// With certificate and key of section `tls`.
    pub tls: Vec<SocketAddr>,
    /// WebSocket (RFC 7118), path `/ws`; `wss` with certificate and key of section `tls`.
    pub ws: Vec<SocketAddr>,
    pub wss: Vec<SocketAddr>,
    /// Servers that host names are asked of, `address` or `address:port`; none: those of `/etc/resolv.conf`.
    pub dns: Vec<String>,
    /// The User-Agent and Server headers.
    pub user_agent: String,
    /// RFC 3261 timer T1 in ms (50 to 5000).
    pub timer_t1_ms: u64,
    /// Timers B and F in ms: how long a request may stay unanswered (1000 to 300000).
    pub timer_b_ms: u64,
}

impl Default for Sip {
    fn default() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 5060));
        Self {
            udp: vec![loopback],
            tcp: vec![loopback],
            tls: Vec::new(),
            ws: Vec::new(),
            wss: Vec::new(),
            dns: Vec::new(),
            user_agent: "Strowger".to_owned(),
            timer_t1_ms: 500,
            timer_b_ms: 32_000,
        }
    }
}

impl Sip {
    /// The configured DNS servers.
    pub fn dns_servers(&self) -> Result<Vec<SocketAddr>, ConfigError> {
        let read = |text: &String| {
            let plain = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
            let read = plain.or_else(|_| text.parse());
            read.map_err(|_| ConfigError::Value {
                key: "sip.dns",
                message: format!("\"{text}\" is neither an address nor address:port"),
            })
        };
        self.dns.iter().map(read).collect()
    }
}

/// Certificates of the transports that this file names; rows of `ps_transports` have their own. Paths are relative to the
/// data directory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificate with those between it and its authority, PEM.
    pub certificate: String,
    /// Its private key, PEM; empty: in the same file.
    pub key: String,
    /// Authorities that are trusted, PEM; empty: those of the system.
    pub ca: String,
    /// A certificate that a client shows has to be good.
    pub verify_client: bool,
    /// A client has to show one.
    pub require_client_cert: bool,
    /// The certificate of a server that we connect to has to be good and its own.
    pub verify_server: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rtp {
    /// UDP ports for media, `first-last`; shared out evenly between shards.
    pub ports: String,
    /// Address offered for media; empty: the address the peer reaches us on.
    pub address: String,
}

impl Default for Rtp {
    fn default() -> Self {
        Self {
            ports: "10000-20000".to_owned(),
            address: String::new(),
        }
    }
}

impl Rtp {
    /// First and last port.
    pub fn range(&self) -> Result<(u16, u16), ConfigError> {
        let wrong = |message: &str| ConfigError::Value {
            key: "rtp.ports",
            message: format!(
                "\"{}\" {message}; right is for example \"10000-20000\"",
                self.ports
            ),
        };
        let (first, last) = self
            .ports
            .split_once('-')
            .ok_or_else(|| wrong("is not a range"))?;
        let first: u16 = first
            .trim()
            .parse()
            .map_err(|_| wrong("does not begin with a port (1 to 65535)"))?;
        let last: u16 = last
            .trim()
            .parse()
            .map_err(|_| wrong("does not end with a port (1 to 65535)"))?;
        if first == 0 || last < first.saturating_add(3) {
            return Err(wrong("holds fewer than two port pairs"));
        }
        Ok((first, last))
    }

    /// The fixed media address, if one is configured.
    pub fn fixed_address(&self) -> Result<Option<IpAddr>, ConfigError> {
        if self.address.is_empty() {
            return Ok(None);
        }
        self.address
            .parse()
            .map(Some)
            .map_err(|_| ConfigError::Value {
                key: "rtp.address",
                message: format!("\"{}\" is not an IP address", self.address),
            })
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manager {
    pub bind: SocketAddr,
}

impl Default for Manager {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 5038)),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialplanConfig {
    /// Folder of `*.lua`, relative to the data directory.
    pub lua: PathBuf,
    /// Lua memory of one shard in MiB (16 to 65536).
    pub memory_mib: usize,
}

impl Default for DialplanConfig {
    fn default() -> Self {
        Self {
            lua: PathBuf::from("dialplan"),
            memory_mib: 256,
        }
    }
}

/// `[sql.NAME]`: a database for scripts of the dialplan.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlDatabase {
    /// As `database.url`; the database is connected when a script asks it first.
    pub url: String,
    /// Connections at once (1 to 100).
    #[serde(default = "SqlDatabase::default_connections")]
    pub connections: u32,
    /// Nothing may be changed.
    #[serde(default)]
    pub read_only: bool,
}

impl std::fmt::Debug for SqlDatabase {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SqlDatabase")
            .field("url", &engine_of(&self.url))
            .field("connections", &self.connections)
            .field("read_only", &self.read_only)
            .finish()
    }
}

impl SqlDatabase {
    fn default_connections() -> u32 {
        4
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recording {
    /// Relative to the data directory.
    pub directory: PathBuf,
    /// WAV files stay when MP3 files were made of them.
    pub keep_wav: bool,
    /// Days that recordings are kept (0 to 36500); 0: for ever.
    pub keep_days: u64,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("monitor"),
            keep_wav: false,
            keep_days: 0,
        }
    }
}

/// Scripts outside of the exchange.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agi {
    /// Folder of scripts, relative to the data directory.
    pub directory: PathBuf,
    /// Scripts that are processes, at a time (1 to 10000).
    pub processes_max: usize,
    /// Connections to FastAGI servers, at a time (1 to 100000).
    pub connections_max: usize,
    /// Calls that wait for their script to begin (0 to 100000).
    pub queue_max: usize,
    /// How long each of them waits, in seconds (0 to 3600).
    pub queue_wait_s: u64,
    /// How long a script may go on after its call, in seconds (1 to 86400).
    pub after_hangup_s: u64,
    /// Commands of `SHELL` at a time (1 to 10000).
    pub shells_max: usize,
    /// How long each of them may take, waiting for its turn included, in seconds (1 to 86400).
    pub shell_s: u64,
    /// How long a command of `System` may take, in seconds (1 to 604800).
    pub system_s: u64,
    /// Programs that make music on hold, at a time (0 to 1000).
    pub music_programs_max: usize,
}

impl Default for Agi {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("agi-bin"),
            processes_max: 200,
            connections_max: 2000,
            queue_max: 1000,
            queue_wait_s: 10,
            after_hangup_s: 300,
            shells_max: 200,
            shell_s: 60,
            system_s: 3600,
            music_programs_max: 10,
        }
    }
}

/// Fax machines.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fax {
    /// The program that is one; `strowger-fax` beside our own where this is empty.
    pub program: PathBuf,
    /// How many run at a time (0 to 1000).
    pub sessions_max: usize,
    /// How long one may run, in minutes (1 to 1440).
    pub minutes_max: u64,
}

impl Default for Fax {
    fn default() -> Self {
        Self {
            program: PathBuf::new(),
            sessions_max: 30,
            minutes_max: 60,
        }
    }
}

/// How messages are sent by e-mail. Off unless `from` and a way are given.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mail {
    /// The sender: `name@host` or `Name <name@host>`.
    pub from: String,
    /// `smtp://host`, `smtp://user:password@host:587?tls=required`, `smtps://...`.
    pub smtp: String,
    /// A program that takes a message as sendmail does; counts where `smtp` is empty.
    pub sendmail: String,
}

// The URL may hold a password.
impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail")
            .field("from", &self.from)
            .field("smtp", &!self.smtp.is_empty())
            .field("sendmail", &self.sendmail)
            .finish()
    }
}

impl Mail {
    fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |key, message: String| Err(ConfigError::Value { key, message });
        if !self.from.is_empty() && self.from.parse::<lettre::message::Mailbox>().is_err() {
            return wrong(
                "mail.from",
                format!(
                    "\"{}\" is no sender; right is for example \"pbx@example.com\"",
                    self.from
                ),
            );
        }
        if !(self.smtp.is_empty()
            || self.smtp.starts_with("smtp://")
            || self.smtp.starts_with("smtps://"))
        {
            return wrong(
                "mail.smtp",
                "it begins neither with smtp:// nor with smtps://".to_owned(),
            );
        }
        if self.from.is_empty() && !(self.smtp.is_empty() && self.sendmail.is_empty()) {
            return wrong("mail.from", "the sender is missing".to_owned());
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Channels at once, both legs of a call counted; 0: what descriptors and ports allow.
    pub calls: usize,
    /// Incoming calls accepted in a second; 0: no limit.
    pub calls_per_second: u32,
    /// Incoming calls of one address at once; 0: no limit.
    pub calls_per_source: u32,
    /// Incoming calls of one address begun in a second; 0: no limit.
    pub calls_per_source_second: u32,
    /// Incoming calls of one endpoint at once; 0: no limit.
    pub calls_per_endpoint: u32,
    /// Incoming calls of one endpoint begun in a second; 0: no limit.
    pub calls_per_endpoint_second: u32,
    /// Subscriptions at once.
    pub subscriptions: usize,
    /// Of these, of one endpoint; 0: no limit.
    pub subscriptions_per_endpoint: usize,
    /// How long a drain waits for the last call, in seconds.
    pub drain_s: u64,
    /// SIP connections (TCP, TLS, WebSocket) at once (1 to 1000000).
    pub connections: usize,
    /// Of these, from one IPv4 address or IPv6 network of 64 bits.
    pub connections_per_address: usize,
    /// A connection on which nothing comes for so long is closed, in seconds (10 to 86400).
    pub connection_idle_s: u64,
    /// An accepted connection has so long for its first message, in seconds (1 to 3600).
    pub first_message_s: u64,
    /// The handshakes of TLS and WebSocket have so long together, in seconds (1 to 3600).
    pub handshake_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 0,
            calls_per_second: 0,
            calls_per_source: 0,
            calls_per_source_second: 0,
            calls_per_endpoint: 0,
            calls_per_endpoint_second: 0,
            subscriptions: 50_000,
            subscriptions_per_endpoint: 5000,
            drain_s: 600,
            connections: 16_384,
            connections_per_address: 2048,
            connection_idle_s: 900,
            first_message_s: 15,
            handshake_s: 10,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,strowger_sip=debug`.
    pub level: String,
    pub format: LogFormat,
    /// File of security events, in Asterisk's form; relative to the data directory, empty: none.
    pub security: String,
    /// Whether successes and challenges are written there too, and not failures alone.
    pub security_everything: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
            security: "security.log".to_owned(),
            security_everything: false,
        }
    }
}

const MANY: u64 = 1_000_000;
const DAY: u64 = 86_400;

impl Config {
    /// Reads `path` (None: defaults only) and the environment, and checks every value.
    pub fn load(
        path: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (text, origin) = match path {
            None => (String::new(), "defaults".to_owned()),
            Some(path) => (
                std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                    path: path.to_owned(),
                    source,
                })?,
                path.display().to_string(),
            ),
        };
        Self::parse(&text, &origin, environment)
    }

    /// Reads a configuration from text.
    pub fn parse(
        text: &str,
        origin: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let parse_error = |error: toml::de::Error| ConfigError::Parse {
            origin: origin.to_owned(),
            message: error.to_string().trim().to_owned(),
        };
        // A first reading of the file alone keeps line numbers in its errors.
        let _: Self = toml::from_str(text).map_err(parse_error)?;
        let mut table: toml::Table = toml::from_str(text).map_err(parse_error)?;
        for (name, value) in environment {
            apply_variable(&mut table, &name, &value);
        }
        let config: Self =
            table
                .try_into()
                .map_err(|error: toml::de::Error| ConfigError::Parse {
                    origin: format!("{origin} with the STROWGER_* environment"),
                    message: error.to_string().trim().to_owned(),
                })?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.rtp.range()?;
        self.rtp.fixed_address()?;
        within("database.refresh_ms", self.database.refresh_ms, 100, 60_000)?;
        within("sip.timer_t1_ms", self.sip.timer_t1_ms, 50, 5000)?;
        within("sip.timer_b_ms", self.sip.timer_b_ms, 1000, 300_000)?;
        within(
            "dialplan.memory_mib",
            self.dialplan.memory_mib as u64,
            16,
            65_536,
        )?;
        for database in self.sql.values() {
            within(
                "sql.NAME.connections",
                u64::from(database.connections),
                1,
                100,
            )?;
        }
        let days = self.recording.keep_days;
        within("recording.keep_days", days, 0, KEEP_DAYS_MAX)?;
        let agi = &self.agi;
        within("agi.processes_max", agi.processes_max as u64, 1, 10_000)?;
        within(
            "agi.connections_max",
            agi.connections_max as u64,
            1,
            100_000,
        )?;
        within("agi.queue_max", agi.queue_max as u64, 0, 100_000)?;
        within("agi.queue_wait_s", agi.queue_wait_s, 0, 3600)?;
        within("agi.after_hangup_s", agi.after_hangup_s, 1, 86_400)?;
        within("agi.shells_max", agi.shells_max as u64, 1, 10_000)?;
        within("agi.shell_s", agi.shell_s, 1, 86_400)?;
        within("agi.system_s", agi.system_s, 1, 604_800)?;
        let most = agi.music_programs_max as u64;
        within("agi.music_programs_max", most, 0, 1000)?;
        within("fax.sessions_max", self.fax.sessions_max as u64, 0, 1000)?;
        within("fax.minutes_max", self.fax.minutes_max, 1, 1440)?;
        self.http.validate()?;
        self.mail.validate()?;
        self.protection.validate()?;
        self.trace.validate()?;
        let limits = &self.limits;
        let most = limits.connections_per_address as u64;
        within("limits.connections", limits.connections as u64, 1, MANY)?;
        within("limits.connections_per_address", most, 1, MANY)?;
        within(
            "limits.connection_idle_s",
            limits.connection_idle_s,
            10,
            DAY,
        )?;
        within("limits.first_message_s", limits.first_message_s, 1, 3600)?;
        within("limits.handshake_s", limits.handshake_s, 1, 3600)?;
        self.sip.dns_servers()?;
        let sip = &self.sip;
        if !(sip.tls.is_empty() && sip.wss.is_empty()) && self.tls.certificate.is_empty() {
            return Err(ConfigError::Value {
                key: "tls.certificate",
                message: "sip.tls and sip.wss need the file of a certificate".to_owned(),
            });
        }
        Ok(())
    }
}

pub(crate) fn within(
    key: &'static str,
    value: u64,
    least: u64,
    most: u64,
) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Value {
        key,
        message: format!("{value} is outside {least} to {most}"),
    })
}

fn apply_variable(table: &mut toml::Table, name: &str, value: &str) {
    let Some(rest) = name.strip_prefix("STROWGER_") else {
        return;
    };
    let rest = rest.to_ascii_lowercase();
    let parsed = format!("v = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut one| one.remove("v"));
    let text = toml::Value::String(value.to_owned());
    if rest == "data" {
        table.insert(rest, text);
        return;
    }
    let Some((section, key)) = rest.split_once('_') else {
        return;
    };
    if !SECTIONS.contains(&section) || key.is_empty() {
        return;
    }
    // Lists may be written as words with commas.
    let value = match (section, key) {
        ("sip", "udp" | "tcp" | "tls" | "ws" | "wss" | "dns")
        | ("protection", "allow" | "scanners")
            if parsed.is_none() =>
        {
            toml::Value::Array(
                value
                    .split(',')
                    .map(str::trim)
                    .filter(|word| !word.is_empty())
                    .map(|word| toml::Value::String(word.to_owned()))
                    .collect(),
            )
        }
        _ => parsed.unwrap_or(text),
    };
    let entry = table
        .entry(section)
        .or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let toml::Value::Table(section) = entry {
        section.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests;
