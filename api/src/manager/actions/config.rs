//! Sections of the static tables, as files of configuration: what programs that once read Asterisk's files ask for.

use regex::Regex;
use strowger_store::{Snapshot, StaticRow};

use super::super::answer::Answer;
use super::super::classes::Classes;
use super::Context;

/// Parts of the names of options that are told only to who may do everything anyway.
const SECRETS: &[&str] = &["secret", "pass", "pin", "key", "cred", "token"];

/// Is it for those only who may do everything anyway? The lines of mailboxes begin with the password.
fn is_secret(line: &StaticRow) -> bool {
    let name = line.var_name.to_ascii_lowercase();
    SECRETS.iter().any(|part| name.contains(part))
        || line.filename.eq_ignore_ascii_case("voicemail.conf")
            && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Sections of a file in their order, each with its lines.
fn sections<'s>(snapshot: &'s Snapshot, file: &str) -> Vec<(&'s str, Vec<&'s StaticRow>)> {
    let mut all: Vec<(&str, Vec<&StaticRow>)> = Vec::new();
    let rows = snapshot.statics.iter();
    for row in rows.filter(|row| row.filename.eq_ignore_ascii_case(file)) {
        match all.iter_mut().find(|(name, _)| *name == row.category) {
            Some((_, lines)) => lines.push(row),
            None => all.push((&row.category, vec![row])),
        }
    }
    let empty = snapshot.static_marks.iter();
    for (_, name) in empty.filter(|(of, name)| of.eq_ignore_ascii_case(file) && !name.is_empty()) {
        if !all.iter().any(|(known, _)| known == name) {
            all.push((name, Vec::new()));
        }
    }
    all
}

/// Is there a file, though it has no section?
fn is_empty_file(snapshot: &Snapshot, file: &str) -> bool {
    let mut marks = snapshot.static_marks.iter();
    marks.any(|(of, _)| of.eq_ignore_ascii_case(file))
}

/// The name of the file that a request means.
fn file<'r>(on: &Context<'r>) -> Result<&'r str, String> {
    let file = on.request.given("Filename");
    file.ok_or_else(|| on.error("Filename not specified"))
}

/// Expressions for a name and a value.
type Pair = (Regex, Regex);

/// What sections have to say to be meant: an option for each pair of expressions.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pairs: Vec<Pair>,
    /// Only templates are meant, of which the tables have none.
    no_section: bool,
}

/// Pairs of one filter.
const PAIRS_MAX: usize = 32;

impl Filters {
    /// Reads `name=value,...`, expressions both. `TEMPLATES=include` changes nothing where there are no templates.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut filters = Self::default();
        let parts = text.split(',').map(str::trim);
        for part in parts.filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("Filter \"{part}\" is not name=expression"));
            };
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("TEMPLATES") {
                match value.to_ascii_lowercase().as_str() {
                    "include" => {}
                    "restrict" => filters.no_section = true,
                    _ => return Err(format!("Filter \"{part}\" is neither include nor restrict")),
                }
                continue;
            }
            if filters.pairs.len() == PAIRS_MAX {
                return Err(format!("Filter: {PAIRS_MAX} expressions are the limit"));
            }
            let expression = |text: &str| {
                let mut built = regex::RegexBuilder::new(text);
                let built = built.size_limit(1 << 16).build();
                built.map_err(|_| format!("Filter \"{part}\" has no expression that can be read"))
            };
            filters.pairs.push((expression(name)?, expression(value)?));
        }
        Ok(filters)
    }

    /// Does a section with these lines fit?
    pub(super) fn fit<'l>(&self, lines: impl Iterator<Item = (&'l str, &'l str)> + Clone) -> bool {
        let has = |(name, value): &Pair| {
            let mut lines = lines.clone();
            lines.any(|(known, said)| name.is_match(known) && value.is_match(said))
        };
        !self.no_section && self.pairs.iter().all(has)
    }
}

/// The sections that a request asks for, without what its user is not to see.
fn wanted<'s>(
    on: &Context<'_>,
    snapshot: &'s Snapshot,
) -> Result<Vec<(&'s str, Vec<&'s StaticRow>)>, String> {
    let mut all = sections(snapshot, file(on)?);
    if all.is_empty() && !is_empty_file(snapshot, file(on)?) {
        return Err(on.error("Config file not found"));
    }
    if let Some(category) = on.request.given("Category") {
        all.retain(|(name, _)| *name == category);
        if all.is_empty() {
            return Err(on.error("No categories found"));
        }
    }
    // Before the filters, which would tell them letter by letter.
    if on.user.write.both(Classes::SYSTEM).is_none() {
        for (_, lines) in &mut all {
            lines.retain(|line| !is_secret(line));
        }
    }
    let filters = Filters::read(on.request.get("Filter")).map_err(|why| on.error(&why))?;
    all.retain(|(_, lines)| {
        let lines = lines.iter();
        filters.fit(lines.map(|line| (line.var_name.as_str(), line.var_val.as_str())))
    });
    Ok(all)
}

pub(super) fn get(on: Context<'_>) -> String {
    let snapshot = on.manager.shared.snapshot();
    let sections = match wanted(&on, &snapshot) {
        Ok(sections) => sections,
        Err(text) => return text,
    };
    let mut text = Answer::to(on.request);
    text.response("Success");
    for (number, (name, lines)) in sections.iter().enumerate() {
        text.line(&format!("Category-{number:06}"), name);
        for (at, line) in lines.iter().enumerate() {
            let value = format!("{}={}", line.var_name, line.var_val);
            text.line(&format!("Line-{number:06}-{at:06}"), value);
        }
    }
    text.end();
    text.into_text()
}

pub(super) fn get_json(on: Context<'_>) -> String {
    let snapshot = on.manager.shared.snapshot();
    let sections = match wanted(&on, &snapshot) {
        Ok(sections) => sections,
        Err(text) => return text,
    };
    let mut all = serde_json::Map::new();
    for (name, lines) in sections {
        let mut options = serde_json::Map::new();
        for line in lines {
            use serde_json::Value;
            let value = Value::String(line.var_val.clone());
            match options.get_mut(&line.var_name) {
                None => {
                    options.insert(line.var_name.clone(), value);
                }
                // A name that stands there several times has a list.
                Some(Value::Array(values)) => values.push(value),
                Some(first) => {
                    let values = vec![first.take(), value];
                    *first = Value::Array(values);
                }
            }
        }
        all.insert(name.to_owned(), serde_json::Value::Object(options));
    }
    let mut text = Answer::to(on.request);
    text.response("Success")
        .line("JSON", serde_json::Value::Object(all).to_string())
        .end();
    text.into_text()
}

pub(super) fn categories(on: Context<'_>) -> String {
    let file = match file(&on) {
        Ok(file) => file,
        Err(text) => return text,
    };
    let snapshot = on.manager.shared.snapshot();
    let sections = sections(&snapshot, file);
    if sections.is_empty() && !is_empty_file(&snapshot, file) {
        return on.error("Config file not found or has invalid syntax");
    }
    let mut text = Answer::to(on.request);
    text.response("Success");
    for (number, (name, _)) in sections.iter().enumerate() {
        text.line(&format!("Category-{number:06}"), name);
    }
    text.end();
    text.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_secrets_are_known_by_their_names_and_those_of_mailboxes_by_their_file() {
        for (file, name, secret) in [
            ("manager.conf", "secret", true),
            ("pjsip.conf", "Password", true),
            ("pjsip.conf", "md5_cred", true),
            ("pjsip.conf", "refresh_token", true),
            ("confbridge.conf", "pin", true),
            ("http.conf", "tlsprivatekey", true),
            ("manager.conf", "permit", false),
            ("pjsip.conf", "context", false),
            ("voicemail.conf", "100", true),
            ("Voicemail.conf", "100", true),
            ("extensions.conf", "100", false),
            ("voicemail.conf", "format", false),
        ] {
            let line = StaticRow {
                filename: file.to_owned(),
                var_name: name.to_owned(),
                ..StaticRow::default()
            };
            assert_eq!(is_secret(&line), secret, "{file} {name}");
        }
    }

    #[test]
    fn filters_are_pairs_of_a_name_and_an_expression() {
        let section = [("type", "peering"), ("context", "inside"), ("ext", "1")];
        for (filter, fits) in [
            ("", true),
            ("type=^peer, context=in.*", true),
            ("type=^eer", false),
            // Names are expressions, too.
            ("^(type|kind)$=peer", true),
            ("con=in", true),
            ("^con$=in", false),
            ("type=peer,context=out", false),
            ("TEMPLATES=include", true),
            ("templates=include,type=peer", true),
            ("TEMPLATES=restrict", false),
        ] {
            let read = Filters::read(filter).expect(filter);
            assert_eq!(read.fit(section.iter().copied()), fits, "{filter}");
        }
        let many = vec!["a=b"; PAIRS_MAX + 1].join(",");
        for wrong in ["type", "type=(", "(=x", "TEMPLATES=some", &many] {
            assert!(Filters::read(wrong).is_err(), "{wrong}");
        }
    }
}
