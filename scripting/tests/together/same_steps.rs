//! Random dialplans go the same way through the exchange, its steps run at once or each through the machine, and through a
//! second, simple reading of the rows. `STROWGER_SEED` repeats a run.

use crate::exchange::Exchange;
use crate::rows::write::{Dice, ENTRY, Writer};
use crate::rows::{Line, Program, Run};

/// Programs of a run.
const PROGRAMS: usize = 150;

fn static_lines(program: &Program) -> Vec<(String, String, String)> {
    let mut lines: Vec<(String, String, String)> = Vec::new();
    let mut before: Option<&Line> = None;
    for line in &program.fixed {
        let label = line
            .label
            .as_ref()
            .map(|label| format!("({label})"))
            .unwrap_or_default();
        let same = before
            .is_some_and(|before| before.context == line.context && before.exten == line.exten);
        // The first is numbered, those after it are `n` with `same` or with the name again.
        let (name, start) = match (same, line.priority % 2 == 0) {
            (false, _) => ("exten", format!("{},{}", line.exten, line.priority)),
            (true, true) => ("same", "n".to_owned()),
            (true, false) => ("exten", format!("{},n", line.exten)),
        };
        let value = format!("{start}{label},{}({})", line.app, line.data);
        lines.push((line.context.clone(), name.to_owned(), value));
        before = Some(line);
    }
    for (context, included) in &program.includes {
        lines.push((context.clone(), "include".to_owned(), included.clone()));
    }
    for (context, rows) in &program.switches {
        let value = format!("Realtime/{rows}@extensions");
        lines.push((context.clone(), "switch".to_owned(), value));
    }
    lines
}

#[test]
fn random_dialplans_take_the_same_steps_as_their_rows_say() {
    let seed = std::env::var("STROWGER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        });
    println!("STROWGER_SEED={seed}");
    let mut dice = Dice(seed);
    let mut programs = Vec::new();
    while programs.len() < PROGRAMS {
        let name = format!("p{}", programs.len());
        let program = Writer::write(dice.below(usize::MAX) as u64, &name);
        // Those that never end are not called.
        if let Some(variables) = Run::of(&program, &name, ENTRY) {
            programs.push((name, program, variables));
        }
    }
    let mut rows: Vec<(String, String, String)> = Vec::new();
    let mut statics = Vec::new();
    for (name, program, _) in &programs {
        rows.push((name.clone(), "Goto".to_owned(), format!("{name},{ENTRY},1")));
        for line in &program.realtime {
            let place = format!("{}@{}", line.exten, line.context);
            rows.push((place, line.app.clone(), line.data.clone()));
        }
        statics.extend(static_lines(program));
    }
    let rows: Vec<(&str, &str, &str)> = rows
        .iter()
        .map(|(place, app, data)| (&**place, &**app, &**data))
        .collect();
    let statics: Vec<(&str, &str, &str)> = statics
        .iter()
        .map(|(section, name, value)| (&**section, &**name, &**value))
        .collect();
    let mut steps = 0;
    for all_in_machine in [false, true] {
        let exchange = Exchange::start_in_machine(&rows, &statics, all_in_machine);
        for (name, program, variables) in &programs {
            exchange.call_once(name, "");
            let wanted = variables
                .get(&format!("GLOBAL({name})"))
                .map(String::as_str)
                .unwrap_or_default();
            steps += wanted.matches('.').count();
            crate::exchange::wait_until("h has run", || !exchange.global(name).is_empty());
            assert_eq!(
                exchange.global(name),
                wanted,
                "seed {seed}, program {name}, through the machine: {all_in_machine}\n{}",
                listing(program)
            );
        }
    }
    assert!(
        steps > PROGRAMS * 4,
        "the programs do next to nothing: {steps}"
    );
}

fn listing(program: &Program) -> String {
    let list = program.fixed.iter().chain(&program.realtime);
    list.map(|line| {
        format!(
            "{} {},{}({}),{}({})\n",
            line.context,
            line.exten,
            line.priority,
            line.label.as_deref().unwrap_or_default(),
            line.app,
            line.data
        )
    })
    .collect()
}
