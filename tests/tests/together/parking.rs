//! Parked calls as a telephone with a lamp for each space shows them: lit while somebody stands there, dark when the call was
//! fetched, came back or was given up; by numbers that are written and by those that a parking lot makes.

use strowger_tests::wire::SipText;
use strowger_tests::{Bank, Exchange, Manner, Phone, SOON, Source, Watched, Watcher};

/// Alice and Bob; `700` parks, `*701` fetches from space 701, `709` parks for Bob. Calls come back after 3 s.
struct House {
    exchange: Exchange,
    bank: Bank,
    lamp: Watcher,
}

impl House {
    fn new(lamp_ip: &str) -> Self {
        let mut exchange = Exchange::new();
        for name in ["alice", "bob"] {
            exchange.subscriber(name, "secret", "house");
        }
        exchange.extension("house", "700", &[("Park", ",s")]);
        let for_bob = [("Set", "PARKER=PJSIP/bob"), ("Park", "short,s")];
        exchange.extension("house", "709", &for_bob);
        let fetch = [("ParkedCall", "default,${EXTEN:1}")];
        exchange.extension("house", "_*7XX", &fetch);
        for (file, section, name, value) in [
            (
                "extensions.conf",
                "house",
                "exten",
                "701,hint,park:701@parkedcalls",
            ),
            (
                "extensions.conf",
                "house",
                "exten",
                "801,hint,park:801@short",
            ),
            (
                "extensions.conf",
                "house",
                "switch",
                "Realtime/@realtime_extensions",
            ),
            ("res_parking.conf", "short", "parkpos", "801-810"),
            ("res_parking.conf", "short", "context", "parkedshort"),
            ("res_parking.conf", "short", "parkingtime", "3"),
            ("res_parking.conf", "made", "parkext", "850"),
            ("res_parking.conf", "made", "parkext_exclusive", "yes"),
            ("res_parking.conf", "made", "parkpos", "851-852"),
            ("res_parking.conf", "made", "parkinghints", "yes"),
            ("res_parking.conf", "made", "context", "house"),
        ] {
            exchange.database.insert(
                "static_extensions",
                &[
                    ("cat_metric", "0"),
                    ("var_metric", "0"),
                    ("filename", file),
                    ("category", section),
                    ("var_name", name),
                    ("var_val", value),
                    ("commented", "0"),
                ],
            );
        }
        let lamp = Watcher::new(lamp_ip, exchange.sip());
        lamp.known_as(&exchange, "lamp", &[]);
        exchange.start();
        Self {
            exchange,
            bank: Bank::new(),
            lamp,
        }
    }

    fn phone(&self, name: &str) -> Phone {
        let phone = self.bank.phone(name, "secret", self.exchange.sip());
        phone.register();
        phone
    }

    /// Watches a space, which is free.
    fn watch(&mut self, space: &str) -> Watched {
        let request = self.lamp.subscribe(space, "dialog");
        let (_, watched) = self.lamp.watch(&request);
        self.expect("dark", "terminated");
        watched
    }

    #[track_caller]
    fn expect(&self, what: &str, dialog: &str) -> SipText {
        let state = format!("<state>{dialog}</state>");
        self.lamp.notify_where(what, |n| n.body.contains(&state))
    }
}

#[test]
fn the_lamp_of_a_space_is_lit_until_the_call_is_fetched() {
    let mut house = House::new("127.0.80.1");
    let (alice, bob) = (house.phone("alice"), house.phone("bob"));
    alice.set_source(Source::Tone(440.0));
    house.watch("701");
    let parked = alice.call("700");
    parked.expect_answered(SOON);
    house.expect("lit", "confirmed");
    let fetching = bob.call("*701");
    fetching.expect_answered(SOON);
    house.expect("dark again", "terminated");
    fetching.expect_tone(440.0, 200, SOON);
    fetching.hang_up();
    parked.expect_ended(SOON);
    // Whoever gives up leaves the space as well.
    let parked = alice.call("700");
    parked.expect_answered(SOON);
    house.expect("lit", "confirmed");
    parked.hang_up();
    house.expect("dark again", "terminated");
}

#[test]
fn a_lot_makes_the_numbers_that_park_and_fetch_and_the_lamps() {
    let mut house = House::new("127.0.80.4");
    let (alice, bob) = (house.phone("alice"), house.phone("bob"));
    alice.set_source(Source::Tone(440.0));
    house.watch("851");
    let parked = alice.call("850");
    parked.expect_answered(SOON);
    house.expect("lit", "confirmed");
    let fetching = bob.call("851");
    fetching.expect_answered(SOON);
    house.expect("dark again", "terminated");
    fetching.expect_tone(440.0, 200, SOON);
    fetching.hang_up();
    parked.expect_ended(SOON);
}

#[test]
fn the_lamp_is_dark_when_a_call_has_come_back_to_who_parked_it() {
    let mut house = House::new("127.0.80.2");
    let (alice, bob) = (house.phone("alice"), house.phone("bob"));
    bob.set_manner(Manner::Manual);
    house.watch("801");
    let parked = alice.call("709");
    parked.expect_answered(SOON);
    house.expect("lit", "confirmed");
    let back = bob.expect_call(SOON);
    house.expect("dark while it rings at who parked it", "terminated");
    back.answer();
    back.hang_up();
    parked.expect_ended(SOON);
}

#[test]
fn who_subscribes_while_a_call_stands_there_is_told_so() {
    let mut house = House::new("127.0.80.3");
    let alice = house.phone("alice");
    house.watch("701");
    let parked = alice.call("700");
    house.expect("the call stands there", "confirmed");
    let request = house.lamp.subscribe("701", "presence");
    house.lamp.watch(&request);
    let told = house.lamp.notify();
    let note = |n: &SipText, words| n.body.contains(&format!("<note>{words}</note>"));
    assert!(note(&told, "On the phone"), "{}", told.body);
    parked.hang_up();
    house.lamp.notify_where("it is free", |n| note(n, "Ready"));
}
