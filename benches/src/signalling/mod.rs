//! What SIP takes: CPU of calls and registrations, memory of dialogs and contacts. The exchange runs in this process with one
//! shard, as for the dialplan; the telephones are the calling thread, whose CPU time is not counted.

mod phones;
mod works;

pub use phones::Phones;
pub use works::{answered, bridged, contacts, dialogs, registering};
