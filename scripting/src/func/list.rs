//! Variables as lists: values joined by a delimiter, a comma unless another is given.

use strowger_dialplan::{args, subst};

use super::{Function, text};
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::write(
        "PUSH",
        "PUSH(variable[,delimiter])",
        "puts a value at the end of a list",
        |task, args, value| add(task, args, value, true),
    ),
    Function::write(
        "UNSHIFT",
        "UNSHIFT(variable[,delimiter])",
        "puts a value at the beginning of a list",
        |task, args, value| add(task, args, value, false),
    ),
    Function::read(
        "POP",
        "POP(variable[,delimiter])",
        "takes the last value of a list",
        |task, args| take(task, args, true),
    )
    .reaching(),
    Function::read(
        "SHIFT",
        "SHIFT(variable[,delimiter])",
        "takes the first value of a list",
        |task, args| take(task, args, false),
    )
    .reaching(),
    Function::read(
        "LISTFILTER",
        "LISTFILTER(variable,delimiter,value)",
        "a list without a value",
        |task, args| {
            let (list, delimiter, rest) = list(task, args)?;
            let wanted = rest.first().map(String::as_str).unwrap_or_default();
            Ok(without(&list, delimiter, wanted))
        },
    ),
    Function::read(
        "SORT",
        "SORT(key1:value1[,key2:value2...])",
        "the keys in the order of their numbers",
        |_, args| Ok(sort(args)),
    ),
    Function::read(
        "STRBETWEEN",
        "STRBETWEEN(insert,text)",
        "a text between the characters of another",
        |_, args| {
            let parts = args::split_at_most(args, 2);
            let [insert, text] = parts.as_slice() else {
                return Err("STRBETWEEN takes what to insert, and a text".to_owned());
            };
            Ok(between(insert, text))
        },
    ),
];

/// The value of the list that the first argument names, the delimiter, and what stands behind them.
fn list(task: &Task, args: &str) -> Result<(String, char, Vec<String>), String> {
    let parts = args::split(args);
    let name = parts.first().map(|name| name.trim()).unwrap_or_default();
    if name.is_empty() {
        return Err("the name of a variable is missing".to_owned());
    }
    let delimiter = parts
        .get(1)
        .and_then(|given| text::delimiter(given))
        .unwrap_or(',');
    Ok((
        subst::resolve(name, task),
        delimiter,
        parts.get(2..).unwrap_or_default().to_vec(),
    ))
}

fn name(args: &str) -> String {
    super::argument(args, 0)
}

fn add(task: &Task, args: &str, value: &str, end: bool) -> Result<(), String> {
    let (list, delimiter, _) = list(task, args)?;
    let new = if list.is_empty() {
        value.to_owned()
    } else if end {
        format!("{list}{delimiter}{value}")
    } else {
        format!("{value}{delimiter}{list}")
    };
    task.assign(&name(args), &new)
}

fn take(task: &Task, args: &str, end: bool) -> Result<String, String> {
    let (list, delimiter, _) = list(task, args)?;
    let (taken, rest) = if end {
        match list.rsplit_once(delimiter) {
            Some((rest, last)) => (last, rest),
            None => (list.as_str(), ""),
        }
    } else {
        list.split_once(delimiter).unwrap_or((&list, ""))
    };
    if !list.is_empty() {
        task.assign(&name(args), rest)?;
    }
    Ok(taken.to_owned())
}

fn without(list: &str, delimiter: char, value: &str) -> String {
    let kept: Vec<&str> = list
        .split(delimiter)
        .filter(|known| *known != value)
        .collect();
    kept.join(&delimiter.to_string())
}

/// Equal numbers stay in their order; what is no number counts as 0.
fn sort(args: &str) -> String {
    let mut pairs: Vec<(String, f64)> = args::split(args)
        .into_iter()
        .filter_map(|pair| {
            let (key, value) = pair.rsplit_once(':')?;
            let value = text::leading_number(value).unwrap_or(0.0);
            Some((key.trim().to_owned(), value))
        })
        .collect();
    pairs.sort_by(|a, b| a.1.total_cmp(&b.1));
    let keys: Vec<String> = pairs.into_iter().map(|(key, _)| key).collect();
    keys.join(",")
}

fn between(insert: &str, text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !out.is_empty() {
            if out.len() + insert.len() > text::RESULT_BYTES_MAX {
                break;
            }
            out.push_str(insert);
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_the_order_of_their_numbers() {
        for (args, wanted) in [
            ("a:3,b:1,c:2.5", "b,c,a"),
            ("x:1,y:1,z:-1", "z,x,y"),
            ("a:b:2,c:1", "c,a:b"),
            ("lonely,a:1", "a"),
            ("", ""),
        ] {
            assert_eq!(sort(args), wanted, "{args}");
        }
    }

    #[test]
    fn a_text_goes_between_characters_and_the_result_has_an_end() {
        assert_eq!(between("w", "123"), "1w2w3");
        assert_eq!(between("--", "я"), "я");
        assert_eq!(between("x", ""), "");
        assert!(between(&"i".repeat(1000), &"t".repeat(1000)).len() <= text::RESULT_BYTES_MAX + 4);
    }

    #[test]
    fn a_value_is_left_out_wherever_it_stands() {
        assert_eq!(without("a,b,a,c", ',', "a"), "b,c");
        assert_eq!(without("a-b", '-', "x"), "a-b");
        assert_eq!(without("a", ',', "a"), "");
    }
}
