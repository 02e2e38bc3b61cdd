//! Queues on whole calls: members are rung, callers wait and leave, and the table says what happened.

use std::sync::Arc;
use std::time::Duration;

use crate::exchange::{Exchange, Manner, Phone, wait_until};
use strowger_store::{Database, OptionsRow, Store, Table, TableWriter};

type Options<'o> = &'o [(&'o str, &'o str)];

fn row(options: Options<'_>) -> OptionsRow {
    OptionsRow {
        options: options
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
    }
}

/// An exchange with queues and a database that their rows are written to.
struct Office {
    exchange: Exchange,
    database: Database,
}

impl Office {
    fn start(
        rows: &[crate::exchange::Row<'_>],
        phones: &[&Phone],
        queues: &[Options<'_>],
        members: &[Options<'_>],
    ) -> Self {
        let exchange = Exchange::start(rows, phones);
        exchange.change_tables(|snapshot| {
            snapshot.queues = Arc::new(queues.iter().map(|options| row(options)).collect());
            snapshot.queue_members = Arc::new(members.iter().map(|options| row(options)).collect());
            snapshot.versions[Table::Queues as usize] += 1;
        });
        let folder = exchange.data.path().to_owned();
        let writer = exchange.runtime().block_on(async {
            let store = Store::connect("sqlite:rows.sqlite3", &folder)
                .await
                .expect("a database");
            store.migrate().await.expect("its tables");
            TableWriter::spawn(store)
        });
        exchange.shared.set_writer(writer);
        let database = Database::new("sqlite:rows.sqlite3", &folder, 1, true).expect("its name");
        Self { exchange, database }
    }

    fn query(&self, statement: &str) -> Vec<Vec<String>> {
        let rows = self.exchange.runtime().block_on(async {
            let writer = self.exchange.shared.writer().expect("a writer");
            assert!(
                writer.flush(Duration::from_secs(30)).await,
                "rows are written"
            );
            self.database
                .query(statement, Vec::new(), 1000)
                .await
                .expect("rows")
        });
        let text = |cell: strowger_store::Cell| match cell {
            strowger_store::Cell::Text(text) => text,
            other => format!("{other:?}"),
        };
        rows.rows
            .into_iter()
            .map(|row| row.into_iter().map(text).collect())
            .collect()
    }

    /// Member, event and data of each line of the log.
    fn log(&self) -> Vec<String> {
        let rows = self
            .query("SELECT agent, event, data1, data2, data3, data4 FROM queue_log ORDER BY id");
        rows.into_iter().map(|row| row.join("|")).collect()
    }
}

const MEMBERS: &[Options<'_>] = &[
    &[
        ("queue_name", "sales"),
        ("interface", "PJSIP/anna"),
        ("membername", "Anna"),
        ("uniqueid", "1"),
    ],
    &[
        ("queue_name", "sales"),
        ("interface", "PJSIP/boris"),
        ("membername", "Boris"),
        ("uniqueid", "2"),
    ],
];

#[test]
fn a_member_takes_the_caller_and_the_log_tells_of_it() {
    let anna = Phone::start("anna", Manner::Answer(Some(Duration::from_millis(1200))));
    let office = Office::start(
        &[
            (
                "100",
                "Set",
                "GLOBAL(EXISTS)=${QUEUE_EXISTS(sales)}${QUEUE_EXISTS(none)}",
            ),
            ("100", "Queue", "sales,c,,,20"),
            (
                "100",
                "Set",
                "GLOBAL(STATUS)=${QUEUESTATUS}/${MEMBERNAME}/${QUEUENAME}/${QEORIGINALPOS}",
            ),
            ("100", "Set", "GLOBAL(TALKED)=${ANSWEREDTIME}"),
        ],
        &[&anna],
        &[&[
            ("name", "sales"),
            ("strategy", "rrmemory"),
            ("setinterfacevar", "yes"),
            ("setqueuevar", "yes"),
            ("setqueueentryvar", "yes"),
        ]],
        &MEMBERS[..1],
    );
    let started = std::time::Instant::now();
    let ended = office.exchange.call("100", "");
    // How late the telephones and the exchange saw each other's messages is the machine's matter.
    let longest = started.elapsed().as_secs();
    assert_eq!(ended.status, 200);
    assert_eq!(office.exchange.global("EXISTS"), "10");
    assert_eq!(office.exchange.global("STATUS"), "CONTINUE/Anna/sales/1");
    let talked = |text: &str| {
        let seconds = text.parse().ok();
        seconds.is_some_and(|seconds: u64| (1..=longest).contains(&seconds))
    };
    let told = office.exchange.global("TALKED");
    assert!(talked(&told), "{told}");
    let log = office.log();
    assert_eq!(log.len(), 3, "{log:?}");
    assert!(log[0].starts_with("NONE|ENTERQUEUE||tester|1|"), "{log:?}");
    let waited = log[1]
        .strip_prefix("Anna|CONNECT|")
        .and_then(|rest| rest.split('|').next())
        .unwrap_or_else(|| panic!("{log:?}"));
    let seconds = waited.parse().ok();
    assert!(
        seconds.is_some_and(|seconds: u64| seconds <= longest),
        "{log:?}"
    );
    let complete = log[2]
        .strip_prefix(&format!("Anna|COMPLETEAGENT|{waited}|"))
        .and_then(|rest| rest.split_once('|'));
    let (spoke, place) = complete.unwrap_or_else(|| panic!("{log:?}"));
    assert!(talked(spoke) && place.starts_with('1'), "{log:?}");
    let info = office
        .exchange
        .shared
        .queue(|table, _, _| table.info("sales"))
        .expect("a queue");
    assert_eq!((info.statistics.completed, info.members[0].calls), (1, 1));
    assert!(info.entries.is_empty());
}

#[test]
fn who_does_not_answer_is_passed_over_and_paused() {
    let anna = Phone::start("anna", Manner::Ring);
    let boris = Phone::start("boris", Manner::Answer(Some(Duration::from_millis(300))));
    let office = Office::start(
        &[("100", "Queue", "sales"), ("100", "NoOp", "")],
        &[&anna, &boris],
        &[&[
            ("name", "sales"),
            ("strategy", "linear"),
            ("timeout", "5"),
            ("retry", "1"),
            ("autopause", "yes"),
        ]],
        MEMBERS,
    );
    office.exchange.call("100", "");
    let log = office.log();
    let events: Vec<&str> = log
        .iter()
        .map(|line| line.split('|').nth(1).unwrap_or_default())
        .collect();
    assert_eq!(
        events,
        [
            "ENTERQUEUE",
            "RINGNOANSWER",
            "PAUSE",
            "CONNECT",
            "COMPLETEAGENT"
        ],
        "{log:?}"
    );
    assert!(
        log[1].starts_with("Anna|") && log[3].starts_with("Boris|"),
        "{log:?}"
    );
    assert!(log[2].starts_with("Anna|PAUSE|Auto-Pause"), "{log:?}");
    let info = office
        .exchange
        .shared
        .queue(|table, _, _| table.info("sales"))
        .expect("a queue");
    assert!(info.members[0].paused && !info.members[1].paused);
}

#[test]
fn all_members_ring_at_once_and_the_busy_one_does_not_matter() {
    let anna = Phone::start("anna", Manner::Refuse(486));
    let boris = Phone::start("boris", Manner::Answer(None));
    let office = Office::start(
        &[("100", "Queue", "sales")],
        &[&anna, &boris],
        &[&[("name", "sales")]],
        MEMBERS,
    );
    let talking = || {
        let info = office
            .exchange
            .shared
            .queue(|table, _, _| table.info("sales"));
        info.is_some_and(|info| info.members.iter().any(|member| member.talking > 0))
    };
    office.exchange.call_until("100", "", talking);
    let log = office.log();
    assert!(
        log.iter().any(|line| line.starts_with("Boris|CONNECT|")),
        "{log:?}"
    );
    assert!(
        log.last()
            .is_some_and(|line| line.starts_with("Boris|COMPLETECALLER|")),
        "{log:?}"
    );
    assert!(!talking());
}

#[test]
fn callers_leave_by_time_key_emptiness_and_by_hanging_up() {
    let anna = Phone::start("anna", Manner::Ring);
    let office = Office::start(
        &[
            ("100", "Answer", ""),
            ("100", "Queue", "sales,,,,1"),
            ("100", "Set", "GLOBAL(TIMEOUT)=${QUEUESTATUS}"),
            ("101", "Answer", ""),
            ("101", "Queue", "sales"),
            ("5@menu", "Set", "GLOBAL(KEY)=${EXTEN}"),
            ("102", "Queue", "empty"),
            ("102", "Set", "GLOBAL(EMPTY)=${QUEUESTATUS}"),
            ("102", "Queue", "nothing"),
            ("102", "Set", "GLOBAL(NONE)=-${QUEUESTATUS}"),
            ("103", "Answer", ""),
            ("103", "Queue", "full"),
            ("103", "Set", "GLOBAL(FULL)=${QUEUESTATUS}"),
            ("104", "Queue", "full"),
            ("h", "Set", "GLOBAL(ABANDONED)=${ABANDONED}"),
        ],
        &[&anna],
        &[
            &[("name", "sales"), ("context", "menu")],
            &[("name", "empty"), ("joinempty", "no")],
            &[("name", "full"), ("maxlen", "1")],
        ],
        &MEMBERS[..1],
    );
    let exchange = &office.exchange;
    exchange.call("100", "");
    assert_eq!(exchange.global("TIMEOUT"), "TIMEOUT");
    exchange.call("101", "15");
    assert_eq!(exchange.global("KEY"), "5");
    exchange.call("102", "");
    assert_eq!(exchange.global("EMPTY"), "JOINEMPTY");
    assert_eq!(exchange.global("NONE"), "-");
    let waits = || {
        exchange
            .shared
            .queue(|table, _, _| table.info("full"))
            .is_some_and(|info| info.entries.len() == 1)
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| exchange.call_leaving("104", || done_is(exchange)));
        wait_until("somebody waits", waits);
        exchange.call_once("103", "");
        exchange.shared.globals.set("DONE", "1");
        assert!(first.join().is_ok());
    });
    wait_until("the calls are over", || exchange.shared.channels() == 0);
    assert_eq!(exchange.global("FULL"), "FULL");
    assert_eq!(exchange.global("ABANDONED"), "TRUE");
    let log = office.log();
    let events: Vec<&str> = log
        .iter()
        .map(|line| line.split('|').nth(1).unwrap_or_default())
        .collect();
    for event in ["EXITWITHTIMEOUT", "EXITWITHKEY", "ABANDON"] {
        assert_eq!(
            events.iter().filter(|known| **known == event).count(),
            1,
            "{event}: {log:?}"
        );
    }
    assert!(
        log.iter()
            .any(|line| line.starts_with("NONE|EXITWITHKEY|5|1|1|")),
        "{log:?}"
    );
    let abandoned = exchange.shared.queue(|table, _, _| table.info("full"));
    assert_eq!(abandoned.map(|info| info.statistics.abandoned), Some(1));
}

fn done_is(exchange: &Exchange) -> bool {
    exchange.global("DONE") == "1"
}

#[test]
fn members_come_go_and_rest_by_the_dialplan() {
    let anna = Phone::start("anna", Manner::Ring);
    let boris = Phone::start("boris", Manner::Ring);
    let office = Office::start(
        &[
            ("100", "AddQueueMember", "sales,PJSIP/boris,3,,Boris,,9"),
            ("100", "Set", "GLOBAL(A)=${AQMSTATUS}"),
            ("100", "AddQueueMember", "sales,PJSIP/boris"),
            ("100", "Set", "GLOBAL(B)=${AQMSTATUS}"),
            ("100", "AddQueueMember", "none,PJSIP/boris"),
            ("100", "Set", "GLOBAL(C)=${AQMSTATUS}"),
            ("100", "PauseQueueMember", ",PJSIP/boris,,lunch"),
            (
                "100",
                "Set",
                "GLOBAL(D)=${PQMSTATUS}/${QUEUE_MEMBER(sales,paused,PJSIP/boris)}",
            ),
            (
                "100",
                "Set",
                "GLOBAL(E)=${QUEUE_MEMBER(sales,count)}${QUEUE_MEMBER(sales,logged)}${QUEUE_MEMBER(sales,free)}${QUEUE_MEMBER(sales,ready)}",
            ),
            ("100", "Set", "QUEUE_MEMBER(sales,penalty,PJSIP/anna)=7"),
            (
                "100",
                "Set",
                "GLOBAL(F)=${QUEUE_MEMBER(sales,penalty,PJSIP/anna)}/${QUEUE_MEMBER_LIST(sales)}",
            ),
            ("100", "UnpauseQueueMember", "sales,PJSIP/nobody"),
            ("100", "Set", "GLOBAL(G)=${UPQMSTATUS}"),
            ("100", "RemoveQueueMember", "sales,PJSIP/anna"),
            ("100", "Set", "GLOBAL(H)=${RQMSTATUS}"),
            ("100", "PauseQueueMember", "sales,PJSIP/anna"),
            ("100", "QueueLog", "sales,1.1,Anna,CUSTOM,hello"),
            ("101", "RemoveQueueMember", "sales,PJSIP/boris"),
            ("101", "Set", "GLOBAL(I)=${RQMSTATUS}"),
        ],
        &[&anna, &boris],
        &[&[("name", "sales")]],
        &MEMBERS[..1],
    );
    office.exchange.call("100", "");
    for (name, wanted) in [
        ("A", "ADDED"),
        ("B", "MEMBERALREADY"),
        ("C", "NOSUCHQUEUE"),
        ("D", "PAUSED/1"),
        ("E", "2211"),
        ("F", "7/PJSIP/anna,PJSIP/boris"),
        ("G", "NOTFOUND"),
        ("H", "NOTDYNAMIC"),
    ] {
        assert_eq!(office.exchange.global(name), wanted, "{name}");
    }
    let kept = || {
        office
            .exchange
            .shared
            .astdb
            .get("Queue/PersistentMembers", "sales")
    };
    assert_eq!(
        kept().as_deref(),
        Some("PJSIP/boris;3;1;Boris;PJSIP/boris;lunch;9")
    );
    let log = office.log();
    for line in [
        "Boris|ADDMEMBER|",
        "Boris|PAUSE|lunch|",
        "Anna|PENALTY|7|",
        "Anna|PAUSE|",
        "Anna|CUSTOM|hello|",
    ] {
        assert!(
            log.iter().any(|known| known.starts_with(line)),
            "{line}: {log:?}"
        );
    }
    office.exchange.call("101", "");
    assert_eq!(office.exchange.global("I"), "REMOVED");
    assert_eq!(kept(), None);
}

#[test]
fn where_nobody_can_be_rung_the_caller_waits_and_others_go_on() {
    let anna = Phone::start("anna", Manner::Answer(None));
    let office = Office::start(
        &[
            // Anna is free, but has a penalty that the caller does not accept.
            ("100", "Set", "QUEUE_MAX_PENALTY=0"),
            ("100", "Queue", "sales,,,,10"),
            ("100", "Set", "GLOBAL(STATUS)=${QUEUESTATUS}"),
            ("101", "AddQueueMember", "loop, Queue:loop,,,,,0"),
            ("101", "Set", "GLOBAL(ADDED)=${AQMSTATUS}"),
            (
                "101",
                "Set",
                "GLOBAL(MEMBERS)=${QUEUE_MEMBER(loop,count)}/${QUEUE_MEMBER(loop,logged)}",
            ),
            ("101", "Queue", "loop,,,,1"),
            (
                "101",
                "Set",
                "GLOBAL(LOOP)=${QUEUESTATUS}/${DEVICE_STATE(Queue:loop)}",
            ),
            ("101", "PauseQueueMember", "loop,Queue:loop"),
            (
                "101",
                "Set",
                "GLOBAL(PAUSE)=${DEVICE_STATE(Queue:loop_pause_Queue:loop)}",
            ),
            (
                "102",
                "Set",
                "GLOBAL(MEANWHILE)=${QUEUE_WAITING_COUNT(sales)}",
            ),
        ],
        &[&anna],
        &[
            &[("name", "sales"), ("retry", "0"), ("ringinuse", "no")],
            &[("name", "loop"), ("retry", "0")],
        ],
        &[
            &[
                ("queue_name", "sales"),
                ("interface", "PJSIP/anna"),
                ("penalty", "5"),
                ("uniqueid", "1"),
            ],
            &[
                ("queue_name", "loop"),
                ("interface", "Queue/loop"),
                ("uniqueid", "2"),
            ],
        ],
    );
    let exchange = &office.exchange;
    let waits = || exchange.shared.queue(|table, _, _| table.waiting("sales")) == Some(1);
    std::thread::scope(|scope| {
        let first =
            scope.spawn(|| exchange.call_leaving("100", || !exchange.global("STATUS").is_empty()));
        wait_until("somebody waits", waits);
        exchange.call_once("102", "");
        assert!(first.join().is_ok());
    });
    assert_eq!(exchange.global("MEANWHILE"), "1");
    assert_eq!(exchange.global("STATUS"), "TIMEOUT");
    exchange.call("101", "");
    assert_eq!(exchange.global("ADDED"), "ADDED");
    assert_eq!(exchange.global("MEMBERS"), "2/2");
    assert_eq!(exchange.global("LOOP"), "TIMEOUT/NOT_INUSE");
    assert_eq!(exchange.global("PAUSE"), "INUSE");
}

#[test]
fn two_callers_have_two_members_at_the_same_time() {
    let anna = Phone::start("anna", Manner::Answer(None));
    let boris = Phone::start("boris", Manner::Answer(None));
    let office = Office::start(
        &[("100", "Queue", "sales")],
        &[&anna, &boris],
        &[&[
            ("name", "sales"),
            ("strategy", "rrmemory"),
            ("ringinuse", "no"),
        ]],
        MEMBERS,
    );
    let exchange = &office.exchange;
    let talking = || {
        let info = exchange.shared.queue(|table, _, _| table.info("sales"));
        info.map_or(0, |info| {
            info.members
                .iter()
                .filter(|member| member.talking == 1)
                .count()
        })
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| exchange.call_leaving("100", || done_is(exchange)));
        }
        wait_until("both members talk", || talking() == 2);
        exchange.shared.globals.set("DONE", "1");
    });
    wait_until("the calls are over", || exchange.shared.channels() == 0);
    assert_eq!(talking(), 0);
    let log = office.log();
    let completed = log
        .iter()
        .filter(|line| line.contains("|COMPLETECALLER|"))
        .count();
    assert_eq!(completed, 2, "{log:?}");
}
