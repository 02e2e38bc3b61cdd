//! The exchange that programs ask: the built binary with a key for the HTTP APIs, a user of the Manager and a few extensions.

use anyhow::{Context as _, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::crowd::Doors;
use super::{CONTEXT, Web};
use crate::exchange::{insert, own_addresses, wait_until_ready};

/// What all passwords and keys of the bench are.
const SECRET: &str = "bench-secret";
/// Who takes nothing of an answer for so long is left, in seconds.
const STALL_S: u64 = 3;

/// A running exchange.
pub struct House {
    process: Child,
    ip: Ipv4Addr,
    folder: tempfile::TempDir,
}

/// The steps of the bench: what is answered and stays, what ends at once, what only stays, and what is answered with a call
/// record and without one.
const STEPS: [(&str, &str, &str); 10] = [
    ("100", "Answer", ""),
    ("100", "Wait", "600"),
    ("300", "Hangup", ""),
    ("400", "Wait", "600"),
    ("110", "Set", "CDR_PROP(disable)=0"),
    ("110", "Answer", ""),
    ("110", "Wait", "600"),
    ("111", "Set", "CDR_PROP(disable)=1"),
    ("111", "Answer", ""),
    ("111", "Wait", "600"),
];

fn rows() -> Vec<String> {
    let mut rows = vec![
        format!(
            "INSERT INTO ps_endpoints (id, context, disallow, allow, direct_media) VALUES ('tester', '{CONTEXT}', 'all', 'alaw', 'no')"
        ),
        format!(
            "INSERT INTO api_users (uuid, name, enable, api_key, scopes) VALUES ('bench', 'bench', 'yes', '{SECRET}', '*')"
        ),
    ];
    for (category, name, value) in [
        ("general", "enabled", "yes"),
        ("bench", "secret", SECRET),
        ("bench", "read", "all"),
        ("bench", "write", "all"),
        ("bench", "displayconnects", "no"),
    ] {
        rows.push(format!(
            "INSERT INTO static_manager (filename, category, var_name, var_val) VALUES ('manager.conf', '{category}', '{name}', '{value}')"
        ));
    }
    let mut before = "";
    let mut priority = 0;
    for (exten, application, data) in STEPS {
        priority = if before == exten { priority + 1 } else { 1 };
        before = exten;
        rows.push(format!(
            "INSERT INTO realtime_extensions (context, exten, priority, app, appdata) \
             VALUES ('{CONTEXT}', '{exten}', {priority}, '{application}', '{data}')"
        ));
    }
    rows
}

impl House {
    /// Starts `binary` with its shard on the first core.
    pub fn start(binary: &Path) -> Result<Self> {
        let [ip, ..] = own_addresses();
        let folder = tempfile::Builder::new()
            .prefix("strowger-bench-")
            .tempdir()?;
        let file = folder.path().join("strowger.toml");
        std::fs::write(
            &file,
            format!(
                "data = \"{}\"\n[shards]\ncores = [0]\n[sip]\nudp = [\"{ip}:5060\"]\ntcp = [\"{ip}:5060\"]\n\
                 [rtp]\nports = \"10000-32000\"\n[manager]\nbind = \"{ip}:5038\"\n[log]\nlevel = \"error\"\n\
                 [http]\nbind = \"{ip}:8088\"\nconnections = 10000\nconnections_per_address = 10000\nstall_s = {STALL_S}\n\
                 requests_per_second = 0\n",
                folder.path().display()
            ),
        )?;
        let command = |arguments: &[&str]| {
            let mut command = Command::new(binary);
            command
                .arg("--config")
                .arg(&file)
                .args(arguments)
                .stdin(Stdio::null());
            command
        };
        let migrated = command(&["db", "migrate"])
            .output()
            .with_context(|| binary.display().to_string())?;
        ensure!(
            migrated.status.success(),
            "db migrate: {}",
            String::from_utf8_lossy(&migrated.stderr)
        );
        insert(&folder.path().join("strowger.db"), rows())?;
        let log = std::fs::File::create(folder.path().join("strowger.log"))?;
        let process = command(&["serve"])
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut house = Self {
            process,
            ip,
            folder,
        };
        let http = house.http();
        wait_until_ready(&mut house.process, http)?;
        // The Manager opens its door a moment later.
        let began = Instant::now();
        while std::net::TcpStream::connect(house.manager()).is_err() {
            ensure!(
                began.elapsed() < Duration::from_secs(10),
                "the Manager does not listen"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(house)
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn sip(&self) -> SocketAddr {
        (self.ip, 5060).into()
    }

    pub fn http(&self) -> SocketAddr {
        (self.ip, 8088).into()
    }

    pub fn manager(&self) -> SocketAddr {
        (self.ip, 5038).into()
    }

    /// The folder of recordings.
    pub fn recordings(&self) -> PathBuf {
        self.folder.path().join("monitor")
    }

    /// Writes rows.
    pub fn write(&self, rows: Vec<String>) -> Result<()> {
        insert(&self.folder.path().join("strowger.db"), rows)
    }

    /// Where programs come in, and with what.
    pub fn doors(&self) -> Doors {
        Doors {
            manager: self.manager(),
            http: self.http(),
            user: "bench".to_owned(),
            secret: SECRET.to_owned(),
            key: SECRET.to_owned(),
        }
    }

    /// A number of the metrics page; of several shards their sum.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let page = Web::connect(self.http(), "")?.text("/metrics")?;
        let found = page
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(['{', ' ']))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(found.sum())
    }

    /// Waits until no channel is there.
    pub fn wait_until_empty(&self) -> Result<()> {
        let began = Instant::now();
        while self.metric("strowger_channels")? > 0.0 {
            ensure!(
                began.elapsed() < Duration::from_secs(20),
                "calls stay that are over"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
