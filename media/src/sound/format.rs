//! Kinds of sound files, by the extensions of their names.

/// A kind of sound file.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Hash)]
pub enum SoundFormat {
    /// RIFF/WAVE: linear of 8 to 32 bit, u-law, A-law, GSM (`.wav`, `.WAV`, `.wav16`, `.wav49`).
    Wav,
    /// Headerless 16 bit little-endian linear at this rate in hertz (`.sln`, `.sln16` ... `.sln192`, `.raw`).
    Linear(u32),
    /// Headerless G.711 u-law, 8000 Hz (`.ulaw`, `.ul`, `.mu`, `.pcm`).
    Ulaw,
    /// Headerless G.711 A-law, 8000 Hz (`.alaw`, `.al`).
    Alaw,
    /// Headerless GSM 06.10 full rate, frames of 33 bytes (`.gsm`).
    Gsm,
    /// Headerless G.722, 16000 Hz (`.g722`).
    G722,
    /// MPEG audio layer 3 (`.mp3`).
    Mp3,
    /// Ogg with Vorbis or Opus (`.ogg`, `.oga`, `.opus`).
    Ogg,
}

/// Extensions and what they mean. The order is the order of preference for a narrowband listener when one sound exists
/// in several: what costs least to read and loses least first.
const KNOWN: &[(&str, SoundFormat)] = &[
    ("wav", SoundFormat::Wav),
    ("sln", SoundFormat::Linear(8000)),
    ("alaw", SoundFormat::Alaw),
    ("al", SoundFormat::Alaw),
    ("alw", SoundFormat::Alaw),
    ("ulaw", SoundFormat::Ulaw),
    ("ul", SoundFormat::Ulaw),
    ("mu", SoundFormat::Ulaw),
    ("ulw", SoundFormat::Ulaw),
    ("pcm", SoundFormat::Ulaw),
    ("raw", SoundFormat::Linear(8000)),
    ("wav16", SoundFormat::Wav),
    ("sln16", SoundFormat::Linear(16_000)),
    ("sln12", SoundFormat::Linear(12_000)),
    ("sln24", SoundFormat::Linear(24_000)),
    ("sln32", SoundFormat::Linear(32_000)),
    ("sln44", SoundFormat::Linear(44_100)),
    ("sln48", SoundFormat::Linear(48_000)),
    ("sln96", SoundFormat::Linear(96_000)),
    ("sln192", SoundFormat::Linear(192_000)),
    ("g722", SoundFormat::G722),
    ("ogg", SoundFormat::Ogg),
    ("oga", SoundFormat::Ogg),
    ("opus", SoundFormat::Ogg),
    ("mp3", SoundFormat::Mp3),
    ("WAV", SoundFormat::Wav),
    ("wav49", SoundFormat::Wav),
    ("gsm", SoundFormat::Gsm),
];

impl SoundFormat {
    /// The kind of a file with this extension (without the dot, in any case).
    pub fn from_extension(extension: &str) -> Option<Self> {
        KNOWN
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(extension))
            .map(|(_, format)| *format)
    }

    /// Extensions to look for when a sound is named without one, best first. A `wide` listener (16000 Hz and more)
    /// prefers the wideband headerless kinds; what a WAV holds its name does not tell.
    pub fn extensions(wide: bool) -> impl Iterator<Item = (&'static str, Self)> {
        let is_wide = |format: &Self| {
            matches!(format, Self::G722) || matches!(format, Self::Linear(rate) if *rate > 8000)
        };
        let first = KNOWN
            .iter()
            .filter(move |(_, format)| wide && is_wide(format));
        let rest = KNOWN
            .iter()
            .filter(move |(_, format)| !(wide && is_wide(format)));
        first.chain(rest).copied()
    }
}
