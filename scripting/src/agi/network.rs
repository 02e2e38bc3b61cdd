//! Scripts behind a connection (FastAGI): a server that the exchange connects to, or several that SRV records name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use strowger_core::Shared;
use strowger_core::dns::Dns;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::gate::Agi;
use super::link::{Ending, Far, Link, Order, StartError, read_lines, write_replies};

/// Where servers listen.
const PORT: u16 = 4573;
/// For finding the address, and for each address to answer.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// For finding the servers of a service.
const SERVICE_WAIT: Duration = Duration::from_secs(5);
/// What stands before the name of a service in its SRV records.
const SERVICE: &str = "_agi._tcp.";
/// How long a server may take to read what it is told last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What `agi://host[:port][/script]` or `hagi://service[/script]` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    host: String,
    /// None: SRV records of the host name its servers.
    port: Option<u16>,
    /// Without its first slash.
    pub(crate) script: String,
}

impl Server {
    /// Reads what stands behind `agi://`.
    pub(crate) fn parse(rest: &str) -> Result<Self, String> {
        let (place, script) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match place.strip_prefix('[') {
            Some(inside) => {
                let (host, after) = inside
                    .split_once(']')
                    .ok_or_else(|| format!("\"{place}\": the ] behind the address is missing"))?;
                (host, after.strip_prefix(':'))
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if host.is_empty() {
            return Err("the name of the server is missing: write agi://host/script".to_owned());
        }
        let port = match port {
            None | Some("") => PORT,
            Some(text) => match text.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(format!("\"{text}\" is no port: 1 to 65535")),
            },
        };
        Ok(Self {
            host: host.to_owned(),
            port: Some(port),
            script: script.to_owned(),
        })
    }

    /// Reads what stands behind `hagi://`.
    pub(crate) fn of_service(rest: &str) -> Result<Self, String> {
        let (host, script) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() {
            return Err("the name of the service is missing: write hagi://name/script".to_owned());
        }
        if let Some((name, port)) = host.split_once(':') {
            return Err(format!(
                "\"{host}\": its SRV records name the ports: write hagi://{name}/{script}, or agi:// for port {port}"
            ));
        }
        Ok(Self {
            host: host.to_owned(),
            port: None,
            script: script.to_owned(),
        })
    }

    /// Where it may be, in the order in which that is to be tried.
    async fn addresses(&self, dns: &Dns) -> Result<Vec<SocketAddr>, String> {
        let host = &self.host;
        let too_late = |_| format!("{host}: its address is not known in time");
        let Some(port) = self.port else {
            let name = format!("{SERVICE}{host}");
            let found = tokio::time::timeout(SERVICE_WAIT, dns.service(&name)).await;
            let found = found.map_err(too_late)?;
            if found.is_empty() {
                return Err(format!("no server is known: {name} has no SRV records"));
            }
            return Ok(found.into_iter().map(|(_, address)| address).collect());
        };
        let found = tokio::net::lookup_host((host.as_str(), port));
        let found = tokio::time::timeout(CONNECT_WAIT, found).await;
        let found = found.map_err(too_late)?;
        let found = found.map_err(|error| format!("{host}: {error}"))?;
        Ok(found.take(ADDRESSES_MAX).collect())
    }
}

/// Connects. To be called on the control runtime.
pub(crate) async fn connect(
    agi: Arc<Agi>,
    shared: Arc<Shared>,
    server: Server,
    block: String,
    permit: OwnedSemaphorePermit,
) -> Result<Link, StartError> {
    let found = server.addresses(&shared.dns).await;
    let addresses = found.map_err(StartError::Failed)?;
    let mut error = format!("{} has no address", server.host);
    for address in addresses {
        match tokio::time::timeout(CONNECT_WAIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Answers are small, and the next command waits for each.
                let _ = stream.set_nodelay(true);
                agi.counters.scripts_started();
                let (link, far) = Link::pair(true);
                let _ = link.say(block.into_bytes()).await;
                tokio::spawn(watch(stream, far, permit));
                return Ok(link);
            }
            Ok(Err(refused)) => error = format!("{address}: {refused}"),
            Err(_) => error = format!("{address}: no answer"),
        }
    }
    Err(StartError::Failed(error))
}

async fn watch(stream: TcpStream, far: Far, _permit: OwnedSemaphorePermit) {
    let (from, to) = stream.into_split();
    // Nobody is there to tell that the process is over: reading tells.
    let mut reader = tokio::spawn(read_lines(from, far.lines, Arc::new(Notify::new())));
    let mut writer = tokio::spawn(write_replies(to, far.replies));
    let mut orders = far.orders;
    let mut ended = Some(far.ended);
    loop {
        tokio::select! {
            // It says no more, but may still read: what it asked is answered until the session is done.
            _ = &mut reader, if ended.is_some() => {
                if let Some(ended) = ended.take() {
                    let _ = ended.send(Ending::Success);
                }
            }
            _ = &mut writer, if ended.is_none() => return,
            order = orders.recv() => match order {
                Some(Order::HangUp) => {}
                Some(Order::End) => break,
                None => {
                    // The session is over; what was said to the server is still on its way.
                    let _ = tokio::time::timeout(LAST_WORDS, &mut writer).await;
                    break;
                }
            },
        }
    }
    if let Some(ended) = ended {
        let _ = ended.send(Ending::Success);
    }
    reader.abort();
    writer.abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_with_port_and_script_or_without() {
        let server = |host: &str, port, script: &str| {
            Ok(Server {
                host: host.to_owned(),
                port: Some(port),
                script: script.to_owned(),
            })
        };
        for (text, wanted) in [
            ("10.0.0.1", server("10.0.0.1", 4573, "")),
            ("host:4000/a/b?c=d", server("host", 4000, "a/b?c=d")),
            ("host/", server("host", 4573, "")),
            ("host:/x", server("host", 4573, "x")),
            ("[::1]:99/x", server("::1", 99, "x")),
            ("[::1]", server("::1", 4573, "")),
        ] {
            assert_eq!(Server::parse(text), wanted, "{text}");
        }
        for wrong in [
            "",
            "/script",
            ":4573",
            "host:0",
            "host:70000",
            "host:x",
            "[::1",
        ] {
            assert!(Server::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn services_are_named_without_ports() {
        let named = Server::of_service("crm.example.com/leads?all=1").expect("a service");
        assert_eq!(
            (named.host.as_str(), named.port, named.script.as_str()),
            ("crm.example.com", None, "leads?all=1")
        );
        for wrong in ["", "/script", "crm.example.com:4573/leads"] {
            assert!(Server::of_service(wrong).is_err(), "{wrong}");
        }
    }
}
