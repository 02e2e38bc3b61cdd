//! The product's API over HTTP: every documented example on a live exchange, field by field, and what a stranger, another group and
//! a careless program are told.

mod files;
mod log;

use std::time::Duration;

use serde_json::{Value, json};
use strowger_tests::web::{self, WebAnswer};
use strowger_tests::{Bank, Exchange, Manner, SOON, Settings, wait_until};

const KEY: &str = "84f8fc34-82ad-46b0-b5f3-3cfd0462beeb";
const GROUP: &str = "4c343af6-4a91-469a-a717-f682e52c830f";
/// A key of another group.
const OTHER: &str = "11111111-2222-3333-4444-555555555555";
/// A key that sees everything, of which the row has only the digest.
const ALL: &str = "0e0e0e0e-2222-3333-4444-555555555555";

/// An exchange with two subscribers in context `outgoing` of the group, and API users.
fn exchange(more: &str) -> Exchange {
    let exchange = Exchange::prepare(Settings {
        refresh_ms: 100,
        more: more.to_owned(),
        ..Settings::default()
    });
    exchange.subscriber_with("user-110", "secret", "outgoing", &[("callerid", "<110>")]);
    exchange.subscriber_with("user-109", "secret", "outgoing", &[("callerid", "<109>")]);
    exchange.extension("outgoing", "109", &[("Dial", "PJSIP/user-109,60,tT")]);
    exchange.extension("foreign", "200", &[("Answer", ""), ("Wait", "60")]);
    let user = |uuid: &str, name: &str, enable: &str, key: &str, group: &str| {
        let mut row = vec![
            ("uuid", uuid),
            ("name", name),
            ("description", ""),
            ("enable", enable),
            ("api_key", key),
        ];
        if !group.is_empty() {
            row.push(("group_uuid", group));
        }
        exchange.database.insert("api_users", &row);
    };
    user(
        "5485137a-3c6d-454e-9801-d3b875f7a5e0",
        "API",
        "yes",
        KEY,
        GROUP,
    );
    user("u-other", "Other", "yes", OTHER, "g-other");
    user("u-off", "Off", "no", "off-key", GROUP);
    user("u-all", "All", "yes", &digest(ALL), "");
    let context = |uuid: &str, name: &str, description: &str, group: &str| {
        let row = [
            ("uuid", uuid),
            ("name", name),
            ("description", description),
            ("group_uuid", group),
        ];
        exchange.database.insert("api_contexts", &row);
    };
    context(
        "0eb1bc58-b259-4c88-be02-a059d50cecc3",
        "incoming",
        "Входящая маршрутизация",
        GROUP,
    );
    context("c-outgoing", "outgoing", "", GROUP);
    context("c-foreign", "foreign", "", "g-other");
    exchange
}

fn digest(key: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let digits = Sha256::digest(key.as_bytes());
    let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

fn get(exchange: &Exchange, target: &str) -> WebAnswer {
    web::get(exchange.http(), target)
}

/// The names of the first object in a list, in the order in which they are written.
fn names(answer: &WebAnswer) -> Vec<String> {
    let text = answer.text();
    let object = text.split_once("[{").map_or("", |(_, rest)| rest);
    let mut names = Vec::new();
    let mut rest = object;
    // Names and values of these answers have no quotation mark followed by a colon within.
    while let Some((before, after)) = rest.split_once("\":") {
        let name = before.rsplit('"').next().unwrap_or_default();
        names.push(name.to_owned());
        let end = after.find('}').unwrap_or(after.len());
        let next = after.find("\",\"").map_or(usize::MAX, |at| at + 2);
        let null = after.find("null,\"").map_or(usize::MAX, |at| at + 5);
        let next = next.min(null);
        if end < next {
            break;
        }
        rest = &after[next..];
    }
    names
}

#[test]
fn check_tells_whose_key_it_is_what_it_may_use_and_whether_a_call_was_recorded() {
    let mut exchange = exchange("");
    exchange.start();
    std::fs::write(exchange.recordings().join("1711279935.60.wav"), b"RIFF").expect("a file");
    exchange.database.insert(
        "cdr",
        &[("uniqueid", "1711279935.60"), ("group_uuid", GROUP)],
    );
    let target = format!("/api/index/check?api_key={KEY}&context=incoming&uniqueid=1711279935.60");
    let wanted = "{\"data\":{\"api_user\":{\"uuid\":\"5485137a-3c6d-454e-9801-d3b875f7a5e0\",\"name\":\"API\",\
                  \"description\":\"\",\"enable\":\"yes\",\"api_key\":\"84f8fc34-82ad-46b0-b5f3-3cfd0462beeb\",\
                  \"group_uuid\":\"4c343af6-4a91-469a-a717-f682e52c830f\"},\
                  \"access\":{\"uuid\":\"0eb1bc58-b259-4c88-be02-a059d50cecc3\",\"name\":\"incoming\",\
                  \"description\":\"Входящая маршрутизация\",\
                  \"group_uuid\":\"4c343af6-4a91-469a-a717-f682e52c830f\"},\"file\":true}}";
    for prefix in ["", "/pbx"] {
        let answer = get(&exchange, &format!("{prefix}{target}"));
        assert_eq!((answer.status, answer.text().as_str()), (200, wanted));
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    // However the parameters are written, and wherever the key stands.
    let form = format!("api_key={KEY}&context=incoming&uniqueid=1711279935.60");
    let object =
        json!({"api_key": KEY, "context": "incoming", "uniqueid": "1711279935.60"}).to_string();
    let bearer = format!("Bearer {KEY}");
    let rest = "context=incoming&uniqueid=1711279935.60";
    for (headers, body) in [
        (
            vec![("Content-Type", "application/x-www-form-urlencoded")],
            form.as_str(),
        ),
        (vec![("Content-Type", "application/json")], object.as_str()),
        (vec![("X-API-Key", KEY)], rest),
        (vec![("Authorization", bearer.as_str())], rest),
    ] {
        let asked = web::ask(
            exchange.http(),
            "POST",
            "/api/index/check",
            &headers,
            body.as_bytes(),
        );
        assert_eq!(asked.text(), wanted, "{headers:?}");
    }
    // A foreign context, a call of others, and no question at all.
    let other = get(
        &exchange,
        &format!("/api/index/check?api_key={OTHER}&context=incoming&uniqueid=1711279935.60"),
    )
    .json();
    assert_eq!(
        (&other["data"]["access"], &other["data"]["file"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(other["data"]["api_user"]["group_uuid"], "g-other");
    let all = get(
        &exchange,
        &format!("/api/index/check?api_key={ALL}&context=foreign"),
    )
    .json();
    assert_eq!(all["data"]["access"]["name"], "foreign");
    assert_eq!(all["data"]["api_user"]["group_uuid"], Value::Null);
    assert_eq!(all["data"]["api_user"]["api_key"], ALL);
    for (target, status, word) in [
        ("/api/index/check", 401, "api_key is missing"),
        ("/api/index/check?api_key=guess", 401, "not known"),
        (
            &format!("/api/index/check?api_key={}", digest(ALL)),
            401,
            "not known",
        ),
        ("/api/index/check?api_key=off-key", 403, "switched off"),
        (
            &format!("/api/index/nothing?api_key={KEY}"),
            404,
            "no method",
        ),
    ] {
        let answer = get(&exchange, target);
        assert_eq!(answer.status, status, "{target}");
        let read = answer.json();
        assert!(
            read["error"]
                .as_str()
                .is_some_and(|error| error.contains(word)),
            "{read}"
        );
        assert_eq!(read["data"], Value::Null);
    }
    let put = web::ask(exchange.http(), "PUT", "/api/index/check", &[], b"");
    assert_eq!(put.status, 501);
    assert_eq!(exchange.metric("strowger_http_keys_refused_total"), 2);
    assert!(!exchange.log().contains(KEY) && !exchange.log().contains("guess"));
    // A row that goes closes the door.
    exchange
        .database
        .execute("DELETE FROM api_users WHERE uuid = 'u-other'");
    let closed = wait_until(SOON, || {
        let answer = get(&exchange, &format!("/api/index/check?api_key={OTHER}"));
        (answer.status == 401).then_some(())
    });
    assert!(closed.is_some(), "the key opens still");
}

#[test]
fn a_key_that_asks_too_often_is_told_to_wait() {
    let mut exchange = exchange("");
    let file = exchange
        .configuration()
        .replace(":8088\"\n", ":8088\"\nrequests_per_second = 5\n");
    exchange.write_configuration(&file);
    exchange.start();
    let target = format!("/api/index/check?api_key={KEY}");
    let answers: Vec<_> = (0..12).map(|_| get(&exchange, &target)).collect();
    let limited: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert!(
        !limited.is_empty() && limited.len() <= 7,
        "{} of 12",
        limited.len()
    );
    assert_eq!(limited[0].header("retry-after"), "1");
    assert_eq!(
        get(&exchange, &format!("/api/index/check?api_key={ALL}")).status,
        200
    );
}

/// The fields of a channel that is called, as they are documented, before its variables.
const STATUS: &str = "Event Privilege Channel ChannelState ChannelStateDesc CallerIDNum CallerIDName ConnectedLineNum \
                      ConnectedLineName Language AccountCode Context Exten Priority Uniqueid Linkedid Type DNID \
                      EffectiveConnectedLineNum EffectiveConnectedLineName TimeToHangup BridgeID Application Data \
                      Nativeformats Readformat Readtrans Writeformat Writetrans Callgroup Pickupgroup Seconds Variable";

#[test]
fn status_shows_a_ringing_call_field_by_field() {
    let mut exchange = exchange("");
    exchange.start();
    let bank = Bank::new();
    let caller = bank.phone("user-110", "secret", exchange.sip());
    let callee = bank.phone("user-109", "secret", exchange.sip());
    callee.register();
    let none = get(&exchange, &format!("/api/index/status?api_key={KEY}"));
    assert_eq!((none.status, none.text().as_str()), (200, "{\"data\":[]}"));
    let call = caller.call("109");
    let other = callee.expect_call(SOON);
    other.ring();
    call.expect_status(180, SOON);
    let answer = wait_until(SOON, || {
        let answer = get(&exchange, &format!("/api/index/status?api_key={KEY}"));
        let read = answer.json();
        (read["data"][0]["ChannelStateDesc"] == "Ringing").then_some(answer)
    });
    let answer = answer.expect("the call rings");
    let read = answer.json();
    let (called, calling) = (&read["data"][0], &read["data"][1]);
    let order = names(&answer);
    let wanted: Vec<&str> = STATUS.split_whitespace().collect();
    assert_eq!(&order[..wanted.len()], wanted);
    assert_eq!(order.last().map(String::as_str), Some("ActionID"));
    for (name, wanted) in [
        ("Event", "Status"),
        ("Privilege", "Call"),
        ("ChannelState", "5"),
        ("ChannelStateDesc", "Ringing"),
        ("CallerIDNum", "109"),
        ("CallerIDName", ""),
        ("ConnectedLineNum", "110"),
        ("ConnectedLineName", ""),
        ("AccountCode", ""),
        ("Context", "outgoing"),
        ("Type", "PJSIP"),
        ("DNID", ""),
        ("EffectiveConnectedLineNum", "110"),
        ("EffectiveConnectedLineName", ""),
        ("TimeToHangup", "0"),
        ("BridgeID", ""),
        ("Application", "AppDial"),
        ("Data", "(Outgoing Line)"),
        ("Readtrans", ""),
        ("Writetrans", ""),
        ("Callgroup", "0"),
        ("Pickupgroup", "0"),
    ] {
        assert_eq!(
            called[name], wanted,
            "{name} of the called channel: {called}"
        );
    }
    for (name, wanted) in [
        ("ChannelState", "4"),
        ("ChannelStateDesc", "Ring"),
        ("CallerIDNum", "110"),
        ("CallerIDName", ""),
        ("Context", "outgoing"),
        ("Exten", "109"),
        ("Priority", "1"),
        ("Type", "PJSIP"),
        ("DNID", "109"),
        ("Application", "Dial"),
        ("Data", "PJSIP/user-109,60,tT"),
        ("RINGTIME", "0"),
        ("DIALSTATUS", ""),
        ("DIALEDPEERNUMBER", ""),
        ("ANSWEREDTIME", ""),
    ] {
        assert_eq!(
            calling[name], wanted,
            "{name} of the calling channel: {calling}"
        );
    }
    assert_eq!(called["Linkedid"], calling["Uniqueid"]);
    assert_eq!(called["ActionID"], calling["ActionID"]);
    assert!(
        calling["ActionID"]
            .as_str()
            .is_some_and(|id| id.len() == 13)
    );
    // The variable that the INVITE brought is the oldest: the last one, which `Variable` keeps.
    let domain = calling["SIPDOMAIN"].as_str().expect("a domain");
    assert_eq!(calling["Variable"], format!("SIPDOMAIN={domain}"));
    assert!(
        called["Channel"]
            .as_str()
            .is_some_and(|name| name.starts_with("PJSIP/user-109-"))
    );
    for (filter, count) in [
        ("calleridnum=110", 1),
        ("connectedlinenum=110", 1),
        ("context=outgoing&exten=109&calleridnum=110", 1),
        ("context=incoming", 0),
        ("exten=10", 0),
    ] {
        let answer = get(
            &exchange,
            &format!("/api/index/status?api_key={KEY}&{filter}"),
        )
        .json();
        assert_eq!(
            answer["data"].as_array().map(Vec::len),
            Some(count),
            "{filter}"
        );
    }
    let others = get(&exchange, &format!("/api/index/status?api_key={OTHER}")).json();
    assert_eq!(others["data"], json!([]));
    let all = get(&exchange, &format!("/api/index/status?api_key={ALL}")).json();
    assert_eq!(all["data"].as_array().map(Vec::len), Some(2));
    call.hang_up();
}

#[test]
fn originate_calls_with_variables_and_says_how_it_went() {
    let mut exchange = exchange("");
    exchange.extension("outgoing", "300", &[("Answer", ""), ("Wait", "60")]);
    exchange.start();
    let bank = Bank::new();
    let phone = bank.phone("user-109", "secret", exchange.sip());
    phone.register();
    phone.set_manner(Manner::Answer(Duration::from_millis(300)));
    let base = "channel=PJSIP/user-109&exten=300&context=outgoing&priority=1";
    let originate = |key: &str, more: &str| {
        get(
            &exchange,
            &format!("/pbx/api/index/originate?api_key={key}&{more}"),
        )
    };
    // Several variables, as they are documented; the answer comes when the telephone has answered.
    let answer = originate(
        KEY,
        &format!("{base}&callerid=Robot+%3C77%3E&variable=file=123,idcall=456"),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let read = answer.json();
    let data = &read["data"];
    assert_eq!(
        (
            &data["Response"],
            &data["Message"],
            &data["Reason"],
            &data["Status"]
        ),
        (
            &json!("Success"),
            &json!("Originate successfully queued"),
            &json!("4"),
            &json!("SUCCESS")
        )
    );
    let call = phone.expect_call(SOON);
    let invite = call.requests()[0].clone();
    assert!(
        invite
            .header("From")
            .is_some_and(|from| from.contains("sip:77@")),
        "{invite:?}"
    );
    let channel = wait_until(SOON, || {
        let read = get(
            &exchange,
            &format!("/api/index/status?api_key={KEY}&exten=300"),
        )
        .json();
        read["data"].get(0).cloned()
    });
    let channel = channel.expect("the channel");
    assert_eq!(
        (&channel["file"], &channel["idcall"]),
        (&json!("123"), &json!("456"))
    );
    assert_eq!(channel["Uniqueid"], data["Uniqueid"]);
    assert_eq!(channel["Channel"], data["Channel"]);
    call.hang_up();
    // At once, with `async`.
    phone.set_manner(Manner::Ring);
    let answer = originate(KEY, &format!("{base}&async=true"));
    let data = &answer.json()["data"];
    assert_eq!(
        (&data["Response"], &data["Reason"]),
        (&json!("Success"), &Value::Null)
    );
    phone.expect_call(SOON).answer();
    // A telephone that refuses, and one that nobody answers.
    for (manner, more, reason, status) in [
        (Manner::Reject(486), "", "5", "BUSY"),
        (Manner::Ring, "&timeout=500", "3", "RINGING"),
    ] {
        phone.set_manner(manner);
        let answer = originate(KEY, &format!("{base}{more}")).json();
        let data = &answer["data"];
        assert_eq!(
            (&data["Response"], &data["Message"]),
            (&json!("Error"), &json!("Originate failed"))
        );
        assert_eq!(
            (&data["Reason"], &data["Status"]),
            (&json!(reason), &json!(status))
        );
    }
    let nobody = base.replace("user-109", "user-110");
    let answer = originate(KEY, &nobody).json();
    assert_eq!(answer["data"]["Reason"], "0", "{answer}");
    for (key, target, status, word) in [
        (
            KEY,
            "exten=300&context=outgoing&priority=1",
            400,
            "channel is missing",
        ),
        (
            KEY,
            "channel=PJSIP/user-109&context=outgoing&priority=1",
            400,
            "exten is missing",
        ),
        (
            KEY,
            &base.replace("exten=300", "exten=999"),
            400,
            "no extension 999",
        ),
        (
            KEY,
            &base.replace("priority=1", "priority=x"),
            400,
            "priority",
        ),
        (
            KEY,
            &base.replace("outgoing", "foreign"),
            403,
            "context: foreign",
        ),
        (OTHER, base, 403, "channel: PJSIP/user-109"),
        (
            KEY,
            "channel=Local/200@foreign&exten=300&context=outgoing&priority=1",
            403,
            "channel: Local",
        ),
        (
            KEY,
            "channel=Local/100@foreign/n@outgoing&exten=300&context=outgoing&priority=1",
            403,
            "channel: Local",
        ),
        (
            KEY,
            "channel=PJSIP/user-109/sip:victim@192.0.2.1&exten=300&context=outgoing&priority=1",
            403,
            "channel: PJSIP",
        ),
        (KEY, &format!("{base}&channelid=mine"), 403, "chooses none"),
        (
            ALL,
            &format!("{base}&channelid=$(touch+x)"),
            400,
            "channelid: letters",
        ),
        (
            KEY,
            &format!("{base}&variable=__MIXMONITOR_COMMAND=id"),
            403,
            "MIXMONITOR_COMMAND",
        ),
        (
            KEY,
            &format!("{base}&variable=CDR(group_uuid)=g-other"),
            403,
            "CDR(group_uuid)",
        ),
        (
            KEY,
            "channel=PJSIP/user-109&application=Echo",
            403,
            "extensions only",
        ),
        (
            ALL,
            "channel=PJSIP/user-109&application=System&data=id",
            400,
            "Forbidden",
        ),
    ] {
        let answer = originate(key, target);
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        let error = answer.json()["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(error.contains(word), "{target}: {error}");
    }
    phone.set_manner(Manner::Answer(Duration::ZERO));
    let answer = originate(ALL, "channel=PJSIP/user-109&application=Echo").json();
    assert_eq!(answer["data"]["Status"], "SUCCESS", "{answer}");
}
