//! States of devices and extensions: who is free, rings, talks or cannot be reached.

use std::cell::RefCell;
use std::time::Duration;

use crate::exchange::{CONTEXT, Exchange, Manner, Phone, wait_until};
use strowger_core::device::{DeviceState, ExtensionState};

const HINTS: &[(&str, &str, &str)] = &[
    (CONTEXT, "exten", "200,hint,PJSIP/anna&Custom:away"),
    (CONTEXT, "exten", "_3XX,hint,PJSIP/anna"),
    (CONTEXT, "switch", "Realtime/@realtime_extensions"),
];

#[test]
fn a_device_rings_talks_and_is_free_again() {
    let anna = Phone::start("anna", Manner::Answer(None));
    let ringing = Phone::start("boris", Manner::Ring);
    let exchange = Exchange::start_with(
        &[
            ("100", "Set", "GLOBAL(OWN)=${DEVICE_STATE(PJSIP/tester)}"),
            ("100", "Dial", "PJSIP/anna"),
            ("101", "Dial", "SIP/boris"),
        ],
        &[&anna, &ringing],
        HINTS,
    );
    let state = |device: &str| exchange.shared.device_state(device);
    assert_eq!(state("PJSIP/anna"), DeviceState::NotInUse);
    assert_eq!(state("SIP/anna"), DeviceState::NotInUse);
    assert_eq!(state("PJSIP/nobody"), DeviceState::Invalid);
    // It calls, but cannot be called.
    assert_eq!(state("PJSIP/tester"), DeviceState::Unavailable);
    exchange.call_until("101", "", || {
        exchange.shared.device_state("PJSIP/boris") == DeviceState::Ringing
    });
    assert_eq!(state("PJSIP/boris"), DeviceState::NotInUse);
    let mut devices = exchange.shared.devices.subscribe();
    let mut extensions = exchange.shared.devices.subscribe_extensions();
    let (told, shown) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let mut hear = || {
        while let Ok(change) = devices.try_recv() {
            if &*change.device == "PJSIP/anna" {
                told.borrow_mut().push(change.state);
            }
        }
        while let Ok(change) = extensions.try_recv() {
            assert_eq!((&*change.context, &*change.exten), (CONTEXT, "200"));
            shown.borrow_mut().push(change.state);
        }
        (
            told.borrow().last().copied(),
            shown.borrow().last().copied(),
        )
    };
    // The caller stays until all have heard of it: what is over at once may never be told.
    let in_use = (Some(DeviceState::InUse), Some(ExtensionState::InUse));
    let hearing = RefCell::new(&mut hear);
    exchange.call_until("100", "", || {
        if hearing.borrow_mut()() != in_use {
            return false;
        }
        assert_eq!(state("PJSIP/anna"), DeviceState::InUse);
        assert_eq!(
            exchange.shared.extension_state(CONTEXT, "200"),
            ExtensionState::InUse
        );
        true
    });
    assert_eq!(exchange.global("OWN"), "INUSE");
    assert_eq!(state("PJSIP/anna"), DeviceState::NotInUse);
    // That it is over is told last.
    let over = (Some(DeviceState::NotInUse), Some(ExtensionState::NotInUse));
    wait_until("the end is told", || hearing.borrow_mut()() == over);
}

#[test]
fn functions_read_and_set_states() {
    let anna = Phone::start("anna", Manner::Answer(None));
    let exchange = Exchange::start_with(
        &[
            (
                "100",
                "Set",
                "GLOBAL(A)=${DEVICE_STATE(PJSIP/anna)}/${DEVICE_STATE(Custom:away)}",
            ),
            ("100", "Set", "DEVICE_STATE(Custom:away)=ringing"),
            ("100", "Set", "DEVICE_STATE(PJSIP/anna)=BUSY"),
            ("100", "Set", "DEVICE_STATE(Custom:away)=nonsense"),
            (
                "100",
                "Set",
                "GLOBAL(B)=${DEVICE_STATE(PJSIP/anna)}/${DEVICE_STATE(Custom:away)}",
            ),
            (
                "100",
                "Set",
                "GLOBAL(C)=${EXTENSION_STATE(200)}/${EXTENSION_STATE(301@test)}/${EXTENSION_STATE(400)}",
            ),
            ("100", "Set", "GLOBAL(D)=${HINT(200)}/${HINT(301)}"),
            (
                "100",
                "Set",
                "PRESENCE_STATE(CustomPresence:anna)=away,lunch,back at two",
            ),
            (
                "100",
                "Set",
                "GLOBAL(E)=${PRESENCE_STATE(CustomPresence:anna,value)}/${PRESENCE_STATE(CustomPresence:anna,message)}/${PRESENCE_STATE(CustomPresence:boris,value)}",
            ),
            (
                "100",
                "Set",
                "PRESENCE_STATE(CustomPresence:anna)=dnd,bHVuY2g=,,e",
            ),
            (
                "100",
                "Set",
                "GLOBAL(F)=${PRESENCE_STATE(CustomPresence:anna,subtype)}/${PRESENCE_STATE(CustomPresence:anna,subtype,e)}",
            ),
            (
                "100",
                "Set",
                "GLOBAL(G)=${DEVICE_STATE(Local/100@test)}/${DEVICE_STATE(Confbridge:77)}/${DEVICE_STATE(odd)}",
            ),
        ],
        &[&anna],
        HINTS,
    );
    exchange.call("100", "");
    for (name, wanted) in [
        ("A", "NOT_INUSE/UNKNOWN"),
        ("B", "NOT_INUSE/RINGING"),
        ("C", "RINGING/NOT_INUSE/UNKNOWN"),
        ("D", "PJSIP/anna&Custom:away/PJSIP/anna"),
        ("E", "away/back at two/not_set"),
        ("F", "lunch/bHVuY2g="),
        ("G", "NOT_INUSE/NOT_INUSE/INVALID"),
    ] {
        assert_eq!(exchange.global(name), wanted, "{name}");
    }
    assert!(exchange.shared.astdb.flush(Duration::from_secs(10)));
    assert_eq!(
        exchange
            .shared
            .astdb
            .get("CustomDevstate", "away")
            .as_deref(),
        Some("RINGING")
    );
}
