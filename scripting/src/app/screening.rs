//! Options `p` and `P` of `Dial`: the callee hears who calls before he talks with him, and decides. With `P` the decision is
//! kept in the database, family `privacy`. Who calls says his name first, unless he did so before.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strowger_core::channel::{Channel, Interrupt, Played};
use strowger_dialplan::args::Options;
use strowger_media::{PlayId, Repeat, Sound};

use super::music::music_of;
use super::play::load;
use super::record::with_extension;
use super::{ANSWER_MEDIA_WAIT, Call, Stop};

/// Where decisions are kept.
const FAMILY: &str = "privacy";
/// Where names that callers said are kept, below the sounds.
const FOLDER: &str = "priv-callerintros";
/// Seconds of silence that end a name, and the longest name.
const NAME: &str = "2,4,q";
/// How often the callee is asked, and how long he may think each time.
const ASKED: u32 = 3;
const THINKS: Duration = Duration::from_secs(4);
/// Characters of a number that a name of a file may have.
const NUMBER_MAX: usize = 64;

/// What the callee decided.
pub(super) enum Verdict {
    Connect,
    /// With this `DIALSTATUS`.
    Refused(&'static str),
}

/// A caller whom the callee is asked about.
pub(super) struct Screening {
    /// Under which decisions are kept, with `P`: family and key of `privacy`.
    key: Option<String>,
    /// His name as he said it, a sound.
    name: String,
    /// The file of the name, where it is not kept.
    forgotten: std::cell::Cell<bool>,
    file: PathBuf,
    call: Arc<strowger_core::Shared>,
}

impl Drop for Screening {
    fn drop(&mut self) {
        if !self.forgotten.get() {
            return;
        }
        let file = std::mem::take(&mut self.file);
        self.call.control.spawn(async move {
            match tokio::fs::remove_file(&file).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(file = %file.display(), %error, "name of a caller not deleted");
                }
                _ => {}
            }
        });
    }
}

/// A number as a name of a file may have it.
fn plain(number: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '_' | '*');
    number.chars().filter(fits).take(NUMBER_MAX).collect()
}

/// What was decided before: None is nothing.
fn decided(word: &str) -> Option<Result<(), &'static str>> {
    match word.trim().to_ascii_lowercase().as_str() {
        "allow" => Some(Ok(())),
        "deny" => Some(Err("NOANSWER")),
        "kill" => Some(Err("DONTCALL")),
        "torture" => Some(Err("TORTURE")),
        _ => None,
    }
}

impl Screening {
    /// None: nobody is asked. An error inside: the call is refused with that `DIALSTATUS`.
    pub(super) async fn of(
        call: &Call,
        options: &Options,
    ) -> Result<Option<Result<Self, &'static str>>, Stop> {
        let keeps = options.has('P');
        if !keeps && !options.has('p') {
            return Ok(None);
        }
        let channel = call.channel();
        let number = plain(&channel.data().caller.number);
        let known = !number.is_empty();
        if known && options.has('N') {
            return Ok(None);
        }
        let exten = channel.location().exten;
        let key = (keeps && known).then(|| match options.argument('P') {
            Some(family) if !family.is_empty() => format!("{family}/{number}"),
            _ => format!("{exten}/{number}"),
        });
        if let Some(key) = &key {
            let word = call.shared().astdb.get(FAMILY, key).unwrap_or_default();
            match decided(&word) {
                Some(Ok(())) => return Ok(None),
                Some(Err(status)) => return Ok(Some(Err(status))),
                None => {}
            }
        }
        let name = if known {
            format!("{FOLDER}/{number}")
        } else {
            format!("{FOLDER}/NOCALLERID_{}", plain(&channel.uniqueid()))
        };
        let deletes = match options.argument('n').map(str::trim) {
            Some("1") => true,
            None | Some("" | "0") => false,
            Some(other) => {
                call.warn(&format!("Dial: option n({other}): known are 0 and 1"));
                false
            }
        };
        let screening = Self {
            key,
            file: with_extension(&call.shared().paths().sounds.join(&name), "wav"),
            name,
            // What somebody said who cannot be told from others is of no use later.
            forgotten: std::cell::Cell::new(deletes || !known),
            call: Arc::clone(call.task.shared()),
        };
        if !known || screening.said(call).await.is_none() {
            screening.ask_name(call).await?;
        }
        Ok(Some(Ok(screening)))
    }

    /// The name as the caller said it, if he did.
    async fn said(&self, call: &Call) -> Option<Arc<Sound>> {
        let language = call.channel().data().language.clone();
        let rate = call.channel().sound_rate();
        let sounds = &call.shared().sounds;
        sounds.load_at(&self.name, &language, rate).await.ok()
    }

    async fn ask_name(&self, call: &Call) -> Result<(), Stop> {
        let channel = call.channel();
        channel.answer(ANSWER_MEDIA_WAIT).await?;
        let mut sounds = load(call, "priv-recordintro", None).await.0;
        sounds.push(call.shared().sounds.beep());
        channel.play(sounds, false, &|_| false).await?;
        let data = format!("{}.wav,{NAME}", self.name);
        let recorded = Box::pin(super::execute(&call.task, "Record", data, None)).await;
        channel.set_application("Dial", &call.data);
        match recorded {
            Ok(_) => {}
            Err(Stop::Failed(error)) => call.warn(&error),
            Err(stop) => {
                self.forgotten.set(true);
                return Err(stop);
            }
        }
        let sounds = load(call, "vm-dialout", None).await.0;
        if !sounds.is_empty() {
            channel.play(sounds, false, &|_| false).await?;
        }
        Ok(())
    }

    /// Asks who answered, while the caller believes that it still rings.
    pub(super) async fn ask(
        &self,
        call: &Call,
        options: &Options,
        peer: &Channel,
    ) -> Result<Verdict, Stop> {
        let channel = call.channel();
        let background = waiting(call, options).await;
        let asked = tokio::select! {
            digit = self.asked(call, options, peer) => Ok(digit),
            interrupt = channel.wait_for_end() => Err(interrupt),
        };
        if let Some(play) = background {
            channel.stop_play(play);
        }
        let digit = asked?;
        if let (Some(key), Some(digit)) = (&self.key, digit) {
            let word = match digit {
                '2' => "deny",
                '3' => "torture",
                '4' => "kill",
                _ => "allow",
            };
            if let Err(error) = call.shared().astdb.put(FAMILY, key, word) {
                call.warn(&format!(
                    "Dial: the decision of the callee is not kept: {error}"
                ));
            }
        }
        Ok(match digit {
            Some('1') => {
                if options.has('n') {
                    self.forgotten.set(true);
                }
                Verdict::Connect
            }
            Some('3') => Verdict::Refused("TORTURE"),
            Some('4') => Verdict::Refused("DONTCALL"),
            // Nor is a caller let through to somebody who says nothing.
            _ => Verdict::Refused("NOANSWER"),
        })
    }

    /// The digit that he chose; None: none, or he hung up.
    async fn asked(&self, call: &Call, options: &Options, peer: &Channel) -> Option<char> {
        let last = if options.has('P') { '5' } else { '4' };
        let fits = |digit: char| ('1'..=last).contains(&digit);
        let language = peer.data().language.clone();
        let menu = if options.has('P') {
            "priv-callee-options"
        } else {
            "screen-callee-options"
        };
        let mut sounds = load(call, "priv-callpending", Some(&language)).await.0;
        sounds.extend(self.said(call).await);
        sounds.extend(load(call, menu, Some(&language)).await.0);
        let sorry = load(call, "vm-sorry", Some(&language)).await.0;
        for _ in 0..ASKED {
            for (sounds, thinks) in [(&sounds, THINKS), (&sorry, Duration::ZERO)] {
                match choose(peer, sounds.clone(), thinks, &fits).await {
                    Ok(Some(digit)) => return Some(digit),
                    Ok(None) => {}
                    Err(_) => return None,
                }
            }
        }
        None
    }
}

/// What the caller hears meanwhile.
async fn waiting(call: &Call, options: &Options) -> Option<PlayId> {
    let channel = call.channel();
    if !channel.is_up() {
        return None;
    }
    if let Some(class) = options.argument('m') {
        let music = music_of(call, class).await?;
        return channel.start_play(music.sounds, Repeat::Forever);
    }
    channel.start_tone("ring")
}

async fn choose(
    peer: &Channel,
    sounds: Vec<Arc<Sound>>,
    thinks: Duration,
    fits: &dyn Fn(char) -> bool,
) -> Result<Option<char>, Interrupt> {
    if !sounds.is_empty()
        && let Played::Digit(digit) = peer.play(sounds, false, fits).await?
    {
        return Ok(Some(digit));
    }
    match peer.wait_digit(thinks).await? {
        Some(digit) if fits(digit) => Ok(Some(digit)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_names_of_files_that_stay_in_their_folder() {
        for (number, wanted) in [
            ("+7 (495) 123-45-67", "+7495123-45-67"),
            ("../../etc/passwd", "etcpasswd"),
            ("", ""),
            ("анна", ""),
        ] {
            assert_eq!(plain(number), wanted);
        }
        assert_eq!(plain(&"1".repeat(200)).len(), NUMBER_MAX);
    }

    #[test]
    fn decisions_are_words_of_asterisk() {
        assert_eq!(decided("allow"), Some(Ok(())));
        assert_eq!(decided("Deny"), Some(Err("NOANSWER")));
        assert_eq!(decided("kill"), Some(Err("DONTCALL")));
        assert_eq!(decided("torture"), Some(Err("TORTURE")));
        assert_eq!(decided(""), None);
    }
}
