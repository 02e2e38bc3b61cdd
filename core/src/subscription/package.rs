//! Event packages that can be subscribed to, and the types of body that tell of them.

/// An event package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Package {
    /// RFC 4235
    Dialog,
    /// RFC 3856
    Presence,
    /// RFC 3842
    MessageSummary,
}

/// The packages, for Allow-Events.
pub(crate) const ALLOW_EVENTS: &str = "dialog, presence, message-summary, refer";

/// A type of body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    DialogInfo,
    Pidf,
    Xpidf,
    MessageSummary,
}

impl Format {
    const ALL: [Self; 4] = [
        Self::DialogInfo,
        Self::Pidf,
        Self::Xpidf,
        Self::MessageSummary,
    ];

    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::DialogInfo => "application/dialog-info+xml",
            Self::Pidf => "application/pidf+xml",
            Self::Xpidf => "application/xpidf+xml",
            Self::MessageSummary => "application/simple-message-summary",
        }
    }

    pub(super) fn of(media_type: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.media_type() == media_type)
    }
}

impl Package {
    const ALL: [Self; 3] = [Self::Dialog, Self::Presence, Self::MessageSummary];

    /// Its name in Event.
    pub(super) const fn event(self) -> &'static str {
        match self {
            Self::Dialog => "dialog",
            Self::Presence => "presence",
            Self::MessageSummary => "message-summary",
        }
    }

    /// The package of this name (RFC 6665 §8.2.1: compared as written).
    pub(super) fn of(event: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|package| package.event() == event)
    }

    /// The types that may tell of it, the usual one first. Extensions can be told in any of theirs, as phones want both
    /// within both packages.
    pub(super) const fn media_types(self) -> &'static [&'static str] {
        const INFO: &str = Format::DialogInfo.media_type();
        const PIDF: &str = Format::Pidf.media_type();
        const XPIDF: &str = Format::Xpidf.media_type();
        const SUMMARY: &str = Format::MessageSummary.media_type();
        match self {
            Self::Dialog => &[INFO, PIDF, XPIDF],
            Self::Presence => &[PIDF, XPIDF, INFO],
            Self::MessageSummary => &[SUMMARY],
        }
    }
}
