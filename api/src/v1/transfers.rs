//! Transfers: whom a call talks with is sent to a place of the dialplan (blind), or connected with whom another call talks with
//! (attended). Who transfers is out of it afterwards.

use std::time::Duration;

use serde::Deserialize;
use strowger_core::channel::{Cause, Channel};
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::calls::{Place, expect_extension, over, with_call};
use super::problem::Problem;
use super::{Answered, On, done};
use crate::shards;

/// Pairs between cores that are followed from one party to the other.
const HOPS_MAX: usize = 8;
/// How often, and how far apart, it is looked whether two are connected, which takes long only where one of them does not let go.
const LOOKS: u32 = 150;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Where the other side goes: a place of the dialplan, or to whom another call talks with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"context": "office", "extension": "200"}))]
pub(super) struct TransferBody {
    /// Blind: with `extension`.
    context: Option<String>,
    extension: Option<String>,
    /// From 1; 1 if missing.
    #[schema(minimum = 1)]
    priority: Option<i32>,
    /// Attended: unique id, or name of the channel, of the other call of who transfers.
    with: Option<String>,
}

/// What a transfer leads to.
enum Goal {
    Place(Place),
    Call(String),
}

impl TransferBody {
    fn goal(self) -> Result<Goal, Problem> {
        match (self.context, self.extension, self.with) {
            (None, None, Some(call)) if self.priority.is_none() => Ok(Goal::Call(call)),
            (Some(context), Some(extension), None) => Ok(Goal::Place(Place {
                context,
                extension,
                priority: self.priority.unwrap_or(1),
            })),
            _ => Err(Problem::bad(
                "context, extension, with: context and extension are wanted (blind), or only with (attended)",
            )),
        }
    }
}

/// The name of a call of this key.
async fn name_of(on: &On, wanted: &str) -> Result<String, Problem> {
    with_call(on, wanted, |channel| channel.name().to_string()).await
}

/// Who is in a bridge with this channel, if it is one: his name, and the other half where he only stands for a way to another core.
async fn beside(on: &On, name: &str) -> Option<(String, Option<String>)> {
    let bridge = |channel: &Channel| channel.data().bridge_id.as_deref().map(str::to_owned);
    let bridge = on.shared().with_channel(name, bridge).await??;
    let own = name.to_owned();
    let others = shards::gather(on.shared(), move |shard| {
        let channels = shard.channels();
        let others = channels.iter().filter(|channel| {
            *channel.name() != *own && channel.data().bridge_id.as_deref() == Some(bridge.as_str())
        });
        others
            .map(|channel| (channel.name().to_string(), channel.half_elsewhere()))
            .collect::<Vec<_>>()
    });
    let mut others = others.await.into_iter().flatten();
    let other = others.next()?;
    others.next().is_none().then_some(other)
}

/// Whom a call talks with, on whichever core; None: nobody, or more than one.
async fn other_side(on: &On, name: &str) -> Option<String> {
    let mut here = name.to_owned();
    for _ in 0..HOPS_MAX {
        match beside(on, &here).await? {
            (other, None) => return Some(other),
            (_, Some(half)) => here = half,
        }
    }
    None
}

async fn end(on: &On, name: &str) {
    let end = |channel: &Channel| channel.hang_up_softly(Cause::NORMAL_CLEARING);
    // Who was left by the other side may have ended already, which is as well.
    let _ = on.shared().with_channel(name, end).await;
}

/// Sends the other side of a call elsewhere, and ends this one: to a place of the dialplan (a blind transfer), or to whom another
/// call talks with, which ends too (an attended transfer).
#[utoipa::path(post, path = "/api/v1/calls/{id}/transfer", tag = "calls", request_body = TransferBody, params(
    ("id" = String, Path, description = "Unique id, or name of the channel of who transfers")),
    responses((status = 204, description = "The other side goes there, or the two are connected"), (status = 404, description = "There is none", content_type = "application/problem+json"),
        (status = 409, description = "It talks to nobody or to several, or is ending; or the two could not be connected", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn transfer(mut on: On) -> Answered {
    let body: TransferBody = on.body().await?;
    match body.goal()? {
        Goal::Place(place) => blind(on, place).await,
        Goal::Call(call) => attended(on, &call).await,
    }
}

fn alone(which: &str) -> Problem {
    let why = format!("{which} talks to nobody, or to several");
    Problem::new(StatusCode::CONFLICT, why)
}

async fn blind(on: On, place: Place) -> Answered {
    if !on.caller.owns_context(&place.context) {
        let why = format!("context: {} belongs to another group", place.context);
        return Err(Problem::new(StatusCode::FORBIDDEN, why));
    }
    let place = place.location("place")?;
    expect_extension(&on, "extension", &place).await?;
    let name = name_of(&on, on.place(0)).await?;
    let other = other_side(&on, &name).await;
    let other = other.ok_or_else(|| alone("this call"))?;
    let moved = on
        .shared()
        .with_channel(&other, move |channel| channel.take_to(place));
    if moved.await != Some(true) {
        return Err(over());
    }
    end(&on, &name).await;
    on.audit("transferred");
    Ok(done())
}

async fn attended(on: On, call: &str) -> Answered {
    let name = name_of(&on, on.place(0)).await?;
    let second = name_of(&on, call).await?;
    if name == second {
        return Err(Problem::bad("with: another call is wanted"));
    }
    let one = other_side(&on, &name).await;
    let one = one.ok_or_else(|| alone("this call"))?;
    let other = other_side(&on, &second).await;
    let other = other.ok_or_else(|| alone("with: the call"))?;
    if one == second {
        let why = "with: the two calls talk with each other";
        return Err(Problem::new(StatusCode::CONFLICT, why));
    }
    let wanted = other.clone();
    let begun = on.shared().with_channel(&one, move |channel| {
        channel.take_to_application("Bridge", &wanted)
    });
    if begun.await != Some(true) {
        return Err(over());
    }
    // The second call is ended only once its other side is out of it: else that could end with it.
    let mut looks = 0;
    while other_side(&on, &one).await.as_ref() != Some(&other) {
        looks += 1;
        if looks == LOOKS {
            let why = "the two could not be connected";
            return Err(Problem::new(StatusCode::CONFLICT, why));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    end(&on, &name).await;
    end(&on, &second).await;
    on.audit("transferred");
    Ok(done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_blind_or_attended_and_never_both() {
        let goal = |text: &str| {
            let body: TransferBody = serde_json::from_str(text).expect("a body");
            body.goal()
        };
        assert!(matches!(
            goal(r#"{"context":"a","extension":"1"}"#),
            Ok(Goal::Place(_))
        ));
        assert!(matches!(goal(r#"{"with":"1.2"}"#), Ok(Goal::Call(call)) if call == "1.2"));
        for wrong in [
            "{}",
            r#"{"context":"a"}"#,
            r#"{"extension":"1"}"#,
            r#"{"with":"1.2","priority":2}"#,
            r#"{"with":"1.2","context":"a","extension":"1"}"#,
        ] {
            assert!(goal(wrong).is_err(), "{wrong}");
        }
    }
}
