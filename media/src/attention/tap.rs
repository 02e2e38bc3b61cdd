//! A tap: the samples that a leg hears, for a reader on another thread. One writer, one reader, no lock; who reads too
//! slowly loses what comes then, and it is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::chunks::ChunkError;
use rtrb::{Consumer, Producer, RingBuffer};

/// The writer's end.
#[derive(Debug)]
pub struct AudioTap {
    samples: Producer<i16>,
    lost: Arc<AtomicU64>,
}

/// The reader's end. When it is dropped the tap ends.
#[derive(Debug)]
pub struct TapReader {
    samples: Consumer<i16>,
    lost: Arc<AtomicU64>,
}

/// A tap that keeps so many samples for its reader. Allocates.
pub fn audio_tap(samples_max: usize) -> (AudioTap, TapReader) {
    let (producer, consumer) = RingBuffer::new(samples_max);
    let lost = Arc::new(AtomicU64::new(0));
    let tap = AudioTap {
        samples: producer,
        lost: Arc::clone(&lost),
    };
    let reader = TapReader {
        samples: consumer,
        lost,
    };
    (tap, reader)
}

impl AudioTap {
    /// Takes a frame whole, or not at all where there is no room for it.
    pub(super) fn frame(&mut self, frame: &[i16]) {
        match self.samples.write_chunk_uninit(frame.len()) {
            Ok(chunk) => {
                chunk.fill_from_iter(frame.iter().copied());
            }
            Err(ChunkError::TooFewSlots(_)) => {
                self.lost.fetch_add(frame.len() as u64, Ordering::Relaxed);
            }
        }
    }

    /// Has the reader gone?
    pub(super) fn is_over(&self) -> bool {
        self.samples.is_abandoned()
    }
}

impl TapReader {
    /// Moves what has come since the last call behind what is in `bytes`, as little-endian numbers of 16 bits.
    pub fn read(&mut self, bytes: &mut Vec<u8>) {
        let Ok(chunk) = self.samples.read_chunk(self.samples.slots()) else {
            return;
        };
        bytes.extend(chunk.into_iter().flat_map(i16::to_le_bytes));
    }

    /// Samples that nobody read in time.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Is nothing more to come: the leg is closed, or the watch ended?
    pub fn is_over(&self) -> bool {
        self.samples.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_loses_whole_frames_and_is_told_how_much() {
        let (mut tap, mut reader) = audio_tap(400);
        tap.frame(&[1; 160]);
        tap.frame(&[-2; 160]);
        tap.frame(&[3; 160]);
        let mut bytes = Vec::new();
        reader.read(&mut bytes);
        assert_eq!(bytes.len(), 640);
        assert_eq!(bytes[..2], [1, 0]);
        assert_eq!(bytes[320..322], [0xFE, 0xFF]);
        assert_eq!(reader.lost(), 160);
        tap.frame(&[4; 160]);
        reader.read(&mut bytes);
        assert_eq!(bytes.len(), 960);
        assert!(!tap.is_over() && !reader.is_over());
        drop(reader);
        assert!(tap.is_over());
    }
}
