//! Time bounds, generous enough for an unoptimised build on a busy machine.

use std::time::{Duration, Instant};

use strowger_dialplan::{Query, Row, compile};

use crate::support::Known;

#[test]
fn a_hundred_thousand_rows_compile_in_seconds_and_a_changed_one_in_less() {
    let contexts: Vec<String> = (0..500)
        .map(|number| format!("internal-{number}"))
        .collect();
    let extens: Vec<String> = (0..40).map(|number| format!("{}", 100 + number)).collect();
    let mut rows = Vec::new();
    for context in &contexts {
        for exten in &extens {
            for (priority, app, appdata) in [
                (1, "NoOp", "Вызов на внутренний номер ${EXTEN}"),
                (2, "MixMonitor", "${UNIQUEID}.wav,,${MIXMONITOR_COMMAND}"),
                (3, "Dial", "PJSIP/user-${EXTEN}-office,15,tT"),
                (4, "GotoIf", "$[\"${DIALSTATUS}\" = \"ANSWER\"]?5"),
                (5, "Hangup", ""),
            ] {
                let id = i64::try_from(rows.len()).unwrap() + 1;
                rows.push(Row {
                    id,
                    context,
                    exten,
                    priority,
                    app,
                    appdata,
                });
            }
        }
    }
    assert_eq!(rows.len(), 100_000);
    let start = Instant::now();
    let plan = compile(&rows, &[], &Known, None);
    let whole = start.elapsed();
    assert!(plan.problems.is_empty(), "{:?}", plan.problems.first());
    rows[0].appdata = "changed";
    let start = Instant::now();
    let plan = compile(&rows, &[], &Known, Some(&plan));
    let again = start.elapsed();
    println!("100,000 rows: {whole:?}, again with one changed: {again:?}");
    assert_eq!(
        &*plan
            .find(&Query::new("internal-0", "100", 1))
            .unwrap()
            .step()
            .appdata,
        "changed"
    );
    assert!(whole < Duration::from_secs(120), "{whole:?}");
    assert!(again < Duration::from_secs(60), "{again:?}");
}

#[test]
fn ten_thousand_extensions_are_searched_in_microseconds() {
    let extens: Vec<String> = (0..5000)
        .map(|number| format!("_7495{number:04}XXX"))
        .chain((0..5000).map(|number| format!("8495{number:07}")))
        .collect();
    let rows: Vec<Row<'_>> = (1..)
        .zip(&extens)
        .map(|(id, exten)| Row {
            id,
            context: "big",
            exten,
            priority: 1,
            app: "NoOp",
            appdata: "",
        })
        .collect();
    let plan = compile(&rows, &[], &Known, None);
    let start = Instant::now();
    for number in 0..1000 {
        assert!(plan.exists(&Query::new("big", &format!("7495{number:04}123"), 1)));
        assert!(plan.exists(&Query::new("big", &format!("8495{number:07}"), 1)));
        assert!(!plan.exists(&Query::new("big", "74999999999999", 1)));
    }
    let each = start.elapsed() / 3000;
    println!("one search among 10,000 extensions: {each:?}");
    assert!(each < Duration::from_millis(2), "{each:?}");
}
