//! Binding of all listening sockets before the first thread starts, so that a port in use is one clear message and not
//! half an exchange.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// Rings of a process that just ended release their ports a moment later.
pub const RETRY: Duration = Duration::from_secs(10);
const SIP_BUFFER: usize = 4 * 1024 * 1024;

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "{key}: {transport} {address} is in use by another program; stop it (ss -lunpt shows it) or choose another port"
    )]
    InUse {
        key: String,
        transport: String,
        address: SocketAddr,
    },
    #[error("{key}: {transport} {address} is no address of this machine")]
    NotLocal {
        key: String,
        transport: String,
        address: SocketAddr,
    },
    #[error("{key}: cannot listen on {transport} {address}: {source}")]
    Other {
        key: String,
        transport: String,
        address: SocketAddr,
        source: io::Error,
    },
}

/// An address to be bound, and who wants it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The configuration key or the transport, for messages.
    pub key: String,
    pub address: SocketAddr,
    /// Whether a socket without port sharing is to prove first that nobody else has the port.
    pub probe: bool,
    /// How long a port in use is tried again.
    pub patience: Duration,
}

impl Place {
    fn fail(&self, transport: &str, source: io::Error) -> BindError {
        let (key, transport, address) = (self.key.clone(), transport.to_owned(), self.address);
        match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse {
                key,
                transport,
                address,
            },
            io::ErrorKind::AddrNotAvailable => BindError::NotLocal {
                key,
                transport,
                address,
            },
            _ => BindError::Other {
                key,
                transport,
                address,
                source,
            },
        }
    }

    fn bound<T>(
        &self,
        transport: &str,
        shards: usize,
        bind: impl Fn(SocketAddr, bool) -> io::Result<T>,
        local: impl Fn(&T) -> io::Result<SocketAddr>,
    ) -> Result<Vec<T>, BindError> {
        let fail = |error| self.fail(transport, error);
        let mut address = self.address;
        if self.probe {
            let probe = retried(self.patience, || bind(address, false)).map_err(fail)?;
            address = local(&probe).map_err(fail)?;
        }
        (0..shards)
            .map(|_| retried(self.patience, || bind(address, true)).map_err(fail))
            .collect()
    }
}

fn retried<T>(patience: Duration, mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let until = Instant::now() + patience;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(50));
            }
            other => return other,
        }
    }
}

fn udp(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(shared)?;
    // A burst of re-registrations waits here while a shard is busy.
    let _ = socket.set_recv_buffer_size(SIP_BUFFER);
    let _ = socket.set_send_buffer_size(SIP_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn tcp(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// Binds the address once for each shard.
///
/// # Errors
/// It is in use, none of ours, or refused by the system.
pub fn udp_for_shards(place: &Place, shards: usize) -> Result<Vec<UdpSocket>, BindError> {
    place.bound("UDP", shards, udp, UdpSocket::local_addr)
}

/// As [`udp_for_shards`], for the transports over TCP.
///
/// # Errors
/// As there.
pub fn tcp_for_shards(
    place: &Place,
    transport: &str,
    shards: usize,
) -> Result<Vec<TcpListener>, BindError> {
    place.bound(transport, shards, tcp, TcpListener::local_addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: SocketAddr) -> Place {
        Place {
            key: "sip.udp".to_owned(),
            address,
            probe: true,
            patience: Duration::from_millis(100),
        }
    }

    #[test]
    fn a_port_of_another_program_is_named_with_its_key() {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let message = udp_for_shards(&place(address), 2).unwrap_err().to_string();
        assert!(message.starts_with("sip.udp: UDP 127.0.0.1:"), "{message}");
        assert!(message.contains("in use"), "{message}");
        let foreign = "192.0.2.1:5060".parse().unwrap();
        assert!(matches!(
            udp_for_shards(&place(foreign), 1),
            Err(BindError::NotLocal { .. })
        ));
    }

    #[test]
    fn each_shard_has_a_socket_of_its_own_on_the_same_port() {
        let sockets = udp_for_shards(&place("127.0.0.1:0".parse().unwrap()), 3).unwrap();
        let ports: Vec<_> = sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap().port())
            .collect();
        assert!(ports.iter().all(|port| *port == ports[0]));
    }
}
