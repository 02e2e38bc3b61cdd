//! AsyncAGI: the commands come from a program that is in session with the Manager, and it hears of their answers by events.

use std::sync::Arc;

use strowger_core::channel::Interrupt;
use strowger_core::events::Event;

use super::{Outcome, Session, Waited};
use crate::agi::protocol::Line;
use crate::agi::{Ending, Link, RemoteCommand};
use crate::func::text::uri_encode;

/// What a call is told to be asking for.
const REQUEST: &str = "async";

impl Session {
    /// Does what the program says until it says `ASYNCAGI BREAK`, or the call ends.
    pub(super) async fn led_by_manager(&mut self) -> Outcome {
        if self.life.over {
            self.call
                .warn("AGI agi:async: the call is over; there is nothing left to lead");
            return Outcome::NotStarted;
        }
        let name = self.channel().name();
        let agi = Arc::clone(&self.agi);
        let mut led = agi.led(&name);
        agi.counters.scripts_started();
        let mut block = self.environment(None);
        REQUEST.clone_into(&mut block.request);
        block.arguments.clear();
        self.tell("AsyncAGIStart", |event| {
            event.with("Env", uri_encode(&block.block()))
        });
        let mut link = Link::answers();
        let outcome = loop {
            if self.life.hung_up {
                // What the program asked before it knew is answered.
                while let Some(command) = led.waiting() {
                    if self.obey(command, &mut link).await.is_some() {
                        break;
                    }
                }
                break Outcome::Left(Interrupt::Hangup);
            }
            match self.life.wait(self.call.channel(), led.command()).await {
                Waited::Done(Some(command)) => {
                    if let Some(outcome) = self.obey(command, &mut link).await {
                        break outcome;
                    }
                    if std::mem::take(&mut self.broken_off) {
                        break Outcome::Ended(Ending::Success);
                    }
                }
                Waited::Done(None) => break Outcome::Ended(Ending::Success),
                Waited::Interrupted(Interrupt::Hangup) => self.life.hung_up(),
                Waited::Interrupted(interrupt) => break Outcome::Left(interrupt),
                // There is no limit before the call is over.
                Waited::TooLate => break Outcome::Left(Interrupt::Hangup),
            }
        };
        drop(led);
        self.tell("AsyncAGIEnd", |event| event);
        outcome
    }

    /// Does one command, and tells what it answered.
    async fn obey(&mut self, command: RemoteCommand, link: &mut Link) -> Option<Outcome> {
        let line = Line::Text(command.line);
        let Some(reply) = self.answer_in_time(&line, link).await else {
            return Some(Outcome::Ended(Ending::Failure(
                "a command went on too long after the call".to_owned(),
            )));
        };
        let mut text = String::new();
        // What a command says before its answer (`100 result=0 Trying...`).
        for said in link.said() {
            text.push_str(&String::from_utf8_lossy(&said));
        }
        text.push_str(&String::from_utf8_lossy(&reply.into_bytes()));
        let id = command.id;
        self.tell("AsyncAGIExec", |event| {
            let event = event.with("Result", uri_encode(&text));
            if id.is_empty() {
                event
            } else {
                event.with("CommandId", id)
            }
        });
        self.left.take()
    }

    fn tell(&self, name: &'static str, more: impl FnOnce(Event) -> Event) {
        let channel = self.call.channel();
        let events = &self.call.shared().events;
        events.tell(|| more(Event::of(name, channel)));
    }
}
