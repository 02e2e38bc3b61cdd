//! The life of one file, sans-IO: blocks and the end come in, one operation at a time goes out, its outcome comes back.
//!
//! Every block is written where its position says, then the header is put right, so a process that is killed leaves a
//! file that plays up to the last block. A block that could not be written is a hole, which reads as silence.

use super::wav;
use crate::recording::{FileFormat, FileSetup};
use crate::uring::file::Outcome;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Blocks of one recording that may wait for its disk; later ones are lost. About as many seconds.
const BLOCKS_MAX: usize = 16;
/// A hole in a file without a silent zero byte (G.711) is filled with silence up to this length, in samples.
const FILL_MAX: u64 = 60 * 8000;
/// How much of a file to be continued is read to find its sound, in bytes.
const HEAD_MAX: u64 = 64 * 1024;
/// Silence in G.711 u-law and A-law.
const SILENCE_ULAW: u8 = 0xff;
const SILENCE_ALAW: u8 = 0xd5;

/// What is to be done next. The file belongs to the recording; its owner runs the operation on it.
#[derive(Debug)]
pub(super) enum Step {
    /// Open the path, keeping its content or not.
    Open { keep: bool },
    /// Make the directories above the path, then open.
    MakeDirectories,
    /// Write `bytes` at `offset`.
    Write { bytes: Vec<u8>, offset: u64 },
    /// Set the length of the file.
    Truncate { length: u64 },
    /// Close the file.
    Close(File),
    /// It is over; report [`Recording::report`].
    Finished,
}

/// What came of a recording.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Report {
    pub(super) samples: u64,
    pub(super) lost_samples: u64,
    pub(super) error: Option<String>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum State {
    /// To be opened.
    New,
    Opening,
    NoDirectory,
    /// No operation is under way.
    Idle,
    /// A block is being written.
    Block {
        offset: u64,
        samples: u64,
    },
    /// The header is being put right.
    Header,
    Truncating,
    Closing,
    Failed,
    Finished,
}

struct Block {
    offset: u64,
    samples: u64,
    bytes: Vec<u8>,
}

/// See the module's text.
pub(super) struct Recording {
    setup: Box<FileSetup>,
    state: State,
    file: Option<File>,
    /// Byte offset of the first sample in the file, and of the first sample of this recording.
    sound_start: u64,
    base: u64,
    /// Samples that the blocks up to now cover, gaps included.
    end: u64,
    blocks: VecDeque<Block>,
    /// Blocks that came before the file was open.
    early: VecDeque<(u64, Vec<u8>)>,
    /// Bytes of the file that hold sound, as far as written.
    written_end: u64,
    /// `written_end` as the header has it. `None`: no header yet.
    header_end: Option<u64>,
    final_length: Option<u64>,
    truncated: bool,
    directories_made: bool,
    lost: u64,
    error: Option<String>,
}

impl Recording {
    pub(super) fn new(setup: Box<FileSetup>) -> Self {
        Self {
            setup,
            state: State::New,
            file: None,
            sound_start: 0,
            base: 0,
            end: 0,
            blocks: VecDeque::new(),
            early: VecDeque::new(),
            written_end: 0,
            header_end: None,
            final_length: None,
            truncated: false,
            directories_made: false,
            lost: 0,
            error: None,
        }
    }

    pub(super) fn setup(&self) -> &FileSetup {
        &self.setup
    }

    pub(super) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Takes a block, already in the file's encoding, `position` samples after the start. `false`: it is lost, because
    /// the disk is too slow or the file could not be opened.
    pub(super) fn block(&mut self, position: u64, bytes: Vec<u8>) -> bool {
        let samples = bytes.len() as u64 / self.unit();
        if self.state == State::Failed
            || self.final_length.is_some()
            || self.blocks.len() + self.early.len() >= BLOCKS_MAX
        {
            self.lost += samples;
            return false;
        }
        if samples > 0 {
            self.accept(position, bytes);
        }
        true
    }

    /// Counts samples that were lost before they became a block.
    pub(super) fn refuse(&mut self, samples: u64) {
        self.lost += samples;
    }

    /// Whether the operation under way is a block of samples.
    pub(super) fn is_writing_block(&self) -> bool {
        matches!(self.state, State::Block { .. })
    }

    /// No more blocks: the recording is to be `length` samples long. `lost` were lost on the way here.
    pub(super) fn finish(&mut self, length: u64, lost: u64) {
        if self.final_length.is_some() {
            return;
        }
        // A linear file is filled up by setting its length; in G.711 zero bytes are not silence.
        if self.silence().is_some()
            && (1..=FILL_MAX).contains(&length.saturating_sub(self.covered()))
        {
            self.accept(length, Vec::new());
        }
        self.final_length = Some(length);
        self.lost += lost;
    }

    /// Ends it where it stands, if nobody else has.
    pub(super) fn abandon(&mut self) {
        self.finish(self.covered(), 0);
    }

    /// Bytes that wait for the disk.
    pub(super) fn backlog(&self) -> usize {
        let early: usize = self.early.iter().map(|(_, bytes)| bytes.len()).sum();
        early + self.blocks.iter().map(|b| b.bytes.len()).sum::<usize>()
    }

    /// The next operation, or `None` when one is under way or nothing is to be done.
    pub(super) fn step(&mut self) -> Option<Step> {
        match self.state {
            State::New => {
                self.state = State::Opening;
                Some(Step::Open {
                    keep: self.setup.append,
                })
            }
            State::NoDirectory => {
                self.state = State::Opening;
                Some(Step::MakeDirectories)
            }
            State::Idle => Some(self.next_write()?),
            State::Failed if self.final_length.is_some() => {
                self.state = State::Finished;
                Some(Step::Finished)
            }
            _ => None,
        }
    }

    fn next_write(&mut self) -> Option<Step> {
        if let Some(block) = self.blocks.pop_front() {
            return Some(self.write_block(block));
        }
        let wav = self.setup.format == FileFormat::Wav;
        if let Some(length) = self.final_length {
            let end = self.base + length * self.unit();
            if !self.truncated
                && (end < self.written_end || (end > self.written_end && self.silence().is_none()))
            {
                self.truncated = true;
                self.state = State::Truncating;
                // An empty recording has no header yet; it comes next.
                return Some(Step::Truncate { length: end });
            }
        }
        if wav && self.header_end != Some(self.written_end) {
            // The first block brings the header along: nothing to write before it.
            let untouched = self.header_end.is_none() && self.written_end == self.base;
            if !untouched || self.final_length.is_some() {
                return Some(self.write_header());
            }
        }
        self.final_length?;
        self.state = State::Closing;
        match self.file.take() {
            Some(file) => Some(Step::Close(file)),
            None => {
                self.state = State::Finished;
                Some(Step::Finished)
            }
        }
    }

    fn write_block(&mut self, block: Block) -> Step {
        let Block {
            mut offset,
            samples,
            mut bytes,
        } = block;
        // The first block of a new WAV file brings its header along.
        let first = self.setup.format == FileFormat::Wav
            && self.header_end.is_none()
            && offset == self.sound_start;
        if first {
            let len = bytes.len() as u64;
            bytes.splice(..0, wav::header(len));
            self.header_end = Some(offset + len);
            offset = 0;
        }
        self.state = State::Block { offset, samples };
        Step::Write { bytes, offset }
    }

    fn write_header(&mut self) -> Step {
        self.state = State::Header;
        let end = self.written_end;
        self.header_end = Some(end);
        Step::Write {
            bytes: wav::header(end - self.sound_start).to_vec(),
            offset: 0,
        }
    }

    /// Takes the outcome of the last step. Bytes that were written come back for the next use; a step is returned when
    /// the rest of a short write is to follow.
    pub(super) fn done(&mut self, outcome: Outcome) -> (Option<Vec<u8>>, Option<Step>) {
        match outcome {
            Outcome::Opened(result) => {
                self.opened(result);
                (None, None)
            }
            Outcome::Written(result, bytes) => self.wrote(result, bytes),
            Outcome::Truncated(result) => {
                match (result, self.final_length) {
                    (Ok(()), Some(length)) => {
                        self.written_end = self.base + length * self.unit();
                    }
                    (Err(error), _) => self.fail("set the length of", &error),
                    (Ok(()), None) => {}
                }
                self.state = State::Idle;
                (None, None)
            }
            Outcome::Closed(result) => {
                if let Err(error) = result {
                    self.fail("close", &error);
                }
                self.state = State::Finished;
                (None, None)
            }
        }
    }

    /// Whether the file is closed.
    pub(super) fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// To be called once finished.
    pub(super) fn report(&mut self) -> Report {
        Report {
            samples: self.written_end.saturating_sub(self.base) / self.unit(),
            lost_samples: self.lost,
            error: self.error.take(),
        }
    }

    /// The directories could not be made.
    pub(super) fn no_directories(&mut self, error: &io::Error) {
        self.fail("make the directory of", error);
        self.give_up();
    }

    fn opened(&mut self, result: io::Result<File>) {
        match result {
            Ok(file) => match self.look(&file) {
                Ok(()) => {
                    self.file = Some(file);
                    self.state = State::Idle;
                    while let Some((position, bytes)) = self.early.pop_front() {
                        self.place(position, bytes);
                    }
                }
                Err(why) => {
                    self.note(format!(
                        "cannot continue {}: {why}",
                        self.setup.path.display()
                    ));
                    self.give_up();
                }
            },
            // Once: when the directory is there and the file still cannot be made, that is the answer.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.directories_made => {
                self.directories_made = true;
                self.state = State::NoDirectory;
            }
            Err(error) => {
                self.fail("open", &error);
                self.give_up();
            }
        }
    }

    /// Finds out where in the file this recording begins.
    fn look(&mut self, file: &File) -> Result<(), String> {
        let wav = self.setup.format == FileFormat::Wav;
        self.sound_start = if wav { wav::HEADER_LEN as u64 } else { 0 };
        self.base = self.sound_start;
        if self.setup.append {
            let len = file.metadata().map_err(|e| e.to_string())?.len();
            if wav && len > 0 {
                let mut head = vec![0; len.min(HEAD_MAX) as usize];
                file.read_exact_at(&mut head, 0)
                    .map_err(|e| e.to_string())?;
                let layout = wav::parse(&head, len)?;
                if layout.start != self.sound_start {
                    return Err("its sound does not begin at byte 44".to_owned());
                }
                self.base = layout.start + layout.len;
                self.header_end = Some(self.base);
            } else {
                self.base = (self.base.max(len)).next_multiple_of(self.unit());
            }
        }
        self.written_end = self.base;
        Ok(())
    }

    /// Puts a block in the queue at its place in the file.
    fn place(&mut self, position: u64, mut bytes: Vec<u8>) {
        let samples = bytes.len() as u64 / self.unit();
        let mut offset = self.base + position * self.unit();
        let gap = position.saturating_sub(self.end);
        if let (Some(silence), 1..=FILL_MAX) = (self.silence(), gap) {
            offset -= gap;
            bytes.splice(..0, std::iter::repeat_n(silence, gap as usize));
        }
        self.end = self.end.max(position + samples);
        self.blocks.push_back(Block {
            offset,
            samples,
            bytes,
        });
    }

    fn accept(&mut self, position: u64, bytes: Vec<u8>) {
        if matches!(self.state, State::New | State::Opening | State::NoDirectory) {
            self.early.push_back((position, bytes));
        } else {
            self.place(position, bytes);
        }
    }

    /// Samples up to the end of the last block.
    fn covered(&self) -> u64 {
        self.early.back().map_or(self.end, |(position, bytes)| {
            position + bytes.len() as u64 / self.unit()
        })
    }

    fn wrote(
        &mut self,
        result: io::Result<usize>,
        bytes: Vec<u8>,
    ) -> (Option<Vec<u8>>, Option<Step>) {
        let state = self.state;
        self.state = State::Idle;
        match (result, state) {
            (Err(error), State::Block { samples, .. }) => {
                self.block_failed(samples, &error);
            }
            (Ok(0), State::Block { samples, .. }) => {
                self.block_failed(samples, &io::Error::from(io::ErrorKind::WriteZero));
            }
            (Ok(n), State::Block { offset, samples }) => {
                let at = offset + n as u64;
                self.written_end = self.written_end.max(at);
                if n < bytes.len() {
                    // What follows a short write is tried as a block of its own: its error will tell why.
                    let rest = bytes.len() - n;
                    self.state = State::Block {
                        offset: at,
                        samples: samples.min(rest as u64 / self.unit()),
                    };
                    let bytes = bytes.get(n..).unwrap_or_default().to_vec();
                    return (None, Some(Step::Write { bytes, offset: at }));
                }
            }
            (Err(error), _) => self.fail("write the header of", &error),
            (Ok(_), _) => {}
        }
        (Some(bytes), None)
    }

    fn block_failed(&mut self, samples: u64, error: &io::Error) {
        self.lost += samples;
        // If the header was to come with this block it is not there.
        if self.header_end.is_some_and(|end| end > self.written_end) {
            self.header_end = (self.base > self.sound_start).then_some(self.base);
        }
        self.fail("write", error);
    }

    fn give_up(&mut self) {
        while let Some((_, bytes)) = self.early.pop_front() {
            self.lost += bytes.len() as u64 / self.unit();
        }
        self.state = State::Failed;
    }

    fn fail(&mut self, tried: &str, error: &io::Error) {
        self.note(format!(
            "cannot {tried} {}: {error}",
            self.setup.path.display()
        ));
    }

    fn note(&mut self, text: String) {
        self.error.get_or_insert(text);
    }

    fn unit(&self) -> u64 {
        self.setup.format.bytes_per_sample()
    }

    fn silence(&self) -> Option<u8> {
        match self.setup.format {
            FileFormat::Wav | FileFormat::Sln => None,
            FileFormat::Ulaw => Some(SILENCE_ULAW),
            FileFormat::Alaw => Some(SILENCE_ALAW),
        }
    }
}
