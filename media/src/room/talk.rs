//! Who is talking.

use super::MemberOptions;

/// Loud frames in a row that begin a talk: 60 ms, which a click does not reach.
const BEGIN_FRAMES: u8 = 3;
/// Length of a frame in ms.
const FRAME_MS: u16 = 20;

/// Watches the level of one member. A talk begins with a few loud frames in a row and ends after a pause, so that the
/// gaps between words do not count.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct TalkDetector {
    talking: bool,
    loud_frames: u8,
    /// Since the last loud frame; `u16::MAX` and above that means long ago.
    quiet_ms: Option<u16>,
}

impl TalkDetector {
    /// Takes the mean magnitude of the next frame (0 if there was none). The answer says that a talk has just begun or
    /// ended.
    pub fn push(&mut self, level: u32, options: &MemberOptions) -> Option<bool> {
        if level > 0 && level >= u32::from(options.talk_threshold) {
            self.loud_frames = self.loud_frames.saturating_add(1);
            self.quiet_ms = Some(0);
            if !self.talking && self.loud_frames >= BEGIN_FRAMES {
                self.talking = true;
                return Some(true);
            }
            return None;
        }
        self.loud_frames = 0;
        let quiet_ms = self.quiet_ms?.saturating_add(FRAME_MS);
        if quiet_ms < options.silence_ms.max(FRAME_MS) {
            self.quiet_ms = Some(quiet_ms);
            return None;
        }
        self.quiet_ms = None;
        std::mem::take(&mut self.talking).then_some(false)
    }

    /// Is he talking?
    pub fn is_talking(&self) -> bool {
        self.talking
    }

    /// Is something to be let through? From the first loud frame on, so that no word loses its beginning, until the pause
    /// is over.
    pub fn is_open(&self) -> bool {
        self.quiet_ms.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_talk_begins_after_a_click_would_be_over_and_ends_after_the_pause() {
        let options = MemberOptions {
            silence_ms: 100,
            ..MemberOptions::default()
        };
        let mut d = TalkDetector::default();
        // A click: let through, but no talk.
        assert_eq!(d.push(5000, &options), None);
        assert!(d.is_open());
        for _ in 0..10 {
            assert_eq!(d.push(10, &options), None);
        }
        assert!(!d.is_open());
        assert_eq!(d.push(160, &options), None);
        assert_eq!(d.push(160, &options), None);
        assert_eq!(d.push(160, &options), Some(true));
        assert!(d.is_talking());
        // A gap between words.
        for _ in 0..4 {
            assert_eq!(d.push(0, &options), None);
        }
        assert_eq!(d.push(500, &options), None);
        for _ in 0..4 {
            assert_eq!(d.push(159, &options), None);
        }
        assert_eq!(d.push(159, &options), Some(false));
        assert_eq!(d.push(159, &options), None);
        assert!(!d.is_talking() && !d.is_open());
    }
}
