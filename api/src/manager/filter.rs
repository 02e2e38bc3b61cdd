//! Which events a session does not want: `eventfilter` of manager.conf and the action Filter.

use regex::Regex;

/// Filters of one session.
const FILTERS_MAX: usize = 256;

/// How the text of a header is compared.
#[derive(Clone, Debug)]
enum Method {
    Regex(Regex),
    Exact(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    /// The name or the presence of the header is enough.
    None,
}

impl Method {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(text),
            Self::Exact(wanted) => text == wanted,
            Self::StartsWith(wanted) => text.starts_with(wanted),
            Self::EndsWith(wanted) => text.ends_with(wanted),
            Self::Contains(wanted) => text.contains(wanted),
            Self::None => true,
        }
    }
}

#[derive(Clone, Debug)]
struct Filter {
    exclude: bool,
    /// The event's name.
    name: Option<String>,
    /// The header that is looked at; without, all of the text is.
    header: Option<String>,
    method: Method,
}

impl Filter {
    fn fits(&self, name: &str, text: &str) -> bool {
        if self.name.as_ref().is_some_and(|wanted| wanted != name) {
            return false;
        }
        let Some(header) = &self.header else {
            return self.method.fits(text);
        };
        text.split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .filter(|(known, _)| known.eq_ignore_ascii_case(header))
            .any(|(_, value)| self.method.fits(value.trim_start()))
    }
}

/// The filters of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters(Vec<Filter>);

/// A filter is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadFilter(pub(crate) String);

/// `across_lines`: a dot is the end of a line too, where the whole text of an event is looked at.
fn compile(text: &str, across_lines: bool) -> Result<Regex, BadFilter> {
    let wrong = |error: regex::Error| BadFilter(format!("\"{text}\": {error}"));
    regex::RegexBuilder::new(text)
        .dot_matches_new_line(across_lines)
        .size_limit(1 << 20)
        .build()
        .map_err(wrong)
}

impl Filters {
    /// Adds a filter: a regular expression over the whole text, `!` before it for what is not wanted; or, with criteria
    /// such as `action(include),name(Newchannel),header(Channel),method(starts_with)`, an expression for those.
    ///
    /// # Errors
    /// It cannot be understood, or there are too many.
    pub(crate) fn add(&mut self, criteria: &str, expression: &str) -> Result<(), BadFilter> {
        if self.0.len() >= FILTERS_MAX {
            return Err(BadFilter(format!("{FILTERS_MAX} filters are the most")));
        }
        let filter = if criteria.is_empty() {
            let (exclude, text) = match expression.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, expression),
            };
            Filter {
                exclude,
                name: None,
                header: None,
                method: Method::Regex(compile(text, true)?),
            }
        } else {
            advanced(criteria, expression)?
        };
        self.0.push(filter);
        Ok(())
    }

    /// Adds a row of manager.conf: `eventfilter` or `eventfilter(criteria)`.
    pub(crate) fn add_row(&mut self, name: &str, value: &str) -> Result<(), BadFilter> {
        let criteria = name.find('(').and_then(|at| {
            let rest = &name[at + 1..];
            rest.strip_suffix(')')
        });
        self.add(criteria.unwrap_or_default(), value)
    }

    /// Is an event to be told?
    pub(crate) fn pass(&self, name: &str, text: &str) -> bool {
        let includes = self.0.iter().any(|filter| !filter.exclude);
        let hit = |exclude: bool| {
            let mut filters = self.0.iter().filter(|filter| filter.exclude == exclude);
            filters.any(|filter| filter.fits(name, text))
        };
        (!includes || hit(false)) && !hit(true)
    }
}

fn advanced(criteria: &str, expression: &str) -> Result<Filter, BadFilter> {
    let mut filter = Filter {
        exclude: false,
        name: None,
        header: None,
        method: Method::None,
    };
    let mut method = if expression.is_empty() {
        "none"
    } else {
        "regex"
    };
    for part in criteria.split("),") {
        let part = part.trim().trim_end_matches(')');
        let (word, value) = part
            .split_once('(')
            .ok_or_else(|| BadFilter(format!("\"{part}\": write word(value)")))?;
        match (word.trim(), value) {
            ("action", "include") => filter.exclude = false,
            ("action", "exclude") => filter.exclude = true,
            ("name", name) => filter.name = Some(name.to_owned()),
            ("header", header) => filter.header = Some(header.to_owned()),
            ("method", known) => method = known,
            _ => return Err(BadFilter(format!("\"{part}\" is not known"))),
        }
    }
    let text = expression.to_owned();
    filter.method = match method {
        "regex" => Method::Regex(compile(expression, filter.header.is_none())?),
        "exact" => Method::Exact(text),
        "starts_with" => Method::StartsWith(text),
        "ends_with" => Method::EndsWith(text),
        "contains" => Method::Contains(text),
        "none" => Method::None,
        other => return Err(BadFilter(format!("method \"{other}\" is not known"))),
    };
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "Event: Newchannel\r\nPrivilege: call,all\r\nChannel: PJSIP/100-1\r\n\r\n";

    fn passes(filters: &[(&str, &str)]) -> bool {
        let mut all = Filters::default();
        for (criteria, expression) in filters {
            all.add(criteria, expression).expect("a filter");
        }
        all.pass("Newchannel", NEW)
    }

    #[test]
    fn includes_come_before_excludes() {
        for (filters, wanted) in [
            (&[][..], true),
            (&[("", "Newchannel")], true),
            (&[("", "Hangup")], false),
            (&[("", "!Newchannel")], false),
            (&[("", "!Hangup")], true),
            (&[("", "Event: New"), ("", "!PJSIP/100")], false),
            (&[("", "Hangup"), ("", "!Dial")], false),
            (&[("", "Newchannel.*Channel: PJSIP/100")], true),
            (&[("", "!Event: Newchannel.*PJSIP/100")], false),
            (&[("name(Newchannel)", "call,all.*PJSIP")], true),
        ] {
            assert_eq!(passes(filters), wanted, "{filters:?}");
        }
    }

    #[test]
    fn criteria_look_at_one_header() {
        for (criteria, expression, wanted) in [
            ("name(Newchannel)", "", true),
            ("name(Hangup)", "", false),
            ("header(Channel),method(starts_with)", "PJSIP/100", true),
            ("header(Channel),method(exact)", "PJSIP/100", false),
            (
                "action(exclude),header(Channel),method(ends_with)",
                "-1",
                false,
            ),
            ("header(channel),method(contains)", "100", true),
            ("header(Channel)", "^PJSIP/1..-", true),
            ("header(Exten),method(none)", "", false),
        ] {
            assert_eq!(passes(&[(criteria, expression)]), wanted, "{criteria}");
        }
        for (criteria, expression) in [
            ("", "("),
            ("colour(red)", ""),
            ("name", ""),
            ("method(x)", ""),
        ] {
            assert!(
                Filters::default().add(criteria, expression).is_err(),
                "{criteria}"
            );
        }
        assert!(
            Filters::default()
                .add_row("eventfilter(name(X))", "")
                .is_ok()
        );
    }
}
