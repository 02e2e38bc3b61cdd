//! The dialplan in Lua, which is a file and stays one: copied to the folder that the exchange reads, unless another hand wrote
//! the one that is there. Reads no Lua.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use super::apply::{Record, Work};
use super::report::Verdict;
use super::stand::fingerprint;
use super::{ImportOptions, SCRIPT};
use crate::error::StoreError;

/// # Errors
/// The file cannot be read or written, or the database does not answer.
pub(crate) async fn copy(
    work: &mut Work<'_>,
    script: &[u8],
    options: &ImportOptions,
) -> Result<(), StoreError> {
    let target = options.scripts.join(SCRIPT);
    let shown = target.display().to_string();
    let now = match std::fs::read(&target) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(StoreError::file(shown)(error)),
    };
    let of = |bytes: &[u8]| fingerprint(&String::from_utf8_lossy(bytes));
    let place = ("(file)".to_owned(), SCRIPT.to_owned());
    let record = work.remembered(&place).await?;
    let wanted = Record {
        source: work.source(SCRIPT),
        columns: BTreeSet::new(),
        fingerprint: of(script),
    };
    let ours = match (&record, &now) {
        (Some(record), Some(now)) => of(now) == record.fingerprint,
        _ => false,
    };
    let what = match &now {
        Some(now) if now == script => "as it was",
        Some(_) if !ours && !options.replace => {
            let what = format!(
                "{shown} is another, and was not imported so: left as it is; `--replace` takes this one"
            );
            work.findings.decide(&super::place(SCRIPT), what);
            return Ok(());
        }
        Some(_) => "changed",
        None => "added",
    };
    if !options.dry_run {
        if what != "as it was" {
            write(&options.scripts, script)
                .map_err(StoreError::file(format!("writing {shown}")))?;
        }
        // An import that ended between the file and its record is made good here.
        if record.as_ref() != Some(&wanted) {
            work.remember(&place, &wanted).await?;
        }
    }
    match what {
        "added" => work.report.added += 1,
        "changed" => work.report.changed += 1,
        _ => work.report.unchanged += 1,
    }
    let text = format!("the dialplan in Lua -> {shown} ({what})");
    let place = super::place(SCRIPT);
    work.findings.add(&place, Verdict::Taken, text);
    Ok(())
}

/// Puts the script in place, whole on disk before it has its name.
fn write(folder: &Path, script: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let beside = folder.join(format!(".{SCRIPT}.new"));
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(script)?;
    file.sync_all()?;
    std::fs::rename(&beside, folder.join(SCRIPT))?;
    std::fs::File::open(folder)?.sync_all()
}
