//! Scenarios: small TOML files that say who calls whom, what is said, how many calls there are when, and what is still good
//! enough. Everything is checked before the first packet; an error names the field, what was wrong and what is allowed.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Calls at once are never more, whatever a scenario says.
pub const CALLS_MAX: u32 = 20_000;
/// Calls, registrations or originations begun in a second are never more.
pub const RATE_MAX: f64 = 50_000.0;
/// A run never takes longer than a day.
pub const SECONDS_MAX: f64 = 86_400.0;
/// Users of one side.
pub const USERS_MAX: u32 = 200_000;
/// What stands in reports for a password.
const HIDDEN: &str = "***";
const STEPS_MAX: usize = 200;
const ROOM_MAX: u32 = 12;

/// A scenario that cannot be used.
#[derive(Debug)]
pub struct ScenarioError(pub String);

impl std::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}

/// What a server is tested with.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What reports call it.
    pub title: String,
    /// The server's SIP address (UDP), unless the command line names it.
    #[serde(default)]
    pub server: Option<SocketAddr>,
    /// What a call is, or whether there are registrations instead.
    #[serde(default)]
    pub kind: Kind,
    /// Those who call; of [`Kind::Originate`] nobody, of [`Kind::Registrations`] those who register.
    #[serde(default)]
    pub caller: Party,
    /// Those who are called, where the server calls somebody.
    #[serde(default)]
    pub callee: Party,
    /// What happens in a call.
    #[serde(default)]
    pub call: Call,
    /// How the server is asked for calls ([`Kind::Originate`]).
    #[serde(default)]
    pub originate: Option<Originate>,
    /// What happens when, one after the other.
    pub steps: Vec<Step>,
    /// What is still good enough.
    #[serde(default)]
    pub limits: Limits,
    /// Calls that are written to files as they were heard.
    #[serde(default)]
    pub record: Record,
    /// Seed of everything that is left to chance.
    #[serde(default = "one")]
    pub seed: u64,
}

/// What the server does with those who come.
#[derive(Copy, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It connects caller and callee, who have to hear each other.
    #[default]
    Bridge,
    /// It sends back what it hears.
    Echo,
    /// It lets all who dialled one number hear each other.
    Room,
    /// It takes registrations; there are no calls.
    Registrations,
    /// It is asked through its Manager interface to call callees, and lets them hear themselves.
    Originate,
}

/// One side's telephones.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Party {
    /// Address for SIP; port 0: any.
    pub address: SocketAddr,
    /// Address for media; that of SIP where it is not given.
    pub media: Option<IpAddr>,
    /// Name of a user; `{n}` is his number.
    pub user: String,
    /// Number of the first user.
    pub first: u32,
    /// How many users there are.
    pub users: u32,
    /// Password, `{n}` as above; empty: the server knows them by their address.
    pub password: String,
    /// All users register before the first step.
    pub register: bool,
    /// Registrations a second before the first step.
    pub register_rate: f64,
    /// How long the callee rings, in milliseconds.
    pub rings_ms: u32,
    /// Codec of offers and answers.
    pub codec: Codec,
}

impl Default for Party {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            media: None,
            user: "load".to_owned(),
            first: 0,
            users: 1,
            password: String::new(),
            register: false,
            register_rate: 200.0,
            rings_ms: 0,
            codec: Codec::Pcmu,
        }
    }
}

impl Party {
    /// Name of user `index`, which counts from 0 and starts over after the last.
    pub fn user_name(&self, index: u32) -> String {
        self.with_number(&self.user, index)
    }

    /// His password.
    pub fn password_of(&self, index: u32) -> String {
        self.with_number(&self.password, index)
    }

    fn with_number(&self, text: &str, index: u32) -> String {
        let number = self.first + index % self.users.max(1);
        text.replace("{n}", &number.to_string())
    }
}

/// What is spoken on the wire.
#[derive(Copy, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// G.711 µ-law.
    #[default]
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// Opus, mono, 20 ms.
    Opus,
}

/// What both sides say.
#[derive(Copy, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Talk {
    /// Packets that name their call, side, number and time: each is looked for, bit by bit, at the other end.
    #[default]
    Signature,
    /// A tone of its own for each side, for what changes packets on the way (rooms, other codecs).
    Tone,
    /// Nothing: no media is sent.
    None,
}

/// What happens in a call.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Call {
    /// The number dialled: `{call}` is the number of the call, with so many digits as `{call:6}` says, `{callee}` the name
    /// of a callee, `{room}` the number of a room.
    pub dial: String,
    /// What the callee is called by, where the server changes it; `dial` otherwise.
    pub arrives_as: String,
    /// What is said.
    pub talk: Talk,
    /// Participants of a room.
    pub room: u32,
    /// How long calls last once they are answered.
    pub length: Length,
    /// From both sides being connected to the first packet, in milliseconds.
    pub talk_after_ms: u32,
    /// From the last packet to the hang-up, in milliseconds.
    pub drain_ms: u32,
    /// How long a call may stay unanswered, in milliseconds.
    pub answer_within_ms: u32,
    /// Digits that the caller sends; nothing is said before.
    pub digits: String,
    /// How they are sent.
    pub digits_by: DigitsBy,
    /// From the answer to the first digit, in milliseconds.
    pub digits_after_ms: u32,
    /// From the beginning of the talk to the hold, in milliseconds; 0: no hold.
    pub hold_after_ms: u32,
    /// How long it is held, in milliseconds.
    pub hold_ms: u32,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            dial: String::new(),
            arrives_as: String::new(),
            talk: Talk::Signature,
            room: 4,
            length: Length::default(),
            talk_after_ms: 200,
            drain_ms: 200,
            answer_within_ms: 32_000,
            digits: String::new(),
            digits_by: DigitsBy::Rfc4733,
            digits_after_ms: 500,
            hold_after_ms: 0,
            hold_ms: 1000,
        }
    }
}

/// How digits are sent.
#[derive(Copy, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DigitsBy {
    /// Events in RTP (RFC 4733).
    #[default]
    Rfc4733,
    /// Requests INFO with `application/dtmf-relay`.
    Info,
}

/// Lengths of calls.
#[derive(Copy, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, tag = "as", rename_all = "lowercase")]
pub enum Length {
    /// Until the steps are over.
    #[default]
    End,
    /// All the same.
    Fixed { seconds: f64 },
    /// Anything between, each as likely.
    Uniform { from: f64, to: f64 },
    /// As calls of an office end: any second as likely as any other.
    Exponential { mean: f64 },
    /// Many short, few long: `median` of them are shorter, `sigma` is the spread of the logarithm.
    Lognormal { median: f64, sigma: f64 },
}

/// Who is asked for calls, and how (Asterisk's Manager: `Originate`).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Originate {
    /// The Manager interface.
    pub manager: SocketAddr,
    pub user: String,
    pub secret: String,
    /// The channel that is called; `{call}` as in `call.dial`.
    pub channel: String,
    /// Where an answered call goes.
    pub context: String,
    pub exten: String,
}

/// A part of a run.
#[derive(Copy, Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// How long it takes.
    pub seconds: f64,
    /// Calls at once: what ends is replaced, what is too many is hung up. Without it calls arrive at `rate`, however many
    /// there are.
    #[serde(default)]
    pub calls: Option<u32>,
    /// Calls (or registrations) begun in a second; with `calls`, at most so many.
    #[serde(default = "fifty")]
    pub rate: f64,
    /// The rate at the end of the step, which is reached evenly; `rate` where it is not given.
    #[serde(default)]
    pub rate_to: Option<f64>,
    /// How they arrive.
    #[serde(default)]
    pub arrivals: Arrivals,
}

/// How calls arrive.
#[derive(Copy, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Even,
    /// Independent of each other, as strangers call.
    Poisson,
}

/// What is still good enough; a run beyond it has failed. What is not given is not asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls or registrations that failed, in percent.
    pub failed_percent: f64,
    /// Packets lost, in percent.
    pub lost_percent: f64,
    /// Delay of 99 of 100 packets through the server, in milliseconds.
    pub delay_p99_ms: Option<f64>,
    /// From INVITE (or REGISTER) to its final answer, 99 of 100, in milliseconds.
    pub setup_p99_ms: Option<f64>,
    /// CPU of the server, in percent of one core.
    pub cpu_percent: Option<f64>,
    /// Growth of the server's memory from the end of the first step to the end of the last, in percent.
    pub memory_growth_percent: Option<f64>,
    /// Calls at once, at most, whatever the steps say.
    pub calls: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            failed_percent: 0.0,
            lost_percent: 0.0,
            delay_p99_ms: None,
            setup_p99_ms: None,
            cpu_percent: None,
            memory_growth_percent: None,
            calls: CALLS_MAX,
        }
    }
}

/// Calls that are written to files.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    /// Their numbers, from 0; both directions of each.
    pub calls: Vec<u32>,
}

const fn one() -> u64 {
    1
}

const fn fifty() -> f64 {
    50.0
}

impl Scenario {
    /// Reads a scenario file.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| ScenarioError(format!("{}: {e}", path.display())))?;
        Self::parse(&text).map_err(|e| ScenarioError(format!("{}: {e}", path.display())))
    }

    /// Reads a scenario and checks it.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self =
            toml::from_str(text).map_err(|e| ScenarioError(e.to_string().trim_end().to_owned()))?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Whether every field is in its range and all fit together.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let wrong = |text: String| Err(ScenarioError(text));
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            return wrong(format!(
                "steps: {} of them; 1 to {STEPS_MAX} are allowed",
                self.steps.len()
            ));
        }
        for (step, n) in self.steps.iter().zip(1..) {
            self.check_step(step)
                .map_err(|e| ScenarioError(format!("step {n}: {e}")))?;
        }
        let total: f64 = self.steps.iter().map(|step| step.seconds).sum();
        if total > SECONDS_MAX {
            return wrong(format!(
                "steps: {total} s together; at most {SECONDS_MAX} s are allowed"
            ));
        }
        for (name, party) in [("caller", &self.caller), ("callee", &self.callee)] {
            check_party(party).map_err(|e| ScenarioError(format!("{name}.{e}")))?;
        }
        self.check_call()?;
        self.check_limits()
    }

    fn check_step(&self, step: &Step) -> Result<(), String> {
        within("seconds", step.seconds, 0.1, SECONDS_MAX)?;
        within("rate", step.rate, 0.01, RATE_MAX)?;
        if let Some(to) = step.rate_to {
            within("rate_to", to, 0.01, RATE_MAX)?;
        }
        if let Some(calls) = step.calls {
            if self.kind == Kind::Registrations {
                return Err("calls: registrations have a rate only".to_owned());
            }
            within("calls", f64::from(calls), 0.0, f64::from(CALLS_MAX))?;
        } else if self.calls_are_endless() {
            return Err(
                "calls: must be given where calls last to the end (or give call.length)".to_owned(),
            );
        }
        Ok(())
    }

    fn calls_are_endless(&self) -> bool {
        self.kind != Kind::Registrations && self.call.length == Length::End
    }

    fn check_call(&self) -> Result<(), ScenarioError> {
        let wrong = |text: &str| Err(ScenarioError(text.to_owned()));
        let call = &self.call;
        let calls = !matches!(self.kind, Kind::Registrations | Kind::Originate);
        if calls && call.dial.is_empty() {
            return wrong("call.dial: empty; it has to say which number is dialled");
        }
        if call.dial.contains(|c: char| c.is_whitespace() || c == '@') {
            return wrong("call.dial: only the part before the @, without spaces, is wanted");
        }
        if let Some(place) = unknown_place(&call.dial).or_else(|| unknown_place(&call.arrives_as)) {
            return wrong(&format!(
                "call.dial: {{{place}}} is unknown; {{call}}, {{call:6}}, {{callee}} and {{room}} are allowed"
            ));
        }
        if self.kind == Kind::Bridge
            && !call.dial.contains("{call")
            && !call.dial.contains("{callee}")
        {
            return wrong(
                "call.dial: a bridged call needs {call} or {callee} in its number, so that callees know whose call it is",
            );
        }
        if self.kind == Kind::Room {
            if !call.dial.contains("{room}") {
                return wrong("call.dial: rooms need {room} in their number");
            }
            if call.talk != Talk::Tone {
                return wrong("call.talk: in rooms only \"tone\" can be recognised");
            }
            if !(2..=ROOM_MAX).contains(&call.room) {
                return wrong(&format!(
                    "call.room: {}; 2 to {ROOM_MAX} are allowed",
                    call.room
                ));
            }
        }
        let codecs = [self.caller.codec, self.callee.codec];
        if call.talk == Talk::Signature
            && (codecs.contains(&Codec::Opus)
                || (self.kind == Kind::Bridge && codecs[0] != codecs[1]))
        {
            return wrong(
                "call.talk: signatures pass between sides that both speak the same law of G.711; use \"tone\"",
            );
        }
        if (self.kind == Kind::Originate) != self.originate.is_some() {
            return wrong("originate: belongs to kind = \"originate\", and only to it");
        }
        if let Some(digit) = call
            .digits
            .chars()
            .find(|c| !"0123456789*#ABCD".contains(*c))
        {
            return wrong(&format!(
                "call.digits: {digit:?} is no digit; 0-9, *, # and A-D are allowed"
            ));
        }
        if call.digits.len() > 32 {
            return wrong("call.digits: at most 32 are allowed");
        }
        if call.talk == Talk::None && (!call.digits.is_empty() || call.hold_after_ms > 0) {
            return wrong("call.talk: digits and hold need media");
        }
        self.check_length()
            .map_err(|e| ScenarioError(format!("call.length: {e}")))
    }

    fn check_length(&self) -> Result<(), String> {
        match self.call.length {
            Length::End => Ok(()),
            Length::Fixed { seconds } => within("seconds", seconds, 0.0, SECONDS_MAX),
            Length::Uniform { from, to } => {
                within("from", from, 0.0, SECONDS_MAX)?;
                within("to", to, from, SECONDS_MAX)
            }
            Length::Exponential { mean } => within("mean", mean, 0.01, SECONDS_MAX),
            Length::Lognormal { median, sigma } => {
                within("median", median, 0.01, SECONDS_MAX)?;
                within("sigma", sigma, 0.0, 4.0)
            }
        }
    }

    fn check_limits(&self) -> Result<(), ScenarioError> {
        let limits = &self.limits;
        let check = || -> Result<(), String> {
            within("failed_percent", limits.failed_percent, 0.0, 100.0)?;
            within("lost_percent", limits.lost_percent, 0.0, 100.0)?;
            within("calls", f64::from(limits.calls), 1.0, f64::from(CALLS_MAX))?;
            for (name, value) in [
                ("delay_p99_ms", limits.delay_p99_ms),
                ("setup_p99_ms", limits.setup_p99_ms),
                ("cpu_percent", limits.cpu_percent),
                ("memory_growth_percent", limits.memory_growth_percent),
            ] {
                if let Some(value) = value {
                    within(name, value, 0.0, 1e6)?;
                }
            }
            Ok(())
        };
        check().map_err(|e| ScenarioError(format!("limits.{e}")))?;
        if limits.delay_p99_ms.is_some() && self.call.talk != Talk::Signature {
            return Err(ScenarioError(
                "limits.delay_p99_ms: only signatures tell when they were sent (call.talk)"
                    .to_owned(),
            ));
        }
        if self.record.calls.len() > 100 {
            return Err(ScenarioError(
                "record.calls: at most 100 calls are written to files".to_owned(),
            ));
        }
        Ok(())
    }

    /// The same without passwords, for reports.
    pub fn without_secrets(&self) -> Self {
        let mut scenario = self.clone();
        for party in [&mut scenario.caller, &mut scenario.callee] {
            if !party.password.is_empty() {
                party.password = HIDDEN.to_owned();
            }
        }
        if let Some(originate) = &mut scenario.originate {
            originate.secret = HIDDEN.to_owned();
        }
        scenario
    }

    /// How long all steps take together, in seconds.
    pub fn seconds(&self) -> f64 {
        self.steps.iter().map(|step| step.seconds).sum()
    }

    /// The most calls that the steps want at once; of steps with a rate only, what is likely with room to spare.
    pub fn calls_max(&self) -> u32 {
        let wanted = self.steps.iter().map(|step| match step.calls {
            Some(calls) => f64::from(calls),
            None => {
                let rate = step.rate.max(step.rate_to.unwrap_or(0.0));
                let mean = self.call.length.mean_seconds().unwrap_or(step.seconds);
                (rate * (mean + 2.0) * 1.5 + 50.0).min(f64::from(CALLS_MAX))
            }
        });
        (wanted.fold(0.0, f64::max) as u32).min(self.limits.calls)
    }
}

impl Length {
    /// Mean length; `None`: to the end.
    pub fn mean_seconds(self) -> Option<f64> {
        Some(match self {
            Self::End => return None,
            Self::Fixed { seconds } => seconds,
            Self::Uniform { from, to } => f64::midpoint(from, to),
            Self::Exponential { mean } => mean,
            Self::Lognormal { median, sigma } => median * (sigma * sigma / 2.0).exp(),
        })
    }
}

fn within(name: &str, value: f64, from: f64, to: f64) -> Result<(), String> {
    if (from..=to).contains(&value) {
        Ok(())
    } else {
        Err(format!("{name}: {value}; {from} to {to} is allowed"))
    }
}

fn check_party(party: &Party) -> Result<(), String> {
    within("users", f64::from(party.users), 1.0, f64::from(USERS_MAX))?;
    within("register_rate", party.register_rate, 0.1, RATE_MAX)?;
    within("rings_ms", f64::from(party.rings_ms), 0.0, 120_000.0)?;
    if party.user.is_empty() || party.user.contains(|c: char| c.is_whitespace() || c == '@') {
        return Err("user: a name without spaces and @ is wanted".to_owned());
    }
    if party.users > 1 && !party.user.contains("{n}") {
        return Err(format!(
            "user: {:?} names one user, and there are {}; {{n}} stands for their number",
            party.user, party.users
        ));
    }
    Ok(())
}

/// A place in a number that nobody fills.
fn unknown_place(text: &str) -> Option<&str> {
    text.split('{').skip(1).find_map(|rest| {
        let name = rest.split('}').next().unwrap_or(rest);
        let known = ["call", "callee", "room"].contains(&name)
            || name
                .strip_prefix("call:")
                .is_some_and(|width| width.parse::<usize>().is_ok_and(|w| w <= 12));
        (!known).then_some(name)
    })
}

/// Fills the places of a number.
pub(crate) fn dialled(text: &str, call: u32, callee: &str, room: u32) -> String {
    let mut filled = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (name, behind) = after.split_once('}').unwrap_or((after, ""));
        match name {
            "callee" => filled.push_str(callee),
            "room" => filled.push_str(&room.to_string()),
            _ => {
                let width: usize = name
                    .strip_prefix("call:")
                    .and_then(|width| width.parse().ok())
                    .unwrap_or(0);
                filled.push_str(&format!("{call:0width$}"));
            }
        }
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "title = \"x\"\n[call]\ndial = \"9{call:5}\"\n[[steps]]\nseconds = 2\ncalls = 20\n";

    #[test]
    fn a_small_scenario_is_complete() {
        let scenario = Scenario::parse(GOOD).expect("a scenario");
        assert_eq!(scenario.calls_max(), 20);
        assert_eq!(dialled(&scenario.call.dial, 42, "", 0), "900042");
        assert_eq!(dialled("{callee}-{room}x{call}", 4, "bob", 7), "bob-7x4");
        let party = Party {
            user: "u{n}".to_owned(),
            first: 100,
            users: 3,
            ..Party::default()
        };
        assert_eq!(party.user_name(4), "u101");
    }

    #[test]
    fn every_mistake_is_named_with_what_is_allowed() {
        let cases = [
            ("calls = 20", "calls = 20\ncolour = 1", "colour"),
            (
                "seconds = 2",
                "seconds = 0",
                "step 1: seconds: 0; 0.1 to 86400",
            ),
            (
                "calls = 20",
                "calls = 90000",
                "step 1: calls: 90000; 0 to 20000",
            ),
            ("calls = 20", "rate = 5", "step 1: calls: must be given"),
            ("9{call:5}", "9{cal}", "call.dial: {cal} is unknown"),
            ("9{call:5}", "900", "call.dial: a bridged call needs {call}"),
            ("9{call:5}", "9 {call}", "call.dial: only the part before"),
            (
                "[call]",
                "[call]\ntalk = \"song\"",
                "unknown variant `song`",
            ),
            (
                "[call]",
                "[call]\ndigits = \"12x\"",
                "call.digits: 'x' is no digit",
            ),
            (
                "[call]",
                "[call]\nlength = { as = \"exponential\", mean = 0 }",
                "call.length: mean: 0; 0.01 to",
            ),
            (
                "[call]",
                "[caller]\nusers = 5\n[call]",
                "caller.user: \"load\" names one user",
            ),
            (
                "[call]",
                "[callee]\ncodec = \"pcma\"\n[call]",
                "call.talk: signatures pass between",
            ),
            (
                "[call]",
                "kind = \"originate\"\n[call]",
                "originate: belongs to",
            ),
            (
                "[call]",
                "[limits]\nlost_percent = 101\n[call]",
                "limits.lost_percent: 101; 0 to 100",
            ),
            ("[[steps]]\nseconds = 2\ncalls = 20\n", "", "steps"),
        ];
        for (from, to, expected) in cases {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            let error = Scenario::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        }
    }
}
