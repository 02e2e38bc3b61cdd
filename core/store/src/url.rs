//! Database URLs: what they may look like, and how they are shown (never with a password).

use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::error::StoreError;

/// A parsed database URL.
#[derive(Clone)]
pub(crate) enum Target {
    Sqlite(PathBuf),
    MySql(Box<MySqlConnectOptions>),
    Postgres(Box<PgConnectOptions>),
}

/// Reads a database URL; SQLite paths are relative to `data_dir`.
pub(crate) fn parse(url: &str, data_dir: &Path) -> Result<Target, StoreError> {
    let refuse = |why: &str| StoreError::Url {
        url: redact(url),
        why: why.to_owned(),
    };
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(refuse(
            "expected sqlite://FILE, mysql://USER:PASSWORD@HOST/DATABASE or postgres://...",
        ));
    };
    match scheme {
        "sqlite" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() {
                return Err(refuse(
                    "no file is named; expected for example sqlite://strowger.db",
                ));
            }
            if path.contains(":memory:") {
                return Err(refuse(
                    "a database in memory would be lost at the next start; name a file",
                ));
            }
            if path.contains('?') {
                return Err(refuse("parameters are not supported for SQLite"));
            }
            Ok(Target::Sqlite(data_dir.join(path)))
        }
        "mysql" | "mariadb" => {
            named_database(rest).map_err(&refuse)?;
            let options = MySqlConnectOptions::from_str(&format!("mysql:{rest}"))
                .map_err(|error| refuse(&hide(&error.to_string(), url)))?;
            // The server's own habits, as any other program of the product sees them: no SQL mode or time zone of ours.
            let options = options
                .timezone(None)
                .pipes_as_concat(false)
                .no_engine_substitution(false)
                .statement_cache_capacity(32);
            Ok(Target::MySql(Box::new(options)))
        }
        "postgres" | "postgresql" => {
            named_database(rest).map_err(&refuse)?;
            let options = PgConnectOptions::from_str(&format!("postgres:{rest}"))
                .map_err(|error| refuse(&hide(&error.to_string(), url)))?;
            Ok(Target::Postgres(Box::new(
                options
                    .application_name("strowger")
                    .statement_cache_capacity(32),
            )))
        }
        _ => Err(refuse(&format!(
            "unknown kind `{scheme}`; expected sqlite, mysql or postgres"
        ))),
    }
}

fn named_database(rest: &str) -> Result<(), &'static str> {
    let Some(rest) = rest.strip_prefix("//") else {
        return Err("expected // after the colon");
    };
    let path = rest.split('?').next().unwrap_or_default();
    // A password may hold a slash only when percent-encoded, so the first slash ends host and port.
    match path.split_once('/') {
        Some((_, database)) if !database.is_empty() => Ok(()),
        _ => Err("no database is named; expected ...@HOST/DATABASE"),
    }
}

/// Where a target is, for messages: engine, host and database only.
pub(crate) fn describe(target: &Target) -> String {
    match target {
        Target::Sqlite(path) => format!("SQLite file {}", path.display()),
        Target::MySql(options) => match options.get_socket() {
            Some(socket) => {
                format!(
                    "MySQL at {}, database {}",
                    socket.display(),
                    options.get_database().unwrap_or_default()
                )
            }
            None => format!(
                "MySQL at {}:{}, database {}",
                options.get_host(),
                options.get_port(),
                options.get_database().unwrap_or_default()
            ),
        },
        Target::Postgres(options) => format!(
            "PostgreSQL at {}:{}, database {}",
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or_default()
        ),
    }
}

/// The URL with `***` for its password, also for one in a parameter.
pub(crate) fn redact(url: &str) -> String {
    let (base, parameters) = match url.split_once('?') {
        Some((base, parameters)) => (base, Some(parameters)),
        None => (url, None),
    };
    let start = base.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = base.split_at(start);
    let mut shown = match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{scheme}{user}:***@{host}"),
            None => format!("{scheme}{user}@{host}"),
        },
        // A password with a raw `?` or a forgotten `@`: what could be one is not shown.
        None if start > 0
            && rest.contains(':')
            && !scheme.starts_with("sqlite")
            && parameters.is_some() =>
        {
            format!("{scheme}***")
        }
        None => base.to_owned(),
    };
    if let Some(parameters) = parameters {
        let hidden = parameters.contains('@') || parameters.to_ascii_lowercase().contains("pass");
        shown.push('?');
        shown.push_str(if hidden { "***" } else { parameters });
    }
    shown
}

/// A driver's message about a URL, without the password of that URL.
fn hide(message: &str, url: &str) -> String {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let password = rest
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .map_or("", |(_, password)| password);
    if password.is_empty() {
        message.to_owned()
    } else {
        message.replace(password, "***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(url: &str) -> String {
        match parse(url, Path::new("/data")) {
            Ok(_) => panic!("{url} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_sqlite_path_is_relative_to_the_data_directory_unless_absolute() {
        for (url, path) in [
            ("sqlite://strowger.db", "/data/strowger.db"),
            ("sqlite:strowger.db", "/data/strowger.db"),
            ("sqlite:///srv/x.db", "/srv/x.db"),
        ] {
            let Ok(Target::Sqlite(found)) = parse(url, Path::new("/data")) else {
                panic!("{url}")
            };
            assert_eq!(found, Path::new(path));
        }
    }

    #[test]
    fn a_server_url_gives_host_port_and_database() {
        let target = parse("mysql://pbx:pw@db.example:3307/pbx", Path::new("/"))
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(describe(&target), "MySQL at db.example:3307, database pbx");
        let target = parse("postgres://pbx:pw@10.0.0.1/pbx", Path::new("/"))
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            describe(&target),
            "PostgreSQL at 10.0.0.1:5432, database pbx"
        );
    }

    #[test]
    fn wrong_urls_say_what_would_be_right() {
        assert!(why("strowger.db").contains("expected sqlite://"));
        assert!(why("oracle://x/y").contains("unknown kind `oracle`"));
        assert!(why("mysql://pbx:pw@host").contains("no database is named"));
        assert!(why("sqlite://").contains("no file is named"));
        assert!(why("sqlite::memory:").contains("in memory"));
        assert!(why("postgres:x").contains("expected //"));
    }

    #[test]
    fn no_message_shows_the_password() {
        for url in [
            "mysql://pbx:s3cret@host",
            "mysql://pbx:s3cret@host:99999999/db",
            "postgres://pbx:s3cret@host:port/db",
            "postgres://pbx:s3c@ret:s3cret@host",
            "mysql://pbx:s3cret?x@host/db",
            "postgres://host/db?password=s3cret&port=x",
            "oracle://pbx:s3cret@host/db",
        ] {
            assert!(!redact(url).contains("s3cret"), "{}", redact(url));
            if let Err(error) = parse(url, Path::new("/")) {
                assert!(!error.to_string().contains("s3cret"), "{error}");
            }
        }
        assert_eq!(redact("mysql://pbx:pw@host/db"), "mysql://pbx:***@host/db");
        assert_eq!(redact("sqlite://strowger.db"), "sqlite://strowger.db");
    }

    proptest::proptest! {
        #[test]
        fn no_url_makes_the_parser_panic(url in "(sqlite|mysql|postgres|x)?:?(//)?[a-z:@/?=%0-9]{0,40}") {
            let _ = parse(&url, Path::new("/"));
        }
    }
}
