//! Columns of SIP objects, each as who is on the other side notices it.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use strowger_tests::audio::Law;
use strowger_tests::peer::{Peer, audio_at, describe, socket};
use strowger_tests::wire::{AudioLine, SipText};
use strowger_tests::{Exchange, SOON, wait_until};

/// A trunk `peer` that calls and a device `server` that is called, as `change` makes them.
pub(super) fn exchange(change: impl FnOnce(&Exchange)) -> (Exchange, Peer, Peer) {
    let mut exchange = Exchange::new();
    let mut peer = Peer::new(exchange.sip());
    let mut device = Peer::new(exchange.sip());
    exchange.trunk("peer", peer.address(), "house");
    exchange.server(&format!("sip:{}", device.address()), "house");
    change(&exchange);
    exchange.start();
    peer.set_exchange(exchange.sip());
    device.set_exchange(exchange.sip());
    (exchange, peer, device)
}

/// An RTP packet of that much of a tone.
fn tone(hz: f64, number: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend(number.to_be_bytes());
    packet.extend((u32::from(number) * 160).to_be_bytes());
    packet.extend([0, 0, 0, 9]);
    packet.extend((0..160).map(|n| {
        let at = f64::from(u32::from(number) * 160 + n) / 8000.0;
        Law::A.encode(((at * hz * std::f64::consts::TAU).sin() * 8000.0) as i16)
    }));
    packet
}

#[test]
fn a_device_sees_us_as_the_rows_say() {
    let (_exchange, peer, device) = exchange(|exchange| {
        let database = &exchange.database;
        let row = [
            ("id", "global"),
            ("user_agent", "Exchange of the table"),
            ("use_callerid_contact", "yes"),
        ];
        database.insert("ps_globals", &row);
        database.insert("ps_systems", &[("id", "system"), ("disable_rport", "yes")]);
        database.execute(
            "UPDATE ps_endpoints SET sdp_session = 'Our house', sdp_owner = 'house', media_address = '192.0.2.77' WHERE id = 'server'",
        );
        exchange.extension("house", "202", &[("Dial", "PJSIP/server,20")]);
    });
    let audio = socket();
    let _call = peer.call("202", |invite| describe(invite, audio_at(&audio, "")));
    let called = device.called();
    let header = |name| called.invite.header(name).unwrap_or_default();
    assert_eq!(header("User-Agent"), "Exchange of the table");
    assert!(
        header("Contact").starts_with("<sip:peer@"),
        "{}",
        header("Contact")
    );
    assert!(!header("Via").contains("rport"), "{}", header("Via"));
    let body = &called.invite.body;
    assert!(body.contains("\r\ns=Our house\r\n"), "{body}");
    assert!(body.contains("\r\no=house "), "{body}");
    assert!(body.contains("c=IN IP4 192.0.2.77"), "{body}");
}

#[test]
fn a_fax_machine_that_calls_is_led_to_the_extension_fax() {
    assert_eq!(cause_of_a_fax("yes", &[("Wait", "60")]), "cause=38");
}

#[test]
fn the_dialplan_begins_and_ends_listening_for_a_fax_machine() {
    let begin = [("Set", "FAXOPT(faxdetect)=cng,10"), ("Wait", "60")];
    assert_eq!(cause_of_a_fax("no", &begin), "cause=38");
    let end = [
        ("Set", "FAXOPT(faxdetect)=no"),
        ("Wait", "3"),
        ("Hangup", "21"),
    ];
    assert_eq!(cause_of_a_fax("yes", &end), "cause=21");
}

/// Why a call of a fax machine ends: extension `fax` ends it with cause 38.
fn cause_of_a_fax(fax_detect: &str, steps: &[(&str, &str)]) -> String {
    let (_exchange, peer, _device) = exchange(|exchange| {
        let database = &exchange.database;
        database.execute(&format!(
            "UPDATE ps_endpoints SET fax_detect = '{fax_detect}' WHERE id = 'peer'"
        ));
        let steps = [&[("Answer", "")], steps].concat();
        exchange.extension("house", "desk", &steps);
        let known = "${IF($[\"${FAXEXTEN}\" = \"desk\"]?38:16)}";
        exchange.extension("house", "fax", &[("Hangup", known)]);
    });
    let audio = socket();
    let mut call = peer.call("desk", |invite| describe(invite, audio_at(&audio, "")));
    let answer = call.expect_response(200);
    call.acknowledge(&answer, |_| ());
    let there = AudioLine::parse(&answer.body)
        .expect("a description")
        .address;
    let sender = audio.try_clone().expect("the same socket");
    let calling = std::thread::spawn(move || calling_tone(&sender, there));
    let bye = call.expect_request("BYE");
    calling.join().expect("the tone is sent");
    let reason = bye.header("Reason").unwrap_or_default();
    let words = reason.split(';').map(str::trim);
    words.filter(|word| word.starts_with("cause=")).collect()
}

/// Half a second of the calling tone of a fax behind a second of silence, at its pace.
fn calling_tone(audio: &UdpSocket, there: std::net::SocketAddr) {
    let began = Instant::now();
    for number in 0..90_u16 {
        let hz = if (50..75).contains(&number) {
            1100.0
        } else {
            0.0
        };
        audio.send_to(&tone(hz, number), there).expect("sent");
        let next = began + Duration::from_millis(20 * u64::from(number + 1));
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

#[test]
fn who_wants_to_hear_that_it_rings_hears_it() {
    let (_exchange, peer, device) = exchange(|exchange| {
        let database = &exchange.database;
        database.execute("UPDATE ps_endpoints SET inband_progress = 'yes' WHERE id = 'peer'");
        exchange.extension("house", "202", &[("Dial", "PJSIP/server,20")]);
        exchange.extension("house", "app", &[("Ringing", ""), ("Wait", "20")]);
    });
    for number in ["202", "app"] {
        let audio = socket();
        let mut call = peer.call(number, |invite| describe(invite, audio_at(&audio, "")));
        if number == "202" {
            device.called().respond(180, "two", |_| ());
        }
        let told = call.expect_response(183);
        assert!(AudioLine::parse(&told.body).is_some(), "{told:?}");
        let heard = wait_until(SOON, || {
            let mut packet = [0; 2048];
            let length = audio.recv(&mut packet).ok()?;
            // A tone, not silence.
            packet[12..length]
                .iter()
                .any(|byte| byte & 0x7f != 0x55)
                .then_some(())
        });
        assert!(heard.is_some(), "{number} rings");
        let rings = |status: Option<u16>| status.is_some_and(|status| status == 180);
        let late = peer.gather(Duration::from_millis(200), |m| rings(m.status()));
        assert!(late.is_empty(), "{late:?}");
    }
}

#[test]
fn a_way_through_a_nat_is_kept_open_while_nothing_is_said() {
    let (_exchange, peer, _device) = exchange(|exchange| {
        let database = &exchange.database;
        database.execute("UPDATE ps_endpoints SET rtp_keepalive = 1 WHERE id = 'peer'");
        exchange.extension("house", "quiet", &[("Answer", ""), ("Wait", "20")]);
    });
    let audio = socket();
    let mut call = peer.call("quiet", |invite| describe(invite, audio_at(&audio, "")));
    let answer = call.expect_response(200);
    call.acknowledge(&answer, |_| ());
    for _ in 0..2 {
        let kept = wait_until(SOON, || {
            let mut packet = [0; 2048];
            let length = audio.recv(&mut packet).ok()?;
            (length == 13).then(|| packet[1])
        });
        assert_eq!(kept, Some(13), "comfort noise");
    }
}

/// Calls a number that answers and hangs up at once: true if it said that by cause 38, which means yes here.
#[track_caller]
fn says_yes(exchange: &Exchange, number: &str) -> bool {
    let asking = Peer::new(exchange.sip());
    let audio = socket();
    let mut call = asking.call(number, |invite| describe(invite, audio_at(&audio, "")));
    let answer = call.expect_response(200);
    call.acknowledge(&answer, |_| ());
    let bye = call.expect_request("BYE");
    call.answer(&bye, 200, |_| ());
    bye.header("Reason")
        .is_some_and(|reason| reason.contains("cause=38"))
}

/// Steps for [`says_yes`].
fn whether(condition: &str) -> [(&'static str, String); 2] {
    [
        ("Answer", String::new()),
        ("Hangup", format!("${{IF($[{condition}]?38:16)}}")),
    ]
}

fn extension(exchange: &Exchange, number: &str, steps: &[(&str, String)]) {
    let steps: Vec<_> = steps
        .iter()
        .map(|(app, data)| (*app, data.as_str()))
        .collect();
    exchange.extension("house", number, &steps);
}

#[test]
fn calls_are_picked_up_within_the_groups_of_the_rows() {
    for (called, picking) in [
        ("call_group = '1,3-5'", "pickup_group = '4'"),
        (
            "named_call_group = 'sales,desk'",
            "named_pickup_group = 'desk'",
        ),
    ] {
        let (_exchange, peer, device) = exchange(|exchange| {
            let database = &exchange.database;
            database.execute(&format!(
                "UPDATE ps_endpoints SET {called} WHERE id = 'server'"
            ));
            database.execute(&format!(
                "UPDATE ps_endpoints SET {picking} WHERE id = 'peer'"
            ));
            exchange.extension("house", "202", &[("Dial", "PJSIP/server,60")]);
            exchange.extension("house", "8", &[("Answer", ""), ("Pickup", "")]);
        });
        let (first, second) = (socket(), socket());
        let mut waiting = peer.call("202", |invite| describe(invite, audio_at(&first, "")));
        device.called().respond(180, "two", |_| ());
        waiting.expect_response(180);
        let mut taking = peer.call("8", |invite| describe(invite, audio_at(&second, "")));
        let taken = taking.expect_response(200);
        taking.acknowledge(&taken, |_| ());
        waiting.expect_response(200);
        device.expect("CANCEL", |m| m.method() == Some("CANCEL"));
    }
}

#[test]
fn a_device_is_busy_from_as_many_calls_as_its_row_says() {
    let (exchange, peer, device) = exchange(|exchange| {
        let database = &exchange.database;
        database.execute(
            "UPDATE ps_endpoints SET device_state_busy_at = 1, tenantid = 'acme' WHERE id IN ('server', 'peer')",
        );
        exchange.extension("house", "202", &[("Dial", "PJSIP/server,60")]);
        let busy = "\"${DEVICE_STATE(PJSIP/server)}\" = \"BUSY\"";
        extension(exchange, "busy", &whether(busy));
        extension(
            exchange,
            "tenant",
            &whether("\"${CHANNEL(tenantid)}\" = \"acme\""),
        );
    });
    assert!(!says_yes(&exchange, "busy"));
    assert!(says_yes(&exchange, "tenant"));
    let audio = (socket(), socket());
    let mut caller = peer.call("202", |invite| describe(invite, audio_at(&audio.0, "")));
    device
        .called()
        .respond(200, "two", |r| describe(r, audio_at(&audio.1, "")));
    let answer = caller.expect_response(200);
    caller.acknowledge(&answer, |_| ());
    assert!(says_yes(&exchange, "busy"));
}

#[test]
fn numbers_that_may_become_longer_are_told_apart_where_that_is_wanted() {
    for (columns, status) in [
        ("allow_overlap = 'yes'", 484),
        ("allow_overlap = 'no'", 404),
        ("allow_overlap = 'yes', overlap_context = 'elsewhere'", 404),
    ] {
        let (_exchange, peer, _device) = exchange(|exchange| {
            let sql = format!("UPDATE ps_endpoints SET {columns} WHERE id = 'peer'");
            exchange.database.execute(&sql);
            exchange.extension("house", "_7XXX", &[("Answer", "")]);
            exchange.extension("elsewhere", "_8XXX", &[("Answer", "")]);
        });
        let mut call = peer.call("71", |_| ());
        call.expect_response(status);
    }
}

#[test]
fn sessions_shorter_than_the_row_allows_are_refused_with_its_limit() {
    let (_exchange, peer, _device) = exchange(|exchange| {
        let database = &exchange.database;
        database.execute("UPDATE ps_endpoints SET timers_min_se = 120 WHERE id = 'peer'");
        exchange.extension("house", "202", &[("Answer", ""), ("Wait", "9")]);
    });
    let mut call = peer.call("202", |invite| {
        invite.push("Supported", "timer");
        invite.push("Session-Expires", "100");
    });
    let refused = call.expect_response(422);
    assert_eq!(refused.header("Min-SE"), Some("120"));
}

#[test]
fn who_is_silent_on_hold_is_ended_after_the_time_of_the_row() {
    let (_exchange, peer, _device) = exchange(|exchange| {
        let database = &exchange.database;
        database.execute("UPDATE ps_endpoints SET rtp_timeout_hold = 1 WHERE id = 'peer'");
        exchange.extension("house", "202", &[("Answer", ""), ("Wait", "60")]);
    });
    let audio = socket();
    let mut call = peer.call("202", |invite| describe(invite, audio_at(&audio, "")));
    let answer = call.expect_response(200);
    call.acknowledge(&answer, |_| ());
    // As long as it is not held, nobody minds the silence.
    let ended = |m: &SipText| m.method() == Some("BYE");
    assert!(peer.gather(Duration::from_millis(1500), ended).is_empty());
    let held = call.request("INVITE", "", |r| {
        describe(r, audio_at(&audio, "a=sendonly\r\n"))
    });
    assert_eq!(held.status(), Some(200));
    call.acknowledge(&held, |_| ());
    call.expect_request("BYE");
}

#[test]
fn codecs_are_answered_in_the_order_that_the_row_wants() {
    for (columns, formats) in [
        (
            "allow = 'ulaw,alaw', incoming_call_offer_pref = 'local'",
            "0 8",
        ),
        (
            "allow = 'ulaw,alaw', incoming_call_offer_pref = 'remote'",
            "8 0",
        ),
        (
            "allow = 'ulaw,alaw', incoming_call_offer_pref = 'remote_first'",
            "8",
        ),
        ("allow = 'ulaw,alaw', preferred_codec_only = 'yes'", "0"),
        ("disallow = 'ulaw', allow = 'alaw'", "8"),
    ] {
        let (_exchange, peer, _device) = exchange(|exchange| {
            let sql = format!("UPDATE ps_endpoints SET {columns} WHERE id = 'peer'");
            exchange.database.execute(&sql);
            exchange.extension("house", "202", &[("Answer", ""), ("Wait", "9")]);
        });
        let audio = socket();
        let mut call = peer.call("202", |invite| {
            let offer = audio_at(&audio, "").replace("RTP/AVP 8", "RTP/AVP 8 0");
            describe(invite, offer);
        });
        let answer = call.expect_response(200);
        let line = answer.body.lines().find(|line| line.starts_with("m=audio"));
        let line = line.unwrap_or_default();
        assert!(
            line.trim_end().ends_with(&format!("RTP/AVP {formats}")),
            "{columns}: {line}"
        );
    }
}

#[test]
fn whom_a_device_says_it_is_counts_where_the_row_trusts_it() {
    for trusted in ["yes", "no"] {
        let (_exchange, peer, device) = exchange(|exchange| {
            let database = &exchange.database;
            database.execute("UPDATE ps_endpoints SET send_pai = 'yes' WHERE id = 'peer'");
            database.execute(&format!(
                "UPDATE ps_endpoints SET trust_id_inbound = 'yes', trust_connected_line = '{trusted}' WHERE id = 'server'"
            ));
            exchange.extension("house", "202", &[("Dial", "PJSIP/server,60")]);
        });
        let audio = (socket(), socket());
        let mut call = peer.call("202", |invite| describe(invite, audio_at(&audio.0, "")));
        device.called().respond(200, "two", |response| {
            response.push("P-Asserted-Identity", "\"Boss\" <sip:999@house.test>");
            describe(response, audio_at(&audio.1, ""));
        });
        let answer = call.expect_response(200);
        let shown = answer.header("P-Asserted-Identity").unwrap_or_default();
        assert_eq!(
            shown.contains("sip:999@"),
            trusted == "yes",
            "{trusted}: {shown}"
        );
    }
}

#[test]
fn a_browser_is_refused_with_a_reason_as_long_as_its_encryption_is_not_spoken() {
    let (exchange, peer, _device) = exchange(|exchange| {
        let database = &exchange.database;
        database.execute("UPDATE ps_endpoints SET webrtc = 'yes' WHERE id = 'peer'");
        exchange.extension("house", "202", &[("Answer", "")]);
    });
    let audio = socket();
    let mut call = peer.call("202", |invite| describe(invite, audio_at(&audio, "")));
    let refused = call.expect_response(488);
    let warning = refused.header("Warning").unwrap_or_default();
    assert!(warning.contains("DTLS"), "{warning}");
    exchange.expect_log("webrtc=yes wants DTLS-SRTP", SOON);
}

#[test]
fn a_contact_that_asks_for_credentials_is_given_them_where_the_row_wants_that() {
    let (exchange, _peer, device) = exchange(|exchange| {
        let database = &exchange.database;
        let row = [("id", "own"), ("username", "house"), ("password", "secret")];
        database.insert("ps_auths", &row);
        database.execute("UPDATE ps_endpoints SET outbound_auth = 'own' WHERE id = 'server'");
        database.execute(
            "UPDATE ps_aors SET qualify_frequency = 60, qualify_2xx_only = 'yes', authenticate_qualify = 'yes' \
             WHERE id = 'server'",
        );
    });
    let options = |m: &SipText| m.method() == Some("OPTIONS");
    let first = device.expect("OPTIONS", options);
    let mut challenge = SipText::response(&first, 401, "Prove", "t");
    let digest = "Digest realm=\"device\", nonce=\"n1\", algorithm=MD5";
    challenge.push("WWW-Authenticate", digest);
    device.send(&challenge);
    let again = device.expect("OPTIONS with credentials", |m| {
        options(m) && m.header("Authorization").is_some()
    });
    let given = again.header("Authorization").unwrap_or_default();
    assert!(given.contains("username=\"house\""), "{given}");
    device.send(&SipText::response(&again, 200, "OK", "t"));
    exchange.expect_log("Reachable", SOON);
}

#[test]
fn a_text_to_elsewhere_goes_by_the_endpoint_for_that() {
    let elsewhere = Peer::new(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
    let (_exchange, peer, _device) = exchange(|exchange| {
        let database = &exchange.database;
        let row = [("id", "global"), ("default_outbound_endpoint", "server")];
        database.insert("ps_globals", &row);
        database.execute("UPDATE ps_endpoints SET from_domain = 'house.test' WHERE id = 'server'");
        let to = format!("sip:bob@{}", elsewhere.address());
        let steps = [
            ("Set", "MESSAGE(body)=a word"),
            ("MessageSend", to.as_str()),
            ("Hangup", "21"),
        ];
        exchange.extension("house", "text", &steps);
    });
    let _call = peer.call("text", |_| ());
    let text = elsewhere.expect("MESSAGE", |m| m.method() == Some("MESSAGE"));
    assert!(text.uri().is_some_and(|uri| uri.starts_with("sip:bob@")));
    let from = text.header("From").unwrap_or_default();
    assert!(
        from.contains("@house.test"),
        "as that endpoint is told: {from}"
    );
    assert_eq!(text.body, "a word");
}

#[test]
fn a_proxy_is_the_first_hop_of_calls() {
    let proxy = Peer::new(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
    let route = format!("sip:{};lr", proxy.address());
    let (_exchange, peer, device) = exchange(|exchange| {
        let sql = format!(
            "UPDATE ps_endpoints SET outbound_proxy = '{route}', contact_user = 'desk' WHERE id = 'server'"
        );
        exchange.database.execute(&sql);
        exchange.extension("house", "202", &[("Dial", "PJSIP/server,20")]);
    });
    let audio = socket();
    let _call = peer.call("202", |invite| describe(invite, audio_at(&audio, "")));
    let called = proxy.called();
    let contact = called.invite.header("Contact").unwrap_or_default();
    assert!(contact.starts_with("<sip:desk@"), "{contact}");
    let there = device.address().to_string();
    assert!(called.invite.uri().is_some_and(|uri| uri.contains(&there)));
    assert_eq!(
        called.invite.header("Route"),
        Some(format!("<{route}>").as_str())
    );
}

#[test]
fn an_answer_goes_where_its_request_came_from_unless_the_row_says_otherwise() {
    for force_rport in ["yes", "no"] {
        let (exchange, peer, said) = exchange(|exchange| {
            let sql = format!("UPDATE ps_endpoints SET force_rport = '{force_rport}'");
            exchange.database.execute(&sql);
        });
        // Its Via names another port of the same address, as behind a NAT.
        let mut options = SipText::request("OPTIONS", &format!("sip:{}", exchange.sip()));
        let via = format!("SIP/2.0/UDP {};branch=z9hG4bKnat", said.address());
        options.push("Via", &via);
        options.push("Max-Forwards", "70");
        options.push("From", "<sip:peer@house.test>;tag=nat");
        options.push("To", "<sip:house.test>");
        options.push("Call-ID", "nat@house.test");
        options.push("CSeq", "1 OPTIONS");
        peer.send(&options);
        let answered = |m: &SipText| m.status() == Some(200);
        match force_rport {
            "yes" => peer.expect("the answer where the request came from", answered),
            _ => said.expect("the answer where Via says", answered),
        };
    }
}

#[test]
fn media_stay_here_where_a_telephone_hears_elsewhere_than_it_speaks_from() {
    for disabled in ["yes", "no"] {
        let (_exchange, peer, device) = exchange(|exchange| {
            exchange.database.execute(&format!(
                "UPDATE ps_endpoints SET direct_media = 'yes', disable_direct_media_on_nat = '{disabled}'"
            ));
            exchange.extension("house", "202", &[("Dial", "PJSIP/server,60")]);
        });
        let audio = (socket(), socket());
        let mut call = peer.call("202", |invite| describe(invite, audio_at(&audio.0, "")));
        device.called().respond(200, "two", |response| {
            let body = audio_at(&audio.1, "").replace("c=IN IP4 127.0.0.1", "c=IN IP4 127.0.0.9");
            describe(response, body);
        });
        let answer = call.expect_response(200);
        call.acknowledge(&answer, |_| ());
        let moved = |m: &SipText| m.method() == Some("INVITE") && m.body.contains("127.0.0.9");
        match disabled {
            "no" => drop(peer.expect("the other telephone's address", moved)),
            _ => assert!(peer.gather(Duration::from_millis(700), moved).is_empty()),
        }
    }
}

#[test]
fn a_180_follows_a_183_where_the_globals_say_so() {
    for later in ["yes", "no"] {
        let (_exchange, peer, device) = exchange(|exchange| {
            let row = [("id", "global"), ("allow_sending_180_after_183", later)];
            exchange.database.insert("ps_globals", &row);
            let steps = [("Progress", ""), ("Dial", "PJSIP/server,20")];
            exchange.extension("house", "202", &steps);
        });
        let audio = socket();
        let mut call = peer.call("202", |invite| describe(invite, audio_at(&audio, "")));
        call.expect_response(183);
        device.called().respond(180, "two", |_| ());
        let rings = |m: &SipText| m.status() == Some(180);
        match later {
            "yes" => drop(peer.expect("180", rings)),
            _ => assert!(peer.gather(Duration::from_millis(700), rings).is_empty()),
        }
    }
}
