//! A run as Markdown.

use super::{Run, mib, shown};
use crate::engine::totals::Percentiles;
use crate::run::StepResult;
use std::fmt::Write as _;

/// Odd calls that are shown.
const ODD_SHOWN: usize = 20;

/// The whole report.
pub fn run(run: &Run) -> String {
    let mut text = String::new();
    let (begin, result) = (&run.begin, &run.result);
    let _ = writeln!(text, "# {}\n", begin.scenario.title);
    let verdict = if result.passed() { "passed" } else { "FAILED" };
    let _ = writeln!(text, "**{verdict}**\n");
    for fault in &result.faults {
        let _ = writeln!(text, "- fault: {fault}");
    }
    for doubt in &result.doubts {
        let _ = writeln!(text, "- doubt: {doubt}");
    }
    let machine = &begin.machine;
    let _ = writeln!(text, "\n| | |\n|---|---|");
    for (name, value) in [
        ("command", format!("`{}`", begin.command)),
        ("server", format!("{} {}", begin.server, begin.subject)),
        (
            "machine",
            format!(
                "{} cores of {}, {} MiB, Linux {}",
                machine.cores, machine.processor, machine.memory_mib, machine.kernel
            ),
        ),
        ("load generator", machine.generator.clone()),
        ("begun", format!("{} (seconds since 1970)", begin.at)),
    ] {
        let _ = writeln!(text, "| {name} | {} |", cell(&value));
    }
    text.push_str("\n## Steps\n\n");
    text.push_str(&steps(&result.steps));
    text.push_str("\n## In all\n\n");
    text.push_str(&counts(run));
    text.push_str("\n## Server\n\n");
    text.push_str(&server(run));
    if !result.outcome.odd_calls.is_empty() {
        text.push_str("\n## Calls that went otherwise\n\n");
        for odd in result.outcome.odd_calls.iter().take(ODD_SHOWN) {
            let _ = writeln!(
                text,
                "- call {} at {:.1} s: {}",
                odd.call, odd.t_s, odd.what
            );
        }
    }
    let scenario = toml::to_string(&begin.scenario).unwrap_or_default();
    let _ = writeln!(
        text,
        "\n## Scenario\n\n```toml\n{}\n```",
        scenario.trim_end()
    );
    text
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "/").replace(['\r', '\n'], " ")
}

/// The table of steps.
pub fn steps(steps: &[StepResult]) -> String {
    let mut text = String::from(
        "| step | steady s | calls up | answered/s | REGISTER/s | packets/s | CPU % of a core | of it user | delay p50 / p99 / p99.9 / max ms | set-up p50 / p99 ms | memory MiB | descriptors | switches/s | failed |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for step in steps {
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.0} | {:.1} | {:.0} | {:.0} | {} | {} | {} | {} | {} | {} | {} | {} |",
            step.step,
            step.seconds,
            step.calls,
            step.answered_per_second,
            step.requests_per_second,
            step.packets_per_second,
            shown(step.cpu_percent, ""),
            shown(step.cpu_user_percent, ""),
            four(&step.delay),
            two(&step.setup),
            shown(step.memory.map(mib), ""),
            step.descriptors.map_or("–".to_owned(), |n| n.to_string()),
            shown(step.switches_per_second, ""),
            step.failed,
        );
    }
    text
}

fn four(times: &Percentiles) -> String {
    if times.count == 0 {
        return "–".to_owned();
    }
    format!(
        "{:.2} / {:.2} / {:.2} / {:.1}",
        times.p50_ms, times.p99_ms, times.p999_ms, times.max_ms
    )
}

fn two(times: &Percentiles) -> String {
    if times.count == 0 {
        return "–".to_owned();
    }
    format!("{:.2} / {:.2}", times.p50_ms, times.p99_ms)
}

fn counts(run: &Run) -> String {
    let outcome = &run.result.outcome;
    let (totals, heard) = (&outcome.totals, &outcome.totals.heard);
    let mut text = String::from("| | |\n|---|---|\n");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "| {} | {} |", cell(name), cell(&value));
    };
    row(
        "begun / answered / completed / failed",
        format!(
            "{} / {} / {} / {}",
            totals.begun, totals.answered, totals.completed, totals.failed
        ),
    );
    for (reason, count) in &totals.reasons {
        row(&format!("failed: {reason}"), count.to_string());
    }
    row(
        "registered, REGISTER requests",
        format!("{}, {}", totals.registered, totals.register_requests),
    );
    row(
        "packets said / right / lost",
        format!("{} / {} / {}", totals.sent, heard.right, totals.lost),
    );
    row(
        "twice / out of order / changed / foreign",
        format!(
            "{} / {} / {} / {}",
            heard.duplicate, heard.disordered, heard.damaged, heard.foreign
        ),
    );
    row(
        "of another call / of an earlier call / after the end / from another address",
        format!(
            "{} / {} / {} / {}",
            heard.crossed, heard.stale, totals.after_end, totals.elsewhere
        ),
    );
    row(
        "legs that heard nothing / another call",
        format!("{} / {}", totals.deaf_legs, totals.crossed_legs),
    );
    row(
        "looks at tones / tone missing / wrong tone",
        format!(
            "{} / {} / {}",
            heard.looks, heard.looks_missing, heard.looks_crossed
        ),
    );
    row("delay p50 / p99 / p99.9 / max, ms", four(&outcome.delay));
    row("set-up p50 / p99 / p99.9 / max, ms", four(&outcome.setup));
    row(
        "largest jitter of a leg p50 / p99 / p99.9 / max, ms",
        four(&outcome.jitter),
    );
    row(
        "SIP messages sent / received / repeated / stray / unreadable",
        format!(
            "{} / {} / {} / {} / {}",
            totals.messages_sent,
            totals.messages_received,
            totals.repeated,
            totals.strays,
            totals.unreadable
        ),
    );
    row(
        "held back / not sent by the generator / its longest delay",
        format!(
            "{} / {} / {:.1} ms",
            totals.held_back, totals.send_errors, outcome.late_ms
        ),
    );
    text
}

fn server(run: &Run) -> String {
    let (Some(before), Some(after)) = (&run.result.process_before, &run.result.process_after)
    else {
        return "Its process was not looked at (`--pid`).\n".to_owned();
    };
    let mut text = String::from("| | before | after |\n|---|---|---|\n");
    for (name, before, after) in [
        ("CPU, s", before.cpu_s, after.cpu_s),
        ("of it in the kernel, s", before.system_s, after.system_s),
        ("memory, MiB", mib(before.memory), mib(after.memory)),
        (
            "memory at its most, MiB",
            mib(before.memory_peak),
            mib(after.memory_peak),
        ),
        (
            "descriptors",
            before.descriptors as f64,
            after.descriptors as f64,
        ),
        (
            "context switches",
            before.switches as f64,
            after.switches as f64,
        ),
        (
            "of them forced",
            before.switches_forced as f64,
            after.switches_forced as f64,
        ),
    ] {
        let _ = writeln!(
            text,
            "| {name} | {} | {} |",
            shown(Some(before), ""),
            shown(Some(after), "")
        );
    }
    if let Some(step) = super::busiest(&run.result.steps) {
        let _ = writeln!(
            text,
            "\nIts threads in step {}, in percent of a core:\n",
            step.step
        );
        for (name, cpu) in &step.cpu_threads {
            let _ = writeln!(text, "- {name}: {cpu:.1}");
        }
    }
    text
}
