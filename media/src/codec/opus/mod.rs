//! Opus (RFC 6716) by libopus, one channel: packets, parameters of SDP, decoder and encoder.

mod decode;
mod encode;
pub(super) mod fmtp;
pub(super) mod packet;

pub(super) use decode::Decoder;
pub(super) use encode::Encoder;

/// Sample rates that libopus works at.
const RATES: [u32; 5] = [8000, 12_000, 16_000, 24_000, 48_000];

/// The lowest of libopus' rates that is not below what is wanted, else the highest.
fn rate_for(wanted_hz: u32) -> u32 {
    let fits = |&rate: &u32| rate >= wanted_hz;
    RATES.into_iter().find(fits).unwrap_or(48_000)
}
