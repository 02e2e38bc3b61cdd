//! Options and arguments of `Queue` on whole calls.

use std::sync::Arc;
use std::time::Duration;

use crate::exchange::{Exchange, Manner, Phone, Row, wait_until};
use strowger_store::{OptionsRow, Table};

fn rows(all: &[&[(&str, &str)]]) -> Arc<Vec<OptionsRow>> {
    let row = |options: &&[(&str, &str)]| OptionsRow {
        options: options
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
    };
    Arc::new(all.iter().map(row).collect())
}

/// An exchange with the queue `sales`, whose member is Anna.
fn office(steps: &[Row<'_>], phones: &[&Phone], options: &[(&str, &str)]) -> Exchange {
    let exchange = Exchange::start(steps, phones);
    let mut queue = vec![("name", "sales")];
    queue.extend_from_slice(options);
    exchange.change_tables(|snapshot| {
        snapshot.queues = rows(&[&queue]);
        snapshot.queue_members = rows(&[&[
            ("queue_name", "sales"),
            ("interface", "PJSIP/anna"),
            ("membername", "Anna"),
            ("uniqueid", "1"),
        ]]);
        snapshot.versions[Table::Queues as usize] += 1;
    });
    exchange
}

const SHORT: Manner = Manner::Answer(Some(Duration::from_millis(400)));

#[test]
fn what_runs_before_caller_and_member_talk_runs_in_its_order() {
    let anna = Phone::start("anna", SHORT);
    let add = "GLOBAL(ORDER)=${GLOBAL(ORDER)}${WORD} ";
    let exchange = office(
        &[
            (
                "100",
                "Queue",
                "sales,cB(before^s^1(caller))b(before^s^1(member)),,,20,,greet",
            ),
            ("s@before", "Set", "WORD=${ARG1}-${CHANNEL(state)}"),
            ("s@before", "Set", add),
            ("s@before", "Return", ""),
            ("s@greet", "Set", "WORD=greet-${MEMBERNAME}"),
            ("s@greet", "Set", add),
            ("s@greet", "Return", ""),
        ],
        &[&anna],
        &[("setinterfacevar", "yes")],
    );
    exchange.call("100", "");
    assert_eq!(
        exchange.global("ORDER"),
        "caller-Ring member-Down greet-Anna "
    );
}

#[test]
fn macros_run_on_the_member_where_the_arguments_of_version_20_say_one() {
    let anna = Phone::start("anna", SHORT);
    let exchange = office(
        &[
            ("100", "Queue", "sales,c,,,20,,old"),
            ("101", "Queue", "sales,c,,,20,,,greet,none,1"),
            ("102", "Queue", "sales,c,,,20"),
            ("s@macro-old", "Set", "GLOBAL(MACRO)=${CHANNEL}"),
            ("s@greet", "Set", "GLOBAL(GOSUB)=${CHANNEL}"),
            ("s@greet", "Return", ""),
            ("s@macro-own", "Set", "GLOBAL(OWN)=${CHANNEL}"),
        ],
        &[&anna],
        &[],
    );
    exchange.call("100", "");
    assert!(exchange.global("MACRO").starts_with("PJSIP/anna-"));
    exchange.call("101", "");
    assert!(exchange.global("GOSUB").starts_with("PJSIP/anna-"));
    exchange.change_tables(|snapshot| {
        snapshot.queues = rows(&[&[("name", "sales"), ("membermacro", "own")]]);
        snapshot.versions[Table::Queues as usize] += 1;
    });
    exchange.call("102", "");
    assert!(exchange.global("OWN").starts_with("PJSIP/anna-"));
}

#[test]
fn the_script_of_the_argument_agi_runs_on_the_caller_before_he_talks() {
    let anna = Phone::start("anna", SHORT);
    let exchange = office(
        &[
            ("100", "Queue", "sales,c,,,20,greet.sh"),
            (
                "100",
                "Set",
                "GLOBAL(AGI)=${AGISTATUS}/${SCRIPT}/${QUEUESTATUS}",
            ),
        ],
        &[&anna],
        &[],
    );
    let folder = exchange.shared.paths().agi.clone();
    std::fs::create_dir_all(&folder).expect("the folder of scripts");
    let script = folder.join("greet.sh");
    std::fs::write(
        &script,
        "#!/bin/sh\nwhile read line && [ -n \"$line\" ]; do :; done\necho 'SET VARIABLE SCRIPT ran'\nread answer\n",
    )
    .expect("the script");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("its mode");
    exchange.call("100", "");
    assert_eq!(exchange.global("AGI"), "SUCCESS/ran/CONTINUE");
}

#[test]
fn a_member_who_forwards_his_calls_has_them_there_unless_option_i() {
    for (options, wanted) in [("c", "300"), ("ci", "")] {
        let anna = Phone::start("anna", Manner::Forward("300"));
        let data = format!("sales,{options},,,3");
        let exchange = office(
            &[
                ("100", "Queue", &data),
                ("300", "Set", "GLOBAL(FORWARDED)=${EXTEN}"),
                ("300", "Answer", ""),
                ("300", "Wait", "0.3"),
            ],
            &[&anna],
            &[("retry", "1")],
        );
        exchange.call("100", "");
        assert_eq!(exchange.global("FORWARDED"), wanted, "{options}");
    }
}

#[test]
fn a_member_transfers_his_caller_and_the_queue_log_says_where_to() {
    let anna = Phone::start("anna", Manner::Dial("ww#200"));
    let exchange = office(
        &[
            ("100", "Queue", "sales,t,,,20"),
            ("200", "Set", "GLOBAL(WHO)=${CHANNEL}/${BLINDTRANSFER}"),
        ],
        &[&anna],
        &[],
    );
    exchange.call("100", "");
    let who = exchange.global("WHO");
    assert!(
        who.starts_with("PJSIP/tester-") && who.contains("/PJSIP/anna-"),
        "{who}"
    );
    let info = exchange.shared.queue(|table, _, _| table.info("sales"));
    let info = info.expect("the queue");
    assert_eq!((info.statistics.completed, info.members[0].talking), (1, 0));
}

#[test]
fn a_caller_parks_his_member_by_keys() {
    let anna = Phone::start("anna", Manner::Answer(None));
    let exchange = office(&[("100", "Queue", "sales,K,,,20")], &[&anna], &[]);
    assert!(exchange.call_once("100", "ww#72").by_exchange);
    wait_until("the member is parked", || {
        let parked = exchange.shared.parked.list();
        parked
            .first()
            .is_some_and(|(_, _, who)| who.channel.starts_with("PJSIP/anna-"))
    });
}

#[test]
fn a_member_who_parks_his_caller_is_free_at_once() {
    let anna = Phone::start("anna", Manner::Dial("ww#72"));
    let exchange = office(&[("100", "Queue", "sales,k,,,20")], &[&anna], &[]);
    let free = std::cell::Cell::new(false);
    exchange.call_until("100", "", || {
        let info = exchange.shared.queue(|table, _, _| table.info("sales"));
        let counts = info.map(|info| (info.statistics.completed, info.members[0].talking));
        free.set(!exchange.shared.parked.list().is_empty() && counts == Some((1, 0)));
        free.get()
    });
    assert!(free.get());
}

#[test]
fn a_recording_begins_and_ends_by_keys() {
    for (options, digits) in [("cX", "ww*3"), ("cx", "")] {
        let manner = if digits.is_empty() {
            Manner::Dial("ww*3")
        } else {
            Manner::Answer(None)
        };
        let anna = Phone::start("anna", manner);
        let data = format!("sales,{options},,,20");
        let exchange = office(
            &[
                ("100", "Set", "TOUCH_MIXMONITOR=touched"),
                ("100", "Queue", &data),
            ],
            &[&anna],
            &[],
        );
        exchange.short_sound("beep");
        let file = exchange.shared.paths().monitor.join("touched.wav");
        exchange.call_leaving_with("100", digits, || file.exists());
        assert!(file.exists(), "{options}");
    }
}

#[test]
fn the_code_of_features_conf_lets_a_waiting_caller_go_on() {
    let anna = Phone::start("anna", Manner::Ring);
    let exchange = office(
        &[
            ("100", "Answer", ""),
            ("100", "Queue", "sales,H,,,30"),
            ("100", "Set", "GLOBAL(LEFT)=-${QUEUESTATUS}"),
        ],
        &[&anna],
        &[],
    );
    exchange.statics(&[("features.conf", "featuremap", "disconnect", "*7")]);
    exchange.call("100", "w*ww*7");
    assert_eq!(exchange.global("LEFT"), "-");
}

#[test]
fn variables_of_the_queue_are_set_on_both_and_on_who_leaves() {
    let anna = Phone::start("anna", SHORT);
    let exchange = office(
        &[
            ("100", "Queue", "sales,c,,,20,,look"),
            (
                "s@look",
                "Set",
                "GLOBAL(MEMBER)=${QUEUENAME}/${QUEUECALLS}/${MEMBERINTERFACE}/${QEORIGINALPOS}",
            ),
            ("s@look", "Return", ""),
            ("101", "Answer", ""),
            ("101", "Queue", "sales,,,,1"),
            (
                "101",
                "Set",
                "GLOBAL(LEFT)=${QUEUENAME}/${QUEUECALLS}/${QUEUESTATUS}/${MEMBERNAME}",
            ),
        ],
        &[&anna],
        &[
            ("setqueuevar", "yes"),
            ("setinterfacevar", "yes"),
            ("setqueueentryvar", "yes"),
        ],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("MEMBER"), "sales/1/PJSIP/anna/1");
    exchange
        .shared
        .pause_queue_member(None, "PJSIP/anna", true, "");
    exchange.call("101", "");
    assert_eq!(exchange.global("LEFT"), "sales/1/TIMEOUT/");
}

#[test]
fn who_asks_while_tables_are_read_is_told_what_was_before() {
    let anna = Phone::start("anna", Manner::Ring);
    let exchange = office(&[("100", "NoOp", "")], &[&anna], &[]);
    let mut names: Vec<(String, String)> = Vec::new();
    for number in 0..9000 {
        names.push((format!("PJSIP/{number}"), number.to_string()));
    }
    // A table of many members is put in place while others go on asking; nobody ever sees the queue without its members.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let over = std::sync::atomic::AtomicBool::new(false);
    let ordering = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(ordering) {
                let members = exchange.shared.queue(|table, _, _| table.members("sales"));
                assert!(members == 1 || members == 9000, "{members}");
                asked.fetch_add(1, ordering);
            }
        });
        wait_until("somebody asks", || asked.load(ordering) > 0);
        exchange.change_tables(|snapshot| {
            let members: Vec<OptionsRow> = names
                .iter()
                .map(|(interface, id)| OptionsRow {
                    options: [
                        ("queue_name", "sales"),
                        ("interface", interface.as_str()),
                        ("uniqueid", id.as_str()),
                    ]
                    .map(|(name, text)| (name.to_owned(), text.to_owned()))
                    .into_iter()
                    .collect(),
                })
                .collect();
            snapshot.queue_members = Arc::new(members);
            snapshot.versions[Table::QueueMembers as usize] += 1;
        });
        over.store(true, ordering);
    });
    assert!(asked.load(ordering) > 0);
    let members = exchange.shared.queue(|table, _, _| table.members("sales"));
    assert_eq!(members, 9000);
}
