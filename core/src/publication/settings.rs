//! Who may publish what here, and what we publish where: rows of `ps_inbound_publications`, `ps_asterisk_publications` and
//! `ps_outbound_publishes`, and sections of `pjsip.conf` of the same kinds. Of one name the row counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;
use strowger_sip::NameAddr;
use strowger_sip::uri::escape_user;
use strowger_store::{OptionsRow, Snapshot, StaticRow};

use super::message::JSON;
use crate::device::Place;
use crate::endpoint::registration::{read_uri, unspoken};

/// What a publication is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Package {
    DeviceState,
    Mwi,
}

/// The packages, for `Allow-Events`.
pub(super) const PACKAGES: &str = "asterisk-devicestate, asterisk-mwi";

impl Package {
    pub(super) fn read(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "asterisk-devicestate" => Some(Self::DeviceState),
            "asterisk-mwi" => Some(Self::Mwi),
            _ => None,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::DeviceState => "asterisk-devicestate",
            Self::Mwi => "asterisk-mwi",
        }
    }
}

/// The options of one object.
type Options = Vec<(String, String)>;

fn get<'o>(options: &'o [(String, String)], name: &str) -> &'o str {
    let mut all = options.iter().rev();
    all.find(|(known, _)| known == name)
        .map_or("", |(_, text)| text.trim())
}

fn is_yes(text: &str) -> bool {
    ["yes", "true", "on", "1", "y", "t"]
        .iter()
        .any(|yes| yes.eq_ignore_ascii_case(text))
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn list(text: &str) -> Vec<String> {
    let items = text.split(',').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The objects of a kind by name: rows, then sections whose `type` says so.
fn objects(snapshot: &Snapshot, rows: &[OptionsRow], kind: &str) -> BTreeMap<String, Options> {
    let mut sections: BTreeMap<(&str, i32), (bool, Options)> = BTreeMap::new();
    for row in snapshot.statics.iter() {
        if row.filename != "pjsip.conf" {
            continue;
        }
        let value = row.var_val.trim_start_matches('>').trim();
        let name = row.var_name.trim().to_ascii_lowercase();
        let section = sections
            .entry((row.category.as_str(), row.cat_metric))
            .or_default();
        section.0 |= name == "type" && value.eq_ignore_ascii_case(kind);
        section.1.push((name, value.to_owned()));
    }
    let sections = sections.into_iter().filter(|(_, (is_kind, _))| *is_kind);
    let mut all: BTreeMap<String, Options> = BTreeMap::new();
    for ((name, _), (_, options)) in sections {
        all.entry(name.to_owned()).or_insert(options);
    }
    for row in rows {
        all.insert(row.get("id").to_owned(), row.options.clone());
    }
    all
}

/// A text that names must fit: none lets everything through, one that cannot be read nothing.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    All,
    Fitting(Regex),
    Nothing,
}

impl Filter {
    pub(super) fn read(text: &str) -> Self {
        if text.is_empty() {
            return Self::All;
        }
        match Regex::new(text) {
            Ok(regex) => Self::Fitting(regex),
            Err(_) => Self::Nothing,
        }
    }

    pub(super) fn passes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Fitting(regex) => regex.is_match(name),
            Self::Nothing => false,
        }
    }
}

/// An `inbound-publication`: who may publish to this name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inbound {
    /// The endpoint that may; empty: any that has proved itself.
    pub(super) endpoint: String,
    /// For each package the name of the `asterisk-publication` that says what is taken.
    events: Vec<(Package, String)>,
}

impl Inbound {
    fn read(options: &[(String, String)]) -> Self {
        let events = options.iter().filter_map(|(name, value)| {
            let package = Package::read(name.strip_prefix("event_")?)?;
            some(value.trim()).map(|value| (package, value))
        });
        Self {
            endpoint: get(options, "endpoint").to_owned(),
            events: events.collect(),
        }
    }

    pub(super) fn publication(&self, package: Package) -> Option<&str> {
        let mut events = self.events.iter();
        let found = events.find(|(known, _)| *known == package)?;
        Some(&found.1)
    }
}

/// An `asterisk-publication`: what is taken, and by which publication of ours everything is told anew.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    /// States of devices, or of mailboxes, are taken at all.
    pub(super) taken: bool,
    pub(super) filter: Filter,
    /// Where everything is told anew; empty: nowhere.
    pub(super) publish: String,
}

impl Accepted {
    fn read(options: &[(String, String)], package: Package) -> Self {
        let (taken, filter, publish) = match package {
            Package::DeviceState => ("device_state", "device_state_filter", "devicestate_publish"),
            Package::Mwi => (
                "mailbox_state",
                "mailbox_state_filter",
                "mailboxstate_publish",
            ),
        };
        Self {
            taken: is_yes(get(options, taken)),
            filter: Filter::read(get(options, filter)),
            publish: get(options, publish).to_owned(),
        }
    }
}

/// What the tables say of publications that come, in a form made for looking up.
#[derive(Debug)]
pub(super) struct Rules {
    /// What this was read from.
    statics: Arc<Vec<StaticRow>>,
    rows: [Arc<Vec<OptionsRow>>; 2],
    inbound: BTreeMap<String, Inbound>,
    accepted: BTreeMap<String, [Accepted; 2]>,
}

impl Rules {
    pub(super) fn read(snapshot: &Snapshot) -> Self {
        let rows = [
            &snapshot.inbound_publications,
            &snapshot.asterisk_publications,
        ]
        .map(Arc::clone);
        let inbound = objects(snapshot, &rows[0], "inbound-publication").into_iter();
        let accepted = objects(snapshot, &rows[1], "asterisk-publication").into_iter();
        let both = |options: &Options| {
            [Package::DeviceState, Package::Mwi].map(|package| Accepted::read(options, package))
        };
        Self {
            statics: Arc::clone(&snapshot.statics),
            inbound: inbound
                .map(|(name, options)| (name, Inbound::read(&options)))
                .collect(),
            accepted: accepted
                .map(|(name, options)| (name, both(&options)))
                .collect(),
            rows,
        }
    }

    /// Whether this snapshot says the same.
    pub(super) fn are_of(&self, snapshot: &Snapshot) -> bool {
        let [inbound, accepted] = &self.rows;
        Arc::ptr_eq(&self.statics, &snapshot.statics)
            && Arc::ptr_eq(inbound, &snapshot.inbound_publications)
            && Arc::ptr_eq(accepted, &snapshot.asterisk_publications)
    }

    /// Who may publish to this name.
    pub(super) fn inbound(&self, name: &str) -> Option<&Inbound> {
        self.inbound.get(name)
    }

    /// What the object of this name says of a package.
    pub(super) fn accepted(&self, name: &str, package: Package) -> Option<&Accepted> {
        let [devices, mailboxes] = self.accepted.get(name)?;
        Some(match package {
            Package::DeviceState => devices,
            Package::Mwi => mailboxes,
        })
    }
}

/// Types of body that tell of an extension.
const BODIES: [&str; 4] = [
    "application/pidf+xml",
    "application/dialog-info+xml",
    "application/xpidf+xml",
    "application/cpim-pidf+xml",
];

/// Extensions with hints, as whoever answers watchers in our place is told of them (RFC 3856, RFC 4235).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extensions {
    /// `dialog` or `presence`.
    event: &'static str,
    /// The type of body.
    pub(crate) body: &'static str,
    /// Expressions that contexts and extensions have to fit; empty: all do.
    context: String,
    exten: String,
    /// Each extension has a publication of its own.
    pub(crate) multi_user: bool,
    /// Which of them this is.
    pub(crate) place: Option<Place>,
}

impl Extensions {
    fn event(options: &[(String, String)]) -> Option<&'static str> {
        let event = get(options, "event");
        ["dialog", "presence"]
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(event))
    }

    fn read(options: &[(String, String)]) -> Option<Self> {
        let body = get(options, "@body");
        let mut bodies = BODIES.into_iter();
        Some(Self {
            event: Self::event(options)?,
            body: bodies.find(|known| known.eq_ignore_ascii_case(body))?,
            context: get(options, "@context").to_owned(),
            exten: get(options, "@exten").to_owned(),
            multi_user: is_yes(get(options, "multi_user")),
            place: None,
        })
    }

    /// The extensions it is about.
    pub(crate) fn filter(&self) -> Places {
        Places(Filter::read(&self.context), Filter::read(&self.exten))
    }
}

/// The extensions that a publication is about: filters of context and extension.
#[derive(Clone, Debug)]
pub(crate) struct Places(Filter, Filter);

impl Places {
    pub(crate) fn fit(&self, context: &str, exten: &str) -> bool {
        self.0.passes(context) && self.1.passes(exten)
    }
}

/// What we tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Devices or mailboxes: of those another exchange makes its own.
    Of(Package),
    Extensions(Extensions),
}

impl Topic {
    fn read(options: &[(String, String)]) -> Option<Self> {
        match Package::read(get(options, "event")) {
            Some(package) => Some(Self::Of(package)),
            None => Extensions::read(options).map(Self::Extensions),
        }
    }

    pub(super) const fn event(&self) -> &'static str {
        match self {
            Self::Of(package) => package.as_str(),
            Self::Extensions(extensions) => extensions.event,
        }
    }

    pub(super) const fn media_type(&self) -> &'static str {
        match self {
            Self::Of(_) => JSON,
            Self::Extensions(extensions) => extensions.body,
        }
    }
}

/// An `outbound-publish`: what we tell another exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outbound {
    pub(crate) id: String,
    /// Life asked for, s.
    pub(crate) expiration: u32,
    pub(crate) outbound_auth: Vec<String>,
    pub(crate) outbound_proxy: Option<String>,
    pub(crate) server_uri: String,
    /// From and To; empty: `server_uri`.
    pub(crate) from_uri: String,
    pub(crate) to_uri: String,
    pub(crate) topic: Topic,
    /// Challenges that are answered for one request.
    pub(crate) max_auth_attempts: u32,
    pub(crate) transport: Option<String>,
    /// Names that are told; empty: all.
    pub(crate) filter: String,
    /// Who is told is asked to tell everything as well: an `asterisk-publication` names this object for that.
    pub(crate) asks: bool,
}

impl Outbound {
    fn read(id: &str, options: &[(String, String)]) -> Option<Self> {
        let topic = Topic::read(options)?;
        let filter = match topic {
            Topic::Of(Package::DeviceState) => get(options, "@device_state_filter"),
            Topic::Of(Package::Mwi) => get(options, "@mailbox_state_filter"),
            Topic::Extensions(_) => "",
        };
        let number = |name, usual| get(options, name).parse().unwrap_or(usual);
        Some(Self {
            id: id.to_owned(),
            expiration: number("expiration", 3600),
            outbound_auth: list(get(options, "outbound_auth")),
            outbound_proxy: some(get(options, "outbound_proxy")),
            server_uri: get(options, "server_uri").to_owned(),
            from_uri: get(options, "from_uri").to_owned(),
            to_uri: get(options, "to_uri").to_owned(),
            topic,
            max_auth_attempts: number("max_auth_attempts", 5),
            transport: some(get(options, "transport")),
            filter: filter.to_owned(),
            asks: false,
        })
    }

    /// The name of the publication of one extension; no row has a line end in its own.
    pub(crate) fn id_of(&self, (context, exten): &Place) -> String {
        format!("{}\n{context}\n{exten}", self.id)
    }

    /// The same for one extension, which is the user of all its URIs.
    pub(crate) fn of_extension(&self, place: &Place) -> Self {
        let with_user = |text: &str| {
            read_uri(text).map_or_else(String::new, |mut address| {
                address.uri.user = Some(escape_user(&place.1).into_owned());
                address.to_string()
            })
        };
        let mut topic = self.topic.clone();
        if let Topic::Extensions(extensions) = &mut topic {
            extensions.place = Some(place.clone());
        }
        Self {
            id: self.id_of(place),
            server_uri: with_user(&self.server_uri),
            from_uri: with_user(&self.from_uri),
            to_uri: with_user(&self.to_uri),
            topic,
            ..self.clone()
        }
    }

    /// From and To.
    pub(crate) fn ends(&self) -> Option<(NameAddr, NameAddr)> {
        let server = read_uri(&self.server_uri)?;
        let or_server = |text: &str| match text {
            "" => Some(NameAddr::new(server.uri.clone())),
            text => read_uri(text),
        };
        Some((or_server(&self.from_uri)?, or_server(&self.to_uri)?))
    }
}

/// The rows that can be carried out.
pub(crate) fn outbound(snapshot: &Snapshot) -> Vec<Outbound> {
    let all = objects(snapshot, &snapshot.outbound_publishes, "outbound-publish");
    if all.is_empty() {
        return Vec::new();
    }
    let accepted = objects(
        snapshot,
        &snapshot.asterisk_publications,
        "asterisk-publication",
    );
    let rows = all
        .iter()
        .filter_map(|(id, options)| Outbound::read(id, options));
    rows.filter(|row| uris(row).all(|(_, uri)| read_uri(uri).is_some()))
        .map(|row| {
            let by = match row.topic {
                Topic::Of(Package::DeviceState) => "devicestate_publish",
                Topic::Of(Package::Mwi) => "mailboxstate_publish",
                Topic::Extensions(_) => return row,
            };
            let asks = accepted.values().any(|options| get(options, by) == row.id);
            Outbound { asks, ..row }
        })
        .collect()
}

/// The URIs that a row has.
fn uris(row: &Outbound) -> impl Iterator<Item = (&'static str, &str)> {
    let optional = [
        (
            "outbound_proxy",
            row.outbound_proxy.as_deref().unwrap_or_default(),
        ),
        ("from_uri", row.from_uri.as_str()),
        ("to_uri", row.to_uri.as_str()),
    ];
    let optional = optional.into_iter().filter(|(_, uri)| !uri.is_empty());
    [("server_uri", row.server_uri.as_str())]
        .into_iter()
        .chain(optional)
}

/// What keeps publications from doing what their rows say: which object, which field, what would be right.
#[must_use]
pub fn problems(snapshot: &Snapshot) -> Vec<String> {
    let mut problems = Vec::new();
    let events = "asterisk-devicestate and asterisk-mwi are published";
    let accepted = objects(
        snapshot,
        &snapshot.asterisk_publications,
        "asterisk-publication",
    );
    let published = objects(snapshot, &snapshot.outbound_publishes, "outbound-publish");
    let filters = |options: &[(String, String)], names: [&'static str; 2]| {
        let bad = names.map(|name| {
            let error = Regex::new(get(options, name)).err()?;
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().to_owned();
            Some(format!("{name}: {why}: nothing passes it"))
        });
        bad.into_iter().flatten()
    };
    for (id, options) in objects(
        snapshot,
        &snapshot.inbound_publications,
        "inbound-publication",
    ) {
        let mut problem = |what: String| {
            problems.push(format!("inbound-publication {id}: {what}"));
        };
        let endpoint = get(&options, "endpoint");
        if !endpoint.is_empty() && !snapshot.endpoints.contains_key(endpoint) {
            problem(format!("endpoint: \"{endpoint}\" is not in ps_endpoints"));
        }
        for (name, value) in &options {
            let Some(event) = name.strip_prefix("event_") else {
                continue;
            };
            if Package::read(event).is_none() {
                problem(format!("{name}: {events}"));
            } else if !accepted.contains_key(value.trim()) {
                problem(format!(
                    "{name}: there is no asterisk-publication \"{value}\""
                ));
            }
        }
    }
    for (id, options) in &accepted {
        let mut problem = |what: String| {
            problems.push(format!("asterisk-publication {id}: {what}"));
        };
        filters(options, ["device_state_filter", "mailbox_state_filter"]).for_each(&mut problem);
        for name in ["devicestate_publish", "mailboxstate_publish"] {
            let publish = get(options, name);
            if !publish.is_empty() && !published.contains_key(publish) {
                problem(format!(
                    "{name}: there is no outbound-publish \"{publish}\""
                ));
            }
        }
    }
    for (id, options) in &published {
        let mut problem = |what: String| {
            problems.push(format!("outbound-publish {id}: {what}"));
        };
        for names in [
            ["@device_state_filter", "@mailbox_state_filter"],
            ["@context", "@exten"],
        ] {
            filters(options, names).for_each(&mut problem);
        }
        let Some(row) = Outbound::read(id, options) else {
            if Extensions::event(options).is_some() {
                let body = get(options, "@body");
                let bodies = BODIES.join(", ");
                problem(format!("@body: \"{body}\": one of {bodies} is needed"));
            } else {
                let event = get(options, "event");
                problem(format!(
                    "event: \"{event}\": {events}, dialog and presence too"
                ));
            }
            continue;
        };
        if matches!(row.topic, Topic::Of(_)) && is_yes(get(options, "multi_user")) {
            let what = "multi_user: devices and mailboxes are one resource, that of server_uri";
            problem(what.to_owned());
        }
        for (name, uri) in uris(&row).filter(|(_, uri)| read_uri(uri).is_none()) {
            problem(format!(
                "{name}: \"{uri}\" is no SIP URI, for example sip:name@exchange.example"
            ));
        }
        let hop = row.outbound_proxy.as_deref().unwrap_or(&row.server_uri);
        if let Some(hop) = read_uri(hop)
            && let Some(why) = unspoken(snapshot, &hop.uri, row.transport.as_deref(), false)
        {
            problem(why.to_owned());
        }
        for auth in &row.outbound_auth {
            if !snapshot.auths.contains_key(auth) {
                problem(format!("outbound_auth: \"{auth}\" is not in ps_auths"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(category: &str, name: &str, value: &str) -> StaticRow {
        StaticRow {
            filename: "pjsip.conf".into(),
            category: category.into(),
            var_name: name.into(),
            var_val: value.into(),
            ..StaticRow::default()
        }
    }

    #[test]
    fn rows_and_sections_say_who_publishes_what_and_what_is_wrong_is_named() {
        let mut other = line("office", "type", "asterisk-publication");
        other.cat_metric = 1;
        let more = |name: &str, value: &str| StaticRow {
            cat_metric: 1,
            ..line("office", name, value)
        };
        let row = |options: &[(&str, &str)]| OptionsRow {
            options: options
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let snapshot = Snapshot {
            statics: Arc::new(vec![
                line("office", "type", "inbound-publication"),
                line("office", "endpoint", "office"),
                line("office", "event_asterisk-devicestate", "office"),
                line("office", "event_presence", "office"),
                line("office", "event_asterisk-mwi", "nobody"),
                other,
                more("device_state", "yes"),
                more("device_state_filter", "^PJSIP/"),
                more("mailbox_state_filter", "("),
                more("devicestate_publish", "out"),
            ]),
            outbound_publishes: Arc::new(vec![
                row(&[
                    ("id", "out"),
                    ("server_uri", "sip:office@192.0.2.7"),
                    ("event", "asterisk-devicestate"),
                    ("outbound_auth", "none"),
                    ("multi_user", "yes"),
                ]),
                row(&[
                    ("id", "bad"),
                    ("server_uri", "office"),
                    ("event", "asterisk-mwi"),
                ]),
                row(&[("id", "odd"), ("event", "weather")]),
                row(&[
                    ("id", "mute"),
                    ("event", "presence"),
                    ("@body", "text/plain"),
                ]),
                row(&[
                    ("id", "lamps"),
                    ("server_uri", "sip:presence.example:5080;transport=tcp"),
                    ("from_uri", "<sip:pbx@here.example>"),
                    ("event", "dialog"),
                    ("multi_user", "yes"),
                    ("@body", "application/dialog-info+xml"),
                    ("@context", "^house$"),
                    ("@exten", "^[1-9]"),
                ]),
            ]),
            ..Snapshot::default()
        };
        let rules = Rules::read(&snapshot);
        assert!(rules.are_of(&snapshot) && !rules.are_of(&Snapshot::default()));
        let inbound = rules.inbound("office").expect("a section");
        assert_eq!(inbound.endpoint, "office");
        assert_eq!(inbound.publication(Package::DeviceState), Some("office"));
        assert_eq!(rules.inbound("out"), None);
        let accepted = |package| rules.accepted("office", package).expect("a section");
        let devices = accepted(Package::DeviceState);
        assert!(devices.taken && devices.publish == "out");
        assert!(devices.filter.passes("PJSIP/1") && !devices.filter.passes("Custom:1"));
        let mailboxes = accepted(Package::Mwi);
        assert!(!mailboxes.taken && !mailboxes.filter.passes("7@default"));
        let sent = outbound(&snapshot);
        assert_eq!(sent.len(), 2);
        let lamps = &sent[0];
        let Topic::Extensions(extensions) = &lamps.topic else {
            panic!("{lamps:?}");
        };
        let places = extensions.filter();
        assert!(places.fit("house", "100") && !places.fit("house", "*1"));
        assert!(!places.fit("houses", "100"));
        let one = lamps.of_extension(&("house".into(), "10 0".into()));
        assert_eq!(
            one.server_uri,
            "<sip:10%200@presence.example:5080;transport=tcp>"
        );
        let (from, to) = one.ends().expect("URIs");
        assert_eq!(from.uri.to_string(), "sip:10%200@here.example");
        assert_eq!(to.uri.user.as_deref(), Some("10%200"));
        assert_ne!(one.id, lamps.id);
        let sent = &sent[1..];
        assert_eq!((sent[0].expiration, sent[0].max_auth_attempts), (3600, 5));
        assert!(sent[0].asks, "the section names it");
        let told = problems(&snapshot).join("\n");
        for part in [
            "inbound-publication office: endpoint: \"office\" is not in ps_endpoints",
            "inbound-publication office: event_presence: asterisk-devicestate and",
            "inbound-publication office: event_asterisk-mwi: there is no asterisk-publication \"nobody\"",
            "asterisk-publication office: mailbox_state_filter: ",
            "outbound-publish out: multi_user",
            "outbound-publish out: outbound_auth: \"none\" is not in ps_auths",
            "outbound-publish bad: server_uri: \"office\" is no SIP URI",
            "outbound-publish odd: event: \"weather\"",
            "outbound-publish mute: @body: \"text/plain\": one of application/pidf+xml",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(told.lines().count(), 9, "{told}");
    }
}
