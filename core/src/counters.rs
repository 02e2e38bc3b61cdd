//! Counters: cheap to bump from any thread, read by the metrics page. Every drop and refusal has one of its own.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use strowger_media::LegStats;

/// A monotonic counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[$doc])* pub $field: Counter,)*
            /// Numbers that one thread keeps for itself and publishes now and then.
            published: RwLock<Vec<(&'static str, u64)>>, }

        impl $name {
            /// Replaces the published numbers.
            pub fn publish(&self, numbers: Vec<(&'static str, u64)>) {
                *self.published.write() = numbers;
            }

            /// Every counter with its name.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                let mut all = vec![$((stringify!($field), self.$field.get()),)*];
                all.extend(self.published.read().iter().copied());
                all
            }
        }
    };
}

counters! {
    /// What one shard counts.
    ShardCounters {
        /// SIP messages received, by outcome.
        sip_received,
        sip_malformed,
        sip_forwarded,
        /// Messages for another shard lost because its queue was full.
        sip_forward_full,
        sip_sent,
        sip_send_failed,
        requests_invite,
        requests_register,
        /// Texts outside of calls.
        requests_message,
        messages_refused,
        messages_sent,
        requests_options,
        requests_subscribe,
        requests_notify,
        /// Subscriptions that began and ended, and those refused because there are too many.
        subscriptions_created,
        subscriptions_ended,
        subscriptions_refused,
        /// NOTIFYs sent, within subscriptions and without, and those that were not taken.
        notifies_sent,
        notifies_failed,
        requests_other,
        challenges_sent,
        authentication_failures,
        unknown_endpoints,
        acl_denied,
        /// Requests of known scanners, which get no answer.
        requests_of_scanners,
        calls_incoming,
        calls_outgoing,
        calls_answered,
        calls_ended,
        calls_refused_overload,
        /// Calls refused because the media thread of their shard has ended.
        calls_refused_no_media,
        /// Media threads that ended while the exchange ran.
        media_threads_ended,
        calls_refused_draining,
        calls_refused_no_ports,
        calls_failed_panic,
        /// Incoming calls whose dialplan began, and the nanoseconds from their INVITE, parsed, to the first application.
        dialplan_entries,
        dialplan_entry_ns,
        registrations,
        unregistrations,
        registrations_refused,
        /// Registrations of ours with other servers.
        outbound_registers_sent,
        outbound_registers_failed,
        media_commands_full,
        digits_dropped,
        variables_refused,
        tcp_accepted,
        tcp_refused_limit,
        /// Of one source address already as many as are allowed.
        tcp_refused_address,
        tcp_write_full,
        /// Connections of ours to others, and those that could not be made.
        connections_opened,
        connections_failed,
        /// Connections that we ended: nothing came any more, no first message, no SIP, what we sent was not read.
        connections_idle,
        connections_silent,
        connections_unreadable,
        connections_slow,
        tls_accepted,
        tls_handshakes_failed,
        ws_accepted,
        ws_handshakes_failed,
        /// Handshakes not done in time, and those too many at once.
        handshakes_late,
        handshakes_refused,
        pings_answered,
        pings_sent,
        /// Requests sent to another target after one failed (RFC 3263 §4.3).
        targets_failed_over,
        /// Requests too large for UDP that went by TCP.
        requests_switched_to_tcp,
        rtp_timeouts,
        /// Packets of fax (UDPTL) passed on between two telephones.
        fax_packets_relayed,
        /// Those that came from elsewhere or could not be sent.
        fax_packets_dropped,
        /// Packets of video (RTP and RTCP) passed on between two telephones.
        video_packets_relayed,
        /// Those that came from elsewhere, were none, were too long, were not wanted (hold) or could not be sent.
        video_packets_dropped,
        recordings_in_trouble,
        /// Sums over legs that are closed.
        rtp_packets_received,
        rtp_packets_sent,
        rtp_packets_lost,
        qualify_sent,
        qualify_failed,
    }
}

/// Buckets of one [`Histogram`].
const BUCKETS: usize = 8;

/// How often a number fell below each of some bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: [f64; BUCKETS],
    counts: [AtomicU64; BUCKETS],
    all: AtomicU64,
    /// Thousandths.
    sum: AtomicU64,
}

impl Histogram {
    const fn new(bounds: [f64; BUCKETS]) -> Self {
        Self {
            bounds,
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            all: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    fn add(&self, value: f64) {
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            if value <= *bound {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.all.fetch_add(1, Ordering::Relaxed);
        self.sum
            .fetch_add((value.max(0.0) * 1000.0) as u64, Ordering::Relaxed);
    }

    /// Each bound with the values up to it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let counts = self.counts.iter().map(|c| c.load(Ordering::Relaxed));
        self.bounds.iter().copied().zip(counts)
    }

    /// Values in all.
    pub fn count(&self) -> u64 {
        self.all.load(Ordering::Relaxed)
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.sum.load(Ordering::Relaxed) as f64 / 1000.0
    }
}

/// How legs sounded that have ended, of those that received anything.
#[derive(Debug)]
pub struct QualityCounters {
    /// Mean opinion score, 1 to 4.5.
    pub mos: Histogram,
    /// Percent of packets lost on the way to us.
    pub loss: Histogram,
    /// Jitter at the end, milliseconds.
    pub jitter: Histogram,
    /// Round trip, milliseconds, of legs whose far end reported.
    pub round_trip: Histogram,
}

impl Default for QualityCounters {
    fn default() -> Self {
        Self {
            mos: Histogram::new([1.5, 2.0, 2.5, 3.0, 3.6, 4.0, 4.2, 4.5]),
            loss: Histogram::new([0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0]),
            jitter: Histogram::new([1.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 1000.0]),
            round_trip: Histogram::new([5.0, 20.0, 50.0, 100.0, 200.0, 400.0, 800.0, 10_000.0]),
        }
    }
}

impl QualityCounters {
    pub(crate) fn leg_ended(&self, stats: &LegStats) {
        let (Some(mos), Some(loss)) = (stats.mos_x100(), stats.loss_percent()) else {
            return;
        };
        self.mos.add(f64::from(mos) / 100.0);
        self.loss.add(f64::from(loss));
        self.jitter.add(f64::from(stats.jitter_us) / 1000.0);
        if let Some(us) = stats.round_trip_us {
            self.round_trip.add(f64::from(us) / 1000.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leg_that_heard_something_counts_in_each_histogram() {
        let quality = QualityCounters::default();
        quality.leg_ended(&LegStats::default());
        assert_eq!(quality.mos.count(), 0);
        quality.leg_ended(&LegStats {
            packets_received: 950,
            lost: 50,
            jitter_us: 7000,
            ..LegStats::default()
        });
        assert_eq!((quality.mos.count(), quality.round_trip.count()), (1, 0));
        assert!((quality.loss.sum() - 5.0).abs() < 0.01);
        let jitter: Vec<u64> = quality.jitter.buckets().map(|(_, n)| n).collect();
        assert_eq!(jitter, [0, 0, 1, 1, 1, 1, 1, 1]);
    }
}
