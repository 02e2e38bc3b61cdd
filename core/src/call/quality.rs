//! How the media of a channel did: what the dialplan reads of it, in the names and units of Asterisk 20.

use std::fmt::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use strowger_media::rtp::quality::Series;
use strowger_media::{Command, LegStats};

use crate::channel::Channel;

/// How long the media thread may take to tell about a leg; it needs a millisecond or two, unless the machine is overloaded.
const PATIENCE: Duration = Duration::from_secs(2);
/// A mean opinion score of 5 is a media experience score of 100.
const MES: f32 = 20.0;

/// The summaries in one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    All,
    Jitter,
    Loss,
    RoundTrip,
    Score,
}

impl Summary {
    /// Each with the variables that have it when the leg has ended: of its own channel, and of the one it was bridged with.
    const VARIABLES: [(Self, [&'static str; 2]); 5] = [
        (Self::All, ["RTPAUDIOQOS", "RTPAUDIOQOSBRIDGED"]),
        (
            Self::Jitter,
            ["RTPAUDIOQOSJITTER", "RTPAUDIOQOSJITTERBRIDGED"],
        ),
        (Self::Loss, ["RTPAUDIOQOSLOSS", "RTPAUDIOQOSLOSSBRIDGED"]),
        (Self::RoundTrip, ["RTPAUDIOQOSRTT", "RTPAUDIOQOSRTTBRIDGED"]),
        (Self::Score, ["RTPAUDIOQOSMES", "RTPAUDIOQOSMESBRIDGED"]),
    ];

    /// By the item that reads it: `all`, `all_jitter`...
    pub fn from_item(item: &str) -> Option<Self> {
        Some(match item {
            "all" => Self::All,
            "all_jitter" => Self::Jitter,
            "all_loss" => Self::Loss,
            "all_rtt" => Self::RoundTrip,
            "all_mes" => Self::Score,
            _ => return None,
        })
    }

    /// `name=value;` pairs. Times in seconds, losses in packets, scores 0 to 100.
    pub fn text(self, stats: &LegStats) -> String {
        let quality = &stats.quality;
        match self {
            Self::All => format!(
                "ssrc={};themssrc={};lp={};rxjitter={:010.6};rxcount={};txjitter={:010.6};txcount={};rlp={};\
                 rtt={:010.6};rxmes={:010.6};txmes={:010.6}",
                stats.ssrc,
                stats.remote_ssrc.unwrap_or(0),
                stats.lost,
                seconds(Some(stats.jitter_us)),
                stats.packets_received,
                seconds(stats.remote_jitter_us),
                stats.packets_sent,
                stats.remote_lost.unwrap_or(0),
                seconds(stats.round_trip_us),
                score(stats),
                MES * quality.remote_mos.mean(),
            ),
            Self::Jitter => pair(&quality.jitter, &quality.remote_jitter, 1.0, "jitter"),
            Self::Loss => pair(&quality.loss, &quality.remote_loss, 1.0, "lost"),
            Self::Score => pair(&quality.mos, &quality.remote_mos, MES, "mes"),
            Self::RoundTrip => {
                let mut text = String::with_capacity(128);
                figures(&mut text, &quality.round_trip, 1.0, ["", "rtt"]);
                text
            }
        }
    }
}

fn seconds(us: Option<u32>) -> f32 {
    us.unwrap_or(0) as f32 / 1e6
}

/// What we receive, 0..=90; 0 before anything was received.
fn score(stats: &LegStats) -> f32 {
    MES * f32::from(stats.mos_x100().unwrap_or(0)) / 100.0
}

fn figures(text: &mut String, series: &Series, scale: f32, name: [&str; 2]) {
    for (figure, value) in [
        ("min", series.min()),
        ("max", series.max()),
        ("avg", series.mean()),
        ("stdev", series.deviation()),
    ] {
        text.push_str(figure);
        text.push_str(name[0]);
        text.push_str(name[1]);
        text.push('=');
        millionths(text, scale * value);
        text.push(';');
    }
}

fn pair(received: &Series, sent: &Series, scale: f32, name: &str) -> String {
    let mut text = String::with_capacity(256);
    figures(&mut text, received, scale, ["rx", name]);
    figures(&mut text, sent, scale, ["tx", name]);
    text
}

/// A number with six decimals, filled up with zeros to ten characters, as `{:010.6}` writes it. Each leg that ends has some
/// sixty of them, and the machinery of formats takes longer for these than the rest of its end.
fn millionths(text: &mut String, value: f32) {
    let whole = f64::from(value) * 1e6;
    if !(0.0..1e15).contains(&whole) {
        let _ = write!(text, "{value:010.6}");
        return;
    }
    let mut rest = whole.round_ties_even() as u64;
    let mut digits = [b'0'; 24];
    let mut at = digits.len();
    let mut written = 0;
    while rest > 0 || written < 10 {
        at -= 1;
        written += 1;
        if written == 7 {
            digits[at] = b'.';
            continue;
        }
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// One item of `CHANNEL(rtcp,...)`; None when there is no such item.
pub fn item(stats: &LegStats, name: &str) -> Option<String> {
    if let Some(summary) = Summary::from_item(name) {
        return Some(summary.text(stats));
    }
    let quality = &stats.quality;
    let number = |value: f32| Some(format!("{value:.6}"));
    // `remote_maxjitter` and the like: whose, which figure, of what.
    let figure = |series: &Series, scale: f32, figure: &str| {
        let value = match figure {
            "max" => series.max(),
            "min" => series.min(),
            "normdev" => series.mean(),
            "stdev" => series.deviation(),
            _ => return None,
        };
        number(scale * value)
    };
    match name {
        "txcount" => return Some(stats.packets_sent.to_string()),
        "rxcount" => return Some(stats.packets_received.to_string()),
        "txoctetcount" => return Some(stats.bytes_sent.to_string()),
        "rxoctetcount" => return Some(stats.bytes_received.to_string()),
        "txploss" => return Some(stats.remote_lost.unwrap_or(0).to_string()),
        "rxploss" => return Some(stats.lost.to_string()),
        "txjitter" => return number(seconds(stats.remote_jitter_us)),
        "rxjitter" => return number(seconds(Some(stats.jitter_us))),
        "rtt" => return number(seconds(stats.round_trip_us)),
        "txmes" => return number(MES * quality.remote_mos.mean()),
        "rxmes" => return number(score(stats)),
        "local_ssrc" => return Some(stats.ssrc.to_string()),
        "remote_ssrc" => return Some(stats.remote_ssrc.unwrap_or(0).to_string()),
        _ => {}
    }
    if let Some(which) = name.strip_suffix("rtt") {
        return figure(&quality.round_trip, 1.0, which);
    }
    let (ours, rest) = match name.strip_prefix("local_") {
        Some(rest) => (true, rest),
        None => (false, name.strip_prefix("remote_")?),
    };
    for (ending, series, scale) in [
        ("jitter", [&quality.jitter, &quality.remote_jitter], 1.0),
        ("rxploss", [&quality.loss, &quality.remote_loss], 1.0),
        ("mes", [&quality.mos, &quality.remote_mos], MES),
    ] {
        if let Some(which) = rest.strip_suffix(ending) {
            return figure(series[usize::from(!ours)], scale, which);
        }
    }
    None
}

/// Sets `RTPAUDIOQOS` and its sisters on the channel whose leg it was, and with `BRIDGED` behind their names on the one that it
/// was bridged with.
pub(crate) fn set_variables(own: Option<&Channel>, partner: Option<&Channel>, stats: &LegStats) {
    if own.is_none() && partner.is_none() {
        return;
    }
    for (summary, names) in Summary::VARIABLES {
        let text = summary.text(stats);
        for (channel, name) in [own, partner].into_iter().zip(names) {
            if let Some(channel) = channel {
                channel.set_variable(name, &text);
            }
        }
    }
}

impl Channel {
    pub(crate) fn set_stats(&self, stats: Box<LegStats>) {
        {
            let mut data = self.data_mut();
            data.stats = Some(stats);
            data.stats_told += 1;
        }
        self.touch();
    }

    /// How the media did, as told last ([`Channel::refresh_stats`]).
    pub fn with_stats<R>(&self, read: impl FnOnce(&LegStats) -> R) -> Option<R> {
        self.data().stats.as_deref().map(read)
    }

    /// Asks the media thread how the media did, or waits until it has told how it ended; two tenths of a second at most.
    pub async fn refresh_stats(&self) {
        let until = crate::clock::now() + PATIENCE;
        let told = self.data().stats_told;
        let asked = self.media(Command::Snapshot);
        let shard = Rc::clone(self.shard());
        loop {
            let changed = Rc::clone(self.changed());
            let notified = changed.notified();
            let settled = {
                let data = self.data();
                let closing = |leg: &Option<_>| leg.is_some_and(|leg| shard.is_closing(leg));
                let ended = !data.last_legs.iter().any(closing);
                ended && (!asked || data.stats_told != told || self.leg().is_none())
            };
            if settled
                || tokio::time::timeout_at(until.into(), notified)
                    .await
                    .is_err()
            {
                return;
            }
        }
    }

    /// Where this channel receives RTP, and where its far end does (None: it did not say).
    pub fn rtp_addresses(&self) -> Option<(SocketAddr, Option<SocketAddr>)> {
        let session = self.session();
        Some(session.as_ref()?.media.as_ref()?.addresses())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> LegStats {
        let mut stats = LegStats {
            ssrc: 11,
            remote_ssrc: Some(22),
            packets_received: 500,
            packets_sent: 510,
            lost: 5,
            jitter_us: 1500,
            round_trip_us: Some(20_000),
            remote_lost: Some(3),
            remote_jitter_us: Some(2500),
            ..LegStats::default()
        };
        for value in [0.001, 0.003] {
            stats.quality.jitter.add(value);
        }
        stats.quality.remote_mos.add(4.0);
        stats.quality.round_trip.add(0.02);
        stats
    }

    #[test]
    fn summaries_are_written_as_asterisk_does() {
        let stats = stats();
        assert_eq!(
            Summary::Jitter.text(&stats),
            "minrxjitter=000.001000;maxrxjitter=000.003000;avgrxjitter=000.002000;stdevrxjitter=000.001000;\
             mintxjitter=000.000000;maxtxjitter=000.000000;avgtxjitter=000.000000;stdevtxjitter=000.000000;"
        );
        assert_eq!(
            Summary::RoundTrip.text(&stats),
            "minrtt=000.020000;maxrtt=000.020000;avgrtt=000.020000;stdevrtt=000.000000;"
        );
        let all = Summary::All.text(&stats);
        assert!(
            all.starts_with("ssrc=11;themssrc=22;lp=5;rxjitter=000.001500;rxcount=500;txjitter=000.002500;txcount=510;rlp=3;rtt=000.020000;rxmes=0"),
            "{all}"
        );
        assert!(all.ends_with(";txmes=080.000000"), "{all}");
    }

    #[test]
    fn millionths_are_written_as_formats_write_them() {
        let edges = [
            0.0, 1e-7, 4e-7, 6e-7, 0.001, 0.1, 0.5, 1.0, 9.999_999, 80.0, 100.0, 123_456.79, 1e8,
            1e10,
        ];
        let others = [-1.0, -0.5, f32::NAN, f32::INFINITY, f32::MAX];
        let spread = (0..20_000_u32).map(|step| (step * 7919 % 1_000_003) as f32 / 9973.0);
        for value in edges.into_iter().chain(others).chain(spread) {
            let mut text = String::new();
            millionths(&mut text, value);
            assert_eq!(text, format!("{value:010.6}"), "{value:?}");
        }
    }

    #[test]
    fn every_item_of_asterisk_20_is_there() {
        let stats = stats();
        for (name, value) in [
            ("txcount", "510"),
            ("rxcount", "500"),
            ("txploss", "3"),
            ("rxploss", "5"),
            ("local_ssrc", "11"),
            ("remote_ssrc", "22"),
            ("rxjitter", "0.001500"),
            ("txjitter", "0.002500"),
            ("rtt", "0.020000"),
            ("maxrtt", "0.020000"),
            ("local_maxjitter", "0.003000"),
            ("local_normdevjitter", "0.002000"),
            ("remote_maxjitter", "0.000000"),
            ("txmes", "80.000000"),
        ] {
            assert_eq!(item(&stats, name).as_deref(), Some(value), "{name}");
        }
        for whose in ["local_", "remote_"] {
            for which in ["max", "min", "normdev", "stdev"] {
                for what in ["jitter", "rxploss", "mes"] {
                    let name = format!("{whose}{which}{what}");
                    assert!(item(&stats, &name).is_some(), "{name}");
                }
            }
        }
        for name in [
            "minrtt",
            "normdevrtt",
            "stdevrtt",
            "rxmes",
            "all_mes",
            "all_loss",
            "txoctetcount",
        ] {
            assert!(item(&stats, name).is_some(), "{name}");
        }
        for name in ["", "jitter", "local_jitter", "local_bestmes", "bestrtt"] {
            assert!(item(&stats, name).is_none(), "{name}");
        }
    }
}
