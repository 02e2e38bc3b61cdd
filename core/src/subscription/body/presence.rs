//! `application/pidf+xml` (RFC 3863, with the activities of RPID that phones look for) and `application/xpidf+xml`.

use std::fmt::Write as _;

use super::{PROLOG, escape};
use crate::device::ExtensionState;

/// What a subscriber is told of.
pub(in crate::subscription) struct Presence<'a> {
    /// The extension's URI.
    pub(in crate::subscription) entity: &'a str,
    pub(in crate::subscription) exten: &'a str,
    /// The subscriber's URI.
    pub(in crate::subscription) watcher: &'a str,
    pub(in crate::subscription) state: ExtensionState,
}

/// Can it be called?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Basic {
    Open,
    InUse,
    Closed,
}

/// Openness, activity and note of a state, as Asterisk words them.
fn words(state: ExtensionState) -> (Basic, Option<&'static str>, &'static str) {
    match state {
        ExtensionState::Ringing | ExtensionState::RingInUse => {
            (Basic::InUse, Some("busy"), "Ringing")
        }
        ExtensionState::InUse => (Basic::InUse, Some("busy"), "On the phone"),
        ExtensionState::Busy => (Basic::Closed, Some("busy"), "On the phone"),
        ExtensionState::OnHold => (Basic::Closed, Some("busy"), "On hold"),
        ExtensionState::Unavailable => (Basic::Closed, None, "Unavailable"),
        ExtensionState::NotInUse | ExtensionState::Unknown => (Basic::Open, None, "Ready"),
    }
}

impl Presence<'_> {
    pub(in crate::subscription) fn pidf(&self) -> String {
        let (basic, activity, note) = words(self.state);
        let basic = if basic == Basic::Closed {
            "closed"
        } else {
            "open"
        };
        let mut out = String::with_capacity(768);
        out.push_str(PROLOG);
        let _ = write!(
            out,
            "<presence entity=\"{}\" xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:pp=\"urn:ietf:params:xml:ns:pidf:person\" \
             xmlns:es=\"urn:ietf:params:xml:ns:pidf:rpid:status:rpid-status\" \
             xmlns:ep=\"urn:ietf:params:xml:ns:pidf:rpid:rpid-person\">\n <note>{note}</note>\n <tuple id=\"{}\">\n  \
             <status>\n   <basic>{basic}</basic>\n  </status>\n  <contact priority=\"1\">{}</contact>\n </tuple>\n \
             <pp:person>\n  <status>\n",
            escape(self.entity),
            escape(self.exten),
            escape(self.watcher),
        );
        if let Some(activity) = activity {
            let _ = write!(
                out,
                "   <ep:activities>\n    <ep:{activity}/>\n   </ep:activities>\n"
            );
        }
        out.push_str("  </status>\n </pp:person>\n</presence>\n");
        out
    }

    pub(in crate::subscription) fn xpidf(&self) -> String {
        let (status, substatus) = match words(self.state).0 {
            Basic::Open => ("open", "online"),
            Basic::InUse => ("inuse", "onthephone"),
            Basic::Closed => ("closed", "offline"),
        };
        let exten = escape(self.exten);
        format!(
            "{PROLOG}<!DOCTYPE presence PUBLIC \"-//IETF//DTD RFCxxxx XPIDF 1.0//EN\" \"xpidf.dtd\">\n<presence>\n \
             <presentity uri=\"{};method=SUBSCRIBE\"/>\n <atom atomid=\"{exten}\" id=\"{exten}\">\n  \
             <address uri=\"{}\" priority=\"0.80000\">\n   <status status=\"{status}\"/>\n   \
             <msnsubstatus substatus=\"{substatus}\"/>\n  </address>\n </atom>\n</presence>\n",
            escape(self.entity),
            escape(self.watcher),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_its_words_in_both_bodies() {
        for (state, basic, note, busy, status, substatus) in [
            (
                ExtensionState::NotInUse,
                "open",
                "Ready",
                false,
                "open",
                "online",
            ),
            (
                ExtensionState::Ringing,
                "open",
                "Ringing",
                true,
                "inuse",
                "onthephone",
            ),
            (
                ExtensionState::InUse,
                "open",
                "On the phone",
                true,
                "inuse",
                "onthephone",
            ),
            (
                ExtensionState::OnHold,
                "closed",
                "On hold",
                true,
                "closed",
                "offline",
            ),
            (
                ExtensionState::Unavailable,
                "closed",
                "Unavailable",
                false,
                "closed",
                "offline",
            ),
        ] {
            let presence = Presence {
                entity: "sip:100@pbx",
                exten: "100",
                watcher: "sip:101@pbx",
                state,
            };
            let pidf = presence.pidf();
            assert!(
                pidf.contains(&format!("<basic>{basic}</basic>"))
                    && pidf.contains(&format!("<note>{note}</note>"))
                    && pidf.contains("entity=\"sip:100@pbx\""),
                "{pidf}"
            );
            assert_eq!(pidf.contains("<ep:busy/>"), busy, "{pidf}");
            let xpidf = presence.xpidf();
            assert!(
                xpidf.contains(&format!("<status status=\"{status}\"/>"))
                    && xpidf.contains(&format!("substatus=\"{substatus}\"")),
                "{xpidf}"
            );
        }
    }
}
