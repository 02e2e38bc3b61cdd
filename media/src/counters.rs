//! Counters of one media thread, read by others while it runs.
//!
//! One thread writes, so an increment is a relaxed load and store: no locked instruction on the packet path.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the owning media thread may call it: two writers would lose counts.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Keeps the larger of the old and the new value.
    #[inline]
    pub fn max(&self, n: u64) {
        if n > self.0.load(Relaxed) {
            self.0.store(n, Relaxed);
        }
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Everything one media thread counts.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
        }

        impl Counters {
            /// All counters with their names, in a fixed order.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// RTP packets received, whatever became of them.
    packets_in,
    /// RTP packets sent, relayed and generated.
    packets_out,
    /// RTP packets relayed.
    relayed,
    /// RTP packets generated (prompts, digits).
    generated,
    /// RTCP packets received.
    rtcp_in,
    /// RTCP packets sent.
    rtcp_out,
    /// RTCP packets that could not be read.
    rtcp_invalid,
    /// Packets dropped: not RTP.
    drop_invalid,
    /// Packets dropped: leg without configuration.
    drop_unconfigured,
    /// Packets dropped: from a foreign source.
    drop_wrong_source,
    /// Packets dropped: payload type not negotiated.
    drop_unknown_payload,
    /// Packets dropped: seen before.
    drop_duplicate,
    /// Packets dropped: too late.
    drop_late,
    /// Packets dropped: the remote may not send (hold).
    drop_not_receiving,
    /// Packets dropped: comfort noise.
    drop_comfort_noise,
    /// Packets dropped: nothing in them.
    drop_empty,
    /// Packets dropped: the target may not be sent to (hold), or has no address.
    drop_not_sending,
    /// Packets dropped: a prompt or digit replaced them.
    drop_replaced,
    /// Packets dropped: telephone-events to a leg without them.
    drop_dtmf_unwanted,
    /// Packets dropped: on a secured leg, the authentication tag is wrong or missing.
    drop_srtp_auth,
    /// Packets dropped: on a secured leg, repeated or older than the replay window.
    drop_srtp_replay,
    /// Packets dropped: on a secured leg, too short to be protected.
    drop_srtp_unprotected,
    /// Packets dropped: their SRTP master key is used up.
    drop_srtp_expired,
    /// Packets that could not be protected: their number was sent already, or there was no room.
    drop_srtp_not_sent,
    /// Packets dropped: the leg they were for speaks another codec, and nothing translates.
    drop_transcode,
    /// Packets for a leg that is closed or closing.
    drop_no_leg,
    /// Packets that found the way into a leg without a socket full, or went round in a ring of such legs.
    drop_wire,
    /// Frames of 20 ms decoded to a steady stream.
    frames_heard,
    /// Of these: sent on in another codec.
    frames_translated,
    /// Frames of 20 ms that were listened to for voice, silence or a reader outside.
    frames_watched,
    /// Wishes to listen that were refused: too many on the leg.
    watches_refused,
    /// Routes that went from relay to translation or back.
    carrier_changes,
    /// Packets that the jitter buffers got too late.
    jitter_late,
    /// Packets that jitter buffers dropped because too many waited.
    jitter_overflowed,
    /// Samples that stand for lost or late audio.
    jitter_concealed_samples,
    /// Times that a sender's timestamps jumped, or a delay was cut.
    jitter_resyncs,
    /// Largest delay of a jitter buffer, milliseconds.
    jitter_delay_ms_max,
    /// Legs open now.
    legs,
    /// Legs refused because the table was full or the id in use.
    legs_refused,
    /// Recorders running now.
    recorders,
    /// Recorders refused: too many on the leg, or no such leg.
    recorders_refused,
    /// Samples lost because no buffer came back from the writer in time.
    recorder_samples_lost,
    /// Rooms open now, or parts of rooms.
    rooms,
    /// Rooms refused: too many, or the id in use.
    rooms_refused,
    /// Legs in rooms now.
    room_members,
    /// Partial sums of rooms that the other shard had no room for.
    room_link_overruns,
    /// Turns of rooms without the partial sum of another shard: silence stood in.
    room_link_late,
    /// Partial sums of rooms left out because another shard was ahead.
    room_link_skipped,
    /// Times that a recording could not be written, or not as fast as it grew.
    recorder_troubles,
    /// Commands for legs, plays or recorders that do not exist.
    commands_ignored,
    /// Events dropped because nobody fetched them.
    events_dropped,
    /// Largest lateness of the 1 ms wheel, microseconds.
    wheel_late_us_max,
    /// 1 ms slots that were skipped after a stall longer than the catch-up limit.
    wheel_slots_skipped,
    /// Turns of the thread's loop.
    loops,
    /// Most completions in one turn.
    batch_max,
    /// Longest turn of the loop without its wait, microseconds.
    loop_us_max,
    /// Receives that ended because no buffer was free; nothing is lost, packets wait in the socket.
    out_of_buffers,
    /// Receives armed again.
    rearmed,
    /// Datagrams dropped: longer than a buffer.
    oversized,
    /// Datagrams of legs that were closed meanwhile.
    stale_completions,
    /// Sends the kernel refused.
    send_failures,
    /// Connects the kernel refused.
    connect_failures,
    /// Sockets that could not be registered, connected or given up.
    socket_failures,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_names_every_counter_with_its_value() {
        let counters = Counters::default();
        counters.relayed.add(3);
        counters.wheel_late_us_max.max(9);
        counters.wheel_late_us_max.max(4);
        let all = counters.snapshot();
        assert!(all.contains(&("relayed", 3)));
        assert!(all.contains(&("wheel_late_us_max", 9)));
        assert!(all.contains(&("packets_in", 0)));
    }
}
