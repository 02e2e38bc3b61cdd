//! Call records, extensions, keys, telephones, conferences and queues.

use std::time::Duration;

use serde_json::{Value, json};
use strowger_tests::{Bank, SOON, wait_until};

use super::{HOUSE, OTHER, ROOT, ask, exchange, get};

#[test]
fn call_records_come_page_by_page_none_twice_and_none_left_out() {
    let mut exchange = exchange();
    exchange.database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999) \
         INSERT INTO cdr (src, dcontext, start, uniqueid, sequence) \
         SELECT 'a', CASE WHEN i % 2 = 0 THEN 'house' ELSE 'far' END, strftime('%Y-%m-%d %H:%M:%S', '2024-01-01', '+' || (i / 7) || ' seconds'), '1.' || i, i FROM n",
    );
    exchange.start();
    let all = |key: &str, more: &str| {
        let mut numbers = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = get(&exchange, key, &format!("/cdr?limit=37{more}{cursor}"));
            let records = page["records"].as_array().expect("records");
            numbers.extend(records.iter().map(|record| {
                let number = record["sequence"]
                    .as_str()
                    .and_then(|number| number.parse().ok());
                number.unwrap_or(-1)
            }));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return numbers,
            }
        }
    };
    let wanted: Vec<i64> = (0..1000).rev().collect();
    assert_eq!(all(ROOT, ""), wanted);
    let own: Vec<i64> = wanted
        .iter()
        .copied()
        .filter(|number| number % 2 == 0)
        .collect();
    assert_eq!(all(HOUSE, ""), own);
    assert_eq!(
        all(ROOT, "&from=2024-01-01T00:00:10&until=2024-01-01T00:00:11"),
        (70..84).rev().collect::<Vec<_>>()
    );
    assert_eq!(all(ROOT, "&call=1.500"), [500]);
    assert_eq!(all(OTHER, "&dcontext=house"), Vec::<i64>::new());
}

#[test]
fn an_extension_is_looked_at_replaced_called_and_deleted() {
    let mut exchange = exchange();
    exchange.start();
    let path = "/contexts/house/extensions/700";
    let wrong = json!({"steps": [{"application": "Playbakc", "data": "x"}]});
    let refused = ask(&exchange, ROOT, "PUT", path, &wrong);
    assert_eq!(
        (refused.status, refused.json()["valid"].clone()),
        (422, json!(false)),
        "{}",
        refused.text()
    );
    let what = refused.json()["problems"][0]["what"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(what.contains("Playbakc"), "{what}");
    let right =
        json!({"steps": [{"application": "Answer"}, {"application": "Wait", "data": "60"}]});
    let mut look = right.clone();
    look["extension"] = json!("700");
    let looked = ask(&exchange, HOUSE, "POST", "/contexts/house/validate", &look).json();
    assert_eq!(
        (&looked["valid"], &looked["problems"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(ask(&exchange, HOUSE, "PUT", path, &right).status, 403);
    assert_eq!(ask(&exchange, ROOT, "PUT", path, &right).status, 201);
    assert_eq!(ask(&exchange, ROOT, "PUT", path, &right).status, 200);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let known = wait_until(SOON, || {
        let read = ask(
            &exchange,
            HOUSE,
            "GET",
            "/contexts/house/extensions?extension=700",
            &Value::Null,
        );
        (read.status == 200).then(|| read.json())
    });
    let steps = known.expect("the extension")["extensions"][0]["steps"].clone();
    assert_eq!(
        steps,
        json!([{"priority": 1, "application": "Answer", "data": ""}, {"priority": 2, "application": "Wait", "data": "60"}])
    );
    let call = wait_until(SOON, || {
        let call = alice.call("700");
        let answered = wait_until(Duration::from_secs(2), || {
            call.statuses()
                .iter()
                .any(|(_, status)| *status == 200)
                .then_some(())
        });
        answered.map(|()| call)
    });
    call.expect("it is answered").hang_up();
    let contexts = get(&exchange, HOUSE, "/contexts");
    assert_eq!(contexts["contexts"].as_array().map(Vec::len), Some(1));
    assert_eq!(contexts["contexts"][0]["group"], "g-house");
    assert_eq!(ask(&exchange, OTHER, "PUT", path, &right).status, 403);
    assert_eq!(
        ask(&exchange, ROOT, "DELETE", path, &Value::Null).status,
        204
    );
    assert_eq!(
        ask(&exchange, ROOT, "DELETE", path, &Value::Null).status,
        404
    );
}

#[test]
fn keys_are_made_within_what_their_maker_may_and_open_until_they_are_deleted() {
    let mut exchange = exchange();
    exchange.start();
    let made = ask(
        &exchange,
        HOUSE,
        "POST",
        "/keys",
        &json!({"name": "Robot", "scopes": ["calls:read"]}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let (uuid, key) = (made.json()["uuid"].clone(), made.json()["api_key"].clone());
    let (uuid, key) = (uuid.as_str().expect("a uuid"), key.as_str().expect("a key"));
    let opens = wait_until(SOON, || {
        (ask(&exchange, key, "GET", "/calls", &Value::Null).status == 200).then_some(())
    });
    assert!(opens.is_some(), "it does not open");
    assert_eq!(ask(&exchange, key, "GET", "/cdr", &Value::Null).status, 403);
    let row = exchange.database.select(
        "api_users",
        &["api_key", "group_uuid"],
        &format!("WHERE uuid = '{uuid}'"),
    );
    assert!(
        row[0][0]
            .as_deref()
            .is_some_and(|column| column.starts_with("sha256:") && !column.contains(key))
    );
    assert_eq!(row[0][1].as_deref(), Some("g-house"));
    let listed = get(&exchange, HOUSE, "/keys");
    let names: Vec<_> = listed["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| key["name"].clone())
        .collect();
    assert!(
        names.contains(&json!("Robot")) && !names.contains(&json!(ROOT)),
        "{names:?}"
    );
    assert!(
        !ask(&exchange, HOUSE, "GET", "/keys", &Value::Null)
            .text()
            .contains(key)
    );
    for (who, body, status) in [
        (
            HOUSE,
            json!({"name": "x", "scopes": ["calls"], "group": "g-other"}),
            403,
        ),
        (HOUSE, json!({"name": "x", "scopes": ["nothing"]}), 400),
        (HOUSE, json!({"name": "", "scopes": []}), 400),
        (
            ROOT,
            json!({"name": "x", "scopes": ["*"], "group": "g-other"}),
            201,
        ),
    ] {
        let answer = ask(&exchange, who, "POST", "/keys", &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    assert_eq!(
        ask(
            &exchange,
            OTHER,
            "DELETE",
            &format!("/keys/{uuid}"),
            &Value::Null
        )
        .status,
        404
    );
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "DELETE",
            &format!("/keys/{uuid}"),
            &Value::Null
        )
        .status,
        204
    );
    let closed = wait_until(SOON, || {
        (ask(&exchange, key, "GET", "/calls", &Value::Null).status == 401).then_some(())
    });
    assert!(closed.is_some(), "it opens still");
}

#[test]
fn telephones_conferences_and_queues_are_shown_and_changed() {
    let mut exchange = exchange();
    exchange
        .database
        .insert("queues", &[("name", "desk"), ("strategy", "ringall")]);
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    alice.register();
    let list = get(&exchange, HOUSE, "/endpoints");
    let names: Vec<_> = list["endpoints"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(names, ["alice", "bob"]);
    assert_eq!(get(&exchange, OTHER, "/endpoints")["endpoints"], json!([]));
    let one = get(&exchange, HOUSE, "/endpoints/alice");
    assert_eq!(
        (&one["context"], &one["state"]),
        (&json!("house"), &json!("NOT_INUSE"))
    );
    let uri = one["contacts"][0]["uri"]
        .as_str()
        .expect("a contact")
        .to_owned();
    assert!(uri.starts_with("sip:alice@"), "{uri}");
    assert_eq!(
        get(&exchange, HOUSE, "/contacts")["contacts"][0]["uri"],
        json!(uri)
    );
    assert_eq!(get(&exchange, OTHER, "/contacts")["contacts"], json!([]));
    assert!(
        !ask(&exchange, ROOT, "GET", "/endpoints/alice", &Value::Null)
            .text()
            .contains("secret")
    );

    let call = alice.call("500");
    call.expect_answered(SOON);
    let room = wait_until(SOON, || {
        let rooms = get(&exchange, HOUSE, "/conferences");
        rooms["conferences"].get(0).cloned()
    });
    let room = room.expect("a conference");
    assert_eq!(
        (&room["name"], &room["parties"], &room["locked"]),
        (&json!("tea"), &json!(1), &json!(false))
    );
    assert_eq!(
        get(&exchange, OTHER, "/conferences")["conferences"],
        json!([])
    );
    let id = room["members"][0]["id"]
        .as_str()
        .expect("a member")
        .to_owned();
    let member = format!("/conferences/tea/members/{id}");
    assert_eq!(
        ask(&exchange, OTHER, "DELETE", &member, &Value::Null).status,
        404
    );
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "POST",
            &format!("{member}/mute"),
            &json!({"muted": true})
        )
        .status,
        204
    );
    assert_eq!(
        get(&exchange, HOUSE, "/conferences/tea")["members"][0]["muted"],
        true
    );
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "POST",
            "/conferences/tea/lock",
            &json!({"locked": true})
        )
        .status,
        403
    );
    assert_eq!(
        ask(
            &exchange,
            ROOT,
            "POST",
            "/conferences/tea/lock",
            &json!({"locked": true})
        )
        .status,
        204
    );
    assert_eq!(get(&exchange, ROOT, "/conferences/tea")["locked"], true);
    assert_eq!(
        ask(&exchange, HOUSE, "DELETE", &member, &Value::Null).status,
        204
    );
    call.expect_ended(SOON);

    let queue = "/queues/desk/members";
    let body = json!({"interface": "PJSIP/bob", "name": "Bob", "penalty": 2});
    assert_eq!(ask(&exchange, ROOT, "POST", queue, &body).status, 204);
    assert_eq!(ask(&exchange, ROOT, "POST", queue, &body).status, 409);
    assert_eq!(
        ask(
            &exchange,
            ROOT,
            "PATCH",
            "/queues/desk/members/PJSIP%2Fbob",
            &json!({"paused": true, "pause_reason": "tea", "penalty": 3})
        )
        .status,
        204
    );
    let seen = get(&exchange, ROOT, "/queues/desk");
    let member = &seen["members"][0];
    assert_eq!(
        (&member["interface"], &member["name"]),
        (&json!("PJSIP/bob"), &json!("Bob"))
    );
    assert_eq!(
        (
            &member["paused"],
            &member["pause_reason"],
            &member["penalty"]
        ),
        (&json!(true), &json!("tea"), &json!(3))
    );
    assert_eq!(
        ask(
            &exchange,
            ROOT,
            "DELETE",
            "/queues/desk/members/PJSIP%2Fbob",
            &Value::Null
        )
        .status,
        204
    );
    assert_eq!(
        ask(
            &exchange,
            ROOT,
            "DELETE",
            "/queues/desk/members/PJSIP%2Fbob",
            &Value::Null
        )
        .status,
        404
    );
}
