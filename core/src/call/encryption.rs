//! Media encryption by keys in the description (SDES): from an endpoint's columns to what is negotiated, and from there
//! to the media thread.

use strowger_media::rtp::srtp::{KeyError, MasterKey, SrtpKeys, Suite};
use strowger_sip::offer_answer::{AgreedCrypto, Sdes, Security};
use strowger_sip::sdp::{CryptoAttribute, CryptoSuite};
use strowger_store::{Endpoint, MediaEncryption};

/// What an endpoint wants; `None`: DTLS-SRTP, which is not spoken here.
pub(super) fn security(endpoint: &Endpoint) -> Option<Security> {
    match endpoint.media_encryption {
        // A browser speaks nothing else.
        MediaEncryption::No if endpoint.webrtc => None,
        MediaEncryption::No => Some(Security::Plain),
        MediaEncryption::Sdes => Some(Security::Sdes(Sdes {
            required: !endpoint.media_encryption_optimistic,
            short_tags: endpoint.srtp_tag_32,
            random: |bytes| getrandom::fill(bytes).is_ok(),
        })),
        MediaEncryption::Dtls => None,
    }
}

/// The keys as the media thread takes them.
pub(super) fn keys(crypto: &AgreedCrypto) -> Result<SrtpKeys, KeyError> {
    Ok(SrtpKeys {
        send: master_key(&crypto.ours)?,
        receive: master_key(&crypto.remote)?,
    })
}

fn master_key(crypto: &CryptoAttribute) -> Result<MasterKey, KeyError> {
    let suite = match crypto.suite {
        CryptoSuite::AesCm128Sha1Tag80 => Suite::AesCm128Sha1Tag80,
        CryptoSuite::AesCm128Sha1Tag32 => Suite::AesCm128Sha1Tag32,
        CryptoSuite::AesCm256Sha1Tag80 => Suite::AesCm256Sha1Tag80,
        CryptoSuite::AesCm256Sha1Tag32 => Suite::AesCm256Sha1Tag32,
        CryptoSuite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        CryptoSuite::AeadAes256Gcm => Suite::AeadAes256Gcm,
    };
    let key = MasterKey::new(suite, crypto.key.as_bytes())?;
    let key = match crypto.lifetime {
        Some(packets) => key.with_lifetime(packets),
        None => key,
    };
    if crypto.mki.is_empty() {
        return Ok(key);
    }
    key.with_identifier(&crypto.mki)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::sdp::CryptoKey;

    #[test]
    fn every_suite_of_a_description_is_one_of_the_media_thread() {
        for suite in CryptoSuite::ALL {
            let line = |fill: u8| CryptoAttribute {
                tag: 1,
                suite,
                key: CryptoKey::generate(suite, |bytes| {
                    bytes.fill(fill);
                    true
                })
                .expect("filled"),
                lifetime: Some(1 << 31),
                mki: vec![0, 1],
            };
            let agreed = AgreedCrypto {
                ours: line(1),
                remote: line(2),
            };
            let keys = keys(&agreed).expect("lengths agree");
            assert_ne!(keys.send, keys.receive);
        }
    }

    #[test]
    fn an_endpoint_says_what_it_wants() {
        let endpoint = |media_encryption, media_encryption_optimistic| Endpoint {
            media_encryption,
            media_encryption_optimistic,
            ..Endpoint::default()
        };
        let wants = |encryption, optimistic| security(&endpoint(encryption, optimistic));
        assert!(matches!(
            wants(MediaEncryption::No, true),
            Some(Security::Plain)
        ));
        assert!(matches!(
            wants(MediaEncryption::Sdes, false),
            Some(Security::Sdes(Sdes { required: true, .. }))
        ));
        assert!(matches!(
            wants(MediaEncryption::Sdes, true),
            Some(Security::Sdes(Sdes {
                required: false,
                ..
            }))
        ));
        assert!(wants(MediaEncryption::Dtls, true).is_none());
    }
}
