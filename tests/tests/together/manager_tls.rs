//! The Manager with TLS: whose certificate is shown, and that what is said is the same.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use strowger_tests::manager::ManagerClient;
use strowger_tests::{Authority, Exchange, SOON, wait_until};

use crate::manager::{address, exchange};

struct House {
    exchange: Exchange,
    authority: Authority,
    _folder: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = authority.issue_files(folder.path(), "ami", &["ami.example.com"]);
        let exchange = exchange(&[
            ("general", "tlsenable", "yes"),
            ("general", "tlscertfile", &certificate.to_string_lossy()),
            ("general", "tlsprivatekey", &key.to_string_lossy()),
        ]);
        Self {
            exchange,
            authority,
            _folder: folder,
        }
    }

    fn address(&self) -> SocketAddr {
        (self.exchange.ip(), 5039).into()
    }
}

#[test]
fn a_client_logs_in_over_tls_and_hears_of_a_call() {
    let house = House::new();
    let config = house.authority.client(None);
    let mut client = ManagerClient::connect_tls(house.address(), config, "ami.example.com");
    assert!(client.greeting.starts_with("Asterisk Call Manager/"));
    client.log_in("admin", "s3cret");
    let call = [
        ("Action", "Originate"),
        ("Channel", "Local/300@house"),
        ("Application", "Wait"),
        ("Data", "1"),
        ("Async", "yes"),
    ];
    assert_eq!(
        client.ask(&call).get("Message"),
        "Originate successfully queued"
    );
    client.blocks_until("the event of the call", |block| {
        block.event() == "UserEvent" && block.get("Colour") == "red"
    });
    // A long answer comes whole.
    let list = client.ask(&[("Action", "ListCommands")]);
    assert!(list.0.len() > 80, "{}", list.0.len());
    let bye = client.ask(&[("Action", "Logoff")]);
    assert_eq!(bye.get("Response"), "Goodbye");
    client.expect_closed();
    // Beside it the plain one goes on.
    ManagerClient::login(address(&house.exchange), "admin", "s3cret");
}

#[test]
fn who_speaks_no_tls_is_not_greeted_and_a_certificate_is_for_its_name_only() {
    let house = House::new();
    let mut plain = wait_until(SOON, || TcpStream::connect(house.address()).ok()).expect("a door");
    plain
        .write_all(b"Action: Login\r\nUsername: admin\r\nSecret: s3cret\r\n\r\n")
        .expect("it is taken");
    plain.set_read_timeout(Some(SOON)).expect("a time limit");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        !answer.contains("Asterisk") && !answer.contains("Response"),
        "{answer}"
    );

    let stranger = Authority::new().client(None);
    for (config, name) in [
        (house.authority.client(None), "other.example.com"),
        (stranger, "ami.example.com"),
    ] {
        let stream = TcpStream::connect(house.address()).expect("a door");
        let name = name.to_owned().try_into().expect("a name");
        let session = rustls::ClientConnection::new(config, name).expect("a session");
        let mut stream = rustls::StreamOwned::new(session, stream);
        let mut bytes = [0; 64];
        let error = stream.read(&mut bytes).expect_err("no trust");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}
