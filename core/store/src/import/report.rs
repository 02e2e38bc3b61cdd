//! What an import says: a line for each line, or piece of lines, of the files.

use std::fmt;

use super::conf::{Place, Section};

/// What becomes of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// They stand in the database, or will.
    Taken,
    /// Nothing here corresponds to them; what to do, if anything, is said.
    NoEquivalent,
    /// A person has to look at them; nothing was changed for them.
    Decision,
    /// They could not be written: a fault of the database or of a disk, not of the file.
    Failed,
}

/// What becomes of these lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, as seen from the folder of the configuration.
    pub file: String,
    /// The first line; 0: the whole file.
    pub line: u32,
    /// The last line.
    pub last: u32,
    /// What becomes of them.
    pub verdict: Verdict,
    /// Why, and what to do.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.last > self.line {
                write!(f, "-{}", self.last)?;
            }
        }
        let verdict = match self.verdict {
            Verdict::Taken => "taken",
            Verdict::NoEquivalent => "no equivalent",
            Verdict::Decision => "decide",
            Verdict::Failed => "failed",
        };
        write!(f, ": {verdict}: {}", self.what)
    }
}

/// Findings as they are gathered.
#[derive(Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, place: &Place, verdict: Verdict, what: impl Into<String>) {
        self.0.push(Finding {
            file: place.file.to_string(),
            line: place.line,
            last: place.line,
            verdict,
            what: what.into(),
        });
    }

    pub(crate) fn none(&mut self, place: &Place, what: impl Into<String>) {
        self.add(place, Verdict::NoEquivalent, what);
    }

    pub(crate) fn decide(&mut self, place: &Place, what: impl Into<String>) {
        self.add(place, Verdict::Decision, what);
    }

    /// Of a whole section.
    pub(crate) fn section(&mut self, section: &Section, verdict: Verdict, what: impl Into<String>) {
        self.0.push(Finding {
            file: section.place.file.to_string(),
            line: section.place.line,
            last: section.last_line,
            verdict,
            what: what.into(),
        });
    }
}

/// What an import did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By file and line.
    pub findings: Vec<Finding>,
    /// Objects that were not there.
    pub added: usize,
    /// Objects whose file says something else than before.
    pub changed: usize,
    /// Objects that are in no file any more.
    pub removed: usize,
    /// Objects that stand as the files say.
    pub unchanged: usize,
}

impl Report {
    /// How many findings there are of this kind.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding.verdict == verdict)
            .count()
    }

    /// Adds findings of others, and puts all in order; what is said of a line of a template for each of its heirs is said once.
    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
        self.findings.sort_by(|a, b| {
            let place = (&a.file, a.line, a.verdict, a.last, &a.what);
            place.cmp(&(&b.file, b.line, b.verdict, b.last, &b.what))
        });
        self.findings.dedup();
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        if self.added + self.changed + self.removed == 0 {
            writeln!(
                f,
                "nothing changes: {} objects stand as the files say",
                self.unchanged
            )?;
        } else {
            writeln!(
                f,
                "{} added, {} changed, {} removed, {} as they were",
                self.added, self.changed, self.removed, self.unchanged
            )?;
        }
        writeln!(
            f,
            "{} without equivalent, {} to decide",
            self.count(Verdict::NoEquivalent),
            self.count(Verdict::Decision)
        )?;
        match self.count(Verdict::Failed) {
            0 => Ok(()),
            1 => writeln!(f, "1 file could not be written"),
            count => writeln!(f, "{count} files could not be written"),
        }
    }
}
