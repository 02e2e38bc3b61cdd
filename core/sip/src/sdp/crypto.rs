//! `a=crypto` (RFC 4568): a cipher suite and its master key, for media protected by SRTP.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Keys are read with or without padding, and written with it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The longest `a=crypto` that is read, in bytes.
pub const CRYPTO_LENGTH_MAX: usize = 512;
/// Longest master key with its salt.
const KEY_MAX: usize = 46;
/// A key that lasts less than ten hours of packets every 20 ms would end in mid-call; nobody renews it.
const LIFETIME_MIN: u64 = 10 * 3600 * 50;
/// RFC 3711 §9.2
const LIFETIME_MAX: u64 = 1 << 48;
/// Longest key identifier that is read; RFC 4568 allows 128.
const MKI_MAX: usize = 16;

/// A cipher with its authentication, under its registered name.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum CryptoSuite {
    /// `AES_CM_128_HMAC_SHA1_80`
    AesCm128Sha1Tag80,
    /// `AES_CM_128_HMAC_SHA1_32`
    AesCm128Sha1Tag32,
    /// `AES_256_CM_HMAC_SHA1_80`
    AesCm256Sha1Tag80,
    /// `AES_256_CM_HMAC_SHA1_32`
    AesCm256Sha1Tag32,
    /// `AEAD_AES_128_GCM`
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`
    AeadAes256Gcm,
}

impl CryptoSuite {
    /// Every suite.
    pub const ALL: [Self; 6] = [
        Self::AesCm128Sha1Tag80,
        Self::AesCm128Sha1Tag32,
        Self::AesCm256Sha1Tag80,
        Self::AesCm256Sha1Tag32,
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
    ];

    /// As registered (RFC 4568 §6.2, RFC 6188 §4, RFC 7714 §14.2).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128Sha1Tag80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128Sha1Tag32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AesCm256Sha1Tag80 => "AES_256_CM_HMAC_SHA1_80",
            Self::AesCm256Sha1Tag32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of a name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of the master key and its salt together.
    #[must_use]
    pub const fn key_and_salt_len(self) -> usize {
        match self {
            Self::AesCm128Sha1Tag80 | Self::AesCm128Sha1Tag32 => 16 + 14,
            Self::AesCm256Sha1Tag80 | Self::AesCm256Sha1Tag32 => 32 + 14,
            Self::AeadAes128Gcm => 16 + 12,
            Self::AeadAes256Gcm => 32 + 12,
        }
    }

    /// Has it the short tags that `srtp_tag_32` asks for?
    #[must_use]
    pub const fn has_short_tag(self) -> bool {
        matches!(self, Self::AesCm128Sha1Tag32 | Self::AesCm256Sha1Tag32)
    }
}

/// A master key with its salt. Wiped when dropped; never shown in a log.
#[derive(Clone, Eq, PartialEq)]
pub struct CryptoKey {
    bytes: [u8; KEY_MAX],
    len: u8,
}

impl CryptoKey {
    /// The key and salt of a suite that `fill` makes up; `None` when it cannot.
    pub fn generate(suite: CryptoSuite, fill: impl FnOnce(&mut [u8]) -> bool) -> Option<Self> {
        let len = suite.key_and_salt_len();
        let mut key = Self {
            bytes: [0; KEY_MAX],
            len: len as u8,
        };
        fill(&mut key.bytes[..len]).then_some(key)
    }

    /// Key and salt, one after the other.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for CryptoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CryptoKey(..)")
    }
}

impl Drop for CryptoKey {
    fn drop(&mut self) {
        self.bytes.fill(0);
        // So that the line above is not left out.
        std::hint::black_box(&mut self.bytes);
    }
}

/// Why an `a=crypto` cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CryptoError {
    /// Not as RFC 4568 §9.1 says.
    #[error("a=crypto: {0}")]
    Syntax(&'static str),
    /// A suite that is not spoken here.
    #[error("suite {0} is not known")]
    Suite(String),
    /// Several keys, or a session parameter that changes the protection.
    #[error("{0} is not supported")]
    Unsupported(String),
}

/// One `a=crypto`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CryptoAttribute {
    /// Names it within its offer; the answer repeats the tag of what it chose.
    pub tag: u32,
    /// The suite.
    pub suite: CryptoSuite,
    /// What its writer protects its packets with.
    pub key: CryptoKey,
    /// Packets that the key is good for, where limited.
    pub lifetime: Option<u64>,
    /// The key's identifier that stands in every packet; empty for none.
    pub mki: Vec<u8>,
}

impl CryptoAttribute {
    /// Reads the value of an `a=crypto`.
    ///
    /// # Errors
    /// [`CryptoError`]: it is no such attribute, or one that we cannot use. RFC 4568 §6.1, §6.3: what is not understood
    /// must not be used, the next line may be.
    pub fn parse(value: &str) -> Result<Self, CryptoError> {
        if value.len() > CRYPTO_LENGTH_MAX {
            return Err(CryptoError::Syntax("too long"));
        }
        let mut words = value.split_ascii_whitespace();
        let tag = words
            .next()
            .filter(|tag| tag.len() <= 9 && tag.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|tag| tag.parse().ok())
            .ok_or(CryptoError::Syntax(
                "the tag is a number of up to nine digits",
            ))?;
        let name = words.next().ok_or(CryptoError::Syntax("no suite"))?;
        let suite = CryptoSuite::parse(name).ok_or_else(|| CryptoError::Suite(shortened(name)))?;
        let keys = words.next().ok_or(CryptoError::Syntax("no key"))?;
        for parameter in words {
            // A hint about the replay window takes nothing from us; what begins with a minus may be ignored (§6.3.7).
            if !parameter.starts_with("WSH=") && !parameter.starts_with('-') {
                return Err(CryptoError::Unsupported(shortened(parameter)));
            }
        }
        if keys.contains(';') {
            return Err(CryptoError::Unsupported("more than one key".to_owned()));
        }
        let inline = keys
            .get(..7)
            .filter(|method| method.eq_ignore_ascii_case("inline:"))
            .and_then(|_| keys.get(7..))
            .ok_or(CryptoError::Syntax("the key is not inline"))?;
        let mut parts = inline.split('|');
        let key = decode_key(suite, parts.next().unwrap_or_default())?;
        let (mut lifetime, mut mki) = (None, Vec::new());
        for part in parts {
            match part.split_once(':') {
                Some((value, length)) if mki.is_empty() => mki = identifier(value, length)?,
                None if lifetime.is_none() && mki.is_empty() => lifetime = Some(packets(part)?),
                _ => return Err(CryptoError::Syntax("too many parts behind the key")),
            }
        }
        Ok(Self {
            tag,
            suite,
            key,
            lifetime,
            mki,
        })
    }
}

impl fmt::Display for CryptoAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode(self.key.as_bytes());
        write!(f, "{} {} inline:{key}", self.tag, self.suite.name())?;
        if let Some(packets) = self.lifetime {
            write!(f, "|{packets}")?;
        }
        if !self.mki.is_empty() {
            let value = self
                .mki
                .iter()
                .fold(0u128, |value, byte| value << 8 | u128::from(*byte));
            write!(f, "|{value}:{}", self.mki.len())?;
        }
        Ok(())
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

fn decode_key(suite: CryptoSuite, text: &str) -> Result<CryptoKey, CryptoError> {
    let mut bytes = [0; 3 * (CRYPTO_LENGTH_MAX / 4 + 1)];
    let len = BASE64
        .decode_slice(text, &mut bytes)
        .map_err(|_| CryptoError::Syntax("the key is not base64"))?;
    let decoded = bytes.get(..len).unwrap_or_default();
    if len != suite.key_and_salt_len() {
        return Err(CryptoError::Syntax(
            "the key has not the length of its suite",
        ));
    }
    let key = CryptoKey::generate(suite, |place| {
        place.copy_from_slice(decoded);
        true
    });
    key.ok_or(CryptoError::Syntax("no key"))
}

/// `2^20` or a number of packets.
fn packets(text: &str) -> Result<u64, CryptoError> {
    let number = match text.split_once('^') {
        Some(("2", power)) => power.parse().ok().and_then(|p| 1u64.checked_shl(p)),
        Some(_) => None,
        None => text.parse().ok(),
    };
    match number {
        Some(LIFETIME_MIN..=LIFETIME_MAX) => Ok(number.unwrap_or(LIFETIME_MAX)),
        Some(short) if short < LIFETIME_MIN => Err(CryptoError::Unsupported(format!(
            "a key for {short} packets (less than ten hours)"
        ))),
        _ => Err(CryptoError::Syntax("the key's lifetime is at most 2^48")),
    }
}

/// A number in so many bytes, big end first.
fn identifier(value: &str, length: &str) -> Result<Vec<u8>, CryptoError> {
    let wrong = CryptoError::Syntax("the key's identifier is no number of 1 to 128 bytes");
    let value: u128 = value.parse().map_err(|_| wrong.clone())?;
    let length: usize = length.parse().map_err(|_| wrong.clone())?;
    if length == 0 || length > 128 {
        return Err(wrong);
    }
    if length > MKI_MAX {
        return Err(CryptoError::Unsupported(format!(
            "a key identifier of {length} bytes"
        )));
    }
    let bytes = value.to_be_bytes();
    let (unused, used) = bytes.split_at(bytes.len() - length);
    if unused.iter().any(|byte| *byte != 0) {
        return Err(wrong);
    }
    Ok(used.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    #[test]
    fn the_examples_of_rfc_4568_are_read_and_written_back() {
        for (value, lifetime, mki) in [
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
                None,
                &[][..],
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1048576000|1:4"),
                Some(1_048_576_000),
                &[0, 0, 0, 1],
            ),
            (
                format!("2 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|7:1"),
                None,
                &[7],
            ),
        ] {
            let crypto = CryptoAttribute::parse(&value).expect("readable");
            assert_eq!((crypto.lifetime, crypto.mki.as_slice()), (lifetime, mki));
            assert_eq!(crypto.key.as_bytes().len(), 30);
            assert_eq!(crypto.to_string(), value);
            assert!(!format!("{crypto:?}").contains("WVNf"));
        }
        let crypto = CryptoAttribute::parse(&format!(
            "3  aes_cm_128_hmac_sha1_80\tINLINE:{KEY}|2^31 WSH=64 -X=1"
        ));
        assert_eq!(crypto.expect("readable").lifetime, Some(1 << 31));
    }

    #[test]
    fn padding_may_be_missing() {
        let unpadded = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw";
        for text in [unpadded.to_owned(), format!("{unpadded}==")] {
            let value = format!("1 AEAD_AES_128_GCM inline:{text}");
            let crypto = CryptoAttribute::parse(&value).expect("readable");
            assert_eq!(crypto.key.as_bytes(), (0..28).collect::<Vec<u8>>());
            assert!(crypto.to_string().ends_with("=="));
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_reason() {
        for (value, reason) in [
            (
                format!("1 AES_192_CM_HMAC_SHA1_80 inline:{KEY}"),
                "AES_192_CM",
            ),
            (format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), "tag"),
            (
                format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
                "tag",
            ),
            (format!("1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}"), "length"),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20"),
                "ten hours",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^49"),
                "2^48",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^99"),
                "2^48",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:0"),
                "identifier",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|256:1"),
                "identifier",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:17"),
                "17 bytes",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4|2^31"),
                "too many",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY};inline:{KEY}"),
                "more than one",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"),
                "UNENCRYPTED_SRTP",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=1"),
                "KDR=1",
            ),
            ("1 AES_CM_128_HMAC_SHA1_80 inline:###".to_owned(), "base64"),
            ("1 AES_CM_128_HMAC_SHA1_80 uri:x".to_owned(), "inline"),
            ("1 AES_CM_128_HMAC_SHA1_80".to_owned(), "no key"),
            ("1".to_owned(), "no suite"),
            (String::new(), "tag"),
            ("1".repeat(600), "too long"),
        ] {
            let error = CryptoAttribute::parse(&value).expect_err(&value);
            assert!(error.to_string().contains(reason), "{value}: {error}");
        }
    }
}
