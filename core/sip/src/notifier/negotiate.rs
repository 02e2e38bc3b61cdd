//! What a SUBSCRIBE may have: how long it lasts, and in which type of body it is told (RFC 6665 §4.2.1.1).

use crate::message::{HeaderName, Message};

/// The expiry asked for is shorter than allowed: answer 423 with this in Min-Expires.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TooBrief {
    /// The shortest that is granted, seconds.
    pub min_s: u32,
}

/// The seconds that a subscription gets of those asked for: without a wish `max_s`, never more than that. Zero (an end, or
/// a single look) is always granted.
///
/// # Errors
/// [`TooBrief`] below `min_s`.
pub fn grant(wanted_s: Option<u32>, min_s: u32, max_s: u32) -> Result<u32, TooBrief> {
    match wanted_s {
        None => Ok(max_s.max(min_s)),
        Some(0) => Ok(0),
        Some(wanted) if wanted < min_s => Err(TooBrief { min_s }),
        Some(wanted) => Ok(wanted.min(max_s.max(min_s))),
    }
}

/// The type of body among `offered` (ours, the usual one first) that the request's Accept likes best; `None`: it takes
/// none of them. Without Accept it is the usual one.
#[must_use]
pub fn accepted<'a>(request: &Message, offered: &[&'a str]) -> Option<&'a str> {
    if request.header(&HeaderName::Accept).is_none() {
        return offered.first().copied();
    }
    let mut best: Option<(u16, usize, &'a str)> = None;
    for (place, range) in request.values(&HeaderName::Accept).enumerate() {
        let mut pieces = range.split(';').map(str::trim);
        let kind = pieces.next().unwrap_or_default();
        let quality = pieces
            .filter_map(|piece| piece.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(1000, |(_, value)| milli(value.trim()));
        let Some(found) = offered.iter().find(|offered| fits(kind, offered)) else {
            continue;
        };
        if quality > 0 && best.is_none_or(|(known, _, _)| quality > known) {
            best = Some((quality, place, found));
        }
    }
    best.map(|(_, _, kind)| kind)
}

fn fits(range: &str, kind: &str) -> bool {
    if range == "*/*" || range.eq_ignore_ascii_case(kind) {
        return true;
    }
    let (Some(main), Some((own, _))) = (range.strip_suffix("/*"), kind.split_once('/')) else {
        return false;
    };
    main.eq_ignore_ascii_case(own)
}

/// `0.75` in thousandths; what cannot be read counts as 1.
fn milli(text: &str) -> u16 {
    let value: f32 = text.parse().unwrap_or(1.0);
    if value.is_finite() {
        (value.clamp(0.0, 1.0) * 1000.0) as u16
    } else {
        1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Builder, Method};

    #[test]
    fn the_expiry_granted_stays_within_its_bounds() {
        for (wanted, min, granted) in [
            (None, 0, Ok(3600)),
            (Some(0), 60, Ok(0)),
            (Some(59), 60, Err(TooBrief { min_s: 60 })),
            (Some(60), 60, Ok(60)),
            (Some(u32::MAX), 0, Ok(3600)),
            (Some(8000), 7200, Ok(7200)),
        ] {
            assert_eq!(grant(wanted, min, 3600), granted, "{wanted:?} {min}");
        }
    }

    #[test]
    fn the_body_is_what_the_subscriber_likes_best() {
        let offered = ["application/pidf+xml", "application/xpidf+xml"];
        for (accept, wanted) in [
            (None, Some(offered[0])),
            (Some("application/xpidf+xml"), Some(offered[1])),
            (
                Some("application/xpidf+xml, application/pidf+xml"),
                Some(offered[1]),
            ),
            (
                Some("application/xpidf+xml;q=0.2, APPLICATION/pidf+xml"),
                Some(offered[0]),
            ),
            (Some("text/plain, application/*"), Some(offered[0])),
            (Some("*/*"), Some(offered[0])),
            (Some("application/pidf+xml;q=0"), None),
            (Some("text/plain"), None),
            (Some(""), None),
        ] {
            let mut request = Builder::request(Method::Subscribe, "sip:1@a");
            if let Some(accept) = accept {
                request.push(HeaderName::Accept, accept);
            }
            assert_eq!(accepted(&request.finish(), &offered), wanted, "{accept:?}");
        }
    }
}
