//! What a transaction state machine asks of the layer around it. The machines know states and times, never messages.

/// Why a transaction ended without what it was made for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Timer B or F, or no final response after CANCEL.
    Timeout,
    /// Timer H: a final response other than 2xx was never acknowledged.
    NoAck,
    /// The transport reported an error.
    Transport,
    /// The user of a server transaction gave no final response in time.
    Abandoned,
}

/// What to do after an input. Several may apply; the layer does them in the order of the fields.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// Client: send the request (again). Server: send the newest response (again).
    pub(super) send: bool,
    /// INVITE server: make and send 100 Trying.
    pub(super) trying: bool,
    /// INVITE client: send the ACK for a final response other than 2xx.
    pub(super) acknowledge: bool,
    /// INVITE client: the provisional limit is over, cancel.
    pub(super) cancel: bool,
    /// Hand the message to the user of the transaction.
    pub(super) deliver: bool,
    /// Tell the user of the transaction that it failed.
    pub(super) failure: Option<Failure>,
    /// The transaction is over: forget it.
    pub(super) ended: bool,
}

impl Effects {
    pub(super) const NONE: Self = Self {
        send: false,
        trying: false,
        acknowledge: false,
        cancel: false,
        deliver: false,
        failure: None,
        ended: false,
    };
    pub(super) const SEND: Self = Self {
        send: true,
        ..Self::NONE
    };
    pub(super) const DELIVER: Self = Self {
        deliver: true,
        ..Self::NONE
    };
    pub(super) const ENDED: Self = Self {
        ended: true,
        ..Self::NONE
    };

    pub(super) const fn failed(failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            ended: true,
            ..Self::NONE
        }
    }
}
