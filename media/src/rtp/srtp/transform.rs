//! Ciphers and tags: one session key applied to one packet of a known index.

use aes::cipher::KeyInit;
use aes::{Aes128Enc, Aes256Enc};
use aes_gcm::AesGcm;
use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::U12;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::derive::{AUTHENTICATION, CONTROL, ENCRYPTION, SALT, counter_mode, derive};
use super::keys::{MASTER_MAX, MasterKey, wipe};
use super::{CONTROL_HEADER, Refused};

/// Bytes of a tag of GCM.
const AEAD_TAG: usize = 16;
/// Set in the index word of an encrypted RTCP packet (RFC 3711 §3.4).
const ENCRYPTED: u32 = 1 << 31;
/// Longest RTCP packet that is authenticated without being encrypted under GCM, where it has to be copied.
const CLEAR_CONTROL_MAX: usize = 1500;

/// An expanded session key.
enum Cipher {
    Counter128(Aes128Enc),
    Counter256(Aes256Enc),
    Gcm128(AesGcm<Aes128Enc, U12>),
    Gcm256(AesGcm<Aes256Enc, U12>),
}

/// Everything that protects packets of one kind (RTP or RTCP) in one direction.
pub(super) struct Transform {
    cipher: Cipher,
    /// The state of HMAC after its key; copied for each packet. Unused under GCM.
    hmac: Hmac<Sha1>,
    salt: [u8; 14],
    tag_len: usize,
}

impl Transform {
    pub(super) fn rtp(master: &MasterKey) -> Self {
        Self::new(master, 0, master.suite().tag_len())
    }

    pub(super) fn rtcp(master: &MasterKey) -> Self {
        Self::new(master, CONTROL, master.suite().control_tag_len())
    }

    fn new(master: &MasterKey, kind: u8, tag_len: usize) -> Self {
        let suite = master.suite();
        let mut key = [0; MASTER_MAX];
        let mut authentication = [0; 20];
        let mut salt = [0; 14];
        let encryption = &mut key[..suite.key_len()];
        derive(master, ENCRYPTION + kind, encryption);
        derive(master, AUTHENTICATION + kind, &mut authentication);
        derive(master, SALT + kind, &mut salt[..suite.salt_len()]);
        let transform =
            Self::of_session_keys(encryption, &authentication, salt, suite.is_aead(), tag_len);
        wipe(&mut key);
        wipe(&mut authentication);
        transform
    }

    /// From session keys; `key` is 16 or 32 bytes long.
    pub(super) fn of_session_keys(
        key: &[u8],
        authentication: &[u8; 20],
        salt: [u8; 14],
        aead: bool,
        tag_len: usize,
    ) -> Self {
        let cipher = match (aead, <[u8; 16]>::try_from(key), <[u8; 32]>::try_from(key)) {
            (false, Ok(key), _) => Cipher::Counter128(Aes128Enc::new(&key.into())),
            (false, _, Ok(key)) => Cipher::Counter256(Aes256Enc::new(&key.into())),
            (true, Ok(key), _) => Cipher::Gcm128(AesGcm::new(&key.into())),
            (true, _, Ok(key)) => Cipher::Gcm256(AesGcm::new(&key.into())),
            _ => unreachable!("a suite's key has the length of an AES key"),
        };
        // An HMAC takes a key of any length up to its block as it is.
        let hmac = <Hmac<Sha1> as KeyInit>::new_from_slice(authentication)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"));
        Self {
            cipher,
            hmac,
            salt,
            tag_len,
        }
    }

    fn is_aead(&self) -> bool {
        matches!(self.cipher, Cipher::Gcm128(_) | Cipher::Gcm256(_))
    }

    /// The initial counter (RFC 3711 §4.1.1) or nonce (RFC 7714 §8.1, §9.1, in the first 12 bytes) of a packet. `index`
    /// has 48 bits.
    #[inline]
    fn nonce(&self, ssrc: u32, index: u64) -> [u8; 16] {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        let shift = if self.is_aead() { 2 } else { 4 };
        let unique = (u128::from(ssrc) << 48) | u128::from(index & 0xFFFF_FFFF_FFFF);
        for (byte, mixed) in iv[shift..].iter_mut().zip(&unique.to_be_bytes()[6..]) {
            *byte ^= mixed;
        }
        iv
    }

    /// Encrypts or decrypts in counter mode.
    #[inline]
    fn stream(&self, iv: &[u8; 16], data: &mut [u8]) {
        match &self.cipher {
            Cipher::Counter128(cipher) => counter_mode(cipher, iv, data),
            Cipher::Counter256(cipher) => counter_mode(cipher, iv, data),
            Cipher::Gcm128(_) | Cipher::Gcm256(_) => {}
        }
    }

    fn seal(
        &self,
        iv: &[u8; 16],
        header: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; AEAD_TAG], Refused> {
        let nonce = iv.first_chunk::<12>().ok_or(Refused::NotSent)?.into();
        let tag = match &self.cipher {
            Cipher::Gcm128(gcm) => gcm.encrypt_inout_detached(nonce, header, data.into()),
            Cipher::Gcm256(gcm) => gcm.encrypt_inout_detached(nonce, header, data.into()),
            Cipher::Counter128(_) | Cipher::Counter256(_) => return Err(Refused::NotSent),
        };
        tag.map(Into::into).map_err(|_| Refused::NotSent)
    }

    /// Decrypts if the tag is right; otherwise nothing is changed.
    fn open(
        &self,
        iv: &[u8; 16],
        header: &[u8],
        data: &mut [u8],
        tag: &[u8],
    ) -> Result<(), Refused> {
        let nonce = iv.first_chunk::<12>().ok_or(Refused::Auth)?.into();
        let tag = tag.first_chunk::<AEAD_TAG>().ok_or(Refused::Auth)?.into();
        let opened = match &self.cipher {
            Cipher::Gcm128(gcm) => gcm.decrypt_inout_detached(nonce, header, data.into(), tag),
            Cipher::Gcm256(gcm) => gcm.decrypt_inout_detached(nonce, header, data.into(), tag),
            Cipher::Counter128(_) | Cipher::Counter256(_) => return Err(Refused::Auth),
        };
        opened.map_err(|_| Refused::Auth)
    }

    /// HMAC-SHA1 over the packet and a word behind it (RFC 3711 §4.2).
    #[inline]
    fn hmac(&self, packet: &[u8], word: u32) -> [u8; 20] {
        let mut hmac = self.hmac.clone();
        hmac.update(packet);
        hmac.update(&word.to_be_bytes());
        hmac.finalize().into_bytes().into()
    }

    fn hmac_is(&self, packet: &[u8], word: u32, tag: &[u8]) -> bool {
        let expected = self.hmac(packet, word);
        expected[..self.tag_len].ct_eq(tag).into()
    }

    /// Protects `buffer[..end]`, whose payload begins at `payload`, and says where the packet ends then. There must be
    /// room behind it.
    #[inline]
    pub(super) fn protect(
        &self,
        buffer: &mut [u8],
        payload: usize,
        end: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, Refused> {
        let (packet, room) = buffer.split_at_mut_checked(end).ok_or(Refused::NotSent)?;
        let room = room.get_mut(..self.tag_len).ok_or(Refused::NotSent)?;
        let (header, body) = packet
            .split_at_mut_checked(payload)
            .ok_or(Refused::NotSent)?;
        let iv = self.nonce(ssrc, index);
        if self.is_aead() {
            room.copy_from_slice(&self.seal(&iv, header, body)?);
        } else {
            self.stream(&iv, body);
            let tag = self.hmac(packet, (index >> 16) as u32);
            room.copy_from_slice(&tag[..self.tag_len]);
        }
        Ok(end + self.tag_len)
    }

    /// Checks a packet and makes it plain, and says how long it is then. `mki` stands in every packet.
    #[inline]
    pub(super) fn unprotect(
        &self,
        packet: &mut [u8],
        payload: usize,
        ssrc: u32,
        index: u64,
        mki: &[u8],
    ) -> Result<usize, Refused> {
        let trailer = self.tag_len + mki.len();
        let end = packet
            .len()
            .checked_sub(trailer)
            .ok_or(Refused::Unprotected)?;
        if end < payload {
            return Err(Refused::Unprotected);
        }
        let (plain, trailer) = packet
            .split_at_mut_checked(end)
            .ok_or(Refused::Unprotected)?;
        let iv = self.nonce(ssrc, index);
        if self.is_aead() {
            let (tag, named) = trailer.split_at(self.tag_len);
            if named != mki {
                return Err(Refused::Auth);
            }
            let (header, body) = plain.split_at_mut(payload);
            self.open(&iv, header, body, tag)?;
        } else {
            let (named, tag) = trailer.split_at(mki.len());
            if named != mki || !self.hmac_is(plain, (index >> 16) as u32, tag) {
                return Err(Refused::Auth);
            }
            self.stream(&iv, &mut plain[payload..]);
        }
        Ok(end)
    }

    /// Protects the RTCP packet `buffer[..end]` (RFC 3711 §3.4, RFC 7714 §9) and says where it ends then. `index` has 31
    /// bits.
    pub(super) fn protect_control(
        &self,
        buffer: &mut [u8],
        end: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, Refused> {
        let (packet, room) = buffer.split_at_mut_checked(end).ok_or(Refused::NotSent)?;
        let room = room.get_mut(..self.tag_len + 4).ok_or(Refused::NotSent)?;
        let iv = self.nonce(ssrc, u64::from(index));
        let word = index | ENCRYPTED;
        let (header, body) = packet
            .split_at_mut_checked(CONTROL_HEADER)
            .ok_or(Refused::NotSent)?;
        if self.is_aead() {
            let tag = self.seal(&iv, &control_header(header, word)?, body)?;
            room[..AEAD_TAG].copy_from_slice(&tag);
            room[AEAD_TAG..].copy_from_slice(&word.to_be_bytes());
        } else {
            self.stream(&iv, body);
            let tag = self.hmac(packet, word);
            room[..4].copy_from_slice(&word.to_be_bytes());
            room[4..].copy_from_slice(&tag[..self.tag_len]);
        }
        Ok(end + self.tag_len + 4)
    }

    /// The index of a protected RTCP packet and its flag; not authentic yet.
    pub(super) fn control_index(&self, packet: &[u8], mki: usize) -> Option<u32> {
        let behind = if self.is_aead() {
            mki
        } else {
            mki + self.tag_len
        };
        let at = packet.len().checked_sub(behind + 4)?;
        Some(u32::from_be_bytes(*packet.get(at..)?.first_chunk()?))
    }

    /// Checks an RTCP packet and makes it plain, and says how long it is then. `word` is what [`Self::control_index`]
    /// read from it.
    pub(super) fn unprotect_control(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        word: u32,
        mki: &[u8],
    ) -> Result<usize, Refused> {
        let end = packet
            .len()
            .checked_sub(self.tag_len + 4 + mki.len())
            .filter(|end| *end >= CONTROL_HEADER)
            .ok_or(Refused::Unprotected)?;
        let encrypted = word & ENCRYPTED != 0;
        let iv = self.nonce(ssrc, u64::from(word & !ENCRYPTED));
        let (plain, trailer) = packet.split_at_mut(end);
        if self.is_aead() {
            let (tag, rest) = trailer.split_at(AEAD_TAG);
            if rest.get(4..) != Some(mki) {
                return Err(Refused::Auth);
            }
            let (header, body) = plain.split_at_mut(CONTROL_HEADER);
            if encrypted {
                self.open(&iv, &control_header(header, word)?, body, tag)?;
            } else {
                // §9.3: the whole packet is associated data, with the index behind it, where now the tag stands.
                let mut clear = [0; CLEAR_CONTROL_MAX + 4];
                let whole = clear.get_mut(..end + 4).ok_or(Refused::Auth)?;
                whole[..end].copy_from_slice(plain);
                whole[end..].copy_from_slice(&word.to_be_bytes());
                self.open(&iv, whole, &mut [], tag)?;
            }
        } else {
            let (named, tag) = trailer[4..].split_at(mki.len());
            if named != mki || !self.hmac_is(plain, word, tag) {
                return Err(Refused::Auth);
            }
            if encrypted {
                self.stream(&iv, &mut plain[CONTROL_HEADER..]);
            }
        }
        Ok(end)
    }
}

/// What GCM authenticates of an encrypted RTCP packet (RFC 7714 §9.2): its first header and the index.
fn control_header(header: &[u8], word: u32) -> Result<[u8; CONTROL_HEADER + 4], Refused> {
    let header = header
        .first_chunk::<CONTROL_HEADER>()
        .ok_or(Refused::Unprotected)?;
    let mut data = [0; CONTROL_HEADER + 4];
    data[..CONTROL_HEADER].copy_from_slice(header);
    data[CONTROL_HEADER..].copy_from_slice(&word.to_be_bytes());
    Ok(data)
}
