//! Which commands there are, what they take, and which of them a script may use after the call.

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Answer,
    AsyncBreak,
    ChannelStatus,
    ControlStreamFile,
    DatabaseDel,
    DatabaseDelTree,
    DatabaseGet,
    DatabasePut,
    Exec,
    GetData,
    GetFullVariable,
    GetOption,
    GetVariable,
    Gosub,
    HangUp,
    NoOp,
    ReceiveChar,
    ReceiveText,
    RecordFile,
    SayAlpha,
    SayDate,
    SayDateTime,
    SayDigits,
    SayNumber,
    SayPhonetic,
    SayTime,
    SendImage,
    SendText,
    SetAutoHangup,
    SetCallerId,
    SetContext,
    SetExtension,
    SetMusic,
    SetPriority,
    SetVariable,
    Speech,
    StreamFile,
    TddMode,
    Verbose,
    WaitForDigit,
}

/// A command.
#[derive(Debug)]
pub(crate) struct Command {
    /// Its words, upper case, blanks between them.
    pub(crate) name: &'static str,
    pub(crate) verb: Verb,
    /// Allowed after the call.
    pub(crate) dead: bool,
    least: usize,
    most: usize,
    arguments: &'static str,
    meaning: &'static str,
}

impl Command {
    /// Is this a number of arguments that it takes?
    pub(crate) fn takes(&self, count: usize) -> bool {
        (self.least..=self.most).contains(&count)
    }

    /// The text of a 520 answer.
    pub(crate) fn usage(&self) -> String {
        format!(
            "Usage: {} {}\n\t{}",
            self.name, self.arguments, self.meaning
        )
    }
}

const ANY: usize = usize::MAX;

const fn live(
    name: &'static str,
    verb: Verb,
    (least, most): (usize, usize),
    arguments: &'static str,
    meaning: &'static str,
) -> Command {
    Command {
        name,
        verb,
        dead: false,
        least,
        most,
        arguments,
        meaning,
    }
}

const fn always(
    name: &'static str,
    verb: Verb,
    count: (usize, usize),
    arguments: &'static str,
    meaning: &'static str,
) -> Command {
    Command {
        dead: true,
        ..live(name, verb, count, arguments, meaning)
    }
}

/// All commands.
pub(crate) static COMMANDS: &[Command] = &[
    live(
        "ANSWER",
        Verb::Answer,
        (0, 0),
        "",
        "Answers the call. 0; -1 if it is over.",
    ),
    always(
        "ASYNCAGI BREAK",
        Verb::AsyncBreak,
        (0, 0),
        "",
        "Ends AsyncAGI; elsewhere nothing. 0.",
    ),
    live(
        "CHANNEL STATUS",
        Verb::ChannelStatus,
        (0, 1),
        "[<channel>]",
        "The state of a channel, 0 to 7: 0 down, 3 dialing, 4 ring, 5 ringing, 6 up, 7 busy. -1: there is none.",
    ),
    live(
        "CONTROL STREAM FILE",
        Verb::ControlStreamFile,
        (2, 7),
        "<file> <escape digits> [<skip ms>] [<forward>] [<rewind>] [<pause>] [<offset ms>]",
        "Plays a sound that keys move and pause. 0, or the code of the digit that ended it.",
    ),
    always(
        "DATABASE DEL",
        Verb::DatabaseDel,
        (2, 2),
        "<family> <key>",
        "Deletes a value. 1, or 0.",
    ),
    always(
        "DATABASE DELTREE",
        Verb::DatabaseDelTree,
        (1, 2),
        "<family> [<tree>]",
        "Deletes a family, or what is below a key of it. 0 if anything was deleted, else 1.",
    ),
    always(
        "DATABASE GET",
        Verb::DatabaseGet,
        (2, 2),
        "<family> <key>",
        "1 and the value, or 0.",
    ),
    always(
        "DATABASE PUT",
        Verb::DatabasePut,
        (3, 3),
        "<family> <key> <value>",
        "Stores a value. 1, or 0.",
    ),
    always(
        "EXEC",
        Verb::Exec,
        (1, ANY),
        "<application> [<arguments>]",
        "Runs an application. Its result; -2 if there is no such application.",
    ),
    live(
        "GET DATA",
        Verb::GetData,
        (1, 3),
        "<file> [<timeout ms>] [<max digits>]",
        "Plays a sound and collects digits up to #.",
    ),
    always(
        "GET FULL VARIABLE",
        Verb::GetFullVariable,
        (1, 2),
        "<expression> [<channel>]",
        "1 and the text with ${...} and $[...] evaluated; 0 if there is no such channel.",
    ),
    live(
        "GET OPTION",
        Verb::GetOption,
        (2, 3),
        "<file> <escape digits> [<timeout ms>]",
        "Plays a sound and waits for one of the digits.",
    ),
    always(
        "GET VARIABLE",
        Verb::GetVariable,
        (1, 1),
        "<name>",
        "1 and the value, or 0.",
    ),
    live(
        "GOSUB",
        Verb::Gosub,
        (3, 4),
        "<context> <extension> <priority> [<arguments>]",
        "Runs a subroutine of the dialplan.",
    ),
    live(
        "HANGUP",
        Verb::HangUp,
        (0, 1),
        "[<channel>]",
        "Ends a call. 1; -1 if there is no such channel.",
    ),
    always("NOOP", Verb::NoOp, (0, ANY), "[<text>]", "Does nothing."),
    live(
        "RECEIVE CHAR",
        Verb::ReceiveChar,
        (1, 1),
        "<timeout ms>",
        "A character of text from the caller.",
    ),
    live(
        "RECEIVE TEXT",
        Verb::ReceiveText,
        (1, 1),
        "<timeout ms>",
        "A text from the caller.",
    ),
    live(
        "RECORD FILE",
        Verb::RecordFile,
        (4, 7),
        "<file> <format> <escape digits> <timeout ms> [<offset samples>] [BEEP] [s=<silence seconds>]",
        "Records until a digit, silence, or the time is over; timeout -1 is none.",
    ),
    live(
        "SAY ALPHA",
        Verb::SayAlpha,
        (2, 2),
        "<text> <escape digits>",
        "Spells a text. 0, or the code of the digit that ended it.",
    ),
    live(
        "SAY DATE",
        Verb::SayDate,
        (2, 2),
        "<seconds since 1970> <escape digits>",
        "Says a date. 0, or the code of the digit that ended it.",
    ),
    live(
        "SAY DATETIME",
        Verb::SayDateTime,
        (2, 4),
        "<seconds since 1970> <escape digits> [<format>] [<timezone>]",
        "Says a date and time. 0, or the code of the digit that ended it.",
    ),
    live(
        "SAY DIGITS",
        Verb::SayDigits,
        (2, 2),
        "<digits> <escape digits>",
        "Says digits. 0, or the code of the digit that ended it.",
    ),
    live(
        "SAY NUMBER",
        Verb::SayNumber,
        (2, 3),
        "<number> <escape digits> [<gender>]",
        "Says a number. 0, or the code of the digit that ended it.",
    ),
    live(
        "SAY PHONETIC",
        Verb::SayPhonetic,
        (2, 2),
        "<text> <escape digits>",
        "Spells a text by words. 0, or the code of the digit that ended it.",
    ),
    live(
        "SAY TIME",
        Verb::SayTime,
        (2, 2),
        "<seconds since 1970> <escape digits>",
        "Says a time. 0, or the code of the digit that ended it.",
    ),
    live(
        "SEND IMAGE",
        Verb::SendImage,
        (1, 1),
        "<image>",
        "Sends an image. 0, or -1.",
    ),
    live(
        "SEND TEXT",
        Verb::SendText,
        (1, 1),
        "<text>",
        "Sends a text. 0, or -1.",
    ),
    live(
        "SET AUTOHANGUP",
        Verb::SetAutoHangup,
        (1, 1),
        "<seconds>",
        "Ends the call in so many seconds; 0: not.",
    ),
    live(
        "SET CALLERID",
        Verb::SetCallerId,
        (1, 1),
        "<number>",
        "Changes the caller id.",
    ),
    live(
        "SET CONTEXT",
        Verb::SetContext,
        (1, 1),
        "<context>",
        "Where the dialplan goes on.",
    ),
    live(
        "SET EXTENSION",
        Verb::SetExtension,
        (1, 1),
        "<extension>",
        "Where the dialplan goes on.",
    ),
    live(
        "SET MUSIC",
        Verb::SetMusic,
        (1, 2),
        "on|off [<class>]",
        "Plays music in the background, or ends it.",
    ),
    live(
        "SET PRIORITY",
        Verb::SetPriority,
        (1, 1),
        "<priority>",
        "Where the dialplan goes on: a number or a label.",
    ),
    always(
        "SET VARIABLE",
        Verb::SetVariable,
        (2, 2),
        "<name> <value>",
        "Sets a variable or writes a function.",
    ),
    live(
        "SPEECH CREATE",
        Verb::Speech,
        (1, 1),
        "<engine>",
        "There is no speech recognition.",
    ),
    live(
        "SPEECH SET",
        Verb::Speech,
        (2, 2),
        "<name> <value>",
        "There is no speech recognition.",
    ),
    live(
        "SPEECH DESTROY",
        Verb::Speech,
        (0, 0),
        "",
        "There is no speech recognition.",
    ),
    live(
        "SPEECH LOAD GRAMMAR",
        Verb::Speech,
        (2, 2),
        "<name> <path>",
        "There is no speech recognition.",
    ),
    live(
        "SPEECH UNLOAD GRAMMAR",
        Verb::Speech,
        (1, 1),
        "<name>",
        "There is no speech recognition.",
    ),
    live(
        "SPEECH ACTIVATE GRAMMAR",
        Verb::Speech,
        (1, 1),
        "<name>",
        "There is no speech recognition.",
    ),
    live(
        "SPEECH DEACTIVATE GRAMMAR",
        Verb::Speech,
        (1, 1),
        "<name>",
        "There is no speech recognition.",
    ),
    live(
        "SPEECH RECOGNIZE",
        Verb::Speech,
        (2, 3),
        "<prompt> <timeout> [<offset>]",
        "There is no speech recognition.",
    ),
    live(
        "STREAM FILE",
        Verb::StreamFile,
        (2, 3),
        "<file> <escape digits> [<offset samples>]",
        "Plays a sound. 0, or the code of the digit that ended it.",
    ),
    live(
        "TDD MODE",
        Verb::TddMode,
        (1, 1),
        "on|off|mate",
        "Telephone for the deaf: 0, there is none.",
    ),
    always(
        "VERBOSE",
        Verb::Verbose,
        (1, 2),
        "<message> [<level 1-4>]",
        "Writes a text to the log.",
    ),
    live(
        "WAIT FOR DIGIT",
        Verb::WaitForDigit,
        (1, 1),
        "<timeout ms>",
        "The code of a digit; 0 after the time, -1: no limit.",
    ),
];

/// The command that these words begin with, and the rest of them. The longest name counts.
pub(crate) fn find(words: &[String]) -> Option<(&'static Command, &[String])> {
    COMMANDS
        .iter()
        .filter_map(|command| {
            let mut count = 0;
            let same = command.name.split(' ').all(|part| {
                let said = words.get(count);
                count += 1;
                said.is_some_and(|said| said.eq_ignore_ascii_case(part))
            });
            same.then(|| (command, words.get(count..).unwrap_or_default(), count))
        })
        .max_by_key(|(_, _, count)| *count)
        .map(|(command, rest, _)| (command, rest))
}

#[cfg(test)]
mod tests {
    use super::super::protocol::words;
    use super::*;

    fn verb(line: &str) -> Option<(Verb, usize)> {
        find(&words(line)).map(|(command, rest)| (command.verb, rest.len()))
    }

    #[test]
    fn commands_are_found_in_any_case_by_their_longest_name() {
        for (line, wanted) in [
            ("ANSWER", Some((Verb::Answer, 0))),
            ("answer now", Some((Verb::Answer, 1))),
            ("Get Full Variable ${X}", Some((Verb::GetFullVariable, 1))),
            ("GET VARIABLE X", Some((Verb::GetVariable, 1))),
            ("database deltree a", Some((Verb::DatabaseDelTree, 1))),
            ("database del a b", Some((Verb::DatabaseDel, 2))),
            ("say datetime 0 \"\"", Some((Verb::SayDateTime, 2))),
            ("GET", None),
            ("GETVARIABLE X", None),
            ("", None),
            ("garbage", None),
        ] {
            assert_eq!(verb(line), wanted, "{line}");
        }
    }

    #[test]
    fn every_command_says_how_it_is_used() {
        for command in COMMANDS {
            assert_eq!(command.name, command.name.to_uppercase());
            assert!(command.least <= command.most, "{}", command.name);
            assert!(command.usage().starts_with("Usage: "), "{}", command.name);
            let said = words(command.name);
            let (found, rest) = find(&said).unwrap();
            assert_eq!((found.name, rest.len()), (command.name, 0));
        }
        assert_eq!(COMMANDS.len(), 47);
    }

    #[test]
    fn after_the_call_only_what_needs_none_is_allowed() {
        let dead: Vec<&str> = COMMANDS
            .iter()
            .filter(|command| command.dead)
            .map(|command| command.name)
            .collect();
        assert_eq!(
            dead,
            [
                "ASYNCAGI BREAK",
                "DATABASE DEL",
                "DATABASE DELTREE",
                "DATABASE GET",
                "DATABASE PUT",
                "EXEC",
                "GET FULL VARIABLE",
                "GET VARIABLE",
                "NOOP",
                "SET VARIABLE",
                "VERBOSE"
            ]
        );
    }
}
