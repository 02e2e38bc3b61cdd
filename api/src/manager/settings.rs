//! `manager.conf`, as rows of `static_manager` have it: who may log in, from where, and what they may see and do.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use strowger_core::endpoint::acl::{self, Acl};
use strowger_store::StaticRow;

use super::classes::Classes;
use super::filter::Filters;
use super::request::is_true;

/// Somebody who may log in.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) secret: String,
    acl: Acl,
    /// Lists of `acl.conf`.
    lists: Vec<Acl>,
    pub(crate) read: Classes,
    pub(crate) write: Classes,
    /// Set on the channels that this user originates.
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) filters: Filters,
    pub(crate) write_timeout: Duration,
    pub(crate) display_connects: bool,
    pub(crate) multiple_logins: bool,
}

impl User {
    /// Another part of this process, which nobody logs in as.
    pub(crate) fn program(write: Classes) -> Self {
        Self {
            name: String::new(),
            secret: String::new(),
            acl: Acl::default(),
            lists: Vec::new(),
            read: Classes::NONE,
            write,
            variables: Vec::new(),
            filters: Filters::default(),
            write_timeout: Duration::from_millis(100),
            display_connects: false,
            multiple_logins: true,
        }
    }

    /// May this user come from there?
    pub(crate) fn may_come_from(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.acl.allows(ip) && self.lists.iter().all(|list| list.allows(ip))
    }
}

/// Where TLS is spoken, and whose certificate is shown; files are relative to the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsDoor {
    pub(crate) bind: SocketAddr,
    pub(crate) certificate: String,
    /// Its private key; empty: in the same file.
    pub(crate) key: String,
}

/// The port that TLS has where no other is named.
const TLS_PORT: u16 = 5039;

/// All of manager.conf.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) enabled: bool,
    pub(crate) web_enabled: bool,
    /// `cdr_manager.conf`: are call records events?
    pub(crate) records: bool,
    pub(crate) bind: SocketAddr,
    /// Where it listens with TLS too.
    pub(crate) tls: Option<TlsDoor>,
    pub(crate) timestamps: bool,
    pub(crate) channel_variables: Vec<String>,
    pub(crate) disabled_events: Vec<String>,
    pub(crate) auth_timeout: Duration,
    pub(crate) auth_limit: usize,
    pub(crate) http_timeout: Duration,
    pub(crate) users: Vec<Arc<User>>,
    /// What cannot be understood, for the log.
    pub(crate) problems: Vec<String>,
}

/// The longest of all times here.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Options of `[general]` that other programs have and that change nothing here.
const WITHOUT_MEANING: &[&str] = &[
    "debug",
    "brokeneventsaction",
    // Which ciphers are good is known better here.
    "tlscipher",
    "tlsdisablev1",
    "tlsdisablev11",
];

impl Settings {
    /// Reads the rows; `bind` is where the configuration file has the Manager listen.
    pub(crate) fn read(rows: &[StaticRow], bind: SocketAddr) -> Self {
        let mut settings = Self {
            enabled: false,
            web_enabled: false,
            records: false,
            bind,
            tls: None,
            timestamps: false,
            channel_variables: Vec::new(),
            disabled_events: Vec::new(),
            auth_timeout: Duration::from_secs(30),
            auth_limit: 50,
            http_timeout: Duration::from_secs(60),
            users: Vec::new(),
            problems: Vec::new(),
        };
        let (mut multiple, mut display) = (true, true);
        let (mut tls_enabled, mut tls_bind) = (false, None);
        let (mut certificate, mut key) = (String::new(), String::new());
        let of = |file: &'static str| {
            rows.iter()
                .filter(move |row| row.filename.eq_ignore_ascii_case(file))
        };
        settings.records = of("cdr_manager.conf").any(|row| {
            is_general(row)
                && row.var_name.trim().eq_ignore_ascii_case("enabled")
                && is_true(&row.var_val)
        });
        for row in of("manager.conf").filter(|row| is_general(row)) {
            let value = row.var_val.trim();
            match row.var_name.trim().to_ascii_lowercase().as_str() {
                "enabled" => settings.enabled = is_true(value),
                "webenabled" => settings.web_enabled = is_true(value),
                "bindaddr" => match value.parse::<IpAddr>() {
                    Ok(ip) => settings.bind.set_ip(ip),
                    Err(_) => settings.wrong("general", "bindaddr", value, "an IP address"),
                },
                "port" => match value.parse::<u16>() {
                    Ok(port) if port > 0 => settings.bind.set_port(port),
                    _ => settings.wrong("general", "port", value, "a port from 1 to 65535"),
                },
                "tlsenable" => tls_enabled = is_true(value),
                "tlsbindaddr" => match with_port(value) {
                    Some(address) => tls_bind = Some(address),
                    None => settings.wrong(
                        "general",
                        "tlsbindaddr",
                        value,
                        "an IP address, or one with a port,",
                    ),
                },
                "tlscertfile" => value.clone_into(&mut certificate),
                "tlsprivatekey" => value.clone_into(&mut key),
                "allowmultiplelogin" => multiple = is_true(value),
                "displayconnects" => display = is_true(value),
                "timestampevents" => settings.timestamps = is_true(value),
                "channelvars" => settings.channel_variables = words(value),
                "disabledevents" => settings.disabled_events.extend(words(value)),
                "authtimeout" => {
                    if let Some(time) = settings.seconds("authtimeout", value) {
                        settings.auth_timeout = time;
                    }
                }
                "httptimeout" => {
                    if let Some(time) = settings.seconds("httptimeout", value) {
                        settings.http_timeout = time;
                    }
                }
                "authlimit" => match value.parse::<usize>() {
                    Ok(limit @ 1..=10_000) => settings.auth_limit = limit,
                    _ => settings.wrong("general", "authlimit", value, "a number from 1 to 10000"),
                },
                name if WITHOUT_MEANING.contains(&name) => {}
                name => settings
                    .problems
                    .push(format!("[general] {name}: this option is not known")),
            }
        }
        let mut names: Vec<&str> = Vec::new();
        for row in of("manager.conf").filter(|row| !is_general(row)) {
            let is_known = |name: &&str| name.eq_ignore_ascii_case(&row.category);
            if !names.iter().any(is_known) {
                names.push(&row.category);
            }
        }
        for name in names {
            let of_user = of("manager.conf").filter(|row| row.category.eq_ignore_ascii_case(name));
            let user = settings.user(name, rows, of_user, (multiple, display));
            if let Some(user) = user {
                settings.users.push(Arc::new(user));
            }
        }
        if tls_enabled && certificate.is_empty() {
            settings.wrong("general", "tlscertfile", "", "the file of a certificate");
        } else if tls_enabled && settings.enabled {
            settings.tls = Some(TlsDoor {
                bind: tls_bind.unwrap_or_else(|| SocketAddr::new(settings.bind.ip(), TLS_PORT)),
                certificate,
                key,
            });
        }
        // As in Asterisk, the one does not go without the other.
        settings.web_enabled &= settings.enabled;
        settings
    }

    fn wrong(&mut self, section: &str, option: &str, value: &str, wanted: &str) {
        self.problems.push(format!(
            "[{section}] {option} = {value}: {wanted} is needed"
        ));
    }

    fn seconds(&mut self, option: &str, value: &str) -> Option<Duration> {
        match value.parse().map(Duration::from_secs) {
            Ok(time) if !time.is_zero() && time <= TIME_MAX => Some(time),
            _ => {
                self.wrong(
                    "general",
                    option,
                    value,
                    "a number of seconds from 1 to 86400",
                );
                None
            }
        }
    }

    fn user<'r>(
        &mut self,
        name: &str,
        statics: &[StaticRow],
        rows: impl Iterator<Item = &'r StaticRow>,
        (multiple_logins, display_connects): (bool, bool),
    ) -> Option<User> {
        let mut user = User {
            name: name.to_owned(),
            secret: String::new(),
            acl: Acl::default(),
            lists: Vec::new(),
            read: Classes::NONE,
            write: Classes::NONE,
            variables: Vec::new(),
            filters: Filters::default(),
            write_timeout: Duration::from_millis(100),
            display_connects,
            multiple_logins,
        };
        // In the order of the rows: the last that fits counts.
        let mut rules: Vec<(bool, String)> = Vec::new();
        for row in rows {
            let value = row.var_val.trim();
            // Criteria of a filter have a case, names of options have none.
            let (written, rest) = match row.var_name.trim().split_once('(') {
                Some((written, rest)) => (written, format!("({rest}")),
                None => (row.var_name.trim(), String::new()),
            };
            match (written.to_ascii_lowercase() + &rest).as_str() {
                "secret" => value.clone_into(&mut user.secret),
                "deny" => rules.extend(words(value).into_iter().map(|word| (false, word))),
                "permit" => rules.extend(words(value).into_iter().map(|word| (true, word))),
                "acl" => match acl::named(statics, value) {
                    Ok(list) => user.lists.push(list),
                    // A list that nobody knows lets nobody in.
                    Err(error) => {
                        self.problems.push(format!(
                            "[{name}] acl = {value}: {error}; this user cannot log in"
                        ));
                        return None;
                    }
                },
                "read" => user.read = Classes::parse(value),
                "write" => user.write = Classes::parse(value),
                "setvar" => match value.split_once('=') {
                    Some((name, value)) => user
                        .variables
                        .push((name.trim().to_owned(), value.trim().to_owned())),
                    None => self.wrong(name, "setvar", value, "NAME=value"),
                },
                "writetimeout" => match value.parse().map(Duration::from_millis) {
                    Ok(time) if time >= Duration::from_millis(100) && time <= TIME_MAX => {
                        user.write_timeout = time;
                    }
                    _ => self.wrong(name, "writetimeout", value, "at least 100 milliseconds"),
                },
                "displayconnects" => user.display_connects = is_true(value),
                "allowmultiplelogin" => user.multiple_logins = is_true(value),
                option if option.starts_with("eventfilter") => {
                    if let Err(error) = user.filters.add_row(option, value) {
                        // Rather nobody than somebody who sees what he is not to see.
                        self.problems.push(format!(
                            "[{name}] {option}: {}; this user cannot log in",
                            error.0
                        ));
                        return None;
                    }
                }
                option => self
                    .problems
                    .push(format!("[{name}] {option}: this option is not known")),
            }
        }
        if user.secret.is_empty() {
            self.problems
                .push(format!("[{name}] has no secret: this user cannot log in"));
            return None;
        }
        match Acl::in_order(rules.iter().map(|(allow, word)| (*allow, word.as_str()))) {
            Ok(acl) => user.acl = acl,
            Err(error) => {
                self.problems.push(format!(
                    "[{name}] deny, permit: {error}; this user cannot log in"
                ));
                return None;
            }
        }
        Some(user)
    }

    /// The user of this name, in any case.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<User>> {
        let mut users = self.users.iter();
        users.find(|user| user.name.eq_ignore_ascii_case(name))
    }
}

/// `192.0.2.1` or `192.0.2.1:5039`; IPv6 addresses with a port stand in brackets.
fn with_port(text: &str) -> Option<SocketAddr> {
    let address = text
        .parse()
        .ok()
        .filter(|address: &SocketAddr| address.port() > 0);
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    address.or_else(|| Some(SocketAddr::new(bare.parse().ok()?, TLS_PORT)))
}

fn is_general(row: &StaticRow) -> bool {
    row.category.trim().eq_ignore_ascii_case("general")
}

fn words(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn rows(lines: &[(&str, &str, &str)]) -> Vec<StaticRow> {
        let lines = lines.iter().enumerate();
        lines
            .map(|(index, (category, name, value))| StaticRow {
                id: index as i64,
                filename: "manager.conf".to_owned(),
                category: (*category).to_owned(),
                var_name: (*name).to_owned(),
                var_val: (*value).to_owned(),
                ..StaticRow::default()
            })
            .collect()
    }

    fn read(lines: &[(&str, &str, &str)]) -> Settings {
        // As the database gives them: by file.
        let mut all: Vec<StaticRow> = [("deny", "0.0.0.0/0"), ("permit", "10.0.0.0/8")]
            .map(|(name, value)| StaticRow {
                filename: "acl.conf".to_owned(),
                category: "lan".to_owned(),
                var_name: name.to_owned(),
                var_val: value.to_owned(),
                ..StaticRow::default()
            })
            .into();
        all.extend(rows(lines));
        Settings::read(&all, SocketAddr::from(([127, 0, 0, 1], 5038)))
    }

    #[test]
    fn nothing_is_open_until_it_is_enabled() {
        let settings = read(&[]);
        assert!(!settings.enabled && !settings.web_enabled && settings.users.is_empty());
        assert_eq!(settings.bind.to_string(), "127.0.0.1:5038");
        let settings = read(&[
            ("general", "enabled", "yes"),
            ("general", "port", "5039"),
            ("general", "authlimit", "none"),
            ("general", "colour", "red"),
        ]);
        assert!(settings.enabled);
        assert_eq!(settings.bind.to_string(), "127.0.0.1:5039");
        assert_eq!(settings.auth_limit, 50);
        assert_eq!(
            settings.problems,
            [
                "[general] authlimit = none: a number from 1 to 10000 is needed",
                "[general] colour: this option is not known"
            ]
        );
    }

    #[test]
    fn a_user_has_rights_and_places_or_cannot_log_in() {
        let settings = read(&[
            ("admin", "secret", "s3"),
            ("admin", "read", "all"),
            ("admin", "write", "call,originate"),
            ("admin", "deny", "0.0.0.0/0"),
            ("admin", "permit", "127.0.0.1/32"),
            ("admin", "setvar", "A=1"),
            ("admin", "eventfilter", "!VarSet"),
            ("open", "read", "all"),
            ("wrong", "secret", "x"),
            ("wrong", "eventfilter", "("),
            ("listed", "secret", "x"),
            ("listed", "acl", "office"),
            ("near", "secret", "x"),
            ("near", "acl", "lan"),
            ("barred", "secret", "x"),
            ("barred", "permit", "127.0.0.0/8"),
            ("barred", "deny", "127.0.0.1"),
        ]);
        let names: Vec<_> = settings.users.iter().map(|user| &user.name).collect();
        assert_eq!(names, ["admin", "near", "barred"]);
        for (name, open) in [("barred", false), ("admin", true)] {
            let user = settings.find(name).expect("a user");
            assert_eq!(
                user.may_come_from(IpAddr::from([127, 0, 0, 1])),
                open,
                "{name}: the last row that fits counts"
            );
        }
        let near = settings.find("near").expect("a user");
        assert!(near.may_come_from(IpAddr::from([10, 1, 1, 1])));
        assert!(!near.may_come_from(IpAddr::from([127, 0, 0, 1])));
        let user = settings.find("admin").expect("a user");
        assert_eq!(user.read, Classes::ALL);
        assert_eq!(user.write, Classes::CALL.and(Classes::ORIGINATE));
        assert!(user.may_come_from(IpAddr::from([127, 0, 0, 1])));
        assert!(!user.may_come_from(IpAddr::from([127, 0, 0, 2])));
        assert_eq!(user.variables, [("A".to_owned(), "1".to_owned())]);
        assert_eq!(settings.problems.len(), 3, "{:?}", settings.problems);
        assert!(
            settings
                .find("Admin")
                .is_some_and(|user| user.name == "admin")
        );
        assert!(settings.find("adm").is_none());
    }

    #[test]
    fn tls_needs_a_certificate_and_an_address_that_can_be_read() {
        let tls = |more: &[(&str, &str)]| {
            let mut lines = vec![
                ("general", "enabled", "yes"),
                ("general", "tlsenable", "yes"),
            ];
            lines.extend(more.iter().map(|(name, value)| ("general", *name, *value)));
            let settings = read(&lines);
            (settings.tls, settings.problems.len())
        };
        assert_eq!(tls(&[]), (None, 1));
        let (door, problems) = tls(&[("tlscertfile", "ami.pem")]);
        assert_eq!(problems, 0);
        let door = door.expect("a door");
        assert_eq!(door.bind.to_string(), "127.0.0.1:5039");
        assert_eq!(
            (door.certificate.as_str(), door.key.as_str()),
            ("ami.pem", "")
        );
        for (text, wanted) in [
            ("0.0.0.0:5555", Some("0.0.0.0:5555")),
            ("192.0.2.1", Some("192.0.2.1:5039")),
            ("[2001:db8::1]:5555", Some("[2001:db8::1]:5555")),
            ("2001:db8::1", Some("[2001:db8::1]:5039")),
            ("everywhere", None),
            ("192.0.2.1:0", None),
        ] {
            let found = with_port(text).map(|address| address.to_string());
            assert_eq!(found.as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn names_of_options_sections_and_users_have_no_case() {
        let settings = read(&[
            ("General", "Enabled", "yes"),
            ("GENERAL", "WebEnabled", "yes"),
            ("Ann", "Secret", "x"),
            ("ann", "Deny", "0.0.0.0/0"),
            ("ANN", "Permit", "10.0.0.0/8"),
            ("Ann", "EventFilter(action(exclude),name(VarSet))", ""),
            ("Ben", "secret", "x"),
            ("ben", "ACL", "office"),
        ]);
        assert!(settings.enabled && settings.web_enabled);
        assert_eq!(settings.users.len(), 1, "the list of ben is not known");
        let ann = settings.find("ann").expect("a user");
        assert!(ann.may_come_from(IpAddr::from([10, 0, 0, 1])));
        assert!(!ann.may_come_from(IpAddr::from([192, 0, 2, 1])));
        assert!(!ann.filters.pass("VarSet", "Event: VarSet"));
        assert!(ann.filters.pass("Newexten", "Event: Newexten"));
        let web_alone = read(&[("general", "webenabled", "yes")]);
        assert!(!web_alone.web_enabled);
    }
}
