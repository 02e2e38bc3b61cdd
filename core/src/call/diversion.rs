//! Who sent a call on, and why: Diversion (RFC 5806) and History-Info (RFC 7044), read and written.

use std::net::SocketAddr;

use strowger_sip::{HeaderName, Host, Message, NameAddr, Uri};
use strowger_store::{Endpoint, Globals};

use super::identity::{domain, named, number_of, phone};
use crate::channel::{Party, Presentation, Redirecting};

/// Values of one header that are looked at; more say nothing new.
const VALUES_MAX: usize = 32;

/// Reasons as the dialplan has them, as Diversion has them, and as the status of RFC 4458.
const REASONS: [(&str, &str, u16); 11] = [
    ("cfu", "unconditional", 302),
    ("cfb", "user-busy", 486),
    ("cfnr", "no-answer", 408),
    ("deflection", "deflection", 480),
    ("unavailable", "unavailable", 503),
    ("out_of_order", "out-of-service", 503),
    ("time_of_day", "time-of-day", 404),
    ("dnd", "do-not-disturb", 404),
    ("follow_me", "follow-me", 404),
    ("away", "away", 404),
    ("unknown", "unknown", 404),
];

/// The dialplan's word for a reason of Diversion; another word stays as it is.
fn reason_of_word(word: &str) -> String {
    let word = word.trim().trim_matches('"').to_ascii_lowercase();
    REASONS
        .iter()
        .find(|(_, known, _)| *known == word)
        .map_or(word, |(own, _, _)| (*own).to_owned())
}

fn reason_of_status(status: u16) -> String {
    let found = REASONS.iter().find(|(_, _, known)| *known == status);
    let own = match found {
        Some((own, _, known)) if *known != 404 => *own,
        _ => "unknown",
    };
    own.to_owned()
}

/// How a reason of the dialplan, by any of its names, is written in Diversion; and as a status.
fn written(reason: &str) -> (String, u16) {
    let reason = match reason {
        "" => "unknown",
        "no_answer" => "cfnr",
        "user_busy" => "cfb",
        "unconditional" => "cfu",
        other => other,
    };
    match REASONS.iter().find(|(own, _, _)| *own == reason) {
        Some((_, word, status)) => ((*word).to_owned(), *status),
        None => {
            let token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
            let word = if reason.chars().all(token) {
                reason.to_owned()
            } else {
                let plain: String = reason
                    .chars()
                    .filter(|c| !c.is_control() && !"\"\\".contains(*c))
                    .collect();
                format!("\"{plain}\"")
            };
            (word, 404)
        }
    }
}

fn party(address: &NameAddr, globals: &Globals) -> Party {
    let user = address.uri.user_decoded().unwrap_or_default();
    Party {
        number: number_of(&user, globals).to_owned(),
        name: address.display.clone().unwrap_or_default(),
        ..Party::default()
    }
}

/// Who sent this call on before it came here.
pub(super) fn read(request: &Message, globals: &Globals) -> Option<Redirecting> {
    diversion(request, globals).or_else(|| history(request, globals))
}

fn values(request: &Message, name: &HeaderName) -> Vec<NameAddr> {
    request
        .headers(name)
        .flat_map(|value| NameAddr::parse_list(value).unwrap_or_default())
        .take(VALUES_MAX)
        .collect()
}

fn diversion(request: &Message, globals: &Globals) -> Option<Redirecting> {
    // The one that diverted last stands first (RFC 5806 §5).
    let list = values(request, &HeaderName::Diversion);
    let (first, last) = (list.first()?, list.last()?);
    let of = |address: &NameAddr| {
        let mut party = party(address, globals);
        let privacy = address.param("privacy").unwrap_or("off");
        if !privacy.eq_ignore_ascii_case("off") {
            party.presentation = Presentation::Prohibited;
        }
        let reason = reason_of_word(address.param("reason").unwrap_or("unknown"));
        (party, reason)
    };
    let count = list
        .iter()
        .map(|address| {
            let counter = address.param("counter").and_then(|text| text.parse().ok());
            counter.unwrap_or(1u32).clamp(1, 999)
        })
        .sum::<u32>();
    let (from, reason) = of(first);
    let (orig, orig_reason) = of(last);
    let to = request.to().ok().map(|to| party(to, globals));
    Some(Redirecting {
        from,
        orig,
        to: to.unwrap_or_default(),
        reason,
        orig_reason,
        count: count.min(999),
    })
}

/// The status by which the target before this one was left: the `cause` of this one (RFC 4458), else the Reason that its
/// predecessor bears.
fn cause(before: &NameAddr, after: &NameAddr) -> Option<u16> {
    let own = after.uri.param("cause").and_then(|text| text.parse().ok());
    own.or_else(|| {
        let (_, value) = before
            .uri
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("Reason"))?;
        let value = strowger_sip::uri::unescape(value);
        let (_, rest) = value.split_once("cause=")?;
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    })
}

fn history(request: &Message, globals: &Globals) -> Option<Redirecting> {
    let list = values(request, &HeaderName::HistoryInfo);
    // Only steps that somebody took because of an answer are diversions; the others are ways through proxies.
    let steps: Vec<(&NameAddr, u16)> = list
        .windows(2)
        .filter_map(|pair| match pair {
            [before, after] => Some((before, cause(before, after)?)),
            _ => None,
        })
        .collect();
    let ((first, first_status), (last, last_status)) = (*steps.first()?, *steps.last()?);
    Some(Redirecting {
        from: party(last, globals),
        orig: party(first, globals),
        to: list.last().map(|to| party(to, globals)).unwrap_or_default(),
        reason: reason_of_status(last_status),
        orig_reason: reason_of_status(first_status),
        count: u32::try_from(steps.len()).unwrap_or(999).min(999),
    })
}

/// The headers that tell an endpoint who sent the call on. `target` is whom it calls.
pub(super) fn headers(
    endpoint: &Endpoint,
    redirecting: &Redirecting,
    target: &Uri,
    at: SocketAddr,
) -> Vec<(HeaderName, String)> {
    let mut headers = Vec::new();
    let from = &redirecting.from;
    let private = from.presentation != Presentation::Allowed;
    if from.number.is_empty() || private && !endpoint.trust_id_outbound {
        return headers;
    }
    let uri = |party: &Party| {
        let host = Host::Name(domain(endpoint, at));
        let mut uri = Uri::sip(Some(&party.number), host, None);
        phone(endpoint, &mut uri);
        uri
    };
    let line = |party: &Party, reason: &str, more: &str| {
        let (word, _) = written(reason);
        let privacy = if party.presentation == Presentation::Allowed {
            ""
        } else {
            ";privacy=full"
        };
        let address = named(&party.name, uri(party));
        format!("{address};reason={word}{privacy}{more}")
    };
    if endpoint.send_diversion {
        let orig = &redirecting.orig;
        let two = !orig.number.is_empty() && orig.number != from.number;
        // Those in between are told by their number alone.
        let counter = match redirecting.count.saturating_sub(u32::from(two)) {
            0 | 1 => String::new(),
            count => format!(";counter={count}"),
        };
        let value = line(from, &redirecting.reason, &counter);
        headers.push((HeaderName::Diversion, value));
        if two && (orig.presentation == Presentation::Allowed || endpoint.trust_id_outbound) {
            let value = line(orig, &redirecting.orig_reason, "");
            headers.push((HeaderName::Diversion, value));
        }
    }
    if endpoint.send_history_info {
        let (_, status) = written(&redirecting.reason);
        let mut before = uri(from);
        let reason = format!("SIP%3Bcause%3D{status}");
        before.headers.push(("Reason".to_owned(), reason));
        let mut after = target.clone();
        after.headers.clear();
        after.params.set("cause", Some(&status.to_string()));
        let address = named(&from.name, before);
        headers.push((HeaderName::HistoryInfo, format!("{address};index=1")));
        headers.push((HeaderName::HistoryInfo, format!("<{after}>;index=1.1;mp=1")));
    }
    headers
}

#[cfg(test)]
mod tests;
