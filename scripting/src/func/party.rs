//! `CALLERID` and `CONNECTEDLINE`: who is at the ends of the call.

use strowger_core::channel::{Data, Party, Presentation};

use super::{Function, argument};
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read_write(
        "CALLERID",
        "CALLERID(type)",
        "who placed the call",
        caller,
        set_caller,
    ),
    Function::read_write(
        "CONNECTEDLINE",
        "CONNECTEDLINE(type[,i])",
        "who is at the other end",
        connected,
        set_connected,
    ),
];

fn caller(task: &Task, args: &str) -> Result<String, String> {
    let data = task.channel.data();
    let item = argument(args, 0).to_ascii_lowercase();
    match item.as_str() {
        "ani" | "ani-num" => Ok(data.ani.clone()),
        "ani-name" => Ok(data.caller.name.clone()),
        "ani-all" => Ok(Party {
            number: data.ani.clone(),
            ..data.caller.clone()
        }
        .all()),
        "rdnis" => Ok(data.rdnis.clone()),
        "dnid" => Ok(data.dnid.clone()),
        "dnid-num-plan" | "ani2" => Ok("0".to_owned()),
        _ => read(&data.caller, &item).ok_or_else(|| unknown("CALLERID", &item)),
    }
}

fn set_caller(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let mut data = task.channel.data_mut();
    let item = argument(args, 0).to_ascii_lowercase();
    match item.as_str() {
        "ani" | "ani-num" => value.trim().clone_into(&mut data.ani),
        "ani-all" => data.ani = Party::parse(value).number,
        "rdnis" => value.trim().clone_into(&mut data.rdnis),
        "dnid" => value.trim().clone_into(&mut data.dnid),
        // Kept as one with the caller's name; the numbering plan and ANI II digits of the old network are not kept.
        "ani-name" | "dnid-num-plan" | "ani2" => {}
        _ => {
            let Data { caller, .. } = &mut *data;
            if !write(caller, &item, value)? {
                return Err(unknown("CALLERID", &item));
            }
            if item == "all" {
                let number = data.caller.number.clone();
                data.ani = number;
            }
        }
    }
    Ok(())
}

fn connected(task: &Task, args: &str) -> Result<String, String> {
    let item = argument(args, 0).to_ascii_lowercase();
    read(&task.channel.data().connected, &item).ok_or_else(|| unknown("CONNECTEDLINE", &item))
}

fn set_connected(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let item = argument(args, 0).to_ascii_lowercase();
    if write(&mut task.channel.data_mut().connected, &item, value)? {
        // `i`: more of it is to come.
        if argument(args, 1) != "i" {
            task.channel.tell_connected();
        }
        Ok(())
    } else {
        Err(unknown("CONNECTEDLINE", &item))
    }
}

fn unknown(function: &str, item: &str) -> String {
    format!(
        "{function}({item}): there is no such item; known are all, name, num, pres, name-pres, num-pres, tag"
    )
}

/// The item of a party; None for an unknown item.
pub(crate) fn read(party: &Party, item: &str) -> Option<String> {
    Some(match item {
        "all" => party.all(),
        "name" => party.name.clone(),
        "num" | "number" => party.number.clone(),
        "pres" | "name-pres" | "num-pres" => presentation_name(party.presentation).to_owned(),
        "name-valid" => u8::from(!party.name.is_empty()).to_string(),
        "num-valid" => u8::from(!party.number.is_empty()).to_string(),
        "name-charset" => "utf8".to_owned(),
        "num-plan" | "ton" => "0".to_owned(),
        "tag" => party.tag.clone(),
        "subaddr" | "subaddr-type" | "subaddr-odd" | "subaddr-valid" => String::new(),
        _ if item.starts_with("priv-") => String::new(),
        _ => return None,
    })
}

/// Sets an item of a party; false for an unknown item.
pub(crate) fn write(party: &mut Party, item: &str, value: &str) -> Result<bool, String> {
    match item {
        "all" => {
            let read = Party::parse(value);
            party.name = read.name;
            party.number = read.number;
        }
        "name" => value.trim().clone_into(&mut party.name),
        "num" | "number" => value.trim().clone_into(&mut party.number),
        "pres" | "name-pres" | "num-pres" => {
            party.presentation = parse_presentation(value)?;
            party.screened = value.trim().ends_with("passed_screen");
        }
        "tag" => value.clone_into(&mut party.tag),
        "name-valid" => {
            if !super::text::is_yes(value) {
                party.name.clear();
            }
        }
        "num-valid" => {
            if !super::text::is_yes(value) {
                party.number.clear();
            }
        }
        // Of ISDN; accepted so that old dialplans go on, without effect on SIP.
        "name-charset" | "num-plan" | "ton" | "subaddr" | "subaddr-type" | "subaddr-odd"
        | "subaddr-valid" => {}
        _ if item.starts_with("priv-") => {}
        _ => return Ok(false),
    }
    Ok(true)
}

/// The number that `CALLINGPRES` shows.
pub(crate) fn presentation_number(presentation: Presentation) -> u8 {
    match presentation {
        Presentation::Allowed => 0,
        Presentation::Prohibited => 32,
        Presentation::Unavailable => 67,
    }
}

fn presentation_name(presentation: Presentation) -> &'static str {
    match presentation {
        Presentation::Allowed => "allowed_not_screened",
        Presentation::Prohibited => "prohib_not_screened",
        Presentation::Unavailable => "unavailable",
    }
}

fn parse_presentation(value: &str) -> Result<Presentation, String> {
    let value = value.trim().to_ascii_lowercase();
    if let Ok(number) = value.parse::<u8>() {
        return Ok(match number & 0x60 {
            0 => Presentation::Allowed,
            0x20 => Presentation::Prohibited,
            _ => Presentation::Unavailable,
        });
    }
    if value.starts_with("allowed") {
        Ok(Presentation::Allowed)
    } else if value.starts_with("prohib") {
        Ok(Presentation::Prohibited)
    } else if value == "unavailable" {
        Ok(Presentation::Unavailable)
    } else {
        Err(format!(
            "\"{value}\" is no presentation; known are allowed, prohib, unavailable"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_a_party_are_read_as_they_were_written() {
        let mut party = Party::default();
        for (item, value, shown) in [
            ("all", "\"Анна\" <100>", "\"Анна\" <100>"),
            ("name", "Bob", "Bob"),
            ("num", " 7912 ", "7912"),
            ("number", "101", "101"),
            ("pres", "prohib", "prohib_not_screened"),
            ("num-pres", "allowed_passed_screen", "allowed_not_screened"),
            ("name-pres", "67", "unavailable"),
            ("tag", "x", "x"),
            ("num-valid", "no", "0"),
        ] {
            assert_eq!(write(&mut party, item, value), Ok(true), "{item}");
            assert_eq!(read(&party, item).as_deref(), Some(shown), "{item}");
        }
        assert_eq!(party.name, "Bob");
        assert_eq!(party.number, "");
    }

    #[test]
    fn an_unknown_item_is_told() {
        let mut party = Party::default();
        assert_eq!(read(&party, "shoe-size"), None);
        assert_eq!(write(&mut party, "shoe-size", "44"), Ok(false));
        assert!(write(&mut party, "pres", "maybe").is_err());
    }
}
