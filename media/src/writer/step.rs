//! What a recording wants done with its file, and what it tells.

use std::borrow::Cow;
use std::fs::File;

/// What is to be done next. The file belongs to the recording; its owner runs the operation on it.
#[derive(Debug)]
pub(super) enum Step {
    /// Open the path, keeping its content or not.
    Open { keep: bool },
    /// Make the directories above the path, then tell `Recording::directories`.
    MakeDirectories,
    /// Read the head of the file that is continued, then tell `Recording::looked`.
    Look,
    /// Write `bytes` at `offset`.
    Write { bytes: Vec<u8>, offset: u64 },
    /// Set the length of the file.
    Truncate { length: u64 },
    /// Close the file.
    Close(File),
}

/// What was there before a recording continues a file.
#[derive(Debug)]
pub(super) struct Before {
    /// Length of the file in bytes.
    pub(super) len: u64,
    /// Its first bytes, as many as [`HEAD_MAX`].
    pub(super) head: Vec<u8>,
}

/// How much of a file to be continued is read to find its sound, in bytes.
pub(super) const HEAD_MAX: u64 = 64 * 1024;

/// What the recorder's owner should hear of at once.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum News {
    Trouble(Cow<'static, str>),
    /// So many samples were lost since the trouble was told.
    Resumed(u64),
}

/// What came of a recording.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Report {
    pub(super) samples: u64,
    pub(super) lost_samples: u64,
    pub(super) error: Option<String>,
}
