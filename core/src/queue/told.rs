//! What programs that watch the exchange are told of the members of queues.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Member;
use crate::device::{DeviceState, device_key};
use crate::events::Event;
use crate::shared::Shared;

/// When something was, in seconds of the epoch; 0 for never.
#[must_use]
pub fn moment(at: Option<Instant>) -> String {
    let then = at.and_then(|at| SystemTime::now().checked_sub(at.elapsed()));
    then.and_then(|then| then.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_secs())
        .to_string()
}

/// The number by which lists and events of queues say what a device does.
#[must_use]
pub const fn status_number(state: DeviceState) -> &'static str {
    match state {
        DeviceState::Unknown => "0",
        DeviceState::NotInUse => "1",
        DeviceState::InUse => "2",
        DeviceState::Busy => "3",
        DeviceState::Invalid => "4",
        DeviceState::Unavailable => "5",
        DeviceState::Ringing => "6",
        DeviceState::RingInUse => "7",
        DeviceState::OnHold => "8",
    }
}

const fn flag(yes: bool) -> &'static str {
    if yes { "1" } else { "0" }
}

impl Member {
    /// `static`, `dynamic` or `realtime`.
    #[must_use]
    pub const fn membership(&self) -> &'static str {
        match self {
            Self { dynamic: true, .. } => "dynamic",
            Self {
                realtime: Some(_), ..
            } => "realtime",
            _ => "static",
        }
    }
}

/// What an event says of a member.
fn event(name: &'static str, queue: &str, member: &Member, state: DeviceState) -> Event {
    let rest = member.wrapup.map_or(0, |time| time.as_secs());
    Event::new(name)
        .with("Queue", queue)
        .with("MemberName", &member.name)
        .with("Interface", &member.interface)
        .with("StateInterface", &member.state_interface)
        .with("Membership", member.membership())
        .with("Penalty", member.penalty.to_string())
        .with("CallsTaken", member.calls.to_string())
        .with("LastCall", moment(member.last_call))
        .with("LastPause", moment(member.last_pause))
        .with("LoginTime", moment(member.logged_in))
        .with("InCall", flag(member.talking > 0))
        .with("Status", status_number(state))
        .with("Paused", flag(member.paused))
        .with("PausedReason", &member.reason)
        .with("Ringinuse", flag(member.ring_in_use.unwrap_or(true)))
        .with("Wrapuptime", rest.to_string())
}

impl Shared {
    /// Tells of a member of a queue: `QueueMemberAdded`, `QueueMemberPause` and so on. Not to be called where the queues are
    /// locked.
    pub(crate) fn tell_queue_member(&self, name: &'static str, queue: &str, member: &Member) {
        self.events.tell(|| {
            let state = self.device_state(&member.state_interface);
            event(name, queue, member, state)
        });
    }

    /// The same of a member as it is now (`QueueMemberStatus`).
    pub fn tell_queue_member_status(&self, queue: &str, interface: &str) {
        if !self.events.are_heard() {
            return;
        }
        let member = self
            .queues
            .with(|table| table.member(queue, interface).cloned());
        if let Some(member) = member {
            self.tell_queue_member("QueueMemberStatus", queue, &member);
        }
    }

    /// The device of members is in another state.
    pub(super) fn tell_queue_device(&self, device: &str) {
        if !self.events.are_heard() {
            return;
        }
        let device = device_key(device);
        let members = self.queues.with(|table| table.members_at(&device));
        for (queue, member) in members {
            self.tell_queue_member("QueueMemberStatus", &queue, &member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_everything_of_a_member_in_the_order_of_the_documentation() {
        let mut member = Member::new("PJSIP/100").named("Anna", "");
        member.paused = true;
        member.reason = "lunch".to_owned();
        member.logged_in = Some(Instant::now());
        let told = event("QueueMemberPause", "desk", &member, DeviceState::NotInUse);
        let names: Vec<_> = told.fields.iter().map(|(name, _)| &**name).collect();
        assert_eq!(
            names.join(" "),
            "Queue MemberName Interface StateInterface Membership Penalty CallsTaken LastCall LastPause LoginTime InCall Status Paused PausedReason Ringinuse Wrapuptime"
        );
        for (field, wanted) in [
            ("Queue", "desk"),
            ("MemberName", "Anna"),
            ("Membership", "static"),
            ("Status", "1"),
            ("Paused", "1"),
            ("PausedReason", "lunch"),
            ("LastPause", "0"),
        ] {
            assert_eq!(told.field(field), Some(wanted), "{field}");
        }
        let since: u64 = told.field("LoginTime").unwrap().parse().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!(now.as_secs() - since < 60);
    }
}
