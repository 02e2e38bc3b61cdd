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
    direction: Direction,
    file: String,
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
        let code = match statistics.current_status {
            0 if !done => CALL_DROPPED,
            status => status,
        };
        let text = match T30State::completion_code(code) {
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
