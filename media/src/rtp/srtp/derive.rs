//! Session keys from a master key (RFC 3711 §4.3, RFC 6188 §3, RFC 7714 §11), with a derivation rate of zero: once.

use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipherCore};
use aes::{Aes128Enc, Aes256Enc};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;

use super::keys::MasterKey;

/// What a session key is for (RFC 3711 §4.3.2); those of RTCP are three higher.
pub(super) const ENCRYPTION: u8 = 0;
pub(super) const AUTHENTICATION: u8 = 1;
pub(super) const SALT: u8 = 2;
pub(super) const CONTROL: u8 = 3;

/// Fills `out` with the key of that label.
pub(super) fn derive(master: &MasterKey, label: u8, out: &mut [u8]) {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(&master.salt());
    iv[7] ^= label;
    out.fill(0);
    let key = master.key();
    match (
        Aes128Enc::new_from_slice(key),
        Aes256Enc::new_from_slice(key),
    ) {
        (Ok(cipher), _) => counter_mode(&cipher, &iv, out),
        (_, Ok(cipher)) => counter_mode(&cipher, &iv, out),
        _ => unreachable!("a suite's key has the length of an AES key"),
    }
}

/// AES in counter mode (RFC 3711 §4.1.1), in place.
#[inline]
pub(super) fn counter_mode<C>(cipher: &C, iv: &[u8; 16], data: &mut [u8])
where
    C: BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
{
    CtrCore::<&C, Ctr128BE>::inner_iv_init(cipher, iv.into()).apply_keystream_partial(data.into());
}
