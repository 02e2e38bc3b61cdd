//! Everything that talks to the kernel: rings, the memory they share with it, socket addresses as bytes, wake-up
//! descriptors and the scheduling of a thread. All `unsafe` of the project lives in this folder, behind safe types.
//! What never lives here: RTP, calls, files' formats, any decision about a packet.
//!
//! Three rings are built from the same parts: [`packet::PacketRing`] carries the media thread's sockets,
//! [`file::FileRing`] the writer thread's files, and [`udp::UdpSocketRing`] the signalling thread's UDP sockets.

pub(crate) mod address;
pub(crate) mod buffers;
pub(crate) mod file;
pub(crate) mod memory;
pub(crate) mod packet;
pub(crate) mod prefetch;
pub mod readiness;
pub(crate) mod ring;
pub mod schedule;
pub mod udp;
pub(crate) mod wake;
