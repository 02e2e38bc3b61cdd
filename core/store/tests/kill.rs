//! A process that is killed while it writes call detail records: what it had synced is in the table once.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use strowger_store::{Cdr, CdrSpool, Store};

const DIR: &str = "STROWGER_TEST_KILL_DIR";
const FIRST: &str = "STROWGER_TEST_KILL_FIRST";
const LIMIT: Duration = Duration::from_secs(120);

fn record(number: i64) -> Cdr {
    Cdr {
        channel: format!("PJSIP/a-{number:08x}"),
        uniqueid: format!("1730267955.{number}"),
        linkedid: format!("1730267955.{number}"),
        sequence: number,
        start_us: 1_730_267_955_000_000,
        ..Cdr::default()
    }
}

async fn open(dir: &Path) -> (Store, CdrSpool) {
    let store = Store::connect("sqlite://test.db", dir)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    store
        .migrate()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let spool = CdrSpool::open(&dir.join("spool")).unwrap_or_else(|error| panic!("{error}"));
    (store, spool)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap_or_else(|e| panic!("{e}"))
}

/// The process that is killed: it writes until then, and tells what is synced. Does nothing in an ordinary run.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else {
        return;
    };
    let first: i64 = std::env::var(FIRST)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    runtime().block_on(async {
        let (store, spool) = open(Path::new(&dir)).await;
        spool.deliver(store);
        for number in first.. {
            spool.push(record(number));
            if number % 37 == 0 && spool.flush(LIMIT) {
                println!("synced {number}");
            }
        }
    });
}

#[test]
fn a_killed_process_loses_no_synced_record_and_none_is_stored_twice() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let mut synced: Vec<(i64, i64)> = Vec::new();
    for round in 0..4 {
        let first = round * 1_000_000;
        let mut child = Command::new(std::env::current_exe().unwrap_or_else(|e| panic!("{e}")))
            .args(["--exact", "child", "--nocapture"])
            .env(DIR, dir.path())
            .env(FIRST, first.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{e}"));
        let output = child.stdout.take().unwrap_or_else(|| panic!("no output"));
        let wanted = first + 200 + round * 333;
        let mut last = first;
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // The harness may write words of its own before ours on the same line.
            if let Some(number) = line
                .split("synced ")
                .nth(1)
                .and_then(|text| text.trim().parse().ok())
            {
                last = number;
                if last >= wanted {
                    break;
                }
            }
        }
        child.kill().unwrap_or_else(|e| panic!("{e}"));
        child.wait().unwrap_or_else(|e| panic!("{e}"));
        assert!(last >= wanted, "the process ended by itself at {last}");
        synced.push((first, last));
    }
    runtime().block_on(async {
        let (store, spool) = open(dir.path()).await;
        spool.deliver(store.clone());
        assert!(spool.drain(LIMIT).await, "{:?}", spool.counters());
        store.close().await;
    });
    let output = Command::new("sqlite3")
        .arg(dir.path().join("test.db"))
        .arg("SELECT sequence FROM cdr ORDER BY sequence")
        .output()
        .unwrap_or_else(|e| panic!("sqlite3 is needed to look at the table: {e}"));
    let stored: Vec<i64> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert!(
        stored.windows(2).all(|pair| pair[0] < pair[1]),
        "a record is stored twice"
    );
    for (first, last) in synced {
        for number in first..=last {
            assert!(
                stored.binary_search(&number).is_ok(),
                "record {number} of {first}..={last} is lost"
            );
        }
    }
}
