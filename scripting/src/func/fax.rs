//! `FAXOPT`: how a fax is to be sent or received, and what came of the last one.

use strowger_core::channel::{Channel, setting_variable};

use super::Function;

pub(crate) const FUNCTIONS: &[Function] = &[Function::read_write(
    "FAXOPT",
    "FAXOPT(ecm|modem|localstationid|headerinfo|status|statusstr|error|pages|rate|resolution|mode|remotestationid|filename)",
    "how a fax is sent or received, and what came of it",
    |task, args| {
        let name = args.trim().to_ascii_lowercase();
        if !WRITTEN.contains(&name.as_str()) && !READ.contains(&name.as_str()) {
            return Err(unknown(&name));
        }
        Ok(get(&task.channel, &name))
    },
    |task, args, value| {
        let name = args.trim().to_ascii_lowercase();
        if !WRITTEN.contains(&name.as_str()) {
            return Err(unknown(&name));
        }
        if name == "modem" && modems(value).is_empty() {
            return Err(format!(
                "FAXOPT(modem)=\"{value}\": known are v17, v27 and v29, with commas between them"
            ));
        }
        set(&task.channel, &name, value.trim());
        Ok(())
    },
)];

/// What the dialplan may set.
const WRITTEN: &[&str] = &["ecm", "modem", "localstationid", "headerinfo"];
/// What it reads besides.
const READ: &[&str] = &[
    "status",
    "statusstr",
    "error",
    "pages",
    "rate",
    "resolution",
    "mode",
    "remotestationid",
    "filename",
];
/// All modems, the fastest first.
const MODEMS: [&str; 3] = ["v17", "v29", "v27"];

fn unknown(name: &str) -> String {
    format!(
        "FAXOPT({name}): known are {} and, to be read, {}",
        WRITTEN.join(", "),
        READ.join(", ")
    )
}

fn item(name: &str) -> String {
    format!("fax-{name}")
}

/// What is said of a fax on this channel.
pub(crate) fn get(channel: &Channel, name: &str) -> String {
    let kept = channel.setting(&item(name));
    kept.unwrap_or_else(|| match name {
        "ecm" => "yes".to_owned(),
        "modem" => MODEMS.join(","),
        _ => String::new(),
    })
}

/// Says it.
pub(crate) fn set(channel: &Channel, name: &str, value: &str) {
    let variable = setting_variable(&item(name));
    let mut data = channel.data_mut();
    if value.is_empty() {
        data.variables.remove(&variable);
    } else {
        // The channel has its own limit of variables.
        let _ = data.variables.set(&variable, value);
    }
}

/// The modems of a list.
pub(crate) fn modems(list: &str) -> Vec<&'static str> {
    let named = |modem: &&str| {
        let mut names = list.split(',').map(str::trim);
        names.any(|name| name.trim_end_matches("ter").eq_ignore_ascii_case(modem))
    };
    MODEMS.into_iter().filter(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modems_are_read_from_a_list_the_fastest_first() {
        assert_eq!(modems("v27,v17"), ["v17", "v27"]);
        assert_eq!(modems(" V29 , v27ter"), ["v29", "v27"]);
        assert!(modems("v34,").is_empty());
    }
}
