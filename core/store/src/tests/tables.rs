//! Making tables, and reading those of others.

use std::time::{Duration, Instant};

use super::{count, on_each_engine, run, texts};
use crate::error::{Severity, StoreError};
use crate::pool::Kind;
use crate::seed::seed_demo;
use crate::store::Store;

#[test]
fn an_empty_database_gets_every_table_and_column_and_another_start_changes_nothing() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let (snapshot, problems) = store.load().await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            problems,
            [],
            "{:?}: a table or column of ours is missing",
            db.kind
        );
        assert!(snapshot.endpoints.is_empty() && snapshot.extensions.is_empty());
        let tables = crate::schema::existing(store.pool())
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        for table in [
            "queues",
            "queue_members",
            "queue_rules",
            "queue_log",
            "musiconhold",
            "musiconhold_entry",
            "voicemail",
            "cdr",
        ] {
            assert!(
                tables.iter().any(|name| name == table),
                "{:?}: {table}",
                db.kind
            );
        }
        run(&store, "INSERT INTO ps_aors (id) VALUES ('kept')").await;
        drop(store);
        let store = db.migrated().await;
        assert_eq!(count(&store, "ps_aors").await, 1);
        assert_eq!(count(&store, "strowger_schema").await, 5);
        db
    });
}

#[test]
fn the_demo_is_made_once_and_loads_without_problems() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let users: Vec<_> = ["100", "101", "102"]
            .map(|name| (name.to_owned(), format!("pw-{name}")))
            .into();
        let made = seed_demo(&store, &users)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(made > 30, "{made}");
        assert_eq!(
            seed_demo(&store, &users)
                .await
                .unwrap_or_else(|e| panic!("{e}")),
            0
        );
        let (snapshot, problems) = store.load().await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(problems, []);
        let endpoint = &snapshot.endpoints["101"];
        assert_eq!(
            (endpoint.context.as_str(), endpoint.transport.as_deref()),
            ("internal", None)
        );
        assert_eq!(endpoint.allow, ["alaw", "ulaw"]);
        assert!(!endpoint.direct_media && endpoint.rtp_symmetric && endpoint.force_rport);
        assert_eq!(snapshot.aors["101"].max_contacts, 5);
        assert_eq!(snapshot.auths["101"].password.as_deref(), Some("pw-101"));
        let dial = snapshot
            .extensions
            .iter()
            .find(|row| row.exten == "_10[0-2]" && row.app == "Dial");
        let dial = dial.unwrap_or_else(|| panic!("no row dials"));
        assert_eq!(
            (dial.priority, dial.appdata.as_str()),
            (2, "PJSIP/${EXTEN},30")
        );
        assert!(
            snapshot
                .statics
                .iter()
                .any(|row| row.var_name == "switch" && row.category == "internal")
        );
        db
    });
}

/// Tables as an older Asterisk with a web interface would have them: other types, fewer columns, columns of its own.
async fn make_foreign(store: &Store) {
    let id = match store.kind() {
        Kind::Sqlite => "INTEGER PRIMARY KEY",
        Kind::MySql => "INT AUTO_INCREMENT PRIMARY KEY",
        Kind::Postgres => "SERIAL PRIMARY KEY",
    };
    for sql in [
        "CREATE TABLE ps_endpoints (id VARCHAR(40) NOT NULL, name VARCHAR(80), description VARCHAR(80), aors VARCHAR(200), \
         auth VARCHAR(40), context VARCHAR(40), disallow VARCHAR(200), allow VARCHAR(200), direct_media INTEGER, \
         rtp_timeout VARCHAR(10), rewrite_contact VARCHAR(5), group_uuid VARCHAR(36))",
        "CREATE TABLE ps_aors (id VARCHAR(40) NOT NULL, max_contacts VARCHAR(10), qualify_timeout DECIMAL(5,1))",
        "CREATE TABLE ps_auths (id VARCHAR(40) NOT NULL, auth_type VARCHAR(20), username VARCHAR(40), password VARCHAR(80))",
        "CREATE TABLE ps_contacts (id VARCHAR(255), uri VARCHAR(255), expiration_time VARCHAR(40), reg_server VARCHAR(20), \
         prune_on_boot INTEGER, UNIQUE (id))",
    ] {
        run(store, sql).await;
    }
    run(
        store,
        &format!(
            "CREATE TABLE realtime_extensions (id {id}, context VARCHAR(20) NOT NULL, exten VARCHAR(20) NOT NULL, \
             priority INTEGER NOT NULL, app VARCHAR(20) NOT NULL, appdata VARCHAR(128), uuid VARCHAR(36))"
        ),
    )
    .await;
    for sql in [
        "INSERT INTO ps_endpoints (id, name, aors, context, allow, direct_media, rtp_timeout, rewrite_contact) \
         VALUES ('user-100', 'Anna', 'user-100', '', 'alaw', 0, '60', 'on')",
        "INSERT INTO ps_endpoints (id, rtp_timeout) VALUES ('user-101', 'soon')",
        "INSERT INTO ps_aors (id, max_contacts, qualify_timeout) VALUES ('user-100', '2', 1.5)",
        "INSERT INTO ps_auths (id, auth_type, username, password) VALUES ('user-100', 'userpass', 'user-100', 'x')",
        "INSERT INTO ps_contacts (id, uri, expiration_time, reg_server, prune_on_boot) \
         VALUES ('user-100;@1', 'sip:a@1.2.3.4', '4102444800', 'pbx', 0)",
        "INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('office', '110', 1, 'NoOp', NULL)",
    ] {
        run(store, sql).await;
    }
}

#[test]
fn the_tables_of_an_existing_asterisk_are_read_as_they_are_and_never_altered() {
    on_each_engine(|db| async move {
        let store = db.store().await;
        make_foreign(&store).await;
        let before = crate::schema::Columns::find(store.pool(), "ps_endpoints")
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(store.migrate().await.unwrap_or_else(|e| panic!("{e}")), []);
        let after = crate::schema::Columns::find(store.pool(), "ps_endpoints")
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(before, after);
        let triggers = crate::changes::existing_triggers(store.pool())
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(
            !triggers
                .iter()
                .any(|name| name.contains("ps_endpoints") || name.contains("realtime_extensions"))
        );
        assert!(
            triggers.iter().any(|name| name.contains("ps_transports")),
            "{triggers:?}"
        );

        let (snapshot, problems) = store.load().await.unwrap_or_else(|e| panic!("{e}"));
        let endpoint = &snapshot.endpoints["user-100"];
        assert!(!endpoint.direct_media && endpoint.rewrite_contact && endpoint.force_rport);
        assert_eq!(
            (endpoint.context.as_str(), endpoint.rtp_timeout),
            ("default", 60)
        );
        assert_eq!(snapshot.endpoints["user-101"].rtp_timeout, 0);
        assert_eq!(snapshot.aors["user-100"].max_contacts, 2);
        assert_eq!(snapshot.aors["user-100"].qualify_timeout, 1.5);
        assert_eq!(snapshot.contacts.len(), 1);
        assert_eq!(snapshot.contacts[0].expiration_time, 4_102_444_800);
        assert_eq!(snapshot.extensions[0].appdata, "");

        let of = |table: &str| {
            problems
                .iter()
                .filter(|problem| problem.table == table)
                .collect::<Vec<_>>()
        };
        let endpoints = of("ps_endpoints");
        assert_eq!(
            endpoints.len(),
            2,
            "one about columns, one about a value: {endpoints:?}"
        );
        assert!(
            endpoints[0].what.contains("dtmf_mode, ") && endpoints[0].what.contains("100rel"),
            "{}",
            endpoints[0]
        );
        assert!(!endpoints[0].what.contains("rewrite_contact"));
        assert_eq!(endpoints[1].row.as_deref(), Some("user-101"));
        assert!(endpoints[1].what.contains("rtp_timeout") && endpoints[1].what.contains("`soon`"));
        assert!(
            problems
                .iter()
                .all(|problem| problem.severity == Severity::Warning)
        );
        assert!(of("realtime_extensions").is_empty() && of("cdr").is_empty());
        db
    });
}

#[test]
fn a_missing_table_or_column_that_calls_need_is_an_error_that_names_it() {
    on_each_engine(|db| async move {
        let store = db.store().await;
        let error = store.load().await.map(|_| ()).unwrap_err();
        assert!(
            matches!(&error, StoreError::Schema { table, .. } if table == "ps_endpoints"),
            "{error}"
        );
        make_foreign(&store).await;
        run(&store, "DROP TABLE realtime_extensions").await;
        run(&store, "CREATE TABLE realtime_extensions (context VARCHAR(20), exten VARCHAR(20), app VARCHAR(20))").await;
        let error = store.load().await.map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("realtime_extensions") && error.contains("priority"),
            "{error}"
        );
        db
    });
}

#[test]
fn static_rows_come_section_by_section_without_those_commented_out() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        for (category, name, value, commented) in [
            ("transport-udp", "type", "transport", 0),
            ("transport-tcp", "type", "transport", 0),
            ("transport-udp", "bind", "0.0.0.0:5060", 0),
            ("transport-tcp", "bind", "0.0.0.0:5061", 0),
            ("transport-udp", "protocol", "udp", 0),
            ("transport-udp", "tos", "cs3", 1),
        ] {
            run(
                &store,
                &format!(
                    "INSERT INTO static_pjsip (cat_metric, var_metric, commented, filename, category, var_name, var_val) \
                     VALUES (0, 0, {commented}, 'pjsip.conf', '{category}', '{name}', '{value}')"
                ),
            )
            .await;
        }
        let (snapshot, _) = store.load().await.unwrap_or_else(|e| panic!("{e}"));
        let order: Vec<_> = snapshot
            .statics
            .iter()
            .map(|row| (row.category.as_str(), row.var_name.as_str()))
            .collect();
        let (tcp, udp) = ("transport-tcp", "transport-udp");
        assert_eq!(
            order,
            [
                (tcp, "bind"),
                (tcp, "type"),
                (udp, "bind"),
                (udp, "protocol"),
                (udp, "type")
            ]
        );
        db
    });
}

#[test]
fn a_hundred_thousand_dialplan_rows_load_in_seconds_at_most() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        fill(&store, 100_000).await;
        let mut times = Vec::new();
        for _ in 0..3 {
            let start = Instant::now();
            let (snapshot, problems) = store.load().await.unwrap_or_else(|e| panic!("{e}"));
            times.push(start.elapsed());
            assert_eq!((snapshot.extensions.len(), problems.len()), (100_000, 0));
        }
        println!("100,000 rows on {:?}: {times:?}", db.kind);
        let best = times.into_iter().min().unwrap_or_default();
        assert!(best < Duration::from_secs(10), "{:?}: {best:?}", db.kind);
        db
    });
}

/// Fills the dialplan with rows.
pub(super) async fn fill(store: &Store, rows: u32) {
    let begin = if store.kind() == Kind::MySql {
        "START TRANSACTION"
    } else {
        "BEGIN"
    };
    for start in (0..rows).step_by(10_000) {
        let values: Vec<_> = (start..(start + 10_000).min(rows))
            .map(|n| {
                format!(
                    "('context-{}', '{}', {}, 'Dial', 'PJSIP/user-{n}-domain,60,tT')",
                    n / 1000,
                    n / 4,
                    n % 4 + 1
                )
            })
            .collect();
        run(
            store,
            &format!(
                "{begin}; INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES {}; COMMIT",
                values.join(",")
            ),
        )
        .await;
    }
}

#[test]
fn a_database_that_does_not_answer_is_named_without_its_password() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap_or_else(|e| panic!("{e}"));
    runtime.block_on(async {
        // A port that was free a moment ago: nothing listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .map_or(1, |a| a.port());
        for url in [
            format!("mysql://pbx:s3cret@127.0.0.1:{port}/pbx"),
            format!("postgres://pbx:s3cret@127.0.0.1:{port}/pbx"),
        ] {
            let error = Store::connect(&url, std::path::Path::new("/"))
                .await
                .map(|_| ())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(&format!("127.0.0.1:{port}, database pbx")),
                "{error}"
            );
            assert!(
                error.contains("refused") && !error.contains("s3cret"),
                "{error}"
            );
        }
        // One that accepts and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("{e}"));
        let port = silent.local_addr().map_or(1, |a| a.port());
        let start = Instant::now();
        let url = format!("mysql://pbx:s3cret@127.0.0.1:{port}/pbx");
        let error = Store::connect(&url, std::path::Path::new("/"))
            .await
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains("no answer within 3 s"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30));
    });
}

#[test]
fn a_wrong_password_is_told_in_the_words_of_the_server() {
    for variable in ["STROWGER_TEST_MYSQL_URL", "STROWGER_TEST_POSTGRES_URL"] {
        let Ok(url) = std::env::var(variable) else {
            println!("skipped: {variable} is not set");
            continue;
        };
        let Some((start, host)) = url.rsplit_once('@') else {
            panic!("{variable} has no user")
        };
        let Some((user, _)) = start.rsplit_once(':') else {
            panic!("{variable} has no password")
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap_or_else(|e| panic!("{e}"));
        let wrong = format!("{user}:wr0ngpass@{host}");
        let error = runtime
            .block_on(Store::connect(&wrong, std::path::Path::new("/")))
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(!error.contains("wr0ngpass"), "{error}");
        assert!(
            error.contains("Access denied") || error.contains("authentication failed"),
            "{error}"
        );
    }
}

#[test]
fn a_demo_row_can_be_read_by_name_in_every_engine() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let users = [("Анна".to_owned(), "п'а\"роль".to_owned())];
        seed_demo(&store, &users)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            texts(&store, "SELECT password FROM ps_auths").await,
            [Some("п'а\"роль".to_owned())]
        );
        let (snapshot, _) = store.load().await.unwrap_or_else(|e| panic!("{e}"));
        assert!(snapshot.endpoints.contains_key("Анна"));
        db
    });
}
