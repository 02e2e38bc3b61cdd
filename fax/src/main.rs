//! `strowger-fax`: a fax machine. What the far end says comes in by standard input, what it is to hear goes out by standard output
//! (signed 16 bit, little-endian, 8000 samples a second, as much out as in), and what came of it is told on standard error.
//!
//! It is a program of its own because modems and pictures are C code that strangers talk to. No call, no SIP and no
//! settings of the exchange are known here.

mod document;
mod machine;

use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::Context;

use document::Nameless;
use machine::{Direction, FRAME, Job, Machine, Progress, Report};

/// Frames of silence behind the end, so that what was said last is heard and who said good-bye is through before the call
/// ends: 1.2 s.
const TAIL: usize = 60;

/// How far it is, is told so often at most, in frames: a second.
const TOLD_EVERY: usize = 50;

const USAGE: &str = "usage: strowger-fax send|receive FILE.tiff [file=MORE.tiff ...] [ecm=0|1] [modems=v17,v29,v27]";

fn job(arguments: &[String]) -> Option<Job> {
    let [direction, file, rest @ ..] = arguments else {
        return None;
    };
    let direction = match direction.as_str() {
        "send" => Direction::Send,
        "receive" => Direction::Receive,
        _ => return None,
    };
    let mut job = Job::new(direction, file);
    for option in rest {
        match option.split_once('=')? {
            ("ecm", "0") => job.ecm = false,
            ("ecm", "1") => job.ecm = true,
            ("file", more) if direction == Direction::Send => job.more.push(more.to_owned()),
            ("modems", list) => job.modems = list.split(',').map(str::to_owned).collect(),
            _ => return None,
        }
    }
    Some(job)
}

/// Talks until the fax is through, or nothing comes in any more.
fn talk(machine: &Machine, mut input: impl Read, mut output: impl Write) {
    let mut bytes = [0; 2 * FRAME];
    let (mut tail, mut frames, mut told) = (0, 0_usize, Progress::default());
    while tail < TAIL && input.read_exact(&mut bytes).is_ok() {
        let mut heard = [0; FRAME];
        for (sample, pair) in heard.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *sample = i16::from_le_bytes(*pair);
        }
        let said = machine.turn(&mut heard);
        let said: Vec<u8> = said
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        if output
            .write_all(&said)
            .and_then(|()| output.flush())
            .is_err()
        {
            return;
        }
        if machine.is_done() {
            tail += 1;
        }
        frames += 1;
        if frames.is_multiple_of(TOLD_EVERY) {
            let progress = machine.progress();
            if progress != told {
                told = progress;
                tell_progress(&told);
            }
        }
    }
}

fn tell_progress(progress: &Progress) {
    let (x, y) = progress.resolution;
    let numbers = [
        progress.pages,
        progress.rate,
        x,
        y,
        i32::from(progress.ecm),
        progress.bad_rows,
    ];
    // Nobody may listen any more.
    let _ = writeln!(
        std::io::stderr(),
        "now={}",
        numbers.map(|n| n.to_string()).join(",")
    );
}

fn tell(report: &Report) {
    // Nobody may listen any more.
    let _ = writeln!(
        std::io::stderr(),
        "code={}\ntext={}\npages={}\nrate={}\nx={}\ny={}\necm={}",
        report.code,
        report.text,
        report.pages,
        report.rate,
        report.resolution.0,
        report.resolution.1,
        u8::from(report.ecm)
    );
}

/// What is sent, as one file that lasts as long as this value, and its path in the place of theirs.
fn gather(job: &mut Job) -> anyhow::Result<Option<Nameless>> {
    if job.direction == Direction::Receive {
        return Ok(None);
    }
    if job.more.is_empty() {
        document::check(&job.file)?;
        return Ok(None);
    }
    let files: Vec<String> = std::iter::once(job.file.clone())
        .chain(job.more.drain(..))
        .collect();
    let file = Nameless::new(&document::join(&files)?).context("a temporary file")?;
    job.file = file.path();
    Ok(Some(file))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(mut job) = job(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let _gathered = match gather(&mut job) {
        Ok(gathered) => gathered,
        Err(error) => {
            let line = format!("{error:#}").replace('\n', " ");
            eprintln!("code=-1\nfault=file\ntext={line}");
            return ExitCode::FAILURE;
        }
    };
    let machine = match Machine::new(&job) {
        Ok(machine) => machine,
        Err(error) => {
            eprintln!("code=-1\ntext={error:#}");
            return ExitCode::FAILURE;
        }
    };
    talk(&machine, std::io::stdin().lock(), std::io::stdout().lock());
    let report = machine.finish();
    tell(&report);
    if report.code == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn jobs_are_read_from_arguments() {
        let plain = job(&words("send a.tif")).expect("a job");
        assert_eq!(plain, Job::new(Direction::Send, "a.tif"));
        let given = job(&words("receive b.tif ecm=0 modems=v27,v29")).expect("a job");
        assert!(!given.ecm);
        assert_eq!(given.modems, ["v27", "v29"]);
        let several = job(&words("send a.tif file=b=c.tif file=d.tif")).expect("a job");
        assert_eq!(several.more, ["b=c.tif", "d.tif"]);
        for wrong in [
            "",
            "send",
            "read a.tif",
            "send a.tif ecm",
            "send a.tif ecm=2",
            "send a.tif x=1",
            "receive a.tif file=b.tif",
        ] {
            assert!(job(&words(wrong)).is_none(), "{wrong}");
        }
    }
}
