//! The Lua source of a context, read back by a small interpreter of the few forms it may contain.

use proptest::prelude::*;
use strowger_dialplan::{Template, Vars, expr, lua, subst};

use crate::support::{Channel, plan};
use crate::templates::{any_channel, any_template};

/// Reads the Lua expressions that the generator writes.
struct Reader<'s, 'c> {
    source: &'s [u8],
    at: usize,
    channel: &'c Channel,
}

impl<'s, 'c> Reader<'s, 'c> {
    fn new(source: &'s str, channel: &'c Channel) -> Self {
        Self {
            source: source.as_bytes(),
            at: 0,
            channel,
        }
    }

    fn space(&mut self) {
        while self.source.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
    }

    fn accept(&mut self, token: &str) -> bool {
        self.space();
        let found = self.source[self.at..].starts_with(token.as_bytes());
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) {
        assert!(
            self.accept(token),
            "{token} expected at {}",
            String::from_utf8_lossy(&self.source[self.at..])
        );
    }

    /// A string in double quotes by the rules of Luau, as bytes.
    fn string(&mut self) -> String {
        self.expect("\"");
        let mut bytes = Vec::new();
        loop {
            let byte = self.source[self.at];
            self.at += 1;
            match byte {
                b'"' => break,
                b'\n' | b'\r' => panic!("a bare line end in a string"),
                b'\\' => {
                    let escape = self.source[self.at];
                    self.at += 1;
                    match escape {
                        b'n' => bytes.push(b'\n'),
                        b'r' => bytes.push(b'\r'),
                        b't' => bytes.push(b'\t'),
                        b'"' | b'\\' => bytes.push(escape),
                        b'0'..=b'9' => {
                            let digits =
                                std::str::from_utf8(&self.source[self.at - 1..self.at + 2])
                                    .unwrap();
                            bytes.push(digits.parse().expect("three digits"));
                            self.at += 2;
                        }
                        other => panic!("escape \\{}", char::from(other)),
                    }
                }
                other => bytes.push(other),
            }
        }
        String::from_utf8(bytes).expect("UTF-8")
    }

    fn number(&mut self) -> Option<i64> {
        if self.accept("nil") {
            return None;
        }
        self.space();
        let start = self.at;
        while self
            .source
            .get(self.at)
            .is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-')
        {
            self.at += 1;
        }
        Some(
            std::str::from_utf8(&self.source[start..self.at])
                .unwrap()
                .parse()
                .expect("a number"),
        )
    }

    fn operand(&mut self) -> String {
        self.space();
        if self.source[self.at] == b'"' {
            return self.string();
        }
        let value = if self.accept("rt.v(ch,") {
            let name = self.string();
            self.channel.get(&name).unwrap_or_default()
        } else if self.accept("rt.f(ch,") {
            let name = self.string();
            self.expect(",");
            let arguments = self.concatenation();
            self.channel.call(&name, &arguments).unwrap_or_default()
        } else if self.accept("rt.sub(") {
            let text = self.concatenation();
            self.expect(",");
            let offset = self.number().expect("an offset");
            self.expect(",");
            let length = self.number();
            subst::substring(&text, offset, length).to_owned()
        } else if self.accept("rt.ref(ch,") {
            let inside = self.concatenation();
            subst::resolve(&inside, self.channel)
        } else if self.accept("rt.expr(") {
            let text = self.concatenation();
            self.expect(",");
            self.expect("ch");
            expr::evaluate(&text, self.channel)
        } else {
            self.expect("table.concat({");
            let mut value = self.concatenation();
            while self.accept(",") {
                value.push_str(&self.concatenation());
            }
            self.expect("}");
            value
        };
        self.expect(")");
        value
    }

    fn concatenation(&mut self) -> String {
        let mut value = self.operand();
        while self.accept("..") {
            value.push_str(&self.operand());
        }
        value
    }

    fn end(&mut self) {
        self.space();
        assert_eq!(
            self.at,
            self.source.len(),
            "{}",
            String::from_utf8_lossy(&self.source[self.at..])
        );
    }
}

fn evaluated(source: &str, channel: &Channel) -> String {
    let mut reader = Reader::new(source, channel);
    let value = reader.concatenation();
    reader.end();
    value
}

#[test]
fn a_context_reads_as_a_person_would_write_it() {
    let plan = plan(
        &[
            ("internal", "_1XX", 1, "noop", "Вызов на ${EXTEN}"),
            (
                "internal",
                "_1XX",
                2,
                "Dial",
                "PJSIP/user-${EXTEN:1}-office,$[10 + 5],tT",
            ),
            ("internal", "_1XX", 3, "Set", "A=1,2"),
            ("internal", "_1XX", 4, "Playback", "beep,noanswer"),
            (
                "internal",
                "_1XX",
                5,
                "GotoIf",
                "$[\"${LEN(${X${EXTEN}})}\" > 1]?6:7",
            ),
            ("internal", "_1XX", 6, "Hangup", ""),
            ("internal", "_1XX", 7, "AGI", ""),
        ],
        &[],
    );
    let expected = r#"-- context internal
local rt = ...
local steps = {}
do (function()

-- extension _1XX
-- realtime row 1: 1,NoOp(Вызов на ${EXTEN})
steps[1] = function(ch)
  return rt.run(ch, "NoOp", "Вызов на " .. rt.v(ch, "EXTEN"), nil)
end
-- realtime row 2: 2,Dial(PJSIP/user-${EXTEN:1}-office,$[10 + 5],tT)
steps[2] = function(ch)
  return rt.run(ch, "Dial", "PJSIP/user-" .. rt.sub(rt.v(ch, "EXTEN"), 1, nil) .. "-office,15,tT", nil)
end
-- realtime row 3: 3,Set(A=1,2)
steps[3] = function(ch)
  return rt.run(ch, "Set", "A=1,2", nil)
end
-- realtime row 4: 4,Playback(beep,noanswer)
steps[4] = function(ch)
  return rt.run(ch, "Playback", "beep,noanswer", { "beep", "noanswer" })
end
-- realtime row 5: 5,GotoIf($["${LEN(${X${EXTEN}})}" > 1]?6:7)
steps[5] = function(ch)
  return rt.run(ch, "GotoIf", rt.expr("\"" .. rt.f(ch, "LEN", rt.ref(ch, "X" .. rt.v(ch, "EXTEN"))) .. "\" > 1", ch) .. "?6:7", nil)
end
-- realtime row 6: 6,Hangup()
steps[6] = function(ch)
  return rt.run(ch, "Hangup", "", nil)
end
-- realtime row 7: 7,AGI()
steps[7] = function(ch)
  return rt.run(ch, "AGI", "", {})
end
end)() end
return steps
"#;
    assert_eq!(plan.context("internal").unwrap().lua, expected);
}

#[test]
fn a_row_cannot_break_out_of_its_comment_or_string() {
    let evil = "x\nos.exit()\r\n--]] \"); os.exit() --[==[ \0 \u{2028} ${A\nB} ]]";
    let plan = plan(
        &[
            ("bad\ncontext", "s\n1", 1, "No\nSuch", evil),
            ("bad\ncontext", "[[", 1, "NoOp", "[[ a"),
        ],
        &[],
    );
    let source = &plan.context("bad\ncontext").unwrap().lua;
    for line in source.lines() {
        let known = [
            "-- ",
            "local ",
            "do (function()",
            "end",
            "steps[",
            "  return rt.run(ch, \"",
            "return steps",
        ];
        assert!(
            line.is_empty() || known.iter().any(|start| line.starts_with(start)),
            "{line:?}"
        );
        assert!(!line.starts_with("--["), "{line:?}");
        assert!(!line.contains(['\r', '\0']), "{line:?}");
        assert!(
            !line.starts_with("--") || !line.contains('\u{2028}'),
            "{line:?}"
        );
    }
    assert_eq!(
        source
            .lines()
            .filter(|line| line.starts_with("  return"))
            .count(),
        2
    );
}

#[test]
fn many_operands_are_concatenated_by_a_table() {
    let text = "${A}-".repeat(100);
    let source = lua::text(&Template::parse(&text));
    assert!(source.starts_with("table.concat("));
    assert_eq!(evaluated(&source, &any_channel()), "1-".repeat(100));
}

#[test]
fn large_contexts_are_cut_into_blocks() {
    let names: Vec<String> = (0..2500).map(|number| number.to_string()).collect();
    let rows: Vec<_> = names
        .iter()
        .map(|name| ("big", name.as_str(), 1, "NoOp", ""))
        .collect();
    let plan = plan(&rows, &[]);
    let context = plan.context("big").unwrap();
    assert_eq!(context.lua.matches("do (function()").count(), 3);
    assert!(context.lua.contains("steps[2500] = function(ch)"));
}

proptest! {
    #[test]
    fn any_text_survives_quoting(text in "(?s).{0,40}|[\\x00-\\x7f]{0,40}") {
        let quoted = lua::quote(&text);
        prop_assert!(!quoted.contains(['\n', '\r', '\0']));
        let channel = Channel::default();
        let mut reader = Reader::new(&quoted, &channel);
        prop_assert_eq!(reader.string(), text);
        reader.end();
    }

    #[test]
    fn comments_stay_on_their_line(text in "(?s).{0,600}") {
        prop_assert!(!lua::comment(&text).contains(|char: char| char.is_control()));
    }

    #[test]
    fn generated_source_means_what_the_template_means(text in any_template()) {
        let channel = any_channel();
        let template = Template::parse(&text);
        prop_assert_eq!(evaluated(&lua::text(&template), &channel), template.evaluate(&channel), "{}", text);
        prop_assert_eq!(evaluated(&lua::text(&template.folded()), &channel), template.evaluate(&channel), "{}", text);
    }
}
