//! What is to be made of recordings, on disk: one small file for each, so that a new start finds what a crash left over.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::jobs::Plan;

const ENDING: &str = "job";
const HEAD: &[u8] = b"mp3 1";

/// The folder of the jobs.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    folder: PathBuf,
}

impl Journal {
    /// Makes the folder if needed.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        crate::shared::create_private(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Writes a job down. It survives the death of the process at once, and that of the machine when the kernel has written
    /// it: a job that is lost leaves the recording as it was.
    pub(super) fn write(&self, number: u64, plan: &Plan) -> io::Result<()> {
        let mut lines = vec![HEAD, plan.output.as_os_str().as_bytes()];
        let count = plan.inputs.len().to_string();
        lines.push(count.as_bytes());
        for path in plan.inputs.iter().chain(&plan.remove) {
            lines.push(path.as_os_str().as_bytes());
        }
        let temporary = self.folder.join(format!("{number}.new"));
        fs::write(&temporary, lines.join(&b'\n'))?;
        fs::rename(temporary, self.path(number))
    }

    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        match fs::remove_file(self.path(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// All jobs that were left over, oldest first. What cannot be read is left where it is, and told.
    pub(super) fn left_over(&self) -> io::Result<Vec<(u64, Plan)>> {
        let mut jobs = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != ENDING) {
                continue;
            }
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            match (number, fs::read(&path).ok().and_then(|bytes| parse(&bytes))) {
                (Some(number), Some(plan)) => jobs.push((number, plan)),
                _ => tracing::warn!(file = %path.display(), "this is no job for a recording"),
            }
        }
        jobs.sort_by_key(|(number, _)| *number);
        Ok(jobs)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number}.{ENDING}"))
    }
}

fn parse(bytes: &[u8]) -> Option<Plan> {
    let mut lines = bytes.split(|&b| b == b'\n');
    let path = |line: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(line.to_vec()));
    if lines.next()? != HEAD {
        return None;
    }
    let output = path(lines.next()?);
    let count: usize = std::str::from_utf8(lines.next()?).ok()?.parse().ok()?;
    let mut inputs: Vec<PathBuf> = lines.map(path).collect();
    if count == 0 || inputs.len() < count {
        return None;
    }
    let remove = inputs.split_off(count);
    Some(Plan {
        inputs,
        remove,
        output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_found_again_until_they_are_done() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("jobs")).unwrap();
        let plan = |name: &str| Plan {
            inputs: vec![format!("/m/{name} r.wav").into(), "/m/t.wav".into()],
            remove: vec!["/m/mix.wav".into()],
            output: format!("/m/{name}.mp3").into(),
        };
        journal.write(2, &plan("b")).unwrap();
        journal.write(10, &plan("c")).unwrap();
        journal.write(1, &plan("a")).unwrap();
        journal.remove(10).unwrap();
        journal.remove(10).unwrap();
        fs::write(folder.path().join("jobs/7.job"), b"something else").unwrap();
        fs::write(folder.path().join("jobs/8.new"), b"mp3 1\nx").unwrap();
        assert_eq!(
            journal.left_over().unwrap(),
            [(1, plan("a")), (2, plan("b"))]
        );
    }
}
