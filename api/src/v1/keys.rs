//! Keys of the APIs: which there are, making and deleting them. A key of a group makes and sees keys of its group, with no more
//! scopes than it has.

use serde::{Deserialize, Serialize};
use strowger_store::ApiUserRow;
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::problem::Problem;
use super::{Answered, On, ROUTES, done};
use crate::http::json;
use crate::keys::{User, hashed};

/// Keys that there may be.
const KEYS_MAX: usize = 10_000;
/// Characters of a name.
const NAME_MAX: usize = 128;
/// Characters of the scopes of a key, as they stand in its row.
const SCOPES_MAX: usize = 1024;

/// A key, without itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyView {
    uuid: String,
    name: String,
    description: String,
    enabled: bool,
    group: Option<String>,
    scopes: Vec<String>,
}

impl KeyView {
    fn of(user: &User) -> Self {
        Self {
            uuid: user.uuid.clone(),
            name: user.name.clone(),
            description: user.description.clone(),
            enabled: crate::http::is_true(&user.enable),
            group: user.group_uuid.clone(),
            scopes: user.scopes.clone(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyList {
    keys: Vec<KeyView>,
}

/// A key that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "dialler", "scopes": ["calls", "events:read"]}))]
pub(super) struct KeyBody {
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    #[serde(default)]
    #[schema(max_length = 128)]
    description: String,
    /// `*`, areas such as `calls`, or sides of them such as `calls:read`.
    #[schema(min_items = 1)]
    scopes: Vec<String>,
    /// The group of who makes it, if missing.
    #[schema(max_length = 36)]
    group: Option<String>,
}

/// A key that was made: it is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyMade {
    uuid: String,
    api_key: String,
}

fn own(on: &On) -> Vec<User> {
    let snapshot = on.shared().snapshot();
    let users = snapshot.api_users.iter().map(User::of);
    users
        .filter(|user| {
            on.caller.group().is_none() || user.group_uuid.as_deref() == on.caller.group()
        })
        .collect()
}

/// The keys that there are.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", responses((status = 200, body = KeyList)))]
pub(super) fn list(on: &On) -> Answered {
    let keys = own(on).iter().map(KeyView::of).collect();
    Ok(json(StatusCode::OK, &KeyList { keys }))
}

/// Is it a scope that any address asks for, or an area?
fn is_scope(text: &str) -> bool {
    let mut scopes = ROUTES.iter().filter_map(|(_, _, scope, _)| *scope);
    matches!(text, "*" | "product")
        || scopes.any(|scope| scope == text || scope.split(':').next() == Some(text))
}

/// May somebody with these scopes give that one away?
fn may_give(user: &User, scope: &str) -> bool {
    match scope {
        "*" => user.scopes.iter().any(|own| own == "*"),
        "product" => user.is_of_product(),
        scope if scope.contains(':') => user.may(scope),
        area => user.may(&format!("{area}:read")) && user.may(&format!("{area}:write")),
    }
}

/// A UUID of version 4.
fn uuid() -> Result<String, Problem> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "API: no random numbers");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the system gives no random numbers",
        )
    })?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    Ok(text)
}

/// Makes a key. It opens within a second.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", request_body = KeyBody,
    responses((status = 201, body = KeyMade), (status = 400, description = "What is wrong", content_type = "application/problem+json"),
        (status = 403, description = "More than the key that asks may", content_type = "application/problem+json"),
        (status = 409, description = "There are as many as there may be", content_type = "application/problem+json"),
        (status = 503, description = "The database does not take it", content_type = "application/problem+json")))]
pub(super) async fn make(mut on: On) -> Answered {
    let body: KeyBody = on.body().await?;
    let length = body.name.chars().count();
    if !(1..=NAME_MAX).contains(&length) || body.description.chars().count() > NAME_MAX {
        return Err(Problem::bad(format!(
            "name, description: {NAME_MAX} characters are allowed, and a name is wanted"
        )));
    }
    if body.scopes.is_empty() {
        return Err(Problem::bad(
            "scopes: at least one is wanted, such as calls:read",
        ));
    }
    for scope in &body.scopes {
        if !is_scope(scope) {
            return Err(Problem::bad(format!(
                "scopes: {scope:?} is none; right is for example calls:read, calls, *"
            )));
        }
        if !may_give(&on.caller.user, scope) {
            let why = format!("scopes: the key that asks has no {scope} itself");
            return Err(Problem::new(StatusCode::FORBIDDEN, why));
        }
    }
    let mut scopes = body.scopes;
    scopes.sort();
    scopes.dedup();
    let scopes = scopes.join(",");
    if scopes.len() > SCOPES_MAX {
        let why = format!("scopes: {SCOPES_MAX} characters are allowed for all of them");
        return Err(Problem::bad(why));
    }
    let group = body.group.filter(|group| !group.is_empty());
    let group = match (on.caller.group(), group) {
        (None, group) => group,
        (Some(own), None) => Some(own.to_owned()),
        (Some(own), Some(group)) if own == group => Some(group),
        (Some(_), Some(group)) => {
            let why = format!("group: {group} is not the group of the key that asks");
            return Err(Problem::new(StatusCode::FORBIDDEN, why));
        }
    };
    if group
        .as_ref()
        .is_some_and(|group| group.chars().count() > 36)
    {
        return Err(Problem::bad("group: 36 characters are allowed"));
    }
    if on.shared().snapshot().api_users.len() >= KEYS_MAX {
        let why = format!("{KEYS_MAX} keys are the limit");
        return Err(Problem::new(StatusCode::CONFLICT, why));
    }
    let made = KeyMade {
        uuid: uuid()?,
        api_key: uuid()?,
    };
    let row = ApiUserRow {
        uuid: made.uuid.clone(),
        name: body.name,
        description: body.description,
        api_key: hashed(&made.api_key),
        group_uuid: group,
        scopes,
    };
    let added = on.api.store.add_api_user(&row).await;
    added.map_err(|error| unwritten(&error))?;
    on.audit(&format!("key {} made", made.uuid));
    Ok(json(StatusCode::CREATED, &made))
}

fn unwritten(error: &strowger_store::StoreError) -> Problem {
    tracing::error!(%error, "API: a key cannot be written");
    let why = "the database does not take it; the log of the exchange says more";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// Deletes a key. It opens nothing within a second.
#[utoipa::path(delete, path = "/api/v1/keys/{uuid}", tag = "keys", params(("uuid" = String, Path)),
    responses((status = 204, description = "It is gone"), (status = 404, description = "There is none", content_type = "application/problem+json"),
        (status = 503, description = "The database does not take it", content_type = "application/problem+json")))]
pub(super) async fn delete(on: On) -> Answered {
    let uuid = on.place(0);
    let missing = || Problem::missing(format_args!("key {uuid}"));
    if !own(&on).iter().any(|user| user.uuid == uuid) {
        return Err(missing());
    }
    let deleted = on.api.store.delete_api_user(uuid).await;
    if !deleted.map_err(|error| unwritten(&error))? {
        return Err(missing());
    }
    on.audit("key deleted");
    Ok(done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gives_away_more_than_he_has() {
        let user = |scopes: &[&str]| User {
            uuid: String::new(),
            name: String::new(),
            description: String::new(),
            enable: "yes".to_owned(),
            api_key: String::new(),
            group_uuid: None,
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        };
        for (own, scope, wanted) in [
            (&["keys", "calls:read"][..], "calls:read", true),
            (&["keys", "calls:read"], "calls:write", false),
            (&["keys", "calls:read"], "calls", false),
            (&["calls:read", "calls:write"], "calls", true),
            (&["*"], "*", true),
            (&["calls"], "*", false),
        ] {
            assert_eq!(may_give(&user(own), scope), wanted, "{own:?} {scope}");
        }
        for (scope, wanted) in [
            ("calls", true),
            ("keys:write", true),
            ("*", true),
            ("call", false),
            ("", false),
        ] {
            assert_eq!(is_scope(scope), wanted, "{scope}");
        }
    }

    #[test]
    fn a_key_is_a_uuid_of_version_four() {
        let (one, other) = (uuid().expect("a key"), uuid().expect("a key"));
        assert_ne!(one, other);
        assert_eq!((one.len(), &one[14..15]), (36, "4"));
        assert!(matches!(&one[19..20], "8" | "9" | "a" | "b"));
    }
}
