//! Arithmetic on samples: mixing, gain, tones, detection, other rates, noise, what stands in for lost audio. Plain
//! functions over slices; no packets, no time. Tones and detection are at 8000 Hz.

mod comfort_noise;
mod conceal;
mod dtmf_detector;
mod gain;
mod goertzel;
mod level;
mod mix;
mod resample;
mod silence;
mod tone;

pub use comfort_noise::{ComfortNoise, comfort_noise_payload};
pub use conceal::Concealer;
pub use dtmf_detector::DtmfDetector;
pub use gain::{GAIN_MAX, Gain, Volume};
pub use goertzel::Goertzel;
pub use level::level_dbov;
pub use mix::add_clamped;
pub use resample::{RateError, Resampler};
pub use silence::{SilenceDetector, THRESHOLD as SILENCE_THRESHOLD};
pub use tone::{Dual, dtmf_tone};
