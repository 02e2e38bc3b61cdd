//! Sound that is still being made: one thread writes it, any number of legs read it, each at a place of its own, a little
//! behind the writer. Nobody waits for anybody: who finds nothing hears silence, who is left behind goes on near the end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI16, AtomicU64, Ordering};

use super::{SAMPLE_RATE, Sound};

/// Samples kept: two seconds.
const KEPT: usize = 16_384;
/// A reader that is further behind than this goes on near the end; what lies between this and [`KEPT`] is the writer's head
/// start over readers that are reading just now.
const BEHIND_MAX: u64 = 12_000;

/// What has been written lately.
struct Live {
    samples: Box<[AtomicI16]>,
    written: AtomicU64,
    /// How far behind the writer a reader begins, in samples.
    lead: u64,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

/// The reader's side, which is part of a [`Sound`].
#[derive(Clone, Debug)]
pub(crate) struct LiveSound(Arc<Live>);

impl PartialEq for LiveSound {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LiveSound {}

/// The writer's side.
#[derive(Debug)]
pub struct LiveWriter(Arc<Live>);

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    at: u64,
    begun: bool,
    flowing: bool,
}

/// A sound of 8000 Hz that is still to be made, and whoever makes it. Its listeners hear it `lead_ms` later, so that a writer
/// who is late by less than that is not noticed. Allocates.
pub fn live_sound(lead_ms: u32) -> (Sound, LiveWriter) {
    let lead = u64::from(lead_ms) * u64::from(SAMPLE_RATE) / 1000;
    let live = Arc::new(Live {
        samples: (0..KEPT).map(|_| AtomicI16::new(0)).collect(),
        written: AtomicU64::new(0),
        lead: lead.min(BEHIND_MAX / 2),
    });
    let sound = Sound {
        samples: Arc::default(),
        rate: SAMPLE_RATE,
        live: Some(LiveSound(Arc::clone(&live))),
    };
    (sound, LiveWriter(live))
}

impl LiveWriter {
    /// Puts samples behind those before.
    pub fn write(&mut self, samples: &[i16]) {
        let mut at = self.0.written.load(Ordering::Relaxed);
        for sample in samples {
            let place = at as usize % KEPT;
            if let Some(slot) = self.0.samples.get(place) {
                slot.store(*sample, Ordering::Relaxed);
            }
            at += 1;
        }
        self.0.written.store(at, Ordering::Release);
    }

    /// Samples written so far.
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }
}

impl LiveSound {
    /// The next samples of a reader; silence where there are none.
    pub(crate) fn read(&self, place: &mut Place, out: &mut [i16]) {
        let live = &*self.0;
        let written = live.written.load(Ordering::Acquire);
        if !place.begun && written > 0 {
            place.begun = true;
            place.at = written.saturating_sub(live.lead);
        }
        let mut behind = written.saturating_sub(place.at);
        if behind > BEHIND_MAX {
            place.at = written - live.lead;
            behind = live.lead;
        }
        // Who has run dry waits until there is enough again: one gap is better than many.
        place.flowing = place.begun && (place.flowing || behind >= live.lead);
        let count = if place.flowing {
            out.len().min(behind as usize)
        } else {
            0
        };
        for sample in &mut out[..count] {
            let slot = live.samples.get(place.at as usize % KEPT);
            *sample = slot.map_or(0, |slot| slot.load(Ordering::Relaxed));
            place.at += 1;
        }
        place.flowing &= count == out.len();
        out[count..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(lead_ms: u32) -> (LiveSound, LiveWriter) {
        let (sound, writer) = live_sound(lead_ms);
        (sound.live.expect("it is live"), writer)
    }

    fn next(sound: &LiveSound, place: &mut Place) -> [i16; 160] {
        let mut frame = [-1; 160];
        sound.read(place, &mut frame);
        frame
    }

    #[test]
    fn every_reader_hears_the_same_from_where_it_came_in() {
        let (sound, mut writer) = pair(40);
        let mut first = Place::default();
        assert_eq!(next(&sound, &mut first), [0; 160], "nothing is there yet");
        for frame in 1..=10 {
            writer.write(&[frame; 160]);
            let heard = next(&sound, &mut first);
            // Forty milliseconds are gathered first.
            let wanted = if frame < 2 { 0 } else { frame - 1 };
            assert_eq!(heard, [wanted; 160], "{frame}");
        }
        let mut late = Place::default();
        assert_eq!(next(&sound, &mut late), [9; 160]);
        assert_eq!(next(&sound, &mut late), [10; 160]);
        assert_eq!(next(&sound, &mut late), [0; 160], "it has run dry");
        writer.write(&[11; 160]);
        assert_eq!(next(&sound, &mut late), [0; 160], "it gathers again");
        writer.write(&[12; 160]);
        assert_eq!(next(&sound, &mut late), [11; 160]);
        assert_eq!(next(&sound, &mut first), [10; 160]);
    }

    #[test]
    fn who_is_left_behind_goes_on_near_the_end() {
        let (sound, mut writer) = pair(20);
        let mut place = Place::default();
        writer.write(&[1; 160]);
        assert_eq!(next(&sound, &mut place), [1; 160]);
        for frame in 2..200 {
            writer.write(&[frame; 160]);
        }
        assert_eq!(next(&sound, &mut place), [199; 160]);
        assert_eq!(writer.written(), 199 * 160);
    }

    #[test]
    fn a_reader_beside_a_writer_hears_what_was_written_in_its_order() {
        let (sound, mut writer) = pair(20);
        let writing = std::thread::spawn(move || {
            for number in 0..2000_i16 {
                writer.write(&[number; 160]);
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
        });
        let mut place = Place::default();
        let mut last = 0;
        while !writing.is_finished() {
            for sample in next(&sound, &mut place) {
                assert!(sample == 0 || sample >= last, "{sample} behind {last}");
                last = last.max(sample);
            }
        }
        assert!(last > 0, "nothing was heard");
        writing.join().expect("it wrote");
    }
}
