//! The exchange itself: whether it lives, its settings, its key-value database, mailboxes, and what is told to others.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use strowger_core::events::Event;
use strowger_core::voicemail::Counts;

use super::super::answer::Answer;
use super::super::{Manager, epoch, timestamp};
use super::{ACTIONS, Context};

/// Headers of UserEvent; a request has no more.
const USER_HEADERS_MAX: usize = 128;

pub(super) fn ping(on: Context<'_>) -> String {
    let mut text = Answer::to(on.request);
    text.response("Success")
        .line("Ping", "Pong")
        .line("Timestamp", timestamp())
        .end();
    text.into_text()
}

pub(super) fn commands(on: Context<'_>) -> String {
    let mut text = Answer::to(on.request);
    text.response("Success");
    for (name, classes, synopsis) in ACTIONS {
        if classes.is_none() || !on.user.write.both(*classes).is_none() {
            text.line(name, format!("{synopsis}  (Priv: {})", classes.printed()));
        }
    }
    text.end();
    text.into_text()
}

pub(super) fn settings(on: Context<'_>) -> String {
    let shared = &on.manager.shared;
    let yes = |yes: bool| if yes { "Yes" } else { "No" };
    let mut text = Answer::to(on.request);
    text.response("Success")
        .line("AMIversion", "9.0.0")
        .line("AsteriskVersion", version())
        .line("SystemName", "")
        .line("CoreMaxCalls", "0")
        .line("CoreMaxLoadAvg", "0.000000")
        .line("CoreRunUser", "")
        .line("CoreRunGroup", "")
        .line("CoreMaxFilehandles", "0")
        .line("CoreRealTimeEnabled", yes(shared.realtime.healthy()))
        .line("CoreCDRenabled", "Yes")
        .line("CoreHTTPenabled", yes(on.manager.settings().web_enabled))
        .line("SoundsSearchCustomDir", "No")
        .end();
    text.into_text()
}

/// What clients of Asterisk ask the version for: which headers they may rely on.
pub(super) fn version() -> String {
    format!("20.0.0-strowger-{}", env!("CARGO_PKG_VERSION"))
}

fn day_and_time(time: SystemTime) -> (String, String) {
    let time = chrono::DateTime::<chrono::Local>::from(time);
    (
        time.format("%Y-%m-%d").to_string(),
        time.format("%H:%M:%S").to_string(),
    )
}

pub(super) fn status(on: Context<'_>) -> String {
    let shared = &on.manager.shared;
    let (day, time) = day_and_time(shared.started);
    let reloaded = on.manager.reloaded.load(Ordering::Relaxed);
    let reloaded = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(reloaded);
    let (reload_day, reload_time) = day_and_time(reloaded);
    let mut text = Answer::to(on.request);
    text.response("Success")
        .line("CoreStartupDate", day)
        .line("CoreStartupTime", time)
        .line("CoreReloadDate", reload_day)
        .line("CoreReloadTime", reload_time)
        .line("CoreCurrentCalls", shared.channels().to_string())
        .line("CoreProcessedCalls", shared.calls_processed().to_string())
        .end();
    text.into_text()
}

/// Rows and files are read again; rows are read whenever they change anyway. `dialplan`: what programs added to it or took away is
/// forgotten. False if that failed.
pub(super) async fn reload(manager: &Manager, dialplan: bool) -> bool {
    if dialplan {
        manager.plans.forget_edits();
    }
    manager.plans.look_at_files();
    strowger_core::transport::table::renew(&manager.shared, true).await;
    let refreshed = manager.shared.realtime.refresh_now().await;
    let failed = refreshed.is_err();
    if let Err(error) = refreshed {
        tracing::error!(%error, "reload");
    } else {
        manager.reloaded.store(epoch(), Ordering::Relaxed);
    }
    manager.shared.events.tell(|| {
        Event::new("Reload")
            .with("Module", "All")
            .with("Status", if failed { "1" } else { "0" })
    });
    !failed
}

/// Logs that are files begin anew.
pub(super) async fn rotate_logs(on: Context<'_>) -> String {
    if on.manager.shared.protection.log.rotate().await {
        on.success("Reloaded the logger and rotated log files")
    } else {
        on.error("Failed to reload the logger and rotate log files")
    }
}

/// Parts of Asterisk that are read again by a name of their own and not as a module.
const PARTS: &[&str] = &[
    "acl",
    "cdr",
    "extconfig",
    "features",
    "http",
    "indications",
    "logger",
    "manager",
    "pbx",
    "rtp",
];

/// Is the dialplan read anew with this module, or with all where none is named?
pub(super) fn reads_dialplan(module: &str) -> bool {
    let module = module.trim().to_ascii_lowercase();
    let name = module.strip_suffix(".so").unwrap_or(&module);
    matches!(name, "" | "pbx" | "pbx_config")
}

pub(super) async fn reload_named(on: Context<'_>) -> String {
    // All is read again, whichever part is named; a part that there is not is an error.
    let module = on.request.get("Module").trim();
    let is_part = |part: &&str| part.eq_ignore_ascii_case(module);
    if !module.is_empty() && !PARTS.iter().any(is_part) && !strowger_scripting::has_module(module) {
        return on.error("No such module");
    }
    if reload(on.manager, reads_dialplan(module)).await {
        on.success("Module Reloaded")
    } else {
        on.error("An unknown error occurred")
    }
}

pub(super) fn user_event(on: Context<'_>) -> String {
    on.manager.shared.events.tell(|| {
        let request = on.request;
        let event = Event::new("UserEvent").with("UserEvent", request.get("UserEvent"));
        request
            .headers()
            .iter()
            .filter(|(name, _)| {
                !name.eq_ignore_ascii_case("Action") && !name.eq_ignore_ascii_case("UserEvent")
            })
            .take(USER_HEADERS_MAX)
            .fold(event, |event, (name, value)| {
                event.with(name.clone(), value.clone())
            })
    });
    on.success("Event Sent")
}

/// Family and key, both needed.
fn family_and_key<'r>(on: &Context<'r>) -> Result<(&'r str, &'r str), String> {
    let family = on
        .request
        .given("Family")
        .ok_or_else(|| on.error("No family specified."))?;
    let key = on
        .request
        .given("Key")
        .ok_or_else(|| on.error("No key specified."))?;
    Ok((family, key))
}

pub(super) fn db_get(on: Context<'_>) -> String {
    let (family, key) = match family_and_key(&on) {
        Ok(found) => found,
        Err(text) => return text,
    };
    let Some(value) = on.manager.shared.astdb.get(family, key) else {
        return on.error("Database entry not found");
    };
    let mut text = Answer::to(on.request);
    text.list("Result will follow");
    text.bare_item("DBGetResponse")
        .line("Family", family)
        .line("Key", key)
        .line("Val", value)
        .id()
        .end();
    text.complete("DBGetComplete").end();
    text.into_text()
}

pub(super) fn db_get_tree(on: Context<'_>) -> String {
    let (family, key) = (on.request.get("Family"), on.request.get("Key"));
    let prefix = match (family, key) {
        ("", _) => String::new(),
        (family, "") => family.to_owned(),
        (family, key) => format!("{family}/{key}"),
    };
    let mut text = Answer::to(on.request);
    text.list("Result will follow");
    for (key, value) in on.manager.shared.astdb.tree(&prefix) {
        text.bare_item("DBGetTreeResponse")
            .line("Key", key)
            .line("Val", value)
            .id()
            .end();
    }
    text.complete("DBGetTreeComplete").end();
    text.into_text()
}

pub(super) fn db_put(on: Context<'_>) -> String {
    let (family, key) = match family_and_key(&on) {
        Ok(found) => found,
        Err(text) => return text,
    };
    match on
        .manager
        .shared
        .astdb
        .put(family, key, on.request.get("Val"))
    {
        Ok(()) => on.success("Updated database successfully"),
        Err(error) => {
            tracing::warn!(%error, "Manager: DBPut");
            on.error("Failed to update entry")
        }
    }
}

pub(super) fn db_del(on: Context<'_>) -> String {
    match family_and_key(&on) {
        Err(text) => text,
        Ok((family, key)) if on.manager.shared.astdb.del(family, key) => {
            on.success("Key deleted successfully")
        }
        Ok(_) => on.error("Database entry not found"),
    }
}

pub(super) fn db_del_tree(on: Context<'_>) -> String {
    let Some(family) = on.request.given("Family") else {
        return on.error("No family specified.");
    };
    let key = on.request.given("Key");
    if on.manager.shared.astdb.deltree(family, key) == 0 {
        return on.error("Database entry not found");
    }
    on.success("Key tree deleted successfully")
}

async fn counts_of(on: &Context<'_>, mailbox: &str) -> Counts {
    match on.manager.shared.mailbox_counts(mailbox).await {
        Ok(counts) => counts,
        Err(error) => {
            tracing::warn!(mailbox, %error, "Manager: the messages of a mailbox cannot be counted");
            Counts::default()
        }
    }
}

/// Messages in the mailboxes of a list, together.
async fn counted(on: &Context<'_>) -> Result<Counts, String> {
    let Some(mailboxes) = on.request.given("Mailbox") else {
        return Err(on.error("Mailbox not specified"));
    };
    let mut all = Counts::default();
    for name in mailboxes.split(',') {
        let counts = counts_of(on, name.trim()).await;
        all.new += counts.new;
        all.old += counts.old;
    }
    Ok(all)
}

/// A presence that the dialplan set: `state,subtype,message,options`.
pub(super) fn presence(on: Context<'_>) -> String {
    let Some(provider) = on.request.given("Provider") else {
        return on.error("No provider specified");
    };
    let name = provider.split_once(':').filter(|(kind, name)| {
        kind.eq_ignore_ascii_case("CustomPresence") && !name.trim().is_empty()
    });
    let Some((_, name)) = name else {
        return on.error("Invalid provider: write CustomPresence:name");
    };
    let astdb = &on.manager.shared.astdb;
    let kept = astdb.get("CustomPresence", name.trim()).unwrap_or_default();
    let mut parts = kept.split(',');
    let mut part = || parts.next().unwrap_or_default();
    let (state, subtype, message) = (part(), part(), part());
    let state = if state.is_empty() { "not_set" } else { state };
    let mut text = Answer::to(on.request);
    text.response("Success")
        .line("Message", "Presence State")
        .line("State", state);
    if !subtype.is_empty() {
        text.line("Subtype", subtype);
    }
    if !message.is_empty() {
        text.line("Message", message)
            .line("PresenceMessage", message);
    }
    text.end();
    text.into_text()
}

pub(super) async fn mailbox_status(on: Context<'_>) -> String {
    let counts = match counted(&on).await {
        Ok(counts) => counts,
        Err(text) => return text,
    };
    let mut text = Answer::to(on.request);
    text.response("Success")
        .line("Message", "Mailbox Status")
        .line("Mailbox", on.request.get("Mailbox"))
        .line("Waiting", if counts.new > 0 { "1" } else { "0" })
        .end();
    text.into_text()
}

pub(super) async fn mailbox_count(on: Context<'_>) -> String {
    let counts = match counted(&on).await {
        Ok(counts) => counts,
        Err(text) => return text,
    };
    let mut text = Answer::to(on.request);
    text.response("Success")
        .line("Message", "Mailbox Message Count")
        .line("Mailbox", on.request.get("Mailbox"))
        .line("UrgMessages", "0")
        .line("NewMessages", counts.new.to_string())
        .line("OldMessages", counts.old.to_string())
        .end();
    text.into_text()
}

pub(super) fn mwi_update(on: Context<'_>) -> String {
    let Some(mailbox) = on.request.given("Mailbox") else {
        return on.error("Missing mailbox parameter in request");
    };
    let number = |name: &str| match on.request.given(name) {
        None => Ok(0),
        Some(text) => text.trim().parse::<usize>().map_err(|_| ()),
    };
    let Ok(old) = number("OldMessages") else {
        return on.error("Invalid OldMessages parameter");
    };
    let Ok(new) = number("NewMessages") else {
        return on.error("Invalid NewMessages parameter");
    };
    if on
        .manager
        .shared
        .voicemail
        .set_external(mailbox, Counts { new, old })
    {
        on.done()
    } else {
        on.error("Too many mailboxes are known")
    }
}

pub(super) fn mwi_delete(on: Context<'_>) -> String {
    let Some(mailbox) = on.request.given("Mailbox") else {
        return on.error("Missing mailbox parameter in request");
    };
    on.manager
        .shared
        .voicemail
        .set_external(mailbox, Counts::default());
    on.done()
}

pub(super) async fn mwi_get(on: Context<'_>) -> String {
    let Some(mailbox) = on.request.given("Mailbox") else {
        return on.error("Missing mailbox parameter in request");
    };
    let counts = counts_of(&on, mailbox).await;
    let mut text = Answer::to(on.request);
    text.list("Mailboxes will follow");
    text.item("MWIGet")
        .line("Mailbox", mailbox)
        .line("OldMessages", counts.old.to_string())
        .line("NewMessages", counts.new.to_string())
        .end();
    text.complete("MWIGetComplete").end();
    text.into_text()
}
