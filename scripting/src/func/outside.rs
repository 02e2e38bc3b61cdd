//! Functions that wait for something outside of the call: commands, web servers, files, locks. They run where a row names
//! them; inside of a text that is computed (`EVAL`, the name of a variable) there is nobody who could wait.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_core::channel::{LOCKS_MAX, Locked};
use strowger_core::dialplan::LocalFuture;
use strowger_dialplan::{Vars, args};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};

use super::{Function, argument, file_write, text};
use crate::task::Task;

/// How long `LOCK` waits.
const LOCK_WAIT: Duration = Duration::from_secs(3);
/// Lines that `FILE_COUNT_LINE` counts, and bytes that it reads, at most.
const COUNTED_BYTES_MAX: u64 = 256 * 1024 * 1024;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::waiting(
        "SHELL",
        "SHELL(command)",
        "what a command writes",
        |task, args| Box::pin(shell(task, args)),
    ),
    Function::waiting(
        "STAT",
        "STAT(d|e|f|A|C|M|m|s,file)",
        "what a file is",
        |task, args| Box::pin(stat(task, args)),
    ),
    Function::waiting(
        "FILE",
        "FILE(file[,offset[,length[,l]]])",
        "a part of a file, in bytes or lines; written, what takes its place",
        |task, args| Box::pin(file(task, args)),
    )
    .later(|task, args, value| Box::pin(file_write::write(task, args, value))),
    Function::waiting(
        "FILE_COUNT_LINE",
        "FILE_COUNT_LINE(file)",
        "how many lines a file has",
        |task, args| Box::pin(count_lines(task, args)),
    ),
    Function::waiting(
        "LOCK",
        "LOCK(name)",
        "1 when the call has the lock, 0 if another keeps it for three seconds",
        |task, args| Box::pin(lock(task, args)),
    ),
    Function::read(
        "TRYLOCK",
        "TRYLOCK(name)",
        "1 when the call has the lock, 0 if another has it",
        |task, args| {
            let name = lock_name(args)?;
            Ok(bit(task
                .shared()
                .directory
                .lock(name, &task.channel.name())
                .is_held()))
        },
    )
    .reaching(),
    Function::read(
        "UNLOCK",
        "UNLOCK(name)",
        "1 if the call had the lock, which it no longer has",
        |task, args| {
            let name = lock_name(args)?;
            Ok(bit(task
                .shared()
                .directory
                .unlock(name, &task.channel.name())))
        },
    )
    .reaching(),
];

fn bit(value: bool) -> String {
    u8::from(value).to_string()
}

/// Work that nobody waits for is given up.
struct Work<R>(tokio::task::JoinHandle<R>);

impl<R> Drop for Work<R> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long a change is waited for.
const CHANGE_WAIT: Duration = Duration::from_secs(5);

/// Waits for work that changes something, whatever becomes of the call: what it did has to be known.
pub(super) async fn to_the_end<R: Send + 'static>(
    task: &Task,
    work: impl Future<Output = Result<R, String>> + Send + 'static,
) -> Result<R, String> {
    let work = task.shared().control.spawn(work);
    match tokio::time::timeout(CHANGE_WAIT, work).await {
        Ok(done) => done.unwrap_or_else(|error| Err(error.to_string())),
        Err(_) => Err(format!(
            "no answer within {} s; it may be done later",
            CHANGE_WAIT.as_secs()
        )),
    }
}

/// Waits for work of the control runtime, as long as the call lasts. A call that is over waits for all of it.
pub(super) async fn unless_over<R: Default + Send + 'static>(
    task: &Task,
    work: impl Future<Output = Result<R, String>> + Send + 'static,
) -> Result<R, String> {
    let mut work = Work(task.shared().control.spawn(work));
    let joined = |result: Result<Result<R, String>, tokio::task::JoinError>| {
        result.unwrap_or_else(|error| Err(error.to_string()))
    };
    if task.channel.is_over() {
        return joined((&mut work.0).await);
    }
    tokio::select! {
        biased;
        result = &mut work.0 => joined(result),
        () = over(task) => Ok(R::default()),
    }
}

async fn over(task: &Task) {
    while task.channel.wait_change(None).await.is_ok() {}
}

async fn shell(task: Rc<Task>, command: String) -> Result<String, String> {
    if command.trim().is_empty() {
        return Err("SHELL needs a command".to_owned());
    }
    let agi = Arc::clone(task.host.agi());
    unless_over(&task, async move {
        crate::agi::shell(&agi, &command, text::RESULT_BYTES_MAX).await
    })
    .await
}

/// The path of a file; relative ones are below the data directory.
pub(super) fn path(task: &Task, name: &str) -> Result<PathBuf, String> {
    let name = name.trim();
    if name.is_empty() {
        return Err("the name of a file is missing".to_owned());
    }
    if let Some(why) = crate::app::file_refused(task, name) {
        return Err(format!("\"{name}\" is not read: {why}"));
    }
    Ok(task.shared().paths().data.join(name))
}

async fn stat(task: Rc<Task>, args: String) -> Result<String, String> {
    let parts = args::split_at_most(&args, 2);
    let [flag, name] = parts.as_slice() else {
        return Err("STAT takes a letter and a file".to_owned());
    };
    let (flag, path) = (flag.trim().to_owned(), path(&task, name)?);
    unless_over(&task, async move {
        let Ok(found) = tokio::fs::metadata(&path).await else {
            return Ok("0".to_owned());
        };
        Ok(match flag.as_str() {
            "d" => bit(found.is_dir()),
            "e" => "1".to_owned(),
            "f" => bit(found.is_file()),
            "s" => found.len().to_string(),
            "m" => format!("{:o}", found.permissions().mode() & 0o7777),
            "A" => found.atime().to_string(),
            "C" => found.ctime().to_string(),
            "M" => found.mtime().to_string(),
            other => return Err(format!("STAT: \"{other}\": known are d e f s m A C M")),
        })
    })
    .await
}

async fn file(task: Rc<Task>, args: String) -> Result<String, String> {
    let path = path(&task, &argument(&args, 0))?;
    let number = |index| -> Result<Option<i64>, String> {
        match argument(&args, index).as_str() {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| format!("FILE: \"{text}\" is no number")),
        }
    };
    let (offset, length) = (number(1)?.unwrap_or(0), number(2)?);
    let lines = argument(&args, 3).contains('l');
    unless_over(&task, async move {
        let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut file = tokio::fs::File::open(&path).await.map_err(wrong)?;
        let found = file.metadata().await.map_err(wrong)?;
        if !found.is_file() {
            return Err(format!("{}: it is no file", path.display()));
        }
        if lines {
            return some_lines(BufReader::new(file), offset, length)
                .await
                .map_err(wrong);
        }
        let size = i64::try_from(found.len()).unwrap_or(i64::MAX);
        let (from, count) = part(size, offset, length);
        file.seek(std::io::SeekFrom::Start(from))
            .await
            .map_err(wrong)?;
        let mut bytes = Vec::new();
        file.take(count.min(text::RESULT_BYTES_MAX as u64))
            .read_to_end(&mut bytes)
            .await
            .map_err(wrong)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
    .await
}

/// Where to begin and how much to read; negative numbers count from the end.
pub(super) fn part(size: i64, offset: i64, length: Option<i64>) -> (u64, u64) {
    let from = if offset < 0 { size + offset } else { offset }.clamp(0, size);
    let to = match length {
        None => size,
        Some(length) if length < 0 => size.saturating_add(length),
        Some(length) => from.saturating_add(length),
    }
    .clamp(from, size);
    (from as u64, (to - from) as u64)
}

async fn some_lines(
    mut from: impl tokio::io::AsyncBufRead + Unpin,
    offset: i64,
    length: Option<i64>,
) -> std::io::Result<String> {
    let skip = u64::try_from(offset).unwrap_or(0);
    let most = match length {
        Some(length) => u64::try_from(length).unwrap_or(0),
        None => u64::MAX,
    };
    let mut out = String::new();
    let (mut line, mut number) = (Vec::new(), 0);
    while number < skip.saturating_add(most) && out.len() < text::RESULT_BYTES_MAX {
        line.clear();
        let mut one = (&mut from).take(text::RESULT_BYTES_MAX as u64);
        if one.read_until(b'\n', &mut line).await? == 0 {
            break;
        }
        if number >= skip {
            out.push_str(&String::from_utf8_lossy(&line));
        }
        number += 1;
    }
    Ok(out)
}

async fn count_lines(task: Rc<Task>, args: String) -> Result<String, String> {
    let path = path(&task, &argument(&args, 0))?;
    unless_over(&task, async move {
        let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
        let found = tokio::fs::metadata(&path).await.map_err(wrong)?;
        if !found.is_file() {
            return Err(format!("{}: it is no file", path.display()));
        }
        let mut file = tokio::fs::File::open(&path)
            .await
            .map_err(wrong)?
            .take(COUNTED_BYTES_MAX);
        let (mut buffer, mut lines) = (vec![0; 64 * 1024], 0_u64);
        loop {
            let read = file.read(&mut buffer).await.map_err(wrong)?;
            if read == 0 {
                return Ok(lines.to_string());
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    })
    .await
}

fn lock_name(args: &str) -> Result<&str, String> {
    match args.trim() {
        "" => Err("a lock needs a name".to_owned()),
        name => Ok(name),
    }
}

async fn lock(task: Rc<Task>, args: String) -> Result<String, String> {
    let name = lock_name(&args)?;
    let until = Instant::now() + LOCK_WAIT;
    let shared = Arc::clone(task.shared());
    loop {
        // Listening comes first, so that no release between is missed.
        let freed = shared.directory.lock_freed();
        let mut freed = std::pin::pin!(freed);
        freed.as_mut().enable();
        match shared.directory.lock(name, &task.channel.name()) {
            Locked::Now | Locked::Before => return Ok("1".to_owned()),
            Locked::Elsewhere => {}
            Locked::Refused if task.channel.is_over() => return Ok("0".to_owned()),
            Locked::Refused => {
                return Err(format!(
                    "LOCK({name}): a channel has at most {LOCKS_MAX} locks"
                ));
            }
        }
        tokio::select! {
            biased;
            () = over(&task), if !task.channel.is_over() => return Ok("0".to_owned()),
            () = freed => {}
            () = tokio::time::sleep_until(until.into()) => {
                task.warn(&format!("LOCK({name}): another call has kept it for {} s", LOCK_WAIT.as_secs()));
                return Ok("0".to_owned());
            }
        }
    }
}

/// What a waiting function gives.
pub(crate) type Waited = LocalFuture<Result<String, String>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_files_are_counted_from_both_ends() {
        for (size, offset, length, wanted) in [
            (10, 0, None, (0, 10)),
            (10, 3, Some(4), (3, 4)),
            (10, -3, None, (7, 3)),
            (10, 2, Some(-2), (2, 6)),
            (10, 20, Some(5), (10, 0)),
            (10, -20, Some(5), (0, 5)),
            (0, 0, Some(5), (0, 0)),
            (10, i64::MAX, Some(i64::MAX), (10, 0)),
        ] {
            assert_eq!(
                part(size, offset, length),
                wanted,
                "{size} {offset} {length:?}"
            );
        }
    }
}
