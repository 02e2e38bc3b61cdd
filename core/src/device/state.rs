//! What states devices and extensions are in, their names, and what several devices make together.

use std::fmt;

/// State of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceState {
    #[default]
    Unknown,
    NotInUse,
    InUse,
    Busy,
    Invalid,
    Unavailable,
    Ringing,
    RingInUse,
    OnHold,
}

impl DeviceState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::NotInUse,
        Self::InUse,
        Self::Busy,
        Self::Invalid,
        Self::Unavailable,
        Self::Ringing,
        Self::RingInUse,
        Self::OnHold,
    ];

    /// The word the dialplan sees.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::NotInUse => "NOT_INUSE",
            Self::InUse => "INUSE",
            Self::Busy => "BUSY",
            Self::Invalid => "INVALID",
            Self::Unavailable => "UNAVAILABLE",
            Self::Ringing => "RINGING",
            Self::RingInUse => "RINGINUSE",
            Self::OnHold => "ONHOLD",
        }
    }

    /// The state of this name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        Self::ALL
            .into_iter()
            .find(|state| state.as_str().eq_ignore_ascii_case(text))
    }

    /// Which of two states says more of several devices.
    fn rank(self) -> u8 {
        match self {
            Self::Invalid => 0,
            Self::Unknown => 1,
            Self::Unavailable => 2,
            Self::NotInUse => 3,
            Self::OnHold => 4,
            Self::Ringing => 5,
            Self::InUse => 6,
            Self::Busy => 7,
            Self::RingInUse => 8,
        }
    }

    /// What several devices make together. No device: invalid.
    pub fn together(states: impl IntoIterator<Item = Self>) -> Self {
        let (mut ringing, mut in_use, mut best) = (false, false, Self::Invalid);
        for state in states {
            ringing |= matches!(state, Self::Ringing | Self::RingInUse);
            in_use |= matches!(
                state,
                Self::InUse | Self::OnHold | Self::Busy | Self::RingInUse
            );
            if state.rank() > best.rank() {
                best = state;
            }
        }
        if ringing && in_use {
            Self::RingInUse
        } else {
            best
        }
    }
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// State of an extension, made of the devices of its hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtensionState {
    /// It has no hint.
    Unknown,
    NotInUse,
    InUse,
    Busy,
    Unavailable,
    Ringing,
    RingInUse,
    OnHold,
}

impl ExtensionState {
    /// The word the dialplan sees.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::NotInUse => "NOT_INUSE",
            Self::InUse => "INUSE",
            Self::Busy => "BUSY",
            Self::Unavailable => "UNAVAILABLE",
            Self::Ringing => "RINGING",
            Self::RingInUse => "RINGINUSE",
            Self::OnHold => "ONHOLD",
        }
    }

    /// The number that the Manager gives: -1 without a hint, else the bits 1 in use, 2 busy, 4 unavailable, 8 ringing, 16
    /// on hold.
    #[must_use]
    pub fn number(self) -> i8 {
        match self {
            Self::Unknown => -1,
            Self::NotInUse => 0,
            Self::InUse => 1,
            Self::Busy => 2,
            Self::Unavailable => 4,
            Self::Ringing => 8,
            Self::RingInUse => 9,
            Self::OnHold => 16,
        }
    }
}

impl From<DeviceState> for ExtensionState {
    fn from(state: DeviceState) -> Self {
        match state {
            DeviceState::Unknown | DeviceState::NotInUse => Self::NotInUse,
            DeviceState::InUse => Self::InUse,
            DeviceState::Busy => Self::Busy,
            DeviceState::Invalid | DeviceState::Unavailable => Self::Unavailable,
            DeviceState::Ringing => Self::Ringing,
            DeviceState::RingInUse => Self::RingInUse,
            DeviceState::OnHold => Self::OnHold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceState::{self, *};

    #[test]
    fn several_devices_make_one_state() {
        for (states, wanted) in [
            (&[][..], Invalid),
            (&[NotInUse, Unavailable], NotInUse),
            (&[Unavailable, Unavailable], Unavailable),
            (&[NotInUse, InUse], InUse),
            (&[Ringing, NotInUse], Ringing),
            (&[Ringing, InUse], RingInUse),
            (&[OnHold, NotInUse], OnHold),
            (&[OnHold, Ringing], RingInUse),
            (&[Busy, InUse], Busy),
            (&[Unknown, Invalid], Unknown),
        ] {
            assert_eq!(
                DeviceState::together(states.iter().copied()),
                wanted,
                "{states:?}"
            );
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for state in DeviceState::ALL {
            assert_eq!(DeviceState::parse(state.as_str()), Some(state));
        }
        assert_eq!(DeviceState::parse(" inuse "), Some(InUse));
        assert_eq!(DeviceState::parse("HOLD"), None);
    }
}
