//! The Prometheus text format, version 0.0.4. Few series by design: one for each counter and shard, none for a channel.

use std::fmt::Write;

use strowger_core::counters::Histogram;

use crate::Sources;

/// The whole page.
pub(crate) fn page(sources: &Sources) -> String {
    let mut page = String::with_capacity(16 * 1024);
    let shared = &sources.shared;
    gauge(
        &mut page,
        "strowger_channels",
        "Channels alive",
        shared.channels() as u64,
    );
    counter(
        &mut page,
        "strowger_calls_processed_total",
        "Incoming calls taken",
        shared.calls_processed(),
    );
    counter(
        &mut page,
        "strowger_voicemail_mails_refused_total",
        "Messages of voice mail not sent by e-mail because too many waited",
        shared.voicemail.mails_refused(),
    );
    gauge(
        &mut page,
        "strowger_uptime_seconds",
        "Seconds since start",
        shared.started_at.elapsed().as_secs(),
    );
    gauge(
        &mut page,
        "strowger_draining",
        "1 while no new calls are taken",
        u64::from(shared.draining()),
    );
    gauge(
        &mut page,
        "strowger_subscriptions",
        "Subscriptions of telephones to lamps, presence and message waiting",
        shared.subscriptions.count() as u64,
    );
    gauge(
        &mut page,
        "strowger_publications",
        "Publications of other exchanges that live here",
        shared.published.len() as u64,
    );
    counter(
        &mut page,
        "strowger_publications_refused",
        "PUBLISH requests that were refused",
        shared.published.refused(),
    );
    counter(
        &mut page,
        "strowger_publications_dropped",
        "Changes that were not published because too many waited",
        shared.published.dropped(),
    );
    let shards: Vec<_> = sources
        .shards
        .iter()
        .map(|shard| shard.counters.snapshot())
        .collect();
    by_shard(&mut page, "strowger_", &shards);
    let quality = &shared.quality;
    for (name, help, numbers) in [
        (
            "strowger_leg_mos",
            "Mean opinion score (E-model) of what ended legs received",
            &quality.mos,
        ),
        (
            "strowger_leg_loss_percent",
            "Packets lost on the way to us, percent, of ended legs",
            &quality.loss,
        ),
        (
            "strowger_leg_jitter_ms",
            "Jitter of what ended legs received",
            &quality.jitter,
        ),
        (
            "strowger_leg_round_trip_ms",
            "Round trip of ended legs whose far end reported",
            &quality.round_trip,
        ),
    ] {
        histogram(&mut page, name, help, numbers);
    }
    let media: Vec<_> = sources.shards.iter().map(|shard| (shard.media)()).collect();
    by_shard(&mut page, "strowger_media_", &media);
    let _ = writeln!(page, "# TYPE strowger_inbox_waiting gauge");
    for (index, shard) in sources.shards.iter().enumerate() {
        let _ = writeln!(
            page,
            "strowger_inbox_waiting{{shard=\"{index}\"}} {}",
            shard.inbox.len()
        );
    }
    for (prefix, numbers) in &sources.process {
        for (name, value) in numbers() {
            single(&mut page, &format!("strowger_{prefix}{name}"), value);
        }
    }
    page
}

fn gauge(page: &mut String, name: &str, help: &str, value: u64) {
    let _ = writeln!(
        page,
        "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"
    );
}

fn counter(page: &mut String, name: &str, help: &str, value: u64) {
    let _ = writeln!(
        page,
        "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}"
    );
}

fn histogram(page: &mut String, name: &str, help: &str, numbers: &Histogram) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} histogram");
    for (bound, count) in numbers.buckets() {
        let _ = writeln!(page, "{name}_bucket{{le=\"{bound}\"}} {count}");
    }
    let (count, sum) = (numbers.count(), numbers.sum());
    let _ = writeln!(
        page,
        "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}"
    );
}

/// Numbers that go up and down, or are the largest seen; everything else only grows.
fn is_gauge(name: &str) -> bool {
    name.ends_with("_max")
        || name.ends_with("_waiting")
        || name.ends_with("_running")
        || name.ends_with("_kept")
        || name.ends_with("_us")
        || matches!(
            name,
            "legs"
                | "recorders"
                | "rooms"
                | "room_members"
                | "strowger_connections_open"
                | "strowger_database_up"
                | "strowger_dialplan_memory_bytes"
                | "strowger_outbound_registrations_registered"
                | "strowger_outbound_registrations_rejected"
                | "strowger_outbound_registrations_unregistered"
        )
}

fn single(page: &mut String, name: &str, value: u64) {
    let (kind, ending) = if is_gauge(name) {
        ("gauge", "")
    } else {
        ("counter", "_total")
    };
    let _ = writeln!(page, "# TYPE {name}{ending} {kind}\n{name}{ending} {value}");
}

/// One series for each name and shard, grouped by name as the format wants.
fn by_shard(page: &mut String, prefix: &str, shards: &[Vec<(&'static str, u64)>]) {
    let Some(first) = shards.first() else { return };
    for (position, (name, _)) in first.iter().enumerate() {
        let (kind, ending) = if is_gauge(name) {
            ("gauge", "")
        } else {
            ("counter", "_total")
        };
        let _ = writeln!(page, "# TYPE {prefix}{name}{ending} {kind}");
        for (index, shard) in shards.iter().enumerate() {
            if let Some((_, value)) = shard.get(position) {
                let _ = writeln!(page, "{prefix}{name}{ending}{{shard=\"{index}\"}} {value}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let mut page = String::new();
        let quality = strowger_core::counters::QualityCounters::default();
        histogram(&mut page, "m", "Help", &quality.mos);
        assert!(page.starts_with("# HELP m Help\n# TYPE m histogram\nm_bucket{le=\"1.5\"} 0\n"));
        assert!(page.ends_with("m_bucket{le=\"+Inf\"} 0\nm_sum 0\nm_count 0\n"));
    }

    #[test]
    fn what_goes_down_again_is_a_gauge_and_has_no_total() {
        let mut page = String::new();
        by_shard(&mut page, "m_", &[vec![("legs", 3)]]);
        single(&mut page, "cdr_waiting", 1);
        single(&mut page, "cdr_stored", 2);
        let expected = "# TYPE m_legs gauge\nm_legs{shard=\"0\"} 3\n# TYPE cdr_waiting gauge\ncdr_waiting 1\n\
                        # TYPE cdr_stored_total counter\ncdr_stored_total 2\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn series_of_one_name_stand_together_with_their_shard() {
        let mut page = String::new();
        by_shard(
            &mut page,
            "x_",
            &[vec![("a", 1), ("b", 2)], vec![("a", 3), ("b", 4)]],
        );
        let expected = "# TYPE x_a_total counter\nx_a_total{shard=\"0\"} 1\nx_a_total{shard=\"1\"} 3\n\
                        # TYPE x_b_total counter\nx_b_total{shard=\"0\"} 2\nx_b_total{shard=\"1\"} 4\n";
        assert_eq!(page, expected);
    }
}
