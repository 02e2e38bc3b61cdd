//! `Dictate`: a dictation machine, which records, plays, winds and cuts as keys tell it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strowger_core::channel::{Controlled, PlayKeys, RecorderResult, RecorderSpec};
use strowger_media::{FileFormat, Sound, TapMode};
use tokio::sync::oneshot;

use super::play::{audible, load_all};
use super::read::ask;
use super::record::{CLOSE_WAIT, DTMF_MS, OPEN_WAIT, try_open, with_extension};
use super::{App, AppResult, Call, Next, Stop, app, files};
use crate::say::{self, Gender, Grammar};

pub(super) const APPS: &[App] = &[app!(
    "Dictate",
    "Dictate([folder[,file]])",
    "records, plays and winds what the caller dictates, as keys tell it",
    dictate
)];

/// Samples a second of the files.
const RATE: usize = 8000;
/// How far a key winds, in samples: 3.2 s.
const WIND: usize = 320 * 80;
/// How many times faster it may play.
const SPEED_MAX: usize = 4;
/// Samples read at a time: so much memory a machine takes.
const PIECE: usize = 60 * RATE;
/// Samples of a frame, of which every second, third or fourth is left when it plays faster.
const FRAME: usize = RATE / 50;
/// Every key, because each may end what is played.
const KEYS: &str = "0123456789*#";
/// Digits of a file's name.
const DIGITS_MAX: usize = 40;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Play,
    Record,
}

impl Mode {
    fn prompt(self) -> &'static str {
        match self {
            Self::Play => "dictate/playback",
            Self::Record => "dictate/record",
        }
    }

    fn told(self) -> &'static str {
        match self {
            Self::Play => "dictate/playback_mode",
            Self::Record => "dictate/record_mode",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Play => "dictate/play_help",
            Self::Record => "dictate/record_help",
        }
    }
}

/// A machine with a file in it.
struct Machine<'c> {
    call: &'c Call,
    path: PathBuf,
    mode: Mode,
    paused: bool,
    /// Where it plays, in samples.
    position: usize,
    speed: usize,
    /// What is recorded next replaces everything before.
    cut: bool,
}

async fn dictate(call: Call) -> AppResult {
    let data = &call.shared().paths().data;
    let folder = match call.arg(0) {
        "" => data.join("dictate"),
        folder => data.join(folder),
    };
    for name in [call.arg(0), call.arg(1)] {
        if let Some(why) = files::not_written(&call.task, name) {
            return Err(Stop::Failed(format!(
                "Dictate: \"{name}\" is not used: {why}"
            )));
        }
    }
    audible(&call, true).await?;
    let mut given = call.arg(1).to_owned();
    loop {
        let mut name = std::mem::take(&mut given);
        if name.is_empty() {
            // In digits; none: he has had enough.
            name = ask(&call, "dictate/enter_filename", DIGITS_MAX).await?;
        }
        if name.is_empty() {
            return Ok(Next::Continue);
        }
        let path = with_extension(&folder.join(&name), "raw");
        if let Err(why) = open(&call, &path).await {
            call.warn(&format!(
                "Dictate: {} cannot be written: {why}",
                path.display()
            ));
            return Ok(Next::Continue);
        }
        let machine = Machine {
            call: &call,
            path,
            mode: Mode::Play,
            paused: true,
            position: 0,
            speed: 1,
            cut: false,
        };
        machine.run().await?;
    }
}

/// Whoever starts to dictate has to be recorded: a file that cannot be written is noticed before.
async fn open(call: &Call, path: &Path) -> Result<(), String> {
    let path = path.to_owned();
    let tried = call
        .shared()
        .control
        .spawn_blocking(move || try_open(&path));
    match tokio::time::timeout(OPEN_WAIT, tried).await {
        Ok(Ok(Ok(_))) => Ok(()),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_)) | Err(_) => Err("the disk does not answer".to_owned()),
    }
}

/// At most [`PIECE`] samples of a file at `from`, played `speed` times as fast; empty at its end.
fn piece(path: &Path, from: usize, speed: usize) -> io::Result<Vec<i16>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(2 * from as u64))?;
    let mut bytes = Vec::new();
    file.take((2 * PIECE * speed) as u64)
        .read_to_end(&mut bytes)?;
    let (pairs, _) = bytes.as_chunks::<2>();
    let samples: Vec<i16> = pairs.iter().copied().map(i16::from_le_bytes).collect();
    let frames = samples.chunks(FRAME).step_by(speed);
    Ok(frames.flatten().copied().collect())
}

impl Machine<'_> {
    /// Until `#`.
    async fn run(mut self) -> Result<(), Stop> {
        let mut key = self.tell(&["dictate/forhelp"]).await?;
        loop {
            let pressed = match key.take() {
                Some(pressed) => pressed,
                None => self.work().await?,
            };
            if pressed == '#' {
                return Ok(());
            }
            key = self.press(pressed).await?;
        }
    }

    /// Plays prompts; the key that ended them.
    async fn tell(&self, prompts: &[&str]) -> Result<Option<char>, Stop> {
        let sounds = load_all(self.call, prompts.iter().copied(), None).await.0;
        self.play(sounds).await.map(|(key, _)| key)
    }

    /// Plays; the key that ended it, and where that was, in samples.
    async fn play(&self, sounds: Vec<Arc<Sound>>) -> Result<(Option<char>, usize), Stop> {
        if sounds.is_empty() {
            return Ok((None, 0));
        }
        let keys = PlayKeys {
            stop: KEYS.to_owned(),
            ..PlayKeys::default()
        };
        Ok(
            match self.call.channel().play_controlled(sounds, &keys).await? {
                Controlled::Complete => (None, 0),
                Controlled::Stopped { key, position_ms } => {
                    (Some(key), position_ms as usize * RATE / 1000)
                }
            },
        )
    }

    /// What a key does, and the key that ended what was said about it.
    async fn press(&mut self, key: char) -> Result<Option<char>, Stop> {
        match (key, self.mode) {
            ('*', mode) => {
                self.paused = !self.paused;
                let prompt = if self.paused {
                    "dictate/pause"
                } else {
                    mode.prompt()
                };
                self.tell(&[prompt]).await
            }
            ('0', mode) => {
                self.paused = true;
                self.tell(&["dictate/paused", mode.help(), "dictate/both_help"])
                    .await
            }
            ('1', mode) => {
                self.paused = true;
                self.mode = match mode {
                    Mode::Play => Mode::Record,
                    Mode::Record => Mode::Play,
                };
                self.tell(&[self.mode.told(), "dictate/paused"]).await
            }
            ('2', Mode::Play) => {
                self.speed = self.speed % SPEED_MAX + 1;
                let grammar = Grammar::of(&self.call.channel().data().language);
                let spoken = say::number(grammar, self.speed as i64, Gender::Neuter);
                let names: Vec<&str> = spoken.iter().map(String::as_str).collect();
                self.tell(&names).await
            }
            ('7', Mode::Play) => {
                self.position = self.position.saturating_sub(WIND);
                Ok(None)
            }
            ('8', Mode::Play) => {
                self.position += WIND;
                Ok(None)
            }
            ('8', Mode::Record) => {
                self.cut = !self.cut;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Plays or records, or stands still, until a key.
    async fn work(&mut self) -> Result<char, Stop> {
        if !self.paused && self.mode == Mode::Record {
            return self.record().await;
        }
        while !self.paused {
            let (path, from, speed) = (self.path.clone(), self.position, self.speed);
            let read = self
                .call
                .shared()
                .control
                .spawn_blocking(move || piece(&path, from, speed));
            let samples = match tokio::time::timeout(OPEN_WAIT, read).await {
                Ok(Ok(Ok(samples))) => samples,
                _ => {
                    let path = self.path.display();
                    self.call.warn(&format!("Dictate: {path} cannot be read"));
                    Vec::new()
                }
            };
            if samples.is_empty() {
                // At the end it begins anew; where there is nothing, it waits.
                if self.position == 0 {
                    break;
                }
                self.position = 0;
                continue;
            }
            let length = samples.len();
            let sound = Arc::new(Sound::from_samples(samples));
            match self.play(vec![sound]).await? {
                (Some(key), at) => {
                    self.position += at * self.speed;
                    return Ok(key);
                }
                (None, _) => self.position += length * self.speed,
            }
        }
        let channel = self.call.channel();
        loop {
            if let Some(key) = channel.take_digit() {
                return Ok(key);
            }
            channel.wait_change(None).await?;
        }
    }

    /// Records behind what is there, or in place of it, until a key.
    async fn record(&mut self) -> Result<char, Stop> {
        if std::mem::take(&mut self.cut) {
            let path = self.path.clone();
            let cut = self
                .call
                .shared()
                .control
                .spawn_blocking(move || File::create(path).map(drop));
            if !matches!(tokio::time::timeout(OPEN_WAIT, cut).await, Ok(Ok(Ok(())))) {
                let path = self.path.display();
                self.call.warn(&format!("Dictate: {path} cannot be cut"));
            }
            self.position = 0;
            if let Some(key) = self.tell(&["dictate/truncating_audio"]).await? {
                return Ok(key);
            }
        }
        let format = FileFormat::Sln(8000);
        let mut spec = RecorderSpec::new(self.path.clone(), format, TapMode::Receive);
        spec.append = true;
        spec.drop_last_ms_max = DTMF_MS;
        let (closed, mut closing) = oneshot::channel::<RecorderResult>();
        let channel = self.call.channel();
        let started = channel.record(spec, move |result| {
            // The application may be gone already.
            let _ = closed.send(result);
        });
        let recorder = match started {
            Ok(recorder) => recorder,
            Err(error) => {
                return Err(Stop::Failed(format!(
                    "Dictate: {} cannot be recorded: {error}",
                    self.path.display()
                )));
            }
        };
        let key = loop {
            if let Some(key) = channel.take_digit() {
                break key;
            }
            tokio::select! {
                biased;
                _ = &mut closing => {
                    self.paused = true;
                    self.call.warn(&format!(
                        "Dictate: the recording of {} ended by itself",
                        self.path.display()
                    ));
                    return Ok(self.tell(&["dictate/paused"]).await?.unwrap_or(' '));
                }
                changed = channel.wait_change(None) => {
                    if let Err(interrupt) = changed {
                        channel.stop_record(recorder, 0);
                        return Err(interrupt.into());
                    }
                }
            }
        };
        channel.stop_record(recorder, DTMF_MS);
        // What is played next is what was just said.
        if tokio::time::timeout(CLOSE_WAIT, closing).await.is_err() {
            let path = self.path.display();
            self.call.warn(&format!(
                "Dictate: {path} is not complete yet: the disk is slow"
            ));
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_read_from_its_place_and_thinned_out_by_frames() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let samples: Vec<i16> = (0..10 * FRAME as i16).collect();
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        std::fs::write(file.path(), bytes).expect("written");
        let read = |from, speed| piece(file.path(), from, speed).expect("it can be read");
        assert_eq!(read(0, 1), samples);
        assert_eq!(read(FRAME, 1), samples[FRAME..]);
        let twice = read(0, 2);
        assert_eq!(twice.len(), 5 * FRAME);
        assert_eq!(twice[FRAME..2 * FRAME], samples[2 * FRAME..3 * FRAME]);
        assert_eq!(read(0, 4).len(), 3 * FRAME, "the last is left too");
        assert!(read(10 * FRAME, 1).is_empty());
        assert!(read(1 << 40, 3).is_empty());
    }
}
