//! Changes made by others are seen.

use std::time::{Duration, Instant};

use super::tables::fill;
use super::{on_each_engine, run, until};
use crate::pool::Kind;
use crate::realtime::Realtime;
use crate::snapshot::Table;
use crate::store::Store;

/// Longest time between a change and its effect, with looks every 500 ms.
const LIMIT: Duration = Duration::from_secs(60);
const REFRESH: Duration = Duration::from_millis(500);

async fn start(store: &Store) -> Realtime {
    Realtime::start(store.clone(), REFRESH)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
        .0
}

#[test]
fn rows_changed_by_another_connection_are_seen_and_only_their_table_is_loaded() {
    on_each_engine(|db| async move {
        let realtime = start(&db.migrated().await).await;
        let other = db.store().await;
        let mut versions = realtime.subscribe();
        for (sql, expected) in [
            (
                "INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('a', '1', 1, 'NoOp', 'one')",
                "one",
            ),
            (
                "UPDATE realtime_extensions SET appdata = 'two' WHERE context = 'a'",
                "two",
            ),
            ("DELETE FROM realtime_extensions", ""),
        ] {
            let before = realtime.current();
            run(&other, sql).await;
            until(sql, LIMIT, || {
                realtime
                    .current()
                    .extensions
                    .first()
                    .map_or("", |row| &row.appdata)
                    == expected
            })
            .await;
            let after = realtime.current();
            assert_eq!(
                after.version_of(Table::Extensions),
                before.version_of(Table::Extensions) + 1
            );
            assert_eq!(
                after.version_of(Table::Endpoints),
                before.version_of(Table::Endpoints)
            );
            assert!(std::sync::Arc::ptr_eq(&after.endpoints, &before.endpoints));
        }
        // The state is there a moment before its version is told.
        let fourth = tokio::time::timeout(LIMIT, versions.wait_for(|version| *version == 4));
        assert!(fourth.await.is_ok_and(|told| told.is_ok()));
        run(
            &other,
            "INSERT INTO ps_endpoints (id, callerid) VALUES ('x', 'X <1>')",
        )
        .await;
        until("the endpoint", LIMIT, || {
            realtime.current().endpoints.contains_key("x")
        })
        .await;
        run(&other, "INSERT INTO static_extensions (filename, category, var_name, var_val) VALUES ('extensions.conf', 'globals', 'A', '1')").await;
        until("the static row", LIMIT, || {
            realtime.current().statics.len() == 1
        })
        .await;
        db
    });
}

#[test]
fn an_emptied_table_is_seen_as_empty() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        fill(&store, 10).await;
        let realtime = start(&store).await;
        assert_eq!(realtime.current().extensions.len(), 10);
        let sql = if db.kind == Kind::Sqlite {
            "DELETE FROM realtime_extensions"
        } else {
            "TRUNCATE TABLE realtime_extensions"
        };
        run(&db.store().await, sql).await;
        until(sql, LIMIT, || realtime.current().extensions.is_empty()).await;
        db
    });
}

#[test]
fn changes_of_a_table_without_triggers_are_seen_by_its_content() {
    on_each_engine(|db| async move {
        let store = db.store().await;
        let other = db.store().await;
        for sql in [
            "CREATE TABLE realtime_extensions (context VARCHAR(20), exten VARCHAR(20), priority INTEGER, app VARCHAR(20), appdata VARCHAR(128))",
            "CREATE TABLE ps_endpoints (id VARCHAR(40))",
            "CREATE TABLE ps_aors (id VARCHAR(40))",
            "CREATE TABLE ps_auths (id VARCHAR(40))",
            "CREATE TABLE alles (id VARCHAR(40), endpoint VARCHAR(40))",
            "CREATE VIEW ps_endpoint_id_ips AS SELECT id, endpoint FROM alles",
        ] {
            run(&store, sql).await;
        }
        let realtime = start(&store).await;
        run(
            &other,
            "INSERT INTO realtime_extensions VALUES ('a', '1', 1, 'NoOp', 'one')",
        )
        .await;
        until("the new row", LIMIT, || {
            realtime.current().extensions.len() == 1
        })
        .await;
        run(&other, "UPDATE realtime_extensions SET appdata = NULL").await;
        until("the changed row", LIMIT, || {
            realtime.current().extensions[0].appdata.is_empty()
        })
        .await;
        run(&other, "INSERT INTO alles VALUES ('i', 'e')").await;
        until("the row of the view", LIMIT, || {
            realtime.current().identifies.len() == 1
        })
        .await;
        run(&other, "DELETE FROM realtime_extensions").await;
        until("the deleted row", LIMIT, || {
            realtime.current().extensions.is_empty()
        })
        .await;
        db
    });
}

#[test]
fn a_look_at_a_large_unchanged_table_is_quick() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        fill(&store, 100_000).await;
        let mut looker = crate::changes::Looker::new(store.clone());
        let first = looker.look().await.unwrap_or_else(|e| panic!("{e}"));
        let start = Instant::now();
        let second = looker.look().await.unwrap_or_else(|e| panic!("{e}"));
        println!("a look by counters on {:?}: {:?}", db.kind, start.elapsed());
        assert_eq!(first, second);
        assert!(start.elapsed() < Duration::from_secs(5));
        for trigger in crate::changes::existing_triggers(store.pool())
            .await
            .unwrap_or_else(|e| panic!("{e}"))
        {
            let on = trigger.strip_prefix("strowger_").unwrap_or_default();
            let on = if db.kind == Kind::Postgres {
                format!(" ON {on}")
            } else {
                String::new()
            };
            if trigger.contains("realtime_extensions") {
                run(&store, &format!("DROP TRIGGER {trigger}{on}")).await;
            }
        }
        looker.forget();
        let first = looker.look().await.unwrap_or_else(|e| panic!("{e}"));
        let start = Instant::now();
        let second = looker.look().await.unwrap_or_else(|e| panic!("{e}"));
        println!(
            "a look by checksums on {:?}: {:?}",
            db.kind,
            start.elapsed()
        );
        assert_eq!(first, second);
        assert!(start.elapsed() < Duration::from_secs(20));
        run(
            &store,
            "UPDATE realtime_extensions SET appdata = 'x' WHERE exten = '777'",
        )
        .await;
        assert_ne!(
            looker.look().await.unwrap_or_else(|e| panic!("{e}")),
            second
        );
        db
    });
}

#[test]
fn a_reload_by_hand_tells_whether_anything_was_different() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let (realtime, _) = Realtime::start(store.clone(), Duration::from_secs(3600))
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(
            !realtime
                .refresh_now()
                .await
                .unwrap_or_else(|e| panic!("{e}"))
        );
        // The first look of the watching task may come at any time and find one change, but not both.
        let mut found = false;
        for name in ["a", "b"] {
            run(
                &store,
                &format!("INSERT INTO ps_aors (id) VALUES ('{name}')"),
            )
            .await;
            found |= realtime
                .refresh_now()
                .await
                .unwrap_or_else(|e| panic!("{e}"));
            assert!(realtime.current().aors.contains_key(name));
        }
        assert!(found);
        db
    });
}

#[test]
fn a_required_table_that_vanishes_leaves_the_last_state_and_comes_back() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        fill(&store, 3).await;
        let (realtime, _) = Realtime::start(store.clone(), Duration::from_millis(50))
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        run(
            &store,
            "ALTER TABLE realtime_extensions RENAME TO elsewhere",
        )
        .await;
        if realtime.refresh_now().await.is_ok() {
            panic!("a missing dialplan was accepted");
        }
        until("the complaint", LIMIT, || !realtime.healthy()).await;
        assert_eq!(realtime.current().extensions.len(), 3);
        run(&store, "INSERT INTO ps_aors (id) VALUES ('a')").await;
        until("another table's change", LIMIT, || {
            realtime.current().aors.contains_key("a")
        })
        .await;
        run(
            &store,
            "ALTER TABLE elsewhere RENAME TO realtime_extensions",
        )
        .await;
        assert!(realtime.refresh_now().await.is_ok());
        until("health", LIMIT, || realtime.healthy()).await;
        assert_eq!(realtime.current().extensions.len(), 3);
        db
    });
}
