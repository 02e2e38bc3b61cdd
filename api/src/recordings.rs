//! Recordings of calls for the APIs: found by the unique id of their call, shown to those whose call it was, and given in pieces,
//! with ranges, also while they grow. What lives here reads files on threads that may wait; it never writes one that stays.

mod range;
mod send;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strowger_core::Shared;
use strowger_store::{CdrQuery, Store};
use warp::http::StatusCode;

use crate::http::Refused;
use crate::keys::Caller;
use crate::shards;
pub(crate) use send::{send, write_wav};

/// Longest unique id.
const UNIQUEID_MAX: usize = 150;
/// How long the record of a call that has just ended is waited for.
const RECORD_WAIT: Duration = Duration::from_secs(3);

/// What a recording is wanted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Wav,
    Mp3,
}

impl Form {
    /// The end of the file's name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Mp3 => "mp3",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Mp3 => "audio/mpeg",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Wav => Self::Mp3,
            Self::Mp3 => Self::Wav,
        }
    }
}

/// A file of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recording {
    pub(crate) uniqueid: String,
    pub(crate) path: PathBuf,
    /// What the file is.
    pub(crate) form: Form,
    pub(crate) bytes: u64,
    pub(crate) changed: SystemTime,
}

impl Recording {
    /// Names this content: it changes while the file grows.
    fn etag(&self, wanted: Form) -> String {
        let age = self.changed.duration_since(UNIX_EPOCH).unwrap_or_default();
        let made = if self.form == wanted { "" } else { "-made" };
        format!("\"{:x}-{:x}{made}\"", self.bytes, age.as_nanos())
    }
}

/// Can it be the name of a file?
pub(crate) fn is_uniqueid(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= UNIQUEID_MAX
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// The file of a call: of the wanted form if there is one, else of the other. Reads the disk.
pub(crate) fn look(monitor: &Path, uniqueid: &str, wanted: Form) -> Option<Recording> {
    [wanted, wanted.other()].into_iter().find_map(|form| {
        let path = monitor.join(format!("{uniqueid}.{}", form.extension()));
        let about = std::fs::metadata(&path).ok()?;
        about.is_file().then(|| Recording {
            uniqueid: uniqueid.to_owned(),
            path,
            form,
            bytes: about.len(),
            changed: about.modified().unwrap_or(UNIX_EPOCH),
        })
    })
}

/// All files that a call of this unique id may have: both sides too, as the product records them.
pub(crate) fn files_of(monitor: &Path, uniqueid: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for side in ["", "_receive", "_transmit"] {
        for form in [Form::Wav, Form::Mp3] {
            files.push(monitor.join(format!("{uniqueid}{side}.{}", form.extension())));
        }
    }
    files
}

/// Runs what waits for a disk.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        tracing::error!(%error, "API: a task ended");
        Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "an error of the exchange; its log says more",
        )
    })
}

/// The recording of a call that this caller may hear.
///
/// # Errors
/// 400 for what is no unique id, 404 where there is no recording, 403 where the call is of others.
pub(crate) async fn find(
    shared: &Arc<Shared>,
    store: &Store,
    caller: &Caller,
    uniqueid: &str,
    wanted: Form,
) -> Result<Recording, Refused> {
    if !is_uniqueid(uniqueid) {
        return Err(Refused::bad(
            "uniqueid: letters, digits, `.`, `-` and `_` are allowed, 1 to 150 of them, and no `.` at the beginning",
        ));
    }
    let (monitor, name) = (shared.monitor().to_owned(), uniqueid.to_owned());
    let found = aside(move || look(&monitor, &name, wanted)).await?;
    let Some(found) = found else {
        let why = format!("there is no recording of a call {uniqueid}");
        return Err(Refused::new(StatusCode::NOT_FOUND, why));
    };
    if is_own(shared, store, caller, uniqueid).await? {
        return Ok(found);
    }
    let why = format!("call {uniqueid} belongs to another group");
    Err(Refused::new(StatusCode::FORBIDDEN, why))
}

/// Is it a call of the caller's group? Asks the channels that there are, then the call records.
async fn is_own(
    shared: &Arc<Shared>,
    store: &Store,
    caller: &Caller,
    uniqueid: &str,
) -> Result<bool, Refused> {
    let Some(owner) = caller.cdr_owner() else {
        return Ok(true);
    };
    let since = std::time::Instant::now();
    loop {
        if let Some((channel, context)) = shards::place_of(shared, uniqueid).await {
            return Ok(caller.owns_channel(&channel, &context));
        }
        // A call that only belongs together with it is another one, and perhaps of another group.
        let any = CdrQuery {
            equal: vec![("uniqueid", uniqueid.to_owned())],
            limit: 1,
            ..CdrQuery::default()
        };
        let own = CdrQuery {
            owner: Some(owner.clone()),
            ..any.clone()
        };
        let count = |query: CdrQuery| async move {
            let rows = store.find_cdr(&query, &["uniqueid"]).await;
            rows.map(|rows| rows.len())
                .map_err(|error| unreadable(&error))
        };
        if count(own).await? > 0 {
            return Ok(true);
        }
        // Its record may be on its way.
        if count(any).await? > 0 || since.elapsed() > RECORD_WAIT {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Was there a call of this unique id, or is there a file of its name?
pub(crate) async fn is_known(
    shared: &Arc<Shared>,
    store: &Store,
    uniqueid: &str,
) -> Result<bool, Refused> {
    if !is_uniqueid(uniqueid) {
        return Err(Refused::bad(
            "channelid: letters, digits, `.`, `-` and `_` are allowed, 1 to 149 of them",
        ));
    }
    let files = files_of(shared.monitor(), uniqueid);
    if aside(move || files.iter().any(|file| file.exists())).await? {
        return Ok(true);
    }
    let query = CdrQuery {
        call: Some(uniqueid.to_owned()),
        limit: 1,
        ..CdrQuery::default()
    };
    let rows = store.find_cdr(&query, &["uniqueid"]).await;
    rows.map(|rows| !rows.is_empty())
        .map_err(|error| unreadable(&error))
}

/// The answer when call records cannot be read.
pub(crate) fn unreadable(error: &strowger_store::StoreError) -> Refused {
    tracing::warn!(%error, "API: call records");
    let why = match error {
        strowger_store::StoreError::Refused(why) => why.clone(),
        _ => "the database does not answer; the log of the exchange says more".to_owned(),
    };
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wanted_form_is_found_first_and_folders_are_no_recordings() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str| std::fs::write(folder.path().join(name), b"12345").expect("a file");
        put("1.1.wav");
        put("1.1.mp3");
        put("1.2.mp3");
        std::fs::create_dir(folder.path().join("1.3.wav")).expect("a folder");
        let found = |id: &str, form| {
            let found = look(folder.path(), id, form)?;
            Some(found.path.file_name()?.to_string_lossy().into_owned())
        };
        assert_eq!(found("1.1", Form::Wav).as_deref(), Some("1.1.wav"));
        assert_eq!(found("1.1", Form::Mp3).as_deref(), Some("1.1.mp3"));
        assert_eq!(found("1.2", Form::Wav).as_deref(), Some("1.2.mp3"));
        assert_eq!(found("1.3", Form::Wav), None);
        let same = look(folder.path(), "1.2", Form::Mp3).expect("a file");
        assert_ne!(same.etag(Form::Mp3), same.etag(Form::Wav));
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for name in [
            "",
            "..",
            ".",
            "../x",
            "a/b",
            "a\\b",
            "a\0",
            "/etc/passwd",
            "x*",
            "é",
            ".x",
        ] {
            assert!(!is_uniqueid(name), "{name:?}");
        }
        assert!(!is_uniqueid(&"1".repeat(151)) && is_uniqueid(&"1".repeat(150)));
        assert!(is_uniqueid("pbx-1711279935.61") && is_uniqueid("1711279935.61_receive"));
    }

    proptest! {
        #[test]
        fn what_is_let_through_is_one_part_of_a_path(name in "\\PC{0,20}") {
            if is_uniqueid(&name) {
                let path = Path::new("/monitor").join(format!("{name}.wav"));
                prop_assert_eq!(path.parent(), Some(Path::new("/monitor")));
                prop_assert_eq!(path.components().count(), 3);
            }
        }
    }
}
