//! The shard's door to whoever handles its packets: the media thread of its core or, in simulations of this crate's tests, what
//! plays that thread. Never here: any decision about a leg.

use std::io;
use std::os::fd::OwnedFd;

use strowger_media::worker::MediaHandle;
use strowger_media::{Command, Event};

/// Takes the commands of a shard and tells it what happened.
pub(super) enum Media {
    Thread(MediaHandle),
    #[cfg(test)]
    Simulated(super::simulation::Packets),
}

impl From<MediaHandle> for Media {
    fn from(handle: MediaHandle) -> Self {
        Self::Thread(handle)
    }
}

#[cfg(test)]
impl From<super::simulation::Packets> for Media {
    fn from(packets: super::simulation::Packets) -> Self {
        Self::Simulated(packets)
    }
}

impl Media {
    /// As [`MediaHandle::send`].
    pub(super) fn send(&mut self, command: Command) -> Result<(), Command> {
        match self {
            Self::Thread(handle) => handle.send(command),
            #[cfg(test)]
            Self::Simulated(packets) => {
                packets.execute(command);
                Ok(())
            }
        }
    }

    /// The next event.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Thread(handle) => handle.poll_event(),
            #[cfg(test)]
            Self::Simulated(packets) => packets.poll_event(),
        }
    }

    /// Whether it runs; its end makes the event descriptor readable.
    pub(super) fn is_running(&self) -> bool {
        match self {
            Self::Thread(handle) => handle.is_running(),
            #[cfg(test)]
            Self::Simulated(_) => true,
        }
    }

    /// Readable when events wait; see [`MediaHandle::event_source`].
    pub(super) fn event_source(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Thread(handle) => handle.event_source(),
            #[cfg(test)]
            Self::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Makes the descriptor wait for the next event.
    pub(super) fn ack_events(&self) {
        match self {
            Self::Thread(handle) => handle.ack_events(),
            #[cfg(test)]
            Self::Simulated(_) => {}
        }
    }
}
