//! Mailboxes: rows of `voicemail`, and lines of `voicemail.conf`.

use std::time::Duration;

use strowger_store::{Snapshot, StaticRow};

/// The context of mailboxes that name none.
pub const DEFAULT_CONTEXT: &str = "default";
/// Messages in a folder at most, whatever is configured.
const MESSAGES_MAX: usize = 9999;

/// A mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    pub context: String,
    pub number: String,
    pub password: String,
    pub full_name: String,
    /// Where a message is sent; empty: nowhere.
    pub email: String,
    /// The recording goes with the e-mail.
    pub attach: bool,
    /// A message that was sent by e-mail is not kept.
    pub delete: bool,
    /// The date and the caller are said before a message.
    pub envelope: bool,
    pub say_caller: bool,
    /// `0` leads to extension `o` while a message is left.
    pub operator: bool,
    pub exit_context: String,
    /// Where its owner is, as `Europe/Moscow`; empty: where the exchange is.
    pub timezone: String,
    /// How times are said (`zonemessages`); empty: as usual.
    pub time_format: String,
    /// Other names under which the directory finds him, and whether it does at all.
    pub aliases: Vec<String>,
    pub hidden: bool,
    pub language: String,
    pub messages_max: usize,
    /// Longest and shortest message; zero is no limit.
    pub longest: Duration,
    pub shortest: Duration,
    /// Silence after which a message is over; zero: never.
    pub silence: Duration,
    /// Format of what is recorded.
    pub format: String,
    /// Its row, to write a new password to.
    pub is_realtime: bool,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self {
            context: DEFAULT_CONTEXT.to_owned(),
            number: String::new(),
            password: String::new(),
            full_name: String::new(),
            email: String::new(),
            attach: true,
            delete: false,
            envelope: true,
            say_caller: false,
            operator: false,
            exit_context: String::new(),
            timezone: String::new(),
            time_format: String::new(),
            aliases: Vec::new(),
            hidden: false,
            language: String::new(),
            messages_max: 100,
            longest: Duration::ZERO,
            shortest: Duration::ZERO,
            silence: Duration::ZERO,
            format: "wav".to_owned(),
            is_realtime: false,
        }
    }
}

fn yes(text: &str) -> bool {
    matches!(
        text.trim().to_ascii_lowercase().as_str(),
        "yes" | "true" | "on" | "1" | "y" | "t"
    )
}

impl Mailbox {
    /// `number@context`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}@{}", self.number, self.context)
    }

    /// Sets an option; what is not known says nothing.
    fn set(&mut self, option: &str, text: &str) {
        let own = text.to_owned();
        let seconds = text.trim().parse().map(Duration::from_secs);
        match option.to_ascii_lowercase().as_str() {
            "password" => self.password = own.trim_start_matches('-').to_owned(),
            "fullname" => self.full_name = own,
            "email" => self.email = own,
            "attach" => self.attach = yes(text),
            "delete" | "deletevoicemail" => self.delete = yes(text),
            "envelope" => self.envelope = yes(text),
            "saycid" => self.say_caller = yes(text),
            "operator" => self.operator = yes(text),
            "exitcontext" => self.exit_context = own,
            "tz" => self.timezone = own,
            "hidefromdir" => self.hidden = yes(text),
            "alias" => self.aliases.push(own),
            "language" => self.language = own,
            "maxmsg" => {
                let number = text.trim().parse().unwrap_or(self.messages_max);
                self.messages_max = number.clamp(1, MESSAGES_MAX);
            }
            "maxsecs" | "maxmessage" => self.longest = seconds.unwrap_or(self.longest),
            "minsecs" | "minmessage" => self.shortest = seconds.unwrap_or(self.shortest),
            "maxsilence" => self.silence = seconds.unwrap_or(self.silence),
            "format" => {
                let first = text.split('|').next().unwrap_or_default().trim();
                // GSM in RIFF is named so on disk.
                self.format = match first {
                    "" => "wav".to_owned(),
                    "wav49" => "WAV".to_owned(),
                    other => other.to_owned(),
                };
            }
            _ => {}
        }
    }
}

/// Can this be a name of a mailbox or context? It becomes a folder.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 80
        && !text.starts_with('.')
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '*' | '#'))
}

/// `100@office`, or `100` of the default context.
#[must_use]
pub fn split(name: &str) -> (&str, &str) {
    let (number, context) = name.trim().split_once('@').unwrap_or((name.trim(), ""));
    let context = if context.is_empty() {
        DEFAULT_CONTEXT
    } else {
        context
    };
    (number.trim(), context.trim())
}

fn general(snapshot: &Snapshot) -> Mailbox {
    let mut mailbox = Mailbox::default();
    for row in lines(snapshot).filter(|row| row.category == "general") {
        mailbox.set(&row.var_name, value(row));
    }
    mailbox
}

/// A zone of section `zonemessages` is another name of a time zone, with a way to say times: `Europe/Moscow|'vm-received' Q HM`.
fn resolve_zone(snapshot: &Snapshot, mailbox: &mut Mailbox) {
    if mailbox.timezone.is_empty() {
        return;
    }
    let mut zones = lines(snapshot).filter(|row| row.category == "zonemessages");
    let Some(row) = zones.find(|row| row.var_name == mailbox.timezone) else {
        return;
    };
    let (zone, format) = value(row).split_once('|').unwrap_or((value(row), ""));
    let (zone, format) = (zone.trim().to_owned(), format.trim().to_owned());
    (mailbox.timezone, mailbox.time_format) = (zone, format);
}

fn lines(snapshot: &Snapshot) -> impl Iterator<Item = &StaticRow> {
    let rows = snapshot.statics.iter();
    rows.filter(|row| row.filename == "voicemail.conf")
}

fn value(row: &StaticRow) -> &str {
    row.var_val.trim_start_matches('>').trim()
}

/// A line `1234 => password,name,e-mail,pager,option=value|option=value`.
fn from_line(base: &Mailbox, row: &StaticRow) -> Mailbox {
    let mut mailbox = base.clone();
    mailbox.context.clone_from(&row.category);
    mailbox.number.clone_from(&row.var_name);
    let parts: Vec<&str> = value(row).splitn(5, ',').map(str::trim).collect();
    for (option, index) in [("password", 0), ("fullname", 1), ("email", 2)] {
        if let Some(text) = parts.get(index) {
            mailbox.set(option, text);
        }
    }
    for option in parts.get(4).copied().unwrap_or_default().split('|') {
        if let Some((name, text)) = option.split_once('=') {
            mailbox.set(name.trim(), text.trim());
        }
    }
    mailbox
}

/// All mailboxes of a context (`None`: of all), those of the table first.
#[must_use]
pub fn all(snapshot: &Snapshot, context: Option<&str>) -> Vec<Mailbox> {
    let base = general(snapshot);
    let mut found = Vec::new();
    for row in &*snapshot.voicemail {
        let mut mailbox = base.clone();
        row.get("mailbox").clone_into(&mut mailbox.number);
        if !row.get("context").is_empty() {
            row.get("context").clone_into(&mut mailbox.context);
        }
        for (option, text) in &row.options {
            mailbox.set(option, text);
        }
        mailbox.is_realtime = true;
        found.push(mailbox);
    }
    let sections =
        lines(snapshot).filter(|row| !matches!(row.category.as_str(), "general" | "zonemessages"));
    found.extend(sections.map(|row| from_line(&base, row)));
    found.retain(|mailbox| {
        is_name(&mailbox.number)
            && is_name(&mailbox.context)
            && context.is_none_or(|context| context == mailbox.context)
    });
    for mailbox in &mut found {
        resolve_zone(snapshot, mailbox);
    }
    found
}

/// The mailbox of this name.
#[must_use]
pub fn find(snapshot: &Snapshot, name: &str) -> Option<Mailbox> {
    let (number, context) = split(name);
    let base = || general(snapshot);
    let row = snapshot.voicemail.iter().find(|row| {
        let own = match row.get("context") {
            "" => DEFAULT_CONTEXT,
            own => own,
        };
        row.get("mailbox") == number && own == context
    });
    let found = match row {
        Some(row) => {
            let mut mailbox = base();
            number.clone_into(&mut mailbox.number);
            context.clone_into(&mut mailbox.context);
            for (option, text) in &row.options {
                mailbox.set(option, text);
            }
            mailbox.is_realtime = true;
            Some(mailbox)
        }
        None => lines(snapshot)
            .find(|row| row.category == context && row.var_name == number)
            .map(|row| from_line(&base(), row)),
    };
    let mut found =
        found.filter(|mailbox| is_name(&mailbox.number) && is_name(&mailbox.context))?;
    resolve_zone(snapshot, &mut found);
    Some(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use strowger_store::OptionsRow;

    use super::*;

    fn snapshot() -> Snapshot {
        let line = |category: &str, name: &str, value: &str| StaticRow {
            filename: "voicemail.conf".to_owned(),
            category: category.to_owned(),
            var_name: name.to_owned(),
            var_val: value.to_owned(),
            ..StaticRow::default()
        };
        let row = |options: &[(&str, &str)]| OptionsRow {
            options: options
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
        };
        Snapshot {
            statics: Arc::new(vec![
                line("general", "maxmsg", "50"),
                line("general", "format", "wav49|gsm"),
                line("zonemessages", "moscow", "Europe/Moscow|'vm-received' Q HM"),
                line(
                    "default",
                    "200",
                    "> 4321,Boris,b@example.com,,delete=yes|tz=moscow",
                ),
            ]),
            voicemail: Arc::new(vec![
                row(&[
                    ("mailbox", "100"),
                    ("password", "1234"),
                    ("fullname", "Anna"),
                    ("attach", "no"),
                ]),
                row(&[("mailbox", "100"), ("context", "shop"), ("maxmsg", "3")]),
                row(&[("mailbox", "../100"), ("password", "1")]),
            ]),
            ..Snapshot::default()
        }
    }

    #[test]
    fn mailboxes_come_from_rows_and_from_lines() {
        let snapshot = snapshot();
        let anna = find(&snapshot, "100").unwrap();
        assert_eq!((anna.full_name.as_str(), anna.messages_max), ("Anna", 50));
        assert!(anna.is_realtime && !anna.attach);
        assert_eq!(anna.format, "WAV");
        assert_eq!(find(&snapshot, "100@shop").unwrap().messages_max, 3);
        let boris = find(&snapshot, "200@default").unwrap();
        assert!(boris.delete && !boris.is_realtime);
        assert_eq!(
            (boris.password.as_str(), boris.timezone.as_str()),
            ("4321", "Europe/Moscow")
        );
        assert_eq!(boris.time_format, "'vm-received' Q HM");
        assert_eq!(find(&snapshot, "300"), None);
        assert_eq!(all(&snapshot, None).len(), 3);
        assert_eq!(all(&snapshot, Some("default")).len(), 2);
    }

    #[test]
    fn a_name_that_would_leave_the_folder_is_none() {
        assert_eq!(find(&snapshot(), "../100"), None);
        for (name, good) in [
            ("100", true),
            ("анна", true),
            ("a/b", false),
            ("..", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }
}
