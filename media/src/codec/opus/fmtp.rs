//! The parameters of Opus in SDP (RFC 7587 §6.1, §7): what a receiver can and wants to take. They bind the sender of the
//! other side, each side by itself (§7.1).

use std::fmt;

use crate::codec::EncoderOptions;

/// `a=fmtp` of Opus. Each value says what the side that wrote it wants to receive, but for `sprop_*`.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct OpusFmtp {
    /// Highest sample rate that the receiver plays, Hz, 8000..=48000.
    pub max_playback_rate: u32,
    /// Highest sample rate that this side will send, Hz.
    pub sprop_max_capture_rate: u32,
    /// Highest average bit rate wanted, bit/s, 6000..=510000; `None`: as the sender likes.
    pub max_average_bitrate: Option<u32>,
    /// Is stereo preferred?
    pub stereo: bool,
    /// Will this side send stereo?
    pub sprop_stereo: bool,
    /// Is a constant bit rate preferred?
    pub cbr: bool,
    /// Is forward error correction of use?
    pub use_inband_fec: bool,
    /// Is a pause in silence preferred?
    pub use_dtx: bool,
    /// Longest packet wanted, milliseconds (3..=120); `None`: not said here (`a=maxptime` may).
    pub max_ptime: Option<u8>,
    /// Packet time preferred, milliseconds; `None`: not said here (`a=ptime` may).
    pub ptime: Option<u8>,
}

impl Default for OpusFmtp {
    /// What holds when nothing is said.
    fn default() -> Self {
        Self {
            max_playback_rate: 48_000,
            sprop_max_capture_rate: 48_000,
            max_average_bitrate: None,
            stereo: false,
            sprop_stereo: false,
            cbr: false,
            use_inband_fec: false,
            use_dtx: false,
            max_ptime: None,
            ptime: None,
        }
    }
}

impl OpusFmtp {
    /// From the part of `a=fmtp` behind the payload type. What is unknown or makes no sense is passed over (§6.1: must be
    /// ignored); numbers are brought into their range.
    pub fn parse(text: &str) -> Self {
        let mut fmtp = Self::default();
        for parameter in text.split(';') {
            let Some((name, value)) = parameter.split_once('=') else {
                continue;
            };
            let Ok(value) = value.trim().parse::<u32>() else {
                continue;
            };
            let rate = value.clamp(8000, 48_000);
            let flag = value == 1;
            let ms = Some(value.clamp(3, 120) as u8);
            match name.trim().to_ascii_lowercase().as_str() {
                "maxplaybackrate" => fmtp.max_playback_rate = rate,
                "sprop-maxcapturerate" => fmtp.sprop_max_capture_rate = rate,
                "maxaveragebitrate" => {
                    fmtp.max_average_bitrate = Some(value.clamp(6000, 510_000));
                }
                "stereo" => fmtp.stereo = flag,
                "sprop-stereo" => fmtp.sprop_stereo = flag,
                "cbr" => fmtp.cbr = flag,
                "useinbandfec" => fmtp.use_inband_fec = flag,
                "usedtx" => fmtp.use_dtx = flag,
                "maxptime" => fmtp.max_ptime = ms,
                "ptime" => fmtp.ptime = ms,
                _ => {}
            }
        }
        fmtp
    }

    /// What we ask others to send us: mono, with forward error correction.
    pub fn ours() -> Self {
        Self {
            use_inband_fec: true,
            ..Self::default()
        }
    }

    /// The packet time to send with, milliseconds, when `wanted_ms` is what was agreed otherwise.
    pub fn ptime(&self, wanted_ms: u32) -> u8 {
        let wanted = self.ptime.map_or(wanted_ms, u32::from);
        let longest = self.max_ptime.map_or(u32::MAX, u32::from);
        crate::Codec::Opus.ptime(wanted.min(longest))
    }

    /// How to encode for a receiver who wrote this.
    pub fn encoder_options(&self) -> EncoderOptions {
        let usual = EncoderOptions::default();
        EncoderOptions {
            bitrate: self
                .max_average_bitrate
                .map_or(usual.bitrate, |most| most.min(usual.bitrate)),
            fec: self.use_inband_fec,
            dtx: self.use_dtx,
            cbr: self.cbr,
            playback_rate: self.max_playback_rate,
            ..usual
        }
    }
}

impl fmt::Display for OpusFmtp {
    /// The parameters that differ from what holds anyway, with `;` between; empty when all do not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Self::default();
        let number = |value: u32, usual: u32| (value != usual).then_some(value);
        let flag = |value: bool| value.then_some(1);
        let parameters = [
            (
                "maxplaybackrate",
                number(self.max_playback_rate, usual.max_playback_rate),
            ),
            (
                "sprop-maxcapturerate",
                number(self.sprop_max_capture_rate, usual.sprop_max_capture_rate),
            ),
            ("maxaveragebitrate", self.max_average_bitrate),
            ("stereo", flag(self.stereo)),
            ("sprop-stereo", flag(self.sprop_stereo)),
            ("cbr", flag(self.cbr)),
            ("useinbandfec", flag(self.use_inband_fec)),
            ("usedtx", flag(self.use_dtx)),
            ("maxptime", self.max_ptime.map(u32::from)),
            ("ptime", self.ptime.map(u32::from)),
        ];
        let said = parameters
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        for (index, (name, value)) in said.enumerate() {
            let between = if index > 0 { ";" } else { "" };
            write!(f, "{between}{name}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let all = OpusFmtp {
            max_playback_rate: 16_000,
            sprop_max_capture_rate: 8000,
            max_average_bitrate: Some(20_000),
            stereo: true,
            sprop_stereo: true,
            cbr: true,
            use_inband_fec: true,
            use_dtx: true,
            max_ptime: Some(60),
            ptime: Some(40),
        };
        for fmtp in [OpusFmtp::default(), OpusFmtp::ours(), all] {
            assert_eq!(OpusFmtp::parse(&fmtp.to_string()), fmtp);
        }
        assert_eq!(OpusFmtp::default().to_string(), "");
        assert_eq!(OpusFmtp::ours().to_string(), "useinbandfec=1");
    }

    #[test]
    fn nonsense_is_passed_over_and_numbers_stay_in_range() {
        let fmtp = OpusFmtp::parse(
            " MaxPlaybackRate = 96000 ; maxaveragebitrate=1;useinbandfec=yes; usedtx=2;;=;x-y=1; minptime=10;cbr=1",
        );
        let expected = OpusFmtp {
            max_average_bitrate: Some(6000),
            cbr: true,
            ..OpusFmtp::default()
        };
        assert_eq!(fmtp, expected);
    }

    #[test]
    fn the_encoder_does_what_the_receiver_asked_for() {
        let fmtp = OpusFmtp::parse("maxplaybackrate=16000;maxaveragebitrate=12000;useinbandfec=1");
        let options = fmtp.encoder_options();
        assert_eq!((options.bitrate, options.playback_rate), (12_000, 16_000));
        assert!(options.fec && !options.dtx && !options.cbr);
        assert_eq!(fmtp.ptime(20), 20);
        assert_eq!(OpusFmtp::parse("ptime=60;maxptime=50").ptime(20), 40);
    }
}
