//! Rows and requests for the tests of this folder.

use std::sync::Arc;

use bytes::Bytes;
use strowger_sip::{Flow, Message, Transport};
use strowger_store::{Aor, Auth, Endpoint, Snapshot};

pub(super) fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: ([192, 0, 2, 1], 5060).into(),
        remote: ([203, 0, 113, 7], 40000).into(),
        connection: 0,
    }
}

/// Endpoint, AOR and auth of each name; the password is `pw-<name>`.
pub(super) fn snapshot(names: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for name in names {
        let id = (*name).to_owned();
        Arc::make_mut(&mut snapshot.endpoints).insert(
            id.clone(),
            Arc::new(Endpoint {
                id: id.clone(),
                aors: vec![id.clone()],
                auth: vec![id.clone()],
                ..Endpoint::default()
            }),
        );
        Arc::make_mut(&mut snapshot.aors).insert(
            id.clone(),
            Arc::new(Aor {
                id: id.clone(),
                max_contacts: 2,
                ..Aor::default()
            }),
        );
        Arc::make_mut(&mut snapshot.auths).insert(
            id.clone(),
            Arc::new(Auth {
                id: id.clone(),
                username: Some(id.clone()),
                password: Some(format!("pw-{name}")),
                ..Auth::default()
            }),
        );
    }
    snapshot
}

/// A REGISTER of this user with more header lines, each ended by `\r\n`.
pub(super) fn register(user: &str, call_id: &str, cseq: u32, more: &str) -> Message {
    request("REGISTER", user, call_id, cseq, more)
}

pub(super) fn request(method: &str, user: &str, call_id: &str, cseq: u32, more: &str) -> Message {
    let text = format!(
        "{method} sip:pbx.example SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.5:5062;branch=z9hG4bK{cseq}\r\n\
         From: <sip:{user}@pbx.example>;tag=a\r\nTo: <sip:{user}@pbx.example>\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq} {method}\r\n{more}\r\n"
    );
    Message::parse(Bytes::from(text)).expect("a good request")
}
