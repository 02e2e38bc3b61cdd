//! Opus: what its packets say of themselves.

pub(super) mod packet;
