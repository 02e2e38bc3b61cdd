//! The exchange, its machine and its configuration, and what stands in the frames of subroutines.

use std::time::SystemTime;

use strowger_core::child::{self, SETTINGS};

use super::{Function, argument};
use crate::task::Task;

/// What scripts compare versions with.
const VERSION: &str = "20.0.0";
const VERSION_NUMBER: &str = "200000";

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read(
        "VERSION",
        "VERSION([info])",
        "the version of Asterisk whose dialplans run here",
        |_, args| match args.trim() {
            "" => Ok(VERSION.to_owned()),
            "ASTERISK_VERSION_NUM" => Ok(VERSION_NUMBER.to_owned()),
            "BUILD_OS" => Ok("Linux".to_owned()),
            "BUILD_USER" | "BUILD_HOSTNAME" | "BUILD_MACHINE" | "BUILD_KERNEL" | "BUILD_DATE" => {
                Ok("unknown".to_owned())
            }
            other => Err(format!(
                "VERSION({other}): known are ASTERISK_VERSION_NUM and BUILD_OS"
            )),
        },
    ),
    Function::read(
        "SYSINFO",
        "SYSINFO(item)",
        "how the machine does",
        system_information,
    ),
    Function::read_write(
        "ENV",
        "ENV(name)",
        "a variable of the environment that programs are started with",
        |_, args| match environment_name(args)? {
            // It may hold the password of the database.
            name if name.starts_with(SETTINGS) => Ok(String::new()),
            name => Ok(child::variable(name).unwrap_or_default()),
        },
        |_, args, value| {
            let name = environment_name(args)?;
            if name.starts_with(SETTINGS) {
                return Err(format!("{name} is a setting of the exchange"));
            }
            if value.contains('\0') {
                return Err("a value cannot hold a zero byte".to_owned());
            }
            // As in Asterisk an empty value takes the variable out.
            if child::set_variable(name, Some(value).filter(|value| !value.is_empty())) {
                Ok(())
            } else {
                Err(format!(
                    "there are {} variables already",
                    child::VARIABLES_MAX
                ))
            }
        },
    )
    .reaching(),
    Function::read(
        "AST_CONFIG",
        "AST_CONFIG(file,section,name[,index])",
        "a value of the static configuration tables",
        configured,
    )
    .reaching(),
    Function::read(
        "LOCAL_PEEK",
        "LOCAL_PEEK(n,variable)",
        "a variable as n subroutines further out see it",
        |task, args| {
            let depth = argument(args, 0)
                .parse()
                .map_err(|_| format!("LOCAL_PEEK({args}): write a number and a variable"))?;
            Ok(task
                .local_peek(depth, &argument(args, 1))
                .unwrap_or_default())
        },
    ),
    Function::read(
        "STACK_PEEK",
        "STACK_PEEK(n,c|e|p|l[,suppress])",
        "where the n-th subroutine will come back to",
        stack_peek,
    ),
];

fn environment_name(args: &str) -> Result<&str, String> {
    match args.trim() {
        "" => Err("ENV needs the name of a variable".to_owned()),
        name if name.contains(['=', '\0']) => Err(format!("\"{name}\" is no name")),
        name => Ok(name),
    }
}

fn system_information(task: &Task, args: &str) -> Result<String, String> {
    let memory = |name: &str| {
        let read = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        memory(&read, name).to_string()
    };
    Ok(match args.trim().to_ascii_lowercase().as_str() {
        // These files are made when they are read: no disk is asked.
        "loadavg" => std::fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned(),
        "numcalls" => task.shared().channels().to_string(),
        "uptime" => {
            let up = SystemTime::now().duration_since(task.shared().started);
            (up.unwrap_or_default().as_secs() / 3600).to_string()
        }
        "totalram" => memory("MemTotal:"),
        "freeram" => memory("MemFree:"),
        "bufferram" => memory("Buffers:"),
        "totalswap" => memory("SwapTotal:"),
        "freeswap" => memory("SwapFree:"),
        "numprocs" => std::fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .split([' ', '/'])
            .nth(4)
            .unwrap_or_default()
            .to_owned(),
        other => {
            return Err(format!(
                "SYSINFO({other}): known are loadavg, numcalls, uptime, totalram, freeram, bufferram, totalswap, freeswap, numprocs"
            ));
        }
    })
}

/// A line of `/proc/meminfo`, in KiB.
fn memory(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn configured(task: &Task, args: &str) -> Result<String, String> {
    let (file, section, name) = (argument(args, 0), argument(args, 1), argument(args, 2));
    if file.is_empty() || section.is_empty() || name.is_empty() {
        return Err("AST_CONFIG takes a file, a section and a name".to_owned());
    }
    let snapshot = task.shared().snapshot();
    let mut values = snapshot
        .statics
        .iter()
        .filter(|row| {
            row.filename.eq_ignore_ascii_case(&file)
                && row.category == section
                && row.var_name == name
        })
        .map(|row| row.var_val.clone());
    let found = match argument(args, 3).as_str() {
        "" => values.next(),
        "-1" => values.next_back(),
        index => {
            let index: usize = index.parse().map_err(|_| {
                format!("AST_CONFIG: \"{index}\" is no index: 0 is the first, -1 the last")
            })?;
            values.nth(index)
        }
    };
    Ok(found.unwrap_or_default())
}

fn stack_peek(task: &Task, args: &str) -> Result<String, String> {
    let depth: usize = argument(args, 0)
        .parse()
        .ok()
        .filter(|depth| *depth > 0)
        .ok_or_else(|| format!("STACK_PEEK({args}): the innermost subroutine is 1"))?;
    let Some(place) = task.stack_peek(depth) else {
        return if argument(args, 2).is_empty() {
            Err(format!(
                "STACK_PEEK({args}): so many subroutines are not open"
            ))
        } else {
            Ok(String::new())
        };
    };
    Ok(match argument(args, 1).as_str() {
        "c" => place.context,
        "e" => place.exten,
        "p" => place.priority.to_string(),
        "l" | "" => format!("{},{},{}", place.context, place.exten, place.priority),
        other => {
            return Err(format!(
                "STACK_PEEK: \"{other}\": known are c (context), e (extension), p (priority), l (all three)"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_kibibytes() {
        let text = "MemTotal:       24689140 kB\nMemFree:         1234 kB\n";
        assert_eq!(memory(text, "MemTotal:"), 24_689_140);
        assert_eq!(memory(text, "MemFree:"), 1234);
        assert_eq!(memory(text, "Nothing:"), 0);
    }
}
