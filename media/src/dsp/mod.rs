//! Arithmetic on 8000 Hz samples: mixing, gain, tones, detection. Plain functions over slices; no packets, no time.

mod dtmf_detector;
mod gain;
mod goertzel;
mod mix;
mod silence;
mod tone;

pub use dtmf_detector::DtmfDetector;
pub use gain::Volume;
pub use goertzel::Goertzel;
pub use mix::add_clamped;
pub use silence::{SilenceDetector, THRESHOLD as SILENCE_THRESHOLD};
pub use tone::{Dual, dtmf_tone};
