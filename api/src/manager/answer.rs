//! The text of answers and events: which lines, in which order. No name or value ends a line.

use strowger_core::events::Event;

use super::classes::{self, Classes};
use super::request::Request;

/// What is answered to one request.
#[derive(Debug)]
pub(crate) struct Answer {
    text: String,
    id: String,
    items: usize,
}

impl Answer {
    pub(crate) fn to(request: &Request) -> Self {
        Self {
            text: String::new(),
            id: request.get("ActionID").to_owned(),
            items: 0,
        }
    }

    /// The text so far.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn line(&mut self, name: &str, value: impl AsRef<str>) -> &mut Self {
        push_line(&mut self.text, name, value.as_ref());
        self
    }

    /// `ActionID`, if the request had one.
    pub(crate) fn id(&mut self) -> &mut Self {
        if !self.id.is_empty() {
            let id = std::mem::take(&mut self.id);
            self.line("ActionID", &id);
            self.id = id;
        }
        self
    }

    /// The empty line behind a block.
    pub(crate) fn end(&mut self) -> &mut Self {
        self.text.push_str("\r\n");
        self
    }

    /// Begins an answer that has more lines.
    pub(crate) fn response(&mut self, kind: &str) -> &mut Self {
        self.line("Response", kind).id()
    }

    /// The beginning of a list.
    pub(crate) fn list(&mut self, message: &str) -> &mut Self {
        self.response("Success")
            .line("EventList", "start")
            .line("Message", message)
            .end()
    }

    /// Begins an item of a list, its `ActionID` second.
    pub(crate) fn item(&mut self, name: &str) -> &mut Self {
        self.items += 1;
        self.line("Event", name).id()
    }

    /// Begins an item whose `ActionID` comes at its end ([`Self::id`]).
    pub(crate) fn bare_item(&mut self, name: &str) -> &mut Self {
        self.items += 1;
        self.line("Event", name)
    }

    /// The end of a list, up to what else it says.
    pub(crate) fn complete(&mut self, name: &str) -> &mut Self {
        let items = self.items.to_string();
        self.line("Event", name)
            .id()
            .line("EventList", "Complete")
            .line("ListItems", items)
    }

    /// Items so far.
    pub(crate) fn items(&self) -> usize {
        self.items
    }
}

/// A whole answer of one line.
pub(crate) fn message(request: &Request, kind: &str, message: &str) -> String {
    let mut answer = Answer::to(request);
    answer.response(kind).line("Message", message).end();
    answer.into_text()
}

/// It was done.
pub(crate) fn success(request: &Request, text: &str) -> String {
    message(request, "Success", text)
}

/// It was not.
pub(crate) fn error(request: &Request, text: &str) -> String {
    message(request, "Error", text)
}

/// Names come from outside too: those of a UserEvent are what a client or a dialplan says.
fn push_line(text: &mut String, name: &str, value: &str) {
    let part = |text: &mut String, part: &str| {
        text.extend(part.chars().map(|c| match c {
            '\r' | '\n' => ' ',
            c => c,
        }));
    };
    part(text, name);
    text.push_str(": ");
    part(text, value);
    text.push_str("\r\n");
}

/// What stands in every event beside its own fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// `timestampevents`: seconds with six places.
    pub(crate) time: Option<String>,
}

/// The class of an event, and its text.
pub(crate) fn event(event: &Event, stamp: &Stamp) -> (Classes, String) {
    let classes = classes::of_event(event.name);
    let mut text = String::with_capacity(512);
    let mut line = |name: &str, value: &str| push_line(&mut text, name, value);
    line("Event", event.name);
    line("Privilege", &classes.printed());
    if let Some(time) = &stamp.time {
        line("Timestamp", time);
    }
    for (name, value) in &event.fields {
        line(name, value);
    }
    text.push_str("\r\n");
    (classes, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str) -> Request {
        Request::new(vec![("ActionID".to_owned(), id.to_owned())])
    }

    #[test]
    fn a_header_of_a_user_event_cannot_forge_another_event() {
        let forged =
            Event::new("UserEvent").with("A: 1\r\n\r\nEvent: Hangup\r\nB".to_owned(), "2\r\n\r\n");
        let (_, text) = event(&forged, &Stamp::default());
        assert_eq!(text.matches("\r\n\r\n").count(), 1, "{text}");
        assert!(!text.contains("\r\nEvent: Hangup"), "{text}");
    }

    #[test]
    fn answers_have_their_lines_in_order() {
        assert_eq!(
            success(&request("7"), "Variable Set"),
            "Response: Success\r\nActionID: 7\r\nMessage: Variable Set\r\n\r\n"
        );
        assert_eq!(
            error(&Request::default(), "Permission denied"),
            "Response: Error\r\nMessage: Permission denied\r\n\r\n"
        );
        let mut list = Answer::to(&request("x"));
        list.list("Result will follow");
        list.bare_item("DBGetResponse")
            .line("Family", "a")
            .id()
            .end();
        list.complete("DBGetComplete").end();
        assert_eq!(
            list.into_text(),
            "Response: Success\r\nActionID: x\r\nEventList: start\r\nMessage: Result will follow\r\n\r\n\
             Event: DBGetResponse\r\nFamily: a\r\nActionID: x\r\n\r\n\
             Event: DBGetComplete\r\nActionID: x\r\nEventList: Complete\r\nListItems: 1\r\n\r\n"
        );
    }

    #[test]
    fn no_value_begins_a_line_of_its_own() {
        let text = success(&request("1\r\nMessage: stolen"), "a\nb");
        assert_eq!(
            text,
            "Response: Success\r\nActionID: 1  Message: stolen\r\nMessage: a b\r\n\r\n"
        );
        let told = Event::new("UserEvent").with("UserEvent", "x\r\n\r\nEvent: y");
        let (classes, text) = event(
            &told,
            &Stamp {
                time: Some("1.000002".to_owned()),
            },
        );
        assert_eq!(classes.printed(), "user,all");
        assert_eq!(
            text,
            "Event: UserEvent\r\nPrivilege: user,all\r\nTimestamp: 1.000002\r\nUserEvent: x    Event: y\r\n\r\n"
        );
    }
}
