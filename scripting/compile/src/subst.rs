//! Variable substitution: `${NAME}`, `${NAME:offset:length}`, `${FUNC(args)}`, `$[expression]`, nested in each other.
//!
//! A text is parsed once into a [`Template`] and evaluated for each call against [`Vars`]. What a substitution yields is never
//! substituted again.
//!
//! Where the written text settles what stands in the braces (a name, or a function with balanced parentheses), that is decided
//! when the text is parsed, so that values from outside (a caller's name with a bracket or colon in it) cannot change the
//! structure. Where nested substitutions make the name itself, the inside is evaluated first and then read.

use crate::expr;
use crate::truth::scan_integer;
use crate::vars::{CallError, Vars};

/// How deep substitutions may be nested.
pub const DEPTH_LIMIT: usize = 15;

/// The part of a value that is taken: `:offset:length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// First byte; negative counts from the end.
    pub offset: i64,
    /// Number of bytes; negative drops so many from the end; `None` takes all.
    pub length: Option<i64>,
}

impl Cut {
    /// The whole value.
    pub const WHOLE: Self = Self {
        offset: 0,
        length: None,
    };

    /// Reads `offset[:length]` as far as it is one; other text means the whole value.
    fn parse(text: &str) -> Self {
        let bytes = text.as_bytes();
        let Some((offset, used)) = scan_integer(bytes) else {
            return Self::WHOLE;
        };
        let length = bytes
            .get(used)
            .filter(|byte| **byte == b':')
            .and_then(|_| scan_integer(&bytes[used + 1..]));
        Self {
            offset: clamp(offset),
            length: length.map(|(length, _)| clamp(length)),
        }
    }

    /// Applies it to `text`.
    #[must_use]
    pub fn apply(self, text: &str) -> &str {
        substring(text, self.offset, self.length)
    }
}

fn clamp(number: i64) -> i64 {
    number.clamp(i64::from(i32::MIN), i64::from(i32::MAX))
}

/// The substring rule. Offsets and lengths are bytes; a UTF-8 character that is cut through is left out.
///
/// A negative `offset` counts from the end and stops at the start; an `offset` at or beyond the end gives nothing; a negative
/// `length` drops that many bytes from the end.
#[must_use]
pub fn substring(text: &str, offset: i64, length: Option<i64>) -> &str {
    let size = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let start = if offset < 0 {
        (size.saturating_add(offset)).max(0)
    } else {
        offset
    };
    if start >= size {
        return "";
    }
    let end = match length {
        None => size,
        Some(length) if length >= 0 => start.saturating_add(length).min(size),
        Some(length) => size.saturating_add(length),
    };
    if end <= start {
        return "";
    }
    let (mut start, mut end) = (start as usize, end as usize);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end <= start { "" } else { &text[start..end] }
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Text as it is.
    Literal(Box<str>),
    /// `${name}` or `${name:offset:length}`.
    Variable {
        /// Name, without nested substitutions.
        name: Box<str>,
        /// What is taken of its value.
        cut: Cut,
    },
    /// `${name(arguments)}`.
    Function {
        /// Name of the function.
        name: Box<str>,
        /// Between the brackets.
        arguments: Template,
        /// What is taken of its value.
        cut: Cut,
    },
    /// `${...}` whose inside must be evaluated before it can be read.
    Reference(Template),
    /// `$[...]`.
    Expression(Template),
}

/// What was wrong with the text of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateDefect {
    /// `${` without its `}`: the rest of the text was taken.
    #[error("missing `}}`")]
    MissingBrace,
    /// `$[` without its `]`: the rest of the text was taken.
    #[error("missing `]`")]
    MissingBracket,
    /// Nested more than [`DEPTH_LIMIT`] deep; the innermost part is empty.
    #[error("substitutions nested more than 15 deep")]
    TooDeep,
    /// `${FUNC(...` without `)`.
    #[error("missing `)`")]
    MissingParenthesis,
}

/// A text with substitutions, parsed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Parses `text`. Never fails; defects are parsed as the original parses them.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::parse_with_defects(text).0
    }

    /// Parses `text` and tells what is wrong with it.
    #[must_use]
    pub fn parse_with_defects(text: &str) -> (Self, Vec<TemplateDefect>) {
        let mut defects = Vec::new();
        let template = parse(text, 0, &mut defects);
        (template, defects)
    }

    /// The pieces, in order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The text, when it has no substitutions.
    #[must_use]
    pub fn constant(&self) -> Option<&str> {
        match self.nodes.as_slice() {
            [] => Some(""),
            [Node::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for one call.
    #[must_use]
    pub fn evaluate(&self, vars: &dyn Vars) -> String {
        let mut out = String::new();
        self.append(vars, &mut out);
        out
    }

    /// Appends the text for one call.
    pub fn append(&self, vars: &dyn Vars, out: &mut String) {
        for node in &self.nodes {
            match node {
                Node::Literal(text) => out.push_str(text),
                Node::Variable { name, cut } => vars.append(name, *cut, out),
                Node::Function {
                    name,
                    arguments,
                    cut,
                } => {
                    out.push_str(cut.apply(&call(name, &arguments.evaluate(vars), vars)));
                }
                Node::Reference(inside) => out.push_str(&resolve(&inside.evaluate(vars), vars)),
                Node::Expression(inside) => {
                    // Its text is written where its value will stand: most are computed without a text of their own.
                    let start = out.len();
                    inside.append(vars, out);
                    expr::replace(out, start, vars);
                }
            }
        }
    }

    /// Computes what does not depend on a call: expressions without variables and functions. Expressions that would be warned
    /// about stay, so that the warning comes with the call.
    #[must_use]
    pub fn folded(&self) -> Self {
        let mut nodes: Vec<Node> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let node = match node {
                Node::Expression(inside) => fold_expression(inside.folded()),
                Node::Function {
                    name,
                    arguments,
                    cut,
                } => Node::Function {
                    name: name.clone(),
                    arguments: arguments.folded(),
                    cut: *cut,
                },
                Node::Reference(inside) => {
                    let inside = inside.folded();
                    match inside.constant().map(read_reference) {
                        Some(read) => read,
                        None => Node::Reference(inside),
                    }
                }
                other => other.clone(),
            };
            push(&mut nodes, node);
        }
        Self { nodes }
    }

    /// The text with `marker` in place of everything that depends on a call.
    #[must_use]
    pub fn skeleton(&self, marker: &str) -> String {
        self.nodes
            .iter()
            .map(|node| {
                if let Node::Literal(text) = node {
                    text
                } else {
                    marker
                }
            })
            .collect()
    }
}

/// Appends a node, joining neighbouring literals.
fn push(nodes: &mut Vec<Node>, node: Node) {
    match (nodes.last_mut(), node) {
        (_, Node::Literal(text)) if text.is_empty() => {}
        (Some(Node::Literal(before)), Node::Literal(text)) => {
            *before = format!("{before}{text}").into()
        }
        (_, node) => nodes.push(node),
    }
}

fn fold_expression(inside: Template) -> Node {
    let value = inside
        .constant()
        .and_then(|text| expr::analyse(text).ok())
        .and_then(|analysis| analysis.constant);
    match value {
        Some(value) => Node::Literal(value.into()),
        None => Node::Expression(inside),
    }
}

/// Substitutes `text` once, parsing it on the way: `EVAL`, and texts that come from variables.
#[must_use]
pub fn substitute(text: &str, vars: &dyn Vars) -> String {
    let (template, defects) = Template::parse_with_defects(text);
    for defect in defects {
        vars.warn(&format!("{defect} in {text}"));
    }
    template.evaluate(vars)
}

/// The value of `${inside}` where `inside` is substituted already: a variable or a function call, with offsets.
#[must_use]
pub fn resolve(inside: &str, vars: &dyn Vars) -> String {
    match read_reference(inside) {
        Node::Variable { name, cut } => cut.apply(&vars.get(&name).unwrap_or_default()).to_owned(),
        Node::Function {
            name,
            arguments,
            cut,
        } => cut
            .apply(&call(&name, arguments.constant().unwrap_or_default(), vars))
            .to_owned(),
        _ => String::new(),
    }
}

/// The value of a function; empty, with a warning, when it has none.
fn call(name: &str, arguments: &str, vars: &dyn Vars) -> String {
    vars.call(name, arguments).unwrap_or_else(|error| {
        match error {
            CallError::Unknown => vars.warn(&format!("function {name} is not registered")),
            CallError::Failed(why) => vars.warn(&format!("function {name}: {why}")),
        }
        String::new()
    })
}

/// Reads the inside of `${}` that has no substitutions.
fn read_reference(inside: &str) -> Node {
    let (body, cut) = split_cut(inside);
    match body.split_once('(') {
        None => Node::Variable {
            name: body.into(),
            cut,
        },
        Some((name, rest)) => {
            let arguments = rest.rfind(')').map_or(rest, |end| &rest[..end]);
            Node::Function {
                name: name.into(),
                arguments: literal(arguments),
                cut,
            }
        }
    }
}

/// Splits at the first `:` outside of parentheses.
fn split_cut(inside: &str) -> (&str, Cut) {
    let mut depth = 0_i64;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b':' if depth == 0 => return (&inside[..at], Cut::parse(&inside[at + 1..])),
            _ => {}
        }
    }
    (inside, Cut::WHOLE)
}

fn literal(text: &str) -> Template {
    if text.is_empty() {
        Template::default()
    } else {
        Template {
            nodes: vec![Node::Literal(text.into())],
        }
    }
}

/// Which bracket a substitution has.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Braces,
    Brackets,
}

/// Finds the next `${` or `$[` at or after `from`.
fn opening(text: &str, from: usize) -> Option<(usize, Kind)> {
    let bytes = text.as_bytes();
    (from..bytes.len().saturating_sub(1))
        .filter(|at| bytes[*at] == b'$')
        .find_map(|at| match bytes[at + 1] {
            b'{' => Some((at, Kind::Braces)),
            b'[' => Some((at, Kind::Brackets)),
            _ => None,
        })
}

/// The end of the inside that begins at `start`: where its closing bracket stands, and whether there is one. Only brackets of
/// the same kind are counted.
fn closing(text: &str, start: usize, kind: Kind) -> (usize, bool) {
    let (open, close) = if kind == Kind::Braces {
        (b'{', b'}')
    } else {
        (b'[', b']')
    };
    let mut depth = 1;
    for (at, byte) in (start..).zip(text.as_bytes()[start..].iter().copied()) {
        if byte == open {
            depth += 1;
        } else if byte == close {
            depth -= 1;
            if depth == 0 {
                return (at, true);
            }
        }
    }
    (text.len(), false)
}

fn parse(text: &str, depth: usize, defects: &mut Vec<TemplateDefect>) -> Template {
    let mut nodes = Vec::new();
    let mut at = 0;
    while let Some((start, kind)) = opening(text, at) {
        push(&mut nodes, Node::Literal(text[at..start].into()));
        let (end, closed) = closing(text, start + 2, kind);
        if !closed {
            defects.push(if kind == Kind::Braces {
                TemplateDefect::MissingBrace
            } else {
                TemplateDefect::MissingBracket
            });
        }
        at = if closed { end + 1 } else { end };
        if depth >= DEPTH_LIMIT {
            defects.push(TemplateDefect::TooDeep);
            continue;
        }
        let inside = &text[start + 2..end];
        let node = match kind {
            Kind::Braces => reference(inside, depth, defects),
            Kind::Brackets => Node::Expression(parse(inside, depth + 1, defects)),
        };
        push(&mut nodes, node);
    }
    push(&mut nodes, Node::Literal(text[at..].into()));
    Template { nodes }
}

/// The inside of `${}`.
fn reference(inside: &str, depth: usize, defects: &mut Vec<TemplateDefect>) -> Node {
    if opening(inside, 0).is_none() {
        let node = read_reference(inside);
        if matches!(node, Node::Function { .. }) && !inside.contains(')') {
            defects.push(TemplateDefect::MissingParenthesis);
        }
        return node;
    }
    if let Some(node) = function(inside, depth, defects) {
        return node;
    }
    Node::Reference(parse(inside, depth + 1, defects))
}

/// `NAME(arguments)[:offset[:length]]` where only the arguments have substitutions.
fn function(inside: &str, depth: usize, defects: &mut Vec<TemplateDefect>) -> Option<Node> {
    let open = inside.find('(')?;
    let first = opening(inside, 0)?.0;
    if first < open || inside[..open].contains(':') {
        return None;
    }
    // The bracket that closes the first one, substitutions passed over.
    let bytes = inside.as_bytes();
    let mut at = open + 1;
    let mut level = 1;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'$', Some(b'{' | b'[')) => {
                let kind = if bytes[at + 1] == b'{' {
                    Kind::Braces
                } else {
                    Kind::Brackets
                };
                at = closing(inside, at + 2, kind).0;
            }
            (b'(', _) => level += 1,
            (b')', _) => {
                level -= 1;
                if level == 0 {
                    break;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if level != 0 {
        return None;
    }
    let tail = &inside[at + 1..];
    let cut = match tail.strip_prefix(':') {
        _ if opening(tail, 0).is_some() => return None,
        Some(cut) => Cut::parse(cut),
        None if tail.is_empty() => Cut::WHOLE,
        None => return None,
    };
    let arguments = parse(&inside[open + 1..at], depth + 1, defects);
    Some(Node::Function {
        name: inside[..open].into(),
        arguments,
        cut,
    })
}
