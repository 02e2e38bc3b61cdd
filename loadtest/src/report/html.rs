//! Runs as one HTML file: the numbers of the Markdown report, and plots over time and over load. Nothing is loaded from
//! anywhere.

use super::plot::{Series, escape, lines};
use super::{Run, markdown, mib};
use std::fmt::Write as _;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;color:#222;background:#fff}\
table{border-collapse:collapse;margin:.6em 0;font-size:13px}td,th{border:1px solid #ccc;padding:.2em .55em;text-align:left}\
th{background:#f3f3f3}code,pre{font:12px/1.4 ui-monospace,monospace;background:#f5f5f5}pre{padding:.8em;overflow:auto}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(460px,1fr));gap:1em}svg{width:100%;height:auto;border:1px solid #ddd}\
svg text{font:11px system-ui,sans-serif;fill:#444}svg .t{font-weight:600;fill:#111}svg .y{text-anchor:end}svg .x{text-anchor:middle}\
svg .l{text-anchor:end;fill:inherit}svg .g{stroke:#e5e5e5}.good{color:#006837}.bad{color:#b30000}.scroll{overflow-x:auto}";

/// The page of all these runs.
pub fn page(runs: &[Run]) -> String {
    let title = match runs {
        [run] => run.begin.scenario.title.clone(),
        _ => "Load tests".to_owned(),
    };
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style></head><body>",
        escape(&title)
    );
    if runs.len() > 1 {
        let _ = write!(page, "<h1>{}</h1><ul>", escape(&title));
        for (run, n) in runs.iter().zip(0..) {
            let _ = write!(
                page,
                "<li><a href=\"#run{n}\">{}</a> {}</li>",
                escape(&run.begin.scenario.title),
                verdict(run)
            );
        }
        page.push_str("</ul>");
    }
    for (run, n) in runs.iter().zip(0..) {
        let _ = write!(page, "<section id=\"run{n}\">");
        section(&mut page, run);
        page.push_str("</section>");
    }
    page.push_str("</body></html>\n");
    page
}

fn verdict(run: &Run) -> &'static str {
    if run.result.passed() {
        "<strong class=\"good\">passed</strong>"
    } else {
        "<strong class=\"bad\">failed</strong>"
    }
}

fn section(page: &mut String, run: &Run) {
    let text = markdown::run(run);
    let (head, rest) = text.split_once("\n## Steps").unwrap_or((&text, ""));
    from_markdown(page, head);
    page.push_str("<div class=\"plots\">");
    for plot in plots(run) {
        page.push_str(&plot);
    }
    page.push_str("</div>");
    from_markdown(page, &format!("## Steps{rest}"));
}

fn plots(run: &Run) -> Vec<String> {
    let seconds = &run.seconds;
    let over_time = |name: &str, value: fn(&crate::run::Second) -> f64| {
        Series::new(name, seconds.iter().map(|s| (s.generator.t_s, value(s))))
    };
    let pairs = || seconds.iter().zip(seconds.iter().skip(1));
    let rate = |name: &str, value: fn(&crate::run::Second) -> f64| {
        Series::new(
            name,
            pairs().map(|(a, b)| {
                let span = (b.generator.t_s - a.generator.t_s).max(1e-3);
                (b.generator.t_s, (value(b) - value(a)) / span)
            }),
        )
    };
    let cpu = |s: &crate::run::Second| s.process.as_ref().map_or(f64::NAN, |p| 100.0 * p.cpu_s);
    let steps: Vec<_> = run
        .result
        .steps
        .iter()
        .filter(|step| step.seconds > 0.0)
        .collect();
    let over_load = |name: &str, value: fn(&crate::run::StepResult) -> f64| {
        let mut points: Vec<(f64, f64)> =
            steps.iter().map(|step| (step.calls, value(step))).collect();
        points.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        Series::new(name, points)
    };
    let time = "time, s";
    let load = "calls up";
    vec![
        lines(
            "Calls",
            time,
            "calls",
            &[
                over_time("up", |s| f64::from(s.generator.up)),
                over_time("begun, not over", |s| f64::from(s.generator.active)),
            ],
        ),
        lines(
            "Set-ups",
            time,
            "a second",
            &[
                rate("begun", |s| s.generator.totals.begun as f64),
                rate("answered", |s| s.generator.totals.answered as f64),
                rate("failed", |s| s.generator.totals.failed as f64),
            ],
        ),
        lines(
            "CPU of the server",
            time,
            "% of a core",
            &[rate("all threads", cpu)],
        ),
        lines(
            "Memory of the server",
            time,
            "MiB",
            &[over_time("resident", |s| {
                s.process.as_ref().map_or(f64::NAN, |p| mib(p.memory))
            })],
        ),
        lines(
            "Delay of packets",
            time,
            "ms",
            &[
                over_time("p50", |s| s.generator.delay.p50_ms),
                over_time("p99", |s| s.generator.delay.p99_ms),
                over_time("p99.9", |s| s.generator.delay.p999_ms),
            ],
        ),
        lines(
            "Time to the answer",
            time,
            "ms",
            &[
                over_time("p50", |s| s.generator.setup.p50_ms),
                over_time("p99", |s| s.generator.setup.p99_ms),
            ],
        ),
        lines(
            "Packets",
            time,
            "a second",
            &[
                rate("sent", |s| s.generator.totals.sent as f64),
                rate("heard", |s| s.generator.totals.heard.packets as f64),
            ],
        ),
        lines(
            "Lateness of the generator",
            time,
            "ms",
            &[over_time("longest", |s| s.generator.late_ms)],
        ),
        lines(
            "CPU against load",
            load,
            "% of a core",
            &[over_load("server", |s| s.cpu_percent.unwrap_or(f64::NAN))],
        ),
        lines(
            "CPU for each call",
            load,
            "% of a core",
            &[over_load("server", |s| {
                s.cpu_percent.map_or(f64::NAN, |cpu| cpu / s.calls.max(1.0))
            })],
        ),
        lines(
            "Delay against load",
            load,
            "ms",
            &[
                over_load("p50", |s| s.delay.p50_ms),
                over_load("p99", |s| s.delay.p99_ms),
                over_load("p99.9", |s| s.delay.p999_ms),
            ],
        ),
        lines(
            "Memory against load",
            load,
            "MiB",
            &[over_load("server", |s| s.memory.map_or(f64::NAN, mib))],
        ),
    ]
}

/// The Markdown that our reports are made of: headings, tables, lists, fenced code, `code` and **strong**.
fn from_markdown(page: &mut String, text: &str) {
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("## ") {
            let _ = write!(page, "<h2>{}</h2>", inline(rest));
        } else if let Some(rest) = line.strip_prefix("# ") {
            let _ = write!(page, "<h1>{}</h1>", inline(rest));
        } else if line.starts_with("```") {
            page.push_str("<pre>");
            for code in lines.by_ref().take_while(|code| !code.starts_with("```")) {
                let _ = writeln!(page, "{}", escape(code));
            }
            page.push_str("</pre>");
        } else if line.starts_with("- ") {
            page.push_str("<ul>");
            let mut item = Some(line);
            while let Some(text) = item.and_then(|item| item.strip_prefix("- ")) {
                let _ = write!(page, "<li>{}</li>", inline(text));
                item = lines.next_if(|next| next.starts_with("- "));
            }
            page.push_str("</ul>");
        } else if line.starts_with('|') {
            page.push_str("<div class=\"scroll\"><table>");
            row(page, line, "th");
            while let Some(next) = lines.next_if(|next| next.starts_with('|')) {
                if !next.starts_with("|---") {
                    row(page, next, "td");
                }
            }
            page.push_str("</table></div>");
        } else if !line.is_empty() {
            let class = match line {
                "**passed**" => " class=\"good\"",
                "**FAILED**" => " class=\"bad\"",
                _ => "",
            };
            let _ = write!(page, "<p{class}>{}</p>", inline(line));
        }
    }
}

fn row(page: &mut String, line: &str, tag: &str) {
    let cells: Vec<&str> = line
        .trim()
        .trim_matches('|')
        .split('|')
        .map(str::trim)
        .collect();
    // A table without headings.
    if tag == "th" && cells.iter().all(|cell| cell.is_empty()) {
        return;
    }
    page.push_str("<tr>");
    for cell in cells {
        let _ = write!(page, "<{tag}>{}</{tag}>", inline(cell));
    }
    page.push_str("</tr>");
}

fn inline(text: &str) -> String {
    let mut html = String::new();
    for (part, n) in text.split('`').zip(0..) {
        if n % 2 == 1 {
            let _ = write!(html, "<code>{}</code>", escape(part));
            continue;
        }
        for (part, n) in part.split("**").zip(0..) {
            let text = escape(part);
            if n % 2 == 1 {
                let _ = write!(html, "<strong>{text}</strong>");
            } else {
                html.push_str(&text);
            }
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_markdown_becomes_html_and_nothing_else_does() {
        let mut page = String::new();
        from_markdown(
            &mut page,
            "# A <b>\n\n**FAILED**\n\n- one\n- `two|three`\n\n| | |\n|---|---|\n| x | y |\n\n```\n<c>\n```\n",
        );
        assert_eq!(
            page,
            "<h1>A &lt;b&gt;</h1><p class=\"bad\"><strong>FAILED</strong></p><ul><li>one</li><li><code>two|three</code></li></ul>\
             <div class=\"scroll\"><table><tr><td>x</td><td>y</td></tr></table></div><pre>&lt;c&gt;\n</pre>"
        );
    }
}
