//! What exists, for the compiler: names of applications and functions, and how applications take their data.

use std::hash::{Hash as _, Hasher as _};

use strowger_dialplan::Registry;
use strowger_dialplan::subst::{Node, Template};

use crate::func::channel::reads_stats;
use crate::{app, func};

/// The applications and functions of this build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Applications;

impl Applications {
    fn application_name(self, name: &str) -> Option<&'static str> {
        app::find(name).map(|app| app.name)
    }

    fn names() -> Vec<&'static str> {
        app::all().iter().map(|app| app.name).collect()
    }
}

impl Registry for Applications {
    fn application(&self, name: &str) -> Option<&str> {
        app::find(name).map(|app| app.name)
    }

    fn function(&self, name: &str) -> bool {
        func::find(name).is_some()
    }

    fn immediate(&self, canonical: &str, data: &Template) -> bool {
        app::find(canonical).is_some_and(app::App::is_immediate)
            && !waits(data)
            && !(matches!(canonical, "Set" | "MSet") && writes_later(data))
    }

    fn ready(&self, data: &Template) -> bool {
        !waits(data)
    }

    fn applications(&self) -> Vec<&str> {
        app::all().iter().map(|app| app.name).collect()
    }

    fn functions(&self) -> Vec<&str> {
        func::all().iter().map(|function| function.name).collect()
    }
}

/// Does a function in this text have to wait, or the call for its statistics?
fn waits(template: &Template) -> bool {
    template.nodes().iter().any(|node| match node {
        Node::Literal(text) => reads_stats(text),
        Node::Variable { name, .. } => reads_stats(name),
        Node::Function {
            name, arguments, ..
        } => func::find(name).is_none_or(func::Function::waits) || waits(arguments),
        Node::Reference(inside) | Node::Expression(inside) => waits(inside),
    })
}

/// Does an assignment in this text have to wait?
fn writes_later(template: &Template) -> bool {
    template.nodes().iter().any(|node| match node {
        Node::Literal(text) => func::may_write_later(text),
        _ => false,
    })
}

/// The same with the functions that `func_odbc.conf` defines.
pub(crate) struct WithTable(pub(crate) Vec<String>);

impl Registry for WithTable {
    fn application(&self, name: &str) -> Option<&str> {
        Applications.application_name(name)
    }

    fn function(&self, name: &str) -> bool {
        Applications.function(name) || self.0.iter().any(|known| known == name)
    }

    fn immediate(&self, canonical: &str, data: &Template) -> bool {
        Applications.immediate(canonical, data)
    }

    fn ready(&self, data: &Template) -> bool {
        Applications.ready(data)
    }

    fn applications(&self) -> Vec<&str> {
        Applications::names()
    }

    fn functions(&self) -> Vec<&str> {
        let own = func::all().into_iter().map(|function| function.name);
        own.chain(self.0.iter().map(String::as_str)).collect()
    }

    fn generation(&self) -> u64 {
        let mut hasher = rustc_hash::FxHasher::default();
        self.0.hash(&mut hasher);
        hasher.finish()
    }
}

/// One line of help about an application or function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Help {
    pub name: &'static str,
    /// How it is written, options included.
    pub syntax: &'static str,
    pub synopsis: &'static str,
}

/// All applications, by name.
pub fn applications() -> Vec<Help> {
    app::all()
        .iter()
        .map(|app| Help {
            name: app.name,
            syntax: app.syntax,
            synopsis: app.synopsis,
        })
        .collect()
}

/// All functions, by name.
pub fn functions() -> Vec<Help> {
    func::all()
        .iter()
        .map(|function| Help {
            name: function.name,
            syntax: function.syntax,
            synopsis: function.synopsis,
        })
        .collect()
}
