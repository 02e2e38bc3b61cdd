//! What a recording is, and the words between the media thread and the file thread.
//!
//! The media thread makes blocks of linear samples and never meets a file; the file thread ([`Order`] in, [`Reply`]
//! out) encodes and writes them and never meets a packet. Block buffers are allocated when a recorder is prepared and
//! travel between the two.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::engine::Recorder;
use crate::types::{LegId, RecorderId};

/// Which side of a leg is recorded.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub enum TapMode {
    /// Received and transmitted audio, summed.
    Mix,
    /// What the leg's remote says.
    Receive,
    /// What the leg's remote hears.
    Transmit,
    /// Two channels: left what is received, right what is transmitted. Only for formats with
    /// [`FileFormat::takes_stereo`].
    Stereo,
}

impl TapMode {
    /// Channels of a file of this kind.
    pub const fn channels(self) -> u16 {
        match self {
            Self::Stereo => 2,
            Self::Mix | Self::Receive | Self::Transmit => 1,
        }
    }
}

/// How a recording is stored.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub enum FileFormat {
    /// RIFF, 16 bit linear, 8000 Hz.
    Wav,
    /// RIFF, 16 bit linear, 16,000 Hz.
    Wav16,
    /// RIFF, GSM 06.10 (65 bytes for 320 samples), 8000 Hz.
    Wav49,
    /// Headerless 16 bit little-endian linear of this many Hz.
    Sln(u32),
    /// Headerless G.711 u-law.
    Ulaw,
    /// Headerless G.711 A-law.
    Alaw,
    /// Headerless G.722 at 64 kbit/s, 16,000 Hz.
    G722,
    /// Headerless GSM 06.10: 33 bytes for 160 samples of 8000 Hz.
    Gsm,
    /// Opus in Ogg (RFC 7845), at the rate of the recorder.
    Ogg,
    /// MPEG layer III, at the rate of the recorder.
    Mp3,
}

/// The rates of `sln` files: extension without `sln`, Hz.
const LINEAR: [(&str, u32); 9] = [
    ("", 8000),
    ("12", 12_000),
    ("16", 16_000),
    ("24", 24_000),
    ("32", 32_000),
    ("44", 44_100),
    ("48", 48_000),
    ("96", 96_000),
    ("192", 192_000),
];

impl FileFormat {
    /// By file name extension, as Asterisk knows them. `WAV` in capitals is GSM in RIFF, as `wav49`; otherwise
    /// capitals do not matter.
    pub fn from_extension(extension: &str) -> Option<Self> {
        if extension == "WAV" {
            return Some(Self::Wav49);
        }
        let extension = extension.to_ascii_lowercase();
        if let Some(rest) = extension.strip_prefix("sln") {
            return LINEAR
                .iter()
                .find(|(name, _)| *name == rest)
                .map(|(_, rate)| Self::Sln(*rate));
        }
        Some(match extension.as_str() {
            "wav" => Self::Wav,
            "wav16" => Self::Wav16,
            "wav49" => Self::Wav49,
            "slin" | "raw" => Self::Sln(8000),
            "ulaw" | "ul" | "mu" | "ulw" | "pcm" => Self::Ulaw,
            "alaw" | "al" | "alw" => Self::Alaw,
            "g722" => Self::G722,
            "gsm" => Self::Gsm,
            "ogg" | "opus" => Self::Ogg,
            "mp3" => Self::Mp3,
            _ => return None,
        })
    }

    /// The rate of the file in Hz; `None`: that of its recorder.
    pub const fn rate(self) -> Option<u32> {
        match self {
            Self::Wav | Self::Wav49 | Self::Ulaw | Self::Alaw | Self::Gsm => Some(8000),
            Self::Wav16 | Self::G722 => Some(16_000),
            Self::Sln(rate) => Some(rate),
            Self::Ogg | Self::Mp3 => None,
        }
    }

    /// The rate a recorder of a leg with audio of `leg` Hz has for this format: as much as the file can hold, no more
    /// than there is (16,000 where it can hold all). 8000, 16,000 or 48,000.
    pub fn recorder_rate(self, leg: u32) -> u32 {
        let wanted = self.rate().unwrap_or(16_000).min(leg);
        if wanted >= 48_000 {
            48_000
        } else if wanted >= 16_000 {
            16_000
        } else {
            8000
        }
    }

    /// Can the format hold two channels?
    pub const fn takes_stereo(self) -> bool {
        matches!(self, Self::Wav | Self::Wav16 | Self::Sln(_) | Self::Mp3)
    }
}

/// A recording to be made.
#[derive(Clone, Debug)]
pub struct RecorderSetup {
    pub recorder: RecorderId,
    pub leg: LegId,
    pub path: PathBuf,
    pub format: FileFormat,
    pub mode: TapMode,
    /// Samples a second that the recorder works with: 8000, 16,000 or 48,000 (see [`FileFormat::recorder_rate`]).
    pub rate: u32,
    /// Add to the end of an existing file.
    pub append: bool,
    /// Let time run only while the leg is relayed to another.
    pub only_bridged: bool,
    /// Leave out, instead of filling with silence, what nothing was received or transmitted for.
    pub unpadded: bool,
    /// Leave out so many milliseconds at the start.
    pub skip_ms: u32,
    /// Report `Event::RecorderSilence` after so many milliseconds of received silence. 0: never.
    pub silence_ms: u32,
    /// The most that `Command::StopRecorder` may cut off the end. Formats that cannot be cut hold as much back.
    pub drop_last_ms_max: u32,
    /// Volume of what is received, -4..=4 in steps of a factor 2 (as MixMonitor's `v` and `V`).
    pub volume_receive: i8,
    /// Volume of what is transmitted, -4..=4 in steps of a factor 2.
    pub volume_transmit: i8,
}

impl RecorderSetup {
    /// A recording with nothing special about it, at 8000 Hz.
    pub fn new(
        recorder: RecorderId,
        leg: LegId,
        path: PathBuf,
        format: FileFormat,
        mode: TapMode,
    ) -> Self {
        Self {
            recorder,
            leg,
            path,
            format,
            mode,
            rate: 8000,
            append: false,
            only_bridged: false,
            unpadded: false,
            skip_ms: 0,
            silence_ms: 0,
            drop_last_ms_max: 0,
            volume_receive: 0,
            volume_transmit: 0,
        }
    }

    /// Allocates everything that the media thread will need, so that it allocates nothing while recording. Volumes
    /// outside -4..=4 are brought into that range, a rate that is not known becomes 8000.
    pub fn prepare(mut self) -> Recorder {
        self.volume_receive = self.volume_receive.clamp(-4, 4);
        self.volume_transmit = self.volume_transmit.clamp(-4, 4);
        if !matches!(self.rate, 8000 | 16_000 | 48_000) {
            self.rate = 8000;
        }
        if self.mode == TapMode::Stereo && !self.format.takes_stereo() {
            self.mode = TapMode::Mix;
        }
        Recorder::new(self)
    }
}

/// A file as the file thread needs to know it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileSetup {
    pub recorder: RecorderId,
    pub leg: LegId,
    pub path: PathBuf,
    pub format: FileFormat,
    /// Rate of the samples that will come, Hz.
    pub rate: u32,
    /// 1, or 2 for interleaved samples.
    pub channels: u16,
    pub append: bool,
    /// The most that [`Order::Close`] will cut off, in samples of one channel.
    pub drop_last_max: u32,
}

/// From the media thread to the file thread. Of one recorder: Open, any number of Samples with growing positions, Close.
/// Positions and lengths are samples of one channel at [`FileSetup::rate`].
#[derive(Debug)]
pub enum Order {
    Open(Box<FileSetup>),
    Samples {
        recorder: RecorderId,
        /// Index of the first sample since the recorder started. Larger than the end of the block before: samples were
        /// lost in between, silence belongs there.
        position: u64,
        /// At least one, at most 10,240 (both channels counted).
        samples: Vec<i16>,
    },
    Close {
        recorder: RecorderId,
        leg: LegId,
        /// Length of the recording; silence belongs between the last block and this.
        samples: u64,
        /// Then cut so many off the end.
        drop_last_samples: u32,
        /// Samples that the media thread lost for want of buffers.
        lost_samples: u64,
    },
}

/// From the file thread back to the media thread.
#[derive(Debug)]
pub enum Reply {
    /// A block was taken; its buffer for the next.
    Buffer {
        recorder: RecorderId,
        samples: Vec<i16>,
    },
    /// A block could not even be queued: it is lost, here is its buffer with the samples still in it.
    Refused {
        recorder: RecorderId,
        samples: Vec<i16>,
    },
    /// The file cannot be opened or written, or the disk does not follow. What comes meanwhile waits for it for about 16
    /// seconds, then it is lost. Told once until [`Reply::Resumed`].
    Trouble {
        recorder: RecorderId,
        leg: LegId,
        error: Cow<'static, str>,
    },
    /// The file is written again; so many samples were lost since the trouble was told, silence stands in their place.
    Resumed {
        recorder: RecorderId,
        leg: LegId,
        lost_samples: u64,
    },
    /// The file is closed.
    Closed {
        recorder: RecorderId,
        leg: LegId,
        path: PathBuf,
        samples: u64,
        lost_samples: u64,
        error: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_extension() {
        for (extension, format) in [
            ("wav", Some(FileFormat::Wav)),
            ("Wav", Some(FileFormat::Wav)),
            ("WAV", Some(FileFormat::Wav49)),
            ("wav49", Some(FileFormat::Wav49)),
            ("wav16", Some(FileFormat::Wav16)),
            ("sln", Some(FileFormat::Sln(8000))),
            ("sln16", Some(FileFormat::Sln(16_000))),
            ("sln44", Some(FileFormat::Sln(44_100))),
            ("sln17", None),
            ("raw", Some(FileFormat::Sln(8000))),
            ("pcm", Some(FileFormat::Ulaw)),
            ("al", Some(FileFormat::Alaw)),
            ("g722", Some(FileFormat::G722)),
            ("gsm", Some(FileFormat::Gsm)),
            ("ogg", Some(FileFormat::Ogg)),
            ("MP3", Some(FileFormat::Mp3)),
            ("txt", None),
            ("", None),
        ] {
            assert_eq!(FileFormat::from_extension(extension), format, "{extension}");
        }
    }

    #[test]
    fn a_recorder_works_at_the_rate_that_file_and_leg_have_in_common() {
        for (format, leg, rate) in [
            (FileFormat::Wav, 48_000, 8000),
            (FileFormat::Wav16, 8000, 8000),
            (FileFormat::Wav16, 16_000, 16_000),
            (FileFormat::Wav16, 48_000, 16_000),
            (FileFormat::Sln(48_000), 48_000, 48_000),
            (FileFormat::Sln(44_100), 48_000, 16_000),
            (FileFormat::Sln(12_000), 16_000, 8000),
            (FileFormat::Mp3, 16_000, 16_000),
            (FileFormat::Ogg, 8000, 8000),
        ] {
            assert_eq!(format.recorder_rate(leg), rate, "{format:?} {leg}");
        }
    }
}
