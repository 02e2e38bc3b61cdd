//! Events on their way to signalling.

use crate::counters::Counters;
use crate::types::Event;
use crate::uring::wake::Wake;
use std::collections::VecDeque;

/// Events kept for a signalling thread that does not fetch them; beyond that those that can be missed are dropped.
const KEPT_MAX: usize = 4096;

/// The media thread's end of the event queue. What does not fit is kept for the next loop. The ends of legs, recordings
/// and plays are never dropped: signalling waits for them, and there are no more of them than it started.
pub(super) struct EventSender {
    queue: rtrb::Producer<Event>,
    kept: VecDeque<Event>,
    wake: Wake,
}

impl EventSender {
    pub(super) fn new(queue: rtrb::Producer<Event>, wake: Wake) -> Self {
        Self {
            queue,
            kept: VecDeque::with_capacity(KEPT_MAX),
            wake,
        }
    }

    /// Sends one event, behind those that are kept.
    pub(super) fn send(&mut self, event: Event, counters: &Counters) {
        if self.kept.is_empty() {
            match self.queue.push(event) {
                Ok(()) => self.wake.raise(),
                Err(rtrb::PushError::Full(event)) => self.kept.push_back(event),
            }
            return;
        }
        let needed = matches!(
            event,
            Event::Closed { .. } | Event::RecorderClosed { .. } | Event::PlayEnded { .. }
        );
        if needed || self.kept.len() < KEPT_MAX {
            self.kept.push_back(event);
        } else {
            counters.events_dropped.add(1);
        }
    }

    /// Tries the kept events again. Returns whether some are still kept.
    pub(super) fn retry(&mut self) -> bool {
        while let Some(event) = self.kept.pop_front() {
            match self.queue.push(event) {
                Ok(()) => self.wake.raise(),
                Err(rtrb::PushError::Full(event)) => {
                    self.kept.push_front(event);
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LegId, PlayId, RecorderId};

    fn silence() -> Event {
        Event::RecorderSilence {
            leg: LegId(1),
            recorder: RecorderId(1),
        }
    }

    fn ended(play: u64) -> Event {
        Event::PlayEnded {
            leg: LegId(1),
            play: PlayId(play),
            completed: true,
            samples: 0,
            position_ms: 0,
        }
    }

    #[test]
    fn ends_are_kept_when_all_else_is_dropped() {
        let counters = Counters::default();
        let (queue, mut fetched) = rtrb::RingBuffer::new(4);
        let mut sender = EventSender::new(queue, Wake::new().expect("eventfd"));
        for _ in 0..4 + KEPT_MAX + 10 {
            sender.send(silence(), &counters);
        }
        assert_eq!(counters.events_dropped.get(), 10);
        for play in 0..3 {
            sender.send(ended(play), &counters);
        }
        assert_eq!(counters.events_dropped.get(), 10);
        let mut plays = Vec::new();
        let mut all = 0;
        loop {
            while let Ok(event) = fetched.pop() {
                all += 1;
                if let Event::PlayEnded { play, .. } = event {
                    plays.push(play.0);
                }
            }
            if !sender.retry() && fetched.is_empty() {
                break;
            }
        }
        assert_eq!(all, 4 + KEPT_MAX + 3);
        assert_eq!(plays, [0, 1, 2], "in order");
    }
}
