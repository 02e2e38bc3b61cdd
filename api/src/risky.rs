//! What nobody outside may have done, whatever the key: running programs, and evaluating or reaching beyond what is named. And
//! what a key of a group may not set, because the dialplan of everybody trusts it.

/// Applications that run programs, or others that their data name, or change what belongs to all.
const APPLICATIONS: &[&str] = &[
    "agi",
    "deadagi",
    "eagi",
    "exec",
    "execif",
    "execiftime",
    "externalivr",
    "mixmonitor",
    "monitor",
    "mset",
    "originate",
    "set",
    "system",
    "tryexec",
    "trysystem",
    "setglobalvar",
    "importvar",
    "macro",
    "gosub",
];
/// Functions that do the same, as they stand in data.
const FUNCTIONS: &[&str] = &[
    "EVAL(", "SHELL(", "FILE(", "CURL(", "ODBC", "GLOBAL(", "DB(", "REALTIME", "EXEC(",
];
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
];
/// Beginnings of names that belong to the exchange.
const TRUSTED_BEGIN: &[&str] = &[
    "AGI",
    "MIXMONITOR",
    "MONITOR",
    "DIALEDPEER",
    "PARKING",
    "SIP",
    "PJSIP",
];

/// May an application be run for somebody outside?
pub(crate) fn may_run(application: &str, data: &str) -> bool {
    let name = application.trim().to_ascii_lowercase();
    !APPLICATIONS.contains(&name.as_str()) && !evaluates(data)
}

/// Does a text have something evaluated that reaches beyond a call?
pub(crate) fn evaluates(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    FUNCTIONS.iter().any(|function| upper.contains(function))
}

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
    fn what_runs_programs_is_not_run_and_what_is_trusted_is_not_set() {
        for (application, data, wanted) in [
            ("Playback", "hello", true),
            ("Echo", "", true),
            ("System", "id", false),
            (" system ", "id", false),
            ("Originate", "Local/1@a,app,System,id", false),
            ("Set", "GLOBAL(X)=1", false),
            ("ExecIfTime", "*,*,*,*?System,id", false),
            ("NoOp", "${shell(id)}", false),
            ("NoOp", "${GLOBAL(X)}", false),
        ] {
            assert_eq!(may_run(application, data), wanted, "{application} {data}");
        }
        let global = |name: &str| name == "TRUNK";
        for (name, wanted) in [
            ("order", true),
            ("__order", true),
            ("TRUNK", false),
            ("_TRUNK", false),
            ("__MIXMONITOR_COMMAND", false),
            ("mixmonitor_command", false),
            ("AGISIGHUP", false),
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
