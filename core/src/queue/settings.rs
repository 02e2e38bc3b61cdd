//! What a queue is told to do: the columns of `queues`, or the lines of its section of `queues.conf`.

use std::time::Duration;

use crate::device::DeviceState;

/// Whom of its members a queue rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// All who are free.
    #[default]
    RingAll,
    /// Whose last call is longest ago.
    LeastRecent,
    /// Who had the fewest calls.
    FewestCalls,
    Random,
    /// Who comes after the one rung last.
    RrMemory,
    /// From the first on.
    Linear,
    /// By chance, those of a lower penalty more often.
    WeightedRandom,
    /// As `rrmemory`.
    RrOrdered,
}

impl Strategy {
    const NAMES: [(&'static str, Self); 9] = [
        ("ringall", Self::RingAll),
        ("leastrecent", Self::LeastRecent),
        ("fewestcalls", Self::FewestCalls),
        ("random", Self::Random),
        ("rrmemory", Self::RrMemory),
        ("linear", Self::Linear),
        ("wrandom", Self::WeightedRandom),
        ("rrordered", Self::RrOrdered),
        // An old name of rrmemory.
        ("roundrobin", Self::RrMemory),
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, strategy)| *strategy == self);
        found.map_or("ringall", |(name, _)| name)
    }
}

/// When a queue counts as empty: which members do not count as there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Empty(u16);

impl Empty {
    const PENALTY: u16 = 1;
    const PAUSED: u16 = 1 << 1;
    const INUSE: u16 = 1 << 2;
    const RINGING: u16 = 1 << 3;
    const UNAVAILABLE: u16 = 1 << 4;
    const INVALID: u16 = 1 << 5;
    const UNKNOWN: u16 = 1 << 6;
    const WRAPUP: u16 = 1 << 7;
    const NO: u16 = Self::PENALTY | Self::PAUSED | Self::INVALID;

    /// Reads `yes`, `no`, `strict`, `loose`, or a list of conditions. `yes` and `no` mean the opposite for joining and for
    /// leaving.
    fn read(text: &str, joining: bool) -> Result<Self, String> {
        let mut conditions = 0;
        for word in text.split(',').map(|word| word.trim().to_ascii_lowercase()) {
            conditions |= match word.as_str() {
                "" => 0,
                "penalty" => Self::PENALTY,
                "paused" => Self::PAUSED,
                "inuse" => Self::INUSE,
                "ringing" => Self::RINGING,
                "unavailable" => Self::UNAVAILABLE,
                "invalid" => Self::INVALID,
                "unknown" => Self::UNKNOWN,
                "wrapup" => Self::WRAPUP,
                "loose" => Self::PENALTY | Self::INVALID,
                "strict" => Self::NO | Self::UNAVAILABLE,
                "yes" | "true" | "on" | "1" => {
                    if joining {
                        0
                    } else {
                        Self::NO
                    }
                }
                "no" | "false" | "off" | "0" => {
                    if joining {
                        Self::NO
                    } else {
                        0
                    }
                }
                _ => {
                    return Err(format!(
                        "\"{word}\": known are yes, no, strict, loose, penalty, paused, inuse, ringing, unavailable, invalid, unknown, wrapup"
                    ));
                }
            };
        }
        Ok(Self(conditions))
    }

    /// Is emptiness of no matter?
    pub(super) fn is_never(self) -> bool {
        self.0 == 0
    }

    /// Does a member count as there?
    pub(super) fn counts(
        self,
        state: DeviceState,
        paused: bool,
        wrapping_up: bool,
        penalty_out: bool,
    ) -> bool {
        let has = |condition: u16| self.0 & condition != 0;
        let by_state = match state {
            DeviceState::Invalid => has(Self::INVALID),
            DeviceState::Unavailable => has(Self::UNAVAILABLE),
            DeviceState::InUse | DeviceState::Busy | DeviceState::OnHold => has(Self::INUSE),
            DeviceState::RingInUse => has(Self::INUSE) || has(Self::RINGING),
            DeviceState::Ringing => has(Self::RINGING),
            DeviceState::Unknown => has(Self::UNKNOWN),
            DeviceState::NotInUse => false,
        };
        !(by_state
            || (paused && has(Self::PAUSED))
            || (wrapping_up && has(Self::WRAPUP))
            || (penalty_out && has(Self::PENALTY)))
    }
}

/// Who is paused when a member does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoPause {
    #[default]
    No,
    /// In this queue.
    Yes,
    /// In all queues.
    All,
}

/// Whether callers are told how long it will take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HoldTime {
    No,
    #[default]
    Yes,
    Once,
}

/// Whether callers are told their position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Position {
    No,
    #[default]
    Yes,
    /// Only up to `announce_position_limit`.
    Limit,
    /// Above it, "more than".
    More,
}

/// Names of prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompts {
    pub you_are_next: String,
    pub there_are: String,
    pub calls_waiting: String,
    pub quantity1: String,
    pub quantity2: String,
    pub hold_time: String,
    pub minutes: String,
    pub minute: String,
    pub seconds: String,
    pub thank_you: String,
    pub caller_announce: String,
    pub report_hold: String,
}

impl Default for Prompts {
    fn default() -> Self {
        Self {
            you_are_next: "queue-youarenext".to_owned(),
            there_are: "queue-thereare".to_owned(),
            calls_waiting: "queue-callswaiting".to_owned(),
            quantity1: "queue-quantity1".to_owned(),
            quantity2: "queue-quantity2".to_owned(),
            hold_time: "queue-holdtime".to_owned(),
            minutes: "queue-minutes".to_owned(),
            minute: "queue-minute".to_owned(),
            seconds: "queue-seconds".to_owned(),
            thank_you: "queue-thankyou".to_owned(),
            caller_announce: String::new(),
            report_hold: "queue-reporthold".to_owned(),
        }
    }
}

/// What a queue is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub music_class: String,
    pub announce: String,
    pub context: String,
    /// How long members ring; zero: for ever.
    pub timeout: Duration,
    pub retry: Duration,
    pub ring_in_use: bool,
    pub set_interface_var: bool,
    pub set_queue_var: bool,
    pub set_queue_entry_var: bool,
    pub monitor_format: String,
    pub member_gosub: String,
    pub member_macro: String,
    pub prompts: Prompts,
    pub announce_frequency: Duration,
    pub min_announce_frequency: Duration,
    pub announce_to_first_user: bool,
    pub announce_round_seconds: u64,
    pub announce_hold_time: HoldTime,
    pub announce_position: Position,
    pub announce_position_limit: usize,
    pub periodic_announce: Vec<String>,
    pub periodic_announce_frequency: Duration,
    pub relative_periodic_announce: bool,
    pub random_periodic_announce: bool,
    pub wrapup: Duration,
    pub penalty_members_limit: usize,
    pub autofill: bool,
    pub auto_pause: AutoPause,
    pub auto_pause_delay: Duration,
    pub auto_pause_busy: bool,
    pub auto_pause_unavailable: bool,
    /// Callers at most; 0: as many as come.
    pub max_len: usize,
    pub service_level: Duration,
    pub strategy: Strategy,
    pub join_empty: Empty,
    pub leave_when_empty: Empty,
    pub report_hold_time: bool,
    pub member_delay: Duration,
    pub weight: i64,
    pub timeout_restart: bool,
    pub default_rule: String,
    /// The time of the application is over in the middle of a ring too.
    pub timeout_of_application: bool,
    pub log_restricted_caller_id: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            music_class: String::new(),
            announce: String::new(),
            context: String::new(),
            timeout: Duration::from_secs(15),
            retry: RETRY,
            ring_in_use: true,
            set_interface_var: false,
            set_queue_var: false,
            set_queue_entry_var: false,
            monitor_format: String::new(),
            member_gosub: String::new(),
            member_macro: String::new(),
            prompts: Prompts::default(),
            announce_frequency: Duration::ZERO,
            min_announce_frequency: Duration::from_secs(15),
            announce_to_first_user: false,
            announce_round_seconds: 0,
            announce_hold_time: HoldTime::Yes,
            announce_position: Position::Yes,
            announce_position_limit: 10,
            periodic_announce: vec!["queue-periodic-announce".to_owned()],
            periodic_announce_frequency: Duration::ZERO,
            relative_periodic_announce: false,
            random_periodic_announce: false,
            wrapup: Duration::ZERO,
            penalty_members_limit: 0,
            autofill: true,
            auto_pause: AutoPause::No,
            auto_pause_delay: Duration::ZERO,
            auto_pause_busy: false,
            auto_pause_unavailable: false,
            max_len: 0,
            service_level: Duration::ZERO,
            strategy: Strategy::RingAll,
            join_empty: Empty::default(),
            leave_when_empty: Empty::default(),
            report_hold_time: false,
            member_delay: Duration::ZERO,
            weight: 0,
            timeout_restart: false,
            default_rule: String::new(),
            timeout_of_application: true,
            log_restricted_caller_id: true,
        }
    }
}

/// Pause between attempts, where nothing else or nothing at all is said.
const RETRY: Duration = Duration::from_secs(5);
/// Longest time that an option may say.
pub(super) const SECONDS_MAX: u64 = 31_536_000;

pub(super) fn yes(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" | "y" | "t" => Some(true),
        "no" | "false" | "off" | "0" | "n" | "f" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Result<u64, String> {
    let text = text.trim();
    text.parse()
        .map_err(|_| format!("\"{text}\" is no number from 0 on"))
}

fn flag(text: &str) -> Result<bool, String> {
    yes(text).ok_or_else(|| format!("\"{text}\": known are yes, no"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    Ok(Duration::from_secs(number(text)?.min(SECONDS_MAX)))
}

fn count(text: &str) -> Result<usize, String> {
    Ok(usize::try_from(number(text)?).unwrap_or(usize::MAX))
}

impl Settings {
    /// Reads options, each with its name and text; names may have `-` for `_`. What cannot be read keeps its default, and
    /// is told.
    pub fn read<'o>(
        queue: &str,
        options: impl IntoIterator<Item = (&'o str, &'o str)>,
    ) -> (Self, Vec<String>) {
        let mut settings = Self::default();
        let mut problems = Vec::new();
        for (name, text) in options {
            let option = name.trim().to_ascii_lowercase().replace('-', "_");
            if let Err(error) = settings.set(&option, text.trim()) {
                problems.push(format!("queue {queue}: {name}: {error}"));
            }
        }
        (settings, problems)
    }

    fn set(&mut self, option: &str, text: &str) -> Result<(), String> {
        let prompts = &mut self.prompts;
        let own = text.to_owned();
        match option {
            "musicclass" | "musiconhold" | "music" => self.music_class = own,
            "announce" => self.announce = own,
            "context" => self.context = own,
            "timeout" => self.timeout = seconds(text)?,
            // No pause at all would be an attempt without end where nobody can be rung.
            "retry" => {
                self.retry = match seconds(text)? {
                    Duration::ZERO => RETRY,
                    retry => retry,
                };
            }
            "ringinuse" => self.ring_in_use = flag(text)?,
            "setinterfacevar" => self.set_interface_var = flag(text)?,
            "setqueuevar" => self.set_queue_var = flag(text)?,
            "setqueueentryvar" => self.set_queue_entry_var = flag(text)?,
            "monitor_format" => self.monitor_format = own,
            "membergosub" => self.member_gosub = own,
            "membermacro" => self.member_macro = own,
            "queue_youarenext" => prompts.you_are_next = own,
            "queue_thereare" => prompts.there_are = own,
            "queue_callswaiting" => prompts.calls_waiting = own,
            "queue_quantity1" => prompts.quantity1 = own,
            "queue_quantity2" => prompts.quantity2 = own,
            "queue_holdtime" => prompts.hold_time = own,
            "queue_minutes" => prompts.minutes = own,
            "queue_minute" => prompts.minute = own,
            "queue_seconds" => prompts.seconds = own,
            "queue_thankyou" => prompts.thank_you = own,
            "queue_callerannounce" => prompts.caller_announce = own,
            "queue_reporthold" => prompts.report_hold = own,
            "announce_frequency" => self.announce_frequency = seconds(text)?,
            "min_announce_frequency" => self.min_announce_frequency = seconds(text)?,
            "announce_to_first_user" => self.announce_to_first_user = flag(text)?,
            "announce_round_seconds" => {
                self.announce_round_seconds = match number(text)? {
                    rounding @ (0 | 1 | 5 | 10 | 15 | 20 | 30) => rounding,
                    _ => return Err(format!("\"{text}\": known are 0, 5, 10, 15, 20, 30")),
                };
            }
            "announce_holdtime" => {
                self.announce_hold_time = match (yes(text), text.eq_ignore_ascii_case("once")) {
                    (_, true) => HoldTime::Once,
                    (Some(true), _) => HoldTime::Yes,
                    (Some(false), _) => HoldTime::No,
                    _ => return Err(format!("\"{text}\": known are yes, no, once")),
                };
            }
            "announce_position" => {
                self.announce_position = match (yes(text), text.to_ascii_lowercase().as_str()) {
                    (_, "limit") => Position::Limit,
                    (_, "more") => Position::More,
                    (Some(true), _) => Position::Yes,
                    (Some(false), _) => Position::No,
                    _ => return Err(format!("\"{text}\": known are yes, no, limit, more")),
                };
            }
            "announce_position_limit" => self.announce_position_limit = count(text)?,
            "periodic_announce" => {
                let files = text.split(',').map(|file| file.trim().to_owned());
                self.periodic_announce = files.filter(|file| !file.is_empty()).collect();
            }
            "periodic_announce_frequency" => self.periodic_announce_frequency = seconds(text)?,
            "relative_periodic_announce" => self.relative_periodic_announce = flag(text)?,
            "random_periodic_announce" => self.random_periodic_announce = flag(text)?,
            "wrapuptime" => self.wrapup = seconds(text)?,
            "penaltymemberslimit" => self.penalty_members_limit = count(text)?,
            "autofill" => self.autofill = flag(text)?,
            "autopause" => {
                self.auto_pause = match (yes(text), text.eq_ignore_ascii_case("all")) {
                    (_, true) => AutoPause::All,
                    (Some(true), _) => AutoPause::Yes,
                    (Some(false), _) => AutoPause::No,
                    _ => return Err(format!("\"{text}\": known are yes, no, all")),
                };
            }
            "autopausedelay" => self.auto_pause_delay = seconds(text)?,
            "autopausebusy" => self.auto_pause_busy = flag(text)?,
            "autopauseunavail" => self.auto_pause_unavailable = flag(text)?,
            "maxlen" => self.max_len = count(text)?,
            "servicelevel" => self.service_level = seconds(text)?,
            "strategy" => {
                let known = &Strategy::NAMES;
                let found = known
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(text));
                self.strategy = found.map(|(_, strategy)| *strategy).ok_or_else(|| {
                    let names: Vec<&str> = known.iter().take(8).map(|(name, _)| *name).collect();
                    format!("\"{text}\": known are {}", names.join(", "))
                })?;
            }
            "joinempty" => self.join_empty = Empty::read(text, true)?,
            "leavewhenempty" => self.leave_when_empty = Empty::read(text, false)?,
            "reportholdtime" => self.report_hold_time = flag(text)?,
            "memberdelay" => self.member_delay = seconds(text)?,
            "weight" => {
                self.weight = text
                    .parse()
                    .map_err(|_| format!("\"{text}\" is no number"))?;
            }
            "timeoutrestart" => self.timeout_restart = flag(text)?,
            "defaultrule" => self.default_rule = own,
            "timeoutpriority" => {
                self.timeout_of_application = match text.to_ascii_lowercase().as_str() {
                    "app" => true,
                    "conf" => false,
                    _ => return Err(format!("\"{text}\": known are app, conf")),
                };
            }
            "log_restricted_caller_id" => self.log_restricted_caller_id = flag(text)?,
            "monitor_type" => {
                if !text.eq_ignore_ascii_case("mixmonitor") {
                    return Err(format!("\"{text}\": known is MixMonitor"));
                }
            }
            // Columns that say who the row is, and options that are no longer.
            "name" | "uniqueid" | "id" | "member" | "eventwhencalled" | "eventmemberstatus"
            | "persistentmembers" | "servicelevelperf" => {}
            _ => return Err("no such option".to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_from_columns_and_lines() {
        let (settings, problems) = Settings::read(
            "sales",
            [
                ("name", "sales"),
                ("strategy", "RRMemory"),
                ("announce-frequency", "30"),
                ("queue_youarenext", "mine"),
                ("joinempty", "paused,unavailable"),
                ("periodic_announce", "a, b"),
                ("autopause", "all"),
                ("timeoutpriority", "conf"),
            ],
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(settings.strategy, Strategy::RrMemory);
        assert_eq!(settings.announce_frequency, Duration::from_secs(30));
        assert_eq!(settings.prompts.you_are_next, "mine");
        assert_eq!(settings.periodic_announce, ["a", "b"]);
        assert_eq!(settings.auto_pause, AutoPause::All);
        assert!(!settings.timeout_of_application);
        let empty = settings.join_empty;
        assert!(!empty.counts(DeviceState::Unavailable, false, false, false));
        assert!(!empty.counts(DeviceState::NotInUse, true, false, false));
        assert!(empty.counts(DeviceState::InUse, false, true, true));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_what_could() {
        let (settings, problems) = Settings::read(
            "sales",
            [
                ("timeout", "soon"),
                ("strategy", "fair"),
                ("joinempty", "maybe"),
                ("shoe_size", "44"),
            ],
        );
        assert_eq!(settings, Settings::default());
        for (problem, part) in problems.iter().zip([
            "timeout: \"soon\" is no number",
            "ringall",
            "strict",
            "shoe_size",
        ]) {
            assert!(
                problem.starts_with("queue sales: ") && problem.contains(part),
                "{problem}"
            );
        }
        assert_eq!(problems.len(), 4);
    }

    #[test]
    fn a_retry_of_no_seconds_is_the_usual_one() {
        for (text, wanted) in [("0", 5), ("1", 1), ("7", 7)] {
            let (settings, problems) = Settings::read("sales", [("retry", text)]);
            assert!(problems.is_empty(), "{problems:?}");
            assert_eq!(settings.retry, Duration::from_secs(wanted), "{text}");
        }
    }

    #[test]
    fn yes_and_no_mean_the_opposite_for_joining_and_leaving() {
        let read = |text, joining| Empty::read(text, joining).unwrap();
        assert!(read("yes", true).is_never() && read("no", false).is_never());
        assert_eq!(read("no", true), read("yes", false));
        assert!(!read("strict", true).counts(DeviceState::Unavailable, false, false, false));
        assert!(read("loose", true).counts(DeviceState::NotInUse, true, false, false));
    }
}
