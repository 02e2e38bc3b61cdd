//! Header names: the known ones as an enum, with their compact forms; any other kept as written.

use std::fmt;

macro_rules! names {
    ($($variant:ident $text:literal $lower:literal $($compact:literal)?,)*) => {
        /// The name of a header; compared without case, compact forms resolved.
        #[derive(Clone, Debug)]
        pub enum HeaderName {
            $(#[doc = $text] $variant,)*
            /// Any other name, as written.
            Other(Box<str>),
        }

        /// A known header in one byte, for the index.
        #[derive(Copy, Clone, Eq, PartialEq, Debug)]
        pub(crate) enum Code { $($variant,)* Other }

        impl HeaderName {
            /// The name as written in full (`Call-ID`), or as it was given for one that is not known.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }

            /// The one-letter form, where the header has one (RFC 3261 §7.3.3).
            #[must_use]
            pub const fn compact(&self) -> Option<&'static str> {
                match self {
                    $($(Self::$variant => Some($compact),)?)*
                    _ => None,
                }
            }

            pub(crate) const fn code(&self) -> Code {
                match self {
                    $(Self::$variant => Code::$variant,)*
                    Self::Other(_) => Code::Other,
                }
            }
        }

        impl Code {
            /// Finds the header of this name in any case. Never allocates.
            pub(crate) fn of(name: &[u8]) -> Self {
                let mut buffer = [0u8; 24];
                let Some(lower) = buffer.get_mut(..name.len()) else {
                    return Self::Other;
                };
                lower.copy_from_slice(name);
                lower.make_ascii_lowercase();
                match std::str::from_utf8(lower) {
                    $(Ok($lower) => Self::$variant,)*
                    $($(Ok($compact) => Self::$variant,)?)*
                    _ => Self::Other,
                }
            }

            pub(crate) const fn name(self) -> Option<HeaderName> {
                match self {
                    $(Self::$variant => Some(HeaderName::$variant),)*
                    Self::Other => None,
                }
            }
        }
    };
}

names! {
    Via "Via" "via" "v",
    From "From" "from" "f",
    To "To" "to" "t",
    CallId "Call-ID" "call-id" "i",
    CSeq "CSeq" "cseq",
    MaxForwards "Max-Forwards" "max-forwards",
    Contact "Contact" "contact" "m",
    ContentLength "Content-Length" "content-length" "l",
    ContentType "Content-Type" "content-type" "c",
    Expires "Expires" "expires",
    MinExpires "Min-Expires" "min-expires",
    Route "Route" "route",
    RecordRoute "Record-Route" "record-route",
    Path "Path" "path",
    ServiceRoute "Service-Route" "service-route",
    Authorization "Authorization" "authorization",
    WwwAuthenticate "WWW-Authenticate" "www-authenticate",
    ProxyAuthorization "Proxy-Authorization" "proxy-authorization",
    ProxyAuthenticate "Proxy-Authenticate" "proxy-authenticate",
    AuthenticationInfo "Authentication-Info" "authentication-info",
    UserAgent "User-Agent" "user-agent",
    Server "Server" "server",
    Allow "Allow" "allow",
    AllowEvents "Allow-Events" "allow-events" "u",
    Supported "Supported" "supported" "k",
    Require "Require" "require",
    ProxyRequire "Proxy-Require" "proxy-require",
    Unsupported "Unsupported" "unsupported",
    Accept "Accept" "accept",
    AcceptEncoding "Accept-Encoding" "accept-encoding",
    AcceptLanguage "Accept-Language" "accept-language",
    ContentEncoding "Content-Encoding" "content-encoding" "e",
    ContentDisposition "Content-Disposition" "content-disposition",
    ContentLanguage "Content-Language" "content-language",
    MimeVersion "MIME-Version" "mime-version",
    Date "Date" "date",
    Timestamp "Timestamp" "timestamp",
    RetryAfter "Retry-After" "retry-after",
    Warning "Warning" "warning",
    Reason "Reason" "reason",
    Subject "Subject" "subject" "s",
    Organization "Organization" "organization",
    Priority "Priority" "priority",
    AlertInfo "Alert-Info" "alert-info",
    CallInfo "Call-Info" "call-info",
    ErrorInfo "Error-Info" "error-info",
    InReplyTo "In-Reply-To" "in-reply-to",
    ReplyTo "Reply-To" "reply-to",
    Event "Event" "event" "o",
    SubscriptionState "Subscription-State" "subscription-state",
    ReferTo "Refer-To" "refer-to" "r",
    ReferredBy "Referred-By" "referred-by" "b",
    ReferSub "Refer-Sub" "refer-sub",
    Replaces "Replaces" "replaces",
    SessionExpires "Session-Expires" "session-expires" "x",
    MinSe "Min-SE" "min-se",
    RSeq "RSeq" "rseq",
    RAck "RAck" "rack",
    PAssertedIdentity "P-Asserted-Identity" "p-asserted-identity",
    PPreferredIdentity "P-Preferred-Identity" "p-preferred-identity",
    RemotePartyId "Remote-Party-ID" "remote-party-id",
    Privacy "Privacy" "privacy",
    Diversion "Diversion" "diversion",
    HistoryInfo "History-Info" "history-info",
    SipIfMatch "SIP-If-Match" "sip-if-match",
    SipEtag "SIP-ETag" "sip-etag",
    Identity "Identity" "identity" "y",
    AcceptContact "Accept-Contact" "accept-contact" "a",
    RejectContact "Reject-Contact" "reject-contact" "j",
    RequestDisposition "Request-Disposition" "request-disposition" "d",
}

impl HeaderName {
    /// Finds the header of this name, in any case and in compact form. What is not known becomes [`HeaderName::Other`].
    #[must_use]
    pub fn parse(name: &str) -> Self {
        Code::of(name.as_bytes())
            .name()
            .unwrap_or_else(|| Self::Other(name.into()))
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Other(a), Self::Other(b)) => a.eq_ignore_ascii_case(b),
            _ => self.code() == other.code(),
        }
    }
}

impl Eq for HeaderName {}

impl From<&str> for HeaderName {
    fn from(name: &str) -> Self {
        Self::parse(name)
    }
}

impl From<&String> for HeaderName {
    fn from(name: &String) -> Self {
        Self::parse(name)
    }
}

impl From<&Self> for HeaderName {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_in_compact_form() {
        for (text, name) in [
            ("CALL-id", HeaderName::CallId),
            ("i", HeaderName::CallId),
            ("M", HeaderName::Contact),
            ("l", HeaderName::ContentLength),
            ("WWW-AUTHENTICATE", HeaderName::WwwAuthenticate),
        ] {
            assert_eq!(HeaderName::parse(text), name, "{text}");
        }
        assert_eq!(
            HeaderName::parse("X-Foo"),
            HeaderName::Other("x-fOO".into())
        );
        assert_ne!(HeaderName::parse("X-Foo"), HeaderName::Via);
        let long = "NewFangledHeaderOfSuchALengthThatNoTableHoldsIt";
        assert_eq!(HeaderName::parse(long).as_str(), long);
        assert_eq!(HeaderName::Contact.compact(), Some("m"));
        assert_eq!(HeaderName::CSeq.compact(), None);
    }
}
