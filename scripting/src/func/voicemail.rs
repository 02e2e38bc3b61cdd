//! `VMCOUNT`: how many messages a mailbox has.

use std::rc::Rc;
use std::sync::Arc;

use strowger_core::voicemail::INBOX;

use super::{Function, argument};
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[Function::waiting(
    "VMCOUNT",
    "VMCOUNT(mailbox[@context][&...][,folder])",
    "how many messages are in a folder of mailboxes",
    |task, args| Box::pin(count(task, args)),
)];

async fn count(task: Rc<Task>, args: String) -> Result<String, String> {
    let (names, folder) = (argument(&args, 0), argument(&args, 1));
    let folder = if folder.is_empty() {
        INBOX.to_owned()
    } else {
        folder
    };
    if names.is_empty() {
        return Err("VMCOUNT needs a mailbox, for example VMCOUNT(100@default)".to_owned());
    }
    let shared = Arc::clone(task.shared());
    let mut sum = 0;
    for name in names.split('&') {
        let Some(mailbox) = shared.mailbox(name) else {
            continue;
        };
        let folder = folder.clone();
        sum += shared
            .with_mailbox(&mailbox, move |spool| spool.count(&folder))
            .await
            .map_err(|error| format!("VMCOUNT({args}): {error}"))?;
    }
    Ok(sum.to_string())
}
