//! One column of one row: how text from any engine becomes a value, and the words that stand for choices.

/// A value that a column can hold. Every engine hands columns over as text.
pub(crate) trait Cell: Sized {
    /// Reads a column that is neither NULL nor empty; `None`: the text is not such a value.
    fn read(text: &str) -> Option<Self>;
    /// The text to store; `None` for NULL.
    fn write(&self) -> Option<String>;
}

impl Cell for String {
    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
    fn write(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.clone())
    }
}

impl<T: Cell> Cell for Option<T> {
    fn read(text: &str) -> Option<Self> {
        T::read(text).map(Some)
    }
    fn write(&self) -> Option<String> {
        self.as_ref().and_then(T::write)
    }
}

/// Booleans as Asterisk and the engines write them, whatever the type of the column.
impl Cell for bool {
    fn read(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" | "1" | "y" | "t" => Some(true),
            "no" | "false" | "off" | "0" | "n" | "f" => Some(false),
            _ => None,
        }
    }
    fn write(&self) -> Option<String> {
        Some(if *self { "yes" } else { "no" }.into())
    }
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Cell for $type {
            fn read(text: &str) -> Option<Self> {
                let text = text.trim();
                // A DECIMAL or FLOAT column shows an integer as 60.0.
                let whole = match text.split_once('.') {
                    Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') => whole,
                    _ => text,
                };
                whole.parse().ok()
            }
            fn write(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}
number!(i32, i64, u32, u16);

impl Cell for f64 {
    fn read(text: &str) -> Option<Self> {
        text.trim()
            .parse()
            .ok()
            .filter(|value: &Self| value.is_finite())
    }
    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// Comma lists: blanks around items and empty items are dropped.
impl Cell for Vec<String> {
    fn read(text: &str) -> Option<Self> {
        Some(list(text))
    }
    fn write(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.join(","))
    }
}

/// Splits a comma list.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal $(| $other:literal)*,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// The word that stands for it in the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl Cell for $name {
            fn read(text: &str) -> Option<Self> {
                match text.trim().to_ascii_lowercase().as_str() {
                    $($word $(| $other)* => Some(Self::$variant),)*
                    _ => None,
                }
            }
            fn write(&self) -> Option<String> {
                Some(self.as_str().into())
            }
        }
    };
}

words! {
    /// How digits travel (`dtmf_mode`).
    pub enum DtmfMode {
        /// RTP telephone events (RFC 4733).
        #[default]
        Rfc4733 = "rfc4733" | "rfc2833",
        /// Tones in the audio.
        Inband = "inband",
        /// SIP INFO requests.
        Info = "info",
        /// RFC 4733 if negotiated, otherwise tones.
        Auto = "auto",
        /// RFC 4733 if negotiated, otherwise INFO.
        AutoInfo = "auto_info",
        /// Not at all from us; what comes is heard.
        None = "none",
    }
}
words! {
    /// Session timers (`timers`, RFC 4028).
    pub enum SessionTimers {
        /// Never.
        No = "no" | "never" | "0" | "false" | "off",
        /// If the peer wants them.
        #[default]
        Yes = "yes" | "1" | "true" | "on",
        /// The peer must support them.
        Required = "required",
        /// Used even if the peer does not.
        Forced = "forced" | "always",
    }
}
words! {
    /// Media encryption (`media_encryption`).
    pub enum MediaEncryption {
        /// Plain RTP.
        #[default]
        No = "no",
        /// Keys in SDP (RFC 4568).
        Sdes = "sdes",
        /// DTLS-SRTP (RFC 5763).
        Dtls = "dtls",
    }
}
words! {
    /// Reliable provisional responses (`100rel`, RFC 3262).
    pub enum Rel100 {
        /// Never.
        No = "no" | "0" | "false" | "off",
        /// The peer must support them.
        Required = "required",
        /// Used whenever the peer supports them.
        PeerSupported = "peer_supported",
        /// If the peer requires them.
        #[default]
        Yes = "yes" | "1" | "true" | "on",
    }
}
words! {
    /// Kind of credentials (`auth_type`).
    pub enum AuthType {
        /// Clear password in `password`.
        #[default]
        Userpass = "userpass",
        /// Hash in `md5_cred`.
        Md5 = "md5",
        /// Password or hashes, whichever is set.
        Digest = "digest",
        /// OAuth of a certain provider; not supported.
        GoogleOauth = "google_oauth",
    }
}
words! {
    /// Transport protocol (`protocol`).
    pub enum TransportProtocol {
        /// UDP.
        #[default]
        Udp = "udp",
        /// TCP.
        Tcp = "tcp",
        /// TLS over TCP.
        Tls = "tls",
        /// WebSocket (RFC 7118).
        Ws = "ws",
        /// WebSocket over TLS.
        Wss = "wss",
        /// A connection made by the peer.
        Flow = "flow",
    }
}
words! {
    /// Request that changes a session (`direct_media_method`, `connected_line_method`).
    pub enum DirectMediaMethod {
        /// re-INVITE.
        #[default]
        Invite = "invite" | "reinvite",
        /// UPDATE (RFC 3311).
        Update = "update",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_read_from_every_spelling() {
        for text in ["yes", "YES", "true", "on", "1", " yes "] {
            assert_eq!(bool::read(text), Some(true), "{text}");
        }
        for text in ["no", "False", "off", "0"] {
            assert_eq!(bool::read(text), Some(false), "{text}");
        }
        assert_eq!(bool::read("maybe"), None);
    }

    #[test]
    fn numbers_are_read_from_text_and_decimals() {
        assert_eq!(u32::read(" 60 "), Some(60));
        assert_eq!(u32::read("60.000"), Some(60));
        assert_eq!(u32::read("60.5"), None);
        assert_eq!(u32::read("-1"), None);
        assert_eq!(i64::read("1730267955"), Some(1_730_267_955));
        assert_eq!(f64::read("3"), Some(3.0));
        assert_eq!(f64::read("nan"), None);
    }

    #[test]
    fn lists_drop_blanks_and_empty_items() {
        assert_eq!(list(" alaw, ulaw,,!gsm "), ["alaw", "ulaw", "!gsm"]);
        assert!(list(" , ").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_cell_panic(text in ".*") {
            let _ = (bool::read(&text), u32::read(&text), i64::read(&text), f64::read(&text), list(&text));
            let _ = (DtmfMode::read(&text), SessionTimers::read(&text), AuthType::read(&text));
        }
    }
}
