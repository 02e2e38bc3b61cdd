//! Random dialplans: labels, `n`, patterns, includes, switches, jumps, subroutines, loops, branches, special extensions.

use super::{Line, Program};

/// Random numbers that a seed repeats.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, most: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % most as u64) as usize
    }

    fn one<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    fn often(&mut self, of: usize) -> bool {
        self.below(of) != 0
    }
}

/// A program that is being written.
pub(crate) struct Writer {
    dice: Dice,
    /// The first part of the names of its contexts.
    name: String,
    program: Program,
    marks: usize,
    context: String,
    exten: String,
    priority: i32,
    realtime: bool,
}

const FIXED: [&str; 8] = [
    "100", "_1XX", "_10X", "_1[0-5]X", "_1.", "200", "_2NX", "_2!",
];
const INCLUDED: [&str; 3] = ["_3XX", "300", "_1Z."];
const SWITCHED: [&str; 4] = ["400", "_4XX", "_4[0-4]X", "_4."];
const DIALLED: [&str; 10] = [
    "100", "105", "150", "200", "222", "300", "307", "400", "430", "999",
];

/// The extension that a call enters.
pub(crate) const ENTRY: &str = "100";

impl Writer {
    pub(crate) fn write(seed: u64, name: &str) -> Program {
        let mut writer = Self {
            dice: Dice(seed),
            name: name.to_owned(),
            program: Program::default(),
            marks: 0,
            context: String::new(),
            exten: String::new(),
            priority: 0,
            realtime: false,
        };
        writer.all();
        writer.program
    }

    fn part(&self, part: &str) -> String {
        format!("{}{part}", self.name)
    }

    fn all(&mut self) {
        for (part, included) in [
            ("", "-inc"),
            ("", "-end"),
            ("-inc", "-end"),
            ("-sub", "-end"),
        ] {
            let pair = (self.part(part), self.part(included));
            self.program.includes.push(pair);
        }
        let pair = (self.name.clone(), self.part("-rt"));
        self.program.switches.push(pair);
        for exten in FIXED {
            if exten == ENTRY || self.dice.often(3) {
                self.extension("", exten);
            }
        }
        for exten in INCLUDED {
            self.extension("-inc", exten);
        }
        self.realtime = true;
        for exten in SWITCHED {
            self.extension("-rt", exten);
        }
        self.realtime = false;
        for exten in ["sub1", "sub2"] {
            self.subroutine(exten);
        }
        for exten in ["i", "e"] {
            if self.dice.often(3) {
                self.begin("", exten);
                self.mark();
                self.line("Set", "D=${D}${INVALID_EXTEN}");
                if self.dice.often(2) {
                    self.line("Hangup", "");
                }
            }
        }
        self.begin("-end", "h");
        self.line(
            "Set",
            &format!(
                "GLOBAL({})=${{TRACE}}/${{A}}/${{B}}/${{C}}/${{D}}/${{GOSUB_RETVAL}}/${{ARG1}}/${{ARGC}}",
                self.name
            ),
        );
    }

    fn begin(&mut self, part: &str, exten: &str) {
        self.context = self.part(part);
        self.exten = exten.to_owned();
        self.priority = 0;
    }

    fn line(&mut self, app: &str, data: &str) {
        self.labelled(None, app, data);
    }

    fn labelled(&mut self, label: Option<String>, app: &str, data: &str) {
        self.priority += 1;
        let line = Line {
            context: self.context.clone(),
            exten: self.exten.clone(),
            priority: self.priority,
            label,
            app: app.to_owned(),
            data: data.to_owned(),
        };
        if self.realtime {
            self.program.realtime.push(line);
        } else {
            self.program.fixed.push(line);
        }
    }

    /// Leaves a trace of where the call came by.
    fn mark(&mut self) {
        self.marks += 1;
        let data = format!("TRACE=${{TRACE}}{}.", self.marks);
        self.line("Set", &data);
    }

    fn extension(&mut self, part: &str, exten: &str) {
        self.begin(part, exten);
        if exten == ENTRY {
            self.line("Set", "A=3");
            self.line("Set", "B=7");
            self.line("Set", "C=abc");
        }
        let statements = 2 + self.dice.below(5);
        for number in 0..statements {
            if !self.realtime && self.dice.below(3) == 0 {
                let label = Some(format!("l{number}"));
                self.labelled(label, "NoOp", "${EXTEN} ${PRIORITY}");
            }
            self.mark();
            self.statement(2);
            if self.dice.below(3) == 0 {
                self.jump();
            }
        }
        if self.dice.below(4) == 0 {
            self.line("Hangup", "");
        }
    }

    fn subroutine(&mut self, exten: &str) {
        self.begin("-sub", exten);
        self.mark();
        self.line("Set", "LOCAL(B)=${ARG1}${ARGC}");
        self.line("Set", "TRACE=${TRACE}[${ARG1}:${ARG2}:${ARGC}]");
        self.line("Set", "B=$[${LEN(${ARG1})} + 4]");
        self.statement(1);
        if exten == "sub1" && self.dice.often(3) {
            let context = self.part("-sub");
            self.line("Gosub", &format!("{context},sub2,1(${{C:0:2}})"));
            self.mark();
        }
        let value = self.dice.one(&["", "${A}", "$[${B} * 2]", "done"]);
        self.line("Return", value);
    }

    fn number(&mut self) -> String {
        let small = self.dice.below(9);
        match self.dice.below(8) {
            0 => "${A}".to_owned(),
            1 => "${B}".to_owned(),
            2 => format!("$[${{A}} + {small}]"),
            3 => format!("$[(${{A}} * {small} + ${{B}}) % 97]"),
            4 => "${LEN(${C})}".to_owned(),
            5 => format!("$[${{B}} - {small}]"),
            6 => format!("${{IF($[${{A}} > {small}]?{small}:${{LEN(${{C}}x)}})}}"),
            _ => small.to_string(),
        }
    }

    fn text(&mut self) -> String {
        self.dice
            .one(&[
                "${C:0:2}x",
                "${C:-2}",
                "abc",
                "${TOUPPER(${C})}",
                "${C:1}${A}",
                "${${N}}",
                "${EXTEN:1}",
                "${C:0:-1}",
                "",
            ])
            .to_owned()
    }

    fn condition(&mut self) -> String {
        let number = self.number();
        let small = self.dice.below(20);
        match self.dice.below(7) {
            0 => format!("$[{number} > {small}]"),
            1 => format!("$[{number} = {small}]"),
            2 => "$[\"${C}\" = \"abc\"]".to_owned(),
            3 => format!("$[{number} < {small} & \"${{C}}\" != \"\"]"),
            4 => format!("$[{number} <= {small} | ${{B}} >= 5]"),
            5 => "${ISNULL(${C})}".to_owned(),
            _ => number,
        }
    }

    fn set(&mut self) -> String {
        match self.dice.below(5) {
            0 => format!("C={}", self.text()),
            1 => format!("B={}", self.number()),
            2 => format!("N={}", self.dice.one(&["A", "B", "C"])),
            _ => format!("A={}", self.number()),
        }
    }

    /// Statements that stay in their extension; blocks within blocks as deep as `depth`.
    fn statement(&mut self, depth: usize) {
        match self.dice.below(if depth == 0 { 4 } else { 8 }) {
            0 | 1 => {
                let set = self.set();
                self.line("Set", &set);
            }
            2 => {
                let (condition, yes, no) = (self.condition(), self.set(), self.set());
                let data = if self.dice.often(3) {
                    format!("{condition}?Set({yes}):Set({no})")
                } else {
                    format!("{condition}?Set({yes})")
                };
                // Colons and question marks of the branches are protected by their brackets.
                if yes.contains(':') || no.contains(':') || condition.contains('?') {
                    self.line("NoOp", "${A}");
                } else {
                    self.line("ExecIf", &data);
                }
            }
            3 => self.subroutine_call(),
            4 | 5 => self.repeated(depth),
            _ => self.branches(depth),
        }
    }

    fn subroutine_call(&mut self) {
        // Not from the subroutine contexts: they would call themselves.
        if self.context.ends_with("-sub") {
            return self.mark();
        }
        let place = format!("{}-sub,{}", self.name, self.dice.one(&["sub1", "sub2"]));
        let arguments = self
            .dice
            .one(&["", "(${A})", "(${C},2)", "(x,$[${A} + 1])"]);
        match self.dice.below(3) {
            0 => {
                let condition = self.condition();
                if condition.contains('?') {
                    return self.mark();
                }
                self.line("GosubIf", &format!("{condition}?{place},1{arguments}"));
            }
            _ => self.line("Gosub", &format!("{place},1{arguments}")),
        }
        self.mark();
    }

    fn repeated(&mut self, depth: usize) {
        let counter = format!("K{depth}");
        let times = 1 + self.dice.below(3);
        self.line("Set", &format!("{counter}=0"));
        self.line("While", &format!("$[${{{counter}}} < {times}]"));
        self.line("Set", &format!("{counter}=$[${{{counter}}} + 1]"));
        self.statement(depth - 1);
        if self.dice.below(3) == 0 {
            let way = self.dice.one(&["ContinueWhile", "ExitWhile"]);
            let small = self.dice.below(20);
            self.line("ExecIf", &format!("$[${{A}} > {small}]?{way}()"));
        }
        self.mark();
        self.line("EndWhile", "");
    }

    fn branches(&mut self, depth: usize) {
        let condition = self.condition();
        self.line("If", &condition);
        self.mark();
        self.statement(depth - 1);
        if self.dice.below(2) == 0 {
            let condition = self.condition();
            self.line("ElseIf", &condition);
            self.mark();
            self.statement(depth - 1);
        }
        if self.dice.below(2) == 0 {
            self.line("Else", "");
            self.mark();
            self.statement(depth - 1);
        }
        self.line("EndIf", "");
    }

    fn jump(&mut self) {
        let dialled = self.dice.one(&DIALLED);
        let place = match self.dice.below(6) {
            0 => format!("{dialled},1"),
            1 => format!("{},{dialled},1", self.name),
            2 => "+2".to_owned(),
            3 => format!("{dialled},{}", 1 + self.dice.below(5)),
            4 if !self.realtime => format!("l{}", self.dice.below(5)),
            _ => format!("{dialled},l{}", self.dice.below(3)),
        };
        let condition = self.condition();
        if self.dice.often(4) && !condition.contains('?') {
            let other = format!("{},2", self.dice.one(&DIALLED));
            let no = if self.dice.often(2) { "" } else { &other };
            let colon = if no.is_empty() { "" } else { ":" };
            self.line("GotoIf", &format!("{condition}?{place}{colon}{no}"));
        } else {
            self.line("Goto", &place);
        }
    }
}
