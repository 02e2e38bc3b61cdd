//! Sounds: listed page by page, brought, played and deleted, by those whose they are.

use strowger_tests::Bank;

use super::*;

/// A WAV file of so many samples, 8000 Hz.
fn wav(samples: usize) -> Vec<u8> {
    let bytes = samples as u32 * 2;
    let mut file = b"RIFF".to_vec();
    file.extend((bytes + 36).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    file.extend(bytes.to_le_bytes());
    for at in 0..samples {
        let sample = ((at as f64 * 0.5).sin() * 8000.0) as i16;
        file.extend(sample.to_le_bytes());
    }
    file
}

fn bring(exchange: &Exchange, key: &str, file: &str, sound: &[u8]) -> WebAnswer {
    let mut body = format!(
        "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file}\"\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(sound);
    body.extend_from_slice(b"\r\n--edge--\r\n");
    let headers = [
        ("X-API-Key", key),
        ("Content-Type", "multipart/form-data; boundary=edge"),
    ];
    web::ask(exchange.http(), "POST", "/api/v1/sounds", &headers, &body)
}

fn names(page: &Value) -> Vec<String> {
    let sounds = page["sounds"].as_array().expect("sounds");
    let names = sounds.iter().filter_map(|sound| sound["name"].as_str());
    names.map(str::to_owned).collect()
}

#[test]
fn sounds_are_listed_with_languages_and_lengths_page_by_page() {
    let mut exchange = exchange();
    let folder = exchange.data().join("sounds/ru/shop");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("open.wav"), wav(16_000)).expect("a sound");
    std::fs::write(folder.join("open.ulaw"), [0xff; 4000]).expect("a sound");
    exchange.start();
    let found = get(&exchange, HOUSE, "/sounds?prefix=shop/");
    assert_eq!(
        found["sounds"],
        json!([{"name": "shop/open", "uploaded": false, "variants": [
            {"language": "ru", "format": "ulaw", "duration_ms": 500, "bytes": 4000, "built_in": false},
            {"language": "ru", "format": "wav", "duration_ms": 2000, "bytes": 32_044, "built_in": false},
        ]}])
    );
    assert_eq!(found["next"], Value::Null);
    let built_in = get(&exchange, HOUSE, "/sounds?prefix=hello-world");
    let variants = &built_in["sounds"][0]["variants"];
    assert_eq!(variants[0]["language"], json!("en"));
    assert_eq!(variants[1]["language"], json!("ru"));
    assert!(
        variants[0]["built_in"] == json!(true) && variants[0]["duration_ms"].as_u64() > Some(300)
    );
    let all = names(&get(&exchange, HOUSE, "/sounds?limit=1000&prefix=d"));
    assert!(all.len() > 10, "{all:?}");
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(
            &exchange,
            HOUSE,
            &format!("/sounds?limit=7&prefix=d{cursor}"),
        );
        let fresh = names(&page);
        assert!((1..=7).contains(&fresh.len()));
        paged.extend(fresh);
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", next.replace('/', "%2F")),
            None => break,
        }
    }
    assert_eq!(paged, all);
    for (key, path, status) in [
        (GUEST, "/sounds", 403),
        (HOUSE, "/sounds?limit=0", 400),
        (HOUSE, "/sounds?limit=1001", 400),
    ] {
        assert_eq!(
            ask(&exchange, key, "GET", path, &Value::Null).status,
            status,
            "{path}"
        );
    }
    let none = get(&exchange, HOUSE, "/sounds?prefix=shop&language=en");
    assert_eq!(none["sounds"], json!([]));
}

#[test]
fn a_sound_is_brought_played_and_deleted_by_its_group_alone() {
    let mut exchange = exchange();
    exchange.start();
    let made = bring(&exchange, HOUSE, "our day.wav", &wav(8000));
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(
        made.json(),
        json!({"name": "our day", "file": "our day.wav", "duration_ms": 1000, "bytes": 16_044})
    );
    let listed = get(&exchange, HOUSE, "/sounds?prefix=our");
    assert_eq!(listed["sounds"][0]["uploaded"], json!(true));
    assert_eq!(names(&get(&exchange, OTHER, "/sounds?prefix=our")), [""; 0]);
    assert_eq!(
        names(&get(&exchange, ROOT, "/sounds?prefix=our")),
        ["our day"]
    );
    for (key, file, sound, status, word) in [
        (GUEST, "x.wav", wav(10), 403, "sounds:write"),
        (
            OTHER,
            "our day.wav",
            wav(10),
            403,
            "not brought by this group",
        ),
        (HOUSE, "beep.wav", wav(10), 403, "not brought by this group"),
        (HOUSE, "x.txt", wav(10), 415, "no kind of sound"),
        (HOUSE, "x.wav", b"noise".to_vec(), 400, "file: "),
    ] {
        let answer = bring(&exchange, key, file, &sound);
        assert_eq!(answer.status, status, "{file}: {}", answer.text());
        assert!(answer.text().contains(word), "{}", answer.text());
    }
    let plain = ask(&exchange, HOUSE, "POST", "/sounds", &json!({}));
    assert_eq!(plain.status, 415, "{}", plain.text());

    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let call = alice.call("300");
    call.expect_answered(SOON);
    let id = id_of(&exchange, "PJSIP/alice");
    let play = json!({"sounds": ["our day"]});
    let answer = ask(
        &exchange,
        HOUSE,
        "POST",
        &format!("/calls/{id}/play"),
        &play,
    );
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.json()["duration_ms"], json!(1000));
    // Another group hears nothing of it, however the name is written.
    exchange.subscriber("carol", "secret", "far");
    let carol = bank.phone("carol", "secret", exchange.sip());
    let other = wait_until(SOON, || {
        let call = carol.call("300");
        let answered = wait_until(std::time::Duration::from_secs(2), || {
            (call.stage() == strowger_tests::Stage::Up).then_some(())
        });
        answered.map(|()| call)
    });
    let _other = other.expect("a call of the other group");
    let far = id_of(&exchange, "PJSIP/carol");
    for name in ["our day", "./our day.wav"] {
        let play = json!({"sounds": [name]});
        let answer = ask(
            &exchange,
            OTHER,
            "POST",
            &format!("/calls/{far}/play"),
            &play,
        );
        assert_eq!(answer.status, 403, "{}", answer.text());
    }

    for (key, name, status) in [
        (GUEST, "our%20day", 403),
        (OTHER, "our%20day", 403),
        (HOUSE, "beep", 403),
        (HOUSE, "..%2F..%2Fx", 404),
        (HOUSE, "none", 404),
        (HOUSE, "our%20day", 204),
        (HOUSE, "our%20day", 404),
    ] {
        let path = format!("/sounds/{name}");
        let answer = ask(&exchange, key, "DELETE", &path, &Value::Null);
        assert_eq!(answer.status, status, "{key} {name}: {}", answer.text());
    }
    assert!(!exchange.data().join("sounds/our day.wav").exists());
    exchange.expect_log("sound deleted", SOON);
}
