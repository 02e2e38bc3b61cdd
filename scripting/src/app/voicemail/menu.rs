//! `VoiceMailMain`: somebody hears his messages and records his greetings.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Local, Utc};
use strowger_core::channel::Location;
use strowger_core::voicemail::{self, FOLDERS, INBOX, Mailbox, Message, OLD, Spool};

use super::super::play::audible;
use super::super::{AppResult, Call, Next, Stop};
use super::{Recorded, ask, has_greeting, names, record, spoken, tell};
use crate::say::{self, Grammar};

/// Tries somebody has for number and password.
const TRIES: usize = 3;
/// How long a menu waits for a digit before it begins again, and how often.
const MENU_WAIT: Duration = Duration::from_secs(5);
const MENU_ROUNDS: usize = 3;
/// Longest greeting.
const GREETING_MAX: Duration = Duration::from_secs(120);

pub(super) async fn voice_mail_main(call: Call) -> AppResult {
    let options = call.options("VoiceMailMain", 1);
    call.warn_unknown("VoiceMailMain", &options, "agprs");
    audible(&call, true).await?;
    let (number, context) = parts(call.arg(0));
    let given = if options.has('p') {
        ""
    } else {
        number.as_str()
    };
    let prefix = if options.has('p') {
        number.as_str()
    } else {
        ""
    };
    let skip = options.has('s');
    let mailbox = match log_in(&call, given, prefix, &context, skip).await? {
        Login::In(mailbox) => *mailbox,
        Login::Refused => return Ok(Next::End),
        Login::Away(place) => return Ok(Next::Jump(place)),
    };
    if !mailbox.language.is_empty() {
        mailbox
            .language
            .clone_into(&mut call.channel().data_mut().language);
    }
    let folder = match options.argument('a') {
        Some(text) => match folder_of(text) {
            Some(folder) => folder,
            None => {
                call.warn(&format!(
                    "VoiceMailMain: option a({text}): folders are 0 to 4, or {}",
                    FOLDERS.join(", ")
                ));
                INBOX
            }
        },
        None => INBOX,
    };
    Box::pin(
        Visit {
            call: &call,
            mailbox,
            read_only: options.has('r'),
        }
        .run(folder),
    )
    .await?;
    tell(&call, &names(&["vm-goodbye"]), "").await?;
    Ok(Next::Continue)
}

pub(super) async fn authenticate(call: Call) -> AppResult {
    audible(&call, true).await?;
    let (number, context) = parts(call.arg(0));
    let options = call.options("VMAuthenticate", 1);
    call.warn_unknown("VMAuthenticate", &options, "s");
    match log_in(&call, &number, "", &context, false).await? {
        Login::In(mailbox) => {
            call.set("AUTH_MAILBOX", &mailbox.number);
            call.set("AUTH_CONTEXT", &mailbox.context);
            Ok(Next::Continue)
        }
        Login::Refused => Ok(Next::End),
        Login::Away(place) => Ok(Next::Jump(place)),
    }
}

/// Number (may be empty) and context.
fn parts(text: &str) -> (String, String) {
    let (number, context) = voicemail::split(text);
    (number.to_owned(), context.to_owned())
}

fn folder_of(text: &str) -> Option<&'static str> {
    let text = text.trim();
    match text.parse::<usize>() {
        Ok(number) => FOLDERS.get(number).copied(),
        Err(_) => FOLDERS
            .into_iter()
            .find(|folder| folder.eq_ignore_ascii_case(text)),
    }
}

/// What asking for number and password came to.
enum Login {
    In(Box<Mailbox>),
    /// Too many tries.
    Refused,
    /// He wants to be elsewhere.
    Away(Location),
}

/// Asks for number and password. A mailbox that does not exist is refused as a wrong password is.
async fn log_in(
    call: &Call,
    number: &str,
    prefix: &str,
    context: &str,
    skip_password: bool,
) -> Result<Login, Stop> {
    let mut prompt = "vm-login";
    for _ in 0..TRIES {
        let number = if number.is_empty() {
            let entered = ask(call, prompt).await?;
            if let Some(place) = away(call, &entered) {
                return Ok(Login::Away(place));
            }
            format!("{prefix}{entered}")
        } else {
            number.to_owned()
        };
        prompt = "vm-incorrect-mailbox";
        let found = call.shared().mailbox(&format!("{number}@{context}"));
        if skip_password && let Some(mailbox) = found {
            return Ok(Login::In(Box::new(mailbox)));
        }
        let password = ask(call, "vm-password").await?;
        if let Some(place) = away(call, &password) {
            return Ok(Login::Away(place));
        }
        if let Some(mailbox) = found
            && call.shared().voicemail.opens(&mailbox, &password)
        {
            return Ok(Login::In(Box::new(mailbox)));
        }
        tell(call, &names(&["vm-incorrect"]), "").await?;
    }
    tell(call, &names(&["vm-goodbye"]), "").await?;
    Ok(Login::Refused)
}

/// Where `*` in place of a number or password leads, if there is an extension `a`.
fn away(call: &Call, entered: &str) -> Option<Location> {
    let context = call.channel().location().context;
    (entered.starts_with('*') && call.task.exists(&context, "a", 1))
        .then(|| Location::new(&context, "a", 1))
}

/// Somebody in his mailbox.
struct Visit<'c> {
    call: &'c Call,
    mailbox: Mailbox,
    read_only: bool,
}

impl Visit<'_> {
    async fn files<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Spool) -> std::io::Result<R> + Send + 'static,
    ) -> Result<R, Stop> {
        let shared = Arc::clone(self.call.task.shared());
        let done = shared.with_mailbox(&self.mailbox, work).await;
        done.map_err(|error| Stop::Failed(format!("mailbox {}: {error}", self.mailbox.name())))
    }

    /// Says a menu until a digit comes. `None`: nobody dials.
    async fn choose(&self, prompts: &[String]) -> Result<Option<char>, Stop> {
        for _ in 0..MENU_ROUNDS {
            if let Some(digit) = tell(self.call, prompts, "0123456789*#").await? {
                return Ok(Some(digit));
            }
            if let Some(digit) = self.call.channel().wait_digit(MENU_WAIT).await? {
                return Ok(Some(digit));
            }
        }
        Ok(None)
    }

    /// How many messages there are.
    async fn summary(&self) -> Result<Vec<String>, Stop> {
        let counts = self.files(Spool::counts).await?;
        let mut prompts = names(&["vm-youhave"]);
        let count = |count: usize, folder: &str| {
            let mut said = spoken(self.call, count);
            said.push(folder.to_owned());
            said.push(
                if count == 1 {
                    "vm-message"
                } else {
                    "vm-messages"
                }
                .to_owned(),
            );
            said
        };
        match (counts.new, counts.old) {
            (0, 0) => prompts.extend(names(&["vm-no", "vm-messages"])),
            (new, 0) => prompts.extend(count(new, "vm-INBOX")),
            (0, old) => prompts.extend(count(old, "vm-Old")),
            (new, old) => {
                prompts.extend(count(new, "vm-INBOX"));
                prompts.extend(names(&["vm-and"]));
                prompts.extend(count(old, "vm-Old"));
            }
        }
        Ok(prompts)
    }

    async fn run(&self, folder: &'static str) -> Result<(), Stop> {
        let summary = self.summary().await?;
        let mut folder = folder;
        let mut said = summary;
        loop {
            let which = if folder == OLD { "vm-Old" } else { "vm-INBOX" };
            said.extend(names(&["vm-onefor", which, "vm-messages", "vm-opts"]));
            let digit = self.choose(&said).await?;
            said = Vec::new();
            match digit {
                None | Some('#') => return Ok(()),
                Some('1') => {
                    if self.listen(folder).await? {
                        return Ok(());
                    }
                    said = self.summary().await?;
                }
                Some('2') => {
                    let digit = self.choose(&names(&["vm-changeto"])).await?;
                    let number = digit.and_then(|digit| digit.to_digit(10));
                    if let Some(found) = number.and_then(|n| FOLDERS.get(n as usize)) {
                        folder = found;
                    }
                }
                Some('0') => self.options().await?,
                _ => {}
            }
        }
    }

    /// The messages of a folder, one after the other. True: he wants to leave altogether.
    async fn listen(&self, folder: &'static str) -> Result<bool, Stop> {
        let messages = self.files(move |spool| spool.list(folder)).await?;
        if messages.is_empty() {
            tell(
                self.call,
                &names(&["vm-youhave", "vm-no", "vm-messages"]),
                "",
            )
            .await?;
            return Ok(false);
        }
        let mut fates = vec![Fate::Unheard; messages.len()];
        let result = self.walk(folder, &messages, &mut fates).await;
        // What he decided counts, also when he hung up in the middle.
        if !self.read_only {
            let max = self.mailbox.messages_max;
            let refused = self
                .files(move |spool| {
                    let mut refused = 0_usize;
                    for (message, fate) in messages.iter().zip(fates) {
                        let to = match fate {
                            Fate::Unheard => continue,
                            Fate::Heard if folder != INBOX => continue,
                            Fate::Heard => Some(OLD),
                            Fate::Saved(to) => Some(to),
                            Fate::Deleted => None,
                        };
                        // By what it is: another visit may have numbered the folder anew.
                        let Some(number) = spool.find(folder, message)? else {
                            continue;
                        };
                        match to {
                            None => spool.delete(folder, number)?,
                            Some(to) => match spool.move_to(folder, number, to, max) {
                                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                                    refused += 1;
                                }
                                moved => moved?,
                            },
                        }
                    }
                    spool.renumber(folder)?;
                    Ok(refused)
                })
                .await?;
            if refused > 0 {
                self.call.warn(&format!(
                    "VoiceMailMain: mailbox {}: {refused} messages stay in {folder}: the other folder is full",
                    self.mailbox.name()
                ));
            }
        }
        result
    }

    async fn walk(
        &self,
        folder: &'static str,
        messages: &[Message],
        fates: &mut [Fate],
    ) -> Result<bool, Stop> {
        let mut at = 0;
        loop {
            let Some(message) = messages.get(at) else {
                tell(self.call, &names(&["vm-nomore"]), "").await?;
                return Ok(false);
            };
            let mut prompts = Vec::new();
            if at == 0 {
                prompts.extend(names(&["vm-first"]));
            } else if at + 1 == messages.len() {
                prompts.extend(names(&["vm-last"]));
            }
            prompts.extend(self.envelope(message));
            let asked = message.clone();
            let sound = self
                .files(move |spool| match spool.find(folder, &asked)? {
                    Some(number) => spool.sound(folder, number).map(Some),
                    None => Ok(None),
                })
                .await?;
            match sound {
                Some(sound) => prompts.push(sound.display().to_string()),
                // Another visit deleted or moved it.
                None => {
                    at += 1;
                    continue;
                }
            }
            let mut digit = tell(self.call, &prompts, "0123456789*#").await?;
            if let Some(fate) = fates.get_mut(at)
                && *fate == Fate::Unheard
            {
                *fate = Fate::Heard;
            }
            loop {
                if digit.is_none() {
                    digit = self.choose(&names(&["vm-msginstruct"])).await?;
                }
                let Some(fate) = fates.get_mut(at) else {
                    return Ok(false);
                };
                match digit.take() {
                    None | Some('#') => return Ok(true),
                    Some('4') => {
                        at = at.saturating_sub(1);
                        break;
                    }
                    Some('5') => break,
                    Some('6') => {
                        at += 1;
                        break;
                    }
                    Some('7') => {
                        let deleted = *fate == Fate::Deleted;
                        *fate = if deleted { Fate::Heard } else { Fate::Deleted };
                        let said = if deleted {
                            "vm-undeleted"
                        } else {
                            "vm-deleted"
                        };
                        digit = tell(self.call, &names(&[said]), "0123456789*#").await?;
                    }
                    Some('9') => {
                        let chosen = self.choose(&names(&["vm-changeto"])).await?;
                        let number = chosen.and_then(|digit| digit.to_digit(10));
                        if let Some(to) = number.and_then(|n| FOLDERS.get(n as usize).copied()) {
                            let count = self.files(move |spool| spool.count(to)).await?;
                            // The oldest of those that were heard makes room, in other folders none does.
                            let said = if to != OLD && count >= self.mailbox.messages_max {
                                "vm-mailboxfull"
                            } else {
                                *fate = Fate::Saved(to);
                                "vm-savedto"
                            };
                            tell(self.call, &names(&[said]), "").await?;
                        }
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// When a message came and from whom, as far as the mailbox wants it.
    fn envelope(&self, message: &Message) -> Vec<String> {
        let mut prompts = Vec::new();
        if self.mailbox.say_caller {
            let number = message
                .caller_id
                .rsplit_once('<')
                .map_or("", |(_, rest)| rest);
            let number = number.trim_end_matches('>');
            if !number.is_empty() {
                prompts.extend(names(&["vm-from"]));
                prompts.extend(say::spelled_digits(number));
            }
        }
        if self.mailbox.envelope {
            let time = i64::try_from(message.time).unwrap_or(0);
            let zone = self.mailbox.timezone.parse::<chrono_tz::Tz>();
            if let Some(at) = DateTime::<Utc>::from_timestamp(time, 0) {
                let grammar = Grammar::of(&self.call.channel().data().language);
                let zone = zone.unwrap_or(chrono_tz::UTC);
                // Without a zone of its own, a mailbox has that of the exchange.
                let shift = if self.mailbox.timezone.is_empty() {
                    Local::now().offset().local_minus_utc()
                } else {
                    0
                };
                let shift = chrono::Duration::seconds(shift.into());
                let moment = (at + shift).with_timezone(&zone);
                let now = (Utc::now() + shift).with_timezone(&zone);
                let format = self.mailbox.time_format.as_str();
                // A format of its own has words of its own.
                if format.is_empty() {
                    prompts.extend(names(&["vm-received"]));
                }
                prompts.extend(say::unix_time(grammar, &moment, &now, format));
            }
        }
        prompts
    }

    /// Greetings and the password.
    async fn options(&self) -> Result<(), Stop> {
        loop {
            let digit = self.choose(&names(&["vm-options"])).await?;
            let (prompt, name) = match digit {
                Some('1') => ("vm-rec-unv", "unavail"),
                Some('2') => ("vm-rec-busy", "busy"),
                Some('3') => ("vm-rec-name", "greet"),
                Some('4') => ("vm-rec-temp", "temp"),
                Some('5') => {
                    self.change_password().await?;
                    continue;
                }
                None | Some('*' | '#') => return Ok(()),
                Some(_) => continue,
            };
            if name == "temp" && has_greeting(self.call, &self.mailbox, name).await {
                match self.choose(&names(&["vm-tempgreeting2"])).await? {
                    Some('1') => {}
                    Some('2') => {
                        self.files(move |spool| spool.remove_greeting(name)).await?;
                        tell(self.call, &names(&["vm-tempremoved"]), "").await?;
                        continue;
                    }
                    _ => continue,
                }
            }
            tell(self.call, &names(&[prompt]), "#").await?;
            let draft_name = format!("{}-{name}", self.call.channel().uniqueid());
            let draft = self.files(move |spool| spool.draft(&draft_name)).await?;
            let recorded = record(
                self.call,
                &draft,
                &self.mailbox,
                (false, GREETING_MAX, true),
            )
            .await?;
            if let Some(stop) = recorded.stop {
                // Half a greeting, or none, does not take the place of a whole one.
                self.files(move |spool| spool.drop_draft(&draft)).await?;
                return Err(stop.into());
            }
            if recorded.length.is_zero() {
                self.files(move |spool| spool.drop_draft(&draft)).await?;
                continue;
            }
            let (shared, mailbox) = (Arc::clone(self.call.task.shared()), self.mailbox.clone());
            let is_complete = recorded.pending.is_none();
            let kept = self.call.shared().control.spawn(async move {
                Recorded::complete(recorded.pending).await;
                let kept = shared.with_mailbox(&mailbox, move |s| s.keep_greeting(&draft, name));
                kept.await.inspect_err(|error| {
                    tracing::error!(mailbox = mailbox.name(), %error, "greeting not kept");
                })
            });
            if !is_complete || matches!(kept.await, Ok(Ok(()))) {
                tell(self.call, &names(&["vm-msgsaved"]), "").await?;
            }
        }
    }

    async fn change_password(&self) -> Result<(), Stop> {
        let first = ask(self.call, "vm-newpassword").await?;
        if first.is_empty() {
            return Ok(());
        }
        let again = ask(self.call, "vm-reenterpassword").await?;
        let done = first == again
            && self
                .call
                .shared()
                .set_mailbox_password(&self.mailbox, &first);
        if first == again && !done {
            self.call.warn(&format!(
                "VoiceMailMain: the password of {} is not in the table voicemail and cannot be changed",
                self.mailbox.name()
            ));
        }
        let said = if done {
            "vm-passchanged"
        } else {
            "vm-mismatch"
        };
        tell(self.call, &names(&[said]), "").await?;
        Ok(())
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unheard,
    Heard,
    Deleted,
    Saved(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_numbers_and_names() {
        for (text, wanted) in [
            ("0", Some("INBOX")),
            ("1", Some("Old")),
            ("family", Some("Family")),
            ("5", None),
            ("x", None),
        ] {
            assert_eq!(folder_of(text), wanted, "{text}");
        }
    }
}
