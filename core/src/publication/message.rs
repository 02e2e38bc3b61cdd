//! The body of a PUBLISH between exchanges: one thing that is said, as JSON.

use serde_json::{Value, json};

use super::settings::Filter;
use crate::device::{DeviceState, device_key};
use crate::voicemail::{Counts, split};

/// Media type of the body.
pub(super) const JSON: &str = "application/json";
/// Longest name of a device, a mailbox or an exchange, in bytes.
const NAME_MAX: usize = 128;

/// Something that an exchange says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// This device is in this state there.
    Device { device: String, state: DeviceState },
    /// So many messages are in this mailbox, `number@context`.
    Mailbox { mailbox: String, counts: Counts },
    /// Say everything anew.
    Refresh,
}

/// Who says it, and what; or what is wrong with the body.
pub(super) fn read(body: &[u8]) -> Result<(String, Said), &'static str> {
    let value: Value = serde_json::from_slice(body).map_err(|_| "the body is no JSON")?;
    let name = |field: &str, wrong: &'static str| {
        let text = value.get(field).and_then(Value::as_str);
        let good = |text: &&str| {
            !text.is_empty() && text.len() <= NAME_MAX && !text.chars().any(char::is_control)
        };
        text.filter(good).map(str::to_owned).ok_or(wrong)
    };
    let count = |field: &str, wrong: &'static str| {
        let number = value.get(field).and_then(Value::as_u64).ok_or(wrong)?;
        u32::try_from(number)
            .map(|number| number as usize)
            .map_err(|_| wrong)
    };
    let entity = name("eid", "eid names no exchange")?;
    let said = match value.get("type").and_then(Value::as_str) {
        Some("devicestate") => {
            let device = name("device", "device names none")?;
            if !device.contains(['/', ':']) {
                return Err("device is no name such as PJSIP/100");
            }
            let state = value.get("state").and_then(Value::as_str);
            Said::Device {
                device: device_key(&device),
                state: state
                    .and_then(DeviceState::parse)
                    .ok_or("state is none of a device")?,
            }
        }
        Some("mailboxstate") => Said::Mailbox {
            mailbox: {
                let name = name("uniqueid", "uniqueid names no mailbox")?;
                let (number, context) = split(&name);
                format!("{number}@{context}")
            },
            counts: Counts {
                new: count("new", "new is no number of messages")?,
                old: count("old", "old is no number of messages")?,
            },
        },
        Some("refresh") => Said::Refresh,
        _ => return Err("type is none of devicestate, mailboxstate, refresh"),
    };
    Ok((entity, said))
}

impl Said {
    /// Whether it is about something that a filter lets through. Nothing is to be done for who wants to be told all.
    pub(super) fn passes(&self, filter: &Filter) -> bool {
        match self {
            Self::Device { device, .. } => filter.passes(device),
            Self::Mailbox { mailbox, .. } => filter.passes(mailbox),
            Self::Refresh => false,
        }
    }

    /// The body that says it.
    pub(crate) fn write(&self, entity: &str) -> String {
        let value = match self {
            Self::Device { device, state } => json!({
                "type": "devicestate",
                "device": device,
                "state": state.as_str(),
                "cachable": 1,
                "eid": entity,
            }),
            Self::Mailbox { mailbox, counts } => json!({
                "type": "mailboxstate",
                "uniqueid": mailbox,
                "old": counts.old,
                "new": counts.new,
                "eid": entity,
            }),
            Self::Refresh => json!({ "type": "refresh", "eid": entity }),
        };
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for said in [
            Said::Device {
                device: "PJSIP/alice".into(),
                state: DeviceState::RingInUse,
            },
            Said::Mailbox {
                mailbox: "7@default".into(),
                counts: Counts { new: 3, old: 1 },
            },
            Said::Refresh,
        ] {
            let read = read(said.write("02:00:00:00:00:01").as_bytes());
            assert_eq!(read, Ok(("02:00:00:00:00:01".to_owned(), said)));
        }
    }

    #[test]
    fn what_an_asterisk_says_is_understood_and_what_is_wrong_is_named() {
        let said = read(
            br#"{"type":"devicestate","device":"pjsip/alice","state":"NOT_INUSE","cachable":1,"eid":"a"}"#,
        );
        let wanted = Said::Device {
            device: "PJSIP/alice".into(),
            state: DeviceState::NotInUse,
        };
        assert_eq!(said, Ok(("a".to_owned(), wanted)));
        let said = read(br#"{"type":"mailboxstate","uniqueid":"7","new":1,"old":0,"eid":"a"}"#);
        let counts = Counts { new: 1, old: 0 };
        let mailbox = "7@default".to_owned();
        let wanted = Said::Mailbox { mailbox, counts };
        assert_eq!(said, Ok(("a".to_owned(), wanted)));
        for (body, wrong) in [
            ("", "no JSON"),
            ("[]", "eid"),
            (r#"{"eid":"a"}"#, "type"),
            (r#"{"eid":"a","type":"presence"}"#, "type"),
            (r#"{"eid":"","type":"refresh"}"#, "eid"),
            (
                r#"{"eid":"a","type":"devicestate","device":"alice","state":"BUSY"}"#,
                "PJSIP/100",
            ),
            (
                r#"{"eid":"a","type":"devicestate","device":"PJSIP/a","state":"AWAY"}"#,
                "state",
            ),
            (
                r#"{"eid":"a","type":"mailboxstate","uniqueid":"7","new":-1,"old":0}"#,
                "new",
            ),
            (
                r#"{"eid":"a","type":"mailboxstate","uniqueid":"7\n","new":1,"old":0}"#,
                "uniqueid",
            ),
        ] {
            let error = read(body.as_bytes()).expect_err(body);
            assert!(error.contains(wrong), "{body}: {error}");
        }
        let long = format!(
            r#"{{"type":"refresh","eid":"{}"}}"#,
            "a".repeat(NAME_MAX + 1)
        );
        assert!(read(long.as_bytes()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(body in "\\PC{0,60}") {
            let _ = read(body.as_bytes());
            let _ = read(format!("{{\"eid\":\"a\",\"type\":\"devicestate\",{body}}}").as_bytes());
        }
    }
}
