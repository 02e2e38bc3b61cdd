//! The running exchange as a subject: the release binary on an address, a data directory and a database of its own, with
//! calls set up by SIP as telephones do it.

use crate::cpu;
use crate::subject::{Running, Subject};
use crate::telephones::Telephones;
use anyhow::{Context, Result, bail, ensure};
use sqlx::{ConnectOptions as _, Connection as _};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(20);
/// From the last answer to the first packet: the last bridge is made.
const SETTLE: Duration = Duration::from_millis(300);

/// The exchange with one shard.
pub struct Exchange {
    name: String,
    binary: PathBuf,
    core: usize,
    recording: Recording,
}

/// What the exchange records of every call.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Recording {
    Nothing,
    /// One file of both directions.
    Mixed,
    /// A file for each direction.
    Separate,
}

impl Exchange {
    /// The program `binary` with its shard on `core`.
    pub fn new(name: &str, binary: PathBuf, core: usize) -> Self {
        Self {
            name: name.to_owned(),
            binary,
            core,
            recording: Recording::Nothing,
        }
    }

    /// The same, with every call recorded like this.
    pub fn recording(self, recording: Recording) -> Self {
        Self { recording, ..self }
    }

    fn configuration(&self, folder: &Path, ip: Ipv4Addr) -> String {
        format!(
            "data = \"{}\"\n[shards]\ncores = [{}]\n[sip]\nudp = [\"{ip}:5060\"]\ntcp = [\"{ip}:5060\"]\n\
             [rtp]\nports = \"10000-32000\"\n[http]\nbind = \"{ip}:8088\"\n[manager]\nbind = \"{ip}:5038\"\n\
             [log]\nlevel = \"warn\"\n",
            folder.display(),
            self.core
        )
    }

    /// Callers are known by their address; every number is called at the callees' address.
    fn rows(&self, caller: Ipv4Addr, callee: Ipv4Addr) -> Vec<String> {
        let mut steps = vec![(
            "Dial",
            format!("PJSIP/callee/sip:${{EXTEN}}@{callee}:5060,30"),
        )];
        let files = match self.recording {
            Recording::Nothing => None,
            Recording::Mixed => Some("${EXTEN}.wav"),
            Recording::Separate => Some(",r(${EXTEN}_receive.wav)t(${EXTEN}_transmit.wav)"),
        };
        if let Some(files) = files {
            steps.insert(0, ("MixMonitor", files.to_owned()));
        }
        let mut rows: Vec<String> = ["caller", "callee"]
            .iter()
            .map(|id| {
                format!(
                    "INSERT INTO ps_endpoints (id, context, disallow, allow, direct_media) VALUES ('{id}', 'bench', 'all', 'ulaw', 'no')"
                )
            })
            .collect();
        rows.push(format!(
            "INSERT INTO ps_endpoint_id_ips (id, endpoint, match) VALUES ('caller', 'caller', '{caller}')"
        ));
        rows.extend(
            steps
                .iter()
                .zip(1..)
                .map(|((application, data), priority)| {
                    format!(
                        "INSERT INTO realtime_extensions (context, exten, priority, app, appdata) \
                 VALUES ('bench', '_X.', {priority}, '{application}', '{data}')"
                    )
                }),
        );
        rows
    }
}

impl Subject for Exchange {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&self, peers: &[SocketAddr]) -> Result<Running> {
        let [ip, caller, callee] = own_addresses();
        let folder = tempfile::Builder::new()
            .prefix("strowger-bench-")
            .tempdir()?;
        let file = folder.path().join("strowger.toml");
        std::fs::write(&file, self.configuration(folder.path(), ip))?;
        let command = |arguments: &[&str]| {
            let mut command = Command::new(&self.binary);
            command
                .arg("--config")
                .arg(&file)
                .args(arguments)
                .stdin(Stdio::null());
            command
        };
        let migrated = command(&["db", "migrate"])
            .output()
            .with_context(|| self.binary.display().to_string())?;
        ensure!(
            migrated.status.success(),
            "db migrate: {}",
            String::from_utf8_lossy(&migrated.stderr)
        );
        insert(
            &folder.path().join("strowger.db"),
            self.rows(caller, callee),
        )?;
        let log = folder.path().join("strowger.log");
        let output = std::fs::File::create(&log)?;
        let process = command(&["serve"])
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let pid = process.id();
        let mut guard = Guard {
            process,
            _telephones: None,
            _folder: folder,
        };
        let connected = wait_until_ready(&mut guard.process, (ip, 8088).into()).and_then(|()| {
            let telephones = Telephones::new((ip, 5060).into(), caller, callee)?;
            let idle_memory = cpu::resident(pid)?;
            let legs = telephones.connect(peers)?;
            guard._telephones = Some(telephones);
            Ok((legs, idle_memory))
        });
        let (legs, idle_memory) = connected.with_context(|| {
            format!(
                "its log: {}",
                std::fs::read_to_string(&log).unwrap_or_default()
            )
        })?;
        std::thread::sleep(SETTLE);
        Ok(Running {
            pid,
            legs,
            idle_memory: Some(idle_memory),
            guard: Box::new(guard),
        })
    }
}

/// Loopback addresses for exchange, callers and callees that no earlier start has used: its ports may still be bound
/// while the kernel takes down its rings.
pub(crate) fn own_addresses() -> [Ipv4Addr; 3] {
    static NUMBER: AtomicU8 = AtomicU8::new(0);
    let first = NUMBER.fetch_add(1, Ordering::Relaxed) % 80 * 3 + 1;
    [0, 1, 2].map(|i| Ipv4Addr::new(127, 77, std::process::id() as u8, first + i))
}

pub(crate) fn insert(database: &Path, rows: Vec<String>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
                .filename(database)
                .connect()
                .await?;
            for row in rows {
                sqlx::query(sqlx::AssertSqlSafe(row))
                    .execute(&mut connection)
                    .await?;
            }
            connection.close().await?;
            Ok(())
        })
}

pub(crate) fn wait_until_ready(process: &mut Child, http: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if is_ready(http).unwrap_or(false) {
            return Ok(());
        }
        if let Some(status) = process.try_wait()? {
            bail!("the exchange ended with {status} at its start");
        }
        ensure!(
            Instant::now() < deadline,
            "the exchange is not ready after {START_LIMIT:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_ready(http: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&http, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(
        stream,
        "GET /readyz HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

/// Ends the exchange with its calls; nobody needs their records.
struct Guard {
    process: Child,
    _telephones: Option<Telephones>,
    _folder: tempfile::TempDir,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
