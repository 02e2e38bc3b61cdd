//! Recordings that are fetched, sounds that are brought.

use serde_json::json;
use strowger_tests::audio::{self, has_tone, last_ms, share_with_tone, sine, wav_channels};
use strowger_tests::web::{self, WebAnswer};
use strowger_tests::{Bank, Exchange, SOON, Source, wait_until};

use super::{ALL, KEY, OTHER, exchange, get};

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
            form("other", "x.wav", b"x"),
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
