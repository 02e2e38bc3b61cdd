//! Who is calling, and where a registered party can be reached: identification, access lists, digest authentication,
//! the registrar, the table of contacts and their qualification, and the registrations we keep elsewhere.
//!
//! All of it decides and none of it sends: messages and times come in, answers and changes go out. No sockets, no SQL (a
//! changed contact goes to whatever implements [`contacts::ContactWriter`]), no calls.

pub mod acl;
mod admission;
pub mod authenticate;
pub(crate) mod client_auth;
pub mod contacts;
pub mod identify;
pub mod names;
pub mod qualify;
pub mod registrar;
pub mod registration;

#[cfg(test)]
mod test_support;

pub use admission::{Admission, Gatekeeper, Refused, admit};
pub use client_auth::answer_challenge;
