//! The two commands after a recording that are built in: `wavtompeg` and `wavtostereompeg`, under the names and with the
//! argument that dialplans call them by.

use std::path::PathBuf;

use super::Request;
use super::jobs::Plan;

/// Folder of the script, and whether it makes two channels.
const SCRIPTS: [(&str, bool); 2] = [("wavtompeg", false), ("wavtostereompeg", true)];

/// The script that a command runs, and what to do in its place; `None`: the command is another, or does not fit what is
/// recorded.
pub(super) fn recognise(command: &str, request: &Request) -> Option<(PathBuf, Plan)> {
    let mut words = command.split_whitespace();
    let script = words.next()?;
    let uniqueid = words.next()?.strip_prefix("--uniqueid=")?;
    if words.next().is_some() || !is_name(uniqueid) {
        return None;
    }
    let folder = script.strip_suffix("/script.php").unwrap_or(script);
    let name = folder.rsplit('/').next()?;
    let (_, stereo) = SCRIPTS.into_iter().find(|(known, _)| *known == name)?;
    let path = |target: &Option<super::Target>| Some(target.as_ref()?.path.clone());
    let (mix, receive, transmit) = (
        path(&request.mix),
        path(&request.receive),
        path(&request.transmit),
    );
    let inputs = match (stereo, mix.clone(), receive, transmit) {
        (true, _, Some(receive), Some(transmit)) => vec![receive, transmit],
        (false, Some(mix), _, _) => vec![mix],
        _ => return None,
    };
    let folder = inputs.first()?.parent()?.to_owned();
    let mut remove = inputs.clone();
    if stereo {
        // Both of its sides are in the new file.
        remove.extend(mix);
    }
    Some((
        PathBuf::from(script),
        Plan {
            inputs,
            remove,
            output: folder.join(format!("{uniqueid}.mp3")),
        },
    ))
}

/// Can it be part of a file name?
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text.len() <= 128
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::super::Target;
    use super::*;
    use strowger_media::FileFormat;

    fn wav(name: &str) -> Option<Target> {
        Some(Target {
            path: PathBuf::from("/monitor").join(name),
            format: FileFormat::Wav,
        })
    }

    #[test]
    fn the_commands_of_the_product_are_known_with_their_argument() {
        let mono = Request {
            mix: wav("17.1.wav"),
            ..Request::default()
        };
        let stereo = Request {
            receive: wav("17.1_receive.wav"),
            transmit: wav("17.1_transmit.wav"),
            ..mono.clone()
        };
        let scripts = "/var/lib/asterisk/scripts";
        for (command, request, inputs) in [
            (
                format!("{scripts}/wavtompeg/script.php --uniqueid=17.1"),
                &mono,
                Some(1),
            ),
            (
                format!("{scripts}/wavtostereompeg/script.php --uniqueid=17.1"),
                &stereo,
                Some(2),
            ),
            ("wavtompeg --uniqueid=17.1".to_owned(), &stereo, Some(1)),
            ("wavtostereompeg --uniqueid=17.1".to_owned(), &mono, None),
            ("wavtompeg".to_owned(), &mono, None),
            ("wavtompeg --uniqueid=../x".to_owned(), &mono, None),
            ("wavtompeg --uniqueid=17.1 --more".to_owned(), &mono, None),
            ("mywavtompeg --uniqueid=17.1".to_owned(), &mono, None),
            ("echo --uniqueid=17.1".to_owned(), &mono, None),
        ] {
            let plan = recognise(&command, request);
            assert_eq!(
                plan.as_ref().map(|(_, plan)| plan.inputs.len()),
                inputs,
                "{command}"
            );
            if let Some((_, plan)) = plan {
                assert_eq!(plan.output, PathBuf::from("/monitor/17.1.mp3"));
            }
        }
        let (_, plan) = recognise("wavtostereompeg --uniqueid=17.1", &stereo).unwrap();
        assert_eq!(plan.remove.len(), 3, "the mix is in the stereo file too");
    }
}
