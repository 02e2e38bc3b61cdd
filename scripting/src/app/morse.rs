//! `Morsecode`.

use std::f64::consts::TAU;
use std::sync::Arc;

use strowger_media::Sound;

use super::play::audible;
use super::{App, AppResult, Call, Next, app};

pub(super) const APPS: &[App] = &[app!(
    "Morsecode",
    "Morsecode(text)",
    "sends a text in Morse code",
    morse_code
)];

/// Length of a dot unless `MORSEDITLEN` says another, in milliseconds, and what that may say.
const DOT_MS: u32 = 80;
const DOT_MS_MIN: u32 = 10;
const DOT_MS_MAX: u32 = 1000;
/// The tone unless `MORSETONE` says another, in Hz, and what that may say.
const TONE: u32 = 800;
const TONE_MAX: u32 = 3900;
/// Longest text, in characters.
const TEXT_MAX: usize = 500;

/// Letters, digits and signs of the international code (ITU-R M.1677).
const INTERNATIONAL: &[(char, &str)] = &[
    ('A', ".-"),
    ('B', "-..."),
    ('C', "-.-."),
    ('D', "-.."),
    ('E', "."),
    ('F', "..-."),
    ('G', "--."),
    ('H', "...."),
    ('I', ".."),
    ('J', ".---"),
    ('K', "-.-"),
    ('L', ".-.."),
    ('M', "--"),
    ('N', "-."),
    ('O', "---"),
    ('P', ".--."),
    ('Q', "--.-"),
    ('R', ".-."),
    ('S', "..."),
    ('T', "-"),
    ('U', "..-"),
    ('V', "...-"),
    ('W', ".--"),
    ('X', "-..-"),
    ('Y', "-.--"),
    ('Z', "--.."),
    ('0', "-----"),
    ('1', ".----"),
    ('2', "..---"),
    ('3', "...--"),
    ('4', "....-"),
    ('5', "....."),
    ('6', "-...."),
    ('7', "--..."),
    ('8', "---.."),
    ('9', "----."),
    ('.', ".-.-.-"),
    (',', "--..--"),
    (':', "---..."),
    ('?', "..--.."),
    ('\'', ".----."),
    ('-', "-....-"),
    ('/', "-..-."),
    ('(', "-.--."),
    (')', "-.--.-"),
    ('"', ".-..-."),
    ('=', "-...-"),
    ('+', ".-.-."),
    ('@', ".--.-."),
];

/// A piece of a message, in lengths of a dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Tone(u32),
    Pause(u32),
}

/// A text in dots, dashes and pauses: one dot between the signs of a letter, three between letters, seven between words.
/// Letters that have no code are left out.
fn pieces(text: &str) -> Vec<Piece> {
    let mut all = Vec::new();
    for word in text.split_whitespace() {
        if !all.is_empty() {
            all.push(Piece::Pause(7));
        }
        let letters = word.chars().filter_map(|letter| {
            let letter = letter.to_ascii_uppercase();
            let found = INTERNATIONAL.iter().find(|(known, _)| *known == letter);
            found.map(|(_, code)| *code)
        });
        for (number, code) in letters.enumerate() {
            if number > 0 {
                all.push(Piece::Pause(3));
            }
            for (number, sign) in code.chars().enumerate() {
                if number > 0 {
                    all.push(Piece::Pause(1));
                }
                all.push(Piece::Tone(if sign == '-' { 3 } else { 1 }));
            }
        }
    }
    all
}

fn tone(hertz: u32, ms: u32) -> Arc<Sound> {
    let step = TAU * f64::from(hertz) / 8000.0;
    let samples: Vec<i16> = (0..ms * 8)
        .map(|n| ((f64::from(n) * step).sin() * 8192.0) as i16)
        .collect();
    Arc::new(Sound::from_samples(samples))
}

/// A number that a variable of the channel says.
fn setting(call: &Call, name: &str, usual: u32, range: std::ops::RangeInclusive<u32>) -> u32 {
    let Some(text) = call.channel().variable(name) else {
        return usual;
    };
    match text.trim().parse() {
        Ok(number) if range.contains(&number) => number,
        _ => {
            call.warn(&format!(
                "Morsecode: {name}={text}: it is a number from {} to {}; {usual} is taken",
                range.start(),
                range.end()
            ));
            usual
        }
    }
}

async fn morse_code(call: Call) -> AppResult {
    let dot_ms = setting(&call, "MORSEDITLEN", DOT_MS, DOT_MS_MIN..=DOT_MS_MAX);
    let hertz = setting(&call, "MORSETONE", TONE, 1..=TONE_MAX);
    let pause_hertz = setting(&call, "MORSESPACETONE", 0, 0..=TONE_MAX);
    let kind = call.channel().variable("MORSETYPE").unwrap_or_default();
    if !kind.is_empty() && !kind.eq_ignore_ascii_case("INTERNATIONAL") {
        call.warn(&format!(
            "Morsecode: MORSETYPE={kind} is not known; INTERNATIONAL is sent"
        ));
    }
    let text: String = call.data.chars().take(TEXT_MAX).collect();
    if text.len() < call.data.len() {
        call.warn(&format!(
            "Morsecode: the text is longer than {TEXT_MAX} characters and is cut"
        ));
    }
    audible(&call, true).await?;
    // Each piece once in memory, however long the text.
    let mut known: Vec<(Piece, Arc<Sound>)> = Vec::new();
    let mut sounds = Vec::new();
    for piece in pieces(&text) {
        let found = known.iter().find(|(same, _)| *same == piece);
        let sound = match found {
            Some((_, sound)) => Arc::clone(sound),
            None => {
                let sound = match piece {
                    Piece::Tone(dots) => tone(hertz, dots * dot_ms),
                    Piece::Pause(dots) => tone(pause_hertz, dots * dot_ms),
                };
                known.push((piece, Arc::clone(&sound)));
                sound
            }
        };
        sounds.push(sound);
    }
    if !sounds.is_empty() {
        call.channel().play(sounds, false, &|_| false).await?;
    }
    Ok(Next::Continue)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks and pauses as they are written on paper: a dot is one sign wide.
    fn drawn(text: &str) -> String {
        let draw = |piece| match piece {
            Piece::Tone(dots) => "=".repeat(dots as usize),
            Piece::Pause(dots) => ".".repeat(dots as usize),
        };
        pieces(text).into_iter().map(draw).collect()
    }

    #[test]
    fn a_text_becomes_marks_and_pauses() {
        assert_eq!(drawn("sos"), "=.=.=...===.===.===...=.=.=");
        assert_eq!(drawn("E  T"), "=.......===");
        assert_eq!(drawn("e\u{444}e"), "=...=", "what has no code is left out");
        assert_eq!(drawn("  "), "");
    }

    #[test]
    fn a_tone_has_its_length_and_no_tone_is_silence() {
        assert_eq!(tone(800, 80).duration_ms(), 80);
        assert!(tone(0, 80).samples.iter().all(|sample| *sample == 0));
    }
}
