//! Binding of all listening sockets before the first thread starts, so that a port in use is one clear message and not
//! half an exchange.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// Rings of a process that just ended release their ports a moment later.
const RETRY: Duration = Duration::from_secs(10);
const SIP_BUFFER: usize = 4 * 1024 * 1024;

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "{key}: {transport} {address} is in use by another program; stop it (ss -lunpt shows it) or choose another port"
    )]
    InUse {
        key: &'static str,
        transport: &'static str,
        address: SocketAddr,
    },
    #[error("{key}: {transport} {address} is no address of this machine")]
    NotLocal {
        key: &'static str,
        transport: &'static str,
        address: SocketAddr,
    },
    #[error("{key}: cannot listen on {transport} {address}: {source}")]
    Other {
        key: &'static str,
        transport: &'static str,
        address: SocketAddr,
        source: io::Error,
    },
}

fn describe(
    key: &'static str,
    transport: &'static str,
    address: SocketAddr,
    source: io::Error,
) -> BindError {
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

fn retried<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let until = Instant::now() + RETRY;
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

/// Binds `address` once for each shard. A first socket without port sharing proves that nobody else has the port.
pub fn udp_for_shards(address: SocketAddr, shards: usize) -> Result<Vec<UdpSocket>, BindError> {
    let fail = |error| describe("sip.udp", "UDP", address, error);
    let probe = retried(|| udp(address, false)).map_err(fail)?;
    let bound = probe.local_addr().map_err(fail)?;
    drop(probe);
    (0..shards)
        .map(|_| retried(|| udp(bound, true)).map_err(fail))
        .collect()
}

/// As [`udp_for_shards`], for TCP.
pub fn tcp_for_shards(address: SocketAddr, shards: usize) -> Result<Vec<TcpListener>, BindError> {
    let fail = |error| describe("sip.tcp", "TCP", address, error);
    let probe = retried(|| tcp(address, false)).map_err(fail)?;
    let bound = probe.local_addr().map_err(fail)?;
    drop(probe);
    (0..shards)
        .map(|_| retried(|| tcp(bound, true)).map_err(fail))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_another_program_is_named_with_its_key() {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let message = udp_for_shards(address, 2).unwrap_err().to_string();
        assert!(message.starts_with("sip.udp: UDP 127.0.0.1:"), "{message}");
        assert!(message.contains("in use"), "{message}");
        let foreign = "192.0.2.1:5060".parse().unwrap();
        assert!(matches!(
            udp_for_shards(foreign, 1),
            Err(BindError::NotLocal { .. })
        ));
    }

    #[test]
    fn each_shard_has_a_socket_of_its_own_on_the_same_port() {
        let sockets = udp_for_shards("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let ports: Vec<_> = sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap().port())
            .collect();
        assert!(ports.iter().all(|port| *port == ports[0]));
    }
}
