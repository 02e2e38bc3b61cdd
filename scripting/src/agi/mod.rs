//! Scripts outside of the exchange (AGI): the lines they speak, the processes and connections they live in, and how many
//! of them there may be. Processes and connections are the business of the control runtime; a channel's side of it (what
//! commands do) is in `app::agi`. No channel lives here.

mod audio;
pub(crate) mod commands;
mod gate;
mod link;
mod network;
mod process;
pub(crate) mod protocol;
mod remote;
mod shell;

pub(crate) use audio::AUDIO_SAMPLES_MAX;
pub use gate::Agi;
pub(crate) use gate::Kind;
pub(crate) use link::{Ending, Link, StartError};
pub(crate) use network::{Server, connect};
pub(crate) use process::{Program, start};
pub(crate) use remote::Command as RemoteCommand;
pub use remote::NotTaken;
pub(crate) use shell::{shell, system};
