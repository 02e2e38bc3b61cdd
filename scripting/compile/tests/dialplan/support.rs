//! Channels and registries made of maps.

use std::cell::RefCell;
use std::collections::HashMap;

use strowger_dialplan::{CallError, Plan, Problem, Registry, Row, StaticRow, Vars, compile};

/// A channel with variables and a few functions; keeps warnings.
#[derive(Default)]
pub(crate) struct Channel {
    pub(crate) variables: HashMap<String, String>,
    pub(crate) warnings: RefCell<Vec<String>>,
}

impl Channel {
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self {
            variables,
            ..Self::default()
        }
    }
}

impl Vars for Channel {
    fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn call(&self, function: &str, arguments: &str) -> Result<String, CallError> {
        match function {
            "LEN" => Ok(arguments.len().to_string()),
            "TOUPPER" => Ok(arguments.to_uppercase()),
            "ECHO" => Ok(arguments.to_owned()),
            "BROKEN" => Err(CallError::Failed("out of order".to_owned())),
            _ => Err(CallError::Unknown),
        }
    }

    fn warn(&self, warning: &str) {
        self.warnings.borrow_mut().push(warning.to_owned());
    }
}

/// Applications and functions of the tests.
pub(crate) struct Known;

const APPLICATIONS: [&str; 18] = [
    "NoOp",
    "Answer",
    "Dial",
    "Hangup",
    "Playback",
    "Goto",
    "GotoIf",
    "GotoIfTime",
    "Gosub",
    "Return",
    "Set",
    "ExecIf",
    "MixMonitor",
    "AGI",
    "Record",
    "Echo",
    "Verbose",
    "System",
];
const FUNCTIONS: [&str; 6] = ["LEN", "TOUPPER", "CALLERID", "DIALGROUP", "DB", "CUT"];

impl Registry for Known {
    fn application(&self, name: &str) -> Option<&str> {
        APPLICATIONS
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(name))
    }

    fn function(&self, name: &str) -> bool {
        FUNCTIONS.contains(&name)
    }

    fn applications(&self) -> Vec<&str> {
        APPLICATIONS.to_vec()
    }

    fn functions(&self) -> Vec<&str> {
        FUNCTIONS.to_vec()
    }
}

/// Realtime rows from (context, extension, priority, application, data), numbered from 1.
pub(crate) fn rows<'r>(list: &[(&'r str, &'r str, i32, &'r str, &'r str)]) -> Vec<Row<'r>> {
    (1..)
        .zip(list)
        .map(|(id, (context, exten, priority, app, appdata))| Row {
            id,
            context,
            exten,
            priority: *priority,
            app,
            appdata,
        })
        .collect()
}

/// Static rows from (section, name, value), numbered from 1.
pub(crate) fn statics<'r>(list: &[(&'r str, &'r str, &'r str)]) -> Vec<StaticRow<'r>> {
    (1..)
        .zip(list)
        .map(|(id, (category, name, value))| StaticRow {
            id,
            category,
            name,
            value,
        })
        .collect()
}

pub(crate) fn plan(
    realtime: &[(&str, &str, i32, &str, &str)],
    fixed: &[(&str, &str, &str)],
) -> Plan {
    compile(&rows(realtime), &statics(fixed), &Known, None)
}

/// Problems as text, one a line.
pub(crate) fn listed(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect()
}
