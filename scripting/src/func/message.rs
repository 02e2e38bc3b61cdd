//! The text that came, or is about to be sent: `MESSAGE`, `MESSAGE_DATA`.

use strowger_core::call::{MESSAGE_BYTES_MAX, MESSAGE_DATA_MAX, TextMessage};

use super::Function;
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read_write(
        "MESSAGE",
        "MESSAGE(to|from|body)",
        "a part of the text that came, or that MessageSend sends",
        |task, args| {
            let data = task.channel.data();
            let Some(text) = &data.message else {
                return Ok(String::new());
            };
            Ok(match field(args)? {
                Field::To => text.to.clone(),
                Field::From => text.from.clone(),
                Field::Body => text.body.clone(),
            })
        },
        |task, args, value| {
            let field = field(args)?;
            if value.len() > MESSAGE_BYTES_MAX {
                return Err(format!(
                    "MESSAGE({args}) has at most {MESSAGE_BYTES_MAX} bytes"
                ));
            }
            change(task, |text| {
                let part = match field {
                    Field::To => &mut text.to,
                    Field::From => &mut text.from,
                    Field::Body => &mut text.body,
                };
                value.clone_into(part);
                Ok(())
            })
        },
    ),
    Function::read_write(
        "MESSAGE_DATA",
        "MESSAGE_DATA(name)",
        "a header of the text that came, or that MessageSend sends",
        |task, args| {
            let data = task.channel.data();
            let text = data.message.as_ref();
            Ok(text
                .and_then(|text| text.data(args.trim()))
                .unwrap_or_default()
                .to_owned())
        },
        |task, args, value| {
            let name = args.trim();
            if name.is_empty() {
                return Err("MESSAGE_DATA needs a name".to_owned());
            }
            change(task, |text| {
                if text.set_data(name, value) {
                    Ok(())
                } else {
                    Err(format!("a text has at most {MESSAGE_DATA_MAX} headers"))
                }
            })
        },
    ),
];

enum Field {
    To,
    From,
    Body,
}

fn field(args: &str) -> Result<Field, String> {
    match args.trim().to_ascii_lowercase().as_str() {
        "to" => Ok(Field::To),
        "from" => Ok(Field::From),
        "body" => Ok(Field::Body),
        other => Err(format!("MESSAGE({other}): known are to, from, body")),
    }
}

fn change(
    task: &Task,
    change: impl FnOnce(&mut TextMessage) -> Result<(), String>,
) -> Result<(), String> {
    let mut data = task.channel.data_mut();
    change(data.message.get_or_insert_default())
}
