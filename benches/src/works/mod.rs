//! The kinds of work a media thread is measured at beside plain relaying: what its legs are told, what the generator
//! says and hears, and what the codec or cipher in it costs alone.

mod alone;
mod legs;
mod talk;

pub use alone::{codec_in_rhythm_us, codec_us, crypto_us};
pub use legs::media_subject;
pub use talk::{Mixed, Protected, Transcoded};

use anyhow::{Result, bail};
use strowger_media::rtp::srtp::{MasterKey, SrtpKeys, Suite};

/// What the legs `2n` and `2n + 1` of a call, or all legs, do.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// G.711 from one leg of a call to the other.
    Relay,
    /// Rooms of so many legs, which all talk.
    Rooms(usize),
    /// One room of all legs, of which three talk.
    Lecture,
    /// G.711 from one leg of a call to the other, a tenth of the calls: what Opus is compared with.
    Few,
    /// G.711 to Opus and back, a tenth of the calls.
    Opus,
    /// Relay between two secured legs with different keys.
    Srtp(Suite),
    /// Relay, each call recorded into one file.
    Recorded,
}

impl Work {
    /// All that are measured, plain relaying first.
    pub const ALL: [Self; 8] = [
        Self::Relay,
        Self::Rooms(5),
        Self::Lecture,
        Self::Few,
        Self::Opus,
        Self::Srtp(Suite::AesCm128Sha1Tag80),
        Self::Srtp(Suite::AeadAes128Gcm),
        Self::Recorded,
    ];

    /// Its name in arguments and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Rooms(_) => "rooms-of-5",
            Self::Lecture => "one-room",
            Self::Few => "relay-few",
            Self::Opus => "opus",
            Self::Srtp(Suite::AeadAes128Gcm) => "srtp-gcm",
            Self::Srtp(_) => "srtp-cm",
            Self::Recorded => "recorded",
        }
    }

    /// The work of that name.
    pub fn from_name(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|work| work.name() == name) {
            Some(work) => Ok(work),
            None => {
                let names: Vec<_> = Self::ALL.iter().map(|work| work.name()).collect();
                bail!("unknown work {name}; there are {}", names.join(", "))
            }
        }
    }
}

/// The keys of a leg, known to both sides: what the exchange sends, and what it receives.
fn keys(suite: Suite, leg: usize) -> Result<SrtpKeys> {
    let key = |direction: u8| {
        let length = suite.key_len() + suite.salt_len();
        let bytes: Vec<u8> = (0..length)
            .map(|i| (leg as u8).wrapping_mul(17) ^ (i as u8).wrapping_mul(29) ^ direction)
            .collect();
        MasterKey::new(suite, &bytes)
    };
    Ok(SrtpKeys {
        send: key(0x5a)?,
        receive: key(0xa5)?,
    })
}
