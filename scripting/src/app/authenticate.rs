//! `Authenticate`: who goes on has to know a password.

use md5::{Digest, Md5};

use super::play::{audible, load};
use super::{App, AppResult, Call, Next, Stop, app, files};
use crate::func::text::hex;

pub(super) const APPS: &[App] = &[app!(
    "Authenticate",
    "Authenticate(password[,admr[,maxdigits[,prompt]]])",
    "asks for a password; three wrong ones end the call",
    authenticate
)];

/// How often a caller may try.
const TRIES: u32 = 3;
const DIGITS_MAX: usize = 255;
/// Largest file of passwords, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where passwords are.
enum Passwords {
    /// This one.
    One(String),
    /// The keys of a family of the database.
    Family(String),
    /// The lines of a file: passwords, or account codes and hashes.
    Lines { lines: Vec<String>, hashed: bool },
}

async fn authenticate(call: Call) -> AppResult {
    let options = call.options("Authenticate", 1);
    call.warn_unknown("Authenticate", &options, "adjmr");
    let password = call.arg(0).to_owned();
    if password.is_empty() {
        return Err(Stop::Failed(
            "Authenticate needs a password: without one everybody would go on".to_owned(),
        ));
    }
    let max = call.arg(2).parse().unwrap_or(0);
    let max = if (1..=DIGITS_MAX).contains(&max) {
        max
    } else {
        DIGITS_MAX
    };
    let prompt = match call.arg(3) {
        "" => "agent-pass",
        prompt => prompt,
    };
    let passwords = passwords(&call, password, options.has('d'), options.has('m')).await?;
    audible(&call, true).await?;
    for attempt in 0..TRIES {
        let prompt = if attempt == 0 {
            prompt
        } else {
            "auth-incorrect"
        };
        let entered = enter(&call, prompt, max).await?;
        let Some(account) = matches(&call, &passwords, &entered) else {
            continue;
        };
        if let Passwords::Family(family) = &passwords
            && options.has('r')
        {
            call.shared().astdb.del(family, &entered);
        }
        if options.has('a') {
            call.channel().data_mut().accountcode = account;
        }
        let (sounds, _) = load(&call, "auth-thankyou", None).await;
        if !sounds.is_empty() {
            call.channel().play(sounds, true, &|_| true).await?;
        }
        return Ok(Next::Continue);
    }
    let (sounds, _) = load(&call, "vm-goodbye", None).await;
    if !sounds.is_empty() {
        call.channel().play(sounds, false, &|_| false).await?;
    }
    Ok(Next::End)
}

async fn passwords(
    call: &Call,
    password: String,
    family: bool,
    hashed: bool,
) -> Result<Passwords, Stop> {
    if family {
        return Ok(Passwords::Family(password.trim_matches('/').to_owned()));
    }
    if !password.starts_with('/') {
        return Ok(Passwords::One(password));
    }
    if let Some(why) = files::not_written(&call.task, &password) {
        return Err(Stop::Failed(format!(
            "Authenticate: \"{password}\" is not read: {why}"
        )));
    }
    let path = password.clone();
    let read = call.shared().control.spawn(async move {
        let found = tokio::fs::metadata(&path).await?;
        if !found.is_file() || found.len() > FILE_BYTES_MAX {
            return Err(std::io::Error::other("it is no file, or larger than 1 MiB"));
        }
        tokio::fs::read_to_string(&path).await
    });
    match read.await {
        Ok(Ok(text)) => Ok(Passwords::Lines {
            lines: text.lines().map(str::to_owned).collect(),
            hashed,
        }),
        Ok(Err(error)) => Err(Stop::Failed(format!("Authenticate: {password}: {error}"))),
        Err(error) => Err(Stop::Failed(format!("Authenticate: {password}: {error}"))),
    }
}

/// The account code that a right password stands for.
fn matches(call: &Call, passwords: &Passwords, entered: &str) -> Option<String> {
    if entered.is_empty() {
        return None;
    }
    match passwords {
        Passwords::One(password) => (password == entered).then(|| entered.to_owned()),
        Passwords::Family(family) => {
            // What the key holds means nothing.
            call.shared().astdb.get(family, entered)?;
            Some(entered.to_owned())
        }
        Passwords::Lines { lines, hashed } => in_lines(lines, *hashed, entered),
    }
}

fn in_lines(lines: &[String], hashed: bool, entered: &str) -> Option<String> {
    let hash = hashed.then(|| hex(&Md5::digest(entered.as_bytes())));
    lines.iter().find_map(|line| {
        let line = line.trim();
        match &hash {
            Some(hash) => {
                let (account, known) = line.split_once(':')?;
                known
                    .trim()
                    .eq_ignore_ascii_case(hash)
                    .then(|| account.trim().to_owned())
            }
            None => (line == entered).then(|| entered.to_owned()),
        }
    })
}

/// Digits up to `#`, beginning with the first that interrupts the prompt.
async fn enter(call: &Call, prompt: &str, max: usize) -> Result<String, Stop> {
    let channel = call.channel();
    let timeouts = channel.data().timeouts;
    let (sounds, _) = load(call, prompt, None).await;
    let mut pending = None;
    if !sounds.is_empty()
        && let strowger_core::channel::Played::Digit(digit) =
            channel.play(sounds, true, &|_| true).await?
    {
        pending = Some(digit);
    }
    let mut entered = String::new();
    loop {
        let digit = match pending.take() {
            Some(digit) => digit,
            None => {
                let wait = if entered.is_empty() {
                    timeouts.response
                } else {
                    timeouts.digit
                };
                match channel.wait_digit(wait).await? {
                    Some(digit) => digit,
                    None => return Ok(entered),
                }
            }
        };
        if digit == '#' {
            return Ok(entered);
        }
        entered.push(digit);
        if entered.len() >= max {
            return Ok(entered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_passwords_or_accounts_with_their_hashes() {
        let plain = ["1234", " 5678 "].map(str::to_owned);
        assert_eq!(in_lines(&plain, false, "5678").as_deref(), Some("5678"));
        assert_eq!(in_lines(&plain, false, "9"), None);
        let hashed = ["sales:81DC9BDB52D04DC20036DBD8313ED055", "broken"].map(str::to_owned);
        assert_eq!(in_lines(&hashed, true, "1234").as_deref(), Some("sales"));
        assert_eq!(in_lines(&hashed, true, "broken"), None);
    }
}
