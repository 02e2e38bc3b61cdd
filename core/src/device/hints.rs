//! Hints: which devices an extension shows the state of.

use rustc_hash::FxHashMap;

use super::device_key;

/// Devices of one hint at most; the rest is left out.
const DEVICES_MAX: usize = 64;

/// The devices of a hint such as `PJSIP/100&Custom:away,CustomPresence:100`. What follows the comma is about presence.
pub fn devices_of(hint: &str) -> impl Iterator<Item = &str> {
    let devices = hint.split(',').next().unwrap_or_default();
    devices
        .split('&')
        .map(str::trim)
        .filter(|device| !device.is_empty())
        .take(DEVICES_MAX)
}

/// An extension with a hint: context and number.
pub type Place = (String, String);

/// The hints of the dialplan, patterns left out: their extensions are known when somebody asks for one.
#[derive(Debug, Default)]
pub struct Hints {
    by_place: FxHashMap<Place, String>,
    by_device: FxHashMap<String, Vec<Place>>,
}

impl Hints {
    /// Takes context, extension and devices of each hint.
    pub fn new(hints: impl IntoIterator<Item = (String, String, String)>) -> Self {
        let mut all = Self::default();
        for (context, exten, hint) in hints {
            if exten.starts_with('_') {
                continue;
            }
            let place = (context, exten);
            for device in devices_of(&hint) {
                let places = all.by_device.entry(device_key(device)).or_default();
                if !places.contains(&place) {
                    places.push(place.clone());
                }
            }
            all.by_place.insert(place, hint);
        }
        all
    }

    /// The hint of an extension.
    #[must_use]
    pub fn get(&self, context: &str, exten: &str) -> Option<&str> {
        self.by_place
            .get(&(context.to_owned(), exten.to_owned()))
            .map(String::as_str)
    }

    /// The extensions that show a device, however they write it.
    #[must_use]
    pub fn showing(&self, device: &str) -> &[Place] {
        let places = self.by_device.get(&device_key(device));
        places.map_or(&[], Vec::as_slice)
    }

    /// All extensions with a hint, and the hint.
    pub fn iter(&self) -> impl Iterator<Item = (&Place, &str)> {
        self.by_place
            .iter()
            .map(|(place, hint)| (place, hint.as_str()))
    }

    /// All devices that are shown.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.by_device.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_one_key_however_it_is_written() {
        for (device, wanted) in [
            ("PJSIP/100", "PJSIP/100"),
            (" sip/100 ", "PJSIP/100"),
            ("pjsip/200@100", "PJSIP/100"),
            ("PJSIP/100/sip:100@host", "PJSIP/100"),
            ("custom:Away", "Custom:Away"),
            ("local/100@internal/n", "Local/100@internal"),
            ("Queue/sales", "Queue:sales"),
            ("Park:701@parkedcalls", "park:701@parkedcalls"),
            ("odd", "odd"),
        ] {
            assert_eq!(device_key(device), wanted, "{device}");
        }
        let hints = Hints::new([("a".into(), "100".into(), "SIP/100&custom:x".into())]);
        assert_eq!(hints.showing("PJSIP/100").len(), 1);
        assert_eq!(hints.showing("Custom:x").len(), 1);
    }

    #[test]
    fn a_device_knows_the_extensions_that_show_it() {
        let hints = Hints::new(
            [
                ("a", "100", "PJSIP/100&Custom:x,CustomPresence:100"),
                ("b", "7", "PJSIP/100"),
                ("a", "_1XX", "PJSIP/${EXTEN}"),
            ]
            .map(|(context, exten, hint)| (context.into(), exten.into(), hint.into())),
        );
        assert_eq!(hints.showing("PJSIP/100").len(), 2);
        assert_eq!(hints.showing("Custom:x"), [("a".into(), "100".into())]);
        assert!(hints.showing("CustomPresence:100").is_empty());
        assert_eq!(hints.get("b", "7"), Some("PJSIP/100"));
        assert_eq!(hints.get("a", "_1XX"), None);
    }
}
