//! `strowger check`: every fault that a call or a start would meet, each in one line that says what, where and what
//! would be right.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use strowger_core::Config;
use strowger_core::sounds::SoundStore;
use strowger_core::transport::table::{self, FirstError};

pub(crate) async fn check(config: &Config) -> anyhow::Result<ExitCode> {
    let mut faults = 0usize;
    let mut warnings = 0usize;
    let mut fault = |text: String| {
        faults += 1;
        println!("error: {text}");
    };
    let mut busy = Vec::new();
    for error in table::check_file(config) {
        match error {
            FirstError::Bind(error) => busy.push(error.to_string()),
            error => fault(error.to_string()),
        }
    }
    let http = &config.http;
    let addresses = [
        ("http.bind", Some(http.bind)),
        ("http.tls_bind", http.tls_bind),
    ];
    for (key, address) in addresses {
        let bound = address.map(|address| strowger_api::bind(key, address));
        busy.extend(bound.and_then(Result::err).map(|error| error.to_string()));
    }
    if !busy.is_empty() && exchange_answers(config.http.bind) {
        warnings += 1;
        println!(
            "warning: an exchange runs at http://{}; its ports were not checked",
            config.http.bind
        );
    } else {
        busy.into_iter().for_each(&mut fault);
    }
    for (name, database) in &config.sql {
        let made = strowger_store::Database::new(
            &database.url,
            &config.data.0,
            database.connections,
            database.read_only,
        );
        if let Err(error) = made {
            fault(format!("configuration key sql.{name}.url: {error}"));
        }
    }
    if let Some(file) = missing_database(config) {
        println!(
            "warning: {} does not exist yet; the first start makes it",
            file.display()
        );
        return Ok(conclude(faults, warnings + 1));
    }
    match crate::open_store(config).await {
        Err(error) => fault(format!("database: {error:#}")),
        Ok(store) => match store.load().await {
            Err(error) => fault(format!("database {}: {error}", store.target())),
            Ok((snapshot, problems)) => {
                for problem in problems {
                    warnings += 1;
                    println!("warning: database: {problem}");
                }
                let registrations =
                    strowger_core::endpoint::registration::problems(&snapshot).into_iter();
                for problem in registrations {
                    warnings += 1;
                    println!("warning: {problem}");
                }
                for problem in strowger_core::publication::problems(&snapshot) {
                    warnings += 1;
                    println!("warning: {problem}");
                }
                for problem in table::check_rows(config, &snapshot) {
                    fault(problem);
                }
                let sounds = SoundStore::new(
                    config.data.0.join("sounds"),
                    tokio::runtime::Handle::current(),
                );
                let named: Vec<&str> = config.sql.keys().map(String::as_str).collect();
                for problem in strowger_scripting::check_databases(&snapshot, &named) {
                    fault(problem);
                }
                let scripts =
                    strowger_scripting::Scripts::read(&config.data.0.join(&config.dialplan.lua));
                for problem in strowger_scripting::check(&snapshot, &scripts, &sounds) {
                    match problem.severity {
                        strowger_dialplan::Severity::Error => fault(format!("dialplan: {problem}")),
                        strowger_dialplan::Severity::Warning => {
                            warnings += 1;
                            println!("warning: dialplan: {problem}");
                        }
                    }
                }
            }
        },
    }
    Ok(conclude(faults, warnings))
}

fn conclude(faults: usize, warnings: usize) -> ExitCode {
    if faults == 0 {
        println!("no errors, {warnings} warnings");
        ExitCode::SUCCESS
    } else {
        println!("{faults} errors, {warnings} warnings");
        ExitCode::FAILURE
    }
}

/// The SQLite file that is still to be made.
fn missing_database(config: &Config) -> Option<PathBuf> {
    let file = config.database.url.strip_prefix("sqlite://")?;
    let file = config.data.0.join(file.split('?').next().unwrap_or(file));
    (!file.exists()).then_some(file)
}

/// True if our own health page answers there.
fn exchange_answers(address: SocketAddr) -> bool {
    let limit = Duration::from_secs(10);
    let Ok(mut stream) = TcpStream::connect_timeout(&address, limit) else {
        return false;
    };
    let asked = stream
        .set_read_timeout(Some(limit))
        .and_then(|()| stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n"));
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.ends_with("ok\n")
}
