//! The dialplan as all shards see it: compiled on the control runtime whenever its rows change, swapped when it is
//! ready. A plan that cannot be compiled never replaces one that can.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use strowger_core::Shared;
use strowger_core::channel::GlobalVariables;
use strowger_core::device::Hints;
use strowger_dialplan::{
    Added, Edits, NotEdited, Plan, Problem, Row, Severity, Spot, StaticRow, subst,
};
use strowger_store::{Snapshot, Table};
use tokio::sync::{Notify, watch};

use crate::agi::Agi;
use crate::fax::Fax;
use crate::func;
use crate::func::text::is_yes;
use crate::registry::WithTable;
use crate::script::{self, Databases, Scripts, Services, Stamp};
use crate::vm::Counters;
use crate::{log_line, lots};

/// Problems written to the log after one change; the rest is counted.
const LOGGED_MAX: usize = 50;
/// How often the folder of scripts is looked at. Files that changed are read when they are as they were at the look before,
/// so that one that is still being written is not.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a change that a program asked for may take until it counts.
const EDIT_MAX: Duration = Duration::from_secs(30);

/// Why a step was not added or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditError {
    /// It cannot be.
    Refused(NotEdited),
    /// It is kept, but no plan has it yet.
    Late,
}

/// What programs changed beside the rows.
#[derive(Clone, Debug, Default)]
struct Kept {
    edits: Edits,
    /// Grows with every change.
    version: u64,
}

/// The current plan, and how it came to be.
#[derive(Debug, Default)]
pub struct Plans {
    current: ArcSwap<Plan>,
    versions: AtomicU64,
    compile_us: AtomicU64,
    failures: AtomicU64,
    counters: Arc<Counters>,
    services: Arc<Services>,
    look: Notify,
    /// Steps were added or taken away.
    edited: Notify,
    kept: Mutex<Kept>,
    /// Which version of [`Kept`] the current plan has.
    kept_in_plan: watch::Sender<u64>,
    agi: Arc<Agi>,
    fax: Arc<Fax>,
    /// The files of the current plan.
    scripts: ArcSwap<Scripts>,
}

impl Plans {
    /// The newest plan.
    pub fn current(&self) -> Arc<Plan> {
        self.current.load_full()
    }

    /// How many plans were compiled since the start.
    pub fn versions(&self) -> u64 {
        self.versions.load(Ordering::Relaxed)
    }

    /// How long the last compilation took, in microseconds.
    pub fn compile_us(&self) -> u64 {
        self.compile_us.load(Ordering::Relaxed)
    }

    /// Compilations that failed altogether and left the former plan in force.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What the scripts of all shards counted.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The scripts of AGI that calls of all shards run.
    pub fn agi(&self) -> &Arc<Agi> {
        &self.agi
    }

    /// The fax machines that calls of all shards run.
    pub fn fax(&self) -> &Arc<Fax> {
        &self.fax
    }

    /// What the scripts of all shards share.
    pub(crate) fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Looks at the files of the dialplan now.
    pub fn look_at_files(&self) {
        self.look.notify_one();
    }

    /// Adds a step that is in no row, until the exchange ends or forgets it ([`Self::forget_edits`]). When this returns, calls find it.
    ///
    /// # Errors
    /// There is a step at that place (`replace` takes it away), there are too many, or no plan was compiled in time.
    pub async fn add_step(
        &self,
        context: &str,
        spot: Spot,
        step: Added,
        replace: bool,
    ) -> Result<(), EditError> {
        self.edit(|edits, plan| edits.add(plan, context, spot, step, replace))
            .await
    }

    /// Takes away a step, or a whole extension, that was added or that a row of `extensions.conf` writes; as long as
    /// [`Self::add_step`] says.
    ///
    /// # Errors
    /// There is none, too many are taken away, or no plan was compiled in time.
    pub async fn remove_steps(
        &self,
        context: &str,
        exten: &str,
        caller: Option<&str>,
        priority: Option<i32>,
    ) -> Result<(), EditError> {
        self.edit(|edits, plan| edits.remove(plan, context, exten, caller, priority))
            .await
    }

    async fn edit(
        &self,
        change: impl FnOnce(&mut Edits, &Plan) -> Result<(), NotEdited>,
    ) -> Result<(), EditError> {
        let mut in_plan = self.kept_in_plan.subscribe();
        let version = {
            let mut kept = self.kept.lock();
            change(&mut kept.edits, &self.current()).map_err(EditError::Refused)?;
            kept.version += 1;
            kept.version
        };
        self.edited.notify_one();
        let counts = in_plan.wait_for(|in_plan| *in_plan >= version);
        match tokio::time::timeout(EDIT_MAX, counts).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(EditError::Late),
        }
    }

    /// The dialplan is what rows and files say again.
    pub fn forget_edits(&self) {
        let mut kept = self.kept.lock();
        if !kept.edits.is_empty() {
            kept.edits = Edits::default();
            kept.version += 1;
            self.edited.notify_one();
        }
    }

    /// What would be wrong with a dialplan of these rows and the present files. Compiles, so not for a thread that may not wait.
    pub fn problems_of(&self, snapshot: &Snapshot) -> Vec<Problem> {
        let edits = self.kept.lock().edits.clone();
        compile_edited(
            snapshot,
            &self.scripts.load(),
            &edits,
            Some(&self.current()),
        )
        .problems
    }

    /// What is wrong with the rows and files of the current plan.
    pub fn problems(&self) -> Vec<Problem> {
        self.current().problems.clone()
    }
}

/// Compiles plans and publishes them.
pub struct PlanWatcher {
    plans: Arc<Plans>,
    folder: PathBuf,
    known: Mutex<Known>,
    /// The version of the plan whose hints are known.
    hinted: AtomicU64,
    /// Former plans that calls may follow still. The last owner frees a plan, which takes long: that is never a shard.
    retired: Mutex<Vec<Arc<Plan>>>,
}

#[derive(Default)]
struct Known {
    /// Problems that were logged already, as text.
    problems: FxHashSet<String>,
    /// Global variables as configured last.
    globals: Vec<(String, String)>,
    versions: Option<(u64, u64, u64)>,
    /// The state of the folder that [`Self::scripts`] is of, and the one seen last.
    stamp: Stamp,
    seen: Stamp,
    /// The files as they are used.
    scripts: Scripts,
    /// They changed since the last plan.
    scripts_changed: bool,
    /// The version of [`Kept`] that the last plan has.
    kept: u64,
}

impl PlanWatcher {
    /// Compiles the plan of the present rows and watches for changes on the control runtime of `shared`. May take as
    /// long as the compilation: call it before the first call comes.
    pub fn start(shared: &Arc<Shared>) -> Arc<Plans> {
        let watcher = Arc::new(Self {
            plans: Arc::new(Plans {
                services: Arc::new(Services::new(Databases::of(&shared.config))),
                agi: Arc::new(Agi::new(&shared.config.agi)),
                fax: Arc::new(Fax::new(&shared.config.fax)),
                ..Plans::default()
            }),
            folder: shared.paths().dialplan.clone(),
            known: Mutex::default(),
            hinted: AtomicU64::new(0),
            retired: Mutex::default(),
        });
        watcher.look(false);
        // Listening comes first, so that no change between is missed.
        let mut changes = shared.realtime.subscribe();
        watcher.update(&shared.snapshot(), &shared.globals);
        watcher.publish_hints(shared);
        let plans = Arc::clone(&watcher.plans);
        let shared = Arc::clone(shared);
        let control = shared.control.clone();
        control.spawn(async move {
            let mut look = tokio::time::interval(LOOK_EVERY);
            look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                // Have rows changed, and are files looked at: those at rest only, or all?
                let (rows, at_rest) = tokio::select! {
                    changed = changes.changed() => match changed {
                        Ok(()) => (true, None),
                        Err(_) => return,
                    },
                    _ = look.tick() => (false, Some(true)),
                    () = watcher.plans.look.notified() => (false, Some(false)),
                    () = watcher.plans.edited.notified() => (false, None),
                };
                let (watcher, shared) = (Arc::clone(&watcher), Arc::clone(&shared));
                let done = tokio::task::spawn_blocking(move || {
                    watcher.free_retired();
                    let new_files = at_rest.is_some_and(|at_rest| watcher.look(at_rest));
                    if !rows && !new_files && !watcher.has_new_edits() {
                        return;
                    }
                    let edits = watcher.update(&shared.snapshot(), &shared.globals);
                    watcher.publish_hints(&shared);
                    watcher.answer(edits);
                });
                if done.await.is_err() {
                    tracing::error!(
                        "the dialplan compiler failed; calls go on with the former dialplan"
                    );
                }
            }
        });
        plans
    }

    fn has_new_edits(&self) -> bool {
        self.plans.kept.lock().version != self.known.lock().kept
    }

    /// Frees former plans that nobody else holds any more, nor one of their contexts.
    fn free_retired(&self) {
        let mut newer = vec![self.plans.current()];
        let mut freed = Vec::new();
        let mut retired = self.retired.lock();
        for plan in std::mem::take(&mut *retired).into_iter().rev() {
            let alone = Arc::strong_count(&plan) == 1
                && plan.contexts().all(|context| {
                    Arc::strong_count(context) == 1
                        || newer.iter().any(|plan| {
                            let same = plan.context(&context.name);
                            same.is_some_and(|same| Arc::ptr_eq(same, context))
                        })
                });
            if alone {
                freed.push(plan);
            } else {
                newer.push(Arc::clone(&plan));
                retired.insert(0, plan);
            }
        }
        drop(retired);
        drop(freed);
    }

    /// Reads the files of the folder if they changed. `at_rest`: only if they are as they were at the look before. A version
    /// with a file that cannot be loaded leaves the former in force; at the start, the file alone is left out. True if
    /// there is something new.
    fn look(&self, at_rest: bool) -> bool {
        let stamp = script::stamp(&self.folder);
        let mut known = self.known.lock();
        if stamp == known.stamp {
            return false;
        }
        if at_rest && stamp != known.seen {
            known.seen = stamp;
            return false;
        }
        let first = known.versions.is_none();
        let folder = &*self.folder;
        let read = std::panic::catch_unwind(|| Scripts::read(folder));
        known.stamp = stamp;
        let Ok(scripts) = read else {
            self.plans.failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                "the dialplan files could not be looked at; calls go on with the former ones"
            );
            return false;
        };
        if scripts.failed && !first {
            self.plans.failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                "dialplan files with errors are not used; calls go on with the former version of all files"
            );
            known.scripts.problems = scripts.problems;
        } else if scripts.program == known.scripts.program {
            // A plan holds to the version that calls follow already.
            let program = Arc::clone(&known.scripts.program);
            known.scripts = Scripts { program, ..scripts };
        } else {
            known.scripts = scripts;
        }
        known.scripts_changed = true;
        true
    }

    /// Lets device states know the hints of a plan that is new.
    fn publish_hints(&self, shared: &Shared) {
        let version = self.plans.versions();
        if self.hinted.swap(version, Ordering::Relaxed) == version {
            return;
        }
        let plan = self.plans.current();
        let globals: std::collections::HashMap<String, String> =
            plan.globals.iter().cloned().collect();
        let hints = plan.hints().map(|(context, exten, hint)| {
            let hint = subst::substitute(hint, &globals);
            (context.to_owned(), exten.to_owned(), hint)
        });
        shared.devices.set_hints(Hints::new(hints));
    }

    /// Whoever changed something is told that it counts, its hints too.
    fn answer(&self, edits: Option<u64>) {
        if let Some(version) = edits {
            self.plans.kept_in_plan.send_replace(version);
        }
    }

    /// Compiles and publishes the plan of `snapshot` if its dialplan rows are others than before: the version of [`Kept`] that it
    /// has.
    fn update(&self, snapshot: &Snapshot, globals: &GlobalVariables) -> Option<u64> {
        let hinted = if has_automatic_hints(snapshot) {
            snapshot.version_of(Table::Endpoints)
        } else {
            0
        };
        let versions = (
            snapshot.version_of(Table::Extensions),
            snapshot.version_of(Table::StaticExtensions),
            hinted,
        );
        let kept = self.plans.kept.lock().clone();
        let mut known = self.known.lock();
        let same_edits = known.kept == kept.version;
        if known.versions == Some(versions) && !known.scripts_changed && same_edits {
            return None;
        }
        let started = Instant::now();
        let previous = self.plans.current();
        let compiled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            compile_edited(snapshot, &known.scripts, &kept.edits, Some(&previous))
        }));
        known.versions = Some(versions);
        known.scripts_changed = false;
        known.kept = kept.version;
        let Ok(plan) = compiled else {
            self.plans.failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!("the dialplan compiler failed; calls go on with the former dialplan");
            return None;
        };
        let took = started.elapsed();
        report(&plan, &mut known.problems, took);
        for (name, value) in &plan.globals {
            // Only what was changed in the table: a value that a call set since stays.
            if !known
                .globals
                .iter()
                .any(|(before, old)| before == name && old == value)
                && !globals.set(name, value)
            {
                tracing::warn!(name, "global variable refused: there are too many");
            }
        }
        known.globals.clone_from(&plan.globals);
        self.plans.scripts.store(Arc::new(known.scripts.clone()));
        drop(known);
        let former = self.plans.current.swap(Arc::new(plan));
        self.retired.lock().push(former);
        self.plans.versions.fetch_add(1, Ordering::Relaxed);
        self.plans.compile_us.store(
            u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        Some(kept.version)
    }
}

fn has_automatic_hints(snapshot: &Snapshot) -> bool {
    let lines = snapshot.statics.iter();
    lines
        .filter(|row| row.filename == "extensions.conf")
        .any(|row| row.var_name.eq_ignore_ascii_case("autohints") && is_yes(&row.var_val))
}

/// `autohints = yes`: each endpoint has a hint under its own name, unless one is written.
fn automatic_hints<'s>(
    snapshot: &Snapshot,
    statics: &[StaticRow<'s>],
) -> Vec<(i64, &'s str, String)> {
    let mut contexts: Vec<(i64, &str)> = statics
        .iter()
        .filter(|row| row.name.eq_ignore_ascii_case("autohints") && is_yes(row.value))
        .map(|row| (row.id, row.category))
        .collect();
    contexts.dedup_by_key(|(_, context)| *context);
    let mut hints = Vec::new();
    for (id, context) in contexts {
        let written: FxHashSet<&str> = statics
            .iter()
            .filter(|row| row.category == context && row.value.contains(",hint"))
            .filter_map(|row| row.value.trim_start_matches('>').split(',').next())
            .map(str::trim)
            .collect();
        let mut names: Vec<&String> = snapshot.endpoints.keys().collect();
        names.sort_unstable();
        for name in names {
            // What would be read as a pattern, a caller or a further field is no name of a hint.
            if !written.contains(name.as_str())
                && !name.starts_with('_')
                && !name.contains([',', '/', '$'])
            {
                hints.push((id, context, format!("{name},hint,PJSIP/{name}")));
            }
        }
    }
    hints
}

/// Compiles the dialplan rows of a snapshot and what the scripts define. Contexts that did not change come from `previous`.
pub fn compile(snapshot: &Snapshot, scripts: &Scripts, previous: Option<&Plan>) -> Plan {
    compile_edited(snapshot, scripts, &Edits::default(), previous)
}

fn compile_edited(
    snapshot: &Snapshot,
    scripts: &Scripts,
    edits: &Edits,
    previous: Option<&Plan>,
) -> Plan {
    let rows: Vec<Row<'_>> = snapshot
        .extensions
        .iter()
        .map(|row| Row {
            id: row.id,
            context: &row.context,
            exten: &row.exten,
            priority: row.priority,
            app: &row.app,
            appdata: &row.appdata,
        })
        .collect();
    let mut statics: Vec<StaticRow<'_>> = snapshot
        .statics
        .iter()
        .filter(|row| row.filename == "extensions.conf")
        .map(|row| StaticRow {
            id: row.id,
            category: &row.category,
            name: &row.var_name,
            value: &row.var_val,
        })
        .collect();
    let hints = automatic_hints(snapshot, &statics);
    statics.extend(hints.iter().map(|(id, category, value)| StaticRow {
        id: *id,
        category,
        name: "exten",
        value,
    }));
    let (made, problems) = lots::steps(snapshot);
    let mut plan = strowger_dialplan::compile_with_scripts(
        &rows,
        &statics,
        &scripts.contexts,
        &made,
        edits,
        &WithTable(func::odbc::names(snapshot)),
        previous,
    );
    plan.program = Arc::clone(&scripts.program);
    plan.problems.extend(problems);
    plan.problems.extend(scripts.problems.iter().cloned());
    plan.problems.sort_by_key(|problem| problem.severity);
    plan
}

/// Logs problems that were not logged before.
fn report(plan: &Plan, logged: &mut FxHashSet<String>, took: Duration) {
    let mut now = FxHashSet::default();
    let mut new = 0;
    for problem in &plan.problems {
        let text = problem.to_string();
        if !logged.contains(&text) && now.insert(text.clone()) {
            new += 1;
            if new <= LOGGED_MAX {
                let text = log_line::escape(&text);
                match problem.severity {
                    Severity::Error => tracing::error!("dialplan: {text}"),
                    Severity::Warning => tracing::warn!("dialplan: {text}"),
                }
            }
        }
        now.insert(text);
    }
    if new > LOGGED_MAX {
        tracing::warn!(
            "dialplan: {} more problems; `strowger check` lists them all",
            new - LOGGED_MAX
        );
    }
    *logged = now;
    tracing::info!(
        contexts = plan.contexts().count(),
        problems = plan.problems.len(),
        took_ms = took.as_millis() as u64,
        "dialplan compiled"
    );
}

#[cfg(test)]
mod tests {
    use strowger_store::ExtensionRow;

    use super::*;

    fn snapshot(version: u64, appdata: &str) -> Snapshot {
        let mut snapshot = Snapshot {
            extensions: Arc::new(vec![ExtensionRow {
                id: 1,
                context: "internal".into(),
                exten: "100".into(),
                priority: 1,
                app: "NoOp".into(),
                appdata: appdata.into(),
            }]),
            ..Snapshot::default()
        };
        snapshot.versions[Table::Extensions as usize] = version;
        snapshot
    }

    #[tokio::test]
    async fn a_step_that_a_program_adds_counts_when_it_is_told_so_and_outlives_other_rows() {
        let watcher = Arc::new(PlanWatcher {
            plans: Arc::default(),
            folder: PathBuf::from("/nowhere"),
            known: Mutex::default(),
            hinted: AtomicU64::new(0),
            retired: Mutex::default(),
        });
        let plans = Arc::clone(&watcher.plans);
        let following = Arc::clone(&watcher);
        tokio::spawn(async move {
            loop {
                following.plans.edited.notified().await;
                let edits = following.update(&snapshot(1, "a"), &GlobalVariables::default());
                following.answer(edits);
            }
        });
        let spot = || Spot {
            exten: "200".into(),
            caller: None,
            priority: 1,
        };
        let step = || Added {
            app: "NoOp".into(),
            appdata: String::new(),
        };
        let query = strowger_dialplan::Query::new("internal", "200", 1);
        let added = plans.add_step("internal", spot(), step(), false).await;
        assert_eq!(added, Ok(()));
        assert!(plans.current().exists(&query));
        let again = plans.add_step("internal", spot(), step(), false).await;
        assert_eq!(again, Err(EditError::Refused(NotEdited::Exists)));
        watcher.update(&snapshot(2, "b"), &GlobalVariables::default());
        assert!(plans.current().exists(&query));
        plans.forget_edits();
        assert!(watcher.has_new_edits());
        watcher.update(&snapshot(2, "b"), &GlobalVariables::default());
        assert!(!plans.current().exists(&query));
    }

    #[test]
    fn a_changed_row_makes_a_new_plan_and_an_unchanged_table_none() {
        let watcher = PlanWatcher {
            plans: Arc::default(),
            folder: PathBuf::from("/nowhere"),
            known: Mutex::default(),
            hinted: AtomicU64::new(0),
            retired: Mutex::default(),
        };
        let globals = GlobalVariables::default();
        watcher.update(&snapshot(1, "a"), &globals);
        let first = watcher.plans.current();
        assert_eq!(watcher.plans.versions(), 1);
        watcher.update(&snapshot(1, "a"), &globals);
        assert_eq!(watcher.plans.versions(), 1);
        watcher.update(&snapshot(2, "b"), &globals);
        assert_eq!(watcher.plans.versions(), 2);
        let second = watcher.plans.current();
        let lua = |plan: &Plan| {
            plan.context("internal")
                .map(|context| context.lua.clone())
                .unwrap_or_default()
        };
        assert!(lua(&first).contains("\"a\"") && lua(&second).contains("\"b\""));
    }
}
