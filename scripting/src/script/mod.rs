//! Dialplans that people write in Lua: the files of the folder `[dialplan] lua`, what they define, and what they can call.
//!
//! | Module | Subject |
//! |---|---|
//! | `files` | the folder: which files there are, whether they changed |
//! | `inspect` | a version of the files, run aside to learn its contexts, extensions, hints and faults |
//! | `world` | what one call sees: globals of its own, loaded from the version it began with |
//! | `current` | whose call it is that runs now |
//! | `run` | an extension's function at work: coroutines of the call, how it ends, what a hang-up calls |
//! | `api` | the names a script finds |
//! | `asterisk` | `app`, `channel` and the rest that Asterisk's Lua dialplans use |
//! | `call`, `dial` | the object `call` |
//! | `json`, `clock`, `logging`, `store`, `http`, `sql` | the libraries |
//! | `services` | what the scripts of all shards share |
//!
//! A call has globals of its own, as in Asterisk, so no script can disturb the call of another.

mod api;
mod asterisk;
mod call;
mod clock;
mod current;
mod dial;
mod files;
pub(crate) mod http;
mod inspect;
mod json;
mod logging;
mod originate;
mod run;
mod services;
mod spawn;
mod sql;
mod store;
mod values;
mod world;

pub use inspect::Scripts;

pub(crate) use api::{Base, open};
pub(crate) use files::{Stamp, stamp};
pub(crate) use run::{forget, hung_up, run};
pub(crate) use services::Services;
pub(crate) use sql::{Databases, OWN_DSN};
pub(crate) use world::{Programs, World};
