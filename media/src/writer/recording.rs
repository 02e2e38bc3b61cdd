//! The life of one file, sans-IO: blocks and the end come in, one operation at a time goes out, its outcome comes back.
//!
//! Formats with a fixed number of bytes for a sample are written where a block's position says; formats that are a stream
//! of frames come from an encoder in order, with silence in it where samples are missing. What cannot be written is tried
//! again and again, while up to [`BLOCKS_MAX`] blocks wait; what comes beyond is lost and silent. A process that is killed
//! leaves a file that plays up to the last block.

use super::step::{Before, News, Report, Step};
use super::wav;
use crate::recording::{FileFormat, FileSetup};
use crate::uring::file::Outcome;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io;

/// Blocks of one recording that may wait for its disk, or be with an encoder; later ones are lost. About as many seconds.
const BLOCKS_MAX: usize = 16;
/// What a block takes in memory while it is with an encoder: a second of 8000 Hz.
const ENCODING_BYTES: usize = 16_000;
/// Silence is written in pieces of this many bytes.
const SILENCE_PIECE: u64 = 64 * 1024;
/// How often the end of a recording is tried on a disk that fails.
const FINAL_TRIES: u32 = 4;
/// Silence in G.711 u-law and A-law.
const SILENCE_ULAW: u8 = 0xff;
const SILENCE_ALAW: u8 = 0xd5;

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum State {
    /// To be opened.
    New,
    NoDirectory,
    /// Open, but what was there before is not known yet.
    Unknown,
    /// No operation is under way.
    Idle,
    /// An operation that is no block is under way.
    Busy,
    /// A block is being written.
    Block {
        offset: u64,
        samples: u64,
    },
    /// The header, or what replaces the first bytes, is being written.
    Head,
    Truncating,
    Closing,
    /// The disk failed; a little time has to pass.
    Waiting,
    Failed,
    Finished,
}

#[derive(Debug)]
enum Body {
    Bytes(Vec<u8>),
    /// So many bytes of it.
    Silence(u64),
}

#[derive(Debug)]
struct Block {
    offset: u64,
    samples: u64,
    body: Body,
}

/// See the module's text.
pub(super) struct Recording {
    setup: Box<FileSetup>,
    state: State,
    /// Where to go on after waiting.
    after_wait: State,
    file: Option<File>,
    /// Is it known where in the file the recording begins?
    placed: bool,
    container: Option<wav::Kind>,
    /// Byte offset of the first sample in the file, and of the first sample of this recording.
    sound_start: u64,
    base: u64,
    /// Samples that the blocks up to now cover, gaps included.
    end: u64,
    /// Bytes that a stream has up to now.
    stream_end: u64,
    blocks: VecDeque<Block>,
    /// Blocks that came before the file was open: position, samples, bytes.
    early: VecDeque<(u64, u64, Vec<u8>)>,
    /// Blocks that are with the encoder.
    encoding: usize,
    /// Bytes that the disk is being given.
    writing: usize,
    /// Bytes of the file that hold sound, as far as written.
    written_end: u64,
    samples_written: u64,
    header_written: bool,
    /// Bytes that replace the first ones of a stream at its end.
    head: Option<Vec<u8>>,
    final_length: Option<u64>,
    final_tries: u32,
    truncated: bool,
    head_done: bool,
    directories_made: bool,
    lost: u64,
    /// It is given up as soon as the operation under way has ended.
    doomed: bool,
    /// What was lost when the trouble began that was told.
    trouble: Option<u64>,
    news: Option<News>,
    error: Option<String>,
}

impl Recording {
    pub(super) fn new(setup: Box<FileSetup>) -> Self {
        Self {
            container: wav::Kind::of(setup.format, setup.channels),
            setup,
            state: State::New,
            after_wait: State::New,
            file: None,
            placed: false,
            sound_start: 0,
            base: 0,
            end: 0,
            stream_end: 0,
            blocks: VecDeque::new(),
            early: VecDeque::new(),
            encoding: 0,
            writing: 0,
            written_end: 0,
            samples_written: 0,
            header_written: false,
            head: None,
            final_length: None,
            final_tries: 0,
            truncated: false,
            head_done: false,
            directories_made: false,
            lost: 0,
            doomed: false,
            trouble: None,
            news: None,
            error: None,
        }
    }

    pub(super) fn setup(&self) -> &FileSetup {
        &self.setup
    }

    pub(super) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    pub(super) fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// May another block come? When not, it is lost: call [`Recording::refuse`].
    pub(super) fn has_room(&self) -> bool {
        !self.has_failed()
            && self.final_length.is_none()
            && self.blocks.len() + self.early.len() + self.encoding < BLOCKS_MAX
    }

    /// Takes a block, already in the file's encoding, that begins `position` samples after the start.
    pub(super) fn block(&mut self, position: u64, samples: u64, bytes: Vec<u8>) {
        if samples > 0 {
            self.accept(position, samples, bytes);
        }
    }

    /// A block went to the encoder; [`Recording::encoded`] follows.
    pub(super) fn encoding(&mut self) {
        self.encoding += 1;
    }

    /// What the encoder made of a block: the next bytes of the stream.
    pub(super) fn encoded(&mut self, samples: u64, bytes: Vec<u8>) {
        self.encoding = self.encoding.saturating_sub(1);
        self.end += samples;
        if !bytes.is_empty() {
            self.accept(0, samples, bytes);
        } else {
            self.samples_written += samples;
        }
    }

    /// The encoder cannot go on.
    pub(super) fn encoder_failed(&mut self, why: &str) {
        self.note(format!(
            "cannot encode {}: {why}",
            self.setup.path.display()
        ));
        self.tell_trouble();
        self.encoding = 0;
        // The outcome of what the disk does now must find its state, and the file must not be closed meanwhile.
        self.doomed = true;
        self.give_up_if_doomed();
    }

    /// Counts samples that are lost because [`Recording::has_room`] says no, or for the reason given.
    pub(super) fn refuse(&mut self, samples: u64, why: &'static str) {
        if self.trouble.is_none() && !self.has_failed() {
            self.trouble = Some(self.lost);
            self.news = Some(News::Trouble(Cow::Borrowed(why)));
        }
        self.lost += samples;
    }

    fn has_failed(&self) -> bool {
        self.state == State::Failed || self.doomed
    }

    /// Whether the outcome of an operation is to come.
    fn is_under_way(&self) -> bool {
        matches!(
            self.state,
            State::Busy | State::Block { .. } | State::Head | State::Truncating | State::Closing
        )
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
        if !self.is_stream() && self.silence().is_some() && length > self.covered() {
            self.accept(length, 0, Vec::new());
        }
        self.final_length = Some(length);
        self.lost += lost;
        if self.state == State::Waiting {
            self.state = self.after_wait;
        }
    }

    /// The end of a stream: its last bytes come as [`Recording::encoded`] before; `head` replaces its first ones.
    pub(super) fn finish_stream(&mut self, length: u64, lost: u64, head: Option<Vec<u8>>) {
        self.head = head;
        self.finish(length, lost);
    }

    /// Ends it where it stands, if nobody else has.
    pub(super) fn abandon(&mut self) {
        self.finish(self.covered(), 0);
    }

    /// Samples up to the end of the last block.
    pub(super) fn covered(&self) -> u64 {
        if self.is_stream() {
            return self.end;
        }
        self.early
            .back()
            .map_or(self.end, |(position, samples, _)| position + samples)
    }

    /// Bytes that wait for the disk or an encoder, about.
    pub(super) fn backlog(&self) -> usize {
        let early: usize = self.early.iter().map(|(_, _, bytes)| bytes.len()).sum();
        let blocks: usize = self
            .blocks
            .iter()
            .map(|block| match &block.body {
                Body::Bytes(bytes) => bytes.len(),
                Body::Silence(_) => 0,
            })
            .sum();
        early + blocks + self.writing + self.encoding * ENCODING_BYTES
    }

    /// The next operation, or `None` when one is under way or nothing is to be done.
    pub(super) fn step(&mut self) -> Option<Step> {
        match self.state {
            State::New => {
                self.state = State::Busy;
                Some(Step::Open {
                    keep: self.setup.append,
                })
            }
            State::NoDirectory => {
                self.state = State::Busy;
                Some(Step::MakeDirectories)
            }
            State::Unknown => {
                self.state = State::Busy;
                Some(Step::Look)
            }
            State::Idle => self.next_write(),
            State::Failed if self.final_length.is_some() => {
                self.state = State::Closing;
                match self.file.take() {
                    Some(file) => Some(Step::Close(file)),
                    None => {
                        self.state = State::Finished;
                        None
                    }
                }
            }
            _ => None,
        }
    }

    fn next_write(&mut self) -> Option<Step> {
        if let Some(block) = self.blocks.pop_front() {
            return Some(self.write_block(block));
        }
        let length = self.final_length?;
        let end = self.final_end(length);
        if !self.truncated
            && (end < self.written_end || (end > self.written_end && self.silence().is_none()))
        {
            self.state = State::Truncating;
            return Some(Step::Truncate { length: end });
        }
        if !self.head_done {
            let head = match &self.container {
                Some(kind) => Some((kind.header(end.saturating_sub(self.sound_start)), 0)),
                None => self.head.clone().map(|head| (head, self.base)),
            };
            if let Some((bytes, offset)) = head {
                self.state = State::Head;
                return Some(Step::Write { bytes, offset });
            }
        }
        self.state = State::Closing;
        match self.file.take() {
            Some(file) => Some(Step::Close(file)),
            None => {
                self.state = State::Finished;
                None
            }
        }
    }

    /// Where the sound ends in a recording of this length.
    fn final_end(&self, length: u64) -> u64 {
        if self.is_stream() {
            self.written_end
        } else {
            self.base + length * self.unit()
        }
    }

    fn write_block(&mut self, block: Block) -> Step {
        let Block {
            mut offset,
            mut samples,
            body,
        } = block;
        let mut bytes = match body {
            Body::Bytes(bytes) => bytes,
            Body::Silence(len) => {
                let piece = len.min(SILENCE_PIECE);
                if len > piece {
                    self.blocks.push_front(Block {
                        offset: offset + piece,
                        samples: 0,
                        body: Body::Silence(len - piece),
                    });
                }
                vec![self.silence().unwrap_or(0); piece as usize]
            }
        };
        // The first block of a new file brings its header along. Until the end it says that the sound reaches to the end
        // of the file, as far as that may be.
        if let Some(kind) = &self.container
            && !self.header_written
            && offset >= self.sound_start
        {
            let header = kind.header(u64::MAX);
            if offset == self.sound_start {
                bytes.splice(..0, header);
            } else {
                self.blocks.push_front(Block {
                    offset,
                    samples,
                    body: Body::Bytes(std::mem::replace(&mut bytes, header)),
                });
                samples = 0;
            }
            offset = 0;
        }
        self.writing = bytes.len();
        self.state = State::Block { offset, samples };
        Step::Write { bytes, offset }
    }

    /// Takes the outcome of the last step. Bytes that are no longer needed come back for the next use.
    pub(super) fn done(&mut self, outcome: Outcome) -> Option<Vec<u8>> {
        let bytes = self.take(outcome);
        self.give_up_if_doomed();
        bytes
    }

    fn take(&mut self, outcome: Outcome) -> Option<Vec<u8>> {
        match outcome {
            Outcome::Opened(result) => self.opened(result),
            Outcome::Written(result, bytes) => return self.wrote(result, bytes),
            Outcome::Truncated(result) => {
                self.state = State::Idle;
                match (result, self.final_length) {
                    (Ok(()), Some(length)) => {
                        self.truncated = true;
                        self.written_end = self.final_end(length);
                    }
                    (Err(error), _) => {
                        self.truncated = self.failed("set the length of", &error, State::Idle);
                    }
                    (Ok(()), None) => {}
                }
            }
            Outcome::Closed(result) => {
                if let Err(error) = result {
                    self.fail("close", &error);
                }
                self.state = State::Finished;
            }
        }
        None
    }

    /// The directories were made, or not.
    pub(super) fn directories(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => {
                self.directories_made = true;
                self.state = State::New;
            }
            Err(error) => self.not_opened("make the directory of", &error),
        }
        self.give_up_if_doomed();
    }

    /// What was there before, of a file that is continued.
    pub(super) fn looked(&mut self, before: Result<Before, String>) {
        match before.and_then(|before| self.place_after(&before)) {
            Ok(()) => self.is_open(),
            Err(why) => {
                self.note(format!(
                    "cannot continue {}: {why}",
                    self.setup.path.display()
                ));
                self.tell_trouble();
                self.give_up();
            }
        }
        self.give_up_if_doomed();
    }

    /// Time has passed: what failed is tried again.
    pub(super) fn retry(&mut self) {
        if self.state == State::Waiting {
            self.state = self.after_wait;
        }
    }

    /// Whether the file is closed.
    pub(super) fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Whether it waits for [`Recording::retry`].
    pub(super) fn is_waiting(&self) -> bool {
        self.state == State::Waiting
    }

    /// To be called once finished.
    pub(super) fn report(&mut self) -> Report {
        let samples = if self.is_stream() {
            self.samples_written
        } else {
            self.written_end.saturating_sub(self.base) / self.unit()
        };
        Report {
            samples,
            lost_samples: self.lost,
            error: self.error.take(),
        }
    }

    fn opened(&mut self, result: io::Result<File>) {
        match result {
            Ok(file) => {
                self.file = Some(file);
                self.sound_start = self.container.map_or(0, wav::Kind::header_len);
                self.base = self.sound_start;
                if self.setup.append {
                    self.state = State::Unknown;
                } else {
                    self.is_open();
                }
            }
            // Once: when the directory is there and the file still cannot be made, that is the answer.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.directories_made => {
                self.state = State::NoDirectory;
            }
            Err(error) => self.not_opened("open", &error),
        }
    }

    fn not_opened(&mut self, tried: &str, error: &io::Error) {
        if is_passing(error) {
            if self.failed(tried, error, State::New) {
                self.give_up();
            }
        } else {
            self.fail(tried, error);
            self.tell_trouble();
            self.give_up();
        }
    }

    fn is_open(&mut self) {
        self.written_end = self.base;
        self.placed = true;
        self.state = State::Idle;
        while let Some((position, samples, bytes)) = self.early.pop_front() {
            self.place(position, samples, bytes);
        }
        self.resumed();
    }

    /// Finds out where in the file this recording begins.
    fn place_after(&mut self, before: &Before) -> Result<(), String> {
        match &self.container {
            Some(kind) if before.len > 0 => {
                let layout = kind.parse(&before.head, before.len)?;
                if layout.start != self.sound_start {
                    return Err("its sound does not begin where ours does".to_owned());
                }
                self.base = layout.start + layout.len;
                self.header_written = true;
            }
            _ => self.base = self.base.max(before.len).next_multiple_of(self.unit()),
        }
        Ok(())
    }

    /// Puts a block in the queue at its place in the file.
    fn place(&mut self, position: u64, samples: u64, bytes: Vec<u8>) {
        if self.is_stream() {
            let offset = self.base + self.stream_end;
            self.stream_end += bytes.len() as u64;
            self.blocks.push_back(Block {
                offset,
                samples,
                body: Body::Bytes(bytes),
            });
            return;
        }
        let offset = self.base + position * self.unit();
        let gap = position.saturating_sub(self.end);
        if gap > 0 && self.silence().is_some() {
            let len = gap * self.unit();
            self.blocks.push_back(Block {
                offset: offset - len,
                samples: 0,
                body: Body::Silence(len),
            });
        }
        self.end = self.end.max(position + samples);
        if !bytes.is_empty() {
            self.blocks.push_back(Block {
                offset,
                samples,
                body: Body::Bytes(bytes),
            });
        }
    }

    fn accept(&mut self, position: u64, samples: u64, bytes: Vec<u8>) {
        if self.has_failed() {
            self.lost += samples;
        } else if self.placed {
            self.place(position, samples, bytes);
        } else {
            self.early.push_back((position, samples, bytes));
        }
    }

    fn wrote(&mut self, result: io::Result<usize>, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let state = std::mem::replace(&mut self.state, State::Idle);
        self.writing = 0;
        let result = match result {
            Ok(0) => Err(io::Error::from(io::ErrorKind::WriteZero)),
            other => other,
        };
        match (result, state) {
            (Ok(n), State::Block { offset, samples }) => {
                if offset < self.sound_start {
                    self.header_written = true;
                }
                let at = offset + n as u64;
                self.written_end = self.written_end.max(at);
                if n < bytes.len() {
                    // What follows a short write is tried as a block of its own: its error will tell why.
                    let rest = bytes.get(n..).unwrap_or_default().to_vec();
                    self.blocks.push_front(Block {
                        offset: at,
                        samples,
                        body: Body::Bytes(rest),
                    });
                } else {
                    self.samples_written += samples;
                    self.resumed();
                }
                Some(bytes)
            }
            (Err(error), State::Block { offset, samples }) => {
                if self.failed("write", &error, State::Idle) {
                    // The header is tried once more at the end, not before every block.
                    self.header_written |= offset < self.sound_start;
                    self.lost += samples;
                    return Some(bytes);
                }
                self.blocks.push_front(Block {
                    offset,
                    samples,
                    body: Body::Bytes(bytes),
                });
                None
            }
            (Ok(n), _) => {
                // A header is far shorter than what a disk writes at once.
                self.head_done = n == bytes.len() || self.give_up_head();
                Some(bytes)
            }
            (Err(error), _) => {
                self.head_done = self.failed("write the header of", &error, State::Idle);
                Some(bytes)
            }
        }
    }

    fn give_up_head(&mut self) -> bool {
        self.failed(
            "write the header of",
            &io::Error::from(io::ErrorKind::WriteZero),
            State::Idle,
        )
    }

    /// Something failed that may work later. True: it is given up; otherwise it is to be tried again.
    fn failed(&mut self, tried: &str, error: &io::Error, again: State) -> bool {
        if self.final_length.is_some() {
            self.final_tries += 1;
            if self.final_tries > FINAL_TRIES {
                self.fail(tried, error);
                return true;
            }
        }
        if self.trouble.is_none() {
            self.trouble = Some(self.lost);
            self.news = Some(News::Trouble(Cow::Owned(self.describe(tried, error))));
        }
        self.state = State::Waiting;
        self.after_wait = again;
        false
    }

    /// Something works: a trouble that was told is over when what waited has been written.
    fn resumed(&mut self) {
        if !self.doomed
            && self.blocks.len() + self.encoding < BLOCKS_MAX / 2
            && let Some(before) = self.trouble.take()
        {
            self.final_tries = 0;
            self.news = Some(News::Resumed(self.lost - before));
        }
    }

    fn tell_trouble(&mut self) {
        if self.trouble.is_none() {
            self.trouble = Some(self.lost);
            self.news = self.error.clone().map(|e| News::Trouble(Cow::Owned(e)));
        }
    }

    fn give_up_if_doomed(&mut self) {
        if self.doomed && self.state != State::Finished && !self.is_under_way() {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        while let Some((_, samples, _)) = self.early.pop_front() {
            self.lost += samples;
        }
        for block in self.blocks.drain(..) {
            self.lost += block.samples;
        }
        self.state = State::Failed;
    }

    fn fail(&mut self, tried: &str, error: &io::Error) {
        self.note(self.describe(tried, error));
    }

    fn describe(&self, tried: &str, error: &io::Error) -> String {
        format!("cannot {tried} {}: {error}", self.setup.path.display())
    }

    fn note(&mut self, text: String) {
        self.error.get_or_insert(text);
    }

    /// Bytes of a sample of every channel; 1 in a stream.
    fn unit(&self) -> u64 {
        match self.setup.format {
            FileFormat::Wav | FileFormat::Wav16 | FileFormat::Sln(_) => {
                2 * u64::from(self.setup.channels)
            }
            _ => 1,
        }
    }

    /// Do the bytes come from an encoder, in order?
    pub(super) fn is_stream(&self) -> bool {
        super::encode::is_stream(&self.setup)
    }

    fn silence(&self) -> Option<u8> {
        match self.setup.format {
            FileFormat::Ulaw => Some(SILENCE_ULAW),
            FileFormat::Alaw => Some(SILENCE_ALAW),
            _ => None,
        }
    }
}

/// May it work later? What the path or its rights make impossible will not.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    !matches!(
        error.kind(),
        K::NotFound
            | K::PermissionDenied
            | K::NotADirectory
            | K::IsADirectory
            | K::InvalidFilename
            | K::InvalidInput
            | K::AlreadyExists
    )
}
