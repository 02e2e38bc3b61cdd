//! The dialplan language read a second time: a slow interpreter of lines of `extensions.conf` and realtime rows, written
//! from the description of the language and not from the compiler. It knows what `write` writes.

pub(crate) mod text;
pub(crate) mod write;

use std::collections::HashMap;

/// Steps after which a program is too long to be called.
const STEPS_MAX: usize = 600;

/// One priority, as written.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) context: String,
    pub(crate) exten: String,
    pub(crate) priority: i32,
    pub(crate) label: Option<String>,
    pub(crate) app: String,
    pub(crate) data: String,
}

/// A dialplan: lines, includes, and the contexts whose realtime rows a context switches to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub(crate) fixed: Vec<Line>,
    pub(crate) realtime: Vec<Line>,
    pub(crate) includes: Vec<(String, String)>,
    pub(crate) switches: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    context: String,
    exten: String,
    priority: i32,
}

#[derive(Default)]
struct Frame {
    back: Option<Place>,
    hidden: Vec<(String, Option<String>)>,
    loops: Vec<Place>,
    arguments: usize,
}

/// What follows a step.
enum Next {
    On,
    To(Place),
    End,
    Failed,
}

pub(crate) struct Run<'p> {
    program: &'p Program,
    pub(crate) variables: HashMap<String, String>,
    here: Place,
    frames: Vec<Frame>,
    /// The condition of an `If` did not hold; what stands at this place asks its own.
    asking: Option<Place>,
    steps: usize,
}

impl<'p> Run<'p> {
    /// Runs the program from this place until the call would end, `h` included. None: it is too long.
    pub(crate) fn of(
        program: &'p Program,
        context: &str,
        exten: &str,
    ) -> Option<HashMap<String, String>> {
        let mut run = Self {
            program,
            variables: HashMap::new(),
            here: Place {
                context: context.to_owned(),
                exten: exten.to_owned(),
                priority: 1,
            },
            frames: vec![Frame::default()],
            asking: None,
            steps: 0,
        };
        run.call()?;
        let context = run.here.context.clone();
        if run.find(&context, "h", 1).is_some() {
            run.here = Place {
                context,
                exten: "h".to_owned(),
                priority: 1,
            };
            while let Some(Next::On) = run.step()? {
                run.here.priority += 1;
            }
        }
        Some(run.variables)
    }

    fn call(&mut self) -> Option<()> {
        loop {
            match self.step()? {
                Some(Next::On) => self.here.priority += 1,
                Some(Next::To(place)) => self.here = place,
                Some(Next::End) => return Some(()),
                Some(Next::Failed) => {
                    if self.here.exten == "e" || !self.special("e") {
                        return Some(());
                    }
                }
                None => {
                    let (context, exten) = (self.here.context.clone(), self.here.exten.clone());
                    // An extension that ran off its end: no Dial, so the call ends.
                    if self.find(&context, &exten, 1).is_some() {
                        return Some(());
                    }
                    self.set("INVALID_EXTEN", &exten);
                    if !self.special("i") && !self.special("e") {
                        return Some(());
                    }
                }
            }
        }
    }

    fn special(&mut self, exten: &str) -> bool {
        let context = self.here.context.clone();
        let there = self.find(&context, exten, 1).is_some();
        if there {
            self.here = Place {
                context,
                exten: exten.to_owned(),
                priority: 1,
            };
        }
        there
    }

    /// Extensions of the context by the order of patterns, then switches, then what it includes.
    fn find(&self, context: &str, exten: &str, priority: i32) -> Option<&'p Line> {
        self.search(context, exten, &mut Vec::new(), &|line| {
            line.priority == priority
        })
    }

    fn search(
        &self,
        context: &str,
        exten: &str,
        entered: &mut Vec<String>,
        wanted: &dyn Fn(&Line) -> bool,
    ) -> Option<&'p Line> {
        if entered.iter().any(|known| known == context) {
            return None;
        }
        entered.push(context.to_owned());
        let fitting = |lines: &'p [Line], context: &str| -> Vec<&'p Line> {
            lines
                .iter()
                .filter(|line| {
                    line.context == context && text::matches(&line.exten, exten) && wanted(line)
                })
                .collect()
        };
        let mut own = fitting(&self.program.fixed, context);
        own.sort_by_key(|line| text::rank(&line.exten));
        if let Some(line) = own.first() {
            return Some(line);
        }
        for (_, rows) in self.of_context(&self.program.switches, context) {
            let mut found = fitting(&self.program.realtime, rows);
            found.sort_by_key(|line| {
                (
                    line.exten.starts_with('_'),
                    std::cmp::Reverse(line.exten.len()),
                )
            });
            if let Some(line) = found.first() {
                return Some(line);
            }
        }
        self.of_context(&self.program.includes, context)
            .into_iter()
            .find_map(|(_, included)| self.search(included, exten, entered, wanted))
    }

    fn of_context(&self, list: &'p [(String, String)], context: &str) -> Vec<&'p (String, String)> {
        list.iter().filter(|(from, _)| from == context).collect()
    }

    fn get(&self, name: &str) -> String {
        match name {
            "EXTEN" => self.here.exten.clone(),
            "CONTEXT" => self.here.context.clone(),
            "PRIORITY" => self.here.priority.to_string(),
            _ => self.variables.get(name).cloned().unwrap_or_default(),
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Sets a variable until the subroutine returns.
    fn hide(&mut self, name: &str, value: &str) {
        let before = self.variables.get(name).cloned();
        if let Some(frame) = self.frames.last_mut()
            && !frame.hidden.iter().any(|(known, _)| known == name)
        {
            frame.hidden.push((name.to_owned(), before));
        }
        self.set(name, value);
    }

    /// None inside: there is no step here. None outside: too many steps.
    #[expect(clippy::option_option, reason = "two questions with two answers")]
    fn step(&mut self) -> Option<Option<Next>> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return None;
        }
        let here = self.here.clone();
        let Some(line) = self.find(&here.context, &here.exten, here.priority) else {
            return Some(None);
        };
        let data = text::substitute(&line.data, &|name| self.get(name));
        Some(Some(self.run(&line.app, &data)))
    }

    fn run(&mut self, app: &str, data: &str) -> Next {
        match app {
            "NoOp" => Next::On,
            "Hangup" => Next::End,
            "Set" => {
                let (name, value) = data.split_once('=').unwrap_or((data, ""));
                match name
                    .strip_prefix("LOCAL(")
                    .and_then(|name| name.strip_suffix(')'))
                {
                    Some(name) if self.frames.len() > 1 => self.hide(name, value),
                    Some(_) => {}
                    None => self.set(name, value),
                }
                Next::On
            }
            "Goto" => self.goto(data),
            "GotoIf" => match text::choose(data) {
                "" => Next::On,
                place => self.goto(place),
            },
            "Gosub" => self.gosub(data),
            "GosubIf" => match text::choose(data) {
                "" => Next::On,
                place => self.gosub(place),
            },
            "Return" => self.give_back(data),
            "ExecIf" => match text::choose(data) {
                "" => Next::On,
                text => {
                    let (app, data) = text.split_once('(').unwrap_or((text, ""));
                    self.run(app, data.strip_suffix(')').unwrap_or(data))
                }
            },
            "While" => self.begin_loop(data),
            "EndWhile" | "ContinueWhile" => match self.frames.last().and_then(|f| f.loops.last()) {
                Some(start) => Next::To(start.clone()),
                None => Next::Failed,
            },
            "ExitWhile" => match self.frames.last_mut().and_then(|frame| frame.loops.pop()) {
                Some(start) => self.behind(&start, "While", &["EndWhile"], true),
                None => Next::Failed,
            },
            "If" => self.decide(data),
            "ElseIf" => {
                if self.asking.take().is_some_and(|place| place == self.here) {
                    self.decide(data)
                } else {
                    self.behind(&self.here.clone(), "If", &["EndIf"], true)
                }
            }
            "Else" => self.behind(&self.here.clone(), "If", &["EndIf"], true),
            "EndIf" => Next::On,
            other => panic!("the interpreter does not know {other}"),
        }
    }

    fn place(&self, text: &str) -> Option<Place> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let (context, exten, priority) = match parts[..] {
            [priority] => (&*self.here.context, &*self.here.exten, priority),
            [exten, priority] => (&*self.here.context, exten, priority),
            [context, exten, priority] => (context, exten, priority),
            _ => return None,
        };
        let priority = match priority.parse::<i32>() {
            Ok(by) if priority.starts_with(['+', '-']) => self.here.priority + by,
            Ok(number) => number,
            Err(_) => {
                let labelled = |line: &Line| line.label.as_deref() == Some(priority);
                self.search(context, exten, &mut Vec::new(), &labelled)?
                    .priority
            }
        };
        (priority >= 1).then(|| Place {
            context: context.to_owned(),
            exten: exten.to_owned(),
            priority,
        })
    }

    fn goto(&self, text: &str) -> Next {
        self.place(text).map_or(Next::Failed, Next::To)
    }

    fn gosub(&mut self, text: &str) -> Next {
        let (place, arguments) = text.split_once('(').unwrap_or((text, ""));
        let arguments = arguments.strip_suffix(')').unwrap_or(arguments);
        let Some(target) = self.place(place) else {
            return Next::Failed;
        };
        if self
            .find(&target.context, &target.exten, target.priority)
            .is_none()
        {
            return Next::Failed;
        }
        let mut back = self.here.clone();
        back.priority += 1;
        let arguments: Vec<&str> = if arguments.is_empty() {
            Vec::new()
        } else {
            arguments.split(',').collect()
        };
        let before = self.frames.last().map_or(0, |frame| frame.arguments);
        self.frames.push(Frame {
            back: Some(back),
            arguments: arguments.len(),
            ..Frame::default()
        });
        for (index, argument) in (1..).zip(&arguments) {
            self.hide(&format!("ARG{index}"), argument);
        }
        for index in arguments.len() + 1..=before {
            self.hide(&format!("ARG{index}"), "");
        }
        self.hide("ARGC", &arguments.len().to_string());
        Next::To(target)
    }

    fn give_back(&mut self, value: &str) -> Next {
        if self.frames.len() < 2 {
            return Next::Failed;
        }
        let frame = self.frames.pop().unwrap_or_default();
        for (name, value) in frame.hidden.into_iter().rev() {
            match value {
                Some(value) => self.set(&name, &value),
                None => {
                    self.variables.remove(&name);
                }
            }
        }
        self.set("GOSUB_RETVAL", value);
        frame.back.map_or(Next::End, Next::To)
    }

    fn begin_loop(&mut self, condition: &str) -> Next {
        let here = self.here.clone();
        let holds = text::is_true(condition);
        if let Some(frame) = self.frames.last_mut() {
            let known = frame.loops.iter().position(|known| *known == here);
            if holds {
                // Loops within it that a jump left are over.
                frame.loops.truncate(known.unwrap_or(usize::MAX));
                frame.loops.push(here.clone());
                return Next::On;
            }
            frame.loops.retain(|known| *known != here);
        }
        self.behind(&here, "While", &["EndWhile"], true)
    }

    fn decide(&mut self, condition: &str) -> Next {
        if text::is_true(condition) {
            return Next::On;
        }
        let here = self.here.clone();
        let next = self.behind(&here, "If", &["ElseIf", "Else", "EndIf"], false);
        let Next::To(place) = next else { return next };
        if self
            .find(&place.context, &place.exten, place.priority)
            .is_some_and(|line| line.app == "ElseIf")
        {
            self.asking = Some(place.clone());
            return Next::To(place);
        }
        Next::To(Place {
            priority: place.priority + 1,
            ..place
        })
    }

    /// The first of `ends` behind `start` that belongs to the same `open`, or the step after it.
    fn behind(&self, start: &Place, open: &str, ends: &[&str], after: bool) -> Next {
        let close = if open == "While" { "EndWhile" } else { "EndIf" };
        let mut depth = 0;
        for priority in start.priority + 1.. {
            let Some(line) = self.find(&start.context, &start.exten, priority) else {
                return Next::Failed;
            };
            if depth == 0 && ends.contains(&&*line.app) {
                return Next::To(Place {
                    priority: priority + i32::from(after),
                    ..start.clone()
                });
            }
            if line.app == open {
                depth += 1;
            } else if line.app == close {
                depth -= 1;
            }
        }
        Next::Failed
    }
}
