//! What a key of a group may not set, because the dialplan of everybody trusts it. What nobody outside may have run or evaluated
//! is a mark of the application or the function.

/// Variables that say what is run, or where a call goes by itself.
const TRUSTED: &[&str] = &[
    "MIXMONITOR_COMMAND",
    "MIXMONITOR_EXEC",
    "MONITOR_EXEC",
    "MONITOR_EXEC_ARGS",
    "DYNAMIC_FEATURES",
    "DYNAMIC_FEATURENAME",
    "FORWARD_CONTEXT",
    "TRANSFER_CONTEXT",
    "GOTO_ON_BLINDXFR",
    "PARKINGDYNAMIC",
    "PARKINGDYNCONTEXT",
    "MACRO_CONTEXT",
    "MACRO_RESULT",
    "GOSUB_RESULT",
    "QUEUE_MEMBER_LIST",
    "CLASSPATH",
    "BRIDGEPEER",
    "EXITCONTEXT",
    "FAXEXTEN",
    "PARKER",
    "PICKUPMARK",
];
/// Beginnings of names that belong to the exchange.
const TRUSTED_BEGIN: &[&str] = &[
    "AGI",
    "LIMIT_",
    "MIXMONITOR",
    "MONITOR",
    "DIALEDPEER",
    "PARKING",
    "SIP",
    "SPY",
    "PJSIP",
    "TOUCH_",
];

/// Is it the name of a variable, with what makes it inherited, and nothing else?
pub(crate) fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// May somebody whom a group bounds set it? `is_global` tells what the dialplan of all has under a name: a variable of a channel
/// would come before it.
pub(crate) fn may_set(name: &str, is_global: impl Fn(&str) -> bool) -> bool {
    let bare = name.trim_start_matches('_');
    let upper = bare.to_ascii_uppercase();
    is_variable(name)
        && !bare.is_empty()
        && !is_global(bare)
        && !TRUSTED.contains(&upper.as_str())
        && !TRUSTED_BEGIN.iter().any(|begin| upper.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_trusted_is_not_set() {
        let global = |name: &str| name == "TRUNK";
        for (name, wanted) in [
            ("order", true),
            ("__order", true),
            ("TRUNK", false),
            ("_TRUNK", false),
            ("__MIXMONITOR_COMMAND", false),
            ("mixmonitor_command", false),
            ("AGISIGHUP", false),
            ("PARKER", false),
            ("_TOUCH_MIXMONITOR", false),
            ("LIMIT_WARNING_FILE", false),
            ("CDR(x)", false),
            ("a b", false),
            ("a\r\nContext", false),
            ("__", false),
            ("", false),
        ] {
            assert_eq!(may_set(name, global), wanted, "{name:?}");
        }
    }
}
