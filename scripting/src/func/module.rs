//! `IFMODULE` and `BLACKLIST`: what dialplans ask before they rely on something.

use super::{Function, find};
use crate::app;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read(
        "IFMODULE",
        "IFMODULE(module.so)",
        "1 if what a module of Asterisk brings is there, else 0",
        |_, args| {
            let name = args.trim();
            if name.is_empty() {
                return Err("IFMODULE needs the name of a module, such as app_dial.so".to_owned());
            }
            Ok(u8::from(is_there(name)).to_string())
        },
    ),
    Function::read(
        "BLACKLIST",
        "BLACKLIST()",
        "1 if the caller's number or name is a key of DB(blacklist/...), else 0",
        |task, _| {
            let (number, name) = {
                let data = task.channel.data();
                (data.caller.number.clone(), data.caller.name.clone())
            };
            let listed =
                |key: &str| !key.is_empty() && task.shared().astdb.get("blacklist", key).is_some();
            Ok(u8::from(listed(&number) || listed(&name)).to_string())
        },
    ),
];

/// Modules that are not named after one application or function, and what stands for each.
const OTHERS: &[&str] = &[
    "app_confbridge",
    "app_macro",
    "app_mixmonitor",
    "app_playtones",
    "app_queue",
    "app_sayunixtime",
    "app_stack",
    "app_system",
    "app_voicemail",
    "app_while",
    "bridge_simple",
    "bridge_softmix",
    "cdr_adaptive_odbc",
    "chan_bridge_media",
    "chan_pjsip",
    "codec_alaw",
    "codec_g722",
    "codec_gsm",
    "codec_opus",
    "codec_ulaw",
    "func_base64",
    "func_callerid",
    "func_cdr",
    "func_channel",
    "func_curl",
    "func_db",
    "func_dialgroup",
    "func_env",
    "func_global",
    "func_groupcount",
    "func_logic",
    "func_math",
    "func_odbc",
    "func_pjsip_aor",
    "func_pjsip_contact",
    "func_pjsip_endpoint",
    "func_rand",
    "func_realtime",
    "func_strings",
    "func_timeout",
    "func_uri",
    "pbx_config",
    "pbx_loopback",
    "pbx_lua",
    "pbx_realtime",
    "res_agi",
    "res_config_mysql",
    "res_config_odbc",
    "res_config_pgsql",
    "res_config_sqlite3",
    "res_curl",
    "res_fax",
    "res_musiconhold",
    "res_odbc",
    "res_parking",
    "res_pjsip",
    "res_pjsip_registrar",
    "res_pjsip_session",
    "res_realtime",
    "res_rtp_asterisk",
    "res_srtp",
];

/// Every name by which [`is_there`] says yes, without `.so`, sorted.
pub(crate) fn names() -> Vec<String> {
    let applications = app::all().into_iter();
    let functions = super::all().into_iter();
    let mut names: Vec<String> = OTHERS
        .iter()
        .map(|name| (*name).to_owned())
        .chain(applications.map(|app| format!("app_{}", app.name.to_ascii_lowercase())))
        .chain(functions.map(|function| format!("func_{}", function.name.to_ascii_lowercase())))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Is there what a module of Asterisk brings, by its name with or without `.so`?
pub(crate) fn is_there(module: &str) -> bool {
    let name = module.strip_suffix(".so").unwrap_or(module);
    if OTHERS.contains(&name) {
        return true;
    }
    match name.split_once('_') {
        Some(("app", application)) => app::find(application).is_some(),
        Some(("func", function)) => find(&function.to_ascii_uppercase()).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_that_is_listed_is_there() {
        let names = names();
        for name in &names {
            assert!(is_there(name), "{name}");
        }
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(names.iter().any(|name| name == "app_dial"));
    }

    #[test]
    fn modules_are_there_by_what_they_bring() {
        for (module, wanted) in [
            ("app_dial.so", true),
            ("app_queue", true),
            ("func_curl.so", true),
            ("func_shell.so", true),
            ("chan_pjsip.so", true),
            ("chan_dahdi.so", false),
            ("app_fax.so", false),
            ("res_fax.so", true),
            ("nothing", false),
        ] {
            assert_eq!(is_there(module), wanted, "{module}");
        }
    }
}
