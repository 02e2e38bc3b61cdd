//! The test vectors of the standards, and packets of another implementation, byte for byte.

use super::derive::{AUTHENTICATION, ENCRYPTION, SALT, derive};
use super::transform::Transform;
use super::{CONTROL_OVERHEAD_MAX, Inbound, MasterKey, OVERHEAD_MAX, Outbound, Refused, Suite};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| (b as char).to_digit(16).expect("a hexadecimal digit") as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn check_derivation(suite: Suite, key_and_salt: &str, label: u8, expected: &str) {
    let master = MasterKey::new(suite, &hex(key_and_salt)).expect("a master key");
    let expected = hex(expected);
    let mut derived = vec![0xFF; expected.len()];
    derive(&master, label, &mut derived);
    assert_eq!(derived, expected, "{suite:?}, label {label}");
}

#[test]
fn keys_are_derived_as_in_rfc_3711_appendix_b_3() {
    let master = "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6";
    for (label, expected) in [
        (ENCRYPTION, "C61E7A93744F39EE10734AFE3FF7A087"),
        (SALT, "30CBBC08863D8C85D49DB34A9AE1"),
        (
            AUTHENTICATION,
            "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
             E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
             6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2DC68",
        ),
    ] {
        check_derivation(Suite::AesCm128Sha1Tag80, master, label, expected);
    }
}

#[test]
fn keys_are_derived_as_in_rfc_6188_section_7_2() {
    let master = "f0f04914b513f2763a1b1fa130f10e29 98f6f6e43e4309d1e622a0e332b9f1b6
                  3b04803de51ee7c96423ab5b78d2";
    for (label, expected) in [
        (
            ENCRYPTION,
            "5ba1064e30ec51613cad926c5a28ef73 1ec7fb397f70a960653caf06554cd8c4",
        ),
        (SALT, "fa31791685ca444a9e07c6c64e93"),
        (AUTHENTICATION, "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"),
    ] {
        check_derivation(Suite::AesCm256Sha1Tag80, master, label, expected);
    }
}

/// RFC 3711 appendix B.2 and RFC 6188 §7.1: SSRC and index zero, so that the payload of a packet of zeros becomes the
/// keystream.
#[test]
fn the_keystream_is_that_of_rfc_3711_appendix_b_2_and_rfc_6188_section_7_1() {
    for (key, keystream) in [
        (
            "2B7E151628AED2A6ABF7158809CF4F3C",
            "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
             41E95B3BB0A2E8DD477901E4FCA894C0",
        ),
        (
            "57f82fe3613fd170a85ec93c40b1f092 2ec4cb0dc025b58272147cc438944a98",
            "92bdd28a93c3f52511c677d08b5515a4 9da71b2378a854f67050756ded165bac
             63c4868b7096d88421b563b8c94c9a31",
        ),
    ] {
        let salt = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd");
        let salt = salt.try_into().expect("14 bytes");
        let transform = Transform::of_session_keys(&hex(key), &[0; 20], salt, false, 10);
        let keystream = hex(keystream);
        let mut packet = vec![0; 12 + keystream.len() + 10];
        packet[0] = 0x80;
        let end = 12 + keystream.len();
        assert_eq!(transform.protect(&mut packet, 12, end, 0, 0), Ok(end + 10));
        assert_eq!(packet[12..end], keystream);
    }
}

fn aead(key: &str) -> Transform {
    let mut salt = [0; 14];
    salt[..12].copy_from_slice(&hex("517569642070726f2071756f"));
    Transform::of_session_keys(&hex(key), &[0; 20], salt, true, 16)
}

const AEAD_128: &str = "000102030405060708090a0b0c0d0e0f";
const AEAD_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[test]
fn rtp_under_gcm_is_as_in_rfc_7714_section_16() {
    let plain = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
                     69736120 696e2070 61727465 73207472 6573",
    );
    for (key, protected) in [
        (
            AEAD_128,
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
             0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        ),
        (
            AEAD_256,
            "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238
             9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        ),
    ] {
        let transform = aead(key);
        let protected = hex(protected);
        let mut packet = plain.clone();
        packet.resize(plain.len() + 16, 0);
        let done = transform.protect(&mut packet, 12, plain.len(), 0x5501_a0b2, 0xf17b);
        assert_eq!(done, Ok(protected.len()));
        assert_eq!(packet, protected);
        let done = transform.unprotect(&mut packet, 12, 0x5501_a0b2, 0xf17b, &[]);
        assert_eq!(done, Ok(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }
}

#[test]
fn rtcp_under_gcm_is_as_in_rfc_7714_section_17() {
    let plain = hex(
        "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
                     deadbeef deadbeef deadbeef deadbeef deadbeef",
    );
    for (key, encrypted, clear) in [
        (
            AEAD_128,
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
             c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872
             45d9eade 800005d4",
            "841dd968 3dd78ec9 2ae58790 125f62b3 000005d4",
        ),
        (
            AEAD_256,
            "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50
             a2eaa5c1 110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c
             b26ac3be 800005d4",
            "91db4afb feee5a97 8fab4393 ed2615fe 000005d4",
        ),
    ] {
        let transform = aead(key);
        let encrypted = hex(encrypted);
        let mut packet = plain.clone();
        packet.resize(plain.len() + 20, 0);
        let done = transform.protect_control(&mut packet, plain.len(), 0x4d61_7273, 0x5d4);
        assert_eq!(done, Ok(encrypted.len()));
        assert_eq!(packet, encrypted);
        let authentic = [plain.clone(), hex(clear)].concat();
        for protected in [encrypted, authentic] {
            let word = transform.control_index(&protected, 0).expect("an index");
            assert_eq!(word & 0x7FFF_FFFF, 0x5d4);
            let mut packet = protected.clone();
            let done = transform.unprotect_control(&mut packet, 0x4d61_7273, word, &[]);
            assert_eq!(done, Ok(plain.len()));
            assert_eq!(packet[..plain.len()], plain);
            let mut packet = protected;
            packet[9] ^= 1;
            let done = transform.unprotect_control(&mut packet, 0x4d61_7273, word, &[]);
            assert_eq!(done, Err(Refused::Auth));
        }
    }
}

/// From the master key on: what libsrtp 2 makes of three packets with a contributing source and an extension, the last of
/// them after the wrap of the sequence, and of a report, whose index it begins at one.
#[test]
fn packets_of_another_implementation_are_read_and_made_alike() {
    let header = |sequence: u16| {
        let [high, low] = sequence.to_be_bytes();
        let mut packet = vec![0x91, 8, high, low];
        packet.extend(hex("01020304 cafebabe 11223344 bede0001 09080706"));
        packet.extend((0..20).map(|i| (sequence as u8).wrapping_add(i)));
        packet
    };
    let report = hex("80c90001 cafebabe 81ca0002 cafebabe 01017800");
    for (suite, before, after, control) in [
        (
            Suite::AesCm128Sha1Tag80,
            "0b34003c70610918ec3473942e59030b135220997f102c068259d3df2a21",
            "e8cfa2bbb8be107d193d29be69340fa25b117f85fb1417264e1c9d119c51",
            "b6815f7f468d0e79e45fc1f080000001a2a9167b3a0494a6d512",
        ),
        (
            Suite::AesCm128Sha1Tag32,
            "0b34003c70610918ec3473942e59030b135220997f102c06",
            "e8cfa2bbb8be107d193d29be69340fa25b117f85fb141726",
            "b6815f7f468d0e79e45fc1f080000001a2a9167b3a0494a6d512",
        ),
        (
            Suite::AeadAes128Gcm,
            "1b49a20abe16ccec729f9007ac1bb4bdabee69a1c4556016351fd40ca86478f52bf6122f",
            "4836f077d847b5d94f5b473abe6e98612a3bd075978fefe8b22f9809eeb1e62d2f8088b9",
            "64b28556b7abad63f710d347a9f62bbab6065c2ac110a545cbcbe7ef80000001",
        ),
        (
            Suite::AeadAes256Gcm,
            "0372cd5ef15572223079bf43bd6211863001483b51a6c06541b112ceaf5c14380e21d4b7",
            "98e1672d5f2e8ace0bef1d241be075a2848f4f5ecabcebbba463ae5394e200af580ed879",
            "85ba4227db3793315c48d6dc8b2880e65fbf3cbe6c1417f6bccd5b3c80000001",
        ),
    ] {
        let bytes: Vec<u8> = (0..suite.key_len() + suite.salt_len())
            .map(|i| (7 * i + 3) as u8)
            .collect();
        let key = MasterKey::new(suite, &bytes).expect("the suite's length");
        let mut outbound = Outbound::new(key.clone());
        let mut inbound = Inbound::new(key);
        for (sequence, payload) in [(0xFFFE, Some(before)), (0xFFFF, None), (0, Some(after))] {
            let plain = header(sequence);
            let mut made = plain.clone();
            made.resize(plain.len() + OVERHEAD_MAX, 0);
            let length = outbound.protect(&mut made, plain.len()).expect("room");
            made.truncate(length);
            if let Some(payload) = payload {
                assert_eq!(made, [&plain[..24], &hex(payload)].concat(), "{suite:?}");
            }
            assert_eq!(inbound.unprotect(&mut made), Ok(plain.len()));
            assert_eq!(made[..plain.len()], plain);
        }
        let mut made = Vec::new();
        for _ in 0..2 {
            made = report.clone();
            made.resize(report.len() + CONTROL_OVERHEAD_MAX, 0);
            let length = outbound.protect_control(&mut made, report.len());
            made.truncate(length.expect("room"));
        }
        assert_eq!(made, [&report[..8], &hex(control)].concat(), "{suite:?}");
        assert_eq!(inbound.unprotect_control(&mut made), Ok(report.len()));
        assert_eq!(made[..report.len()], report);
    }
}
