//! `check`: whose key it is, whether its group may use a context, and whether a call was recorded.

use std::sync::Arc;

use serde::Serialize;
use warp::reply::Response;

use super::{Product, data};
use crate::http::{Parameters, Refused};
use crate::keys::{Caller, ContextRow, User};
use crate::recordings::{self, Form};

#[derive(Serialize)]
struct Check<'a> {
    api_user: &'a User,
    access: Option<&'a ContextRow>,
    file: bool,
}

pub(super) async fn check(
    product: &Arc<Product>,
    caller: &Caller,
    parameters: &Parameters,
) -> Result<Response, Refused> {
    let context = parameters.given("context");
    let access = context.and_then(|name| caller.context(name));
    let file = match parameters.given("uniqueid") {
        None => false,
        Some(uniqueid) => {
            let (shared, store) = (&product.shared, &product.store);
            let found = recordings::find(shared, store, caller, uniqueid, Form::Wav).await;
            match found {
                Ok(_) => true,
                // Nothing is wrong with asking; a database that does not answer is.
                Err(refused) if refused.status.is_client_error() => false,
                Err(refused) => return Err(refused),
            }
        }
    };
    Ok(data(Check {
        api_user: &caller.user,
        access,
        file,
    }))
}
