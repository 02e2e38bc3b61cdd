//! Columns that say by which way requests and media go, and what is told without being asked, as who is on the other side
//! notices it.

use std::time::Duration;

use strowger_tests::manager::ManagerClient;
use strowger_tests::peer::{Peer, PeerCall, audio_at, describe, expect_echo, socket};
use strowger_tests::wire::{AudioLine, SipText};
use strowger_tests::{Exchange, SOON, Watcher, wait_until};

use super::columns::exchange;

/// A while in which nothing is to come.
const MOMENT: Duration = Duration::from_millis(700);

fn is(method: &'static str) -> impl Fn(&SipText) -> bool {
    move |message| message.method() == Some(method)
}

/// A call from `peer` to the device that both have answered.
fn talk<'p>(
    peer: &'p Peer,
    device: &'p Peer,
    audio: (&std::net::UdpSocket, &std::net::UdpSocket),
) -> (PeerCall<'p>, PeerCall<'p>) {
    let mut caller = peer.call("202", |invite| describe(invite, audio_at(audio.0, "")));
    let callee = device.called();
    callee.respond(200, "two", |r| describe(r, audio_at(audio.1, "")));
    let answer = caller.expect_response(200);
    caller.acknowledge(&answer, |_| ());
    callee.expect_request("ACK");
    (caller, callee)
}

#[test]
fn requests_to_an_endpoint_leave_by_the_transport_of_its_row() {
    for named in ["", "second"] {
        let (exchange, peer, device) = exchange(|exchange| {
            let bind = format!("{}:5070", exchange.ip());
            let row = [("id", "second"), ("protocol", "udp"), ("bind", &*bind)];
            exchange.database.insert("ps_transports", &row);
            exchange.database.execute(&format!(
                "UPDATE ps_endpoints SET transport = '{named}', mailboxes = '100@default' WHERE id = 'server'"
            ));
            let qualified = "UPDATE ps_aors SET qualify_frequency = 60 WHERE id = 'server'";
            exchange.database.execute(qualified);
            exchange.extension("house", "202", &[("Dial", "PJSIP/server,20")]);
        });
        let ours = match named {
            "" => exchange.sip().to_string(),
            _ => format!("{}:5070", exchange.ip()),
        };
        let by = |request: &SipText| {
            let via = request.header("Via").unwrap_or_default();
            via.starts_with(&format!("SIP/2.0/UDP {ours};"))
        };
        for method in ["OPTIONS", "NOTIFY"] {
            let request = device.expect(method, is(method));
            assert!(by(&request), "{named}: {request:?}");
        }
        let audio = socket();
        let _call = peer.call("202", |invite| describe(invite, audio_at(&audio, "")));
        let called = device.called();
        assert!(by(&called.invite), "{named}: {:?}", called.invite);
        let contact = called.invite.header("Contact").unwrap_or_default();
        assert!(contact.contains(&ours), "{named}: {contact}");
    }
}

#[test]
fn options_visit_the_proxy_of_the_address_of_record_first() {
    let proxy = Peer::new(([127, 0, 0, 1], 9).into());
    let route = format!("sip:{};lr", proxy.address());
    let (_exchange, _peer, device) = exchange(|exchange| {
        exchange.database.execute(&format!(
            "UPDATE ps_aors SET qualify_frequency = 60, outbound_proxy = '{route}' WHERE id = 'server'"
        ));
    });
    let options = proxy.expect("OPTIONS at the proxy", is("OPTIONS"));
    assert_eq!(
        options.header("Route"),
        Some(format!("<{route}>").as_str()),
        "{options:?}"
    );
    let there = format!("sip:{}", device.address());
    assert_eq!(options.uri(), Some(there.as_str()));
    assert!(device.gather(MOMENT, is("OPTIONS")).is_empty());
}

#[test]
fn one_side_leaves_the_first_direct_time_to_the_other_where_its_row_says_so() {
    for (side, caller_is_told, callee_is_told) in [
        ("none", true, true),
        ("outgoing", true, false),
        ("incoming", false, true),
    ] {
        let (_exchange, peer, device) = exchange(|exchange| {
            exchange.database.execute(&format!(
                "UPDATE ps_endpoints SET direct_media = 'yes', direct_media_glare_mitigation = '{side}'"
            ));
            exchange.extension("house", "202", &[("Dial", "PJSIP/server,60")]);
        });
        let audio = (socket(), socket());
        let (_caller, _callee) = talk(&peer, &device, (&audio.0, &audio.1));
        for (told, who, other) in [
            (caller_is_told, &peer, &audio.1),
            (callee_is_told, &device, &audio.0),
        ] {
            let there = other.local_addr().expect("an address");
            let direct = |m: &SipText| {
                let described = AudioLine::parse(&m.body);
                is("INVITE")(m) && described.is_some_and(|audio| audio.address == there)
            };
            match told {
                true => drop(who.expect("where the other hears", direct)),
                false => assert!(who.gather(MOMENT, direct).is_empty(), "{side}"),
            }
        }
    }
}

#[test]
fn media_is_heard_at_its_own_address_where_the_row_binds_it() {
    for bound in ["yes", "no"] {
        let (_exchange, peer, _device) = exchange(|exchange| {
            exchange.database.execute(&format!(
                "UPDATE ps_endpoints SET media_address = '127.0.33.44', bind_rtp_to_media_address = '{bound}' WHERE id = 'peer'"
            ));
            exchange.extension("house", "echo", &[("Answer", ""), ("Echo", "")]);
        });
        let audio = socket();
        let mut call = peer.call("echo", |invite| describe(invite, audio_at(&audio, "")));
        let answer = call.expect_response(200);
        call.acknowledge(&answer, |_| ());
        let there = AudioLine::parse(&answer.body).expect("a description");
        assert_eq!(there.address.ip().to_string(), "127.0.33.44");
        if bound == "yes" {
            expect_echo(&audio, there.address, "at the address of the row");
        } else {
            // Told all the same, for those who are on the other side of a NAT; nobody is there.
            let taken = std::net::UdpSocket::bind(there.address);
            assert!(taken.is_ok(), "{taken:?}");
        }
    }
}

#[test]
fn who_holds_and_goes_on_speaking_is_heard_in_place_of_music_where_its_row_says_so() {
    for suppressed in ["yes", "no"] {
        let (_exchange, peer, device) = exchange(|exchange| {
            exchange.database.execute(&format!(
                "UPDATE ps_endpoints SET suppress_moh_on_sendonly = '{suppressed}' WHERE id = 'peer'"
            ));
            exchange.extension("house", "202", &[("Dial", "PJSIP/server,60")]);
        });
        let audio = (socket(), socket());
        let (mut caller, _callee) = talk(&peer, &device, (&audio.0, &audio.1));
        let held = caller.request("INVITE", "", |r| {
            describe(r, audio_at(&audio.0, "a=sendonly\r\n"));
        });
        assert_eq!(held.status(), Some(200), "{held:?}");
        caller.acknowledge(&held, |_| ());
        let music = || audio.1.recv(&mut [0; 2048]).ok();
        if suppressed == "no" {
            assert_eq!(wait_until(SOON, music), Some(172));
            continue;
        }
        assert_eq!(wait_until(MOMENT, music), None, "no music");
    }
}

#[test]
fn a_caller_hears_who_rings_before_anybody_has_answered_where_its_row_says_so() {
    for immediate in ["yes", "no"] {
        let (_exchange, peer, device) = exchange(|exchange| {
            let database = &exchange.database;
            database.execute(&format!(
                "UPDATE ps_endpoints SET send_pai = 'yes', rpid_immediate = '{immediate}' WHERE id = 'peer'"
            ));
            let shown = "UPDATE ps_endpoints SET callerid = 'Boss <999>' WHERE id = 'server'";
            database.execute(shown);
            exchange.extension("house", "202", &[("Dial", "PJSIP/server,60")]);
        });
        let audio = socket();
        let mut call = peer.call("202", |invite| describe(invite, audio_at(&audio, "")));
        device.called().respond(180, "two", |_| ());
        let rings = call.expect_response(180);
        let shown = rings.header("P-Asserted-Identity").unwrap_or_default();
        assert_eq!(shown.contains("sip:999@"), immediate == "yes", "{rings:?}");
    }
}

#[test]
fn what_a_trunk_tells_of_its_messages_counts_for_the_mailbox_of_its_row() {
    let mut exchange = Exchange::new();
    let mut trunk = Watcher::new("127.0.79.1", exchange.sip());
    trunk.known_as(&exchange, "trunk", &[("incoming_mwi_mailbox", "7@remote")]);
    let mut lamp = Watcher::new("127.0.79.2", exchange.sip());
    lamp.known_as(&exchange, "lamp", &[]);
    let aor = [("id", "lamp"), ("mailboxes", "7@remote")];
    exchange.database.insert("ps_aors", &aor);
    exchange.start();
    let request = lamp.subscribe("lamp", "message-summary");
    lamp.watch(&request);
    let first = lamp.notify();
    assert!(first.body.contains("Voice-Message: 0/0"), "{}", first.body);
    let told = |trunk: &mut Watcher, event: &str, kind: &str, body: &str| {
        let mut notify = trunk.request("NOTIFY", "trunk");
        let contact = format!("<sip:trunk@{}>", trunk.address());
        notify.push("Contact", &contact);
        notify.push("Event", event);
        notify.push("Subscription-State", "terminated");
        notify.push("Content-Type", kind);
        notify.body = body.to_owned();
        trunk.ask(&notify).status()
    };
    let (event, kind) = ("message-summary", "application/simple-message-summary");
    let waiting = "Messages-Waiting: yes\r\nVoice-Message: 3/1 (0/0)\r\n";
    assert_eq!(told(&mut trunk, event, kind, waiting), Some(200));
    lamp.notify_where("three wait", |n| n.body.contains("Voice-Message: 3/1"));
    assert_eq!(told(&mut trunk, event, kind, "nothing"), Some(400));
    assert_eq!(told(&mut trunk, event, "text/plain", waiting), Some(415));
    assert_eq!(told(&mut trunk, "presence", kind, waiting), Some(489));
    // Whose row names no mailbox tells nobody.
    assert_eq!(told(&mut lamp, event, kind, waiting), Some(481));
}

#[test]
fn messages_are_heard_at_the_number_of_the_globals_and_told_at_the_start_unless_they_say_no() {
    for disabled in ["no", "yes"] {
        let (_exchange, _peer, device) = exchange(|exchange| {
            let row = [
                ("id", "global"),
                ("default_voicemail_extension", "*97"),
                ("mwi_disable_initial_unsolicited", disabled),
            ];
            exchange.database.insert("ps_globals", &row);
            exchange
                .database
                .execute("UPDATE ps_endpoints SET mailboxes = '100@default' WHERE id = 'server'");
        });
        if disabled == "yes" {
            assert!(device.gather(MOMENT, is("NOTIFY")).is_empty());
            continue;
        }
        let told = device.expect("NOTIFY", is("NOTIFY"));
        let account = "Message-Account: sip:*97@";
        assert!(told.body.contains(account), "{}", told.body);
    }
}

#[test]
fn challenges_are_answered_with_the_algorithms_of_the_globals() {
    for (globals, algorithm) in [("", "MD5"), ("SHA-256", "SHA-256")] {
        let (_exchange, peer, device) = exchange(|exchange| {
            let database = &exchange.database;
            let row = [("id", "global"), ("default_auth_algorithms_uac", globals)];
            database.insert("ps_globals", &row);
            let row = [("id", "own"), ("username", "house"), ("password", "secret")];
            database.insert("ps_auths", &row);
            database.execute("UPDATE ps_endpoints SET outbound_auth = 'own' WHERE id = 'server'");
            exchange.extension("house", "202", &[("Dial", "PJSIP/server,20")]);
        });
        let audio = socket();
        let _call = peer.call("202", |invite| describe(invite, audio_at(&audio, "")));
        let called = device.called();
        called.respond(401, "two", |response| {
            for offered in ["SHA-256", "MD5"] {
                let challenge = format!(
                    "Digest realm=\"device\", nonce=\"n1\", algorithm={offered}, qop=\"auth\""
                );
                response.push("WWW-Authenticate", &challenge);
            }
        });
        let again = device.expect("INVITE with credentials", |m| {
            is("INVITE")(m) && m.header("Authorization").is_some()
        });
        let given = again.header("Authorization").unwrap_or_default();
        assert!(
            given.contains(&format!("algorithm={algorithm},")),
            "{given}"
        );
    }
}

#[test]
fn messages_are_written_to_the_log_of_the_peers_that_the_globals_name() {
    let (exchange, peer, device) = exchange(|exchange| {
        let row = [("id", "global"), ("debug", "no")];
        exchange.database.insert("ps_globals", &row);
        exchange.extension("house", "202", &[("Dial", "PJSIP/server,20")]);
    });
    let audio = socket();
    let call = |user: &str| {
        let mut call = peer.call("202", |invite| {
            invite.push("X-Who", user);
            describe(invite, audio_at(&audio, ""));
        });
        device.called().respond(486, "two", |_| ());
        let refused = call.expect_response(486);
        call.acknowledge(&refused, |_| ());
    };
    call("first");
    let debug = |value: &str| {
        let sql = format!("UPDATE ps_globals SET debug = '{value}'");
        exchange.database.execute(&sql);
    };
    // Nobody of these addresses talks with us.
    debug("192.0.2.0/24");
    std::thread::sleep(Duration::from_millis(1500));
    call("second");
    debug("127.0.0.1");
    let from = format!("SIP from UDP {}", peer.address());
    let to = format!("SIP to UDP {}", device.address());
    let wanted = ["  | X-Who: third", &from, &to];
    let written = wait_until(SOON, || {
        call("third");
        let log = exchange.log();
        let all = wanted.iter().all(|part| log.contains(part));
        all.then_some(())
    });
    let log = exchange.log();
    assert!(written.is_some(), "the third is written: {log}");
    for silent in ["first", "second"] {
        assert!(!log.contains(&format!("X-Who: {silent}")), "{log}");
    }
}

#[test]
fn programs_hear_of_contacts_that_come_and_go_and_of_refreshes_where_the_globals_say_so() {
    for refreshes in ["yes", "no"] {
        let mut exchange = Exchange::new();
        let user = [
            ("general", "enabled", "yes"),
            ("boss", "secret", "4711"),
            ("boss", "read", "all"),
            ("boss", "write", "all"),
        ];
        for (section, name, value) in user {
            let row = [
                ("cat_metric", "0"),
                ("var_metric", "0"),
                ("commented", "0"),
                ("filename", "manager.conf"),
                ("category", section),
                ("var_name", name),
                ("var_val", value),
            ];
            exchange.database.insert("static_manager", &row);
        }
        let globals = [
            ("id", "global"),
            ("send_contact_status_on_update_registration", refreshes),
        ];
        exchange.database.insert("ps_globals", &globals);
        let aor = [("id", "phone"), ("max_contacts", "1")];
        exchange.database.insert("ps_aors", &aor);
        let mut phone = Watcher::new("127.0.79.3", exchange.sip());
        phone.known_as(&exchange, "phone", &[]);
        exchange.start();
        let address = (exchange.ip(), 5038).into();
        let mut programs = ManagerClient::login(address, "boss", "4711");
        let contact = format!("sip:watcher@{}", phone.address());
        let mut number = 0;
        let mut register = |expires: &str| {
            number += 1;
            let mut request = phone.request("REGISTER", "phone");
            request.set("Call-ID", "one@telephone");
            request.set("CSeq", &format!("{number} REGISTER"));
            request.push("Contact", &format!("<{contact}>"));
            request.push("Expires", expires);
            assert_eq!(phone.ask(&request).status(), Some(200));
        };
        register("600");
        register("600");
        register("0");
        let is_removed = |block: &strowger_tests::manager::Block| {
            block.event() == "ContactStatus" && block.get("ContactStatus") == "Removed"
        };
        let blocks = programs.blocks_until("Removed", is_removed);
        let told: Vec<_> = blocks
            .iter()
            .filter(|block| block.event() == "ContactStatus")
            .map(|block| {
                assert_eq!(block.get("AOR"), "phone", "{block:?}");
                assert_eq!(block.get("EndpointName"), "phone", "{block:?}");
                assert_eq!(block.get("URI"), contact, "{block:?}");
                block.get("ContactStatus").to_owned()
            })
            .collect();
        let wanted = match refreshes {
            "yes" => &["NonQualified", "NonQualified", "Removed"][..],
            _ => &["NonQualified", "Removed"],
        };
        assert_eq!(told, wanted);
    }
}

#[test]
fn early_media_of_a_later_telephone_is_followed_unless_endpoint_or_system_say_no() {
    for (endpoint, system, followed) in [
        ("yes", "yes", true),
        ("no", "yes", false),
        ("yes", "no", false),
    ] {
        let (_exchange, peer, device) = exchange(|exchange| {
            let row = [("id", "system"), ("follow_early_media_fork", system)];
            exchange.database.insert("ps_systems", &row);
            exchange.database.execute(&format!(
                "UPDATE ps_endpoints SET follow_early_media_fork = '{endpoint}' WHERE id = 'server'"
            ));
            exchange.extension("house", "202", &[("Dial", "PJSIP/server,60")]);
        });
        let (own, first, second) = (socket(), socket(), socket());
        let mut call = peer.call("202", |invite| describe(invite, audio_at(&own, "")));
        let called = device.called();
        called.respond(183, "one", |r| describe(r, audio_at(&first, "")));
        call.expect_response(183);
        called.respond(183, "two", |r| describe(r, audio_at(&second, "")));
        std::thread::sleep(MOMENT);
        // The one that is followed is heard, and the other is not once that one has spoken.
        let (heard, other) = if followed {
            (&second, &first)
        } else {
            (&first, &second)
        };
        // What comes late is told from what must not come by its sound.
        let speak = |from: &std::net::UdpSocket, sound: u8, number: u16| {
            let mut packet = vec![0x80, 8];
            packet.extend_from_slice(&number.to_be_bytes());
            packet.extend_from_slice(&(u32::from(number) * 160).to_be_bytes());
            packet.extend_from_slice(
                &u32::from(from.local_addr().expect("an address").port()).to_be_bytes(),
            );
            packet.resize(172, sound);
            let there = AudioLine::parse(&called.invite.body).expect("a description");
            from.send_to(&packet, there.address).expect("sent");
            let mut heard = [0; 2048];
            let length = own.recv(&mut heard).ok()?;
            assert_eq!(length, 172, "{endpoint} {system}");
            Some(heard[171])
        };
        let mut number = 0;
        let relayed = wait_until(SOON, || {
            number += 1;
            speak(heard, 0xd5, number)
        });
        assert_eq!(relayed, Some(0xd5), "{endpoint} {system}");
        assert!(
            (0..10).all(|number| speak(other, 0x55, number) != Some(0x55)),
            "{endpoint} {system}"
        );
    }
}

#[test]
fn the_record_key_of_a_telephone_dials_the_feature_of_its_row() {
    let (exchange, peer, device) = exchange(|exchange| {
        exchange.database.execute(
            "UPDATE ps_endpoints SET one_touch_recording = 'yes', record_off_feature = 'nothing' WHERE id = 'peer'",
        );
        exchange.extension("house", "202", &[("Dial", "PJSIP/server,60,X")]);
    });
    let audio = (socket(), socket());
    let (mut caller, mut callee) = talk(&peer, &device, (&audio.0, &audio.1));
    let recorded = || {
        let files = std::fs::read_dir(exchange.recordings()).ok();
        files.map_or(0, Iterator::count)
    };
    let mut key = |value: &str| {
        let info = caller.request("INFO", "", |info| info.push("Record", value));
        info.status()
    };
    assert_eq!(key("perhaps"), Some(400));
    assert_eq!(key("off"), Some(403), "there is no such feature");
    assert_eq!(recorded(), 0);
    assert_eq!(key("on"), Some(200));
    let found = wait_until(SOON, || (recorded() > 0).then_some(()));
    assert!(found.is_some(), "a recording begins");
    let refused = callee.request("INFO", "two", |info| info.push("Record", "on"));
    assert_eq!(refused.status(), Some(403), "its row does not say so");
}
