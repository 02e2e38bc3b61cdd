//! Suites and master keys.

use std::fmt;

/// Longest master key with its salt: AES-256 in counter mode, 32 and 14 bytes.
pub(super) const MASTER_MAX: usize = 46;
/// Longest master key identifier that is read.
pub(super) const MKI_MAX: usize = 16;
/// Packets that one key may protect (RFC 3711 §9.2), RTP and RTCP.
pub(super) const RTP_LIFETIME: u64 = 1 << 48;
pub(super) const RTCP_LIFETIME: u64 = 1 << 31;

/// A cipher with its authentication.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80` (RFC 3711, RFC 4568 §6.2.1)
    AesCm128Sha1Tag80,
    /// `AES_CM_128_HMAC_SHA1_32`: as above with short tags in RTP; those of RTCP are 80 bits (RFC 4568 §6.2.2).
    AesCm128Sha1Tag32,
    /// `AES_256_CM_HMAC_SHA1_80` (RFC 6188)
    AesCm256Sha1Tag80,
    /// `AES_256_CM_HMAC_SHA1_32` (RFC 6188)
    AesCm256Sha1Tag32,
    /// `AEAD_AES_128_GCM` (RFC 7714)
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM` (RFC 7714)
    AeadAes256Gcm,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 6] = [
        Self::AesCm128Sha1Tag80,
        Self::AesCm128Sha1Tag32,
        Self::AesCm256Sha1Tag80,
        Self::AesCm256Sha1Tag32,
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
    ];

    /// Bytes of the master key, without the salt; session keys are as long.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128Sha1Tag80 | Self::AesCm128Sha1Tag32 | Self::AeadAes128Gcm => 16,
            Self::AesCm256Sha1Tag80 | Self::AesCm256Sha1Tag32 | Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    /// Bytes of the authentication tag of an RTP packet.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::AesCm128Sha1Tag80 | Self::AesCm256Sha1Tag80 => 10,
            Self::AesCm128Sha1Tag32 | Self::AesCm256Sha1Tag32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes of the authentication tag of an RTCP packet.
    pub const fn control_tag_len(self) -> usize {
        if self.is_aead() { 16 } else { 10 }
    }

    pub(super) const fn is_aead(self) -> bool {
        matches!(self, Self::AeadAes128Gcm | Self::AeadAes256Gcm)
    }
}

/// Why a master key cannot be used.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    #[error("a key and salt of {given} bytes, the suite needs {needed}")]
    Length { given: usize, needed: usize },
    #[error("a master key identifier of {0} bytes, 1 to {MKI_MAX} are possible")]
    Identifier(usize),
}

/// A master key with its salt, and what was agreed about its use. Wiped when dropped; its bytes never appear in a log.
#[derive(Clone, Eq, PartialEq)]
pub struct MasterKey {
    suite: Suite,
    bytes: [u8; MASTER_MAX],
    mki: [u8; MKI_MAX],
    mki_len: u8,
    lifetime: u64,
}

impl MasterKey {
    /// From key and salt, one after the other as SDES writes them.
    ///
    /// # Errors
    /// Their length is not that of the suite.
    pub fn new(suite: Suite, key_and_salt: &[u8]) -> Result<Self, KeyError> {
        let needed = suite.key_len() + suite.salt_len();
        if key_and_salt.len() != needed {
            return Err(KeyError::Length {
                given: key_and_salt.len(),
                needed,
            });
        }
        let mut bytes = [0; MASTER_MAX];
        bytes[..needed].copy_from_slice(key_and_salt);
        Ok(Self {
            suite,
            bytes,
            mki: [0; MKI_MAX],
            mki_len: 0,
            lifetime: RTP_LIFETIME,
        })
    }

    /// Each packet names its key (RFC 3711 §3.1).
    ///
    /// # Errors
    /// The identifier is empty or longer than 16 bytes.
    pub fn with_identifier(mut self, mki: &[u8]) -> Result<Self, KeyError> {
        match self.mki.get_mut(..mki.len()) {
            Some(place) if !mki.is_empty() => place.copy_from_slice(mki),
            _ => return Err(KeyError::Identifier(mki.len())),
        }
        self.mki_len = mki.len() as u8;
        Ok(self)
    }

    /// The key may protect so many packets; never more than RFC 3711 §9.2 allows (2^48 of RTP, 2^31 of RTCP).
    #[must_use]
    pub fn with_lifetime(mut self, packets: u64) -> Self {
        self.lifetime = packets.clamp(1, RTP_LIFETIME);
        self
    }

    /// The suite it belongs to.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..self.suite.key_len()]
    }

    /// The salt, with zeros behind it to the 14 bytes of the derivation (RFC 7714 §11 keeps RFC 3711's).
    pub(super) fn salt(&self) -> [u8; 14] {
        let start = self.suite.key_len();
        std::array::from_fn(|i| match i < self.suite.salt_len() {
            true => self.bytes[start + i],
            false => 0,
        })
    }

    pub(super) fn identifier(&self) -> &[u8] {
        &self.mki[..usize::from(self.mki_len)]
    }

    /// RTP and RTCP packets it may protect.
    pub(super) fn lifetimes(&self) -> (u64, u64) {
        (self.lifetime, self.lifetime.min(RTCP_LIFETIME))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        wipe(&mut self.bytes);
    }
}

/// Overwrites a secret; the optimiser may not leave it out.
pub(super) fn wipe(secret: &mut [u8]) {
    secret.fill(0);
    std::hint::black_box(secret);
}

/// The keys of a leg: each direction has its own (RFC 4568 §6.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SrtpKeys {
    /// What we send is protected with.
    pub send: MasterKey,
    /// What the remote sends is protected with.
    pub receive: MasterKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_wrong_length_are_refused_and_none_shows_its_bytes() {
        for suite in Suite::ALL {
            let needed = suite.key_len() + suite.salt_len();
            let secret = [0xAB; 64];
            let key = MasterKey::new(suite, &secret[..needed]).expect("the right length");
            let shown = format!("{key:?}");
            assert!(!shown.contains("171") && !shown.contains("ab"), "{shown}");
            for given in [0, needed - 1, needed + 1] {
                let error = MasterKey::new(suite, &secret[..given]).expect_err("a wrong length");
                assert_eq!(error, KeyError::Length { given, needed });
            }
            assert_eq!(
                key.clone().with_identifier(&[]),
                Err(KeyError::Identifier(0))
            );
            assert_eq!(key.with_identifier(&[1; 17]), Err(KeyError::Identifier(17)));
        }
    }
}
