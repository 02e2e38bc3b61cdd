//! An exchange for one profile: the built binary with a data directory, a database and loopback addresses of its own, which
//! ends with the profile.

use anyhow::{Context as _, Result, bail, ensure};
use sqlx::Connection as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const ROWS: &str = include_str!("../../profiles/exchange.sql");
const START_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(20);

/// What an exchange is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program.
    pub binary: PathBuf,
    /// The cores it may use: `all`, or a list as in its configuration.
    pub cores: String,
    /// Its database; empty: SQLite in its data directory. The tables are made there, and rows inserted.
    pub database: String,
    /// Users `user0`... with passwords `secret0`..., for registrations.
    pub users: u32,
    /// SIP over TLS at port 5061 too, with a certificate made for this start.
    pub tls: bool,
    /// More lines for the end of its configuration.
    pub more: String,
}

/// A running exchange; dropping it ends the process.
#[derive(Debug)]
pub struct Exchange {
    process: Child,
    folder: Option<tempfile::TempDir>,
    data: PathBuf,
    addresses: [Ipv4Addr; 3],
    configuration: String,
    version: String,
}

/// Loopback addresses for exchange, callers and callees that no other start has used.
fn own_addresses() -> [Ipv4Addr; 3] {
    static NUMBER: AtomicU8 = AtomicU8::new(0);
    let first = NUMBER.fetch_add(1, Ordering::Relaxed) % 80 * 3 + 1;
    let process = std::process::id();
    [0, 1, 2].map(|i| {
        Ipv4Addr::new(
            127,
            100 + (process >> 8) as u8 % 100,
            process as u8,
            first + i,
        )
    })
}

impl Exchange {
    /// Makes its tables and rows, and starts it.
    pub fn start(plan: &Plan) -> Result<Self> {
        let addresses = own_addresses();
        let [ip, caller, callee] = addresses;
        let folder = tempfile::Builder::new()
            .prefix("strowger-loadtest-")
            .tempdir()?;
        let data = folder.path().to_owned();
        let url = match plan.database.as_str() {
            "" => format!("sqlite://{}", data.join("strowger.db").display()),
            url => url.to_owned(),
        };
        let cores = match plan.cores.as_str() {
            "all" => "\"all\"".to_owned(),
            list => format!("[{list}]"),
        };
        let (tls, files) = if plan.tls {
            write_certificate(&data)?;
            (
                format!("tls = [\"{ip}:5061\"]\n"),
                "[tls]\ncertificate = \"own.pem\"\nkey = \"own.key\"\n\n",
            )
        } else {
            (String::new(), "")
        };
        let configuration = format!(
            "data = \"{}\"\n\n[database]\nurl = \"{url}\"\n\n[shards]\ncores = {cores}\n\n\
             [sip]\nudp = [\"{ip}:5060\"]\ntcp = [\"{ip}:5060\"]\n{tls}\n{files}[rtp]\nports = \"10000-32000\"\n\n\
             [http]\nbind = \"{ip}:8088\"\n\n[manager]\nbind = \"{ip}:5038\"\n\n[log]\nlevel = \"warn\"\n{}",
            data.display(),
            plan.more
        );
        let file = data.join("strowger.toml");
        std::fs::write(&file, &configuration)?;
        let command = |arguments: &[&str]| {
            let mut command = Command::new(&plan.binary);
            command
                .arg("--config")
                .arg(&file)
                .args(arguments)
                .stdin(Stdio::null());
            command
        };
        let migrated = command(&["db", "migrate"]).output().with_context(|| {
            format!(
                "cannot run {}: build it first (make build)",
                plan.binary.display()
            )
        })?;
        ensure!(
            migrated.status.success(),
            "db migrate: {}{}",
            String::from_utf8_lossy(&migrated.stdout),
            String::from_utf8_lossy(&migrated.stderr)
        );
        insert(&url, &rows(caller, callee, plan.users))
            .context("cannot insert the rows of the load test")?;
        let version = command(&["--version"]).output().map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        );
        let log = std::fs::File::create(data.join("strowger.log"))?;
        let process = command(&["serve"])
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut exchange = Self {
            process,
            folder: Some(folder),
            data,
            addresses,
            configuration,
            version,
        };
        exchange.wait_until_ready()?;
        Ok(exchange)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if self.is_ready().unwrap_or(false) {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!(
                    "the exchange ended with {status} at its start; its log:\n{}",
                    self.log()
                );
            }
            ensure!(
                Instant::now() < deadline,
                "the exchange is not ready after {START_LIMIT:?}; its log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_ready(&self) -> std::io::Result<bool> {
        self.get("/readyz")
            .map(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// The whole answer to a GET on its HTTP port.
    pub fn get(&self, path: &str) -> std::io::Result<String> {
        let address = SocketAddr::from((self.addresses[0], 8088));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.take(1 << 20).read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Its SIP address.
    pub fn sip(&self) -> SocketAddr {
        (self.addresses[0], 5060).into()
    }

    /// Its Manager interface.
    pub fn manager(&self) -> SocketAddr {
        (self.addresses[0], 5038).into()
    }

    /// The address that it knows callers by.
    pub fn caller(&self) -> Ipv4Addr {
        self.addresses[1]
    }

    /// The address that it calls.
    pub fn callee(&self) -> Ipv4Addr {
        self.addresses[2]
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Version and configuration, for reports.
    pub fn subject(&self) -> String {
        format!(
            "{} with `{}`",
            self.version,
            without_password(&self.configuration)
                .replace("\n\n", " ")
                .replace('\n', " ")
                .trim()
        )
    }

    /// Where it writes recordings.
    pub fn recordings(&self) -> PathBuf {
        self.data.join("monitor")
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.data.join("strowger.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Ends it in order, so that recordings are complete.
    pub fn stop(&mut self) -> Result<()> {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .context("the exchange has no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + END_LIMIT;
        while Instant::now() < deadline {
            if self.process.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the exchange has not ended within {END_LIMIT:?}")
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // The folder goes after the process.
        drop(self.folder.take());
    }
}

/// A certificate that vouches for itself.
fn write_certificate(folder: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["loadtest.invalid".to_owned()])
        .context("cannot make a certificate")?;
    std::fs::write(folder.join("own.pem"), made.cert.pem())?;
    std::fs::write(folder.join("own.key"), made.signing_key.serialize_pem())?;
    Ok(())
}

/// The statements of an exchange for that generator.
fn rows(caller: Ipv4Addr, callee: Ipv4Addr, users: u32) -> Vec<String> {
    let text = ROWS
        .replace("{caller}", &caller.to_string())
        .replace("{callee}", &callee.to_string());
    let mut rows: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("--") && !line.is_empty())
        .map(|line| line.trim_end_matches(';').to_owned())
        .collect();
    for n in 0..users {
        rows.push(format!(
            "INSERT INTO ps_aors (id, max_contacts) VALUES ('user{n}', 5)"
        ));
        rows.push(format!(
            "INSERT INTO ps_auths (id, auth_type, username, password) VALUES ('user{n}', 'userpass', 'user{n}', 'secret{n}')"
        ));
        rows.push(format!(
            "INSERT INTO ps_endpoints (id, aors, auth, context, disallow, allow) VALUES ('user{n}', 'user{n}', 'user{n}', 'load', 'all', 'ulaw')"
        ));
    }
    rows
}

/// Runs statements in one transaction.
fn insert(url: &str, rows: &[String]) -> Result<()> {
    macro_rules! all {
        ($connection:ty, $first:expr) => {{
            let mut connection = <$connection>::connect(url).await?;
            for statement in $first {
                sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
                    .execute(&mut connection)
                    .await?;
            }
            let mut transaction = connection.begin().await?;
            for row in rows {
                sqlx::raw_sql(sqlx::AssertSqlSafe(row.clone()))
                    .execute(&mut *transaction)
                    .await
                    .with_context(|| row.clone())?;
            }
            transaction.commit().await?;
            connection.close().await?;
        }};
    }
    let none: [&str; 0] = [];
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            match url.split("://").next() {
                Some("sqlite") => all!(sqlx::SqliteConnection, none),
                // There double quotes are for text unless this says otherwise.
                Some("mysql") => all!(sqlx::MySqlConnection, ["SET sql_mode = 'ANSI_QUOTES'"]),
                Some("postgres") => all!(sqlx::PgConnection, none),
                _ => bail!("{url}: sqlite://, mysql:// or postgres:// is wanted"),
            }
            Ok(())
        })
}

/// Text whose URLs have no passwords any more.
pub fn without_password(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after
            .find(|c: char| c.is_whitespace() || c == '"' || c == '/')
            .unwrap_or(after.len());
        let (authority, behind) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                shown.push_str("***@");
                shown.push_str(host);
            }
            None => shown.push_str(authority),
        }
        rest = behind;
    }
    shown.push_str(rest);
    shown
}

/// Where the exchange's program lies unless it is told: beside this program.
pub fn binary_beside() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|own| own.parent().map(|folder| folder.join("strowger")))
        .unwrap_or_else(|| Path::new("target/release/strowger").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_of_a_database_is_reported() {
        let text = "url = \"mysql://root:geheim@127.0.0.1:3306/x\" and sqlite:///tmp/x";
        assert_eq!(
            without_password(text),
            "url = \"mysql://***@127.0.0.1:3306/x\" and sqlite:///tmp/x"
        );
    }
}
