//! Who calls a device that rings, for lamps that show it.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use strowger_sip::uri::escape_user;

/// Callers remembered of one device.
const CALLERS_MAX: usize = 8;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A caller, as far as others may see him.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingingCall {
    /// Empty where it may not be seen.
    pub number: String,
    pub name: String,
}

impl RingingCall {
    /// His address at `host`.
    #[must_use]
    pub fn uri(&self, host: &str) -> String {
        if self.number.is_empty() {
            "sip:anonymous@anonymous.invalid".to_owned()
        } else {
            format!("sip:{}@{host}", escape_user(&self.number))
        }
    }
}

/// The callers of one device, first come first.
#[derive(Debug, Default)]
pub(super) struct Callers(Mutex<Vec<(u64, RingingCall)>>);

impl Callers {
    /// Enters a caller; the number to take him out with, 0 if there are too many.
    pub(super) fn enter(&self, call: RingingCall) -> u64 {
        let mut callers = self.0.lock();
        if callers.len() >= CALLERS_MAX {
            return 0;
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        callers.push((id, call));
        id
    }

    pub(super) fn leave(&self, id: u64) {
        if id != 0 {
            self.0.lock().retain(|(known, _)| *known != id);
        }
    }

    pub(super) fn first(&self) -> Option<RingingCall> {
        self.0.lock().first().map(|(_, call)| call.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_caller_is_shown_until_he_leaves() {
        let callers = Callers::default();
        let call = |number: &str| RingingCall {
            number: number.to_owned(),
            ..RingingCall::default()
        };
        let ids: Vec<u64> = (0..CALLERS_MAX + 2)
            .map(|number| callers.enter(call(&number.to_string())))
            .collect();
        assert_eq!(ids[CALLERS_MAX..], [0, 0]);
        assert_eq!(callers.first(), Some(call("0")));
        callers.leave(0);
        callers.leave(ids[0]);
        assert_eq!(callers.first().unwrap().uri("pbx"), "sip:1@pbx");
        for id in ids {
            callers.leave(id);
        }
        assert_eq!(callers.first(), None);
        assert_eq!(call("").uri("pbx"), "sip:anonymous@anonymous.invalid");
    }
}
