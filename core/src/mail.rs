//! Messages by e-mail: put together and handed to a mail server or to a program such as sendmail. Nothing is sent unless the
//! configuration names one of them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::{child, config};

/// Largest attachment, in bytes.
pub const ATTACHMENT_BYTES_MAX: u64 = 25 * 1024 * 1024;
/// Addresses of one message at most.
pub const ADDRESSES_MAX: usize = 50;
/// How long handing over a message may take.
const SEND_WAIT: Duration = Duration::from_secs(60);

/// The most that is kept of what the program says to its standard error.
const COMPLAINT_BYTES_MAX: u64 = 16 * 1024;

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error("mail is not configured: set [mail] from, and smtp or sendmail")]
    Off,
    #[error("\"{0}\" is no e-mail address")]
    Address(String),
    #[error("there is no address to send it to")]
    NoAddress,
    #[error("{0} addresses; {ADDRESSES_MAX} are the limit")]
    TooMany(usize),
    #[error("attachment {path}: {why}")]
    Attachment { path: PathBuf, why: String },
    #[error("the message cannot be put together: {0}")]
    Message(String),
    #[error("{0}")]
    Sending(String),
    #[error("nobody took the message within {} s", SEND_WAIT.as_secs())]
    TooLate,
}

/// A message.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// Addresses, separated by commas, semicolons or blanks.
    pub to: String,
    pub subject: String,
    pub text: String,
    pub attachment: Option<PathBuf>,
}

/// Is there a way to send messages?
pub fn is_on(config: &config::Mail) -> bool {
    let way = !config.smtp.is_empty() || !config.sendmail.is_empty();
    way && !config.from.is_empty()
}

/// Sends a message. To be called on the control runtime.
///
/// # Errors
/// [`MailError`] when it was not taken by the server or program.
pub async fn send(config: &config::Mail, mail: Mail) -> Result<(), MailError> {
    if !is_on(config) {
        return Err(MailError::Off);
    }
    let message = message(config, mail).await?;
    let sending = async {
        if config.smtp.is_empty() {
            hand_over(&config.sendmail, &message)
                .await
                .map_err(|error| MailError::Sending(format!("{}: {error}", config.sendmail)))
        } else {
            let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(&config.smtp)
                .map_err(|error| MailError::Sending(format!("[mail] smtp: {error}")))?
                .timeout(Some(SEND_WAIT))
                .build::<Tokio1Executor>();
            server
                .send(message)
                .await
                .map(drop)
                .map_err(|error| MailError::Sending(told(&error)))
        }
    };
    match tokio::time::timeout(SEND_WAIT, sending).await {
        Ok(result) => result,
        Err(_) => Err(MailError::TooLate),
    }
}

/// Gives a message to a program, as sendmail takes it.
async fn hand_over(program: &str, message: &Message) -> std::io::Result<()> {
    let envelope = message.envelope();
    let mut command = Command::new(program);
    command.arg("-i");
    if let Some(from) = envelope.from() {
        command.arg("-f").arg(from);
    }
    command
        .arg("--")
        .args(envelope.to().iter().map(ToString::to_string))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = child::without_settings(&mut command).spawn()?;
    let (to, from) = (child.stdin.take(), child.stderr.take());
    let writing = async {
        if let Some(mut to) = to {
            // One that does not read all of it says why, or by its status that it is content.
            let _ = to.write_all(&message.formatted()).await;
        }
    };
    let mut said = Vec::new();
    let reading = async {
        if let Some(from) = from {
            let _ = from.take(COMPLAINT_BYTES_MAX).read_to_end(&mut said).await;
        }
    };
    let ((), (), status) = tokio::join!(writing, reading, child.wait());
    let status = status?;
    if status.success() {
        return Ok(());
    }
    let said = one_line(&String::from_utf8_lossy(&said));
    let said = said.trim();
    Err(std::io::Error::other(match said {
        "" => status.to_string(),
        said => format!("{status}: {said}"),
    }))
}

/// The error with what is behind it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

async fn message(config: &config::Mail, mail: Mail) -> Result<Message, MailError> {
    let address = |text: &str| {
        text.parse::<Mailbox>()
            .map_err(|_| MailError::Address(text.to_owned()))
    };
    let to: Vec<&str> = mail
        .to
        .split([',', ';', ' ', '\t', '\n'])
        .filter(|text| !text.is_empty())
        .collect();
    if to.is_empty() {
        return Err(MailError::NoAddress);
    }
    if to.len() > ADDRESSES_MAX {
        return Err(MailError::TooMany(to.len()));
    }
    let mut builder = Message::builder()
        .from(address(&config.from)?)
        .subject(one_line(&mail.subject));
    for text in to {
        builder = builder.to(address(text)?);
    }
    let text = SinglePart::plain(mail.text);
    let made = match mail.attachment {
        None => builder.singlepart(text),
        Some(path) => {
            let bytes = read(&path).await?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let attachment = Attachment::new(name.into_owned()).body(bytes, content_type(&path));
            builder.multipart(MultiPart::mixed().singlepart(text).singlepart(attachment))
        }
    };
    made.map_err(|error| MailError::Message(error.to_string()))
}

/// A header is one line, whatever a caller sent.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

async fn read(path: &Path) -> Result<Vec<u8>, MailError> {
    let wrong = |why: String| MailError::Attachment {
        path: path.to_owned(),
        why,
    };
    let found = tokio::fs::metadata(path)
        .await
        .map_err(|error| wrong(error.to_string()))?;
    if !found.is_file() {
        return Err(wrong("it is no file".to_owned()));
    }
    if found.len() > ATTACHMENT_BYTES_MAX {
        return Err(wrong(format!(
            "{} bytes; {ATTACHMENT_BYTES_MAX} are the limit",
            found.len()
        )));
    }
    tokio::fs::read(path)
        .await
        .map_err(|error| wrong(error.to_string()))
}

fn content_type(path: &Path) -> ContentType {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let kind = match extension.to_ascii_lowercase().as_str() {
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        "ogg" | "opus" => "audio/ogg",
        "txt" => "text/plain",
        _ => "application/octet-stream",
    };
    ContentType::parse(kind).unwrap_or(ContentType::TEXT_PLAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> config::Mail {
        config::Mail {
            from: "Exchange <pbx@example.com>".to_owned(),
            sendmail: "/bin/true".to_owned(),
            ..config::Mail::default()
        }
    }

    async fn put_together(mail: Mail) -> Result<String, MailError> {
        let message = message(&on(), mail).await?;
        Ok(String::from_utf8_lossy(&message.formatted()).into_owned())
    }

    #[tokio::test]
    async fn a_message_has_its_addresses_text_and_attachment() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("1700000000.1.wav");
        std::fs::write(&path, b"RIFF\xff\0 sound").expect("a file");
        let text = put_together(Mail {
            to: "a@example.com, b@example.com;c@example.com".to_owned(),
            subject: "one\r\nBcc: evil@example.com".to_owned(),
            text: "Привет".to_owned(),
            attachment: Some(path),
        })
        .await
        .expect("it is put together");
        for wanted in [
            "From: Exchange <pbx@example.com>",
            "To: a@example.com, b@example.com, c@example.com",
            "Subject: one  Bcc: evil@example.com",
            "Content-Type: audio/wav",
            "filename=\"1700000000.1.wav\"",
            "UklGRv8AIHNvdW5k",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(!text.lines().any(|line| line.starts_with("Bcc:")), "{text}");
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_message_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let mail = |to: &str, attachment: Option<&str>| Mail {
            to: to.to_owned(),
            attachment: attachment.map(|name| folder.path().join(name)),
            ..Mail::default()
        };
        let many = "a@b.c ".repeat(ADDRESSES_MAX + 1);
        for (mail, wanted) in [
            (mail("", None), "no address"),
            (mail(" ,; ", None), "no address"),
            (mail("nobody", None), "\"nobody\" is no e-mail address"),
            (mail(&many, None), "51 addresses"),
            (mail("a@b.c", Some("missing.wav")), "missing.wav"),
            (mail("a@b.c", Some("")), "it is no file"),
        ] {
            let error = put_together(mail)
                .await
                .expect_err("it is refused")
                .to_string();
            assert!(error.contains(wanted), "{error}");
        }
        let off = send(&config::Mail::default(), Mail::default()).await;
        assert!(matches!(off, Err(MailError::Off)));
        let mail = Mail {
            to: "a@b.c".to_owned(),
            ..Mail::default()
        };
        assert!(send(&on(), mail.clone()).await.is_ok());
        let missing = config::Mail {
            sendmail: "/nonexistent/sendmail".to_owned(),
            ..on()
        };
        let error = send(&missing, mail).await.expect_err("nobody takes it");
        assert!(
            error.to_string().contains("/nonexistent/sendmail"),
            "{error}"
        );
    }
}
