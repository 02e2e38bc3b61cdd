//! What encoder and decoder share of the long term predictor of GSM 06.10.

/// Longest lag, samples.
pub(super) const HISTORY: usize = 120;
/// Gains by their codes (table 5.3).
pub(super) const GAIN_LEVELS: [i16; 4] = [3277, 11_469, 21_299, 32_767];
