//! An Asterisk configuration taken into the tables: the files are read ([`conf`]), become units of rows ([`pjsip`],
//! [`wizard`], [`sections`], [`tables`]), and the units are brought together with what stands in the database ([`apply`]). Every line is
//! answered for in a report. Neither the dialplan nor sounds are looked into here.

mod access;
mod apply;
mod changes;
mod conf;
mod filter;
mod folder;
mod others;
mod pjsip;
mod report;
mod script;
mod sections;
mod stand;
mod tables;
#[cfg(test)]
mod tests;
mod unit;
mod wizard;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use report::{Finding, Report, Verdict};
pub use sections::DialplanLine;

use crate::error::StoreError;
use crate::store::Store;
use apply::Work;
use conf::{Conf, Files as _, Place};
use folder::Folder;
use report::Findings;
use unit::{FilePlan, Unit};

/// Where objects go that may stand in either place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Sections of files, kept in the static tables.
    Static,
    /// Rows of the realtime tables.
    Realtime,
}

/// How to import.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Everything there; `None`: each kind of object where administrators look for it.
    pub into: Option<Target>,
    /// Changes nothing, and reports what would be.
    pub dry_run: bool,
    /// What the files say wins over what others wrote.
    pub replace: bool,
    /// The folder of dialplans in Lua.
    pub scripts: PathBuf,
}

const SCRIPT: &str = "extensions.lua";

/// What the files become.
#[derive(Default)]
struct Planned {
    folder: String,
    files: Vec<FilePlan>,
    findings: Findings,
    dialplan: Vec<DialplanLine>,
    /// Kinds of SIP objects and where they went.
    targets: BTreeSet<(&'static str, Target)>,
    script: Option<Vec<u8>>,
}

/// Takes an Asterisk configuration into the tables; gives the report, and the lines of the dialplan for whoever looks into
/// them.
///
/// A file that could not be written is told in the report ([`Verdict::Failed`]), and the others go on.
///
/// # Errors
/// The folder cannot be read, the database does not answer, or the table that remembers is missing: nothing was changed.
pub async fn import_asterisk(
    store: &Store,
    folder: &Path,
    options: &ImportOptions,
) -> Result<(Report, Vec<DialplanLine>), StoreError> {
    let planned = plan(folder, options.into)?;
    let mut work = Work::begin(
        store.pool(),
        &planned.folder,
        options.replace,
        options.dry_run,
    )
    .await?;
    work.findings = planned.findings;
    let mut told = false;
    for mut plan in planned.files {
        if !told && [pjsip::FILE, wizard::FILE].contains(&plan.file.as_str()) {
            told = true;
            match work.sorcery().await {
                Ok(lines) => {
                    let units = sorcery(&lines, &planned.targets, options.into);
                    plan.units.extend(units);
                }
                Err(error) => {
                    let what = format!("{}: nothing of it was written", error.whole());
                    work.findings.add(&plan.place(), Verdict::Failed, what);
                    continue;
                }
            }
        }
        work.file(&plan).await;
    }
    if let Some(bytes) = planned.script
        && let Err(error) = script::copy(&mut work, &bytes, options).await
    {
        let what = error.whole();
        work.findings.add(&place(SCRIPT), Verdict::Failed, what);
    }
    let mut report = work.report;
    report.extend(work.findings.0);
    Ok((report, planned.dialplan))
}

fn plan(path: &Path, into: Option<Target>) -> Result<Planned, StoreError> {
    let failed = || StoreError::file(format!("folder {}", path.display()));
    let folder = Folder::open(path).map_err(failed())?;
    let mut planned = Planned {
        folder: folder.path(),
        ..Planned::default()
    };
    let names = folder.names().map_err(failed())?;
    // Files that are included somewhere are no files of their own.
    let mut included: BTreeSet<String> = BTreeSet::new();
    let mut whole: Vec<&String> = Vec::new();
    // A wizard adds to contexts of the dialplan, and refers to what stands in pjsip.conf.
    let (mut hints, hints_known) = match Conf::read(&folder, wizard::FILE) {
        Ok(None) => (Vec::new(), true),
        Ok(Some(conf)) if !conf.incomplete => (wizard::hints(&conf), true),
        _ => (Vec::new(), false),
    };
    let mut written = Conf::default();
    for name in &names {
        let Some(file) = known(name) else {
            whole.push(name);
            continue;
        };
        let mut conf = match Conf::read(&folder, name) {
            Ok(Some(conf)) => conf,
            Ok(None) => continue,
            Err(why) => {
                let place = place(name);
                planned.findings.decide(&place, why);
                continue;
            }
        };
        let faults = conf.faults.iter();
        for fault in faults {
            planned.findings.decide(&fault.place, fault.what.clone());
        }
        included.extend(conf.files.iter().cloned());
        conf.write_small(match file {
            pjsip::FILE | wizard::FILE => &[],
            sections::DIALPLAN => &["general", "globals"],
            tables::VOICEMAIL => &["general", "zonemessages"],
            _ => &["general"],
        });
        for section in conf.sections.iter().filter(|section| section.template) {
            let what = format!(
                "[{}] is a template: its lines count where they are inherited",
                section.name
            );
            planned.findings.section(section, Verdict::Taken, what);
        }
        if file == sections::DIALPLAN {
            conf.sections.append(&mut hints);
            if !hints_known {
                let what = format!(
                    "hints of {}, which cannot be read, belong to contexts of this file",
                    wizard::FILE
                );
                planned.findings.decide(&place(name), what);
                conf.incomplete = true;
            }
        }
        let findings = &mut planned.findings;
        let units = match file {
            pjsip::FILE => {
                let plan = pjsip::plan(&conf, &Conf::default(), into, findings);
                planned.targets.extend(plan.targets);
                written.sections.clone_from(&conf.sections);
                plan.units
            }
            wizard::FILE => {
                let objects = wizard::objects(&conf, findings);
                let mut plan = pjsip::plan(&objects, &written, into, findings);
                planned.targets.extend(plan.targets);
                // There was no dialplan that they could be added to.
                let own = Conf {
                    sections: std::mem::take(&mut hints),
                    ..Conf::default()
                };
                plan.units.extend(sections::dialplan(&own, into, findings));
                planned
                    .dialplan
                    .extend(sections::lines(&own, sections::DIALPLAN));
                plan.units
            }
            sections::DIALPLAN => sections::dialplan(&conf, into, findings),
            tables::QUEUES => tables::queues(&conf, into, findings),
            tables::VOICEMAIL => tables::voicemail(&conf, into, findings),
            tables::MUSIC => tables::music(&conf, into, findings),
            file if others::READ.contains(&file) => {
                others::read(file, &conf, findings);
                continue;
            }
            file => sections::plan(&conf, file),
        };
        if conf.incomplete {
            // What is missing may be a password or a rule that keeps somebody out.
            let what = "an Asterisk would not take it with these faults: nothing of it is written, and what was imported \
                        before stays as it is";
            planned.findings.decide(&place(name), what);
            continue;
        }
        if matches!(file, sections::DIALPLAN | "func_odbc.conf") {
            planned.dialplan.extend(sections::lines(&conf, file));
        }
        planned.files.push(FilePlan {
            file: name.clone(),
            units,
        });
    }
    for name in whole {
        if name == SCRIPT {
            match folder.read(name) {
                Ok(found) => match found.into_iter().next() {
                    Some((_, Ok(bytes))) => planned.script = Some(bytes),
                    Some((_, Err(why))) => planned.findings.decide(&place(name), why),
                    None => {}
                },
                Err(why) => planned.findings.decide(&place(name), why),
            }
        } else if !included.contains(name) && name.ends_with(".lua") {
            let what =
                format!("copy it to the folder of dialplans if {SCRIPT} needs it (`require`)");
            planned.findings.decide(&place(name), what);
        } else if !included.contains(name) && (name.ends_with(".conf") || name.ends_with(".ael")) {
            others::unread(name, &mut planned.findings);
        }
    }
    Ok(planned)
}

fn place(file: &str) -> Place {
    Place {
        file: file.into(),
        line: 0,
    }
}

/// Files that are read, by their name.
fn known(name: &str) -> Option<&'static str> {
    let own = [
        pjsip::FILE,
        wizard::FILE,
        sections::DIALPLAN,
        tables::QUEUES,
        tables::VOICEMAIL,
        tables::MUSIC,
    ];
    let all = own.iter().chain(&sections::FILES).chain(&others::READ);
    all.copied().find(|file| *file == name)
}

/// Lines of sorcery.conf that are needed so that objects are read from where they went. Where nobody has said anything both
/// places are read, and nothing has to be said; but a line that comes later, for the demo for one, would change that.
fn sorcery(
    lines: &[(bool, [String; 3])],
    targets: &BTreeSet<(&'static str, Target)>,
    into: Option<Target>,
) -> Vec<Unit> {
    let objects = || {
        pjsip::OBJECTS
            .iter()
            .filter(|object| !object.sorcery.is_empty())
    };
    let speaks = lines.iter().any(|(ours, _)| !ours);
    let mut wanted: BTreeSet<(&str, Target)> = BTreeSet::new();
    if speaks {
        wanted.extend(
            targets
                .iter()
                .filter(|(name, _)| objects().any(|object| object.name == *name)),
        );
        // A kind without a line of its own is read from its sections; a line for the table alone would end that.
        let silent = |name: &str| {
            let mut lines = lines.iter();
            !lines.any(|(ours, [_, option, value])| !ours && option == name && !value.is_empty())
        };
        let tables: Vec<&str> = wanted
            .iter()
            .filter(|(name, target)| *target == Target::Realtime && silent(name))
            .map(|(name, _)| *name)
            .collect();
        wanted.retain(|(name, target)| *target == Target::Realtime || !silent(name));
        wanted.extend(tables.into_iter().map(|name| (name, Target::Static)));
    } else if into.is_some() {
        for object in objects() {
            wanted.insert((object.name, Target::Static));
            wanted.insert((object.name, Target::Realtime));
        }
    }
    let mut units = Vec::new();
    for (name, target) in wanted {
        let Some(object) = objects().find(|object| object.name == name) else {
            continue;
        };
        let (start, value) = match target {
            Target::Realtime => ("realtime,", format!("realtime,{}", object.table)),
            Target::Static => (
                "config,pjsip.conf",
                format!("config,pjsip.conf,criteria=type={name}"),
            ),
        };
        let says = |(ours, [section, option, value]): &&(bool, [String; 3])| {
            !ours && section == object.sorcery && option == name && value.starts_with(start)
        };
        if lines.iter().any(|line| says(&line)) {
            continue;
        }
        units.push(Unit {
            table: "static_sorcery",
            key: vec![
                ("filename", "sorcery.conf".to_owned()),
                ("category", object.sorcery.to_owned()),
                ("var_name", name.to_owned()),
                ("var_val", value.clone()),
            ],
            rows: vec![vec![
                ("cat_metric".to_owned(), "0".to_owned()),
                ("var_metric".to_owned(), "0".to_owned()),
                ("commented".to_owned(), "0".to_owned()),
            ]],
            place: place(pjsip::FILE),
            last_line: 0,
            what: format!("line {name} = {value} of sorcery.conf"),
        });
    }
    units
}
