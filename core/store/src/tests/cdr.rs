//! Call detail records: the right columns, none lost, none twice.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{count, on_each_engine, run, texts, until};
use crate::cdr::{Cdr, CdrSpool};
use crate::pool::{Kind, Statement};
use crate::store::Store;

const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn record(number: i64) -> Cdr {
    let start = 1_730_267_955_000_000 + number * 1_000_000;
    Cdr {
        src: "79123456789".into(),
        dst: "110".into(),
        dcontext: "local-evolvex".into(),
        clid: "\"Сергей\" <79123456789>".into(),
        channel: format!("PJSIP/trunk-{number:08x}"),
        dstchannel: format!("PJSIP/user-110-{number:08x}"),
        lastapp: "Dial".into(),
        lastdata: "PJSIP/user-110-evolvex,60,t".into(),
        start_us: start,
        answer_us: None,
        end_us: start + 7_400_000,
        duration: 7,
        billsec: 0,
        disposition: "NO ANSWER".into(),
        amaflags: "DOCUMENTATION".into(),
        uniqueid: format!("1730267955.{number}"),
        linkedid: format!("1730267935.{number}"),
        sequence: number,
        ..Cdr::default()
    }
}

fn open(db: &super::Db) -> CdrSpool {
    CdrSpool::open(&db.path("spool")).unwrap_or_else(|error| panic!("{error}"))
}

fn counter(spool: &CdrSpool, name: &str) -> u64 {
    spool
        .counters()
        .into_iter()
        .find(|(other, _)| *other == name)
        .map_or(0, |(_, value)| value)
}

/// The sequence numbers in the table, in order.
pub(super) async fn sequences(store: &Store) -> Vec<i64> {
    let sql = format!("SELECT {} FROM cdr", store.kind().as_text("sequence"));
    let mut found: Vec<_> = texts(store, &sql)
        .await
        .into_iter()
        .flatten()
        .filter_map(|text| text.parse().ok())
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn a_record_fills_the_columns_of_its_names_and_leaves_the_rest_null() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let spool = open(&db);
        let delivery = spool.deliver(store.clone());
        spool.push(Cdr {
            custom: vec![
                ("direction".into(), "in".into()),
                ("SOURCE".into(), "web".into()),
                ("nowhere".into(), "x".into()),
                ("id".into(), "77".into()),
                ("src".into(), "not this".into()),
            ],
            ..record(1923)
        });
        let answered = Cdr {
            answer_us: Some(record(2).start_us),
            disposition: "ANSWERED".into(),
            billsec: 7,
            ..record(2)
        };
        spool.push(answered);
        assert!(spool.drain(LIMIT).await, "{:?}", spool.counters());
        let columns = [
            "accountcode",
            "src",
            "clid",
            "start",
            "answer",
            "end",
            "duration",
            "billsec",
            "disposition",
            "userfield",
            "sequence",
            "source",
            "direction",
            "destination",
        ];
        let list: Vec<_> = columns
            .iter()
            .map(|name| db.kind.as_text(&db.kind.quote(name)))
            .collect();
        let sql = format!("SELECT {} FROM cdr ORDER BY uniqueid", list.join(", "));
        let rows = store
            .pool()
            .rows(Statement::new(sql), columns.len())
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let local = |micros: i64| {
            use chrono::TimeZone as _;
            let time = chrono::Local.timestamp_micros(micros).single();
            time.unwrap_or_else(|| panic!("no such time"))
                .format("%Y-%m-%d %H:%M:%S")
                .to_string()
        };
        let expected = [
            None,
            Some("79123456789".to_owned()),
            Some("\"Сергей\" <79123456789>".to_owned()),
            Some(local(record(1923).start_us)),
            None,
            Some(local(record(1923).end_us)),
            Some("7".to_owned()),
            Some("0".to_owned()),
            Some("NO ANSWER".to_owned()),
            None,
            Some("1923".to_owned()),
            Some("web".to_owned()),
            Some("in".to_owned()),
            None,
        ];
        assert_eq!(rows[0], expected);
        assert_eq!(rows[1][4], Some(local(record(2).start_us)));
        drop(spool);
        tokio::time::timeout(LIMIT, delivery)
            .await
            .unwrap_or_else(|e| panic!("{e}"))
            .unwrap_or_else(|e| panic!("{e}"));
        db
    });
}

#[test]
fn a_crash_between_commit_and_note_loses_nothing_and_doubles_nothing() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let spool = open(&db);
        for number in 0..300 {
            spool.push(record(number));
        }
        assert!(spool.flush(LIMIT));
        spool
            .shared
            .crash_after_commit
            .store(true, Ordering::Relaxed);
        spool
            .deliver(store.clone())
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            count(&store, "cdr").await,
            256,
            "one batch was committed and not noted"
        );
        for number in 300..310 {
            spool.push(record(number));
        }
        assert!(spool.flush(LIMIT));
        // The process is gone: nothing is tidied up.
        std::mem::forget(spool);
        let spool = open(&db);
        spool.push(record(310));
        spool.deliver(store.clone());
        assert!(spool.drain(LIMIT).await, "{:?}", spool.counters());
        assert_eq!(sequences(&store).await, (0..=310).collect::<Vec<_>>());
        assert_eq!(counter(&spool, "cdr_known"), 256);
        // A third start finds nothing left to do.
        drop(spool);
        let spool = open(&db);
        spool.deliver(store.clone());
        assert!(spool.drain(LIMIT).await);
        assert_eq!(count(&store, "cdr").await, 311);
        let files = || std::fs::read_dir(db.path("spool")).map(Iterator::count);
        until("old segments are gone", LIMIT, || files().unwrap_or(0) == 2).await;
        db
    });
}

#[test]
fn a_record_that_the_database_never_takes_is_put_aside_and_blocks_no_other() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        run(&store, "DROP TABLE cdr").await;
        run(
            &store,
            "CREATE TABLE cdr (calldate VARCHAR(30), src VARCHAR(5), uniqueid VARCHAR(32) NOT NULL, duration INTEGER \
             CHECK (duration < 1000), sequence INTEGER, amaflags INTEGER)",
        )
        .await;
        let spool = open(&db);
        spool.deliver(store.clone());
        for number in 0..5 {
            let duration = if number == 2 { 5000 } else { 7 };
            let uniqueid = if number == 3 {
                String::new()
            } else {
                record(number).uniqueid
            };
            spool.push(Cdr {
                duration,
                uniqueid,
                ..record(number)
            });
        }
        assert!(spool.drain(LIMIT).await, "{:?}", spool.counters());
        assert_eq!(sequences(&store).await, [0, 1, 4]);
        assert_eq!(counter(&spool, "cdr_rejected"), 2);
        let rejected = std::fs::read_to_string(db.path("spool/rejected.log"))
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(rejected.lines().count(), 2);
        for line in rejected.lines() {
            let line: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}"));
            assert!(
                line["reason"]
                    .as_str()
                    .is_some_and(|reason| reason.len() > 5),
                "{line}"
            );
            assert!([2, 3].contains(&line["record"]["sequence"].as_i64().unwrap_or(0)));
        }
        // Text is cut to its column where it has a limit; the old name of `start` and a numeric flag are understood.
        if db.kind != Kind::Sqlite {
            assert_eq!(
                texts(&store, "SELECT src FROM cdr").await[0].as_deref(),
                Some("79123")
            );
        }
        assert!(
            texts(&store, "SELECT calldate FROM cdr").await[0]
                .as_deref()
                .is_some_and(|text| text.starts_with("2024-"))
        );
        assert_eq!(
            texts(
                &store,
                &format!("SELECT {} FROM cdr", db.kind.as_text("amaflags"))
            )
            .await[0]
                .as_deref(),
            Some("3")
        );
        db
    });
}

#[test]
fn records_wait_in_the_spool_until_the_table_exists() {
    on_each_engine(|db| async move {
        let store = db.store().await;
        let spool = open(&db);
        spool.deliver(store.clone());
        for number in 0..20 {
            spool.push(record(number));
        }
        assert!(!spool.drain(Duration::from_millis(300)).await);
        until("an attempt that fails", LIMIT, || {
            counter(&spool, "cdr_failed_attempts") > 0
        })
        .await;
        store.migrate().await.unwrap_or_else(|e| panic!("{e}"));
        assert!(spool.drain(LIMIT).await, "{:?}", spool.counters());
        assert_eq!(sequences(&store).await, (0..20).collect::<Vec<_>>());
        db
    });
}

#[test]
fn four_thousand_records_pass_through_and_leave_an_empty_spool() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let spool = open(&db);
        spool.deliver(store.clone());
        let start = std::time::Instant::now();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let spool = spool.clone();
                std::thread::spawn(move || {
                    (0..1000).for_each(|n| spool.push(record(thread * 1000 + n)))
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| assert!(thread.join().is_ok()));
        assert!(
            spool.drain(Duration::from_secs(300)).await,
            "{:?}",
            spool.counters()
        );
        println!(
            "4,000 call detail records on {:?}: {:?}",
            db.kind,
            start.elapsed()
        );
        assert_eq!(sequences(&store).await, (0..4000).collect::<Vec<_>>());
        db
    });
}

#[test]
fn records_are_found_by_time_group_context_and_call() {
    use crate::cdr::{CdrOwner, CdrQuery};
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let spool = open(&db);
        let delivery = spool.deliver(store.clone());
        for number in 0..600 {
            let mut one = record(number);
            if number == 1 {
                one.custom = vec![("group_uuid".into(), "g".into())];
                one.dcontext = "elsewhere".into();
            }
            if number == 2 {
                one.custom = vec![("group_uuid".into(), "other".into())];
            }
            spool.push(one);
        }
        assert!(spool.drain(LIMIT).await, "{:?}", spool.counters());
        drop(delivery);
        let found = async |query: CdrQuery| {
            let rows = store.find_cdr(&query, &["sequence", "answer"]).await;
            let rows = rows.unwrap_or_else(|error| panic!("{error}"));
            assert!(rows.iter().all(|row| row.len() == 2 && row[1].is_none()));
            let numbers = rows
                .into_iter()
                .filter_map(|row| row[0].as_ref()?.parse().ok());
            numbers.collect::<Vec<i64>>()
        };
        let all = CdrQuery::default();
        assert_eq!(found(all.clone()).await, (0..600).collect::<Vec<_>>());
        assert_eq!(store.count_cdr(&all).await.ok(), Some(600));
        let page = CdrQuery {
            newest_first: true,
            skip: 2,
            limit: 3,
            ..all.clone()
        };
        assert_eq!(found(page).await, [597, 596, 595]);
        let starts = texts(
            &store,
            &format!(
                "SELECT {} FROM cdr WHERE sequence IN (3, 5) ORDER BY sequence",
                db.kind.as_text(&db.kind.quote("start"))
            ),
        )
        .await;
        let times = CdrQuery {
            from: starts[0].clone(),
            until: starts[1].clone(),
            ..all.clone()
        };
        assert_eq!(found(times.clone()).await, [3, 4, 5]);
        assert_eq!(store.count_cdr(&times).await.ok(), Some(3));
        let owner = |contexts: &[&str]| CdrQuery {
            owner: Some(CdrOwner {
                group: "g".into(),
                contexts: contexts.iter().map(|name| (*name).to_owned()).collect(),
            }),
            until: starts[0].clone(),
            ..CdrQuery::default()
        };
        assert_eq!(found(owner(&[])).await, [1]);
        assert_eq!(found(owner(&["local-evolvex", "x"])).await, [0, 1, 3]);
        let call = CdrQuery {
            call: Some("1730267935.7".into()),
            ..all.clone()
        };
        assert_eq!(found(call).await, [7]);
        let equal = |name, value: &str| CdrQuery {
            equal: vec![(name, value.to_owned())],
            ..CdrQuery::default()
        };
        assert_eq!(found(equal("sequence", "9")).await, [9]);
        assert_eq!(found(equal("nowhere", "9")).await, Vec::<i64>::new());
        assert_eq!(found(equal("src", "' OR 1=1 --")).await, Vec::<i64>::new());
        store.close().await;
        db
    });
}

#[test]
fn columns_that_a_table_lacks_are_null_in_what_is_found() {
    on_each_engine(|db| async move {
        let store = db.store().await;
        run(
            &store,
            "CREATE TABLE cdr (calldate TIMESTAMP, src VARCHAR(80))",
        )
        .await;
        run(
            &store,
            "INSERT INTO cdr VALUES ('2024-10-30 09:59:15', '110')",
        )
        .await;
        let query = crate::cdr::CdrQuery {
            from: Some("2024-10-30 00:00:00".into()),
            until: Some("2024-10-30 23:59:59".into()),
            ..crate::cdr::CdrQuery::default()
        };
        let rows = store.find_cdr(&query, &["dst", "src", "group_uuid"]).await;
        let rows = rows.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(rows, [vec![None, Some("110".to_owned()), None]]);
        let rows = store.find_cdr(&query, &["start"]).await;
        let rows = rows.unwrap_or_else(|error| panic!("{error}"));
        let time = rows[0][0].as_deref().unwrap_or_default();
        assert!(time.starts_with("2024-10-30 09:59:15"), "{time}");
        let owned = crate::cdr::CdrQuery {
            owner: Some(crate::cdr::CdrOwner::default()),
            ..query
        };
        assert_eq!(store.count_cdr(&owned).await.ok(), Some(0));
        store.close().await;
        db
    });
}
