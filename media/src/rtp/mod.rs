//! The Real-time Transport Protocol (RFC 3550, 3551, 4733): packets, what is known about a received stream, the one
//! stream we send, control packets, digits, and the protection of all these (RFC 3711). Bytes and numbers only: no
//! sockets, no codecs' samples, no routes.

pub mod dtmf;
pub mod packet;
pub mod quality;
pub mod receive;
pub mod rtcp;
pub mod send;
pub mod srtp;
