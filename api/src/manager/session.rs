//! One session: who it is, and what of events it gets. Knows no sockets and no clock.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use md5::{Digest as _, Md5};
use strowger_core::events::{Event, Told};
use subtle::ConstantTimeEq as _;

use super::Manager;
use super::answer::{self, Answer, Stamp};
use super::classes::{self, Classes};
use super::filter::Filters;
use super::request::Request;
use super::settings::{Settings, User};

/// A session from its greeting to its end.
#[derive(Default)]
pub(crate) struct Session {
    user: Option<Arc<User>>,
    /// What the session asked for, within what its user may read.
    events: Classes,
    filters: Filters,
    challenge: Option<String>,
}

/// Why nobody is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nobody has that name. Who asks is not told which of these it was.
    Unknown,
    /// This user may not come from there.
    Denied,
    /// The secret is wrong.
    Wrong,
}

impl Session {
    /// The user, once somebody logged in.
    pub(crate) fn user(&self) -> Option<&Arc<User>> {
        self.user.as_ref()
    }

    /// Does it get any events at all?
    pub(crate) fn listens(&self) -> bool {
        self.user.is_some() && !self.events.is_none()
    }

    /// Does it get events of all these classes, unless a filter holds one back?
    pub(crate) fn hears(&self, classes: Classes) -> bool {
        self.user.is_some() && self.events.include(classes)
    }

    /// May this be done?
    pub(crate) fn may(&self, classes: Classes) -> bool {
        self.user
            .as_ref()
            .is_some_and(|user| classes.is_none() || !user.write.both(classes).is_none())
    }

    /// Who wants to log in, if he proves it.
    ///
    /// # Errors
    /// Why he may not. Of a wrong place it is not said whether the secret was right.
    pub(crate) fn prove(
        &self,
        request: &Request,
        settings: &Settings,
        from: IpAddr,
    ) -> Result<Arc<User>, Refused> {
        let name = request.get("Username");
        let found = settings.find(name);
        // Who is unknown takes as long as who is known.
        let secret = found.map_or("", |user| &user.secret);
        let proved = if request.get("AuthType").eq_ignore_ascii_case("MD5") {
            let expected = key(self.challenge.as_deref().unwrap_or_default(), secret);
            self.challenge.is_some() & is_same(request.get("Key"), &expected)
        } else {
            is_same(request.get("Secret"), secret)
        };
        let user = found.ok_or(Refused::Unknown)?;
        if !user.may_come_from(from) {
            return Err(Refused::Denied);
        }
        if !proved {
            return Err(Refused::Wrong);
        }
        Ok(Arc::clone(user))
    }

    /// It is this user's from now on, with the events that the request to log in asks for.
    pub(crate) fn admit(&mut self, user: &Arc<User>, request: &Request) {
        self.become_user(user);
        if let Some(mask) = request.given("Events").and_then(Classes::mask) {
            self.events = mask.both(user.read);
        }
    }

    /// It is this user's from now on, with all events that he may read.
    pub(crate) fn become_user(&mut self, user: &Arc<User>) {
        self.events = user.read;
        self.filters = user.filters.clone();
        self.user = Some(Arc::clone(user));
    }

    /// Gets no events until it asks for them.
    pub(crate) fn mute(&mut self) {
        self.events = Classes::NONE;
    }

    /// Gets all events that its user may read, if it gets none yet.
    pub(crate) fn unmute(&mut self) {
        if self.events.is_none() {
            self.events = self.user.as_ref().map_or(Classes::NONE, |user| user.read);
        }
    }

    /// `Challenge`.
    pub(crate) fn challenge(&mut self, request: &Request) -> String {
        if !request.get("AuthType").eq_ignore_ascii_case("MD5") {
            return answer::error(request, "Must specify AuthType");
        }
        let challenge = self
            .challenge
            .get_or_insert_with(|| (super::random() & 0x7fff_ffff).to_string());
        let mut text = Answer::to(request);
        text.response("Success").line("Challenge", challenge).end();
        text.into_text()
    }

    /// `Events`.
    pub(crate) fn change_events(&mut self, request: &Request) -> String {
        let Some(mask) = Classes::mask(request.get("EventMask")) else {
            return answer::error(request, "Invalid event mask");
        };
        let read = self.user.as_ref().map_or(Classes::NONE, |user| user.read);
        self.events = mask.both(read);
        let mut text = Answer::to(request);
        let word = if mask.is_none() { "Off" } else { "On" };
        text.response("Success").line("Events", word).end();
        text.into_text()
    }

    /// `Filter`.
    pub(crate) fn filter(&mut self, request: &Request) -> String {
        if !request.get("Operation").eq_ignore_ascii_case("Add") {
            return answer::error(request, "Unknown operation");
        }
        let expression = request.get("Filter");
        match self.filters.add(request.get("MatchCriteria"), expression) {
            Ok(()) => answer::success(request, "Success"),
            Err(_) => answer::error(
                request,
                "Filter did not compile.  Check the syntax of the filter given.",
            ),
        }
    }

    /// Is an event of this name for this session, unless a filter holds it back?
    fn wants(&self, event: &Event, settings: &Settings) -> bool {
        self.listens()
            && self.events.include(classes::of_event(event.name))
            && (event.name != "Cdr" || settings.records)
            && !settings
                .disabled_events
                .iter()
                .any(|name| name.eq_ignore_ascii_case(event.name))
    }

    /// The text of an event, if this session is to have it.
    pub(crate) fn event(
        &self,
        event: &Event,
        settings: &Settings,
        stamp: &Stamp,
    ) -> Option<String> {
        if !self.wants(event, settings) {
            return None;
        }
        let (_, text) = answer::event(event, stamp);
        self.filters.pass(event.name, &text).then_some(text)
    }

    /// The same of an event that other sessions are told of too: it is written once for all of them.
    pub(crate) fn told(&self, told: &Told, settings: &Settings) -> Option<Arc<str>> {
        if !self.wants(told, settings) {
            return None;
        }
        let write = || -> Arc<str> {
            answer::event(told, &Manager::stamp(settings, told))
                .1
                .into()
        };
        let stamped = settings.timestamps;
        let (kind, text) = told.written.get_or_init(|| (stamped, write()));
        let text = if *kind == stamped {
            Arc::clone(text)
        } else {
            // The setting has changed since.
            write()
        };
        self.filters.pass(told.name, &text).then_some(text)
    }
}

/// What answers an MD5 challenge.
fn key(challenge: &str, secret: &str) -> String {
    hex(&Md5::digest(format!("{challenge}{secret}")))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Compared in a time that does not tell where they differ. Nothing is not the same as nothing.
pub(super) fn is_same(given: &str, expected: &str) -> bool {
    !expected.is_empty() && bool::from(given.as_bytes().ct_eq(expected.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::request::tests::request;
    use super::super::settings::tests::rows;
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn settings() -> Settings {
        let rows = rows(&[
            ("admin", "secret", "s3cret"),
            ("admin", "read", "call,user"),
            ("admin", "write", "call"),
            ("admin", "allowmultiplelogin", "no"),
            ("far", "secret", "s3cret"),
            ("far", "deny", "127.0.0.0/8"),
        ]);
        Settings::read(&rows, SocketAddr::from(([127, 0, 0, 1], 5038)))
    }

    fn login(session: &mut Session, request: &Request, from: IpAddr) -> Result<(), Refused> {
        let user = session.prove(request, &settings(), from)?;
        session.admit(&user, request);
        Ok(())
    }

    #[test]
    fn only_the_right_secret_at_the_right_place_opens() {
        for (name, secret, from, wanted) in [
            ("admin", "s3cret", HERE, Ok(())),
            ("admin", "s3cre", HERE, Err(Refused::Wrong)),
            ("admin", "", HERE, Err(Refused::Wrong)),
            ("nobody", "", HERE, Err(Refused::Unknown)),
            ("", "", HERE, Err(Refused::Unknown)),
            ("far", "s3cret", HERE, Err(Refused::Denied)),
            ("far", "wrong", HERE, Err(Refused::Denied)),
            ("far", "s3cret", IpAddr::from([192, 0, 2, 1]), Ok(())),
            (
                "far",
                "s3cret",
                "::ffff:127.0.0.1".parse().expect("an address"),
                Err(Refused::Denied),
            ),
        ] {
            let mut session = Session::default();
            let asked = request(&[("Username", name), ("Secret", secret)]);
            let result = login(&mut session, &asked, from);
            assert_eq!(result, wanted, "{name} {secret} {from}");
            assert_eq!(session.user().is_some(), wanted.is_ok());
        }
    }

    #[test]
    fn a_challenge_is_answered_with_its_digest_once_it_was_asked_for() {
        let mut session = Session::default();
        let guessed = key("", "s3cret");
        let early = request(&[
            ("Username", "admin"),
            ("AuthType", "md5"),
            ("Key", &guessed),
        ]);
        assert!(login(&mut session, &early, HERE).is_err());
        assert_eq!(
            session.challenge(&request(&[("AuthType", "sha")])),
            "Response: Error\r\nMessage: Must specify AuthType\r\n\r\n"
        );
        let text = session.challenge(&request(&[("ActionID", "9"), ("AuthType", "MD5")]));
        let digits = text
            .strip_prefix("Response: Success\r\nActionID: 9\r\nChallenge: ")
            .and_then(|rest| rest.strip_suffix("\r\n\r\n"))
            .expect("a challenge")
            .to_owned();
        assert!(digits.parse::<u32>().is_ok());
        assert_eq!(key("1234", "s3cret").len(), 32);
        let answer = key(&digits, "s3cret");
        let asked = request(&[("Username", "admin"), ("AuthType", "MD5"), ("Key", &answer)]);
        assert_eq!(login(&mut session, &asked, HERE), Ok(()));
    }

    #[test]
    fn events_are_what_is_asked_for_within_what_may_be_read() {
        let mut session = Session::default();
        let settings = settings();
        let asked = request(&[
            ("Username", "admin"),
            ("Secret", "s3cret"),
            ("Events", "off"),
        ]);
        assert_eq!(login(&mut session, &asked, HERE), Ok(()));
        let told = |session: &Session, name: &'static str| {
            let event = Event::new(name);
            session
                .event(&event, &settings, &Stamp::default())
                .is_some()
        };
        assert!(!session.listens() && !told(&session, "Hangup"));
        let all = request(&[("EventMask", "on")]);
        assert_eq!(
            session.change_events(&all),
            "Response: Success\r\nEvents: On\r\n\r\n"
        );
        assert!(told(&session, "Hangup") && told(&session, "UserEvent"));
        assert!(!told(&session, "VarSet") && !told(&session, "FullyBooted"));
        session.filter(&request(&[("Operation", "Add"), ("Filter", "!UserEvent")]));
        assert!(told(&session, "Hangup") && !told(&session, "UserEvent"));
        assert_eq!(
            session.filter(&request(&[("Operation", "Add"), ("Filter", "(")])),
            "Response: Error\r\nMessage: Filter did not compile.  Check the syntax of the filter given.\r\n\r\n"
        );
        assert_eq!(
            session.filter(&request(&[("Operation", "Remove")])),
            "Response: Error\r\nMessage: Unknown operation\r\n\r\n"
        );
        let none = request(&[("EventMask", "off")]);
        assert_eq!(
            session.change_events(&none),
            "Response: Success\r\nEvents: Off\r\n\r\n"
        );
        assert!(!told(&session, "Hangup"));
        assert_eq!(
            session.change_events(&request(&[])),
            "Response: Error\r\nMessage: Invalid event mask\r\n\r\n"
        );
        assert!(session.may(Classes::CALL.and(Classes::SYSTEM)) && session.may(Classes::NONE));
        assert!(!session.may(Classes::SYSTEM) && !Session::default().may(Classes::NONE));
    }
}
