//! Contexts and their extensions: what the rows say, saying something else, and whether that would be right.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strowger_dialplan::{Problem as Fault, Severity};
use strowger_store::{ExtensionRow, Snapshot, StepRow, StoreError};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::calls::flag;
use super::problem::Problem;
use super::{Answered, On, done};
use crate::http::json;
use crate::recordings::aside;

/// Steps of an extension.
const STEPS_MAX: usize = 1000;
/// Characters of a name, of an application and of its data, as the columns have them.
const NAME_MAX: usize = 80;
const DATA_MAX: usize = 1024;
/// Extensions in one answer.
const EXTENSIONS_MAX: usize = 10_000;

/// Extensions that are looked at at a time: each look compiles the dialplan.
const LOOKS_MAX: usize = 2;

static LOOKS: Semaphore = Semaphore::const_new(LOOKS_MAX);

/// A context.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ContextView {
    name: String,
    /// Extensions that rows of `realtime_extensions` have.
    extensions: usize,
    description: String,
    group: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ContextList {
    contexts: Vec<ContextView>,
}

/// A step of an extension.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StepView {
    /// One more than that of the step before, if missing.
    #[schema(minimum = 1)]
    priority: Option<i32>,
    #[schema(min_length = 1, max_length = 80)]
    application: String,
    #[serde(default)]
    #[schema(max_length = 1024)]
    data: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExtensionView {
    extension: String,
    steps: Vec<StepView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExtensionList {
    extensions: Vec<ExtensionView>,
    /// There are more than are shown.
    truncated: bool,
}

/// The steps that an extension is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"steps": [{"application": "Answer"}, {"application": "Playback", "data": "hello-world"}]}))]
pub(super) struct ExtensionBody {
    #[schema(min_items = 1, max_items = 1000)]
    steps: Vec<StepView>,
}

/// An extension to look at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"extension": "700", "steps": [{"application": "Answer"}, {"application": "Hangup"}]}))]
pub(super) struct ValidateBody {
    #[schema(max_length = 80)]
    extension: String,
    #[schema(min_items = 1, max_items = 1000)]
    steps: Vec<StepView>,
}

/// Something wrong with an extension.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FaultView {
    /// `error`: a call that comes here fails or does something else; `warning`: probably not what was meant.
    severity: &'static str,
    priority: Option<i32>,
    what: String,
    /// What would be right.
    hint: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FaultList {
    /// No errors; there may be warnings.
    valid: bool,
    problems: Vec<FaultView>,
}

/// The contexts that rows of the dialplan have.
#[utoipa::path(get, path = "/api/v1/contexts", tag = "dialplan", responses((status = 200, body = ContextList)))]
pub(super) fn contexts(on: &On) -> Answered {
    let snapshot = on.shared().snapshot();
    let mut contexts: Vec<ContextView> = Vec::new();
    let mut last = "";
    // The rows are sorted by context and extension.
    for row in snapshot.extensions.iter() {
        if contexts
            .last()
            .is_none_or(|context| context.name != row.context)
        {
            let known = on.caller.context(&row.context);
            contexts.push(ContextView {
                name: row.context.clone(),
                extensions: 0,
                description: known
                    .map(|known| known.description.clone())
                    .unwrap_or_default(),
                group: known.and_then(|known| known.group_uuid.clone()),
            });
            last = "";
        }
        if let Some(context) = contexts.last_mut()
            && (context.extensions == 0 || row.exten != last)
        {
            context.extensions += 1;
            last = &row.exten;
        }
    }
    contexts.retain(|context| on.caller.owns_context(&context.name));
    Ok(json(StatusCode::OK, &ContextList { contexts }))
}

fn own_context(on: &On) -> Result<String, Problem> {
    let context = on.place(0);
    if !on.caller.owns_context(context) {
        return Err(Problem::missing(format_args!("context {context}")));
    }
    Ok(context.to_owned())
}

/// The extensions of a context, as rows of `realtime_extensions` have them.
#[utoipa::path(get, path = "/api/v1/contexts/{context}/extensions", tag = "dialplan", params(("context" = String, Path),
    ("extension" = Option<String>, Query, description = "Only this one")),
    responses((status = 200, body = ExtensionList), (status = 404, description = "There is no such context", content_type = "application/problem+json")))]
pub(super) fn extensions(on: &On) -> Answered {
    let context = own_context(on)?;
    let snapshot = on.shared().snapshot();
    let wanted = on.query.given("extension");
    let mut extensions: Vec<ExtensionView> = Vec::new();
    let mut truncated = false;
    let rows = snapshot
        .extensions
        .iter()
        .filter(|row| row.context == context && wanted.is_none_or(|wanted| wanted == row.exten));
    for row in rows {
        let step = StepView {
            priority: Some(row.priority),
            application: row.app.clone(),
            data: row.appdata.clone(),
        };
        if let Some(extension) = extensions.last_mut()
            && extension.extension == row.exten
        {
            extension.steps.push(step);
            continue;
        }
        if extensions.len() >= EXTENSIONS_MAX {
            truncated = true;
            break;
        }
        extensions.push(ExtensionView {
            extension: row.exten.clone(),
            steps: vec![step],
        });
    }
    if extensions.is_empty() {
        let known = snapshot.extensions.iter().any(|row| row.context == context);
        if !known || wanted.is_some() {
            return Err(Problem::missing(format_args!(
                "extension {} in context {context}",
                wanted.unwrap_or("at all")
            )));
        }
    }
    Ok(json(
        StatusCode::OK,
        &ExtensionList {
            extensions,
            truncated,
        },
    ))
}

/// The rows of an extension, or what is wrong with what was asked.
fn steps(extension: &str, steps: &[StepView]) -> Result<Vec<StepRow>, Problem> {
    if extension.chars().count() > NAME_MAX {
        return Err(Problem::bad(format!(
            "extension: {NAME_MAX} characters are allowed"
        )));
    }
    if steps.is_empty() || steps.len() > STEPS_MAX {
        return Err(Problem::bad(format!("steps: 1 to {STEPS_MAX} are wanted")));
    }
    let mut rows: Vec<StepRow> = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        let wrong = |why: String| Err(Problem::bad(format!("steps[{index}].{why}")));
        let next = rows.last().map_or(1, |row| row.priority.saturating_add(1));
        let priority = step.priority.unwrap_or(next);
        if priority < 1 {
            return wrong(format!("priority: {priority} is less than 1"));
        }
        if rows.iter().any(|row| row.priority == priority) {
            return wrong(format!("priority: {priority} is there twice"));
        }
        if step.application.trim().is_empty() || step.application.chars().count() > NAME_MAX {
            return wrong(format!(
                "application: 1 to {NAME_MAX} characters are wanted"
            ));
        }
        if step.data.chars().count() > DATA_MAX {
            return wrong(format!("data: {DATA_MAX} characters are allowed"));
        }
        rows.push(StepRow {
            priority,
            app: step.application.clone(),
            appdata: step.data.clone(),
        });
    }
    Ok(rows)
}

/// What would be wrong with the dialplan if an extension had these steps; of that extension only.
async fn faults(
    on: &On,
    context: &str,
    exten: &str,
    steps: &[StepRow],
) -> Result<Vec<Fault>, Problem> {
    let Ok(turn) = LOOKS.try_acquire() else {
        let why = format!(
            "{LOOKS_MAX} extensions are being looked at, which is the limit; try again later"
        );
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    let (plans, shared) = (Arc::clone(&on.api.plans), Arc::clone(on.shared()));
    let wanted: Vec<ExtensionRow> = steps
        .iter()
        .map(|step| ExtensionRow {
            id: 0,
            context: context.to_owned(),
            exten: exten.to_owned(),
            priority: step.priority,
            app: step.app.clone(),
            appdata: step.appdata.clone(),
        })
        .collect();
    let (context, exten) = (context.to_owned(), exten.to_owned());
    let place = (context.clone(), exten.clone());
    let problems = aside(move || {
        // Who goes away leaves this to be done.
        let _turn = turn;
        let mut snapshot = Snapshot::clone(&shared.snapshot());
        let mut rows = Vec::clone(&snapshot.extensions);
        rows.retain(|row| row.context != place.0 || row.exten != place.1);
        rows.extend(wanted);
        rows.sort_by(|a, b| {
            (&a.context, &a.exten, a.priority).cmp(&(&b.context, &b.exten, b.priority))
        });
        snapshot.extensions = Arc::new(rows);
        plans.problems_of(&snapshot)
    });
    let problems = problems.await?;
    // A name may be written with the caller it is for.
    let bare = move |name: &str| name == exten || exten.split('/').next() == Some(name);
    Ok(problems
        .into_iter()
        .filter(|fault| fault.context == context && fault.exten.as_deref().is_some_and(&bare))
        .collect())
}

fn shown(faults: &[Fault]) -> FaultList {
    FaultList {
        valid: faults.iter().all(|fault| fault.severity != Severity::Error),
        problems: faults
            .iter()
            .map(|fault| FaultView {
                severity: match fault.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                priority: fault.priority,
                what: fault.what.clone(),
                hint: fault.hint.to_string(),
            })
            .collect(),
    }
}

/// Looks at an extension without changing anything.
#[utoipa::path(post, path = "/api/v1/contexts/{context}/validate", tag = "dialplan", request_body = ValidateBody, params(("context" = String, Path)),
    responses((status = 200, body = FaultList), (status = 400, description = "What is wrong", content_type = "application/problem+json"),
        (status = 404, description = "There is no such context", content_type = "application/problem+json"),
        (status = 503, description = "Too many are being looked at", content_type = "application/problem+json")))]
pub(super) async fn validate(mut on: On) -> Answered {
    let context = own_context(&on)?;
    let body: ValidateBody = on.body().await?;
    let rows = steps(&body.extension, &body.steps)?;
    let found = faults(&on, &context, &body.extension, &rows).await?;
    Ok(json(StatusCode::OK, &shown(&found)))
}

fn unwritten(error: &StoreError) -> Problem {
    tracing::error!(%error, "API: an extension cannot be written");
    let why = "the database does not take it; the log of the exchange says more";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// Puts these steps in the place of those that an extension has. Calls find them within a second.
#[utoipa::path(put, path = "/api/v1/contexts/{context}/extensions/{extension}", tag = "dialplan", request_body = ExtensionBody, params(
    ("context" = String, Path), ("extension" = String, Path, description = "A number, or a pattern such as `_1XX`"),
    ("force" = Option<bool>, Query, description = "Also with errors")),
    responses((status = 200, body = FaultList, description = "It was replaced; there may be warnings"), (status = 201, body = FaultList, description = "It was made"),
        (status = 400, description = "What is wrong", content_type = "application/problem+json"),
        (status = 404, description = "There is no such context", content_type = "application/problem+json"),
        (status = 422, body = FaultList, description = "It has errors and was not written"),
        (status = 503, description = "The database does not take it, or too many are being looked at", content_type = "application/problem+json")))]
pub(super) async fn replace(mut on: On) -> Answered {
    // Steps may run programs and call anybody: what a group may write would bound nobody.
    on.unbound()?;
    let context = own_context(&on)?;
    let exten = on.place(1).to_owned();
    let force = flag(&on, "force")?;
    let body: ExtensionBody = on.body().await?;
    let rows = steps(&exten, &body.steps)?;
    let found = shown(&faults(&on, &context, &exten, &rows).await?);
    if !found.valid && !force {
        return Ok(json(StatusCode::UNPROCESSABLE_ENTITY, &found));
    }
    let written = on
        .api
        .store
        .replace_extension(&context, &exten, &rows)
        .await;
    let before = written.map_err(|error| unwritten(&error))?;
    on.audit("extension written");
    let status = if before > 0 {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok(json(status, &found))
}

/// Deletes an extension.
#[utoipa::path(delete, path = "/api/v1/contexts/{context}/extensions/{extension}", tag = "dialplan", params(
    ("context" = String, Path), ("extension" = String, Path)),
    responses((status = 204, description = "It is gone"), (status = 404, description = "There is none", content_type = "application/problem+json"),
        (status = 503, description = "The database does not take it", content_type = "application/problem+json")))]
pub(super) async fn delete(on: On) -> Answered {
    on.unbound()?;
    let context = own_context(&on)?;
    let deleted = on
        .api
        .store
        .replace_extension(&context, on.place(1), &[])
        .await;
    if deleted.map_err(|error| unwritten(&error))? == 0 {
        let what = format_args!("extension {} in context {context}", on.place(1)).to_string();
        return Err(Problem::missing(what));
    }
    on.audit("extension deleted");
    Ok(done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_and_what_is_wrong_is_named_by_its_place() {
        let step = |priority: Option<i32>, application: &str| StepView {
            priority,
            application: application.to_owned(),
            data: String::new(),
        };
        let rows = steps(
            "100",
            &[
                step(None, "Answer"),
                step(Some(5), "Wait"),
                step(None, "Hangup"),
            ],
        );
        let numbers: Vec<_> = rows
            .expect("steps")
            .iter()
            .map(|row| row.priority)
            .collect();
        assert_eq!(numbers, [1, 5, 6]);
        for (wrong, word) in [
            (vec![], "steps: 1 to 1000"),
            (vec![step(Some(0), "Answer")], "steps[0].priority: 0"),
            (
                vec![step(None, "Answer"), step(Some(1), "Wait")],
                "steps[1].priority: 1 is there twice",
            ),
            (vec![step(None, " ")], "steps[0].application"),
            (vec![step(None, &"a".repeat(81))], "steps[0].application"),
        ] {
            let problem = format!("{:?}", steps("100", &wrong).expect_err(word));
            assert!(problem.contains(word), "{problem}");
        }
        assert!(steps(&"1".repeat(81), &[step(None, "Answer")]).is_err());
    }
}
