//! A server that goes away and comes back, with a switch in the line to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::cdr::{record, sequences};
use super::{count, on_each_engine, run, until};
use crate::cdr::CdrSpool;
use crate::contacts::ContactWriter;
use crate::pool::Kind;
use crate::realtime::Realtime;
use crate::rows::Contact;
use crate::store::{Store, now_s};

const LIMIT: Duration = Duration::from_secs(120);

/// A line to a server that can be cut.
struct Line {
    address: SocketAddr,
    up: Arc<AtomicBool>,
    cut: tokio::sync::watch::Sender<u32>,
}

impl Line {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let address = listener.local_addr().unwrap_or_else(|e| panic!("{e}"));
        let up = Arc::new(AtomicBool::new(true));
        let (cut, cutting) = tokio::sync::watch::channel(0_u32);
        let open = Arc::clone(&up);
        tokio::spawn(async move {
            while let Ok((mut inner, _)) = listener.accept().await {
                if !open.load(Ordering::Relaxed) {
                    continue;
                }
                // One that still connects to the server is cut too.
                let (server, mut cutting) = (server.clone(), cutting.clone());
                cutting.mark_unchanged();
                let open = Arc::clone(&open);
                tokio::spawn(async move {
                    let Ok(mut outer) = TcpStream::connect(server).await else {
                        return;
                    };
                    if !open.load(Ordering::Relaxed) {
                        return;
                    }
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut inner, &mut outer) => {}
                        _ = cutting.changed() => {}
                    }
                });
            }
        });
        Self { address, up, cut }
    }

    fn cut(&self) {
        self.up.store(false, Ordering::Relaxed);
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    fn mend(&self) {
        self.up.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_outage_keeps_the_last_state_and_everything_written_meanwhile() {
    on_each_engine(|db| async move {
        if db.kind == Kind::Sqlite {
            return db;
        }
        let direct = db.migrated().await;
        run(&direct, "INSERT INTO ps_aors (id) VALUES ('kept')").await;
        let (user, rest) = db.url.rsplit_once('@').unwrap_or_else(|| panic!("no user"));
        let (server, database) = rest
            .split_once('/')
            .unwrap_or_else(|| panic!("no database"));
        let line = Line::to(server.to_owned()).await;
        let url = format!("{user}@{}/{database}", line.address);
        let store = Store::connect(&url, std::path::Path::new("/"))
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let (realtime, _) = Realtime::start(store.clone(), Duration::from_millis(100))
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let contacts = ContactWriter::spawn(store.clone());
        let spool = CdrSpool::open(&db.path("spool")).unwrap_or_else(|e| panic!("{e}"));
        spool.deliver(store.clone());
        // The line is cut in the middle of the work.
        for number in 0..2000 {
            spool.push(record(number));
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
        line.cut();
        until("notice of the outage", LIMIT, || !realtime.healthy()).await;
        for number in 2000..2100 {
            spool.push(record(number));
        }
        for uri in ["sip:first", "sip:second"] {
            let contact = Contact {
                id: "a".into(),
                uri: uri.into(),
                expiration_time: now_s() + 60,
                ..Contact::default()
            };
            contacts.upsert(contact);
        }
        assert!(realtime.current().aors.contains_key("kept"));
        assert!(!contacts.flush(Duration::from_millis(200)).await);
        run(&direct, "INSERT INTO ps_aors (id) VALUES ('new')").await;
        line.mend();
        until("health", LIMIT, || realtime.healthy()).await;
        until("the change made meanwhile", LIMIT, || {
            realtime.current().aors.contains_key("new")
        })
        .await;
        assert!(contacts.flush(LIMIT).await);
        assert!(spool.drain(LIMIT).await, "{:?}", spool.counters());
        assert_eq!(sequences(&direct).await, (0..2100).collect::<Vec<_>>());
        assert_eq!(
            count(&direct, "ps_contacts WHERE uri = 'sip:second'").await,
            1
        );
        db
    });
}
