//! Rehearsals: a call goes through the dialplan without anybody in it. Steps, jumps, variables and functions are the real
//! ones; what would need a telephone, a program or time (`Dial`, `Playback`, `AGI`, `Wait`) ends at once as the test says.

mod apps;
mod compare;
mod stage;
mod table;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use chrono::{DateTime, Utc};

use crate::app::read::Reading;
use crate::app::{App, AppResult};
use crate::task::Task;

pub use compare::Failure;
pub use stage::Stage;
pub use table::{Test, Tests};

/// Steps of one call; a dialplan that takes more is taken for an endless loop.
const STEPS_MAX: usize = 5000;

/// What an application that nobody runs ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: Option<String>,
    /// Variables that it sets besides.
    pub(crate) set: BTreeMap<String, String>,
    /// Seconds of talk.
    pub(crate) talked: u64,
}

/// A call to rehearse.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) context: String,
    pub(crate) exten: String,
    pub(crate) priority: i32,
    /// `100`, `"Name" <100>`.
    pub(crate) caller: Option<String>,
    /// `PJSIP/100`.
    pub(crate) device: String,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) globals: BTreeMap<String, String>,
    /// By `family/key`.
    pub(crate) database: BTreeMap<String, String>,
    pub(crate) time: Option<DateTime<Utc>>,
    /// What is dialled at each prompt.
    pub(crate) digits: VecDeque<String>,
    /// How applications end, by their names in small letters.
    pub(crate) results: BTreeMap<String, VecDeque<Answer>>,
    /// What functions give, by name or `NAME(arguments)`.
    pub(crate) functions: BTreeMap<String, String>,
    /// What to read at the end, as within `${}`.
    pub(crate) reads: Vec<String>,
}

/// One step that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) context: String,
    pub(crate) exten: String,
    pub(crate) priority: i32,
    /// Applications with their data; `ExecIf` runs another.
    pub(crate) applications: Vec<(String, String)>,
    /// How it was made to end.
    pub(crate) result: Option<String>,
}

/// How a call went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) steps: Vec<Taken>,
    /// Devices, in the order of the calls to them.
    pub(crate) dialled: Vec<String>,
    /// Sounds and what was said.
    pub(crate) played: Vec<String>,
    pub(crate) answered: bool,
    /// Q.850, when the call ended.
    pub(crate) cause: u32,
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) warnings: Vec<String>,
    /// Steps that failed, and what the test should have said.
    pub(crate) faults: Vec<String>,
}

/// A call that is rehearsed, at work.
pub(crate) struct Rehearsal {
    given: RefCell<Given>,
    outcome: RefCell<Outcome>,
}

impl Rehearsal {
    pub(crate) fn new(given: Given) -> Rc<Self> {
        Rc::new(Self {
            given: RefCell::new(given),
            outcome: RefCell::default(),
        })
    }

    pub(crate) fn time(&self) -> Option<DateTime<Utc>> {
        self.given.borrow().time
    }

    /// A step begins. False: there were too many.
    pub(crate) fn step(&self, task: &Task) -> bool {
        let place = task.channel.location();
        let mut outcome = self.outcome.borrow_mut();
        if outcome.steps.len() >= STEPS_MAX {
            let fault = format!(
                "{STEPS_MAX} steps without an end, the last at {},{},{}: is there an endless loop?",
                place.context, place.exten, place.priority
            );
            if !outcome.faults.contains(&fault) && outcome.steps.len() == STEPS_MAX {
                outcome.faults.push(fault);
                outcome.steps.push(Taken::default());
            }
            return false;
        }
        outcome.steps.push(Taken {
            context: place.context,
            exten: place.exten,
            priority: place.priority,
            ..Taken::default()
        });
        true
    }

    /// An application begins.
    pub(crate) fn application(&self, app: &App, data: &str) {
        if let Some(step) = self.outcome.borrow_mut().steps.last_mut() {
            step.applications
                .push((app.name.to_owned(), data.to_owned()));
        }
    }

    /// Runs an application in its stead; None: it is one that runs as it is.
    pub(crate) fn run(
        &self,
        task: &Rc<Task>,
        app: &App,
        data: &str,
        args: &[String],
    ) -> Option<AppResult> {
        apps::run(self, task, app, data, args)
    }

    /// What a function gives by the test.
    pub(crate) fn function(&self, name: &str, args: &str) -> Option<String> {
        let given = self.given.borrow();
        let known = given.functions.get(&format!("{name}({args})"));
        known.or_else(|| given.functions.get(name)).cloned()
    }

    /// What is dialled next; None is nothing.
    pub(crate) fn dialled(&self) -> Option<String> {
        let next = self.given.borrow_mut().digits.pop_front()?;
        Some(next).filter(|digits| !digits.is_empty())
    }

    /// The next digit of what is dialled at one prompt; None is its end, or nothing.
    pub(crate) fn digit(&self) -> Option<char> {
        let mut given = self.given.borrow_mut();
        let dialled = given.digits.front_mut()?;
        let mut chars = dialled.chars();
        let digit = chars.next();
        *dialled = chars.as_str().to_owned();
        if digit.is_none() {
            given.digits.pop_front();
        }
        digit
    }

    /// No further digit is waited for; those that are left were dialled ahead of the next prompt.
    pub(crate) fn number_complete(&self) {
        let mut given = self.given.borrow_mut();
        if given.digits.front().is_some_and(String::is_empty) {
            given.digits.pop_front();
        }
    }

    /// A prompt took the first digit of what was dialled.
    fn put_back(&self, rest: &str) {
        self.given.borrow_mut().digits.push_front(rest.to_owned());
    }

    /// Sounds of which some may be ended by a digit, which it gives.
    pub(crate) fn prompt(&self, sounds: &[String], stop: &str) -> Option<char> {
        for sound in sounds {
            self.note_played(sound);
        }
        let ahead = self.given.borrow().digits.front()?.chars().next();
        if stop.is_empty() {
            return None;
        }
        let dialled = self.dialled()?;
        if !stop.contains(ahead?) {
            self.put_back(&dialled);
            return None;
        }
        let mut chars = dialled.chars();
        let first = chars.next()?;
        if !chars.as_str().is_empty() {
            self.put_back(chars.as_str());
        }
        self.note(&format!("{first} is dialled"));
        Some(first)
    }

    /// One attempt to read digits.
    pub(crate) fn read(&self, reading: &Reading, max: usize, entered: &mut String) -> &'static str {
        for sound in reading.files.split('&').filter(|sound| !sound.is_empty()) {
            self.note_played(sound);
        }
        let Some(dialled) = self.dialled() else {
            self.note("nothing is dialled");
            return "TIMEOUT";
        };
        self.note(&format!("{dialled} is dialled"));
        for digit in dialled.chars() {
            if reading.terminators.contains(digit) {
                if entered.is_empty() && reading.keep_terminator {
                    entered.push(digit);
                }
                return "OK";
            }
            entered.push(digit);
            if entered.len() >= max {
                return "OK";
            }
        }
        "TIMEOUT"
    }

    fn next_result(&self, app: &str) -> Option<Answer> {
        let name = app.to_ascii_lowercase();
        self.given.borrow_mut().results.get_mut(&name)?.pop_front()
    }

    /// Notes how a step was made to end.
    fn note(&self, result: &str) {
        if let Some(step) = self.outcome.borrow_mut().steps.last_mut() {
            step.result = Some(result.to_owned());
        }
    }

    fn note_dialled(&self, device: &str) {
        self.outcome.borrow_mut().dialled.push(device.to_owned());
    }

    fn note_played(&self, sound: &str) {
        self.outcome.borrow_mut().played.push(sound.to_owned());
    }

    pub(crate) fn warn(&self, text: &str) {
        self.outcome.borrow_mut().warnings.push(text.to_owned());
    }

    pub(crate) fn fault(&self, text: &str) {
        let mut outcome = self.outcome.borrow_mut();
        if !outcome.faults.iter().any(|known| known == text) {
            outcome.faults.push(text.to_owned());
        }
    }

    /// The call is over, extension `h` included.
    pub(crate) async fn conclude(&self, task: &Rc<Task>) -> Outcome {
        let reads = std::mem::take(&mut self.given.borrow_mut().reads);
        let mut values = BTreeMap::new();
        for name in reads {
            let value = crate::func::substitute(task, &format!("${{{name}}}")).await;
            values.insert(name, value);
        }
        let mut outcome = self.outcome.take();
        outcome.values = values;
        let data = task.channel.data();
        outcome.answered = data.answered.is_some();
        outcome.cause = data.ended.map_or(data.cause.0, |end| end.cause.0).into();
        // What a loop left behind its limit.
        outcome.steps.truncate(STEPS_MAX);
        outcome
    }
}
