//! Which keys protect the stream (RFC 4568 §5, RFC 8643 where encryption is optional).

use std::fmt;

use super::OfferAnswerError;
use crate::sdp::{Attribute, CryptoAttribute, CryptoKey, CryptoSuite, Media};

/// `a=crypto` lines of one stream that are looked at.
const LINES_MAX: usize = 16;

/// What we want of media encryption.
#[derive(Copy, Clone, Debug, Default)]
pub enum Security {
    /// Plain RTP; a stream that must be encrypted is refused.
    #[default]
    Plain,
    /// Keys in the description.
    Sdes(Sdes),
}

/// How keys in the description are used.
#[derive(Copy, Clone)]
pub struct Sdes {
    /// A stream without usable keys is refused, and ours is offered as `RTP/SAVP`. Otherwise it is offered as `RTP/AVP` with
    /// keys, and is plain where the other side has none (RFC 8643).
    pub required: bool,
    /// Prefer the suites with tags of 32 bits.
    pub short_tags: bool,
    /// Fills with unguessable bytes; false when it cannot.
    pub random: fn(&mut [u8]) -> bool,
}

impl fmt::Debug for Sdes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sdes")
            .field("required", &self.required)
            .field("short_tags", &self.short_tags)
            .finish_non_exhaustive()
    }
}

/// The keys that offer and answer settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedCrypto {
    /// What we protect our packets with.
    pub ours: CryptoAttribute,
    /// What the remote protects its packets with; the suite is the same.
    pub remote: CryptoAttribute,
}

impl Sdes {
    /// What we offer, most wanted first. The suite that everybody has stands first, because some telephones look at no
    /// other line.
    fn offered(&self) -> &'static [CryptoSuite] {
        use CryptoSuite::{
            AeadAes128Gcm, AeadAes256Gcm, AesCm128Sha1Tag32, AesCm128Sha1Tag80, AesCm256Sha1Tag80,
        };
        if self.short_tags {
            &[
                AesCm128Sha1Tag32,
                AesCm128Sha1Tag80,
                AeadAes256Gcm,
                AeadAes128Gcm,
                AesCm256Sha1Tag80,
            ]
        } else {
            &[
                AesCm128Sha1Tag80,
                AeadAes256Gcm,
                AeadAes128Gcm,
                AesCm256Sha1Tag80,
            ]
        }
    }

    /// Which of an offer's suites we take: small ranks before large. Without a wish for short tags the strongest.
    fn rank(&self, suite: CryptoSuite) -> usize {
        use CryptoSuite::{
            AeadAes128Gcm, AeadAes256Gcm, AesCm128Sha1Tag32, AesCm128Sha1Tag80, AesCm256Sha1Tag32,
            AesCm256Sha1Tag80,
        };
        let order = [
            AeadAes256Gcm,
            AeadAes128Gcm,
            AesCm256Sha1Tag80,
            AesCm128Sha1Tag80,
            AesCm256Sha1Tag32,
            AesCm128Sha1Tag32,
        ];
        let place = order.iter().position(|known| *known == suite);
        let last = !self.short_tags || suite.has_short_tag();
        place.unwrap_or(order.len()) + if last { 0 } else { order.len() }
    }

    fn new_line(&self, tag: u32, suite: CryptoSuite) -> Result<CryptoAttribute, OfferAnswerError> {
        let key = CryptoKey::generate(suite, self.random).ok_or(OfferAnswerError::NoRandomness)?;
        Ok(CryptoAttribute {
            tag,
            suite,
            key,
            lifetime: None,
            mki: Vec::new(),
        })
    }
}

impl Security {
    /// The profile of our first offer.
    pub(super) fn profile(&self) -> &'static str {
        match self {
            Self::Sdes(sdes) if sdes.required => "RTP/SAVP",
            _ => "RTP/AVP",
        }
    }

    /// Writes the keys of an offer: those in force, so that nothing changes (RFC 4568 §7.1.4), or new ones for each suite.
    /// A stream that was settled without keys stays plain.
    pub(super) fn write_offer(
        &self,
        audio: &mut Media,
        in_force: Option<&AgreedCrypto>,
        settled: bool,
    ) -> Result<(), OfferAnswerError> {
        let Self::Sdes(sdes) = self else {
            return Ok(());
        };
        if let Some(agreed) = in_force {
            let line = CryptoAttribute {
                tag: 1,
                ..agreed.ours.clone()
            };
            audio.attributes.push(Attribute::new("crypto", line));
        } else if sdes.required || !settled {
            for (tag, suite) in (1..).zip(sdes.offered()) {
                let line = sdes.new_line(tag, *suite)?;
                audio.attributes.push(Attribute::new("crypto", line));
            }
        }
        Ok(())
    }

    /// What of an offered stream's keys we take. `None`: the stream is plain. Where the offer is as it was, our key stays;
    /// where it changes, so does ours.
    pub(super) fn answer(
        &self,
        offered: &Media,
        in_force: Option<&AgreedCrypto>,
    ) -> Result<Option<AgreedCrypto>, OfferAnswerError> {
        let secure = is_secure(offered);
        let sdes = match self {
            Self::Sdes(sdes) => sdes,
            Self::Plain if secure => {
                return Err(OfferAnswerError::Encryption(
                    "the other side wants encrypted media, which its endpoint does not allow"
                        .to_owned(),
                ));
            }
            Self::Plain => return Ok(None),
        };
        let (lines, problem) = usable(offered);
        let Some(remote) = lines.into_iter().min_by_key(|line| sdes.rank(line.suite)) else {
            if secure || sdes.required {
                return Err(missing(problem));
            }
            return Ok(None);
        };
        let same = |agreed: &&AgreedCrypto| {
            agreed.remote.suite == remote.suite && agreed.remote.key == remote.key
        };
        let ours = match in_force.filter(same) {
            Some(agreed) => CryptoAttribute {
                tag: remote.tag,
                ..agreed.ours.clone()
            },
            None => sdes.new_line(remote.tag, remote.suite)?,
        };
        Ok(Some(AgreedCrypto { ours, remote }))
    }

    /// What the answer took of our offer's keys. `None`: the stream is plain.
    pub(super) fn apply(
        &self,
        offered: &Media,
        answered: &Media,
    ) -> Result<Option<AgreedCrypto>, OfferAnswerError> {
        let (ours, _) = usable(offered);
        let (theirs, problem) = usable(answered);
        let Self::Sdes(sdes) = self else {
            return if is_secure(answered) {
                Err(missing(problem))
            } else {
                Ok(None)
            };
        };
        let chosen = theirs.into_iter().find_map(|remote| {
            let same =
                |line: &&CryptoAttribute| (line.tag, line.suite) == (remote.tag, remote.suite);
            let ours = ours.iter().find(same)?.clone();
            Some(AgreedCrypto { ours, remote })
        });
        if chosen.is_none() && (sdes.required || is_secure(answered) || has_crypto(answered)) {
            return Err(missing(problem));
        }
        Ok(chosen)
    }
}

fn missing(problem: Option<String>) -> OfferAnswerError {
    OfferAnswerError::Encryption(match problem {
        Some(problem) => format!("no usable key for encrypted media: {problem}"),
        None => "encrypted media is required, and there is no key (a=crypto) for it".to_owned(),
    })
}

/// Is this one of the profiles that must be encrypted (RFC 3711 §12, RFC 5124)?
pub(super) fn is_secure(media: &Media) -> bool {
    ["RTP/SAVP", "RTP/SAVPF"]
        .iter()
        .any(|profile| media.proto.eq_ignore_ascii_case(profile))
}

fn has_crypto(media: &Media) -> bool {
    media.attribute("crypto").is_some()
}

/// The keys of a stream that we can use, and why the first of the others is none.
fn usable(media: &Media) -> (Vec<CryptoAttribute>, Option<String>) {
    let mut problem = None;
    let lines = media
        .values("crypto")
        .take(LINES_MAX)
        .filter_map(|value| match CryptoAttribute::parse(value) {
            Ok(line) => Some(line),
            Err(error) => {
                problem.get_or_insert_with(|| error.to_string());
                None
            }
        })
        .collect();
    (lines, problem)
}
