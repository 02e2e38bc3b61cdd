//! The steps of the extension a channel is in, as they were found: a search for each priority would cost more than the
//! step itself. Only results that follow from the plan and the place alone are kept.

use std::sync::Arc;

use strowger_core::channel::Location;
use strowger_dialplan::plan::Found;
use strowger_dialplan::{Context, Plan};

use crate::app::{self, App};

/// Priorities that are kept.
const PRIORITIES_MAX: usize = 64;

/// A step that was found.
#[derive(Clone)]
pub(crate) struct Here {
    pub(crate) context: Arc<Context>,
    /// Its place among the steps of that context.
    pub(crate) index: usize,
    /// Its application, if the step never waits.
    pub(crate) immediate: Option<&'static App>,
}

impl Here {
    pub(crate) fn new(found: &Found<'_>) -> Self {
        let step = found.step();
        Self {
            context: Arc::clone(found.context),
            index: found.index,
            immediate: step.immediate.then(|| app::find(&step.app)).flatten(),
        }
    }
}

/// What was found in one extension of one plan.
#[derive(Default)]
pub(crate) struct Trail {
    plan: Option<Arc<Plan>>,
    context: String,
    exten: String,
    /// By priority, from 1.
    steps: Vec<Option<Here>>,
}

impl Trail {
    fn is_of(&self, plan: &Arc<Plan>, place: &Location) -> bool {
        self.plan
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, plan))
            && self.exten == place.exten
            && self.context == place.context
    }

    pub(crate) fn find(&self, plan: &Arc<Plan>, place: &Location) -> Option<Here> {
        let index = usize::try_from(place.priority).ok()?.checked_sub(1)?;
        let step = self.steps.get(index)?.as_ref()?;
        self.is_of(plan, place).then(|| step.clone())
    }

    pub(crate) fn learn(&mut self, plan: &Arc<Plan>, place: &Location, step: &Here) {
        let Some(index) = usize::try_from(place.priority)
            .ok()
            .and_then(|priority| priority.checked_sub(1))
            .filter(|index| *index < PRIORITIES_MAX)
        else {
            return;
        };
        if !self.is_of(plan, place) {
            self.plan = Some(Arc::clone(plan));
            self.context.clone_from(&place.context);
            self.exten.clone_from(&place.exten);
            self.steps.clear();
        }
        if self.steps.len() <= index {
            self.steps.resize(index + 1, None);
        }
        self.steps[index] = Some(step.clone());
    }
}
