//! What exists, for the compiler: names of applications and functions, and how applications take their data.

use strowger_dialplan::Registry;
use strowger_dialplan::subst::{Node, Template};

use crate::func::channel::reads_stats;
use crate::{app, func};

/// The applications and functions of this build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Applications;

impl Registry for Applications {
    fn application(&self, name: &str) -> Option<&str> {
        app::find(name).map(|app| app.name)
    }

    fn function(&self, name: &str) -> bool {
        func::find(name).is_some()
    }

    fn immediate(&self, canonical: &str, data: &Template) -> bool {
        app::find(canonical).is_some_and(app::App::is_immediate) && !waits(data)
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
        } => func::find(name).is_some_and(func::Function::waits) || waits(arguments),
        Node::Reference(inside) | Node::Expression(inside) => waits(inside),
    })
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
