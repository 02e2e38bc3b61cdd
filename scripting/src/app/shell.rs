//! Commands of the operating system.

use std::sync::Arc;

use strowger_core::channel::Interrupt;

use super::{App, AppResult, Call, Next, Stop, app};

pub(super) const APPS: &[App] = &[
    app!(
        "System",
        "System(command)",
        "runs a command; the call ends if it cannot be run",
        system
    )
    .reaching(),
    app!(
        "TrySystem",
        "TrySystem(command)",
        "runs a command; the call goes on in any case",
        try_system
    )
    .reaching(),
];

/// The status by which the shell says that it could not run the command.
const NOT_RUN: i32 = 127;

async fn system(call: Call) -> AppResult {
    if run(&call).await? {
        Ok(Next::Continue)
    } else {
        Err(Stop::Failed(format!(
            "System: the command cannot be run: {}",
            call.data
        )))
    }
}

async fn try_system(call: Call) -> AppResult {
    run(&call).await?;
    Ok(Next::Continue)
}

/// Runs the command and sets `SYSTEMSTATUS`; false if it could not be run. Nobody waits for it longer than the call lasts;
/// the command itself goes on. Extension `h`, whose call is over, waits for the end of its commands.
async fn run(call: &Call) -> Result<bool, Interrupt> {
    let (agi, text) = (Arc::clone(call.task.host.agi()), call.data.clone());
    let running = call
        .shared()
        .control
        .spawn(async move { crate::agi::system(&agi, &text).await });
    let command = async { running.await.unwrap_or_else(|error| Err(error.to_string())) };
    let result = if call.channel().is_over() {
        command.await
    } else {
        tokio::select! {
            biased;
            result = command => result,
            interrupt = interrupted(call) => {
                tracing::debug!(channel = %call.channel().name(), "a command goes on without its call");
                return Err(interrupt);
            }
        }
    };
    let (status, ran) = match result {
        Err(error) => {
            call.warn(&format!("System: {error}"));
            ("FAILURE", false)
        }
        Ok(status) if status.success() => ("SUCCESS", true),
        Ok(status) if status.code() == Some(NOT_RUN) => ("FAILURE", false),
        Ok(_) => ("APPERROR", true),
    };
    call.set("SYSTEMSTATUS", status);
    Ok(ran)
}

/// Waits until something happens to the call; digits dialled meanwhile are kept.
async fn interrupted(call: &Call) -> Interrupt {
    loop {
        if let Err(interrupt) = call.channel().wait_change(None).await {
            return interrupt;
        }
    }
}
