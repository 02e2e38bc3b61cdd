//! MP3 and Ogg files, block by block: only the file and the result are ever whole in memory, and for who takes the result in pieces
//! not even these.

use std::fs::File;
use std::io::Cursor;

use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;

use super::SoundError;
use super::collect::Collector;

/// Rate at which Opus is decoded, in hertz; the identification header's rate is only informative (RFC 7845 §5.1).
const OPUS_RATE: u32 = 48_000;
/// Longest Opus packet: 120 ms (RFC 6716 §2.1.4).
const OPUS_FRAMES_MAX: usize = 5760;

/// MPEG audio layer 3.
pub(super) fn mp3(file: Vec<u8>, out: &mut Collector) -> Result<(), SoundError> {
    symphonia_file("MP3", "mp3", Box::new(Cursor::new(file)), out, &mut |_| {
        true
    })
}

/// The same, read from the disk as it is needed. `each` is called after every packet; false ends it.
pub(super) fn mp3_stream(
    file: File,
    out: &mut Collector,
    each: &mut dyn FnMut(&mut Collector) -> bool,
) -> Result<(), SoundError> {
    symphonia_file("MP3", "mp3", Box::new(file), out, each)
}

/// Ogg: Opus or Vorbis, whichever the first packet says.
pub(super) fn ogg(file: Vec<u8>, out: &mut Collector) -> Result<(), SoundError> {
    // The first page has a header of 27 bytes, one segment, and the identification of the codec.
    if file.get(28..36) == Some(b"OpusHead") {
        opus_file(file, out)
    } else {
        symphonia_file("Ogg", "ogg", Box::new(Cursor::new(file)), out, &mut |_| {
            true
        })
    }
}

fn symphonia_file(
    kind: &'static str,
    extension: &str,
    file: Box<dyn MediaSource>,
    out: &mut Collector,
    each: &mut dyn FnMut(&mut Collector) -> bool,
) -> Result<(), SoundError> {
    let damaged = |error: Error| SoundError::Damaged {
        kind,
        why: error.to_string(),
    };
    let none = |what: &str| SoundError::Damaged {
        kind,
        why: what.to_owned(),
    };
    let mut hint = Hint::new();
    hint.with_extension(extension);
    let source = MediaSourceStream::new(file, Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(
            &hint,
            source,
            FormatOptions::default(),
            MetadataOptions::default(),
        )
        .map_err(damaged)?;
    let track = format
        .default_track(TrackType::Audio)
        .ok_or_else(|| none("no audio in it"))?;
    let id = track.id;
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|parameters| parameters.audio())
        .ok_or_else(|| none("its codec is not told"))?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(damaged)?;
    let mut samples: Vec<i16> = Vec::new();
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            // The end; a file that was cut off; another stream behind the first.
            Ok(None) | Err(Error::IoError(_) | Error::ResetRequired) => return Ok(()),
            Err(error) => return Err(damaged(error)),
        };
        if packet.track_id != id {
            continue;
        }
        match decoder.decode(&packet) {
            Ok(decoded) => {
                let spec = decoded.spec();
                out.source(spec.rate(), spec.channels().count())?;
                decoded.copy_to_vec_interleaved(&mut samples);
                out.push(samples.iter().copied())?;
                if !each(out) {
                    return Ok(());
                }
            }
            // One bad packet is a gap of some milliseconds.
            Err(Error::DecodeError(_) | Error::IoError(_)) => {}
            Err(error) => return Err(damaged(error)),
        }
    }
}

/// Ogg Opus (RFC 7845): identification, comments, then audio of which the first `pre-skip` frames are left out.
fn opus_file(file: Vec<u8>, out: &mut Collector) -> Result<(), SoundError> {
    let damaged = |why: String| SoundError::Damaged { kind: "Opus", why };
    let mut packets = ogg::PacketReader::new(Cursor::new(file));
    let head = packets
        .read_packet()
        .map_err(|error| damaged(error.to_string()))?
        .ok_or_else(|| damaged("it is empty".to_owned()))?;
    let (Some(&channels), Some(&[low, high]), Some(&family)) = (
        head.data.get(9),
        head.data.get(10..12).and_then(<[u8]>::first_chunk),
        head.data.get(18),
    ) else {
        return Err(damaged("its identification header is short".to_owned()));
    };
    if family != 0 || !(1..=2).contains(&channels) {
        return Err(damaged(format!(
            "{channels} channels of mapping family {family}; wanted: mono or stereo"
        )));
    }
    // The decoder mixes stereo down by itself.
    let mut decoder = opus::Decoder::new(OPUS_RATE, opus::Channels::Mono)
        .map_err(|error| damaged(error.to_string()))?;
    out.source(OPUS_RATE, 1)?;
    let mut skip = usize::from(u16::from_le_bytes([low, high]));
    let mut first = true;
    let mut samples = vec![0; OPUS_FRAMES_MAX];
    loop {
        let packet = match packets.read_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(()),
            // Cut off or damaged further on: what was read counts.
            Err(_) if !first => return Ok(()),
            Err(error) => return Err(damaged(error.to_string())),
        };
        if std::mem::take(&mut first) || packet.data.is_empty() {
            // The comments. An empty packet would mean loss to the decoder.
            continue;
        }
        let Ok(made) = decoder.decode(&packet.data, &mut samples, false) else {
            continue;
        };
        let late = skip.min(made);
        skip -= late;
        out.push(samples.get(late..made).unwrap_or_default().iter().copied())?;
    }
}
