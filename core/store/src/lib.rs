//! SQL for the exchange: the tables of an Asterisk realtime database on SQLite, MariaDB/MySQL and PostgreSQL, kept in
//! memory as one snapshot that follows the database; contacts, call detail records and the key-value database written
//! behind, so that no call ever waits for a disk or a server. No SIP and no call logic here.

mod astdb;
mod cdr;
mod changes;
mod contacts;
mod edit;
mod error;
mod files;
mod import;
mod load;
mod migrate;
mod pool;
mod query;
mod realtime;
mod rows;
mod schema;
mod seed;
mod snapshot;
mod sorcery;
mod statement;
mod store;
mod url;
mod writer;

pub use astdb::AstDb;
pub use cdr::{Cdr, CdrOwner, CdrQuery, CdrSpool};
pub use contacts::ContactWriter;
pub use edit::{ApiUserRow, StepRow};
pub use error::{Problem, Severity, StoreError};
pub use files::{File, FileChange, Section};
pub use import::{DialplanLine, Finding, ImportOptions, Report, Target, Verdict, import_asterisk};
pub use pool::{Kind, TextRow};
pub use query::{Cell, Database, Rows};
pub use realtime::Realtime;
pub use rows::{
    Aor, Auth, AuthType, Contact, DirectMediaMethod, DomainAlias, DtmfMode, Endpoint, ExtensionRow,
    Globals, Identify, MediaEncryption, MusicEntry, MusicRow, OptionsRow, Registration, Rel100,
    SessionTimers, StaticRow, System, Transport, TransportProtocol,
};
pub use seed::{add_subscriber, seed_demo};
pub use snapshot::{Snapshot, Table};
pub use sorcery::Loaded;
pub use store::Store;
pub use writer::{Key, QUEUE_LOG_DATA, QueueLogRow, TableWriter, Write};

#[cfg(test)]
mod tests;
