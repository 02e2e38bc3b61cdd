//! `UpdateConfig` and `CreateConfig`: files of the static tables, changed in one transaction. Who may write a file is decided here:
//! nobody gives himself more than he has.

use strowger_store::{File, FileChange, Section};

use super::super::classes::Classes;
use super::super::settings::User;
use super::config::Filters;
use super::{Context, system};

/// Actions of one request; there are no more lines anyway.
const ACTIONS_MAX: usize = 100;
/// Characters of a section or of an option, as our own tables take them.
const NAME_MAX: usize = 128;

/// Files in which no line names a user, a secret, a program, a statement of SQL, or a place where calls go.
const HARMLESS: &[&str] = &[
    "amd.conf",
    "cdr_manager.conf",
    "indications.conf",
    "queuerules.conf",
];
/// Files that say who may do what.
const OF_USERS: &[&str] = &["acl.conf", "manager.conf"];

/// May this user write the file? A line of manager.conf gives every class; other files run programs by what they say
/// (extensions.conf, voicemail.conf, musiconhold.conf and so on), which only class `system` may.
fn may_write(user: &User, file: &str) -> bool {
    let is = |list: &[&str]| list.iter().any(|known| known.eq_ignore_ascii_case(file));
    if is(OF_USERS) {
        user.write.include(Classes::ALL)
    } else {
        is(HARMLESS) || user.write.include(Classes::SYSTEM)
    }
}

/// The name of a file, without a folder.
fn is_name(file: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    file.len() <= NAME_MAX && !file.starts_with('.') && file.chars().all(plain)
}

/// The file that a header names, if this user may write it.
fn file<'r>(on: &Context<'r>, header: &str) -> Result<&'r str, String> {
    let file = on.request.given(header).map(str::trim);
    let Some(file) = file.filter(|file| !file.is_empty()) else {
        return Err(on.error("Filename not specified"));
    };
    if !is_name(file) || !may_write(on.user, file) {
        // In the words of Asterisk.
        return Err(on.error("File requires escalated priveledges"));
    }
    Ok(file)
}

/// What `Options` says.
#[derive(Debug, Default)]
struct Options {
    /// A section of that name may be there.
    duplicates: bool,
    /// Sections whose lines the new one begins with.
    inherit: Vec<String>,
    /// Only a section that says so is meant.
    filters: Filters,
}

/// Parts between commas; those within quotation marks belong together.
fn parts(text: &str) -> Vec<String> {
    let (mut all, mut quoted) = (vec![String::new()], false);
    for char in text.chars() {
        match char {
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(String::new()),
            char => all.last_mut().into_iter().for_each(|part| part.push(char)),
        }
    }
    all.retain(|part| !part.trim().is_empty());
    all
}

impl Options {
    fn read(text: &str) -> Result<Self, Wrong> {
        let mut options = Self::default();
        for part in parts(text) {
            let (name, value) = part.split_once('=').unwrap_or((&part, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "allowdups" => options.duplicates = true,
                "inherit" => {
                    let names = value.split(',').map(|name| name.trim().to_owned());
                    options
                        .inherit
                        .extend(names.filter(|name| !name.is_empty()));
                }
                "catfilter" => {
                    options.filters = Filters::read(value).map_err(|_| Wrong::Argument)?;
                }
                // Whatever reads the tables would take a template for a section.
                _ => return Err(Wrong::Template),
            }
        }
        Ok(options)
    }
}

/// Why a file stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Action,
    UnknownCategory,
    NoCategory,
    Argument,
    NewCategory,
    Update,
    Delete,
    Insert,
    Template,
}

impl Wrong {
    const fn text(self) -> &'static str {
        match self {
            Self::Action => "Unknown action command",
            Self::UnknownCategory => "Given category does not exist",
            Self::NoCategory => "Category not specified",
            Self::Argument => "Problem with category, value, or line (if required)",
            Self::NewCategory => "Create category did not complete successfully",
            Self::Update => "Update did not complete successfully",
            Self::Delete => "Delete did not complete successfully",
            Self::Insert => "Insert did not complete successfully",
            Self::Template => "Template category not found",
        }
    }
}

/// One change of a file.
#[derive(Clone, Debug, Default)]
struct Change {
    action: String,
    category: String,
    name: String,
    value: String,
    matches: String,
    line: String,
    options: String,
}

/// The changes of a request, in the order of their numbers; the first number that is missing ends them.
fn changes(on: &Context<'_>) -> Vec<Change> {
    let mut all = Vec::new();
    for number in 0..ACTIONS_MAX {
        let get = |name: &str| on.request.get(&format!("{name}-{number:06}")).to_owned();
        let action = get("Action");
        if action.is_empty() {
            break;
        }
        all.push(Change {
            action,
            category: get("Cat"),
            name: get("Var"),
            value: get("Value"),
            matches: get("Match"),
            line: get("Line"),
            options: get("Options"),
        });
    }
    all
}

/// Where the section of this name is: of exactly this one, or else of one that differs in case only.
fn find(file: &File, name: &str) -> Option<usize> {
    let exact = file.0.iter().position(|section| section.name == name);
    exact.or_else(|| {
        let mut sections = file.0.iter();
        sections.position(|section| is_same(&section.name, name))
    })
}

fn is_same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

impl Change {
    /// What would be cut or end a line is none.
    fn is_clean(&self) -> bool {
        let names = [&self.category, &self.name];
        let texts = [&self.category, &self.name, &self.value];
        names.iter().all(|name| name.chars().count() <= NAME_MAX)
            && texts.iter().all(|text| !text.chars().any(char::is_control))
    }

    /// Is this line meant, by its name and, where one is given, its value?
    fn means(&self, (name, value): &(String, String)) -> bool {
        is_same(name, &self.name) && (self.matches.is_empty() || is_same(value, &self.matches))
    }

    /// The section that is meant: of exactly this name, or else of one that differs in case only; and only if it says what it has to.
    fn place(&self, file: &File, filters: &Filters) -> Result<usize, Wrong> {
        let place = find(file, &self.category).ok_or(Wrong::UnknownCategory)?;
        let lines = file.0[place].lines.iter();
        if filters.fit(lines.map(|(name, value)| (name.as_str(), value.as_str()))) {
            return Ok(place);
        }
        Err(Wrong::UnknownCategory)
    }

    fn section<'f>(&self, file: &'f mut File, filters: &Filters) -> Result<&'f mut Section, Wrong> {
        let at = self.place(file, filters)?;
        file.0.get_mut(at).ok_or(Wrong::UnknownCategory)
    }

    fn line_number(&self) -> Result<usize, Wrong> {
        self.line.trim().parse().map_err(|_| Wrong::Argument)
    }

    fn apply(&self, file: &mut File) -> Result<(), Wrong> {
        if self.category.trim().is_empty() {
            return Err(Wrong::NoCategory);
        }
        if !self.is_clean() {
            return Err(Wrong::Argument);
        }
        let options = Options::read(&self.options)?;
        let filters = &options.filters;
        match self.action.trim().to_ascii_lowercase().as_str() {
            "newcat" => {
                let mut lines = Vec::new();
                for name in &options.inherit {
                    let template = find(file, name).ok_or(Wrong::Template)?;
                    lines.extend_from_slice(&file.0[template].lines);
                }
                if let Some(at) = find(file, &self.category) {
                    if !options.duplicates {
                        return Err(Wrong::NewCategory);
                    }
                    // Sections of one name are one.
                    file.0[at].lines.append(&mut lines);
                    return Ok(());
                }
                let before = file
                    .0
                    .iter()
                    .any(|section| is_same(&section.name, &self.matches));
                if !self.matches.is_empty() && !before {
                    return Err(Wrong::NewCategory);
                }
                file.0.push(Section {
                    name: self.category.clone(),
                    lines,
                });
            }
            "renamecat" => {
                let new = &self.value;
                if new.is_empty() || new.chars().count() > NAME_MAX {
                    return Err(Wrong::Argument);
                }
                let is_taken = file.0.iter().any(|section| section.name == *new);
                let section = self.section(file, filters)?;
                if is_taken && section.name != *new {
                    return Err(Wrong::NewCategory);
                }
                section.name.clone_from(new);
            }
            "delcat" => {
                let at = self.place(file, filters)?;
                file.0.remove(at);
            }
            "emptycat" => self.section(file, filters)?.lines.clear(),
            "update" => {
                let section = self.section(file, filters)?;
                if self.name.is_empty() {
                    return Err(Wrong::Argument);
                }
                let mut lines = section.lines.iter_mut();
                let found = lines.find(|line| self.means(line));
                found.ok_or(Wrong::Update)?.1.clone_from(&self.value);
            }
            "delete" => {
                let section = self.section(file, filters)?;
                if self.line.is_empty() {
                    if self.name.is_empty() {
                        return Err(Wrong::Argument);
                    }
                    let before = section.lines.len();
                    section.lines.retain(|line| !self.means(line));
                    if section.lines.len() == before {
                        return Err(Wrong::Delete);
                    }
                } else {
                    let number = self.line_number()?;
                    if number >= section.lines.len() {
                        return Err(Wrong::Delete);
                    }
                    section.lines.remove(number);
                }
            }
            "append" => {
                let section = self.section(file, filters)?;
                if self.name.is_empty() {
                    return Err(Wrong::Argument);
                }
                section.lines.push((self.name.clone(), self.value.clone()));
            }
            "insert" => {
                let section = self.section(file, filters)?;
                if self.name.is_empty() || self.line.is_empty() {
                    return Err(Wrong::Argument);
                }
                let number = self.line_number()?;
                if number > section.lines.len() {
                    return Err(Wrong::Insert);
                }
                let line = (self.name.clone(), self.value.clone());
                section.lines.insert(number, line);
            }
            _ => return Err(Wrong::Action),
        }
        Ok(())
    }
}

pub(super) async fn update(on: Context<'_>) -> String {
    let (source, target) = match (file(&on, "SrcFilename"), file(&on, "DstFilename")) {
        (Ok(source), Ok(target)) => (source, target),
        (Err(text), _) | (_, Err(text)) => return text,
    };
    let changes = changes(&on);
    let store = &on.manager.store;
    let changed = store.change_file(source, target, |file| {
        changes.iter().try_for_each(|change| change.apply(file))
    });
    match changed.await {
        Ok(FileChange::Done) => {}
        Ok(FileChange::Missing) => return on.error("Config file not found"),
        Ok(FileChange::Refused(wrong)) => return on.error(wrong.text()),
        Err(error) => {
            tracing::warn!(file = target, %error, "Manager: UpdateConfig");
            return on.error("Save of config failed");
        }
    }
    tracing::info!(
        user = on.user.name,
        file = target,
        "Manager: a configuration file was changed"
    );
    // Who is told that it is done finds it done.
    let looked = on.manager.shared.realtime.look_now().await;
    if let Err(error) = looked {
        tracing::warn!(%error, "Manager: UpdateConfig");
    }
    if let Some(wanted) = on.request.given("Reload") {
        let all = on.request.is_true("Reload");
        if all || strowger_scripting::has_module(wanted) {
            system::reload(on.manager, all || system::reads_dialplan(wanted)).await;
        }
    }
    on.done()
}

pub(super) async fn create(on: Context<'_>) -> String {
    let file = match file(&on, "Filename") {
        Ok(file) => file,
        Err(text) => return text,
    };
    match on.manager.store.create_file(file).await {
        Ok(true) => {
            let _ = on.manager.shared.realtime.look_now().await;
            on.success("New configuration file created successfully")
        }
        Ok(false) => on.error("File exists"),
        Err(error) => {
            tracing::warn!(file, %error, "Manager: CreateConfig");
            on.error("Save of config failed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> File {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        File(vec![
            Section {
                name: "one".to_owned(),
                lines: vec![pair("a", "1"), pair("b", "2"), pair("a", "3")],
            },
            Section {
                name: "two".to_owned(),
                lines: Vec::new(),
            },
        ])
    }

    fn shown(file: &File) -> String {
        let sections = file.0.iter().map(|section| {
            let lines = section.lines.iter();
            let lines: Vec<_> = lines
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("[{}] {}", section.name, lines.join(" "))
        });
        sections.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }

    fn after(action: &str, fields: &[(&str, &str)]) -> Result<String, Wrong> {
        let field = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| *name == wanted);
            found.map_or("", |(_, value)| value).to_owned()
        };
        let change = Change {
            action: action.to_owned(),
            category: field("cat"),
            name: field("var"),
            value: field("value"),
            matches: field("match"),
            line: field("line"),
            options: field("options"),
        };
        let mut file = file();
        change.apply(&mut file).map(|()| shown(&file))
    }

    #[test]
    fn each_action_changes_what_it_names() {
        let one = ("cat", "One");
        for (action, fields, wanted) in [
            (
                "NewCat",
                &[("cat", "three")][..],
                "[one] a=1 b=2 a=3 [two]  [three]",
            ),
            (
                "RenameCat",
                &[("cat", "two"), ("value", "2")],
                "[one] a=1 b=2 a=3 [2]",
            ),
            ("DelCat", &[one], "[two]"),
            ("EmptyCat", &[one], "[one]  [two]"),
            (
                "Update",
                &[one, ("var", "A"), ("value", "x")],
                "[one] a=x b=2 a=3 [two]",
            ),
            (
                "Update",
                &[one, ("var", "a"), ("value", "x"), ("match", "3")],
                "[one] a=1 b=2 a=x [two]",
            ),
            ("Delete", &[one, ("var", "a")], "[one] b=2 [two]"),
            (
                "Delete",
                &[one, ("var", "a"), ("match", "1")],
                "[one] b=2 a=3 [two]",
            ),
            ("Delete", &[one, ("line", "1")], "[one] a=1 a=3 [two]"),
            (
                "append",
                &[one, ("var", "c"), ("value", "4")],
                "[one] a=1 b=2 a=3 c=4 [two]",
            ),
            (
                "Insert",
                &[one, ("var", "c"), ("value", "4"), ("line", "0")],
                "[one] c=4 a=1 b=2 a=3 [two]",
            ),
            (
                "NewCat",
                &[one, ("options", "allowdups")],
                "[one] a=1 b=2 a=3 [two]",
            ),
            (
                "NewCat",
                &[("cat", "x"), ("options", "inherit=\"one,two\"")],
                "[one] a=1 b=2 a=3 [two]  [x] a=1 b=2 a=3",
            ),
            (
                "NewCat",
                &[("cat", "two"), ("options", "allowdups, inherit=ONE")],
                "[one] a=1 b=2 a=3 [two] a=1 b=2 a=3",
            ),
            (
                "Update",
                &[
                    one,
                    ("var", "b"),
                    ("value", "x"),
                    ("options", "catfilter=\"^a$=^3$,b=2\""),
                ],
                "[one] a=1 b=x a=3 [two]",
            ),
            (
                "EmptyCat",
                &[one, ("options", "catfilter=a=1")],
                "[one]  [two]",
            ),
        ] {
            assert_eq!(
                after(action, fields),
                Ok(wanted.to_owned()),
                "{action} {fields:?}"
            );
        }
    }

    #[test]
    fn of_sections_that_differ_in_case_the_one_of_the_very_name_is_meant() {
        let section = |name: &str| Section {
            name: name.to_owned(),
            lines: Vec::new(),
        };
        let mut file = File(vec![section("House"), section("house")]);
        let change = Change {
            action: "DelCat".to_owned(),
            category: "house".to_owned(),
            ..Change::default()
        };
        assert_eq!(change.apply(&mut file), Ok(()));
        assert_eq!(shown(&file), "[House]");
    }

    #[test]
    fn what_is_wrong_is_said_as_asterisk_says_it() {
        let one = ("cat", "one");
        for (action, fields, wanted) in [
            ("Paint", &[one][..], Wrong::Action),
            ("NewCat", &[], Wrong::NoCategory),
            ("NewCat", &[one], Wrong::NewCategory),
            (
                "NewCat",
                &[("cat", "x"), ("match", "none")],
                Wrong::NewCategory,
            ),
            (
                "NewCat",
                &[("cat", "x"), ("options", "inherit=\"one,none\"")],
                Wrong::Template,
            ),
            (
                "NewCat",
                &[("cat", "x"), ("options", "template")],
                Wrong::Template,
            ),
            (
                "DelCat",
                &[one, ("options", "catfilter=\"a=1,b=3\"")],
                Wrong::UnknownCategory,
            ),
            (
                "DelCat",
                &[one, ("options", "catfilter=(")],
                Wrong::Argument,
            ),
            ("DelCat", &[("cat", "none")], Wrong::UnknownCategory),
            ("RenameCat", &[one], Wrong::Argument),
            ("RenameCat", &[one, ("value", "two")], Wrong::NewCategory),
            (
                "Update",
                &[one, ("var", "none"), ("value", "1")],
                Wrong::Update,
            ),
            ("Delete", &[one], Wrong::Argument),
            ("Delete", &[one, ("line", "9")], Wrong::Delete),
            ("Append", &[one, ("value", "1")], Wrong::Argument),
            (
                "Append",
                &[one, ("var", "x"), ("value", "a\nb")],
                Wrong::Argument,
            ),
            (
                "Insert",
                &[one, ("var", "x"), ("line", "many")],
                Wrong::Argument,
            ),
            ("Insert", &[one, ("var", "x"), ("line", "4")], Wrong::Insert),
        ] {
            assert_eq!(after(action, fields), Err(wanted), "{action} {fields:?}");
        }
    }

    #[test]
    fn nobody_writes_what_would_give_him_more_than_he_has() {
        for (write, file, may) in [
            ("config", "amd.conf", true),
            ("config", "queuerules.conf", true),
            ("config", "extensions.conf", false),
            ("config", "voicemail.conf", false),
            ("config", "manager.conf", false),
            ("config", "something.conf", false),
            ("config,system", "extensions.conf", true),
            ("config,system", "manager.conf", false),
            ("config,system", "Manager.conf", false),
            ("config,system", "ACL.conf", false),
            ("all", "manager.conf", true),
        ] {
            let user = User::program(Classes::parse(write));
            assert_eq!(may_write(&user, file), may, "{write} {file}");
        }
        for name in ["../x.conf", "/etc/x.conf", ".x", "a b.conf", "x\\y.conf"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("my-app_2.conf"));
    }
}
