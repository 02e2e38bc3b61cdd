//! Call detail records: from the end of a call, through files that survive a crash, to a row of `cdr`, none lost and
//! none twice. What belongs into a record is decided elsewhere.

mod deliver;
mod files;
mod record;
mod search;
mod spool;
mod table;

pub use record::Cdr;
pub use search::{CdrOwner, CdrQuery};
pub use spool::CdrSpool;
