//! Contacts written behind and read at the start.

use std::time::Duration;

use super::{count, on_each_engine, run, texts};
use crate::contacts::ContactWriter;
use crate::rows::Contact;
use crate::store::now_s;

const LIMIT: Duration = Duration::from_secs(60);

fn contact(id: &str, expires_in: i64) -> Contact {
    Contact {
        id: id.into(),
        uri: format!("sip:{id}@192.0.2.1:5060"),
        expiration_time: now_s() + expires_in,
        qualify_frequency: 30,
        path: Some("<sip:edge;lr>".into()),
        user_agent: Some("phone \"1\"".into()),
        qualify_timeout: 2.5,
        reg_server: "pbx".into(),
        via_addr: Some("192.0.2.1".into()),
        via_port: 40_000,
        call_id: Some("abc@host".into()),
        endpoint: Some("100".into()),
        qualify_2xx_only: true,
        ..Contact::default()
    }
}

#[test]
fn contacts_come_back_after_a_restart_as_they_were() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let writer = ContactWriter::spawn(store.clone());
        let kept = contact("100;@a", 3600);
        writer.upsert(Contact {
            uri: "sip:old".into(),
            ..kept.clone()
        });
        writer.upsert(kept.clone());
        writer.upsert(contact("100;@gone", 3600));
        writer.upsert(contact("100;@expired", -1));
        writer.upsert(Contact {
            prune_on_boot: true,
            ..contact("100;@tcp", 3600)
        });
        writer.upsert(Contact {
            reg_server: "other".into(),
            ..contact("100;@b", 3600)
        });
        assert!(writer.flush(LIMIT).await);
        writer.upsert(kept.clone());
        writer.delete("100;@gone", "pbx");
        assert!(writer.flush(LIMIT).await);
        assert_eq!(count(&store, "ps_contacts").await, 4);
        let (snapshot, problems) = store.load().await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(problems, []);
        assert_eq!(snapshot.contacts.len(), 2);
        assert_eq!(snapshot.contacts[0], kept);
        assert_eq!(
            store
                .prune_contacts("pbx")
                .await
                .unwrap_or_else(|e| panic!("{e}")),
            2
        );
        assert_eq!(count(&store, "ps_contacts").await, 2);
        db
    });
}

#[test]
fn a_table_with_other_types_and_a_unique_id_takes_contacts_too() {
    on_each_engine(|db| async move {
        let store = db.store().await;
        run(
            &store,
            "CREATE TABLE ps_contacts (id VARCHAR(255) NOT NULL, uri VARCHAR(20), expiration_time VARCHAR(40), \
             reg_server VARCHAR(20), prune_on_boot INTEGER, UNIQUE (id))",
        )
        .await;
        let writer = ContactWriter::spawn(store.clone());
        writer.upsert(Contact {
            reg_server: "other".into(),
            ..contact("x", 60)
        });
        assert!(writer.flush(LIMIT).await);
        writer.upsert(contact("x", 3600));
        writer.upsert(contact("y", 3600));
        assert!(writer.flush(LIMIT).await);
        assert_eq!(
            texts(&store, "SELECT reg_server FROM ps_contacts ORDER BY id").await,
            [Some("pbx".into()), Some("pbx".into())]
        );
        assert_eq!(
            texts(
                &store,
                &format!(
                    "SELECT {} FROM ps_contacts",
                    db.kind.as_text("prune_on_boot")
                )
            )
            .await[0]
                .as_deref(),
            Some("0")
        );
        db
    });
}

#[test]
fn four_thousand_registrations_are_written_in_seconds() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let writer = ContactWriter::spawn(store.clone());
        let start = std::time::Instant::now();
        for n in 0..4000 {
            writer.upsert(contact(&format!("{n};@x"), 3600));
        }
        assert!(writer.flush(Duration::from_secs(300)).await);
        println!("4,000 contacts on {:?}: {:?}", db.kind, start.elapsed());
        assert_eq!(count(&store, "ps_contacts").await, 4000);
        db
    });
}
