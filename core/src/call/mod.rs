//! What legs do together: dialling with forking, bridging, and the SIP session of each leg. Applications call these
//! through [`Channel`](crate::channel::Channel); nothing here knows Lua or the dialplan's text.

pub(crate) mod bare;
pub mod bridge;
pub(crate) mod codecs;
pub mod destination;
pub mod dial;
mod direct;
mod diversion;
mod encryption;
mod extensions;
pub(crate) mod fax;
pub mod guests;
mod identity;
mod in_dialog;
pub(crate) mod incoming;
mod invite_again;
pub(crate) mod local;
pub(crate) mod media;
pub mod message;
mod one_touch;
pub mod originate;
pub(crate) mod outgoing;
pub mod pickup;
mod provisional;
pub mod quality;
mod redirect;
pub(crate) mod refer;
pub(crate) mod renegotiate;
mod replaced;
pub(crate) mod session;
pub(crate) mod target;
pub(crate) mod timing;
pub(crate) mod told;
pub(crate) mod video;

pub use bridge::{BridgeEnd, BridgeOptions, Bridged, Feature, Keys, LimitWarning};
pub use destination::{Destination, DestinationError, To};
pub use dial::{
    Begun, DialOutcome, DialRequest, DialStatus, FirstSign, LegReport, PreDial, Progressed,
    RingMode,
};
pub use local::Reached;
pub use message::{MESSAGE_BYTES_MAX, MESSAGE_DATA_MAX, MessageError, Parcel, TextMessage};
pub use refer::TransferError;
