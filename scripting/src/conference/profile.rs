//! Profiles: how a conference is, and how somebody takes part.

use std::str::FromStr;

use strowger_core::conference::Rate;
use strowger_store::StaticRow;

use crate::func::text::is_yes;

/// The file of the static tables.
const FILE: &str = "confbridge.conf";

/// What a profile is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bridge,
    User,
    Menu,
}

impl Kind {
    /// As rows and `CONFBRIDGE(...)` name it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text.trim().to_ascii_lowercase().as_str() {
            "bridge" => Self::Bridge,
            "user" => Self::User,
            "menu" => Self::Menu,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::User => "user",
            Self::Menu => "menu",
        }
    }

    /// The profile that is meant when none is named.
    fn default_name(self) -> &'static str {
        match self {
            Self::Bridge => "default_bridge",
            Self::User => "default_user",
            Self::Menu => "default_menu",
        }
    }

    /// Options that do something here. Of menus the names are keys.
    fn known(self) -> &'static [&'static str] {
        match self {
            Self::Bridge => &[
                "max_members",
                "record_conference",
                "record_file",
                "record_file_append",
                "record_file_timestamp",
                "internal_sample_rate",
                "mixing_interval",
            ],
            Self::User => &[
                "admin",
                "marked",
                "startmuted",
                "music_on_hold_when_empty",
                "music_on_hold_class",
                "quiet",
                "announcement",
                "announce_user_count",
                "announce_only_user",
                "wait_marked",
                "end_marked",
                "talk_detection_events",
                "dtmf_passthrough",
                "pin",
                "dsp_drop_silence",
                "dsp_silence_threshold",
                "dsp_talking_threshold",
                "timeout",
                "answer_channel",
            ],
            Self::Menu => &[],
        }
    }

    fn is_known(self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self == Self::Menu
            || self.known().contains(&name.as_str())
            || (self == Self::Bridge && name.starts_with("sound_"))
    }
}

/// Names and values; of the same name the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options(Vec<(String, String)>);

impl Options {
    /// Sets a value.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.iter();
        all.find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().trim().to_owned()
    }

    fn yes(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, is_yes)
    }

    fn number<N: FromStr>(&self, name: &str, default: N) -> N {
        let value = self.get(name).and_then(|value| value.trim().parse().ok());
        value.unwrap_or(default)
    }

    /// Names that do nothing here.
    fn unknown(&self, kind: Kind) -> Vec<String> {
        self.iter()
            .map(|(name, _)| name)
            .filter(|name| !matches!(*name, "type" | "template") && !kind.is_known(name))
            .map(|name| format!("{} option {name} is not available and ignored", kind.name()))
            .collect()
    }
}

/// The section of `confbridge.conf` with this name and kind.
pub(crate) fn section(rows: &[StaticRow], kind: Kind, name: &str) -> Option<Options> {
    let mut options = Options::default();
    let section = rows
        .iter()
        .filter(|row| row.filename == FILE && row.category == name);
    for row in section {
        options.set(
            row.var_name.trim(),
            row.var_val.trim_start_matches('>').trim(),
        );
    }
    (Kind::parse(options.get("type")?)? == kind).then_some(options)
}

/// What `CONFBRIDGE(...)` has set on a channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Custom {
    bridge: Option<Options>,
    user: Option<Options>,
    menu: Option<Options>,
}

impl Custom {
    fn of(&mut self, kind: Kind) -> &mut Option<Options> {
        match kind {
            Kind::Bridge => &mut self.bridge,
            Kind::User => &mut self.user,
            Kind::Menu => &mut self.menu,
        }
    }

    /// Forgets what was set.
    pub(crate) fn clear(&mut self, kind: Kind) {
        *self.of(kind) = None;
    }

    /// Sets an option; `template` begins with a named section.
    pub(crate) fn set(
        &mut self,
        rows: &[StaticRow],
        kind: Kind,
        name: &str,
        value: &str,
    ) -> Result<(), String> {
        if name.eq_ignore_ascii_case("template") {
            let value = value.trim();
            *self.of(kind) =
                Some(section(rows, kind, value).ok_or_else(|| {
                    format!("there is no {} profile {value} in {FILE}", kind.name())
                })?);
            return Ok(());
        }
        if !kind.is_known(name) {
            return Err(format!(
                "CONFBRIDGE({},{name}): known are template, clear, {}",
                kind.name(),
                kind.known().join(", ")
            ));
        }
        let start = || section(rows, kind, kind.default_name()).unwrap_or_default();
        self.of(kind).get_or_insert_with(start).set(name, value);
        Ok(())
    }

    /// The options that count: those set on the channel, else those of the named section, else the default ones.
    ///
    /// # Errors
    /// A section was named that does not exist.
    pub(crate) fn find(
        &mut self,
        rows: &[StaticRow],
        kind: Kind,
        name: &str,
    ) -> Result<Options, String> {
        if let Some(options) = self.of(kind) {
            return Ok(options.clone());
        }
        let wanted = if name.is_empty() {
            kind.default_name()
        } else {
            name
        };
        match section(rows, kind, wanted) {
            Some(options) => Ok(options),
            None if wanted == kind.default_name() => Ok(Options::default()),
            None => Err(format!(
                "there is no {} profile {wanted} in {FILE}",
                kind.name()
            )),
        }
    }
}

/// How a conference is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bridge {
    /// 0: no limit.
    pub(crate) max_members: usize,
    pub(crate) record: bool,
    pub(crate) record_file: String,
    pub(crate) record_append: bool,
    pub(crate) record_timestamp: bool,
    pub(crate) rate: Rate,
    sounds: Options,
}

impl Bridge {
    /// Reads a profile, and says what is wrong with it.
    pub(crate) fn read(options: &Options) -> (Self, Vec<String>) {
        let mut wrong = options.unknown(Kind::Bridge);
        let rate = match options.text("internal_sample_rate").as_str() {
            "" | "auto" | "0" => Rate::Auto,
            "8000" => Rate::Fixed(8000),
            "16000" => Rate::Fixed(16_000),
            other => {
                wrong.push(format!(
                    "internal_sample_rate {other}: known are auto, 8000, 16000; auto is taken"
                ));
                Rate::Auto
            }
        };
        let interval: u32 = options.number("mixing_interval", 20);
        if interval != 20 {
            wrong.push(format!("mixing_interval {interval}: 20 is used"));
        }
        let bridge = Self {
            max_members: options.number("max_members", 0),
            record: options.yes("record_conference", false),
            record_file: options.text("record_file"),
            record_append: options.yes("record_file_append", true),
            record_timestamp: options.yes("record_file_timestamp", true),
            rate,
            sounds: options.clone(),
        };
        (bridge, wrong)
    }

    /// The sound for an occasion: option `sound_<occasion>`, else `standard`.
    pub(crate) fn sound(&self, occasion: &str, standard: &str) -> String {
        let own = self.sounds.text(&format!("sound_{occasion}"));
        if own.is_empty() {
            standard.to_owned()
        } else {
            own
        }
    }
}

/// How somebody takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) admin: bool,
    pub(crate) marked: bool,
    pub(crate) start_muted: bool,
    pub(crate) music_when_empty: bool,
    pub(crate) music_class: String,
    pub(crate) quiet: bool,
    pub(crate) announcement: String,
    pub(crate) announce_user_count: bool,
    pub(crate) announce_only_user: bool,
    pub(crate) wait_marked: bool,
    pub(crate) end_marked: bool,
    pub(crate) talk_events: bool,
    pub(crate) dtmf_passthrough: bool,
    pub(crate) pin: String,
    pub(crate) drop_silence: bool,
    /// ms
    pub(crate) silence_ms: u16,
    pub(crate) talk_threshold: u16,
    /// Seconds in the conference; 0: no limit.
    pub(crate) timeout: u64,
    pub(crate) answer: bool,
}

impl User {
    /// Reads a profile, and says what is wrong with it.
    pub(crate) fn read(options: &Options) -> (Self, Vec<String>) {
        let user = Self {
            admin: options.yes("admin", false),
            marked: options.yes("marked", false),
            start_muted: options.yes("startmuted", false),
            music_when_empty: options.yes("music_on_hold_when_empty", false),
            music_class: options.text("music_on_hold_class"),
            quiet: options.yes("quiet", false),
            announcement: options.text("announcement"),
            announce_user_count: options.yes("announce_user_count", false),
            announce_only_user: options.yes("announce_only_user", true),
            wait_marked: options.yes("wait_marked", false),
            end_marked: options.yes("end_marked", false),
            talk_events: options.yes("talk_detection_events", false),
            dtmf_passthrough: options.yes("dtmf_passthrough", false),
            pin: options.text("pin"),
            drop_silence: options.yes("dsp_drop_silence", false),
            silence_ms: options.number("dsp_silence_threshold", 2500),
            talk_threshold: options.number("dsp_talking_threshold", 160),
            timeout: options.number("timeout", 0),
            answer: options.yes("answer_channel", true),
        };
        (user, options.unknown(Kind::User))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(category: &str, name: &str, value: &str) -> StaticRow {
        StaticRow {
            id: 0,
            cat_metric: 0,
            var_metric: 0,
            filename: FILE.to_owned(),
            category: category.to_owned(),
            var_name: name.to_owned(),
            var_val: value.to_owned(),
        }
    }

    fn rows() -> Vec<StaticRow> {
        vec![
            row("boss", "type", "user"),
            row("boss", "admin", "yes"),
            row("boss", "pin", "1234"),
            row("boss", "denoise", "yes"),
            row("default_user", "type", "user"),
            row("default_user", "quiet", "yes"),
            row("hall", "type", "bridge"),
            row("hall", "max_members", "3"),
            row("hall", "sound_kicked", "bye"),
            row("hall", "internal_sample_rate", "44100"),
        ]
    }

    #[test]
    fn a_profile_is_the_named_section_or_the_default_one() {
        let rows = rows();
        let user = |name: &str| {
            let options = Custom::default().find(&rows, Kind::User, name);
            options.map(|options| User::read(&options))
        };
        let (boss, wrong) = user("boss").unwrap();
        assert!(boss.admin && boss.pin == "1234" && !boss.quiet);
        assert_eq!(wrong, ["user option denoise is not available and ignored"]);
        assert!(user("").unwrap().0.quiet);
        assert!(user("hall").is_err(), "of another kind");
        assert!(user("nobody").is_err());
        let options = Custom::default().find(&[], Kind::User, "").unwrap();
        let (standard, wrong) = User::read(&options);
        assert!(standard.announce_only_user && standard.answer && wrong.is_empty());
        assert_eq!((standard.silence_ms, standard.talk_threshold), (2500, 160));
    }

    #[test]
    fn what_the_channel_set_wins_over_the_named_section() {
        let rows = rows();
        let mut custom = Custom::default();
        custom.set(&rows, Kind::User, "startmuted", "yes").unwrap();
        let read = |custom: &mut Custom, name| {
            User::read(&custom.find(&rows, Kind::User, name).unwrap()).0
        };
        let user = read(&mut custom, "boss");
        assert!(
            user.start_muted && user.quiet && !user.admin,
            "begins with the default"
        );
        custom.set(&rows, Kind::User, "template", "boss").unwrap();
        let user = read(&mut custom, "");
        assert!(user.admin && !user.start_muted);
        custom.clear(Kind::User);
        assert!(read(&mut custom, "").quiet);
        assert!(custom.set(&rows, Kind::User, "template", "none").is_err());
        assert!(custom.set(&rows, Kind::User, "denoise", "yes").is_err());
    }

    #[test]
    fn a_bridge_knows_its_limits_and_sounds() {
        let options = section(&rows(), Kind::Bridge, "hall").unwrap();
        let (bridge, wrong) = Bridge::read(&options);
        assert_eq!((bridge.max_members, bridge.rate), (3, Rate::Auto));
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!(bridge.sound("kicked", "conf-kicked"), "bye");
        assert_eq!(bridge.sound("muted", "conf-muted"), "conf-muted");
    }
}
