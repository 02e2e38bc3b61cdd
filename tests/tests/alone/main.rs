//! What needs the machine for itself, one test after the other: load, floods, crashes, and telephones that play sound in real
//! time.

mod baresip_call;
mod crash_recovery;
mod encrypted_media;
mod event_fanout;
mod fax_machines;
mod hostile_input;
mod isolation;
mod live_change;
mod load_500;
mod registration_storm;
