//! The files of an Asterisk configuration as text: sections with templates and additions, comments, included files. What a
//! section inherits stands in it; what could not be read is a fault with its place. Reads no disk: see [`Files`].

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::filter::Filter;

/// The longest line, in bytes; Asterisk passes over longer ones too.
const LINE_MAX: usize = 8190;
/// How deep files include each other, and comments lie within each other.
const DEPTH_MAX: usize = 16;
const COMMENTS_MAX: usize = 128;
/// Settings of one configuration with all it includes and inherits.
const SETTINGS_MAX: usize = 1_000_000;
/// Files of one configuration, each counted as often as it is included.
const FILES_MAX: usize = 2000;
/// Faults told of one configuration.
const FAULTS_MAX: usize = 1000;

/// Where something stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    /// The file, as seen from the folder of the configuration.
    pub(crate) file: Arc<str>,
    /// Lines count from 1; 0 is the whole file.
    pub(crate) line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// `name = value`, `name => value`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) place: Place,
}

/// A section with what it inherits, in the order in which it counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    /// `(!)`: only there to be inherited from.
    pub(crate) template: bool,
    pub(crate) settings: Vec<Setting>,
    /// Its first line, and the last line that says something for it in the same file.
    pub(crate) place: Place,
    pub(crate) last_line: u32,
}

impl Section {
    /// The last value of this name, which is the one that counts.
    pub(crate) fn get(&self, name: &str) -> Option<&Setting> {
        let mut settings = self.settings.iter();
        settings.rfind(|setting| setting.name.eq_ignore_ascii_case(name))
    }
}

/// A line that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) what: String,
}

/// A configuration, with the files that it includes.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Conf {
    pub(crate) sections: Vec<Section>,
    pub(crate) faults: Vec<Fault>,
    /// All files that were read, the first too.
    pub(crate) files: BTreeSet<String>,
    /// Something that belongs to it could not be read: what stands here may say less than its author meant, and what does
    /// not stand here is not gone.
    pub(crate) incomplete: bool,
}

/// A file with its name: its bytes, or why it is not read.
pub(crate) type Found = (String, Result<Vec<u8>, String>);

/// Gives files by name.
pub(crate) trait Files {
    /// The files that a name or pattern means, in order; none, if there is none.
    ///
    /// # Errors
    /// Why it is not known what they are.
    fn read(&self, pattern: &str) -> Result<Vec<Found>, String>;
}

impl Conf {
    /// Reads a file and what it includes; `None` if there is no such file.
    pub(crate) fn read(files: &dyn Files, name: &str) -> Result<Option<Self>, String> {
        let found = files.read(name)?;
        if found.is_empty() {
            return Ok(None);
        }
        let mut reader = Reader {
            files,
            conf: Self::default(),
            latest: Current::None,
            settings: 0,
            included: 0,
            names: HashMap::new(),
        };
        for (name, bytes) in found {
            reader.file(&name, &bytes?, 1);
        }
        Ok(Some(reader.conf))
    }

    /// Writes these names of sections small, in whatever case they stand.
    pub(crate) fn write_small(&mut self, names: &[&'static str]) {
        for section in &mut self.sections {
            let mut names = names.iter();
            if let Some(small) = names.find(|name| section.name.eq_ignore_ascii_case(name)) {
                section.name = (*small).to_owned();
            }
        }
    }

    /// The sections that count, templates left out.
    pub(crate) fn real(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|section| !section.template)
    }
}

/// Whom settings belong to.
#[derive(Clone, Copy, Default)]
enum Current {
    /// No section has begun.
    #[default]
    None,
    /// A section that cannot be what its author meant, which was told.
    Refused,
    Section(usize),
}

struct Reader<'f> {
    files: &'f dyn Files,
    conf: Conf,
    /// What settings of the next file belong to.
    latest: Current,
    settings: usize,
    included: usize,
    /// The sections of each name in small letters, in order.
    names: HashMap<String, Vec<usize>>,
}

impl Reader<'_> {
    /// Something is missing because of this: an Asterisk would refuse the whole configuration, or run a program for it.
    fn lost(&mut self, place: &Place, what: impl Into<String>) {
        self.conf.incomplete = true;
        self.fault(place, what);
    }

    fn fault(&mut self, place: &Place, what: impl Into<String>) {
        if self.conf.faults.len() < FAULTS_MAX {
            self.conf.faults.push(Fault {
                place: place.clone(),
                what: what.into(),
            });
        }
    }

    fn file(&mut self, name: &str, bytes: &[u8], depth: usize) {
        let mut place = Place {
            file: name.into(),
            line: 0,
        };
        self.conf.files.insert(name.to_owned());
        let text = String::from_utf8_lossy(bytes);
        if matches!(text, std::borrow::Cow::Owned(_)) {
            // A name or a password that is written with other characters would be another one.
            self.lost(
                &place,
                "is not UTF-8: convert it first (`iconv -f WINDOWS-1251 -t UTF-8`, for one)"
                    .to_owned(),
            );
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut current = self.latest;
        let mut comments = 0;
        for line in text.split('\n') {
            place.line = place.line.saturating_add(1);
            if line.len() > LINE_MAX {
                self.lost(
                    &place,
                    format!("is longer than {LINE_MAX} bytes: passed over"),
                );
                continue;
            }
            let line = without_comments(line, &mut comments);
            let line = line.trim_matches(is_blank);
            if !line.is_empty() {
                self.line(line, &place, &mut current, depth);
            }
        }
        if comments > 0 {
            self.lost(
                &place,
                "ends within a comment that `;--` begins and no `--;` ends",
            );
        }
    }

    fn line(&mut self, line: &str, place: &Place, current: &mut Current, depth: usize) {
        if let Some(rest) = line.strip_prefix('[') {
            *current = match self.header(rest, place) {
                Ok(section) => Current::Section(section),
                Err(why) => {
                    self.lost(place, why);
                    Current::Refused
                }
            };
            self.latest = *current;
        } else if let Some(rest) = line.strip_prefix('#') {
            self.directive(rest, place, depth);
        } else {
            self.setting(line, place, *current);
        }
    }

    fn header(&mut self, rest: &str, place: &Place) -> Result<usize, String> {
        let (name, rest) = rest
            .split_once(']')
            .ok_or("the name of the section has no `]` at its end")?;
        let name = name.trim_matches(is_blank);
        let options = match rest.strip_prefix('(').map(|rest| rest.split_once(')')) {
            None => {
                if rest.trim_matches(is_blank).starts_with('(') {
                    let what = "the options of the section do not stand directly behind `]`: without them, as in an Asterisk";
                    self.fault(place, what);
                }
                ""
            }
            Some(Some((options, _))) => options,
            Some(None) => return Err("the options of the section have no `)` at their end".into()),
        };
        let mut section = Section {
            name: name.to_owned(),
            template: false,
            settings: Vec::new(),
            place: place.clone(),
            last_line: place.line,
        };
        let mut onto = None;
        for option in options
            .split(',')
            .map(|option| option.trim_matches(is_blank))
        {
            if option == "!" {
                section.template = true;
            } else if let Some(filter) = option.strip_prefix('+') {
                let filter = filter.trim_matches(is_blank);
                let at = self.matching(name, filter)?;
                onto = Some(at.ok_or_else(|| match filter {
                    "" => format!("adds to section [{name}], which is not there yet: its lines are left out"),
                    _ => format!("adds to a section [{name}] with {filter}, and there is none yet: its lines are left out"),
                })?);
            } else if !option.is_empty() {
                let at = self.find(option).ok_or_else(|| {
                    format!(
                        "inherits from [{option}], which is not there yet: [{name}] is left out"
                    )
                })?;
                let inherited = self.conf.sections[at].settings.clone();
                self.settings = self.settings.saturating_add(inherited.len());
                if self.settings > SETTINGS_MAX {
                    return Err(format!(
                        "the configuration is too large: [{name}] is left out"
                    ));
                }
                section.settings.extend(inherited);
            }
        }
        let Some(at) = onto else {
            let at = self.conf.sections.len();
            let known = self.names.entry(name.to_ascii_lowercase());
            known.or_default().push(at);
            self.conf.sections.push(section);
            return Ok(at);
        };
        let existing = &mut self.conf.sections[at];
        existing.settings.append(&mut section.settings);
        existing.template |= section.template;
        if *existing.place.file == *place.file {
            existing.last_line = existing.last_line.max(place.line);
        }
        Ok(at)
    }

    /// The sections of this name, those of the same case first.
    fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        let known = self.names.get(&name.to_ascii_lowercase());
        let known = known.map_or(&[][..], Vec::as_slice);
        let is = move |at: &usize| self.conf.sections[*at].name == name;
        let exact = known.iter().copied().filter(is);
        exact.chain(known.iter().copied().filter(move |at| !is(at)))
    }

    /// The first section of this name.
    fn find(&self, name: &str) -> Option<usize> {
        self.named(name).next()
    }

    /// The first section of this name that an addition with this filter means.
    fn matching(&self, name: &str, filter: &str) -> Result<Option<usize>, String> {
        let filter = Filter::read(filter)?;
        let fits = |at: &usize| filter.fits(&self.conf.sections[*at]);
        Ok(self.named(name).find(fits))
    }

    fn directive(&mut self, rest: &str, place: &Place, depth: usize) {
        let (word, argument) = rest.split_once(is_blank).unwrap_or((rest, ""));
        let argument = argument.trim_matches(is_blank);
        let quoted = |first, last| {
            let inner = argument.strip_prefix(first)?;
            inner.strip_suffix(last)
        };
        let name = quoted('"', '"')
            .or_else(|| quoted('<', '>'))
            .unwrap_or(argument);
        let optional = match word.to_ascii_lowercase().as_str() {
            "include" => false,
            "tryinclude" => true,
            "exec" => {
                let what = "`#exec` is not run: put what it prints into a file and include that";
                return self.lost(place, what);
            }
            _ => {
                let what = format!("`#{word}` is not known: include, tryinclude");
                return self.lost(place, what);
            }
        };
        if name.is_empty() {
            return self.lost(place, format!("`#{word}` names no file"));
        }
        if depth >= DEPTH_MAX {
            let what =
                format!("files include each other more than {DEPTH_MAX} deep: {name} is left out");
            return self.lost(place, what);
        }
        self.included += 1;
        if self.included > FILES_MAX {
            let what = format!("more than {FILES_MAX} files are included: {name} is left out");
            return self.lost(place, what);
        }
        match self.files.read(name) {
            Err(why) => self.lost(place, format!("{name}: {why}")),
            Ok(found) if found.is_empty() => {
                if !optional {
                    self.lost(place, format!("{name} is not there"));
                }
            }
            Ok(found) => {
                for (name, bytes) in found {
                    match bytes {
                        Ok(bytes) => self.file(&name, &bytes, depth + 1),
                        Err(why) => self.lost(place, format!("{name}: {why}")),
                    }
                }
            }
        }
    }

    fn setting(&mut self, line: &str, place: &Place, current: Current) {
        if matches!(current, Current::Refused) {
            return;
        }
        let escaped = line.strip_prefix('\\');
        let line = escaped.unwrap_or(line);
        // An escaped first character is one of the name, whatever it is.
        let first = match (escaped, line.chars().next()) {
            (Some(_), Some(first)) => first.len_utf8(),
            _ => 0,
        };
        let Some(at) = line.get(first..).and_then(|rest| rest.find('=')) else {
            return self.fault(place, "has no `=`");
        };
        let at = at + first;
        let (name, value) = (&line[..at], &line[at + 1..]);
        let added = (at > first).then(|| name.strip_suffix('+')).flatten();
        let name = added.unwrap_or(name).trim_matches(is_blank);
        if name.is_empty() {
            return self.fault(place, "has no name before `=`");
        }
        let section = match current {
            Current::Section(at) => self.conf.sections.get_mut(at),
            Current::None | Current::Refused => None,
        };
        let Some(section) = section else {
            return self.fault(place, "stands before the first section");
        };
        if *section.place.file == *place.file {
            section.last_line = section.last_line.max(place.line);
        }
        if added.is_some() {
            let mut settings = section.settings.iter_mut();
            if let Some(before) = settings.rfind(|setting| setting.name == name) {
                before.value.push_str(value);
                let whole = before.value.trim_matches(is_blank).to_owned();
                // Many additions to one value are one value.
                if whole.len() > 16 * LINE_MAX {
                    return self.lost(place, "makes the value too long: passed over");
                }
                before.value = whole;
                before.place = place.clone();
                return;
            }
        }
        let value = match added {
            Some(_) => value,
            None => value.strip_prefix('>').unwrap_or(value),
        };
        self.settings = self.settings.saturating_add(1);
        if self.settings > SETTINGS_MAX {
            return self.lost(place, "the configuration is too large: passed over");
        }
        section.settings.push(Setting {
            name: name.to_owned(),
            value: value.trim_matches(is_blank).to_owned(),
            place: place.clone(),
        });
    }
}

pub(super) fn is_blank(char: char) -> bool {
    char <= ' '
}

/// A line without what is comment; `comments` is how deep it begins and ends within comments that span lines.
fn without_comments(line: &str, comments: &mut usize) -> String {
    let bytes = line.as_bytes();
    let mut kept = String::with_capacity(line.len());
    // What is kept is copied up to here; looking goes on from there.
    let (mut copied, mut at) = (0, 0);
    let begun = |at: usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        rest.starts_with(b";--") && rest.get(3) != Some(&b'-')
    };
    while let Some(found) = bytes.get(at..).and_then(semicolon) {
        let place = at + found;
        if *comments == 0 {
            if place > copied && bytes[place - 1] == b'\\' {
                kept.push_str(&line[copied..place - 1]);
                kept.push(';');
                copied = place + 1;
                at = copied;
            } else if begun(place) {
                kept.push_str(&line[copied..place]);
                *comments = 1;
                at = place + 3;
                copied = line.len();
            } else {
                kept.push_str(&line[copied..place]);
                return kept;
            }
        } else if begun(place) {
            *comments = (*comments + 1).min(COMMENTS_MAX);
            at = place + 3;
        } else if place >= at + 2 && bytes[place - 2..place] == *b"--" {
            *comments -= 1;
            at = place + 1;
            if *comments == 0 {
                copied = at;
            }
        } else {
            at = place + 1;
        }
    }
    if *comments == 0 {
        kept.push_str(line.get(copied..).unwrap_or_default());
    }
    kept
}

fn semicolon(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b';')
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Files of a test, by name.
    pub(crate) struct Memory(pub(crate) BTreeMap<String, Vec<u8>>);

    impl Files for Memory {
        fn read(&self, pattern: &str) -> Result<Vec<Found>, String> {
            let (start, end) = pattern.split_once('*').unwrap_or((pattern, ""));
            let fits = |name: &&String| match pattern.contains('*') {
                true => name.starts_with(start) && name.ends_with(end),
                false => *name == pattern,
            };
            let found = self.0.keys().filter(fits);
            Ok(found
                .map(|name| (name.clone(), Ok(self.0[name].clone())))
                .collect())
        }
    }

    fn files(list: &[(&str, &str)]) -> Memory {
        let files = list.iter();
        Memory(
            files
                .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
                .collect(),
        )
    }

    fn read(text: &str) -> Conf {
        let files = files(&[("a.conf", text)]);
        Conf::read(&files, "a.conf")
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    fn shown(conf: &Conf) -> Vec<String> {
        let mut lines = Vec::new();
        for section in conf.real() {
            lines.push(format!("[{}]", section.name));
            let settings = section.settings.iter();
            lines.extend(settings.map(|setting| format!("{}={}", setting.name, setting.value)));
        }
        lines
    }

    #[test]
    fn templates_additions_and_appended_values() {
        let conf = read(
            "; a comment\n[basic](!)\nallow = ulaw\nset_var=A=1\n\
             [phone](!,basic)\ndtmf_mode => rfc4733\n\
             [100](phone)\nallow += ,alaw ; and this\n callerid = A \\; B <100>\n[100]\ntype=aor\n\
             [ 100 ](+)\nlate=1\nx+=first\n",
        );
        assert_eq!(
            shown(&conf),
            [
                "[100]",
                "allow=ulaw ,alaw",
                "set_var=A=1",
                "dtmf_mode=rfc4733",
                "callerid=A ; B <100>",
                "late=1",
                "x=first",
                "[100]",
                "type=aor"
            ]
        );
        assert_eq!(conf.faults, []);
        // The template keeps its own value.
        assert_eq!(conf.sections[0].settings[0].value, "ulaw");
        assert_eq!(conf.sections[2].settings[0].place.line, 8);
    }

    #[test]
    fn comments_over_lines_lie_within_each_other() {
        let conf = read(
            "[a]\nx=1 ;-- gone\n[gone]\ny=2 ;-- deeper --; still ; gone\nz=3 --; w=4\nv=5\n;--- a plain one\nu=6;--x--;7\nt=a--b\\;--c\n",
        );
        assert_eq!(
            shown(&conf),
            ["[a]", "x=1", "w=4", "v=5", "u=67", "t=a--b;--c"]
        );
        assert_eq!(conf.faults, []);
    }

    #[test]
    fn files_are_included_where_they_stand() {
        let files = files(&[
            (
                "pjsip.conf",
                "[a]\nx=1\n#include <d/*.conf>\ny=2\n#tryinclude none.conf\n#include \"none.conf\"\n#exec /bin/date\n#include loop.conf\n",
            ),
            ("d/1.conf", "from=1\n[b]\nz=3\n"),
            ("d/2.conf", "more=4\n"),
            ("loop.conf", "#include loop.conf\n"),
        ]);
        let conf = Conf::read(&files, "pjsip.conf")
            .ok()
            .flatten()
            .unwrap_or_default();
        assert_eq!(
            shown(&conf),
            ["[a]", "x=1", "from=1", "y=2", "[b]", "z=3", "more=4"]
        );
        let faults: Vec<String> = conf
            .faults
            .iter()
            .map(|fault| format!("{}: {}", fault.place, fault.what))
            .collect();
        assert_eq!(faults[0], "pjsip.conf:6: none.conf is not there");
        assert!(faults[1].starts_with("pjsip.conf:7: `#exec` is not run"));
        assert!(faults[2].contains("more than 16 deep"), "{faults:?}");
        assert_eq!(conf.sections[1].place.to_string(), "d/1.conf:2");
        assert_eq!(Conf::read(&files, "absent.conf"), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let long = format!("[ok]\nx={}\ny=1\n", "a".repeat(9000));
        for (text, line, what, incomplete) in [
            ("x=1\n", 1, "stands before the first section", false),
            ("[a\nx=1\n", 1, "no `]`", true),
            ("[a](b\nx=1\n", 1, "no `)`", true),
            ("[a](b)\nx=1\n", 1, "inherits from [b]", true),
            ("[a](+)\nx=1\n", 1, "adds to section [a]", true),
            ("[a] (!)\nx=1\n", 1, "not stand directly behind", false),
            (
                "[a]\n[a](+x=1)\n",
                2,
                "adds to a section [a] with x=1",
                true,
            ),
            ("[a]\n[a](+x)\n", 2, "has no `=`", true),
            ("[a]\n[a](+x=[)\n", 2, "no regular expression", true),
            ("[a]\n\nplain\n", 3, "has no `=`", false),
            ("[a]\n=1\n", 2, "has no name", false),
            ("[a]\n#frobnicate x\n", 2, "is not known", true),
            ("[a]\n#include\n", 2, "names no file", true),
            ("[a]\n#exec x\n", 2, "is not run", true),
            ("[a]\nx=1 ;-- open\n", 3, "ends within a comment", true),
            (long.as_str(), 2, "longer than", true),
        ] {
            let conf = read(text);
            let faults = &conf.faults;
            assert_eq!(faults.len(), 1, "{text:?}: {faults:?}");
            assert_eq!(faults[0].place.line, line, "{text:?}");
            assert!(faults[0].what.contains(what), "{faults:?}");
            assert_eq!(conf.incomplete, incomplete, "{text:?}");
        }
        // A section without what it should inherit would be a door without its lock.
        assert_eq!(shown(&read("[b]\n[a](c)\nx=1\n")), ["[b]"]);
        // Options that an Asterisk does not see: no template.
        assert_eq!(shown(&read("[a] (!)\nx=1\n")), ["[a]", "x=1"]);
    }

    #[test]
    fn additions_with_a_filter_find_their_section() {
        let conf = read(
            "[100](!)\ntype=endpoint\n[100]\ntype=aor\n[100](100)\nauth=100\n[100]\ntype=auth\n\
             [100](+type=^auth$)\nusername=a\n[100](+type=endpoint&auth=1)\ndeny=b\n\
             [100](+TEMPLATES=restrict)\nlate=c\n[100](+)\nfirst=d\n",
        );
        assert_eq!(conf.faults, []);
        assert_eq!(
            shown(&conf),
            [
                "[100]",
                "type=aor",
                "first=d",
                "[100]",
                "type=endpoint",
                "auth=100",
                "deny=b",
                "[100]",
                "type=auth",
                "username=a"
            ]
        );
        assert_eq!(
            conf.sections[0].get("late").map(|s| s.value.as_str()),
            Some("c")
        );
        assert!(!conf.incomplete);
    }

    #[test]
    fn one_bad_file_of_a_pattern_leaves_the_others_and_is_told() {
        struct Torn;
        impl Files for Torn {
            fn read(&self, pattern: &str) -> Result<Vec<Found>, String> {
                let text = |text: &str| Ok(text.as_bytes().to_vec());
                Ok(match pattern {
                    "a.conf" => vec![("a.conf".into(), text("[a]\n#include d/*.conf\n"))],
                    _ => vec![
                        ("d/1.conf".into(), Err("cannot be read".into())),
                        ("d/2.conf".into(), text("x=1\n")),
                    ],
                })
            }
        }
        let conf = Conf::read(&Torn, "a.conf")
            .ok()
            .flatten()
            .unwrap_or_default();
        assert_eq!(shown(&conf), ["[a]", "x=1"]);
        assert_eq!(conf.faults[0].what, "d/1.conf: cannot be read");
        assert!(conf.incomplete);
    }

    /// Sections as they would stand in a file.
    fn write(sections: &[(String, Vec<(String, String)>)]) -> String {
        let escape = |text: &str| text.replace(';', "\\;");
        let mut text = String::new();
        for (name, settings) in sections {
            text.push_str(&format!("[{name}]\n"));
            for (name, value) in settings {
                text.push_str(&format!("{} = {}\n", escape(name), escape(value)));
            }
        }
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn nothing_that_a_file_says_makes_the_reader_fail(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut files = BTreeMap::new();
            files.insert("a.conf".to_owned(), bytes);
            let _ = Conf::read(&Memory(files), "a.conf");
        }

        #[test]
        fn nor_do_its_own_marks_in_any_order(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "[", "]", "(", ")", "!", "+", ",", ";", "-", "--;", ";--", "\\", "=", "=>", "+=", "a", "b", " ", "\n", "\r\n",
                    "#include ", "#tryinclude ", "a.conf", "\u{feff}", "ж", "\"", "<", ">",
                ]),
                0..60,
            )
        ) {
            let conf = read(&pieces.concat());
            for section in &conf.sections {
                for setting in &section.settings {
                    prop_assert!(!setting.name.is_empty());
                    prop_assert_eq!(setting.value.trim_matches(is_blank), setting.value.as_str());
                }
            }
        }

        #[test]
        fn what_is_written_reads_back_the_same(
            sections in prop::collection::vec(
                (
                    "[a-zA-Z0-9_. -]{0,6}[a-z]",
                    prop::collection::vec(("[a-z0-9_@-]{1,8}", "([!-~ж][ -~ж]{0,20}[!-~ж])?"), 0..6),
                ),
                0..6,
            )
        ) {
            let sections: Vec<(String, Vec<(String, String)>)> = sections
                .into_iter()
                .map(|(name, settings)| (name.trim().to_owned(), settings))
                .collect();
            let conf = read(&write(&sections));
            prop_assert_eq!(&conf.faults, &[]);
            let back: Vec<(String, Vec<(String, String)>)> = conf
                .sections
                .iter()
                .map(|section| {
                    let settings = section.settings.iter();
                    let settings = settings.map(|s| (s.name.clone(), s.value.clone()));
                    (section.name.clone(), settings.collect())
                })
                .collect();
            prop_assert_eq!(back, sections);
        }
    }
}
