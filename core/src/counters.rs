//! Counters: cheap to bump from any thread, read by the metrics page. Every drop and refusal has one of its own.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

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
        requests_options,
        requests_other,
        challenges_sent,
        authentication_failures,
        unknown_endpoints,
        acl_denied,
        calls_incoming,
        calls_outgoing,
        calls_answered,
        calls_ended,
        calls_refused_overload,
        calls_refused_draining,
        calls_refused_no_ports,
        calls_failed_panic,
        registrations,
        unregistrations,
        registrations_refused,
        media_commands_full,
        digits_dropped,
        variables_refused,
        tcp_accepted,
        tcp_refused_limit,
        tcp_write_full,
        rtp_timeouts,
        /// Sums over legs that are closed.
        rtp_packets_received,
        rtp_packets_sent,
        rtp_packets_lost,
        qualify_sent,
        qualify_failed,
    }
}
