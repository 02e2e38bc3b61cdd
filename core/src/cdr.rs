//! Call detail records: one for each pair (the channel that runs the dialplan, a channel it dialled), or one for a
//! channel alone that was answered. The rules follow Asterisk's defaults (`unanswered=no`, `congestion=no`,
//! `endbeforehexten=yes`).

use std::time::SystemTime;

use strowger_store::Cdr;

/// Custom CDR variables one channel may set.
const CUSTOM_MAX: usize = 64;
/// The CDR columns hold 80 characters of names and data.
const COLUMN_CHARACTERS: usize = 80;

/// How a call ended for the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    NoAnswer,
    Failed,
    Busy,
    Answered,
}

impl Disposition {
    /// The word in the `disposition` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAnswer => "NO ANSWER",
            Self::Failed => "FAILED",
            Self::Busy => "BUSY",
            Self::Answered => "ANSWERED",
        }
    }
}

#[derive(Clone, Debug)]
struct Destination {
    channel: String,
    accountcode: String,
}

#[derive(Clone, Debug)]
struct Record {
    destination: Option<Destination>,
    start: SystemTime,
    answer: Option<SystemTime>,
    last_application: String,
    last_data: String,
    disposition: Option<Disposition>,
    sequence: u64,
}

impl Record {
    /// A record with a destination is answered only if that answered; A alone if A was.
    fn final_disposition(&self) -> Disposition {
        self.disposition
            .unwrap_or(if self.destination.is_none() && self.answer.is_some() {
                Disposition::Answered
            } else {
                Disposition::NoAnswer
            })
    }
}

/// Party A as it stands when a record closes.
#[derive(Clone, Debug, Default)]
pub struct PartyA {
    pub channel: String,
    pub uniqueid: String,
    pub linkedid: String,
    pub src: String,
    pub clid: String,
    pub dst: String,
    pub dcontext: String,
    pub accountcode: String,
    pub amaflags: String,
}

/// Records that `ForkCDR` may leave open; the oldest is complete when there are more.
const FORKS_MAX: usize = 64;

/// The records of one channel.
#[derive(Clone, Debug, Default)]
pub struct CallRecords {
    open: Vec<Record>,
    finished: Vec<Cdr>,
    /// Records that `ForkCDR` left open beside the present ones.
    forked: Vec<Record>,
    /// The record that closed last, for reading in extension `h`.
    last: Option<Cdr>,
    custom: Vec<(String, String)>,
    userfield: String,
    peeraccount: String,
    answered: Option<SystemTime>,
    closed: bool,
    disabled: bool,
    next_sequence: Option<fn() -> u64>,
}

impl CallRecords {
    /// Starts the records of a channel that runs the dialplan. `next_sequence` gives process-wide numbers.
    pub fn begin(&mut self, now: SystemTime, next_sequence: fn() -> u64) {
        self.next_sequence = Some(next_sequence);
        self.open_alone(now);
    }

    fn sequence(&self) -> u64 {
        self.next_sequence.map_or(0, |next| next())
    }

    fn open_alone(&mut self, now: SystemTime) {
        let record = Record {
            destination: None,
            start: now,
            // A channel that is up already starts a further record answered.
            answer: self.answered.map(|at| at.max(now)),
            last_application: String::new(),
            last_data: String::new(),
            disposition: None,
            sequence: self.sequence(),
        };
        self.open.push(record);
    }

    /// True once the records are complete and take no more changes.
    pub fn is_closed(&self) -> bool {
        self.closed || self.next_sequence.is_none()
    }

    /// Notes the application that runs.
    pub fn set_last(&mut self, application: &str, data: &str) {
        if self.is_closed() {
            return;
        }
        if self.open.is_empty() {
            self.open_alone(SystemTime::now());
        }
        for record in &mut self.open {
            application.clone_into(&mut record.last_application);
            record.last_data.clear();
            record.last_data.push_str(column(data));
        }
    }

    /// The channel is up.
    pub fn set_answered(&mut self, now: SystemTime) {
        if self.answered.is_none() {
            self.answered = Some(now);
            for record in &mut self.open {
                record.answer.get_or_insert(now);
            }
        }
    }

    /// Dial made these channels (name, account code).
    pub fn dial_begin(&mut self, now: SystemTime, legs: &[(String, String)]) {
        if self.is_closed() || legs.is_empty() {
            return;
        }
        if self.open.is_empty() {
            self.open_alone(now);
        }
        self.open.truncate(1);
        let first = self.open[0].clone();
        for (index, (channel, accountcode)) in legs.iter().enumerate() {
            let destination = Some(Destination {
                channel: channel.clone(),
                accountcode: accountcode.clone(),
            });
            if index == 0 {
                self.open[0].destination = destination;
                // What became of an earlier Dial says nothing about this one.
                self.open[0].disposition = None;
            } else {
                let sequence = self.sequence();
                self.open.push(Record {
                    destination,
                    sequence,
                    ..first.clone()
                });
            }
        }
    }

    /// A dialled channel ended without an answer.
    pub fn dial_leg_ended(&mut self, channel: &str, disposition: Disposition) {
        for record in &mut self.open {
            if record
                .destination
                .as_ref()
                .is_some_and(|to| to.channel == channel)
                && record.disposition.is_none()
            {
                record.disposition = Some(disposition);
            }
        }
    }

    /// What was recorded until now does not count.
    pub fn reset(&mut self, now: SystemTime) {
        for record in &mut self.open {
            record.start = now;
            record.answer = record.answer.map(|_| now);
        }
    }

    /// `ForkCDR`: another record begins beside the present one. `answered_then`: it was answered when that was; `ends`: that
    /// one is complete; `keeps`: names of its own stay.
    pub fn fork(
        &mut self,
        now: SystemTime,
        party: &PartyA,
        (answered_then, ends, keeps): (bool, bool, bool),
    ) {
        if self.is_closed() {
            return;
        }
        if self.open.is_empty() {
            self.open_alone(now);
        }
        let originals = std::mem::take(&mut self.open);
        let Some(mut next) = originals.first().cloned() else {
            return;
        };
        next.sequence = self.sequence();
        next.start = now;
        if !answered_then {
            next.answer = next.answer.map(|_| now);
        }
        for record in originals {
            if ends {
                self.finish(record, now, party);
            } else {
                self.forked.push(record);
            }
        }
        if !keeps {
            self.custom.clear();
        }
        if self.forked.len() > FORKS_MAX {
            let oldest = self.forked.remove(0);
            self.finish(oldest, now, party);
        }
        self.open.push(next);
    }

    /// Another channel stands in the place of one that was dialled.
    pub fn dial_replaced(&mut self, channel: &str, by: &str) {
        for record in &mut self.open {
            if let Some(to) = record
                .destination
                .as_mut()
                .filter(|to| to.channel == channel)
            {
                by.clone_into(&mut to.channel);
            }
        }
    }

    /// A dialled channel answered: the others of this Dial leave no record.
    pub fn dial_answered(&mut self, channel: &str, now: SystemTime) {
        self.open.retain(|record| {
            record
                .destination
                .as_ref()
                .is_none_or(|to| to.channel == channel)
        });
        for record in &mut self.open {
            record.disposition = Some(Disposition::Answered);
            record.answer.get_or_insert(now);
        }
    }

    /// The Dial is over: its records close. Where A was answered before and nobody it dialled was, those leave no record
    /// (`unanswered=no`): the record of A alone goes on.
    pub fn dial_end(&mut self, now: SystemTime, party: &PartyA) {
        if self.is_closed() {
            return;
        }
        let answered = |record: &Record| record.disposition == Some(Disposition::Answered);
        let dialled = self.open.iter().any(|record| record.destination.is_some());
        if dialled && self.answered.is_some() && !self.open.iter().any(answered) {
            self.open.truncate(1);
            for record in &mut self.open {
                record.destination = None;
                record.disposition = None;
            }
            return;
        }
        for record in std::mem::take(&mut self.open) {
            if record.destination.is_some() {
                self.finish(record, now, party);
            } else {
                self.open.push(record);
            }
        }
    }

    fn finish(&mut self, record: Record, now: SystemTime, party: &PartyA) {
        let disposition = record.final_disposition();
        let cdr = self.render(&record, now, disposition, party);
        self.last = Some(cdr.clone());
        if record.destination.is_none() && disposition != Disposition::Answered {
            return;
        }
        if !self.disabled {
            self.finished.push(cdr);
        }
    }

    fn render(
        &self,
        record: &Record,
        now: SystemTime,
        disposition: Disposition,
        party: &PartyA,
    ) -> Cdr {
        let answer = (disposition == Disposition::Answered)
            .then_some(record.answer)
            .flatten();
        let (dstchannel, peer) = record
            .destination
            .as_ref()
            .map(|to| (to.channel.clone(), to.accountcode.clone()))
            .unwrap_or_default();
        Cdr {
            accountcode: party.accountcode.clone(),
            peeraccount: if self.peeraccount.is_empty() {
                peer
            } else {
                self.peeraccount.clone()
            },
            src: party.src.clone(),
            dst: party.dst.clone(),
            dcontext: party.dcontext.clone(),
            clid: party.clid.clone(),
            channel: party.channel.clone(),
            dstchannel,
            lastapp: record.last_application.clone(),
            lastdata: record.last_data.clone(),
            start_us: micros(record.start),
            answer_us: answer.map(micros),
            end_us: micros(now),
            duration: now
                .duration_since(record.start)
                .unwrap_or_default()
                .as_secs() as i64,
            billsec: answer.map_or(0, |at| {
                now.duration_since(at).unwrap_or_default().as_secs() as i64
            }),
            disposition: disposition.as_str().to_owned(),
            amaflags: party.amaflags.clone(),
            userfield: self.userfield.clone(),
            uniqueid: party.uniqueid.clone(),
            linkedid: party.linkedid.clone(),
            sequence: record.sequence as i64,
            custom: self.custom.clone(),
        }
    }

    /// The call is over: everything open closes, and the finished records are handed out.
    pub fn close(&mut self, now: SystemTime, party: &PartyA) -> Vec<Cdr> {
        if self.is_closed() {
            return Vec::new();
        }
        for record in std::mem::take(&mut self.forked) {
            self.finish(record, now, party);
        }
        self.dial_end(now, party);
        for record in std::mem::take(&mut self.open) {
            self.finish(record, now, party);
        }
        self.closed = true;
        std::mem::take(&mut self.finished)
    }

    /// `CDR_PROP(disable)`: no record of this channel is kept (or, false, is again).
    pub fn set_disabled(&mut self, disabled: bool) {
        self.disabled = disabled;
    }

    /// `CDR(name)` for reading: the newest record as it would look now, or the last that closed. None for an unknown
    /// name.
    pub fn field(&self, name: &str, party: &PartyA, raw: bool, float: bool) -> Option<String> {
        let (cdr, open) = match self.open.last() {
            Some(record) => {
                let now = SystemTime::now();
                (
                    self.render(record, now, record.final_disposition(), party),
                    true,
                )
            }
            None => (self.last.clone()?, false),
        };
        let time = |at_us: i64| if raw { epoch(at_us) } else { local_time(at_us) };
        let span = |from_us: i64| {
            let length_us = (cdr.end_us - from_us).max(0);
            if float {
                format!("{:.6}", length_us as f64 / 1e6)
            } else {
                (length_us / 1_000_000).to_string()
            }
        };
        Some(match name.to_ascii_lowercase().as_str() {
            "start" => time(cdr.start_us),
            "answer" => cdr.answer_us.map(time).unwrap_or_default(),
            "end" if open => String::new(),
            "end" => time(cdr.end_us),
            "duration" => span(cdr.start_us),
            "billsec" => cdr.answer_us.map_or_else(|| "0".to_owned(), span),
            "accountcode" => cdr.accountcode,
            "peeraccount" => cdr.peeraccount,
            "src" => cdr.src,
            "dst" => cdr.dst,
            "dcontext" => cdr.dcontext,
            "clid" => cdr.clid,
            "channel" => cdr.channel,
            "dstchannel" => cdr.dstchannel,
            "lastapp" => cdr.lastapp,
            "lastdata" => cdr.lastdata,
            "disposition" => cdr.disposition,
            "amaflags" => cdr.amaflags,
            "userfield" => cdr.userfield,
            "uniqueid" => cdr.uniqueid,
            "linkedid" => cdr.linkedid,
            "sequence" => cdr.sequence.to_string(),
            other => self
                .custom
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(other))
                .map(|(_, value)| value.clone())?,
        })
    }

    /// `Set(CDR(name)=value)` for what belongs to the records. `accountcode` and `amaflags` are the channel's own.
    pub fn set_field(&mut self, name: &str, value: &str) -> Result<(), String> {
        if self.is_closed() {
            return Err("the record is closed".to_owned());
        }
        match name.to_ascii_lowercase().as_str() {
            "userfield" => value.clone_into(&mut self.userfield),
            "peeraccount" => value.clone_into(&mut self.peeraccount),
            "channel" | "dstchannel" | "src" | "dst" | "dcontext" | "clid" | "lastapp"
            | "lastdata" | "start" | "answer" | "end" | "duration" | "billsec" | "disposition"
            | "uniqueid" | "linkedid" | "sequence" => {
                return Err(format!(
                    "CDR({name}) is read-only; writable are accountcode, amaflags, userfield, peeraccount and your own names"
                ));
            }
            _ => {
                if let Some(entry) = self
                    .custom
                    .iter_mut()
                    .find(|(known, _)| known.eq_ignore_ascii_case(name))
                {
                    value.clone_into(&mut entry.1);
                } else if self.custom.len() < CUSTOM_MAX {
                    self.custom.push((name.to_owned(), value.to_owned()));
                } else {
                    return Err(format!("more than {CUSTOM_MAX} custom CDR variables"));
                }
            }
        }
        Ok(())
    }
}

fn micros(at: SystemTime) -> i64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros() as i64
}

fn epoch(at_us: i64) -> String {
    format!(
        "{}.{:06}",
        at_us.div_euclid(1_000_000),
        at_us.rem_euclid(1_000_000)
    )
}

fn local_time(at_us: i64) -> String {
    chrono::DateTime::from_timestamp_micros(at_us)
        .map(|at| {
            at.with_timezone(&chrono::Local)
                .format("%Y-%m-%d %H:%M:%S")
                .to_string()
        })
        .unwrap_or_default()
}

/// As much of `text` as its column takes.
fn column(text: &str) -> &str {
    if text.len() <= COLUMN_CHARACTERS {
        return text;
    }
    let end = text.char_indices().nth(COLUMN_CHARACTERS);
    end.map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    fn number() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn party() -> PartyA {
        PartyA {
            channel: "PJSIP/100-00000000".to_owned(),
            ..PartyA::default()
        }
    }

    fn begun() -> CallRecords {
        let mut records = CallRecords::default();
        records.begin(at(0), number);
        records
    }

    fn leg(name: &str) -> (String, String) {
        (name.to_owned(), String::new())
    }

    #[test]
    fn an_answered_call_gives_one_record_with_both_channels() {
        let mut records = begun();
        records.set_last("Dial", "PJSIP/101");
        records.dial_begin(at(1), &[leg("PJSIP/101-00000001")]);
        records.dial_answered("PJSIP/101-00000001", at(4));
        records.set_answered(at(4));
        let all = records.close(at(10), &party());
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].disposition, "ANSWERED");
        assert_eq!(
            (all[0].start_us, all[0].answer_us, all[0].end_us),
            (micros(at(0)), Some(micros(at(4))), micros(at(10)))
        );
        assert_eq!((all[0].duration, all[0].billsec), (10, 6));
        assert_eq!(all[0].dstchannel, "PJSIP/101-00000001");
    }

    #[test]
    fn a_fork_that_one_device_answers_leaves_one_record() {
        let mut records = begun();
        records.dial_begin(at(1), &[leg("B"), leg("C"), leg("D")]);
        records.dial_leg_ended("B", Disposition::Busy);
        records.dial_answered("C", at(3));
        let all = records.close(at(5), &party());
        assert_eq!(
            all.iter()
                .map(|cdr| cdr.dstchannel.as_str())
                .collect::<Vec<_>>(),
            ["C"]
        );
    }

    #[test]
    fn an_unanswered_fork_leaves_a_record_for_each_device() {
        let mut records = begun();
        records.dial_begin(at(1), &[leg("B"), leg("C")]);
        records.dial_leg_ended("B", Disposition::Busy);
        records.dial_leg_ended("C", Disposition::NoAnswer);
        records.dial_end(at(5), &party());
        let all = records.close(at(6), &party());
        let seen: Vec<_> = all
            .iter()
            .map(|cdr| {
                (
                    cdr.dstchannel.as_str(),
                    cdr.disposition.as_str(),
                    cdr.answer_us,
                )
            })
            .collect();
        assert_eq!(seen, [("B", "BUSY", None), ("C", "NO ANSWER", None)]);
        assert_ne!(all[0].sequence, all[1].sequence);
    }

    #[test]
    fn a_forwarded_call_keeps_the_unanswered_first_try_and_the_answered_second() {
        let mut records = begun();
        records.dial_begin(at(1), &[leg("B")]);
        records.dial_leg_ended("B", Disposition::NoAnswer);
        records.dial_end(at(16), &party());
        records.set_last("Dial", "PJSIP/8@trunk");
        records.dial_begin(at(16), &[leg("T")]);
        records.dial_answered("T", at(20));
        let all = records.close(at(30), &party());
        assert_eq!(
            all.iter()
                .map(|cdr| (cdr.dstchannel.as_str(), cdr.disposition.as_str()))
                .collect::<Vec<_>>(),
            [("B", "NO ANSWER"), ("T", "ANSWERED")]
        );
    }

    #[test]
    fn a_call_never_answered_and_never_dialled_is_not_recorded() {
        assert!(begun().close(at(3), &party()).is_empty());
    }

    #[test]
    fn an_answered_menu_without_dial_is_recorded_alone() {
        let mut records = begun();
        records.set_answered(at(2));
        records.set_last("Echo", "");
        let all = records.close(at(9), &party());
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].dstchannel.as_str(), all[0].lastapp.as_str()),
            ("", "Echo")
        );
    }

    #[test]
    fn an_answered_menu_whose_dial_nobody_answers_is_one_answered_record() {
        let mut records = begun();
        records.set_answered(at(1));
        records.set_last("Dial", "PJSIP/101&PJSIP/102");
        records.dial_begin(at(2), &[leg("B"), leg("C")]);
        // The caller hangs up while they ring.
        let all = records.close(at(9), &party());
        let seen: Vec<_> = all
            .iter()
            .map(|cdr| {
                (
                    cdr.dstchannel.as_str(),
                    cdr.disposition.as_str(),
                    cdr.billsec,
                )
            })
            .collect();
        assert_eq!(seen, [("", "ANSWERED", 8)]);
    }

    #[test]
    fn the_last_record_can_be_read_after_it_closed() {
        let mut records = begun();
        records.dial_begin(at(1), &[leg("B")]);
        records.dial_leg_ended("B", Disposition::Busy);
        records.dial_end(at(5), &party());
        let read = |records: &CallRecords, name: &str| records.field(name, &party(), false, false);
        assert_eq!(read(&records, "disposition").as_deref(), Some("BUSY"));
        records.close(at(6), &party());
        assert_eq!(read(&records, "duration").as_deref(), Some("5"));
        assert_ne!(read(&records, "end").as_deref(), Some(""));
    }

    #[test]
    fn closed_records_take_no_changes_and_read_only_fields_refuse() {
        let mut records = begun();
        assert!(records.set_field("dst", "1").is_err());
        assert!(records.set_field("source", "web").is_ok());
        assert_eq!(
            records.field("source", &party(), false, false).as_deref(),
            Some("web")
        );
        records.set_answered(at(1));
        assert_eq!(
            records.close(at(2), &party())[0].custom,
            [("source".to_owned(), "web".to_owned())]
        );
        assert!(records.set_field("userfield", "late").is_err());
        assert!(records.close(at(3), &party()).is_empty());
    }
}
