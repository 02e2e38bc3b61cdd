//! What a recording is, and the words between the media thread and the file thread.
//!
//! The media thread makes blocks of linear samples and never meets a file; the file thread ([`Order`] in, [`Reply`]
//! out) encodes and writes them and never meets a packet. Block buffers are allocated once per recorder and travel
//! between the two.

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
}

/// How a recording is stored; all 8000 Hz mono.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub enum FileFormat {
    /// RIFF, 16 bit linear.
    Wav,
    /// Headerless 16 bit little-endian linear.
    Sln,
    /// Headerless G.711 u-law.
    Ulaw,
    /// Headerless G.711 A-law.
    Alaw,
}

impl FileFormat {
    /// By file name extension, as Asterisk knows them: wav, sln/slin/raw, ulaw/ul/mu/pcm, alaw/al.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "wav" => Self::Wav,
            "sln" | "slin" | "raw" => Self::Sln,
            "ulaw" | "ul" | "mu" | "ulw" | "pcm" => Self::Ulaw,
            "alaw" | "al" | "alw" => Self::Alaw,
            _ => return None,
        })
    }

    /// Bytes that a sample takes in the file.
    pub fn bytes_per_sample(self) -> u64 {
        match self {
            Self::Wav | Self::Sln => 2,
            Self::Ulaw | Self::Alaw => 1,
        }
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
    /// Add to the end of an existing file.
    pub append: bool,
    /// Let time run only while the leg is relayed to another.
    pub only_bridged: bool,
    /// Report `Event::RecorderSilence` after so many milliseconds of received silence. 0: never.
    pub silence_ms: u32,
    /// Volume of what is received, -4..=4 in steps of a factor 2 (as MixMonitor's `v` and `V`).
    pub volume_receive: i8,
    /// Volume of what is transmitted, -4..=4 in steps of a factor 2.
    pub volume_transmit: i8,
}

impl RecorderSetup {
    /// Allocates everything that the media thread will need, so that it allocates nothing while recording. Volumes
    /// outside -4..=4 are brought into that range.
    pub fn prepare(mut self) -> Recorder {
        self.volume_receive = self.volume_receive.clamp(-4, 4);
        self.volume_transmit = self.volume_transmit.clamp(-4, 4);
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
    pub append: bool,
}

/// From the media thread to the file thread. Of one recorder: Open, any number of Samples with growing positions, Close.
#[derive(Debug)]
pub enum Order {
    Open(Box<FileSetup>),
    Samples {
        recorder: RecorderId,
        /// Index of the first sample since the recorder started. Larger than the end of the block before: samples were
        /// lost in between, silence belongs there.
        position: u64,
        /// 1..=12000 samples at 8000 Hz.
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
    /// A block was written; its buffer for the next.
    Buffer {
        recorder: RecorderId,
        samples: Vec<i16>,
    },
    /// A block could not even be queued: it is lost, here is its buffer with the samples still in it.
    Refused {
        recorder: RecorderId,
        samples: Vec<i16>,
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
            ("WAV", Some(FileFormat::Wav)),
            ("sln", Some(FileFormat::Sln)),
            ("pcm", Some(FileFormat::Ulaw)),
            ("al", Some(FileFormat::Alaw)),
            ("mp3", None),
        ] {
            assert_eq!(FileFormat::from_extension(extension), format, "{extension}");
        }
    }
}
