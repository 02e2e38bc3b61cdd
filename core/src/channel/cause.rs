//! Hang-up causes (Q.850 as the field uses them) and their mapping to and from SIP status codes.

use strowger_sip::message::reason_phrase;

/// The SIP status of a refusal by its number, 400 to 699, or by its phrase as a name (`BUSY_HERE`).
pub fn refusal(text: &str) -> Option<u16> {
    let mut refusals = 400..=699;
    if let Ok(number) = text.parse() {
        return Some(number).filter(|number| refusals.contains(number));
    }
    let plain = |text: &str| text.replace([' ', '_', '-'], "").to_ascii_lowercase();
    let wanted = plain(text);
    // A phrase that several have is that of a class, whose first status it belongs to.
    refusals.find(|status| plain(reason_phrase(*status)) == wanted)
}

/// A Q.850 hang-up cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cause(pub u8);

impl Cause {
    pub const UNALLOCATED: Self = Self(1);
    pub const NO_ROUTE_DESTINATION: Self = Self(3);
    pub const NORMAL_CLEARING: Self = Self(16);
    pub const USER_BUSY: Self = Self(17);
    pub const NO_USER_RESPONSE: Self = Self(18);
    pub const NO_ANSWER: Self = Self(19);
    pub const SUBSCRIBER_ABSENT: Self = Self(20);
    pub const CALL_REJECTED: Self = Self(21);
    pub const ANSWERED_ELSEWHERE: Self = Self(26);
    pub const INVALID_NUMBER_FORMAT: Self = Self(28);
    pub const NORMAL_CIRCUIT_CONGESTION: Self = Self(34);
    pub const NETWORK_OUT_OF_ORDER: Self = Self(38);
    pub const NORMAL_TEMPORARY_FAILURE: Self = Self(41);
    pub const REQUESTED_CHAN_UNAVAIL: Self = Self(44);
    pub const BEARERCAPABILITY_NOTAVAIL: Self = Self(58);
    pub const RECOVERY_ON_TIMER_EXPIRE: Self = Self(102);
    pub const INTERWORKING: Self = Self(127);

    /// The cause for a failure response of a called party.
    pub fn from_status(status: u16) -> Self {
        Self(match status {
            300..=399 => 23,
            401 | 403 | 407 | 603 => 21,
            404 | 485 | 604 => 1,
            408 => 18,
            409 => 41,
            410 => 22,
            420 => 3,
            480 | 483 => 19,
            484 => 28,
            486 | 600 => 17,
            488 | 606 => 58,
            500 => 38,
            501 => 29,
            502 => 27,
            503 => 34,
            504 => 102,
            505 => 127,
            _ if (500..600).contains(&status) => 38,
            _ => 127,
        })
    }

    /// The response that refuses an unanswered incoming call with this cause.
    pub fn to_status(self) -> (u16, &'static str) {
        match self.0 {
            1..=3 => (404, "Not Found"),
            34 | 42 | 66 => (503, "Service Unavailable"),
            18 => (408, "Request Timeout"),
            19 | 20 | 31 => (480, "Temporarily Unavailable"),
            21 => (403, "Forbidden"),
            22 => (410, "Gone"),
            23 => (302, "Moved Temporarily"),
            28 => (484, "Address Incomplete"),
            17 => (486, "Busy Here"),
            58 => (488, "Not Acceptable Here"),
            38 | 127 => (500, "Server Internal Error"),
            29 => (501, "Not Implemented"),
            27 => (502, "Bad Gateway"),
            _ => (603, "Decline"),
        }
    }

    /// The text used in logs and the Reason header.
    pub fn text(self) -> &'static str {
        TABLE
            .iter()
            .find(|(number, ..)| *number == self.0)
            .map_or("Unknown", |(_, _, text)| text)
    }

    /// Reads a number (0 to 127) or a name such as `USER_BUSY` (any case).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse::<u8>() {
            return (number <= 127).then_some(Self(number));
        }
        let name = text.strip_prefix("AST_CAUSE_").unwrap_or(text);
        TABLE
            .iter()
            .find(|(_, known, _)| known.eq_ignore_ascii_case(name))
            .map(|(number, ..)| Self(*number))
    }
}

const TABLE: &[(u8, &str, &str)] = &[
    (1, "UNALLOCATED", "Unallocated (unassigned) number"),
    (
        2,
        "NO_ROUTE_TRANSIT_NET",
        "No route to specified transmit network",
    ),
    (3, "NO_ROUTE_DESTINATION", "No route to destination"),
    (5, "MISDIALLED_TRUNK_PREFIX", "Misdialed trunk prefix"),
    (6, "CHANNEL_UNACCEPTABLE", "Channel unacceptable"),
    (
        7,
        "CALL_AWARDED_DELIVERED",
        "Call awarded and being delivered in an established channel",
    ),
    (8, "PRE_EMPTED", "Pre-empted"),
    (14, "NUMBER_PORTED_NOT_HERE", "Number ported elsewhere"),
    (16, "NORMAL_CLEARING", "Normal Clearing"),
    (16, "NORMAL", "Normal Clearing"),
    (17, "USER_BUSY", "User busy"),
    (17, "BUSY", "User busy"),
    (18, "NO_USER_RESPONSE", "No user responding"),
    (19, "NO_ANSWER", "User alerting, no answer"),
    (19, "NOANSWER", "User alerting, no answer"),
    (20, "SUBSCRIBER_ABSENT", "Subscriber absent"),
    (21, "CALL_REJECTED", "Call Rejected"),
    (22, "NUMBER_CHANGED", "Number changed"),
    (
        23,
        "REDIRECTED_TO_NEW_DESTINATION",
        "Redirected to new destination",
    ),
    (26, "ANSWERED_ELSEWHERE", "Answered elsewhere"),
    (27, "DESTINATION_OUT_OF_ORDER", "Destination out of order"),
    (28, "INVALID_NUMBER_FORMAT", "Invalid number format"),
    (29, "FACILITY_REJECTED", "Facility rejected"),
    (
        30,
        "RESPONSE_TO_STATUS_ENQUIRY",
        "Response to STATus ENQuiry",
    ),
    (31, "NORMAL_UNSPECIFIED", "Normal, unspecified"),
    (
        34,
        "NORMAL_CIRCUIT_CONGESTION",
        "Circuit/channel congestion",
    ),
    (34, "CONGESTION", "Circuit/channel congestion"),
    (38, "NETWORK_OUT_OF_ORDER", "Network out of order"),
    (38, "FAILURE", "Network out of order"),
    (41, "NORMAL_TEMPORARY_FAILURE", "Temporary failure"),
    (42, "SWITCH_CONGESTION", "Switching equipment congestion"),
    (43, "ACCESS_INFO_DISCARDED", "Access information discarded"),
    (
        44,
        "REQUESTED_CHAN_UNAVAIL",
        "Requested channel not available",
    ),
    (50, "FACILITY_NOT_SUBSCRIBED", "Facility not subscribed"),
    (52, "OUTGOING_CALL_BARRED", "Outgoing call barred"),
    (54, "INCOMING_CALL_BARRED", "Incoming call barred"),
    (
        57,
        "BEARERCAPABILITY_NOTAUTH",
        "Bearer capability not authorized",
    ),
    (
        58,
        "BEARERCAPABILITY_NOTAVAIL",
        "Bearer capability not available",
    ),
    (
        65,
        "BEARERCAPABILITY_NOTIMPL",
        "Bearer capability not implemented",
    ),
    (66, "CHAN_NOT_IMPLEMENTED", "Channel not implemented"),
    (69, "FACILITY_NOT_IMPLEMENTED", "Facility not implemented"),
    (81, "INVALID_CALL_REFERENCE", "Invalid call reference value"),
    (88, "INCOMPATIBLE_DESTINATION", "Incompatible destination"),
    (95, "INVALID_MSG_UNSPECIFIED", "Invalid message unspecified"),
    (
        96,
        "MANDATORY_IE_MISSING",
        "Mandatory information element is missing",
    ),
    (97, "MESSAGE_TYPE_NONEXIST", "Message type nonexist."),
    (98, "WRONG_MESSAGE", "Wrong message"),
    (
        99,
        "IE_NONEXIST",
        "Info. element nonexist or not implemented",
    ),
    (
        100,
        "INVALID_IE_CONTENTS",
        "Invalid information element contents",
    ),
    (
        101,
        "WRONG_CALL_STATE",
        "Message not compatible with call state",
    ),
    (102, "RECOVERY_ON_TIMER_EXPIRE", "Recover on timer expiry"),
    (
        103,
        "MANDATORY_IE_LENGTH_ERROR",
        "Mandatory IE length error",
    ),
    (111, "PROTOCOL_ERROR", "Protocol error, unspecified"),
    (127, "INTERWORKING", "Interworking, unspecified"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_causes_map_as_documented() {
        for (status, cause) in [
            (302, 23),
            (401, 21),
            (404, 1),
            (408, 18),
            (480, 19),
            (484, 28),
            (486, 17),
            (600, 17),
            (488, 58),
            (500, 38),
            (503, 34),
            (504, 102),
            (487, 127),
            (603, 21),
            (599, 38),
            (499, 127),
        ] {
            assert_eq!(Cause::from_status(status).0, cause, "status {status}");
        }
        for (cause, status) in [
            (1, 404),
            (34, 503),
            (19, 480),
            (21, 403),
            (17, 486),
            (16, 603),
            (58, 488),
        ] {
            assert_eq!(Cause(cause).to_status().0, status, "cause {cause}");
        }
    }

    #[test]
    fn a_refusal_is_read_by_number_or_phrase() {
        for (text, status) in [
            ("486", Some(486)),
            ("BUSY_HERE", Some(486)),
            ("Not Found", Some(404)),
            ("decline", Some(603)),
            ("200", None),
            ("700", None),
            ("", None),
        ] {
            assert_eq!(refusal(text), status, "{text}");
        }
    }

    #[test]
    fn a_cause_is_read_by_number_or_name() {
        assert_eq!(Cause::parse("17"), Some(Cause::USER_BUSY));
        assert_eq!(Cause::parse("user_busy"), Some(Cause::USER_BUSY));
        assert_eq!(Cause::parse("AST_CAUSE_BUSY"), Some(Cause::USER_BUSY));
        assert_eq!(Cause::parse("128"), None);
        assert_eq!(Cause::parse("nonsense"), None);
    }
}
