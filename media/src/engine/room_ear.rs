//! What a room hears of a leg: G.711 packets placed by their timestamps, taken 20 ms at a time a little later.

/// Samples kept: 512 ms.
const RING: usize = 4096;
/// Samples of a frame.
const FRAME: usize = 160;
/// The first packet waits for so long, so that those after it may be late: 40 ms.
const DELAY: i32 = 320;
/// More than this ahead, and the stream began anew somewhere else: 400 ms.
const AHEAD_MAX: i32 = 3200;
/// Turns without samples after which the stream is over: 200 ms.
const DRY_MAX: u32 = 10;

/// Audio of one leg on its way into a room.
#[derive(Debug)]
pub(super) struct RoomEar {
    ring: Box<[i16; RING]>,
    /// Timestamp of what is taken next; `None`: nothing has come.
    next: Option<u32>,
    /// Turns in a row that had nothing.
    dry: u32,
    /// Timestamp behind the newest sample.
    end: u32,
}

impl RoomEar {
    pub(super) fn new() -> Self {
        Self {
            ring: Box::new([0; RING]),
            next: None,
            dry: 0,
            end: 0,
        }
    }

    /// Takes a decoded packet.
    pub(super) fn put(&mut self, timestamp: u32, samples: &[i16]) {
        let next = match self.next {
            Some(next) if (timestamp.wrapping_sub(next) as i32).abs() <= AHEAD_MAX => next,
            _ => {
                self.ring.fill(0);
                self.end = timestamp;
                *self.next.insert(timestamp.wrapping_sub(DELAY as u32))
            }
        };
        let mut at = timestamp;
        for &sample in samples.iter().take(RING / 2) {
            if (at.wrapping_sub(next) as i32) >= 0 {
                self.ring[at as usize % RING] = sample;
            }
            at = at.wrapping_add(1);
        }
        if (at.wrapping_sub(self.end) as i32) > 0 {
            self.end = at;
        }
    }

    /// The next 20 ms; `None`: there is nothing.
    pub(super) fn take<'f>(&mut self, frame: &'f mut [i16]) -> Option<&'f [i16]> {
        let next = self.next?;
        let frame = frame.get_mut(..FRAME)?;
        let left = self.end.wrapping_sub(next) as i32;
        if left <= 0 {
            self.dry += 1;
            if self.dry > DRY_MAX {
                self.next = None;
                self.dry = 0;
                return None;
            }
        } else {
            self.dry = 0;
        }
        for (n, sample) in frame.iter_mut().enumerate() {
            let place = &mut self.ring[next.wrapping_add(n as u32) as usize % RING];
            *sample = std::mem::take(place);
        }
        self.next = Some(next.wrapping_add(FRAME as u32));
        (left > 0).then_some(&*frame)
    }
}
