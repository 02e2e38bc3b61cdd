//! One call detail record.

use serde::{Deserialize, Serialize};

/// A call detail record: one pair of channels (A, B). Written to the columns of `cdr` of the same name; empty text is
/// written as NULL. Times are in microseconds since the epoch and written as local time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cdr {
    /// Account of party A.
    pub accountcode: String,
    /// Caller number.
    pub src: String,
    /// Extension dialled.
    pub dst: String,
    /// Context of `dst`.
    pub dcontext: String,
    /// `"Name" <number>`.
    pub clid: String,
    /// Channel name of A.
    pub channel: String,
    /// Channel name of B.
    pub dstchannel: String,
    /// Last application on A.
    pub lastapp: String,
    /// Its arguments.
    pub lastdata: String,
    /// Start of the call, microseconds since the epoch.
    pub start_us: i64,
    /// Answer, microseconds since the epoch; `None` if never answered.
    pub answer_us: Option<i64>,
    /// End of the call, microseconds since the epoch.
    pub end_us: i64,
    /// Seconds from start to end.
    pub duration: i64,
    /// Seconds from answer to end, 0 if never answered.
    pub billsec: i64,
    /// `ANSWERED`, `NO ANSWER`, `BUSY`, `FAILED`, `CONGESTION`.
    pub disposition: String,
    /// `DOCUMENTATION`, `BILLING`, `OMIT`.
    pub amaflags: String,
    /// `CDR(userfield)`.
    pub userfield: String,
    /// Uniqueid of A.
    pub uniqueid: String,
    /// Uniqueid of the call.
    pub linkedid: String,
    /// Account of party B.
    pub peeraccount: String,
    /// Counter of the process.
    pub sequence: i64,
    /// Custom CDR variables, such as `source`, `destination`, `direction`, `group_uuid`: written where the table has a
    /// column of that name (compared without case), otherwise dropped.
    pub custom: Vec<(String, String)>,
}
