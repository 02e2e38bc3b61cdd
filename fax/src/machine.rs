//! The machine itself: T.30 over audio, from or into a TIFF file. Knows no files but that one, and no time: it is given samples.

use anyhow::{Context, bail};
use spandsp::fax::FaxState;
use spandsp::t30::{T30ModemSupport, T30State};

/// Samples of a turn: 20 ms.
pub(crate) const FRAME: usize = 160;
/// Pages of a document at most.
const PAGES_MAX: i32 = 1000;
/// The call ended before the fax did (a code of T.30 in the library).
const CALL_DROPPED: i32 = 49;

/// Which way the document goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Send,
    Receive,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) direction: Direction,
    pub(crate) file: String,
    /// Files whose pages follow those of the first.
    pub(crate) more: Vec<String>,
    /// Errors are corrected (T.30 Annex A).
    pub(crate) ecm: bool,
    /// `v17`, `v29`, `v27`.
    pub(crate) modems: Vec<String>,
}

impl Job {
    pub(crate) fn new(direction: Direction, file: &str) -> Self {
        Self {
            direction,
            file: file.to_owned(),
            more: Vec::new(),
            ecm: true,
            modems: ["v17", "v29", "v27"].map(str::to_owned).to_vec(),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// 0: all is well.
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) pages: i32,
    /// Bits a second.
    pub(crate) rate: i32,
    /// Pixels for each meter, across and down.
    pub(crate) resolution: (i32, i32),
    pub(crate) ecm: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) pages: i32,
    /// Bits a second.
    pub(crate) rate: i32,
    /// Pixels for each meter, across and down.
    pub(crate) resolution: (i32, i32),
    pub(crate) ecm: bool,
    /// Rows that came damaged.
    pub(crate) bad_rows: i32,
}

/// A fax machine on a line.
pub(crate) struct Machine {
    fax: FaxState,
    direction: Direction,
}

impl Machine {
    /// # Errors
    /// What is wrong with the job.
    pub(crate) fn new(job: &Job) -> anyhow::Result<Self> {
        let mut modems = T30ModemSupport::empty();
        for name in &job.modems {
            modems |= match name.as_str() {
                "v17" => T30ModemSupport::V17,
                "v29" => T30ModemSupport::V29,
                "v27" => T30ModemSupport::V27TER,
                other => bail!("modem \"{other}\": known are v17, v29 and v27"),
            };
        }
        // V.17 is never alone: what is slower has to be there to fall back on.
        if modems.contains(T30ModemSupport::V17) {
            modems |= T30ModemSupport::V29 | T30ModemSupport::V27TER;
        } else if modems.contains(T30ModemSupport::V29) {
            modems |= T30ModemSupport::V27TER;
        }
        let sends = job.direction == Direction::Send;
        let fax = FaxState::new(sends).context("the fax machine cannot be made")?;
        fax.set_transmit_on_idle(true);
        {
            let t30 = fax.get_t30_state().context("the fax machine has no T.30")?;
            t30.set_supported_modems(modems)?;
            t30.set_ecm_capability(job.ecm)?;
            if sends {
                t30.set_tx_file(&job.file, -1, -1)?;
            } else {
                t30.set_rx_file(&job.file, PAGES_MAX - 1)?;
            }
        }
        Ok(Self {
            fax,
            direction: job.direction,
        })
    }

    /// 20 ms of what the far end says; 20 ms of what it is to hear.
    pub(crate) fn turn(&self, heard: &mut [i16; FRAME]) -> [i16; FRAME] {
        let mut said = [0; FRAME];
        self.fax.rx(heard);
        // What is not filled is silence.
        self.fax.tx(&mut said);
        said
    }

    /// Is the fax through, well or not?
    pub(crate) fn is_done(&self) -> bool {
        self.fax
            .get_t30_state()
            .map_or(true, |t30| !t30.call_active())
    }

    /// How far it is by now.
    pub(crate) fn progress(&self) -> Progress {
        let Ok(t30) = self.fax.get_t30_state() else {
            return Progress::default();
        };
        let statistics = t30.get_transfer_statistics();
        Progress {
            pages: match self.direction {
                Direction::Send => statistics.pages_tx,
                Direction::Receive => statistics.pages_rx,
            },
            rate: statistics.bit_rate,
            resolution: (statistics.x_resolution, statistics.y_resolution),
            ecm: statistics.error_correcting_mode != 0,
            bad_rows: statistics.bad_rows,
        }
    }

    /// Ends it; the file is complete then.
    pub(crate) fn finish(self) -> Report {
        let done = self.is_done();
        let statistics = match self.fax.get_t30_state() {
            Ok(t30) => t30.get_transfer_statistics(),
            Err(error) => {
                return Report {
                    code: -1,
                    text: error.to_string(),
                    pages: 0,
                    rate: 0,
                    resolution: (0, 0),
                    ecm: false,
                };
            }
        };
        // Who received the last page and said so may hang up before he has heard all of our good-bye.
        let sent = statistics.pages_in_file > 0 && statistics.pages_tx >= statistics.pages_in_file;
        let through = done || (self.direction == Direction::Send && sent);
        let code = match statistics.current_status {
            0 if !through => CALL_DROPPED,
            status => status,
        };
        let text = match T30State::completion_code(code) {
            _ if code == CALL_DROPPED => "the call ended before the fax did".to_owned(),
            Some(error) => error.to_string(),
            None => format!("status {code}"),
        };
        Report {
            code,
            text,
            pages: match self.direction {
                Direction::Send => statistics.pages_tx,
                Direction::Receive => statistics.pages_rx,
            },
            rate: statistics.bit_rate,
            resolution: (statistics.x_resolution, statistics.y_resolution),
            ecm: statistics.error_correcting_mode != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One page of 1728 by 64 pixels, not compressed.
    fn document() -> Vec<u8> {
        let mut file = b"II*\0\x08\0\0\0".to_vec();
        let entries: [(u16, u16, u32); 11] = [
            (256, 4, 1728),
            (257, 4, 64),
            (258, 3, 1),
            (259, 3, 1),
            (262, 3, 0),
            (273, 4, 8 + 2 + 11 * 12 + 4 + 16),
            (277, 3, 1),
            (278, 4, 64),
            (279, 4, 216 * 64),
            (282, 5, 8 + 2 + 11 * 12 + 4),
            (283, 5, 8 + 2 + 11 * 12 + 12),
        ];
        file.extend_from_slice(&11_u16.to_le_bytes());
        for (tag, kind, value) in entries {
            file.extend_from_slice(&tag.to_le_bytes());
            file.extend_from_slice(&kind.to_le_bytes());
            file.extend_from_slice(&1_u32.to_le_bytes());
            file.extend_from_slice(&value.to_le_bytes());
        }
        file.extend_from_slice(&[0; 4]);
        for number in [204_u32, 1, 98, 1] {
            file.extend_from_slice(&number.to_le_bytes());
        }
        for row in 0..64_u8 {
            file.extend((0..216).map(|x| if x % 9 == row % 9 { 0xf0 } else { 0 }));
        }
        file
    }

    fn machine(job: &Job) -> Machine {
        Machine::new(job).expect("a fax machine")
    }

    /// Lets two machines hear each other until both are done, or so many seconds are over.
    fn connect(one: &Machine, two: &Machine, seconds: usize) {
        let (mut to_one, mut to_two) = ([0; FRAME], [0; FRAME]);
        for _ in 0..seconds * 50 {
            let (from_one, from_two) = (one.turn(&mut to_one), two.turn(&mut to_two));
            (to_one, to_two) = (from_two, from_one);
            if one.is_done() && two.is_done() {
                return;
            }
        }
    }

    #[test]
    fn a_page_goes_from_one_machine_to_another_by_any_modem() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("out.tif"), document()).expect("a document");
        for (modem, ecm, rate) in [
            ("v17", true, 14_400),
            ("v29", false, 9600),
            ("v27", true, 4800),
        ] {
            let mut send = Job::new(Direction::Send, &path("out.tif"));
            send.modems = vec![modem.to_owned()];
            send.ecm = ecm;
            let receive = Job::new(Direction::Receive, &path(modem));
            let (sender, receiver) = (machine(&send), machine(&receive));
            connect(&sender, &receiver, 120);
            for progress in [sender.progress(), receiver.progress()] {
                assert_eq!((progress.pages, progress.rate), (1, rate), "{modem}");
                assert_eq!((progress.ecm, progress.bad_rows), (ecm, 0), "{modem}");
            }
            for report in [sender.finish(), receiver.finish()] {
                assert_eq!((report.code, report.pages), (0, 1), "{modem}: {report:?}");
                assert_eq!((report.rate, report.ecm), (rate, ecm), "{modem}");
            }
            let length = std::fs::metadata(path(modem)).expect("a file").len();
            assert!(length > 200, "{modem}: {length} bytes");
        }
    }

    #[test]
    fn what_does_not_come_to_an_end_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let receiver = machine(&Job::new(Direction::Receive, &path("in.tif")));
        receiver.turn(&mut [0; FRAME]);
        assert!(!receiver.is_done());
        let report = receiver.finish();
        assert_eq!((report.code, report.pages), (CALL_DROPPED, 0));
        // Nobody is there: it gives up by itself.
        let sender = machine(&Job::new(Direction::Send, &path("missing.tif")));
        let silence = machine(&Job::new(Direction::Send, &path("missing.tif")));
        connect(&sender, &silence, 180);
        assert_ne!(sender.finish().code, 0);
        let mut wrong = Job::new(Direction::Send, "x");
        wrong.modems = vec!["v34".to_owned()];
        let why = Machine::new(&wrong).err().expect("it is refused");
        assert!(why.to_string().contains("v34"), "{why}");
    }
}
