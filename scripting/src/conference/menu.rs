//! Menus: what digits do in a conference.

use super::profile::Options;

/// What a sequence of digits does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    ToggleMute,
    LeaveConference,
    /// Steps of 6 dB up, down, or (0) back to none.
    ListeningVolume(i8),
    TalkingVolume(i8),
    NoOp,
    /// Plays sounds to the member.
    Playback(String),
    /// The same, until he presses the next digit.
    PlaybackAndContinue(String),
    ToggleLock,
    KickLast,
    ToggleParticipantsMute,
    ParticipantCount,
}

impl Action {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (name, argument) = match text.split_once('(') {
            Some((name, rest)) => (name.trim(), rest.trim_end().trim_end_matches(')').trim()),
            None => (text, ""),
        };
        Ok(match name.to_ascii_lowercase().as_str() {
            "toggle_mute" => Self::ToggleMute,
            "leave_conference" => Self::LeaveConference,
            "increase_listening_volume" => Self::ListeningVolume(1),
            "decrease_listening_volume" => Self::ListeningVolume(-1),
            "reset_listening_volume" => Self::ListeningVolume(0),
            "increase_talking_volume" => Self::TalkingVolume(1),
            "decrease_talking_volume" => Self::TalkingVolume(-1),
            "reset_talking_volume" => Self::TalkingVolume(0),
            "no_op" => Self::NoOp,
            "playback" if !argument.is_empty() => Self::Playback(argument.to_owned()),
            "playback_and_continue" if !argument.is_empty() => {
                Self::PlaybackAndContinue(argument.to_owned())
            }
            "admin_toggle_conference_lock" => Self::ToggleLock,
            "admin_kick_last" => Self::KickLast,
            "admin_toggle_mute_participants" => Self::ToggleParticipantsMute,
            "participant_count" => Self::ParticipantCount,
            _ => {
                return Err(format!(
                    "menu action \"{text}\": known are toggle_mute, leave_conference, increase_, decrease_ and reset_listening_volume, increase_, decrease_ and reset_talking_volume, no_op, playback(files), playback_and_continue(files), participant_count, admin_toggle_conference_lock, admin_kick_last, admin_toggle_mute_participants"
                ));
            }
        })
    }

    /// May only admins do it?
    pub(crate) fn needs_admin(&self) -> bool {
        matches!(
            self,
            Self::ToggleLock | Self::KickLast | Self::ToggleParticipantsMute
        )
    }
}

/// What digits do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Menu(Vec<(String, Vec<Action>)>);

/// What the digits so far mean.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found<'m> {
    pub(crate) actions: Option<&'m [Action]>,
    /// More digits may mean something else.
    pub(crate) longer: bool,
}

/// Commas that are not within parentheses part actions.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth <= 0
    })
    .collect()
}

impl Menu {
    /// Reads a menu; what cannot be read is left out and told.
    pub(crate) fn read(options: &Options) -> (Self, Vec<String>) {
        let mut wrong = Vec::new();
        let mut entries = Vec::new();
        for (keys, actions) in options.iter() {
            if keys.eq_ignore_ascii_case("type") || keys.eq_ignore_ascii_case("template") {
                continue;
            }
            if keys.is_empty() || !keys.chars().all(|key| "0123456789*#ABCD".contains(key)) {
                wrong.push(format!("menu: \"{keys}\" are no keys"));
                continue;
            }
            let read = split(actions).into_iter().map(Action::parse);
            match read.collect::<Result<Vec<_>, _>>() {
                Ok(actions) => entries.push((keys.to_owned(), actions)),
                Err(error) => wrong.push(error),
            }
        }
        (Self(entries), wrong)
    }

    /// Looks the digits up.
    pub(crate) fn find(&self, digits: &str) -> Found<'_> {
        let exact = self.0.iter().find(|(keys, _)| keys == digits);
        let longer = |(keys, _): &(String, Vec<Action>)| {
            keys.len() > digits.len() && keys.starts_with(digits)
        };
        Found {
            actions: exact.map(|(_, actions)| actions.as_slice()),
            longer: self.0.iter().any(longer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_menu_is_read_and_its_keys_found() {
        let mut options = Options::default();
        for (keys, actions) in [
            ("type", "menu"),
            ("1", "toggle_mute"),
            ("*", "playback_and_continue(a&b,c)"),
            ("*7", "playback(x),leave_conference"),
            ("9", "increase_talking_volume, fly"),
            ("hello", "no_op"),
        ] {
            options.set(keys, actions);
        }
        let (menu, wrong) = Menu::read(&options);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(
            wrong[0].contains("\"fly\"") && wrong[1].contains("hello"),
            "{wrong:?}"
        );
        let one = menu.find("1");
        assert_eq!(
            (one.actions, one.longer),
            (Some(&[Action::ToggleMute][..]), false)
        );
        let star = menu.find("*");
        assert!(star.longer);
        assert_eq!(
            star.actions,
            Some(&[Action::PlaybackAndContinue("a&b,c".to_owned())][..])
        );
        let both = menu.find("*7");
        assert_eq!(
            both.actions,
            Some(&[Action::Playback("x".to_owned()), Action::LeaveConference][..])
        );
        assert_eq!(
            menu.find("9"),
            Found {
                actions: None,
                longer: false
            }
        );
    }
}
