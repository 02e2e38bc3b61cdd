//! Call records through the product's API.

use serde_json::{Value, json};
use strowger_tests::{Bank, Manner, SOON, wait_until, web};

use super::{ALL, GROUP, KEY, OTHER, exchange, get};

/// The documented record.
const RECORD: &str = "{\"accountcode\":null,\"src\":\"79123456789\",\"dst\":\"110\",\"dcontext\":\"local-evolvex\",\
                      \"clid\":\"\\\"Сергей\\\" <79123456789>\",\"channel\":\"Local/110@local-evolvex-00000167;2\",\
                      \"dstchannel\":\"PJSIP/user-110-evolvex-000002a0\",\"lastapp\":\"Dial\",\
                      \"lastdata\":\"PJSIP/user-110-evolvex/sip:user-110-evolvex@1.1.1.1:10110,60,t\",\
                      \"start\":\"2024-10-30 09:59:15\",\"answer\":null,\"end\":\"2024-10-30 09:59:22\",\
                      \"duration\":\"7\",\"billsec\":\"0\",\"disposition\":\"NO ANSWER\",\
                      \"amaflags\":\"DOCUMENTATION\",\"userfield\":null,\"uniqueid\":\"1730267955.2409\",\
                      \"linkedid\":\"1730267935.2405\",\"peeraccount\":null,\"sequence\":\"1923\",\"source\":null,\
                      \"destination\":null,\"direction\":null,\"group_uuid\":null}";

#[test]
fn get_log_cdr_gives_the_documented_record_and_that_of_a_call_of_today() {
    let mut exchange = exchange("");
    let read: Value = serde_json::from_str(RECORD).expect("JSON");
    let row: Vec<(&str, &str)> = read
        .as_object()
        .expect("an object")
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    exchange.database.insert("cdr", &row);
    exchange.extension(
        "outgoing",
        "800",
        &[
            ("Set", "CDR(direction)=out"),
            ("Set", "CDR(group_uuid)=g-set"),
            ("Dial", "PJSIP/user-109,60"),
        ],
    );
    exchange.start();
    let log = |key: &str, interval: &str| {
        let body = format!("api_key={key}{interval}");
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        web::ask(
            exchange.http(),
            "POST",
            "/pbx/api/index/get_log_cdr",
            &kind,
            body.as_bytes(),
        )
    };
    let then = "&start=2024-10-30+00:00:00&end=2024-10-30+23:59:59";
    let answer = log(ALL, then);
    assert_eq!(
        (answer.status, answer.text()),
        (200, format!("{{\"data\":[{RECORD}]}}"))
    );
    assert_eq!(answer.header("content-type"), "application/json");
    for interval in [
        "&start=2024-10-30&end=2024-10-30",
        "&start=2024-10-30+09:59:15&end=2024-10-30T09:59:15",
    ] {
        assert_eq!(log(ALL, interval).text(), answer.text(), "{interval}");
    }
    for interval in [
        "",
        "&start=2024-10-30+09:59:16&end=2024-10-31",
        "&start=2024-01-01&end=2024-10-29",
    ] {
        assert_eq!(log(ALL, interval).text(), "{\"data\":[]}", "{interval}");
    }
    // Its context belongs to nobody whom a group bounds, until a row says so.
    assert_eq!(log(KEY, then).text(), "{\"data\":[]}");
    exchange.database.insert(
        "api_contexts",
        &[
            ("uuid", "c-local"),
            ("name", "local-evolvex"),
            ("group_uuid", GROUP),
        ],
    );
    let seen = wait_until(SOON, || {
        (log(KEY, then).text() == answer.text()).then_some(())
    });
    assert!(seen.is_some(), "the group does not see its record");
    assert_eq!(log(OTHER, then).text(), "{\"data\":[]}");

    let bank = Bank::new();
    let caller = bank.phone("user-110", "secret", exchange.sip());
    let callee = bank.phone("user-109", "secret", exchange.sip());
    callee.register();
    callee.set_manner(Manner::Reject(486));
    for number in ["109", "800"] {
        let call = caller.call(number);
        call.expect_ended(SOON);
    }
    exchange.expect_cdr(&["dst"], "WHERE dcontext = 'outgoing'", 2, SOON);
    let today = log(ALL, "").json();
    let records = today["data"].as_array().expect("a list").clone();
    assert_eq!(records.len(), 2, "{today}");
    for (name, wanted) in [
        ("src", json!("110")),
        ("dst", json!("109")),
        ("dcontext", json!("outgoing")),
        ("answer", Value::Null),
        ("billsec", json!("0")),
        ("disposition", json!("BUSY")),
        ("direction", Value::Null),
    ] {
        assert_eq!(records[0][name], wanted, "{name}: {}", records[0]);
    }
    let start = records[0]["start"].as_str().expect("a time");
    assert!(start.len() == 19 && start.as_bytes()[10] == b' ', "{start}");
    assert_eq!(
        (&records[1]["direction"], &records[1]["group_uuid"]),
        (&json!("out"), &json!("g-set"))
    );
    // Who says whose a call is, is believed: the context does not count then.
    let own = log(KEY, "").json();
    assert_eq!(own["data"], json!([records[0]]));
    for (interval, word) in [
        ("&start=yesterday", "start: "),
        ("&end=2024-13-01", "end: "),
        ("&start=2024-10-30&end=2024-10-29", "before start"),
    ] {
        let answer = log(KEY, interval);
        assert_eq!(answer.status, 400, "{interval}");
        assert!(answer.text().contains(word), "{}", answer.text());
    }
}

#[test]
fn a_long_log_comes_whole_and_in_order() {
    let mut exchange = exchange("");
    exchange.database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
         INSERT INTO cdr (src, dst, start, uniqueid, sequence) \
         SELECT 'a', 'b', strftime('%Y-%m-%d %H:%M:%S', '2024-01-01', '+' || i || ' seconds'), '1.' || i, i FROM n",
    );
    exchange.start();
    let target = format!("/api/index/get_log_cdr?api_key={ALL}&start=2024-01-01&end=2024-01-02");
    let answer = get(&exchange, &target);
    assert_eq!(answer.header("transfer-encoding"), "chunked");
    let read = answer.json();
    let numbers: Vec<_> = read["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|r| r["sequence"].clone())
        .collect();
    let wanted: Vec<_> = (1..=5000).map(|number| json!(number.to_string())).collect();
    assert_eq!(numbers, wanted);
}
