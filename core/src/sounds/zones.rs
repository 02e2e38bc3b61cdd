//! The tones of telephone networks by country, after the tables of ITU-T E.180. What a country does not define has the
//! value that exchanges use there by habit.

use strowger_store::{Snapshot, StaticRow};

/// Whose tones are heard where nothing is said.
pub const DEFAULT_ZONE: &str = "ru";

/// The file whose lines add and change zones.
const FILE: &str = "indications.conf";

/// Six short bursts before the dial tone: something has changed, or a message waits.
macro_rules! stutter {
    ($tone:literal, $dial:literal) => {
        concat!(
            "!",
            $tone,
            "/100,!0/100,!",
            $tone,
            "/100,!0/100,!",
            $tone,
            "/100,!0/100,!",
            $tone,
            "/100,!0/100,!",
            $tone,
            "/100,!0/100,!",
            $tone,
            "/100,!0/100,",
            $dial
        )
    };
}

/// Three of them: the exchange listens again.
macro_rules! recall {
    ($tone:literal, $ms:literal) => {
        concat!(
            "!", $tone, "/", $ms, ",!0/", $ms, ",!", $tone, "/", $ms, ",!0/", $ms, ",!", $tone,
            "/", $ms, ",!0/", $ms, ",", $tone
        )
    };
}

const THREE_INFO: &str = "!950/330,!1400/330,!1800/330,!0/1000,!950/330,!1400/330,!1800/330,!0/1000,!950/330,!1400/330,!1800/330,!0/1000,0";
const INFO: &str = "950/330,1400/330,1800/330,0/1000";
const ONE_INFO: &str = "!950/330,!1400/330,!1800/330,0";
const STUTTER_425: &str = stutter!("425", "425");
const STUTTER_US: &str = stutter!("350+440", "350+440");
const RECALL_425: &str = recall!("425", "100");
const RECALL_US: &str = recall!("350+440", "100");

/// The tones of a country.
struct Zone {
    names: &'static [&'static str],
    dial: &'static str,
    busy: &'static str,
    ring: &'static str,
    congestion: &'static str,
    callwaiting: &'static str,
    dialrecall: &'static str,
    record: &'static str,
    info: &'static str,
    stutter: &'static str,
    more: &'static [(&'static str, &'static str)],
}

/// 425 Hz and what most countries of Europe have in common.
const COMMON: Zone = Zone {
    names: &[],
    dial: "425",
    busy: "425/500,0/500",
    ring: "425/1000,0/4000",
    congestion: "425/250,0/250",
    callwaiting: "425/150,0/150,425/150,0/4000",
    dialrecall: RECALL_425,
    record: "1400/500,0/15000",
    info: INFO,
    stutter: STUTTER_425,
    more: &[],
};

#[rustfmt::skip]
static ZONES: &[Zone] = &[
    Zone { names: &["at"], dial: "420", busy: "420/400,0/400", ring: "420/1000,0/5000", congestion: "420/200,0/200",
        callwaiting: "420/40,0/1960", dialrecall: "420", record: "1400/80,0/14920",
        info: "950/330,1450/330,1850/330,0/1000", stutter: "380+420", ..COMMON },
    Zone { names: &["au"], dial: "413+438", busy: "425/375,0/375", ring: "413+438/400,0/200,413+438/400,0/2000",
        congestion: "425/375,0/375,420/375,0/375", callwaiting: "425/200,0/200,425/200,0/4400", dialrecall: "413+438",
        record: "!425/1000,!0/15000,425/360,0/15000", info: "425/2500,0/500", stutter: "413+438/100,0/40",
        more: &[("std", "!525/100,!0/100,!525/100,!0/100,!525/100,!0/100,!525/100,!0/100,!525/100"), ("facility", "425"),
            ("ringmobile", "400+450/400,0/200,400+450/400,0/2000")] },
    Zone { names: &["be"], ring: "425/1000,0/3000", congestion: "425/167,0/167",
        callwaiting: "1400/175,0/175,1400/175,0/3500", dialrecall: RECALL_US, info: "900/330,1400/330,1800/330,0/1000",
        stutter: "425/1000,0/250", ..COMMON },
    Zone { names: &["bg"], record: "1400/425,0/15000", stutter: "425/1500,0/100", ..COMMON },
    Zone { names: &["br"], busy: "425/250,0/250", congestion: "425/250,0/250,425/750,0/250", callwaiting: "425/50,0/1000",
        dialrecall: "350+440", record: "425/250,0/250", info: "950/330,1400/330,1800/330", stutter: "350+440", ..COMMON },
    Zone { names: &["ch"], congestion: "425/200,0/200", callwaiting: "425/200,0/200,425/200,0/4000",
        record: "1400/80,0/15000", stutter: "425+340/1100,0/1100", ..COMMON },
    Zone { names: &["cl"], dial: "400", busy: "400/500,0/500", ring: "400/1000,0/3000", congestion: "400/200,0/200",
        callwaiting: "400/250,0/8750", dialrecall: recall!("400", "100"), info: "950/333,1400/333,1800/333,0/1000",
        stutter: stutter!("400", "400"), ..COMMON },
    Zone { names: &["cn"], dial: "450", busy: "450/350,0/350", ring: "450/1000,0/4000", congestion: "450/700,0/700",
        callwaiting: "450/400,0/4000", dialrecall: "450", record: "950/400,0/10000",
        info: "450/100,0/100,450/100,0/100,450/100,0/100,450/400,0/400", stutter: "450+425", ..COMMON },
    Zone { names: &["cz"], dial: "425/330,0/330,425/660,0/660", busy: "425/330,0/330", congestion: "425/165,0/165",
        callwaiting: "425/330,0/9000",
        dialrecall: "!425/100,!0/100,!425/100,!0/100,!425/100,!0/100,425/330,0/330,425/660,0/660",
        record: "1400/500,0/14000", info: "950/330,0/30,1400/330,0/30,1800/330,0/1000", stutter: "425/450,0/50", ..COMMON },
    Zone { names: &["de"], busy: "425/480,0/480", congestion: "425/240,0/240",
        callwaiting: "!425/200,!0/200,!425/200,!0/5000,!425/200,!0/200,!425/200,!0/5000,!425/200,!0/200,!425/200,!0/5000,\
            !425/200,!0/200,!425/200,!0/5000,!425/200,!0/200,!425/200,0",
        record: "1400/80,0/15000", stutter: "425+400", ..COMMON },
    Zone { names: &["dk"], congestion: "425/200,0/200",
        callwaiting: "!425/200,!0/600,!425/200,!0/3000,!425/200,!0/200,!425/200,0", record: "1400/80,0/15000",
        stutter: "425/450,0/50", ..COMMON },
    Zone { names: &["ee"], busy: "425/300,0/300", congestion: "425/200,0/200",
        callwaiting: "950/650,0/325,950/325,0/30,1400/1300,0/2600", dialrecall: "425/650,0/25",
        info: "950/650,0/325,950/325,0/30,1400/1300,0/2600", ..COMMON },
    Zone { names: &["es"], busy: "425/200,0/200", ring: "425/1500,0/3000",
        congestion: "425/200,0/200,425/200,0/200,425/200,0/600", callwaiting: "425/175,0/175,425/175,0/3500",
        dialrecall: recall!("425", "200"), info: "950/330,0/1000", more: &[("dialout", "500")], ..COMMON },
    Zone { names: &["fi"], busy: "425/300,0/300", congestion: "425/200,0/200", callwaiting: "425/150,0/150,425/150,0/8000",
        dialrecall: "425/650,0/25", info: "950/650,0/325,950/325,0/30,1400/1300,0/2600", stutter: "425/650,0/25", ..COMMON },
    Zone { names: &["fr"], dial: "440", busy: "440/500,0/500", ring: "440/1500,0/3500", congestion: "440/250,0/250",
        callwaiting: "440/300,0/10000", dialrecall: RECALL_US, info: "!950/330,!1400/330,!1800/330",
        stutter: stutter!("440", "440"), ..COMMON },
    Zone { names: &["gr"], dial: "425/200,0/300,425/700,0/800", busy: "425/300,0/300", congestion: "425/200,0/200",
        callwaiting: "425/150,0/150,425/150,0/8000", dialrecall: "425/650,0/25", record: "1400/400,0/15000",
        info: THREE_INFO, stutter: "425/650,0/25", ..COMMON },
    Zone { names: &["hu"], busy: "425/300,0/300", ring: "425/1250,0/3750", congestion: "425/300,0/300",
        callwaiting: "425/40,0/1960", dialrecall: "425+450", record: "1400/400,0/15000", info: THREE_INFO,
        stutter: "350+375+400", ..COMMON },
    Zone { names: &["id"], callwaiting: "425/150,0/150,425/150,0/10000", info: "!950/330,!1400/330,!1800/330,0/1000",
        ..COMMON },
    Zone { names: &["il"], dial: "414", busy: "414/500,0/500", ring: "414/1000,0/3000", congestion: "414/250,0/250",
        callwaiting: "414/100,0/100,414/100,0/100,414/600,0/3000", dialrecall: recall!("414", "100"),
        info: "1000/330,1400/330,1800/330,0/1000", stutter: "!414/160,!0/160,!414/160,!0/160,!414/160,!0/160,!414/160,!0/160,!414/160,!0/160,!414/160,!0/160,\
            !414/160,!0/160,!414/160,!0/160,!414/160,!0/160,!414/160,!0/160,414", ..COMMON },
    Zone { names: &["in"], dial: "400*25", busy: "400/750,0/750", ring: "400*25/400,0/200,400*25/400,0/2000",
        congestion: "400/250,0/250", callwaiting: "400/200,0/100,400/200,0/7500", dialrecall: RECALL_US,
        info: "!950/330,!1400/330,!1800/330,0/1000", stutter: stutter!("350+440", "400*25"), ..COMMON },
    Zone { names: &["it"], dial: "425/200,0/200,425/600,0/1000", congestion: "425/200,0/200",
        callwaiting: "425/400,0/100,425/250,0/100,425/150,0/14000", dialrecall: "470/400,425/400",
        record: "1400/400,0/15000", info: THREE_INFO, stutter: "470/400,425/400", ..COMMON },
    Zone { names: &["jp"], dial: "400", busy: "400/500,0/500", ring: "400+15/1000,0/2000", congestion: "400/500,0/500",
        callwaiting: "400+16/500,0/8000", dialrecall: recall!("400", "200"), info: ONE_INFO,
        stutter: stutter!("400", "400"), ..COMMON },
    Zone { names: &["lt"], busy: "425/350,0/350", congestion: "425/200,0/200", dialrecall: "425/500,0/50",
        info: THREE_INFO, ..COMMON },
    Zone { names: &["mx"], busy: "425/250,0/250", callwaiting: "425/200,0/600,425/200,0/10000", dialrecall: RECALL_US,
        info: "950/330,0/30,1400/330,0/30,1800/330,0/1000", stutter: stutter!("350+440", "425"), ..COMMON },
    Zone { names: &["my"], ring: "425/400,0/200,425/400,0/2000", congestion: "425/500,0/500", ..COMMON },
    Zone { names: &["nl"], callwaiting: "425/500,0/9500", dialrecall: "425/500,0/50", stutter: "425/500,0/50", ..COMMON },
    Zone { names: &["no"], congestion: "425/200,0/200", callwaiting: "425/200,0/600,425/200,0/10000",
        dialrecall: "470/400,425/400", record: "1400/400,0/15000", info: THREE_INFO, stutter: "470/400,425/400", ..COMMON },
    Zone { names: &["nz"], dial: "400", busy: "400/500,0/500", ring: "400+450/400,0/200,400+450/400,0/2000",
        congestion: "400/250,0/250", callwaiting: "!400/200,!0/3000,!400/200,!0/3000,!400/200,!0/3000,!400/200",
        dialrecall: recall!("400", "100"), record: "1400/425,0/15000",
        info: "400/750,0/100,400/750,0/100,400/750,0/100,400/750,0/400", stutter: stutter!("400", "400"),
        more: &[("unobtainable", "400/75,0/100,400/75,0/100,400/75,0/100,400/75,0/400")] },
    Zone { names: &["ph"], busy: "480+620/500,0/500", ring: "425+480/1000,0/4000", congestion: "480+620/250,0/250",
        callwaiting: "440/300,0/10000", dialrecall: RECALL_US, info: ONE_INFO, stutter: stutter!("350+440", "425"), ..COMMON },
    Zone { names: &["pl"], congestion: "425/500,0/500", dialrecall: "425/500,0/50",
        info: "!950/330,!1400/330,!1800/330,!0/1000,!950/330,!1400/330,!1800/330,!0/1000,!950/330,!1400/330,!1800/330,!0/1000",
        ..COMMON },
    Zone { names: &["pt"], ring: "425/1000,0/5000", congestion: "425/200,0/200", callwaiting: "440/300,0/10000",
        dialrecall: "425/1000,0/200", ..COMMON },
    Zone { names: &["ru", "by", "kz", "ua"], busy: "425/350,0/350", congestion: "425/175,0/175",
        callwaiting: "425/200,0/5000", dialrecall: "425/400,0/40", record: "1400/400,0/15000", ..COMMON },
    Zone { names: &["se"], busy: "425/250,0/250", ring: "425/1000,0/5000", congestion: "425/250,0/750",
        callwaiting: "425/200,0/500,425/200,0/9100",
        info: "!950/332,!0/24,!1400/332,!0/24,!1800/332,!0/2024,!950/332,!0/24,!1400/332,!0/24,!1800/332,!0/2024,\
            !950/332,!0/24,!1400/332,!0/24,!1800/332,!0/2024,!950/332,!0/24,!1400/332,!0/24,!1800/332,!0/2024,\
            !950/332,!0/24,!1400/332,!0/24,!1800/332,0", ..COMMON },
    Zone { names: &["sg"], busy: "425/750,0/750", ring: "425*24/400,0/200,425*24/400,0/2000",
        callwaiting: "425*24/300,0/200,425*24/300,0/3200", dialrecall: "425*24/500,0/500,425/500,0/2500",
        stutter: "!425/200,!0/200,!425/600,!0/200,!425/200,!0/200,!425/600,!0/200,!425/200,!0/200,!425/600,!0/200,\
            !425/200,!0/200,!425/600,!0/200,425",
        more: &[("nutone", "425/2500,0/500"), ("intrusion", "425/250,0/2000"), ("warning", "425/624,0/4376"),
            ("acceptance", "425/125,0/125"), ("holdinga", "!425*24/500,!0/500"), ("holdingb", "!425/500,!0/2500")], ..COMMON },
    Zone { names: &["th"], dial: "400*50", busy: "400/500,0/500", ring: "420/1000,0/5000", congestion: "400/300,0/300",
        dialrecall: "400*50/400,0/100,400*50/400,0/100", info: "950/330,1400/330,1800/330",
        stutter: "!400/200,!0/200,!400/600,!0/200,!400/200,!0/200,!400/600,!0/200,!400/200,!0/200,!400/600,!0/200,\
            !400/200,!0/200,!400/600,!0/200,400", ..COMMON },
    Zone { names: &["tw"], dial: "350+440", busy: "480+620/500,0/500", ring: "440+480/1000,0/2000",
        congestion: "480+620/250,0/250", callwaiting: "350+440/250,0/250,350+440/250,0/3250", dialrecall: "300/1500,0/500",
        info: ONE_INFO, stutter: STUTTER_US, ..COMMON },
    Zone { names: &["uk", "gb"], dial: "350+440", busy: "400/375,0/375", ring: "400+450/400,0/200,400+450/400,0/2000",
        congestion: "400/400,0/350,400/225,0/525", callwaiting: "400/100,0/4000", dialrecall: "350+440",
        record: "1400/500,0/60000", info: "950/330,0/15,1400/330,0/15,1800/330,0/1000", stutter: "350+440/750,440/750",
        more: &[("specialdial", "350+440/750,440/750"), ("specialcongestion", "400/200,1004/300"), ("unobtainable", "400"),
            ("specialcallwaiting", "400/250,0/250,400/250,0/250,400/250,0/5000"), ("creditexpired", "400/125,0/125"),
            ("confirm", "1400"), ("switching", "400/200,0/400,400/2000,0/400")] },
    Zone { names: &["us", "ca"], dial: "350+440", busy: "480+620/500,0/500", ring: "440+480/2000,0/4000",
        congestion: "480+620/250,0/250", callwaiting: "440/300,0/10000", dialrecall: RECALL_US, info: ONE_INFO,
        stutter: STUTTER_US, ..COMMON },
    Zone { names: &["ve"], callwaiting: "400+450/300,0/6000", dialrecall: "425",
        info: "!950/330,!1440/330,!1800/330,0/1000", ..COMMON },
    Zone { names: &["za"], dial: "400*33", busy: "400/500,0/500", ring: "400*33/400,0/200,400*33/400,0/2000",
        congestion: "400/250,0/250",
        callwaiting: "400*33/250,0/250,400*33/250,0/250,400*33/250,0/250,400*33/250,0/250", dialrecall: "350+440",
        record: "1400/500,0/10000", info: "950/330,1400/330,1800/330,0/330", stutter: stutter!("400*33", "400*33"), ..COMMON },
];

impl Zone {
    fn tone(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "dial" => self.dial,
            "busy" => self.busy,
            "ring" | "ringing" => self.ring,
            "congestion" => self.congestion,
            "callwaiting" => self.callwaiting,
            "dialrecall" => self.dialrecall,
            "record" => self.record,
            "info" => self.info,
            "stutter" => self.stutter,
            _ => {
                return self
                    .more
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, list)| *list);
            }
        })
    }
}

/// All countries built in.
pub fn names() -> impl Iterator<Item = &'static str> {
    ZONES.iter().flat_map(|zone| zone.names).copied()
}

/// The list of tones called `name` (`dial`, `busy`, `ring`, ...) in a zone. Lines of `indications.conf` in the static
/// tables come before what is built in; a zone that is empty or not known is that of their section `general`, else
/// [`DEFAULT_ZONE`].
pub fn indication(snapshot: &Snapshot, zone: &str, name: &str) -> Option<String> {
    let name = name.trim().to_ascii_lowercase();
    let rows = rows(&snapshot.statics);
    let value = |category: &str, key: &str| {
        rows.iter()
            .rfind(|row| {
                row.category.eq_ignore_ascii_case(category)
                    && row.var_name.eq_ignore_ascii_case(key)
            })
            .map(|row| row.var_val.trim())
            .filter(|value| !value.is_empty())
    };
    let general = value("general", "country").unwrap_or(DEFAULT_ZONE);
    let find = |zone: &str| -> Option<String> {
        if let Some(list) = value(zone, &name) {
            return Some(list.to_owned());
        }
        let zone = value(zone, "alias").unwrap_or(zone);
        if let Some(list) = value(zone, &name) {
            return Some(list.to_owned());
        }
        ZONES
            .iter()
            .find(|known| {
                known
                    .names
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(zone))
            })?
            .tone(&name)
            .map(str::to_owned)
    };
    [zone.trim(), general, DEFAULT_ZONE]
        .into_iter()
        .filter(|zone| !zone.is_empty())
        .find_map(find)
}

/// The lines of [`FILE`]: rows are in the order of their files' names.
fn rows(statics: &[StaticRow]) -> &[StaticRow] {
    let start = statics.partition_point(|row| row.filename.to_lowercase().as_str() < FILE);
    let rest = statics.get(start..).unwrap_or_default();
    let end = rest.partition_point(|row| row.filename.to_lowercase().as_str() == FILE);
    rest.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Cadence;
    use super::*;

    #[test]
    fn every_tone_of_every_country_can_be_played() {
        let snapshot = Snapshot::default();
        for zone in names() {
            for name in [
                "dial",
                "busy",
                "ring",
                "congestion",
                "callwaiting",
                "dialrecall",
                "record",
                "info",
                "stutter",
            ] {
                let list = indication(&snapshot, zone, name).unwrap();
                assert!(Cadence::parse(&list).is_ok(), "{zone} {name}: {list}");
            }
        }
        for zone in ZONES {
            for (name, list) in zone.more {
                assert!(
                    Cadence::parse(list).is_ok(),
                    "{:?} {name}: {list}",
                    zone.names
                );
            }
        }
        assert!(names().count() >= 45);
    }

    #[test]
    fn a_country_has_its_own_tones_and_the_rest_those_of_the_default() {
        let snapshot = Snapshot::default();
        for (zone, name, wanted) in [
            ("us", "busy", Some("480+620/500,0/500")),
            ("UK", "ring", Some("400+450/400,0/200,400+450/400,0/2000")),
            ("de", "busy", Some("425/480,0/480")),
            ("fr", "dial", Some("440")),
            ("ru", "congestion", Some("425/175,0/175")),
            ("", "busy", Some("425/350,0/350")),
            ("atlantis", "BUSY", Some("425/350,0/350")),
            ("uk", "unobtainable", Some("400")),
            ("us", "unobtainable", None),
            ("us", "425/500", None),
        ] {
            assert_eq!(
                indication(&snapshot, zone, name).as_deref(),
                wanted,
                "{zone} {name}"
            );
        }
    }

    #[test]
    fn lines_of_the_database_change_zones_and_add_some() {
        let mut statics: Vec<_> = [
            ("indications.conf", "general", "country", "us"),
            ("indications.conf", "house", "busy", "500/100,0/100"),
            ("indications.conf", "house", "alias", "de"),
            ("indications.conf", "us", "ring", "440/1000,0/1000"),
            ("extensions.conf", "us", "busy", "1"),
            ("queues.conf", "us", "busy", "2"),
        ]
        .into_iter()
        .map(|(file, category, name, value)| StaticRow {
            filename: file.to_owned(),
            category: category.to_owned(),
            var_name: name.to_owned(),
            var_val: value.to_owned(),
            ..StaticRow::default()
        })
        .collect();
        StaticRow::sort(&mut statics);
        let snapshot = Snapshot {
            statics: Arc::new(statics),
            ..Snapshot::default()
        };
        for (zone, name, wanted) in [
            ("", "busy", "480+620/500,0/500"),
            ("house", "busy", "500/100,0/100"),
            ("house", "ring", "425/1000,0/4000"),
            ("house", "congestion", "425/240,0/240"),
            ("us", "ring", "440/1000,0/1000"),
        ] {
            assert_eq!(
                indication(&snapshot, zone, name).as_deref(),
                Some(wanted),
                "{zone} {name}"
            );
        }
    }
}
