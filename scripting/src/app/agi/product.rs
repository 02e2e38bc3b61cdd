//! The scripts that documented dialplans call by name, for an exchange on which no such script is installed.

use std::path::PathBuf;
use std::sync::Arc;

use strowger_core::mail::{self, Mail};

use super::super::{Call, files};
use super::{Life, Outcome, Waited};
use crate::agi::Ending;

/// Family of the values that [`Product::DialStatus`] stores.
const AUTODIAL: &str = "autodial";

/// What such a script does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    /// Sends a recording by e-mail.
    Attachment,
    /// Keeps how a call of the dialler ended.
    DialStatus,
}

/// The script of this name, in any folder.
pub(super) fn find(name: &str) -> Option<Product> {
    [
        ("email/attachment.php", Product::Attachment),
        ("autodial/dialstatus.php", Product::DialStatus),
    ]
    .into_iter()
    .find(|(known, _)| {
        name.strip_suffix(known)
            .is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
    })
    .map(|(_, product)| product)
}

/// The value of `--name=value`.
fn option<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    arguments.iter().find_map(|argument| {
        argument
            .trim()
            .strip_prefix("--")?
            .strip_prefix(name)?
            .strip_prefix('=')
    })
}

/// Does what the script would. `why`: it is not there.
pub(super) async fn run(
    call: &Call,
    life: &Life,
    product: Product,
    arguments: &[String],
    why: &str,
) -> Outcome {
    match product {
        Product::Attachment => attachment(call, life, arguments, why).await,
        Product::DialStatus => dial_status(call, arguments),
    }
}

async fn attachment(call: &Call, life: &Life, arguments: &[String], why: &str) -> Outcome {
    let shared = Arc::clone(call.task.shared());
    if !mail::is_on(&shared.config.mail) {
        call.warn(&format!(
            "AGI: {why}; the exchange would send the message itself if [mail] said how"
        ));
        return Outcome::NotFound;
    }
    let given = |name| option(arguments, name).unwrap_or_default();
    let file = given("attachment");
    if let Some(refused) = files::not_written(&call.task, file) {
        call.warn(&format!("AGI: \"{file}\" is not sent: {refused}"));
        return Outcome::NotStarted;
    }
    let (subject, text) = words(
        &call.channel().data().language,
        given("source"),
        given("destination"),
    );
    let mail = Mail {
        to: given("emails").to_owned(),
        subject,
        text,
        attachment: (!file.is_empty()).then(|| PathBuf::from(file)),
    };
    let control = shared.control.clone();
    let name = call.channel().name();
    // It is sent also when nobody waits for it any longer.
    let sending = control.spawn(async move { mail::send(&shared.config.mail, mail).await });
    match life.wait(call.channel(), sending).await {
        Waited::Done(Ok(Ok(()))) => {
            tracing::info!(channel = %name, "message with the recording handed over");
            Outcome::Ended(Ending::Success)
        }
        Waited::Done(Ok(Err(error))) => Outcome::Ended(Ending::Failure(error.to_string())),
        Waited::Done(Err(error)) => Outcome::Ended(Ending::Failure(error.to_string())),
        Waited::Interrupted(interrupt) => Outcome::Left(interrupt),
        Waited::TooLate => Outcome::Ended(Ending::Failure("it took too long".to_owned())),
    }
}

/// Subject and text, in the caller's language.
fn words(language: &str, source: &str, destination: &str) -> (String, String) {
    if language.starts_with("ru") {
        (
            format!("Голосовое сообщение от {source}"),
            format!(
                "Голосовое сообщение от {source} для {destination} приложено к этому письму.\n"
            ),
        )
    } else {
        (
            format!("Voice message from {source}"),
            format!("A voice message from {source} to {destination} is attached.\n"),
        )
    }
}

fn dial_status(call: &Call, arguments: &[String]) -> Outcome {
    let given = |name| option(arguments, name).unwrap_or_default();
    let (contact, status) = (given("contact_uuid"), given("dialstatus"));
    if contact.is_empty() {
        call.warn("AGI autodial/dialstatus.php: --contact_uuid is empty; nothing is kept");
        return Outcome::Ended(Ending::Success);
    }
    match call.shared().astdb.put(AUTODIAL, contact, status) {
        Ok(()) => Outcome::Ended(Ending::Success),
        Err(error) => Outcome::Ended(Ending::Failure(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_the_product_are_known_in_any_folder() {
        for (name, wanted) in [
            ("email/attachment.php", Some(Product::Attachment)),
            (
                "/var/lib/asterisk/agi-bin/email/attachment.php",
                Some(Product::Attachment),
            ),
            ("autodial/dialstatus.php", Some(Product::DialStatus)),
            ("myemail/attachment.php", None),
            ("attachment.php", None),
            ("", None),
        ] {
            assert_eq!(find(name), wanted, "{name}");
        }
    }

    #[test]
    fn options_are_found_by_their_whole_name() {
        let arguments =
            ["--emails=a@b.c", "--email=x", " --source=1=2", "loose"].map(str::to_owned);
        assert_eq!(option(&arguments, "emails"), Some("a@b.c"));
        assert_eq!(option(&arguments, "email"), Some("x"));
        assert_eq!(option(&arguments, "source"), Some("1=2"));
        assert_eq!(option(&arguments, "loose"), None);
    }
}
