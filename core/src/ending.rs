//! How the exchange is to end: what somebody asked for, and whether it may still be taken back. Signals and the end itself are the
//! business of the process, which waits here.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// When the exchange is to end; later ones are more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// When there happens to be no call. New ones are taken until then.
    Convenient,
    /// When the last call is over. No new ones are taken.
    LastCall,
    /// Whatever calls there are.
    Now,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub when: When,
    /// Begin again afterwards.
    pub restart: bool,
}

/// The end of the exchange, as far as it is decided.
#[derive(Debug, Default)]
pub struct Ending {
    wish: Mutex<Option<Wish>>,
    /// A signal decided: nobody takes that back.
    fixed: AtomicBool,
    changed: Notify,
}

impl Ending {
    /// What was asked for last, unless it was taken back.
    pub fn wish(&self) -> Option<Wish> {
        *self.wish.lock()
    }

    /// Waits until something else is asked for. One task waits.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Is the exchange to begin again?
    pub fn restarts(&self) -> bool {
        self.wish().is_some_and(|wish| wish.restart)
    }

    /// False: something as urgent was asked for before, or a signal decided.
    pub(crate) fn ask(&self, wanted: Wish) -> bool {
        let mut wish = self.wish.lock();
        let late = wish.is_some_and(|known| known.when >= wanted.when);
        if late || self.fixed.load(Ordering::Relaxed) {
            return false;
        }
        *wish = Some(wanted);
        self.changed.notify_one();
        true
    }

    /// False: there is nothing to be taken back, or it is too late.
    pub(crate) fn take_back(&self) -> bool {
        let mut wish = self.wish.lock();
        let now = wish.is_some_and(|wish| wish.when == When::Now);
        if now || self.fixed.load(Ordering::Relaxed) || wish.take().is_none() {
            return false;
        }
        self.changed.notify_one();
        true
    }

    /// A signal came: what was asked for before counts no more.
    pub(crate) fn fix(&self) {
        let mut wish = self.wish.lock();
        self.fixed.store(true, Ordering::Relaxed);
        *wish = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(when: When) -> Wish {
        Wish {
            when,
            restart: false,
        }
    }

    #[test]
    fn only_what_is_more_urgent_takes_the_place_of_what_was_asked_for() {
        let ending = Ending::default();
        assert!(!ending.take_back());
        assert!(ending.ask(Wish {
            when: When::Convenient,
            restart: true,
        }));
        assert!(ending.restarts());
        assert!(!ending.ask(wish(When::Convenient)));
        assert!(ending.ask(wish(When::LastCall)));
        assert!(!ending.restarts() && !ending.ask(wish(When::Convenient)));
        assert!(ending.take_back() && ending.wish().is_none());
        assert!(ending.ask(wish(When::Now)));
        assert!(!ending.take_back(), "it ends already");
    }

    #[test]
    fn nobody_takes_a_signal_back() {
        let ending = Ending::default();
        assert!(ending.ask(Wish {
            when: When::LastCall,
            restart: true,
        }));
        ending.fix();
        assert!(!ending.restarts());
        assert!(!ending.take_back() && !ending.ask(wish(When::Now)));
    }
}
