//! One channel's run through the dialplan: which version of the plan it follows, its subroutine frames, and what it
//! shares between steps. Implements the variables and functions that templates and expressions read.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use mlua::AnyUserData;
use strowger_core::Shared;
use strowger_core::call::LegReport;
use strowger_core::channel::{Channel, Location};
use strowger_core::dialplan::Reach;
use strowger_dialplan::plan::HINT;
use strowger_dialplan::subst::Cut;
use strowger_dialplan::{CallError, Plan, Query, Vars};
use strowger_media::PlayId;

use crate::app::mapped::Wish;
use crate::app::{AppResult, Recording, Stop};
use crate::conference::Custom;
use crate::depth;
use crate::func;
use crate::func::party::presentation_number;
use crate::host::Host;
use crate::log_line::{self, Lines, Verdict};
use crate::rehearsal::Rehearsal;
use crate::script::World;
use crate::trail::{Here, Trail};

/// Subroutine calls that may be nested.
pub(crate) const FRAMES_MAX: usize = 256;
/// How deep functions may call functions (EVAL within EVAL).
const CALL_DEPTH_MAX: u32 = 32;

/// A subroutine call in progress.
pub(crate) struct Frame {
    /// Where `Return` goes; None ends the subroutine that another part of the exchange asked for.
    pub(crate) back: Option<Location>,
    /// Variables of this frame with what they hid.
    locals: Vec<(String, Option<String>)>,
    argc: usize,
    /// Loops (`While`) entered in this frame.
    pub(crate) loops: Vec<Location>,
}

/// Why extension `e` runs.
pub(crate) struct Exception {
    pub(crate) reason: String,
    pub(crate) place: Location,
}

/// One channel's run through the dialplan.
pub(crate) struct Task {
    pub(crate) channel: Channel,
    pub(crate) host: Rc<Host>,
    plan: RefCell<(String, Arc<Plan>)>,
    frames: RefCell<Vec<Frame>>,
    /// Loops outside of any frame.
    loops: RefCell<Vec<Location>>,
    pub(crate) exception: RefCell<Option<Exception>>,
    /// What `CONFBRIDGE(...)` set.
    pub(crate) conference: RefCell<Custom>,
    /// A condition of `If` did not hold: the `ElseIf` here, which comes next, asks its own.
    pub(crate) asks_else_if: RefCell<Option<Location>>,
    /// Macros in progress, each with how many arguments it has.
    pub(crate) macros: RefCell<Vec<usize>>,
    /// The innermost of them is to come back.
    pub(crate) macro_exits: Cell<bool>,
    /// The channel is in a bridge, which waits for the application that runs here.
    pub(crate) in_bridge: Cell<bool>,
    /// What that application wants of the bridge.
    pub(crate) wish: RefCell<Option<Wish>>,
    /// What plays in the background (music, tones).
    pub(crate) background: Cell<Option<PlayId>>,
    /// How the legs dialled last ended.
    pub(crate) legs: RefCell<Vec<LegReport>>,
    /// What `Record` recorded last, for the application that had it recorded.
    pub(crate) recording: RefCell<Option<Recording>>,
    /// What the application of the current step said.
    outcome: RefCell<Option<AppResult>>,
    handle: OnceCell<AnyUserData>,
    /// What its scripts loaded, once it came to one.
    pub(crate) script: RefCell<Option<Rc<World>>>,
    depth: Cell<u32>,
    lines: Lines,
    trail: RefCell<Trail>,
    /// Memory for the data of the next step.
    pub(crate) data: RefCell<String>,
    /// Something was worked out that may have taken a while.
    laboured: Cell<bool>,
    /// `CURLOPT`.
    pub(crate) curl: RefCell<func::curl::Options>,
    /// Rows that `ODBC_FETCH` reads.
    pub(crate) results: RefCell<func::odbc::Results>,
    /// How far its functions and applications may reach at the moment.
    reach: Cell<Reach>,
    /// Something was refused for that.
    overreached: Cell<bool>,
    /// Set where the call is only a test of the dialplan.
    pub(crate) rehearsal: Option<Rc<Rehearsal>>,
}

/// Gives a task its own reach back.
pub(crate) struct Unconfined<'t>(&'t Task, Reach);

impl Drop for Unconfined<'_> {
    fn drop(&mut self) {
        self.0.reach.set(self.1);
    }
}

impl Task {
    pub(crate) fn new(host: &Rc<Host>, channel: Channel) -> Rc<Self> {
        Self::with(host, channel, None)
    }

    /// A run in which nobody is called.
    pub(crate) fn with(
        host: &Rc<Host>,
        channel: Channel,
        rehearsal: Option<Rc<Rehearsal>>,
    ) -> Rc<Self> {
        let context = channel.location().context;
        Rc::new(Self {
            plan: RefCell::new((context, host.current())),
            host: Rc::clone(host),
            channel,
            frames: RefCell::default(),
            loops: RefCell::default(),
            exception: RefCell::default(),
            conference: RefCell::default(),
            asks_else_if: RefCell::default(),
            macros: RefCell::default(),
            recording: RefCell::default(),
            macro_exits: Cell::new(false),
            in_bridge: Cell::new(false),
            wish: RefCell::default(),
            background: Cell::new(None),
            legs: RefCell::default(),
            outcome: RefCell::default(),
            handle: OnceCell::new(),
            script: RefCell::default(),
            depth: Cell::new(0),
            lines: Lines::default(),
            trail: RefCell::default(),
            data: RefCell::default(),
            laboured: Cell::default(),
            curl: RefCell::default(),
            results: RefCell::default(),
            reach: Cell::default(),
            overreached: Cell::default(),
            rehearsal,
        })
    }

    /// Functions and applications may reach so far from now on.
    pub(crate) fn set_reach(&self, reach: Reach) {
        self.reach.set(reach);
    }

    /// May nothing reach further than this call?
    pub(crate) fn is_confined(&self) -> bool {
        self.reach.get() == Reach::Call
    }

    /// What runs until the guard is dropped is the administrator's, wherever the call came from.
    pub(crate) fn as_dialplan(&self) -> Unconfined<'_> {
        Unconfined(self, self.reach.replace(Reach::Exchange))
    }

    /// Something was asked for that reaches too far.
    pub(crate) fn overreach(&self) {
        self.overreached.set(true);
    }

    pub(crate) fn has_overreached(&self) -> bool {
        self.overreached.get()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.channel.shard().shared()
    }

    /// The time, or that of the test.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let rehearsed = self.rehearsal.as_ref().and_then(|test| test.time());
        rehearsed.unwrap_or_else(Utc::now)
    }

    /// The plan to look things up in. A channel changes to the newest version when it enters another context.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        let mut plan = self.plan.borrow_mut();
        let data = self.channel.data();
        if plan.0 != data.location.context {
            data.location.context.clone_into(&mut plan.0);
            plan.1 = self.host.current();
        }
        Arc::clone(&plan.1)
    }

    /// Was something worked out, since this was last asked, that may have taken a while?
    pub(crate) fn has_laboured(&self) -> bool {
        self.laboured.take()
    }

    /// The step where the channel is.
    pub(crate) fn step_here(&self) -> Option<Here> {
        {
            let mut plan = self.plan.borrow_mut();
            let data = self.channel.data();
            let here = &data.location;
            if plan.0 != here.context {
                here.context.clone_into(&mut plan.0);
                plan.1 = self.host.current();
            }
            if let Some(known) = self.trail.borrow().find(&plan.1, here) {
                return Some(known);
            }
        }
        // Switches that are evaluated read variables and functions: nothing is borrowed here.
        let (plan, here, caller) = (self.plan(), self.channel.location(), self.caller());
        let varies = Cell::new(false);
        let query = Query::new(&here.context, &here.exten, here.priority)
            .caller(Some(&caller))
            .vars(self)
            .at(self.now())
            .varies(&varies);
        let found = plan.find(&query)?;
        let step = Here::new(&found);
        if let Some(moved) = found.moved.as_deref() {
            let priority = found.step().priority;
            self.channel
                .set_location(Location::new(&moved.0, &moved.1, priority));
        }
        if !varies.get() {
            self.trail.borrow_mut().learn(&plan, &here, &step);
        }
        Some(step)
    }

    /// The caller's number, for extensions that are meant for certain callers.
    pub(crate) fn caller(&self) -> String {
        self.channel.data().caller.number.clone()
    }

    /// Is there this priority?
    pub(crate) fn exists(&self, context: &str, exten: &str, priority: i32) -> bool {
        let caller = self.caller();
        self.plan().exists(
            &Query::new(context, exten, priority)
                .caller(Some(&caller))
                .at(self.now())
                .vars(self),
        )
    }

    /// The Lua value that stands for this channel in steps.
    pub(crate) fn handle(self: &Rc<Self>) -> mlua::Result<AnyUserData> {
        if let Some(handle) = self.handle.get() {
            return Ok(handle.clone());
        }
        let handle = self.host.handle(Rc::downgrade(self))?;
        Ok(self.handle.get_or_init(|| handle).clone())
    }

    pub(crate) fn set_outcome(&self, outcome: AppResult) {
        *self.outcome.borrow_mut() = Some(outcome);
    }

    pub(crate) fn take_outcome(&self) -> Option<AppResult> {
        self.outcome.borrow_mut().take()
    }

    /// Sets a variable, or writes a function when the name has arguments (`CALLERID(name)`).
    pub(crate) fn assign(&self, name: &str, value: &str) -> Result<(), String> {
        let name = name.trim();
        if let Some((function, rest)) = name.split_once('(') {
            let args = rest
                .rfind(')')
                .and_then(|end| rest.get(..end))
                .unwrap_or(rest);
            return self.deeper(|| func::assign(self, function.trim(), args, value))?;
        }
        if name.is_empty() {
            return Err("a variable needs a name".to_owned());
        }
        self.may_set(name)?;
        self.channel.set_variable(name, value);
        Ok(())
    }

    /// May this task set a variable of this name, of whatever channel?
    pub(crate) fn may_set(&self, name: &str) -> Result<(), String> {
        if self.is_confined() && func::variable_reaches(name) {
            return Err(func::out_of_reach(self, name));
        }
        Ok(())
    }

    /// Does what a function does, unless functions are too deep within each other.
    fn deeper<R>(&self, work: impl FnOnce() -> R) -> Result<R, String> {
        let depth = self.depth.get();
        let _mark = depth::Mark::set();
        if depth >= CALL_DEPTH_MAX || !depth::stack_is_left() {
            return Err("functions are nested too deep".to_owned());
        }
        self.depth.set(depth + 1);
        let result = work();
        self.depth.set(depth);
        Ok(result)
    }

    /// May the dialplan of this channel write another line to the log? Says how many it could not write before.
    pub(crate) fn may_log(&self) -> bool {
        match self.lines.next(Instant::now()) {
            Verdict::Write => true,
            Verdict::WriteAfter(left_out) => {
                self.tell_left_out(left_out);
                true
            }
            Verdict::LeaveOut => false,
        }
    }

    fn tell_left_out(&self, left_out: u64) {
        tracing::warn!(
            channel = %self.channel.name(),
            left_out,
            "the dialplan of one channel may write {} log lines a second; the rest was left out",
            log_line::LINES_MAX
        );
    }

    /// Enters a subroutine with its arguments as `ARG1`, `ARG2`...
    pub(crate) fn push_frame(
        &self,
        back: Option<Location>,
        arguments: &[String],
    ) -> Result<(), Stop> {
        let before = {
            let frames = self.frames.borrow();
            if frames.len() >= FRAMES_MAX {
                return Err(Stop::Failed(format!(
                    "Gosub: {FRAMES_MAX} subroutines are open already (is a Return missing?)"
                )));
            }
            frames.last().map_or(0, |frame| frame.argc)
        };
        self.frames.borrow_mut().push(Frame {
            back,
            locals: Vec::new(),
            argc: arguments.len(),
            loops: Vec::new(),
        });
        for (index, argument) in arguments.iter().enumerate() {
            self.hide(&format!("ARG{}", index + 1), argument);
        }
        // Arguments of the calling subroutine that this one did not get are not seen here.
        for index in arguments.len()..before {
            self.hide(&format!("ARG{}", index + 1), "");
        }
        self.hide("ARGC", &arguments.len().to_string());
        Ok(())
    }

    /// Leaves the innermost frame, restoring what its variables hid. None: there is no frame.
    pub(crate) fn pop_frame(&self) -> Option<Frame> {
        let frame = self.frames.borrow_mut().pop()?;
        for (name, value) in frame.locals.iter().rev() {
            match value {
                Some(value) => self.channel.set_variable(name, value),
                None => {
                    self.channel.data_mut().variables.remove(name);
                }
            }
        }
        Some(frame)
    }

    /// `Return` in the innermost frame ends the run of its subroutine instead of going somewhere.
    pub(crate) fn end_with_return(&self) {
        if let Some(frame) = self.frames.borrow_mut().last_mut() {
            frame.back = None;
        }
    }

    pub(crate) fn frame_depth(&self) -> usize {
        self.frames.borrow().len()
    }

    /// Where the n-th subroutine will come back to; the innermost is 1.
    pub(crate) fn stack_peek(&self, depth: usize) -> Option<Location> {
        let frames = self.frames.borrow();
        let frame = frames.iter().rev().nth(depth.checked_sub(1)?)?;
        frame.back.clone()
    }

    /// A variable as it was `depth` subroutines further out.
    pub(crate) fn local_peek(&self, depth: usize, name: &str) -> Option<String> {
        let mut value = self.channel.variable(name);
        for frame in self.frames.borrow().iter().rev().take(depth) {
            if let Some((_, before)) = frame.locals.iter().find(|(known, _)| known == name) {
                value.clone_from(before);
            }
        }
        value
    }

    /// Changes the loops of the innermost frame.
    pub(crate) fn with_loops<R>(&self, change: impl FnOnce(&mut Vec<Location>) -> R) -> R {
        match self.frames.borrow_mut().last_mut() {
            Some(frame) => change(&mut frame.loops),
            None => change(&mut self.loops.borrow_mut()),
        }
    }

    /// `LOCAL(name)=value`.
    pub(crate) fn set_local(&self, name: &str, value: &str) -> Result<(), String> {
        if self.frames.borrow().is_empty() {
            return Err(format!(
                "LOCAL({name}) has a meaning only in a subroutine (Gosub)"
            ));
        }
        self.hide(name, value);
        Ok(())
    }

    fn hide(&self, name: &str, value: &str) {
        let before = self.channel.variable(name);
        if let Some(frame) = self.frames.borrow_mut().last_mut()
            && !frame.locals.iter().any(|(known, _)| known == name)
        {
            frame.locals.push((name.to_owned(), before));
        }
        self.channel.set_variable(name, value);
    }

    /// Variables that are computed; None when `name` is not one of them.
    fn predefined(&self, name: &str) -> Option<String> {
        let channel = &self.channel;
        Some(match name {
            "EXTEN" => channel.data().location.exten.clone(),
            "CONTEXT" => channel.data().location.context.clone(),
            "PRIORITY" => channel.data().location.priority.to_string(),
            "CHANNEL" => channel.name().to_string(),
            "UNIQUEID" => channel.uniqueid().to_string(),
            "HANGUPCAUSE" => channel.data().cause.0.to_string(),
            "HINT" => self.hint()?,
            "HINTNAME" => String::new(),
            "CALLINGPRES" => presentation_number(channel.data().caller.presentation).to_string(),
            "CALLINGANI2" | "CALLINGTON" | "CALLINGTNS" => "0".to_owned(),
            "EPOCH" => self.now().timestamp().to_string(),
            "SYSTEMNAME" => String::new(),
            "ENTITYID" => self.host.entity_id().to_owned(),
            "ASTMODDIR" | "ASTSBINDIR" | "ASTETCDIR" | "ASTVARLIBDIR" | "ASTDBDIR"
            | "ASTDATADIR" | "ASTKEYDIR" | "ASTCACHEDIR" | "ASTRUNDIR" | "ASTLOGDIR" => {
                self.shared().paths().data.display().to_string()
            }
            // Scripts look for recordings in ${ASTSPOOLDIR}/monitor.
            "ASTSPOOLDIR" => {
                let monitor = &self.shared().paths().monitor;
                monitor.parent().unwrap_or(monitor).display().to_string()
            }
            "ASTAGIDIR" => self.shared().paths().agi.display().to_string(),
            _ => return None,
        })
    }

    fn hint(&self) -> Option<String> {
        let location = self.channel.location();
        let plan = self.plan();
        let found = plan.find(&Query::new(&location.context, &location.exten, HINT))?;
        Some(found.step().app.to_string())
    }

    fn place(&self) -> String {
        let data = self.channel.data();
        format!(
            "{},{},{}",
            data.location.context, data.location.exten, data.location.priority
        )
    }
}

impl Vars for Task {
    fn get(&self, name: &str) -> Option<String> {
        self.predefined(name)
            .or_else(|| self.channel.variable(name))
            .or_else(|| self.shared().globals.get(name))
    }

    fn append(&self, name: &str, cut: Cut, out: &mut String) {
        match name {
            "EXTEN" => return out.push_str(cut.apply(&self.channel.data().location.exten)),
            "CONTEXT" => return out.push_str(cut.apply(&self.channel.data().location.context)),
            _ => {}
        }
        if let Some(value) = self.predefined(name) {
            return out.push_str(cut.apply(&value));
        }
        if let Some(value) = self.channel.data().variables.get(name) {
            return out.push_str(cut.apply(value));
        }
        self.shared()
            .globals
            .with(name, |value| out.push_str(cut.apply(value)));
    }

    fn call(&self, function: &str, arguments: &str) -> Result<String, CallError> {
        self.labours();
        if let Some(test) = &self.rehearsal
            && let Some(value) = test.function(function, arguments)
        {
            return Ok(value);
        }
        let result = self
            .deeper(|| func::call(self, function, arguments))
            .map_err(CallError::Failed)?;
        match result {
            None => Err(CallError::Unknown),
            Some(result) => result.map_err(CallError::Failed),
        }
    }

    fn labours(&self) {
        self.laboured.set(true);
    }

    fn warn(&self, warning: &str) {
        if let Some(test) = &self.rehearsal {
            test.warn(warning);
        }
        if self.may_log() {
            let place = self.place();
            let (place, warning) = (log_line::escape(&place), log_line::escape(warning));
            tracing::warn!(channel = %self.channel.name(), %place, "{warning}");
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let left_out = self.lines.left_out();
        if left_out > 0 {
            self.tell_left_out(left_out);
        }
    }
}
