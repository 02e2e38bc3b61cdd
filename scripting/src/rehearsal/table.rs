//! The text of tests: TOML, read with the line that each wish stands in.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Local, NaiveDateTime, TimeZone as _, Utc};
use serde::Deserialize;
use strowger_core::Config;
use strowger_core::channel::Cause;
use strowger_store::{ExtensionRow, Snapshot, StaticRow, Table};
use toml::Spanned;

use super::{Answer, Failure, Given, Stage, compare};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    dialplan: Option<Rows>,
    #[serde(default)]
    defaults: Common,
    #[serde(default)]
    test: Vec<Spanned<One>>,
}

/// Rows that count instead of those in the database.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    /// Context, extension, priority, application, data.
    #[serde(default)]
    realtime: Vec<(String, String, i32, String, String)>,
    /// Lines of `extensions.conf`: section, name, value.
    #[serde(default, rename = "static")]
    fixed: Vec<(String, String, String)>,
}

/// What all tests of a file have unless they say otherwise.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Common {
    context: Option<String>,
    endpoint: Option<String>,
    caller: Option<String>,
    time: Option<String>,
    variables: BTreeMap<String, String>,
    globals: BTreeMap<String, String>,
    database: BTreeMap<String, String>,
    functions: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    name: String,
    context: Option<String>,
    exten: String,
    #[serde(default = "first")]
    priority: i32,
    endpoint: Option<String>,
    caller: Option<String>,
    time: Option<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    globals: BTreeMap<String, String>,
    #[serde(default)]
    database: BTreeMap<String, String>,
    #[serde(default)]
    functions: BTreeMap<String, String>,
    #[serde(default)]
    digits: Vec<String>,
    #[serde(default)]
    results: BTreeMap<String, Vec<ResultText>>,
    want: Spanned<WantText>,
}

fn first() -> i32 {
    1
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ResultText {
    Status(String),
    Full(FullResult),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullResult {
    status: Option<String>,
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    talked: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantText {
    route: Option<Vec<Spanned<String>>>,
    through: Option<Vec<Spanned<String>>>,
    never: Option<Vec<Spanned<String>>>,
    dialled: Option<Spanned<Vec<String>>>,
    played: Option<Spanned<Vec<String>>>,
    answered: Option<Spanned<bool>>,
    cause: Option<Spanned<CauseText>>,
    #[serde(default)]
    variables: BTreeMap<String, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CauseText {
    Number(u8),
    Name(String),
}

/// A wish, and the line that it stands in.
#[derive(Clone, Debug)]
pub(crate) struct Wish<T> {
    pub(crate) line: usize,
    pub(crate) what: T,
}

/// What a test wants.
#[derive(Debug, Default)]
pub(crate) struct Want {
    /// The line of the table.
    pub(crate) line: usize,
    pub(crate) route: Option<Vec<Wish<String>>>,
    pub(crate) through: Vec<Wish<String>>,
    pub(crate) never: Vec<Wish<String>>,
    pub(crate) dialled: Option<Wish<Vec<String>>>,
    pub(crate) played: Option<Wish<Vec<String>>>,
    pub(crate) answered: Option<Wish<bool>>,
    pub(crate) cause: Option<Wish<Cause>>,
    pub(crate) variables: BTreeMap<String, Wish<String>>,
}

/// A test.
pub struct Test {
    pub name: String,
    /// Where it begins.
    pub line: usize,
    given: Given,
    want: Want,
}

/// The tests of a file.
pub struct Tests {
    pub tests: Vec<Test>,
    rows: Option<Rows>,
}

/// Lines of a text by the bytes in it.
struct Lines<'t>(&'t str);

impl Lines<'_> {
    fn of(&self, at: usize) -> usize {
        let before = self.0.as_bytes().get(..at).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn wish<T>(&self, spanned: Spanned<T>) -> Wish<T> {
        Wish {
            line: self.of(spanned.span().start),
            what: spanned.into_inner(),
        }
    }

    fn wishes<T>(&self, list: Vec<Spanned<T>>) -> Vec<Wish<T>> {
        list.into_iter().map(|one| self.wish(one)).collect()
    }
}

impl Tests {
    /// Reads the text of tests.
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Document =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let lines = Lines(text);
        let mut tests = Vec::new();
        for one in document.test {
            let line = lines.of(one.span().start);
            let test = test(&lines, line, &document.defaults, one.into_inner())
                .map_err(|error| format!("line {line}: {error}"))?;
            tests.push(test);
        }
        if tests.is_empty() {
            return Err("there is no [[test]] in it".to_owned());
        }
        Ok(Self {
            tests,
            rows: document.dialplan,
        })
    }

    /// Do the tests bring a dialplan of their own?
    pub fn has_rows(&self) -> bool {
        self.rows.is_some()
    }

    /// The configuration tables that the tests are about: those of the database, or with the rows of the file.
    pub fn snapshot(&self, database: Snapshot) -> Snapshot {
        let Some(rows) = &self.rows else {
            return database;
        };
        let mut snapshot = database;
        snapshot.extensions = Arc::new(
            (1..)
                .zip(&rows.realtime)
                .map(
                    |(id, (context, exten, priority, app, appdata))| ExtensionRow {
                        id,
                        context: context.clone(),
                        exten: exten.clone(),
                        priority: *priority,
                        app: app.clone(),
                        appdata: appdata.clone(),
                    },
                )
                .collect(),
        );
        let mut statics: Vec<StaticRow> = snapshot
            .statics
            .iter()
            .filter(|row| row.filename != "extensions.conf")
            .cloned()
            .collect();
        statics.extend(
            (1..)
                .zip(&rows.fixed)
                .map(|(id, (category, name, value))| StaticRow {
                    id,
                    filename: "extensions.conf".to_owned(),
                    category: category.clone(),
                    var_name: name.clone(),
                    var_val: value.clone(),
                    ..StaticRow::default()
                }),
        );
        snapshot.statics = Arc::new(statics);
        for table in [Table::Extensions, Table::StaticExtensions] {
            snapshot.versions[table as usize] += 1;
        }
        snapshot
    }

    /// Sets up a stage for one test, in a folder of its own.
    ///
    /// # Errors
    /// What could not be started.
    pub fn stage(
        &self,
        config: &Config,
        database: &Snapshot,
        folder: &Path,
    ) -> Result<Stage, String> {
        Stage::new(config, self.snapshot(database.clone()), folder.to_owned())
    }
}

impl Test {
    /// Holds the call on a stage that no other test had: what went another way than it was wanted, and how the call went.
    ///
    /// # Errors
    /// The call could not be held to its end.
    pub fn run(&self, stage: &Stage) -> Result<(Option<Failure>, String), String> {
        let outcome = stage.hold(self.given.clone())?;
        let story = compare::story(&outcome);
        Ok((compare::compare(&self.want, &outcome), story))
    }
}

fn test(lines: &Lines<'_>, line: usize, common: &Common, one: One) -> Result<Test, String> {
    let endpoint = one.endpoint.or_else(|| common.endpoint.clone());
    let context = one
        .context
        .or_else(|| common.context.clone())
        .ok_or("context is missing: where does the call begin?")?;
    if one.priority < 1 {
        return Err(format!("priority is {}; the first is 1", one.priority));
    }
    let time = one.time.or_else(|| common.time.clone());
    let time = time.as_deref().map(moment).transpose()?;
    let both = |of: &BTreeMap<String, String>, own: BTreeMap<String, String>| {
        let mut all = of.clone();
        all.extend(own);
        all
    };
    let mut results = BTreeMap::new();
    for (app, list) in one.results {
        if crate::app::find(&app).is_none() {
            return Err(format!("results: {}", crate::app::unknown(&app)));
        }
        let list = list.into_iter().map(|text| match text {
            ResultText::Status(status) => Answer {
                status: Some(status),
                ..Answer::default()
            },
            ResultText::Full(full) => Answer {
                status: full.status,
                set: full.set,
                talked: full.talked,
            },
        });
        results.insert(app.to_ascii_lowercase(), list.collect());
    }
    let want = want(lines, one.want)?;
    let given = Given {
        context,
        exten: one.exten,
        priority: one.priority,
        caller: one.caller.or_else(|| common.caller.clone()),
        device: format!("PJSIP/{}", endpoint.as_deref().unwrap_or("test")),
        variables: both(&common.variables, one.variables),
        globals: both(&common.globals, one.globals),
        database: both(&common.database, one.database),
        time,
        digits: one.digits.into(),
        results,
        functions: both(&common.functions, one.functions),
        reads: want.variables.keys().cloned().collect(),
    };
    Ok(Test {
        name: one.name,
        line,
        given,
        want,
    })
}

fn want(lines: &Lines<'_>, text: Spanned<WantText>) -> Result<Want, String> {
    let line = lines.of(text.span().start);
    let text = text.into_inner();
    let cause = match text.cause {
        None => None,
        Some(cause) => {
            let wish = lines.wish(cause);
            let what = match &wish.what {
                CauseText::Number(number) => Cause::parse(&number.to_string()),
                CauseText::Name(name) => Cause::parse(name),
            };
            let what = what.ok_or_else(|| {
                format!(
                    "line {}: cause is a number from 0 to 127 or a name such as \"USER_BUSY\"",
                    wish.line
                )
            })?;
            Some(Wish {
                line: wish.line,
                what,
            })
        }
    };
    let want = Want {
        line,
        route: text.route.map(|list| lines.wishes(list)),
        through: lines.wishes(text.through.unwrap_or_default()),
        never: lines.wishes(text.never.unwrap_or_default()),
        dialled: text.dialled.map(|list| lines.wish(list)),
        played: text.played.map(|list| lines.wish(list)),
        answered: text.answered.map(|answered| lines.wish(answered)),
        cause,
        variables: text
            .variables
            .into_iter()
            .map(|(name, value)| (name, lines.wish(value)))
            .collect(),
    };
    let places = want.route.iter().flatten();
    for place in places.chain(&want.through).chain(&want.never) {
        compare::Place::parse(&place.what)
            .map_err(|error| format!("line {}: {error}", place.line))?;
    }
    let asks = want.route.is_some()
        || !want.through.is_empty()
        || !want.never.is_empty()
        || want.dialled.is_some()
        || want.played.is_some()
        || want.answered.is_some()
        || want.cause.is_some()
        || !want.variables.is_empty();
    if !asks {
        return Err("want is empty: the test could never fail".to_owned());
    }
    Ok(want)
}

/// `2026-01-05 09:00[:00]` of the machine's own zone, or a moment with its offset.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment.with_timezone(&Utc));
    }
    let text = text.trim();
    let local = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    local
        .and_then(|local| Local.from_local_datetime(&local).earliest())
        .map(|moment| moment.with_timezone(&Utc))
        .ok_or_else(|| {
            format!("time \"{text}\" is no time; right is \"2026-01-05 09:00\" or \"2026-01-05T09:00:00+03:00\"")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Tests::parse(text).err().expect("it is refused")
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_line() {
        for (text, words) in [
            ("", &["no [[test]]"][..]),
            ("[[test]]\nname = \"a\"\n", &["line 1", "exten"]),
            (
                "[[test]]\nname = \"a\"\nexten = \"1\"\nextem = 2\nwant = {}\n",
                &["line 4", "extem"],
            ),
            (
                "\n[[test]]\nname = \"a\"\nexten = \"1\"\ncontext = \"c\"\nwant = {}\n",
                &["line 2", "never fail"],
            ),
            (
                "[[test]]\nname = \"a\"\nexten = \"1\"\nwant = {answered = true}\n",
                &["line 1", "context is missing"],
            ),
            (
                "[[test]]\nname = \"a\"\nexten = \"1\"\ncontext = \"c\"\n[test.want]\nroute = [\n\"c,1,1\",\n\"c\"]\n",
                &["line 8", "context,exten"],
            ),
            (
                "[[test]]\nname = \"a\"\nexten = \"1\"\ncontext = \"c\"\nresults.Dail = [\"BUSY\"]\nwant = {answered = true}\n",
                &["no application Dail", "Dial"],
            ),
            (
                "[[test]]\nname = \"a\"\nexten = \"1\"\ncontext = \"c\"\ntime = \"soon\"\nwant = {answered = true}\n",
                &["\"soon\"", "2026-01-05 09:00"],
            ),
            (
                "[[test]]\nname = \"a\"\nexten = \"1\"\ncontext = \"c\"\nwant = {cause = \"TIRED\"}\n",
                &["line 5", "USER_BUSY"],
            ),
        ] {
            let error = wrong(text);
            for word in words {
                assert!(error.contains(word), "{word} in {error}\nof {text}");
            }
        }
    }

    #[test]
    fn each_wish_knows_its_line() {
        let text = "[defaults]\ncontext = \"c\"\n\n[[test]]\nname = \"a\"\nexten = \"1\"\n[test.want]\nanswered = true\nvariables = { A = \"1\",\n B = \"2\" }\n";
        let tests = Tests::parse(text).expect("read");
        let test = &tests.tests[0];
        assert_eq!((test.line, test.want.line), (4, 7));
        assert_eq!(test.want.answered.as_ref().map(|wish| wish.line), Some(8));
        assert_eq!(test.want.variables["B"].line, 10);
        assert_eq!(test.given.context, "c");
    }
}
