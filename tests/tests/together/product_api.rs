//! The product's API over HTTP: every documented example on a live exchange, field by field, and what a stranger, another group and
//! a careless program are told.

use std::time::Duration;

use serde_json::{Value, json};
use strowger_tests::audio::{self, has_tone, last_ms, share_with_tone, sine, wav_channels};
use strowger_tests::web::{self, WebAnswer};
use strowger_tests::{Bank, Exchange, Manner, SOON, Settings, Source, wait_until};

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

#[test]
fn the_recording_of_a_call_is_fetched_while_it_runs_and_after_in_both_forms() {
    let mut exchange = exchange("");
    exchange.extension(
        "outgoing",
        "600",
        &[
            ("Answer", ""),
            ("MixMonitor", "${UNIQUEID}.wav"),
            ("Wait", "60"),
        ],
    );
    exchange.start();
    let bank = Bank::new();
    let phone = bank.phone("user-110", "secret", exchange.sip());
    phone.set_source(Source::Tone(620.0));
    let call = phone.call("600");
    call.expect_answered(SOON);
    let status = format!("/api/index/status?api_key={KEY}&exten=600");
    let id = wait_until(SOON, || {
        let read = get(&exchange, &status).json();
        let channel = read["data"].get(0)?;
        let recorded = channel["MIXMONITOR_FILENAME"].as_str()?.to_owned();
        let id = channel["Uniqueid"].as_str()?.to_owned();
        recorded.ends_with(&format!("/{id}.wav")).then_some(id)
    });
    let id = id.expect("the call is recorded");
    let wav = |more: &[(&str, &str)]| {
        let target = format!("/pbx/api/index/get_file_wav?api_key={KEY}&uniqueid={id}");
        web::ask(exchange.http(), "GET", &target, more, b"")
    };
    // The file of a call that runs, as long as it is, with a head that says so.
    let live = wait_until(SOON, || {
        let answer = wav(&[]);
        (answer.status == 200 && answer.body.len() > 40_000).then_some(answer)
    });
    let live = live.expect("two seconds of it");
    assert_eq!(live.header("content-length"), live.body.len().to_string());
    let said = u32::from_le_bytes([live.body[40], live.body[41], live.body[42], live.body[43]]);
    assert_eq!(said as usize, live.body.len() - 44);
    let (rate, channels) = wav_channels(&live.body).expect("a WAV file");
    assert_eq!((rate, channels.len()), (8000, 1));
    assert!(has_tone(last_ms(&channels[0], 1000), 620.0));
    let mp3 = |more: &[(&str, &str)]| {
        let target = format!("/api/index/get_file_mp3?api_key={KEY}&uniqueid={id}");
        web::ask(exchange.http(), "GET", &target, more, b"")
    };
    let live = mp3(&[]);
    assert_eq!(
        (live.status, live.header("content-type")),
        (200, "audio/mpeg")
    );
    assert!(
        live.body.len() > 5000 && live.body[0] == 0xff,
        "{}",
        live.body.len()
    );
    call.hang_up();
    let done = wait_until(SOON, || {
        let rows =
            exchange
                .database
                .select("cdr", &["uniqueid"], &format!("WHERE uniqueid = '{id}'"));
        let known = std::fs::read(exchange.recordings().join(format!("{id}.wav"))).ok()?;
        (!rows.is_empty() && known[40..44] != [0xff; 4]).then_some(known)
    });
    let file = done.expect("the call is over");

    let whole = wav(&[]);
    assert_eq!((whole.status, &whole.body), (200, &file));
    assert_eq!(whole.header("content-type"), "audio/wav");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(
        whole.header("content-disposition"),
        format!("attachment; filename=\"{id}.wav\"")
    );
    let etag = whole.header("etag").to_owned();
    assert_eq!(wav(&[("If-None-Match", &etag)]).status, 304);
    assert_eq!(wav(&[("If-None-Match", "\"other\"")]).status, 200);
    let size = file.len();
    for (range, part) in [
        ("bytes=0-43", 0..44),
        ("bytes=1000-1999", 1000..2000),
        ("bytes=-100", size - 100..size),
        (&format!("bytes={}-", size - 10), size - 10..size),
    ] {
        let answer = wav(&[("Range", range)]);
        assert_eq!(
            (answer.status, &answer.body[..]),
            (206, &file[part.clone()]),
            "{range}"
        );
        assert_eq!(
            answer.header("content-range"),
            format!("bytes {}-{}/{size}", part.start, part.end - 1)
        );
    }
    let behind = wav(&[("Range", &format!("bytes={size}-"))]);
    assert_eq!(
        (behind.status, behind.header("content-range")),
        (416, &*format!("bytes */{size}"))
    );
    assert_eq!(
        wav(&[("Range", "bytes=0-9"), ("If-Range", "\"old\"")]).body,
        file
    );
    assert_eq!(
        wav(&[("Range", "bytes=0-9"), ("If-Range", &etag)]).body,
        file[..10]
    );
    let target = format!("/api/index/get_file_wav?api_key={KEY}&uniqueid={id}");
    let head = web::ask(exchange.http(), "HEAD", &target, &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), size.to_string());

    // No MP3 file exists: it is made for each who asks, and the same each time, so that a download goes on.
    let made = mp3(&[]);
    assert_eq!(made.status, 200);
    assert_eq!(
        made.header("content-disposition"),
        format!("attachment; filename=\"{id}.mp3\"")
    );
    let seconds = file.len() as f64 / 16_000.0;
    let wanted = seconds * 3000.0;
    assert!(
        (made.body.len() as f64 - wanted).abs() < wanted * 0.15,
        "{} bytes of {seconds} s",
        made.body.len()
    );
    let part = mp3(&[("Range", "bytes=500-999")]);
    assert_eq!((part.status, &part.body[..]), (206, &made.body[500..1000]));
    assert!(!exchange.recordings().join(format!("{id}.mp3")).exists());
    // And where only an MP3 file is left, WAV is made of it.
    std::fs::write(exchange.recordings().join(format!("{id}.mp3")), &made.body).expect("a file");
    std::fs::remove_file(exchange.recordings().join(format!("{id}.wav"))).expect("removed");
    let back = wav(&[]);
    let (_, channels) = wav_channels(&back.body).expect("a WAV file");
    assert!(share_with_tone(&channels[0], 620.0) > 0.7);

    // Others hear nothing of it.
    for (key, uniqueid, status) in [
        (OTHER, id.as_str(), 403),
        (KEY, "1.99", 404),
        (KEY, "..%2F..%2Fstrowger", 400),
        (KEY, "%2Fetc%2Fpasswd", 400),
        (KEY, "", 404),
        ("guess", id.as_str(), 401),
    ] {
        for form in ["wav", "mp3"] {
            let answer = get(
                &exchange,
                &format!("/api/index/get_file_{form}?api_key={key}&uniqueid={uniqueid}"),
            );
            assert_eq!(
                answer.status,
                status,
                "{form} {uniqueid}: {}",
                answer.text()
            );
            assert!(answer.json()["error"].is_string());
        }
    }
    let all = get(
        &exchange,
        &format!("/api/index/get_file_mp3?api_key={ALL}&uniqueid={id}"),
    );
    assert_eq!((all.status, &all.body), (200, &made.body));
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

/// A form with one file, as curl writes it.
fn form(field: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut body = format!(
        "--------------------------d74496d66958873e\r\nContent-Disposition: form-data; name=\"{field}\"; \
         filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(b"\r\n--------------------------d74496d66958873e--\r\n");
    body
}

fn upload(exchange: &Exchange, key: &str, body: &[u8]) -> WebAnswer {
    let kind = "multipart/form-data; boundary=------------------------d74496d66958873e";
    let target = format!("/pbx/api/index/uploads?api_key={key}");
    web::ask(
        exchange.http(),
        "POST",
        &target,
        &[("Content-Type", kind)],
        body,
    )
}

#[test]
fn an_uploaded_sound_is_played_at_once() {
    let mut exchange = exchange("");
    let file = exchange
        .configuration()
        .replace(":8088\"\n", ":8088\"\nupload_mib = 1\n");
    exchange.write_configuration(&file);
    exchange.extension(
        "outgoing",
        "700",
        &[("Answer", ""), ("Playback", "test"), ("Wait", "5")],
    );
    exchange.start();
    // 44.1 kHz, as a program of the office writes it.
    let path = exchange.data().join("sound");
    let tone: Vec<i16> = (0..88_200)
        .map(|n| ((f64::from(n) * 700.0 * std::f64::consts::TAU / 44_100.0).sin() * 8000.0) as i16)
        .collect();
    audio::write_wav_at(&path, &tone, 44_100).expect("a sound");
    let sound = std::fs::read(&path).expect("a sound");
    let answer = upload(&exchange, KEY, &form("file", "/home/user/test.wav", &sound));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let read = answer.json();
    let data = &read["data"];
    assert_eq!(
        (&data["file"], &data["name"]),
        (&json!("test.wav"), &json!("test"))
    );
    let duration: u64 = data["duration"]
        .as_str()
        .and_then(|ms| ms.parse().ok())
        .unwrap_or(0);
    assert!((1990..2020).contains(&duration), "{duration} ms");
    let kept = std::fs::read(exchange.data().join("sounds/test.wav")).expect("the sound");
    let (rate, channels) = wav_channels(&kept).expect("a WAV file");
    assert_eq!((rate, channels.len()), (8000, 1));
    let bank = Bank::new();
    let phone = bank.phone("user-110", "secret", exchange.sip());
    let call = phone.call("700");
    call.expect_tone(700.0, 1000, SOON);
    call.hang_up();
    // The group may replace what it brought; others may not, nor anybody what was here before.
    let louder = sine(900.0, 8000.0, 500);
    audio::write_wav(&path, &louder).expect("a sound");
    let sound = std::fs::read(&path).expect("a sound");
    std::fs::write(exchange.data().join("sounds/house.wav"), &sound).expect("a sound");
    let large = vec![0u8; 1024 * 1024 + 1];
    for (key, body, status, word) in [
        (KEY, form("file", "test.wav", &sound), 200, ""),
        (
            OTHER,
            form("file", "test.wav", &sound),
            403,
            "not brought by this group",
        ),
        (
            KEY,
            form("file", "house.wav", &sound),
            403,
            "not brought by this group",
        ),
        (ALL, form("file", "house.wav", &sound), 200, ""),
        (
            KEY,
            form("other", "x.wav", &sound),
            400,
            "no part of this name",
        ),
        (KEY, form("file", "x.php", &sound), 415, "php"),
        (KEY, form("file", "..wav", &sound), 400, "no name"),
        (KEY, form("file", "x.wav", b"no sound"), 400, "file: "),
        (KEY, form("file", "x.wav", &large), 413, "limit"),
        ("guess", form("file", "x.wav", &sound), 401, "not known"),
    ] {
        let answer = upload(&exchange, key, &body);
        assert_eq!(answer.status, status, "{word}: {}", answer.text());
        assert!(answer.text().contains(word), "{}", answer.text());
    }
    let target = format!("/api/index/uploads?api_key={KEY}");
    let asked = get(&exchange, &target);
    assert_eq!((asked.status, asked.header("allow")), (405, "POST"));
    assert_eq!(
        web::ask(exchange.http(), "POST", &target, &[], b"x=1").status,
        415
    );
    let mut names: Vec<_> = std::fs::read_dir(exchange.data().join("sounds"))
        .expect("the folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["house.wav", "test.wav"]);
}

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
