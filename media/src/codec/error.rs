//! Why a codec could not do what it was asked for.

use super::Codec;

/// Why a codec could not do what it was asked for.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// Only relayed, see [`Codec::is_spoken`].
    #[error("{0:?} is relayed, but neither decoded nor encoded here")]
    NotSpoken(Codec),
    /// The payload is none of this codec.
    #[error("a broken payload")]
    Broken,
    /// What comes out does not fit.
    #[error("more audio than there is room for")]
    TooLong,
    /// Not a number of samples that the codec takes.
    #[error("{0} samples are no packet of this codec")]
    FrameSize(usize),
    /// libopus refused.
    #[error("libopus: {0}")]
    Opus(&'static str),
}

impl From<::opus::Error> for CodecError {
    fn from(error: ::opus::Error) -> Self {
        match error.code() {
            ::opus::ErrorCode::InvalidPacket => Self::Broken,
            code => Self::Opus(code.description()),
        }
    }
}
