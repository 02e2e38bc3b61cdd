//! `Transfer`, `ForkCDR`: sends the caller elsewhere, and begins another record of the call.

use super::{App, AppResult, Call, Next, app};

pub(super) const APPS: &[App] = &[
    app!(
        "Transfer",
        "Transfer([technology/]destination)",
        "has the caller's telephone call another number: by 302 before the answer, by REFER after it",
        transfer
    ),
    app!(
        "ForkCDR",
        "ForkCDR([options])",
        "begins another call record",
        fork
    ),
];

async fn transfer(call: Call) -> AppResult {
    let text = call.data.trim();
    let destination = match text.split_once('/') {
        Some((technology, rest))
            if technology.eq_ignore_ascii_case("PJSIP")
                || technology.eq_ignore_ascii_case("SIP") =>
        {
            rest
        }
        Some((technology, _)) if !technology.contains([':', '@']) => {
            call.warn(&format!(
                "Transfer: a call of SIP cannot be sent to {technology}"
            ));
            call.set("TRANSFERSTATUS", "FAILURE");
            return Ok(Next::Continue);
        }
        _ => text,
    };
    if destination.is_empty() {
        call.warn("Transfer needs a number, for example Transfer(PJSIP/100)");
        call.set("TRANSFERSTATUS", "FAILURE");
        return Ok(Next::Continue);
    }
    if call.channel().is_local() {
        call.set("TRANSFERSTATUS", "UNSUPPORTED");
        return Ok(Next::Continue);
    }
    let (status, code) = call.channel().transfer_away(destination).await;
    call.set("TRANSFERSTATUS", if status { "SUCCESS" } else { "FAILURE" });
    call.set("TRANSFERSTATUSPROTOCOL", &code.to_string());
    call.channel().check()?;
    Ok(Next::Continue)
}

async fn fork(call: Call) -> AppResult {
    let known = "aADdeErRsTv";
    let unknown: String = call
        .data
        .chars()
        .filter(|letter| letter.is_ascii_alphabetic() && !known.contains(*letter))
        .collect();
    if !unknown.is_empty() {
        call.warn(&format!(
            "ForkCDR: options \"{unknown}\" are not known and ignored; known are {known}"
        ));
    }
    let has = |letter: char| call.data.contains(letter);
    call.channel().fork_records(has('a'), has('e'), has('v'));
    Ok(Next::Continue)
}
