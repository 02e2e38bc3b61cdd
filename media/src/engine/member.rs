//! A leg as a member of a room: what it gives to the mix, and what it is sent from there.

use super::leg::Leg;
use super::tick::Context;
use crate::codec::Codec;
use crate::dsp::Resampler;
use crate::room::FRAME_MAX;
use crate::rtp::send::SourceKey;
use crate::sound::SAMPLE_RATE;
use crate::uring::prefetch;

/// Brings what a leg hears to the rate of its room.
pub(super) struct RoomEar {
    from: u32,
    to: u32,
    resampler: Resampler,
}

impl Leg {
    /// Asks for what mixing needs of this leg, in three steps.
    #[inline]
    pub(super) fn expect_frame(&self, stage: usize) {
        match (stage, &self.hearing) {
            (0, _) => prefetch::value(self, 128),
            (1, Some(hearing)) => prefetch::value(&**hearing, 64),
            (2, Some(hearing)) => prefetch::slice(hearing.frame()),
            _ => {}
        }
    }

    /// Makes what it takes to be heard in a room of this rate. Allocates.
    pub(super) fn prepare_room_ear(&mut self, to: u32) {
        let heard = self.hearing.as_ref().map(|hearing| hearing.rate());
        let Some(from) = heard.filter(|&from| from != to) else {
            self.room_ear = None;
            return;
        };
        let known = self.room_ear.as_ref();
        if known.is_none_or(|ear| (ear.from, ear.to) != (from, to)) {
            self.room_ear = Resampler::new(from, to).ok().map(|resampler| {
                Box::new(RoomEar {
                    from,
                    to,
                    resampler,
                })
            });
        }
    }

    /// What the leg says, for a room with this rate.
    pub(super) fn hear_for_room<'f>(
        &'f mut self,
        rate: u32,
        frame: &'f mut [i16; FRAME_MAX],
    ) -> Option<&'f [i16]> {
        let hearing = self.hearing.as_mut()?;
        let from = hearing.rate();
        let heard = hearing.fresh_frame()?;
        if from == rate {
            return Some(heard);
        }
        let ear = self.room_ear.as_mut()?;
        if (ear.from, ear.to) != (from, rate) {
            return None;
        }
        let frame = frame.get_mut(..ear.resampler.to_samples())?;
        ear.resampler.run(heard, frame);
        Some(frame)
    }

    /// The room does not want to hear the leg in this turn.
    pub(super) fn pass_over(&mut self) {
        if let Some(hearing) = &mut self.hearing {
            hearing.fresh_frame();
        }
    }

    /// May the leg be sent the same payload as others, at this rate? Then in which codec.
    pub(super) fn shares(&self, rate: u32) -> Option<Codec> {
        let config = self.config.as_ref()?;
        let plain = rate == SAMPLE_RATE
            && config.ptime_ms == 20
            && !self.mute_transmit
            && self.gain_transmit.is_none()
            && self.recorders.is_empty();
        let codec = config.send.codec;
        (plain && codec.g711().is_some()).then_some(codec)
    }

    pub(super) fn say_encoded(
        &mut self,
        context: &mut Context<'_, '_>,
        key: SourceKey,
        payload: &[u8],
    ) {
        let Some(dest) = self.may_send(context.counters, key) else {
            return;
        };
        let Some(format) = self.config.as_ref().map(|config| config.send) else {
            return;
        };
        let numbers = self.sender.own(context.now, key, payload.len() as u32);
        self.send(context, dest, format.payload_type, numbers, payload);
    }
}
