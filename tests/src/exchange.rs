//! The exchange under test: the built `strowger` binary with a data directory, an address and a database of its own.

use crate::database::{Database, Engine};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// A running exchange. Dropping it ends the process; a failing test prints the end of its log.
#[derive(Debug)]
pub struct Exchange {
    /// Its database.
    pub database: Database,
    folder: tempfile::TempDir,
    ip: Ipv4Addr,
    process: Option<Child>,
    settings: Settings,
}

/// What a test may want otherwise.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which database.
    pub engine: Engine,
    /// How often the exchange looks for changed rows, in milliseconds.
    pub refresh_ms: u32,
    /// More lines for the configuration file, at its end.
    pub more: String,
    /// How long to wait for readiness.
    pub start_limit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            engine: Engine::Sqlite,
            refresh_ms: 1000,
            more: String::new(),
            start_limit: Duration::from_secs(90),
        }
    }
}

/// An address on the loopback network that no other exchange of this test run uses: each has the usual ports to itself.
fn own_address() -> Ipv4Addr {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, 16 + (process >> 8) as u8 % 200, process as u8, number)
}

/// The `strowger` binary beside the test's own executable, or the one that `STROWGER_BINARY` names.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STROWGER_BINARY") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a running test has a path");
    let path = own
        .parent()
        .and_then(Path::parent)
        .map(|folder| folder.join("strowger"))
        .unwrap_or_default();
    assert!(
        path.exists(),
        "{} is missing: `cargo test --workspace` (or `cargo build`) builds it",
        path.display()
    );
    path
}

impl Exchange {
    /// Prepares a database with its tables and a configuration, and does not start anything.
    pub fn prepare(settings: Settings) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("strowger-exchange-")
            .tempdir()
            .expect("a temporary folder");
        let database = Database::create(settings.engine, folder.path());
        let exchange = Self {
            database,
            folder,
            ip: own_address(),
            process: None,
            settings,
        };
        exchange.write_configuration(&exchange.configuration());
        let output = exchange.run(&["db", "migrate"]);
        assert!(output.status.success(), "db migrate: {}", text_of(&output));
        exchange
    }

    /// Prepares an exchange on SQLite.
    pub fn new() -> Self {
        Self::prepare(Settings::default())
    }

    /// The configuration as the test's settings have it.
    pub fn configuration(&self) -> String {
        let ip = self.ip;
        let mut text = format!("data = \"{}\"\n", self.data().display());
        let _ = write!(
            text,
            "\n[database]\nurl = \"{}\"\nrefresh_ms = {}\n",
            self.database.url(),
            self.settings.refresh_ms
        );
        let _ = write!(
            text,
            "\n[sip]\nudp = [\"{ip}:5060\"]\ntcp = [\"{ip}:5060\"]\n\n[rtp]\nports = \"10000-20000\"\n\n\
             [http]\nbind = \"{ip}:8088\"\n\n[manager]\nbind = \"{ip}:5038\"\n\n[log]\nlevel = \"info\"\n"
        );
        text.push_str(&self.settings.more);
        text
    }

    /// Writes the configuration file; it is read at the next start.
    pub fn write_configuration(&self, text: &str) {
        std::fs::create_dir_all(self.data()).expect("the data directory");
        std::fs::write(self.configuration_file(), text).expect("the configuration file");
    }

    /// Where the configuration lies.
    pub fn configuration_file(&self) -> PathBuf {
        self.folder.path().join("strowger.toml")
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its address for SIP over UDP and TCP.
    pub fn sip(&self) -> SocketAddr {
        (self.ip, 5060).into()
    }

    /// Its loopback address.
    pub fn ip(&self) -> IpAddr {
        self.ip.into()
    }

    /// Runs the binary with other arguments and this configuration, to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .arg("--config")
            .arg(self.configuration_file())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the binary can be started")
    }

    /// Starts the process and waits until `/readyz` says yes.
    #[track_caller]
    pub fn start(&mut self) -> &mut Self {
        self.launch();
        let deadline = Instant::now() + self.settings.start_limit;
        loop {
            if let Ok((200, _)) = self.get("/readyz") {
                return self;
            }
            let ended = self
                .process
                .as_mut()
                .and_then(|p| p.try_wait().ok().flatten());
            if let Some(status) = ended {
                panic!("the exchange ended with {status} while starting");
            }
            assert!(
                Instant::now() < deadline,
                "not ready within {:?}",
                self.settings.start_limit
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the process without waiting for anything.
    pub fn launch(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("the log file");
        let process = Command::new(binary())
            .arg("--config")
            .arg(self.configuration_file())
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file twice"))
            .stderr(log)
            .spawn()
            .expect("the binary can be started");
        self.process = Some(process);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// TERM, and waits for the end; `None` when it has not ended in time (it is killed then).
    pub fn terminate(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let mut process = self.process.take()?;
        let id = process.id();
        let sent = Command::new("kill").arg(id.to_string()).status();
        assert!(sent.is_ok_and(|s| s.success()), "TERM to {id}");
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = process.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = process.kill();
        let _ = process.wait();
        None
    }

    /// Waits for the process to end by itself.
    pub fn wait_for_end(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.process.as_mut()?.try_wait().ok().flatten() {
                self.process = None;
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// The process number.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("strowger.log")
    }

    /// What it has written to stdout and stderr so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Waits until the log holds that text.
    #[track_caller]
    pub fn expect_log(&self, text: &str, limit: Duration) {
        let found = crate::wait_until(limit, || self.log().contains(text).then_some(()));
        assert!(found.is_some(), "no {text:?} in the log within {limit:?}");
    }

    /// Status and body of a GET on its HTTP port.
    pub fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let address: SocketAddr = (self.ip, 8088).into();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(crate::SOON))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .ok_or_else(|| std::io::Error::other("no HTTP answer"))?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, body.to_owned()))
    }

    /// Its address for HTTP.
    pub fn http(&self) -> SocketAddr {
        (self.ip, 8088).into()
    }

    /// A number of the metrics page, summed over the shards; 0 when it is not there.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, page) = self.get("/metrics").expect("the metrics page");
        page.lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(['{', ' ']))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    // ---- rows ----

    /// A subscriber: endpoint, AOR and auth of one name, as the product keeps them; calls start in `context`.
    #[track_caller]
    pub fn subscriber(&self, name: &str, password: &str, context: &str) {
        self.subscriber_with(name, password, context, &[]);
    }

    /// A subscriber with more endpoint columns.
    #[track_caller]
    pub fn subscriber_with(
        &self,
        name: &str,
        password: &str,
        context: &str,
        more: &[(&str, &str)],
    ) {
        self.database.insert(
            "ps_aors",
            &[
                ("id", name),
                ("max_contacts", "5"),
                ("default_expiration", "600"),
            ],
        );
        self.database.insert(
            "ps_auths",
            &[
                ("id", name),
                ("auth_type", "userpass"),
                ("username", name),
                ("password", password),
            ],
        );
        let mut row = vec![
            ("id", name),
            ("aors", name),
            ("auth", name),
            ("context", context),
            ("disallow", "all"),
            ("allow", "alaw,ulaw"),
            // What tests hear goes through the exchange, unless a test is about that.
            ("direct_media", "no"),
        ];
        row.retain(|(column, _)| more.iter().all(|(other, _)| column != other));
        row.extend_from_slice(more);
        self.database.insert("ps_endpoints", &row);
    }

    /// A trunk: an endpoint without registration at a fixed address.
    #[track_caller]
    pub fn trunk(&self, name: &str, address: SocketAddr, context: &str) {
        self.database.insert(
            "ps_aors",
            &[("id", name), ("contact", &format!("sip:{address}"))],
        );
        self.database.insert(
            "ps_endpoints",
            &[
                ("id", name),
                ("aors", name),
                ("context", context),
                ("disallow", "all"),
                ("allow", "alaw,ulaw"),
                ("direct_media", "no"),
            ],
        );
        self.database.insert(
            "ps_endpoint_id_ips",
            &[
                ("id", name),
                ("endpoint", name),
                ("match", &address.ip().to_string()),
            ],
        );
    }

    /// An endpoint `server` that does not register: it is reached at `contact`, and calls from `context`.
    #[track_caller]
    pub fn server(&self, contact: &str, context: &str) {
        self.database
            .insert("ps_aors", &[("id", "server"), ("contact", contact)]);
        let row = [
            ("id", "server"),
            ("aors", "server"),
            ("context", context),
            ("disallow", "all"),
            ("allow", "alaw"),
            ("direct_media", "no"),
        ];
        self.database.insert("ps_endpoints", &row);
    }

    /// The steps of one extension, from priority 1.
    #[track_caller]
    pub fn extension(&self, context: &str, exten: &str, steps: &[(&str, &str)]) {
        for (index, (app, appdata)) in steps.iter().enumerate() {
            self.database.insert(
                "realtime_extensions",
                &[
                    ("context", context),
                    ("exten", exten),
                    ("priority", &(index + 1).to_string()),
                    ("app", app),
                    ("appdata", appdata),
                ],
            );
        }
    }

    /// Waits until CDR rows that fit `tail` (`WHERE ...`) are there, `count` of them.
    #[track_caller]
    pub fn expect_cdr(
        &self,
        columns: &[&str],
        tail: &str,
        count: usize,
        limit: Duration,
    ) -> Vec<Vec<Option<String>>> {
        let rows = crate::wait_until(limit, || {
            let rows = self.database.select("cdr", columns, tail);
            (rows.len() >= count).then_some(rows)
        });
        let rows = rows.unwrap_or_else(|| self.database.select("cdr", columns, tail));
        assert_eq!(rows.len(), count, "CDR rows {tail}: {rows:?}");
        rows
    }

    /// Waits until a recording is complete and `enough` of it; returns its samples.
    #[track_caller]
    pub fn expect_recording(
        &self,
        name: &str,
        limit: Duration,
        enough: impl Fn(&[i16]) -> bool,
    ) -> Vec<i16> {
        let path = self.recordings().join(name);
        let found = crate::wait_until(limit, || {
            crate::audio::read_wav(&path)
                .ok()
                .filter(|samples| enough(samples))
        });
        found.unwrap_or_else(|| {
            let now = crate::audio::read_wav(&path).map(|samples| samples.len());
            panic!("the recording {name} is not as it should be after {limit:?}: {now:?} samples")
        })
    }

    /// The recordings' directory.
    pub fn recordings(&self) -> PathBuf {
        self.data().join("monitor")
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(80)..];
            eprintln!(
                "---- the exchange's log, last {} lines ----\n{}\n----",
                tail.len(),
                tail.join("\n")
            );
        }
    }
}

/// Standard output and error of a finished process, for messages.
pub fn text_of(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
