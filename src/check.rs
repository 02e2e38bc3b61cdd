//! `strowger check`: every fault that a call or a start would meet, each in one line that says what, where and what
//! would be right.

use std::process::ExitCode;

use strowger_core::Config;
use strowger_core::sounds::SoundStore;
use strowger_core::transport::bind;

pub(crate) async fn check(config: &Config) -> anyhow::Result<ExitCode> {
    let mut faults = 0usize;
    let mut warnings = 0usize;
    let mut fault = |text: String| {
        faults += 1;
        println!("error: {text}");
    };
    // Nobody may be using the ports: the exchange itself included, so its own run is named as a possible reason.
    for address in &config.sip.udp {
        if let Err(error) = bind::udp_for_shards(*address, 1) {
            fault(format!("{error} (is the exchange running already?)"));
        }
    }
    for address in &config.sip.tcp {
        if let Err(error) = bind::tcp_for_shards(*address, 1) {
            fault(format!("{error} (is the exchange running already?)"));
        }
    }
    if let Err(error) = strowger_api::bind(config.http.bind) {
        fault(format!("{error} (is the exchange running already?)"));
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
                let sounds = SoundStore::new(
                    config.data.0.join("sounds"),
                    tokio::runtime::Handle::current(),
                );
                for problem in strowger_scripting::check(&snapshot, &sounds) {
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
    if faults == 0 {
        println!("no errors, {warnings} warnings");
        Ok(ExitCode::SUCCESS)
    } else {
        println!("{faults} errors, {warnings} warnings");
        Ok(ExitCode::FAILURE)
    }
}
