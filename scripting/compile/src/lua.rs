//! The Luau source of a context.
//!
//! The chunk is called with `rt`, a table of runtime functions, and returns an array of functions `function(ch)`, one for each
//! step. What the source uses of `rt`:
//!
//! | Call | Value |
//! |---|---|
//! | `rt.v(ch, name)` | a variable, empty when it is not set |
//! | `rt.f(ch, function, arguments)` | a dialplan function |
//! | `rt.sub(text, offset, length or nil)` | the substring rule, [`crate::subst::substring`] |
//! | `rt.ref(ch, inside)` | `${inside}` where the inside was computed, [`crate::subst::resolve`] |
//! | `rt.expr(text, ch)` | `$[text]` of text that is substituted, [`crate::expr::evaluate`] |
//! | `rt.run(ch, application, data, arguments or nil)` | runs the application |
//!
//! Rows are other people's text: every byte of them goes through [`quote`] or [`comment`], so that no row can break out of its
//! string or its comment.

use std::fmt::Write as _;

use crate::args;
use crate::plan::{HINT, Origin, Step};
use crate::registry::{ArgumentStyle, Registry};
use crate::subst::{Cut, Node, Template};

/// Steps in one function of the chunk: Luau allows 32,767 functions in one.
const BLOCK: usize = 1000;
/// Operands joined by `..`; beyond it a table is concatenated, because each operand takes a register.
const OPERANDS: usize = 40;
/// Bytes of a row shown in a comment.
const COMMENT_LIMIT: usize = 400;

/// The source of the chunk of context `name`.
#[must_use]
pub fn chunk(name: &str, steps: &[Step], registry: &dyn Registry) -> String {
    let mut out = String::with_capacity(256 + steps.len() * 160);
    let _ = writeln!(out, "-- context {}", comment(name));
    out.push_str("local rt = ...\nlocal steps = {}\n");
    let mut exten = None;
    for (block, steps) in steps.chunks(BLOCK).enumerate() {
        out.push_str("do (function()\n");
        for (offset, step) in steps.iter().enumerate() {
            if exten != Some((&step.exten, &step.caller)) {
                exten = Some((&step.exten, &step.caller));
                let caller = step
                    .caller
                    .as_deref()
                    .map(|caller| format!("/{}", comment(caller)))
                    .unwrap_or_default();
                let _ = writeln!(out, "\n-- extension {}{caller}", comment(&step.exten));
            }
            let _ = write!(
                out,
                "-- {}: {}",
                step.origin,
                if step.priority == HINT {
                    "hint".to_owned()
                } else {
                    step.priority.to_string()
                }
            );
            if let Some(label) = &step.label {
                let _ = write!(out, "({})", comment(label));
            }
            let _ = writeln!(out, ",{}({})", comment(&step.app), comment(&step.appdata));
            // A function of a script is Lua already; the machine finds it in its file.
            if matches!(step.origin, Origin::Script(_)) {
                continue;
            }
            let _ = writeln!(out, "steps[{}] = function(ch)", block * BLOCK + offset + 1);
            let _ = writeln!(out, "  {}\nend", body(step, registry));
        }
        out.push_str("end)() end\n");
    }
    out.push_str("return steps\n");
    out
}

/// The source of one step of a chunk: `source(rt)` returns its function. A machine loads those that calls come to, so that
/// no call waits for a whole context.
#[must_use]
pub fn single(step: &Step, registry: &dyn Registry) -> String {
    format!(
        "local rt = ...\nreturn function(ch)\n  {}\nend\n",
        body(step, registry)
    )
}

fn body(step: &Step, registry: &dyn Registry) -> String {
    format!(
        "return rt.run(ch, {}, {}, {})",
        quote(&step.app),
        text(&step.template),
        arguments(step, registry)
    )
}

/// A table of the arguments of a step with constant data, or `nil`.
fn arguments(step: &Step, registry: &dyn Registry) -> String {
    let Some(data) = step
        .template
        .constant()
        .filter(|_| step.known && step.priority != HINT)
    else {
        return "nil".to_owned();
    };
    let list = match registry.arguments(&step.app) {
        ArgumentStyle::Raw => return "nil".to_owned(),
        ArgumentStyle::Split => args::split(data),
        ArgumentStyle::AtMost(count) => args::split_at_most(data, count),
    };
    let list: Vec<String> = list.iter().map(|argument| quote(argument)).collect();
    if list.is_empty() {
        "{}".to_owned()
    } else {
        format!("{{ {} }}", list.join(", "))
    }
}

/// A Lua expression for the text of a template.
#[must_use]
pub fn text(template: &Template) -> String {
    let operands: Vec<String> = template.nodes().iter().map(node).collect();
    match operands.len() {
        0 => "\"\"".to_owned(),
        1..=OPERANDS => operands.join(" .. "),
        _ => format!("table.concat({{ {} }})", operands.join(", ")),
    }
}

fn node(node: &Node) -> String {
    match node {
        Node::Literal(text) => quote(text),
        Node::Variable { name, cut } => sub(format!("rt.v(ch, {})", quote(name)), *cut),
        Node::Function {
            name,
            arguments,
            cut,
        } => sub(
            format!("rt.f(ch, {}, {})", quote(name), text(arguments)),
            *cut,
        ),
        Node::Reference(inside) => format!("rt.ref(ch, {})", text(inside)),
        Node::Expression(inside) => format!("rt.expr({}, ch)", text(inside)),
    }
}

fn sub(value: String, cut: Cut) -> String {
    match cut {
        Cut::WHOLE => value,
        Cut {
            offset,
            length: None,
        } => format!("rt.sub({value}, {offset}, nil)"),
        Cut {
            offset,
            length: Some(length),
        } => format!("rt.sub({value}, {offset}, {length})"),
    }
}

/// `text` as a Lua string in double quotes.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_ascii_control() => {
                let _ = write!(out, "\\{:03}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// `text` for a comment of one line: control characters are escaped and long text is cut.
#[must_use]
pub fn comment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if out.len() >= COMMENT_LIMIT {
            out.push_str(" ...");
            break;
        }
        if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
    }
    out
}
