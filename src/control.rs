//! The running exchange, asked over HTTP with the key that it left in the data directory.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use strowger_core::Config;

/// The file with the key, in the data directory.
const KEY_FILE: &str = "control.key";
/// How long the exchange may take to answer.
const WAIT: Duration = Duration::from_secs(10);

/// The key of this data directory, made at the first start.
pub(crate) fn key(data: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = data.join(KEY_FILE);
    if let Ok(key) = std::fs::read_to_string(&path)
        && key.trim().len() >= 20
    {
        return Ok(key.trim().to_owned());
    }
    let key = format!(
        "{}{}",
        crate::user::random_password()?,
        crate::user::random_password()?
    );
    std::fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{key}"))
        .with_context(|| path.display().to_string())?;
    Ok(key)
}

/// Where the exchange listens, as seen from here.
fn address(config: &Config) -> SocketAddr {
    let mut address = config.http.bind;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            SocketAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16]),
        });
    }
    address
}

/// Asks for something that is JSON.
pub(crate) fn ask(config: &Config, method: &str, path: &str) -> anyhow::Result<serde_json::Value> {
    let (_, body) = ask_bytes(config, method, path)?;
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

/// Asks for something: head and body of the answer.
pub(crate) fn ask_bytes(
    config: &Config,
    method: &str,
    path: &str,
) -> anyhow::Result<(String, Vec<u8>)> {
    let address = address(config);
    let file = config.data.0.join(KEY_FILE);
    let key = std::fs::read_to_string(&file).with_context(|| {
        format!(
            "{}: is this the data directory of the exchange?",
            file.display()
        )
    })?;
    let mut stream = TcpStream::connect_timeout(&address, WAIT)
        .with_context(|| format!("no exchange answers on {address} (http.bind)"))?;
    stream.set_read_timeout(Some(WAIT))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        key.trim()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let at = at.ok_or_else(|| anyhow!("no HTTP answer from {address}"))?;
    let body = answer.split_off(at + 4);
    let head = String::from_utf8_lossy(&answer).into_owned();
    if !head.starts_with("HTTP/1.1 200") {
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let line = head.lines().next().unwrap_or_default();
        bail!(
            "{address}: {line} {}",
            value["error"].as_str().unwrap_or_default()
        );
    }
    Ok((head, body))
}
