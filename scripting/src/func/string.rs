//! Functions on text.

use md5::{Digest, Md5};
use sha1::Sha1;
use strowger_dialplan::{args, expr, subst};

use super::{Function, text};
use crate::task::Task;

/// Longest text that is hashed or searched by a regular expression, in bytes.
const SUBJECT_BYTES_MAX: usize = 64 * 1024;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read("LEN", "LEN(text)", "length in bytes", |_, args| {
        Ok(args.len().to_string())
    }),
    Function::read("TOUPPER", "TOUPPER(text)", "in upper case", |_, args| {
        Ok(args.to_uppercase())
    }),
    Function::read("TOLOWER", "TOLOWER(text)", "in lower case", |_, args| {
        Ok(args.to_lowercase())
    }),
    Function::read(
        "TRIM",
        "TRIM(text)",
        "without white space around",
        |_, args| Ok(args.trim().to_owned()),
    ),
    Function::read(
        "LTRIM",
        "LTRIM(text)",
        "without white space before",
        |_, args| Ok(args.trim_start().to_owned()),
    ),
    Function::read(
        "RTRIM",
        "RTRIM(text)",
        "without white space after",
        |_, args| Ok(args.trim_end().to_owned()),
    ),
    Function::read(
        "CUT",
        "CUT(variable,delimiter,fields)",
        "fields of a variable",
        cut,
    ),
    Function::read(
        "FIELDQTY",
        "FIELDQTY(variable,delimiter)",
        "number of fields of a variable",
        field_count,
    ),
    Function::read(
        "FIELDNUM",
        "FIELDNUM(variable,delimiter,value)",
        "place of a field",
        field_number,
    ),
    Function::read(
        "FILTER",
        "FILTER(allowed,text)",
        "only the allowed characters",
        filter,
    ),
    Function::read(
        "REPLACE",
        "REPLACE(variable,characters[,with])",
        "characters replaced or removed",
        replace,
    ),
    Function::read(
        "STRREPLACE",
        "STRREPLACE(variable,find[,with[,max]])",
        "texts replaced",
        replace_text,
    ),
    Function::read(
        "REGEX",
        "REGEX(\"pattern\" text)",
        "1 if the pattern is found, else 0",
        regex,
    ),
    Function::read(
        "QUOTE",
        "QUOTE(text)",
        "in quotes, so that it stays one argument",
        |_, args| Ok(text::quote(args)),
    ),
    Function::read(
        "CSV_QUOTE",
        "CSV_QUOTE(text)",
        "in quotes as CSV files have them",
        |_, args| Ok(text::csv_quote(args)),
    ),
    Function::read(
        "EVAL",
        "EVAL(text)",
        "substituted once more",
        |task, args| Ok(subst::substitute(args, task)),
    ),
    Function::read(
        "PASSTHRU",
        "PASSTHRU(text)",
        "the text itself",
        |_, args| Ok(args.to_owned()),
    ),
    Function::read("MD5", "MD5(text)", "MD5 in hexadecimal", |_, args| {
        Ok(text::hex(&Md5::digest(subject(args)?.as_bytes())))
    }),
    Function::read("SHA1", "SHA1(text)", "SHA-1 in hexadecimal", |_, args| {
        Ok(text::hex(&Sha1::digest(subject(args)?.as_bytes())))
    }),
    Function::read(
        "BASE64_ENCODE",
        "BASE64_ENCODE(text)",
        "in base 64",
        |_, args| Ok(text::base64_encode(args.as_bytes())),
    ),
    Function::read(
        "BASE64_DECODE",
        "BASE64_DECODE(text)",
        "from base 64",
        |_, args| Ok(String::from_utf8_lossy(&text::base64_decode(args)).into_owned()),
    ),
    Function::read(
        "URIENCODE",
        "URIENCODE(text)",
        "as part of a URI",
        |_, args| Ok(text::uri_encode(args)),
    ),
    Function::read("URIDECODE", "URIDECODE(text)", "from a URI", |_, args| {
        Ok(text::uri_decode(args))
    }),
];

fn subject(text: &str) -> Result<&str, String> {
    if text.len() > SUBJECT_BYTES_MAX {
        return Err(format!(
            "the text has {} bytes; {SUBJECT_BYTES_MAX} are the limit",
            text.len()
        ));
    }
    Ok(text)
}

/// The value of a variable given by name, which may also be a function call such as `CALLERID(num)`.
fn named(task: &Task, name: &str) -> String {
    subst::resolve(name.trim(), task)
}

/// The arguments with quotes and backslashes kept, because delimiters are often just these.
fn raw(args: &str, count: usize) -> Vec<&str> {
    args::split_raw_at_most(args, ',', count)
}

/// A delimiter as written: an escape, a quoted character, or the character itself (a comma may follow the last comma).
fn delimiter(argument: Option<&&str>, default: char) -> char {
    let argument = argument.copied().unwrap_or_default();
    let bare = match argument.len() {
        1 | 2 if argument != "\"\"" => argument.to_owned(),
        _ => argument.trim_matches('"').to_owned(),
    };
    text::delimiter(&bare).unwrap_or(default)
}

fn cut(task: &Task, args: &str) -> Result<String, String> {
    let parts = raw(args, 3);
    let (Some(name), Some(fields)) = (parts.first(), parts.get(2)) else {
        return Err(
            "CUT takes a variable name, a delimiter and fields: CUT(CHANNEL,/,2)".to_owned(),
        );
    };
    Ok(text::cut(
        &named(task, name),
        delimiter(parts.get(1), '-'),
        fields,
    ))
}

fn field_count(task: &Task, args: &str) -> Result<String, String> {
    let parts = raw(args, 2);
    let name = parts.first().copied().unwrap_or_default();
    Ok(text::field_count(&named(task, name), delimiter(parts.get(1), '-')).to_string())
}

fn field_number(task: &Task, args: &str) -> Result<String, String> {
    let parts = raw(args, 3);
    let (Some(name), Some(value)) = (parts.first(), parts.get(2)) else {
        return Err("FIELDNUM takes a variable name, a delimiter and a value".to_owned());
    };
    Ok(text::field_number(&named(task, name), delimiter(parts.get(1), '-'), value).to_string())
}

fn filter(_: &Task, args: &str) -> Result<String, String> {
    let parts = raw(args, 2);
    let (Some(allowed), Some(value)) = (parts.first(), parts.get(1)) else {
        return Err(
            "FILTER takes the allowed characters and a text: FILTER(0-9,${EXTEN})".to_owned(),
        );
    };
    Ok(text::filter(allowed.trim_matches('"'), value))
}

fn replace(task: &Task, args: &str) -> Result<String, String> {
    let parts = raw(args, 3);
    let (Some(name), Some(find)) = (parts.first(), parts.get(1)) else {
        return Err("REPLACE takes a variable name and the characters to replace".to_owned());
    };
    let with = parts.get(2).and_then(|with| text::delimiter(with));
    Ok(text::replace_characters(
        &named(task, name),
        find.trim_matches('"'),
        with,
    ))
}

fn replace_text(task: &Task, args: &str) -> Result<String, String> {
    let parts = args::split(args);
    let (Some(name), Some(find)) = (parts.first(), parts.get(1)) else {
        return Err("STRREPLACE takes a variable name and the text to replace".to_owned());
    };
    let with = parts.get(2).map(String::as_str).unwrap_or_default();
    let max = parts.get(3).and_then(|max| max.trim().parse().ok());
    Ok(text::replace_text(&named(task, name), find, with, max))
}

fn regex(_: &Task, args: &str) -> Result<String, String> {
    // REGEX("pattern" text): the pattern ends at the next quote that is not escaped.
    let rest = args.trim_start();
    let (pattern, subject) = match rest.strip_prefix('"') {
        Some(rest) => {
            let mut escaped = false;
            let end = rest.char_indices().find(|(_, c)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            });
            let Some((end, _)) = end else {
                return Err(format!("REGEX({args}): the pattern has no closing quote"));
            };
            (
                rest.get(..end).unwrap_or_default().replace("\\\"", "\""),
                rest.get(end + 1..).unwrap_or_default(),
            )
        }
        None => {
            return Err(format!(
                "REGEX({args}): write it as REGEX(\"pattern\" text)"
            ));
        }
    };
    let subject = subject.strip_prefix(' ').unwrap_or(subject);
    let regex =
        expr::posix_regex(&pattern).map_err(|error| format!("REGEX(\"{pattern}\"): {error}"))?;
    Ok(u8::from(regex.is_match(self::subject(subject)?)).to_string())
}
