//! Video between two telephones (`allow=...,h264`, `max_video_streams`): what the caller offers goes on to whom it calls,
//! the answer comes back, and while the two are bridged their packets go through sockets here, as they are.
//!
//! Never here: what is said in descriptions (offer and answer), and audio, whose packets go through the media thread.

use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;

use strowger_media::ports::empty;
use strowger_sip::body::Body;
use strowger_sip::offer_answer::{AgreedVideo, VideoStream};
use strowger_sip::sdp::SessionDescription;
use strowger_store::{Endpoint, MediaEncryption};
use tokio::net::UdpSocket as Socket;
use tokio::task::AbortHandle;

use super::codecs;
use super::media::{MediaError, MediaSession};
use super::session::Session;
use crate::channel::{Channel, ChannelId};
use crate::counters::ShardCounters;
use crate::shard::Shard;

/// Streams of one call, whatever `max_video_streams` says.
const STREAMS_MAX: usize = 4;
/// The longest packet that is passed on.
const PACKET_MAX: usize = 1500;
/// Packets of one socket that are passed on before the others are looked at.
const BURST: usize = 32;
/// What the kernel keeps of a picture that comes at once, bytes; less where the system allows less.
const RECEIVE_BUFFER: usize = 512 * 1024;
/// Of a version 2 packet: the fixed headers (RFC 3550 §5.1, §6.4.1).
const RTP_MIN: usize = 12;
const RTCP_MIN: usize = 8;

/// The video that somebody offers, for whom it calls.
#[derive(Clone, Debug)]
pub(crate) struct VideoOffer {
    by: ChannelId,
    streams: Vec<VideoStream>,
}

/// The sockets of one stream.
#[derive(Debug)]
struct Port {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    number: u16,
    _counted: Counted,
}

/// One of the pairs of its core.
struct Counted(Rc<Shard>);

impl Counted {
    fn new(shard: &Rc<Shard>) -> Self {
        let pairs = shard.video_ports();
        pairs.set(pairs.get() + 1);
        Self(Rc::clone(shard))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let pairs = self.0.video_ports();
        pairs.set(pairs.get().saturating_sub(1));
    }
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counted")
    }
}

/// What a leg has for video.
#[derive(Debug, Default)]
pub(super) struct VideoPorts {
    ports: Vec<Port>,
    /// Whose video our offer told.
    of: Option<ChannelId>,
}

/// How many streams of video an endpoint may have. None with keys in the description: video is passed on unread, and each
/// side has keys of its own.
fn streams_max(endpoint: &Endpoint) -> usize {
    match endpoint.media_encryption {
        MediaEncryption::No => usize::try_from(endpoint.max_video_streams)
            .unwrap_or(usize::MAX)
            .min(STREAMS_MAX),
        MediaEncryption::Sdes | MediaEncryption::Dtls => 0,
    }
}

impl MediaSession {
    /// Offers whom is called the video of who calls, as far as its endpoint may have it and ports are free.
    pub(super) fn offer_video(&mut self, shard: &Rc<Shard>, endpoint: &Endpoint, of: &VideoOffer) {
        let names = codecs::video(endpoint);
        let wanted: Vec<VideoStream> = of
            .streams
            .iter()
            .filter_map(|stream| stream.with_only(&names))
            .take(streams_max(endpoint))
            .collect();
        let mut streams = Vec::with_capacity(wanted.len());
        for (index, stream) in wanted.into_iter().enumerate() {
            let Some(port) = self.video_port(shard, endpoint, index) else {
                break;
            };
            streams.push((stream, port));
        }
        if !streams.is_empty() {
            self.video.of = Some(of.by);
            self.negotiation.offer_video(streams);
        }
    }

    /// The port of the stream with that number, opened where it is not.
    fn video_port(&mut self, shard: &Rc<Shard>, endpoint: &Endpoint, index: usize) -> Option<u16> {
        if let Some(port) = self.video.ports.get(index) {
            return Some(port.number);
        }
        if shard.legs_exhausted() {
            return None;
        }
        let (rtp, rtcp) = shard.ports().allocate(self.bound).ok()?;
        for socket in [&rtp, &rtcp] {
            crate::transport::mark_video(socket, endpoint);
            // Less room costs packets, not the call.
            let _ = socket2::SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER);
        }
        let number = rtp.local_addr().ok()?.port();
        self.video.ports.push(Port {
            rtp,
            rtcp,
            number,
            _counted: Counted::new(shard),
        });
        Some(number)
    }

    /// Both sides of the dialog take video.
    pub(super) fn has_video(&self) -> bool {
        !self.negotiation.video().is_empty()
    }

    /// Frees the ports of video.
    pub(super) fn close_video(&mut self) {
        self.video = VideoPorts::default();
    }

    /// Answers the caller's offer anew, nobody having been told the first answer: with the video that the called side took.
    fn answer_with_video(
        &mut self,
        shard: &Rc<Shard>,
        endpoint: &Endpoint,
        offer: &[u8],
        answered: Vec<AgreedVideo>,
    ) -> Option<Result<String, MediaError>> {
        if answered.is_empty() && !self.has_video() {
            return None;
        }
        let codec = self.agreed_codecs().first().copied()?;
        let mut streams = Vec::with_capacity(answered.len());
        for (index, video) in answered.into_iter().enumerate() {
            let Some(port) = self.video_port(shard, endpoint, index) else {
                break;
            };
            streams.push((video.of, video.remote, port));
        }
        self.negotiation.accept_video(streams);
        Some(self.answer_with(shard, offer, codec))
    }

    /// The far end's streams as the relay has to know them.
    fn video_ends(&self) -> Vec<End> {
        let streams = self.negotiation.video().into_iter();
        streams
            .map(|stream| End {
                stream,
                symmetric: self.is_symmetric(),
            })
            .collect()
    }

    fn video_sockets(&self, port: u16) -> Option<(UdpSocket, UdpSocket)> {
        let port = self.video.ports.iter().find(|known| known.number == port)?;
        Some((port.rtp.try_clone().ok()?, port.rtcp.try_clone().ok()?))
    }
}

impl Session {
    /// The caller has not been told our answer to its offer, so that another may be made.
    fn is_untold(&self) -> bool {
        let incoming = self.incoming.as_ref();
        !self.answer_in_prack
            && incoming.is_some_and(|incoming| {
                incoming.answer.is_some() && !incoming.early_media && !incoming.settled
            })
    }
}

impl Channel {
    /// The video that this caller offers, as far as its endpoint may have it and it can still be told that it is taken.
    pub(super) fn video_offer(&self) -> Option<VideoOffer> {
        let endpoint = self.endpoint()?;
        let (names, most) = (codecs::video(endpoint), streams_max(endpoint));
        if names.is_empty() || most == 0 {
            return None;
        }
        let session = self.session();
        let session = session.as_ref().filter(|session| session.is_untold())?;
        let request = &session.incoming.as_ref()?.request;
        let offer = SessionDescription::parse(Body::of(request).description()?).ok()?;
        let local = session.media.as_ref()?.addresses().0;
        let streams = VideoStream::all_in(&offer, &names, most, local);
        (!streams.is_empty()).then(|| VideoOffer {
            by: self.id(),
            streams,
        })
    }

    /// Tells this caller of the video that the called side took, unless it has been told something already.
    pub(super) fn share_video(&self, callee: &Self) {
        let answered = callee
            .session()
            .as_ref()
            .and_then(|session| session.media.as_ref())
            .filter(|media| media.video.of == Some(self.id()))
            .map(|media| media.negotiation.video())
            .unwrap_or_default();
        let Some(endpoint) = self.endpoint().cloned() else {
            return;
        };
        let mut guard = self.session();
        let Some(session) = guard.as_mut().filter(|session| session.is_untold()) else {
            return;
        };
        let (Some(media), Some(incoming)) = (session.media.as_mut(), session.incoming.as_mut())
        else {
            return;
        };
        let again = Body::of(&incoming.request)
            .description()
            .and_then(|offer| media.answer_with_video(self.shard(), &endpoint, offer, answered));
        // The offer was understood before, so that this answer cannot fail.
        if let Some(Ok(answer)) = again {
            incoming.answer = Some(answer);
        }
    }

    fn video_ends(&self) -> Vec<End> {
        let session = self.session();
        let media = session.as_ref().and_then(|session| session.media.as_ref());
        media.map(MediaSession::video_ends).unwrap_or_default()
    }

    fn video_relay(&self) -> Option<Rc<Relay>> {
        self.session().as_ref()?.video.clone()
    }

    /// Passes the video of two bridged channels on as both have described it last.
    pub(super) fn keep_video(&self, peer: &Self) {
        if peer.id() < self.id() {
            return peer.keep_video(self);
        }
        let ends = (self.video_ends(), peer.video_ends());
        let before = self.video_relay();
        if before.is_none() && (ends.0.is_empty() || ends.1.is_empty()) {
            return;
        }
        let plan = Plan {
            between: [self.id(), peer.id()],
            lines: pairs(ends.0, ends.1),
        };
        if before.as_ref().is_some_and(|relay| relay.plan == plan) {
            return;
        }
        let begins = before.is_none();
        self.end_video();
        peer.end_video();
        if plan.lines.is_empty() {
            return;
        }
        let relay = Rc::new(Relay::start(self, peer, plan, begins));
        if begins {
            tracing::debug!(channel = %self.name(), with = %peer.name(), "video is passed on");
        }
        for side in [self, peer] {
            if let Some(session) = side.session().as_mut() {
                session.video = Some(Rc::clone(&relay));
            }
        }
    }

    /// A description of this channel has changed.
    pub(super) fn follow_video(&self) {
        if let Some(peer) = self.bridge_peer() {
            self.keep_video(&peer);
        }
    }

    /// Nothing more is passed on between this channel and whom it was bridged with.
    pub(super) fn end_video(&self) {
        let relay = self
            .session()
            .as_mut()
            .and_then(|session| session.video.take());
        if let Some(relay) = relay {
            relay.stop();
        }
    }
}

/// One telephone's end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    stream: AgreedVideo,
    /// `rtp_symmetric`: its packets tell where it is.
    symmetric: bool,
}

/// What is passed on between whom.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    between: [ChannelId; 2],
    lines: Vec<[End; 2]>,
}

/// Which streams of two telephones belong together: in their order, where a payload type of one means the same to the other.
fn pairs(one: Vec<End>, two: Vec<End>) -> Vec<[End; 2]> {
    let alike = |[one, two]: &[End; 2]| {
        let known = two.stream.remote.formats();
        let formats = one.stream.remote.formats();
        formats.iter().any(|format| known.contains(format))
    };
    let both = one.into_iter().zip(two);
    both.map(|(one, two)| [one, two]).filter(alike).collect()
}

/// Passes packets on until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    plan: Plan,
    tasks: Vec<AbortHandle>,
}

impl Relay {
    /// `begins`: what came before is nobody's.
    fn start(one: &Channel, two: &Channel, plan: Plan, begins: bool) -> Self {
        let sockets = |channel: &Channel, end: &End| {
            let session = channel.session();
            let media = session.as_ref()?.media.as_ref()?;
            media.video_sockets(end.stream.port)
        };
        let mut tasks = Vec::with_capacity(plan.lines.len());
        for [first, second] in &plan.lines {
            let (Some(here), Some(there)) = (sockets(one, first), sockets(two, second)) else {
                tracing::warn!(channel = %one.name(), "no descriptors for video");
                continue;
            };
            let known = known_types(&[first, second]);
            let sides = [(here, first.clone()), (there, second.clone())];
            let counters = one.shard().counters_handle();
            let task = one.shard().shared().control.spawn(async move {
                if let Err(error) = pass_on(sides, known, begins, &counters).await {
                    tracing::warn!(%error, "video relay");
                }
            });
            tasks.push(task.abort_handle());
        }
        Self { plan, tasks }
    }

    /// The other channel may hold it too.
    pub(super) fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A bit for each payload type that either side named.
fn known_types(ends: &[&End]) -> u128 {
    let formats = ends.iter().flat_map(|end| end.stream.remote.formats());
    formats.fold(0, |known, (pt, _)| known | 1 << (pt & 0x7f))
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rtp,
    Rtcp,
}

/// Tells RTP from RTCP on one port (RFC 5761 §4). `None`: neither, or a payload type that nobody named.
fn kind_of(packet: &[u8], muxed: bool, known: u128) -> Option<Kind> {
    let (first, second) = (*packet.first()?, *packet.get(1)?);
    if first >> 6 != 2 || packet.len() > PACKET_MAX {
        return None;
    }
    if muxed && (192..=223).contains(&second) {
        return (packet.len() >= RTCP_MIN).then_some(Kind::Rtcp);
    }
    let named = known >> (second & 0x7f) & 1 == 1;
    (named && packet.len() >= RTP_MIN).then_some(Kind::Rtp)
}

/// One end of a relay while it runs.
struct Side {
    rtp: Socket,
    rtcp: Socket,
    muxed: bool,
    symmetric: bool,
    receives: bool,
    /// Where packets go: what was said, or where they come from.
    to_rtp: Option<SocketAddr>,
    to_rtcp: Option<SocketAddr>,
    latched: bool,
}

impl Side {
    fn new((sockets, end): ((UdpSocket, UdpSocket), End)) -> std::io::Result<Self> {
        let (rtp, rtcp) = sockets;
        let remote = end.stream.remote;
        Ok(Self {
            rtp: Socket::from_std(rtp)?,
            rtcp: Socket::from_std(rtcp)?,
            muxed: end.stream.rtcp_mux,
            symmetric: end.symmetric,
            receives: remote.receives(),
            to_rtp: remote.remote_rtp,
            to_rtcp: remote.remote_rtcp,
            latched: false,
        })
    }

    /// May this address send here? As with audio: without symmetry who was named, with it the first whose packet came.
    fn admits(&self, source: SocketAddr) -> bool {
        match (self.symmetric, self.latched) {
            (true, false) => true,
            (true, true) => self.to_rtp == Some(source),
            (false, _) => self.to_rtp.is_some_and(|named| named.ip() == source.ip()),
        }
    }

    /// Control packets come from where RTP was named or comes from, from whichever port.
    fn admits_control(&self, source: SocketAddr) -> bool {
        let known = [self.to_rtp, self.to_rtcp];
        known.iter().flatten().any(|at| at.ip() == source.ip())
    }

    /// What came to a socket from there; `None`: it is not for the other side.
    fn take(
        &mut self,
        packet: &[u8],
        source: SocketAddr,
        control: bool,
        known: u128,
    ) -> Option<Kind> {
        // On a port of its own RTCP is all that there is.
        let kind = match control {
            true => kind_of(packet, true, 0)?,
            false => kind_of(packet, self.muxed, known)?,
        };
        match kind {
            Kind::Rtcp if !self.admits_control(source) => return None,
            Kind::Rtcp if control && self.symmetric => self.to_rtcp = Some(source),
            Kind::Rtp if !self.admits(source) => return None,
            Kind::Rtp if self.symmetric => {
                self.to_rtp = Some(source);
                self.latched = true;
            }
            Kind::Rtcp | Kind::Rtp => {}
        }
        Some(kind)
    }

    /// Sends what came from the other side; false where it wants nothing of it, or cannot be sent.
    fn give(&self, packet: &[u8], kind: Kind) -> bool {
        let (socket, to) = match kind {
            Kind::Rtp if !self.receives => return false,
            Kind::Rtp => (&self.rtp, self.to_rtp),
            Kind::Rtcp if self.muxed => (&self.rtp, self.to_rtp),
            Kind::Rtcp => (&self.rtcp, self.to_rtcp),
        };
        to.is_some_and(|to| socket.try_send_to(packet, to).is_ok())
    }
}

async fn pass_on(
    sides: [((UdpSocket, UdpSocket), End); 2],
    known: u128,
    begins: bool,
    counters: &Arc<ShardCounters>,
) -> std::io::Result<()> {
    if begins {
        // What came since the sockets were bound is older than the bridge.
        for ((rtp, rtcp), _) in &sides {
            empty(rtp);
            empty(rtcp);
        }
    }
    let [one, two] = sides;
    let mut sides = (Side::new(one)?, Side::new(two)?);
    let mut buffer = [0; PACKET_MAX + 1];
    loop {
        let (from_first, control) = tokio::select! {
            ready = sides.0.rtp.readable() => ready.map(|()| (true, false)),
            ready = sides.0.rtcp.readable() => ready.map(|()| (true, true)),
            ready = sides.1.rtp.readable() => ready.map(|()| (false, false)),
            ready = sides.1.rtcp.readable() => ready.map(|()| (false, true)),
        }?;
        let (from, to) = match from_first {
            true => (&mut sides.0, &sides.1),
            false => (&mut sides.1, &sides.0),
        };
        for _ in 0..BURST {
            let socket = if control { &from.rtcp } else { &from.rtp };
            let (length, source) = match socket.try_recv_from(&mut buffer) {
                Ok(came) => came,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let packet = buffer.get(..length).unwrap_or_default();
            let taken = from.take(packet, source, control, known);
            if taken.is_some_and(|kind| to.give(packet, kind)) {
                counters.video_packets_relayed.add(1);
            } else {
                counters.video_packets_dropped.add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_told_by_its_second_byte_and_what_nobody_named_is_none() {
        let known = 1 << 96 | 1 << 34;
        let packet = |second: u8, length: usize| {
            let mut packet = vec![0; length];
            packet[..2].copy_from_slice(&[0x80, second]);
            packet
        };
        for (second, length, muxed, kind) in [
            (96, 12, false, Some(Kind::Rtp)),
            (0x80 | 96, 1500, true, Some(Kind::Rtp)),
            (34, 12, true, Some(Kind::Rtp)),
            (97, 12, true, None),
            (96, 11, true, None),
            (96, 1501, true, None),
            // A picture loss indication (RFC 4585 §6.3.1), and the same where RTCP has a port of its own.
            (206, 12, true, Some(Kind::Rtcp)),
            (206, 12, false, None),
            (200, 7, true, None),
        ] {
            let found = kind_of(&packet(second, length), muxed, known);
            assert_eq!(found, kind, "{second} of {length} bytes, muxed: {muxed}");
        }
        assert_eq!(kind_of(&[0x40, 96, 0, 0], true, known), None, "version 1");
        assert_eq!(kind_of(&[], true, known), None);
    }
}
