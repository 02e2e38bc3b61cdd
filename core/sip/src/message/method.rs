//! Request methods. Case-sensitive (RFC 3261 §7.1); unknown ones are kept as written.

use std::fmt;

use crate::syntax::is_token;

macro_rules! methods {
    ($($variant:ident $text:literal,)*) => {
        /// The method of a request.
        #[derive(Clone, Eq, PartialEq, Hash, Debug)]
        pub enum Method {
            $(#[doc = $text] $variant,)*
            /// Any other token.
            Other(Box<str>),
        }

        impl Method {
            /// Reads a method; `None` when the text is not a token.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)*
                    _ if !text.is_empty() && text.bytes().all(is_token) => Some(Self::Other(text.into())),
                    _ => None,
                }
            }

            /// The method as written in a message.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }
        }
    };
}

methods! {
    Invite "INVITE",
    Ack "ACK",
    Bye "BYE",
    Cancel "CANCEL",
    Register "REGISTER",
    Options "OPTIONS",
    Info "INFO",
    Update "UPDATE",
    Prack "PRACK",
    Refer "REFER",
    Subscribe "SUBSCRIBE",
    Notify "NOTIFY",
    Publish "PUBLISH",
    Message "MESSAGE",
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
