//! The product's API: seven methods under `/pbx/api/index/` and `/api/index/`, with the names, the order and the types of the
//! fields that its clients know. What is asked for is read here and done elsewhere.

mod check;
pub(crate) mod log;
mod originate;
mod status;
mod uploads;

use std::sync::Arc;

use serde::Serialize;
use strowger_core::Shared;
use strowger_store::Store;
use warp::http::header::HeaderValue;
use warp::http::{Method, StatusCode};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::http::{self, Incoming, Parameters, Refused};
use crate::keys::{Caller, Keys};
use crate::manager::Manager;
use crate::recordings::{self, Form};

/// What the methods work with.
pub(crate) struct Product {
    pub(crate) shared: Arc<Shared>,
    pub(crate) manager: Arc<Manager>,
    pub(crate) store: Store,
    pub(crate) keys: Arc<Keys>,
}

/// Where the methods are found.
const PREFIXES: [&str; 2] = ["/pbx/api/index/", "/api/index/"];

/// A method by the end of its address.
fn method_of(path: &str) -> Option<&str> {
    let mut prefixes = PREFIXES.into_iter();
    let name = prefixes.find_map(|prefix| path.strip_prefix(prefix))?;
    Some(name.strip_suffix('/').unwrap_or(name))
}

/// Every answer has its data under this name.
#[derive(Serialize)]
struct Data<T> {
    data: T,
}

/// What an answer says when there is no data.
#[derive(Serialize)]
struct Failure<'a> {
    data: Option<()>,
    error: &'a str,
}

fn data(data: impl Serialize) -> Response {
    http::json(StatusCode::OK, &Data { data })
}

/// The addresses of the product's API.
pub(crate) fn routes(
    product: Arc<Product>,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    http::incoming(|path| method_of(path).is_some()).then(move |asked: Incoming| {
        let product = Arc::clone(&product);
        async move {
            answer(&product, asked).await.unwrap_or_else(|refused| {
                let error = refused.why.as_str();
                let mut response = http::json(refused.status, &Failure { data: None, error });
                let header = match refused.status {
                    StatusCode::METHOD_NOT_ALLOWED => Some(("allow", "POST")),
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                        Some(("retry-after", "1"))
                    }
                    _ => None,
                };
                if let Some((name, value)) = header {
                    let value = HeaderValue::from_static(value);
                    response.headers_mut().insert(name, value);
                }
                response
            })
        }
    })
}

async fn answer(product: &Arc<Product>, mut asked: Incoming) -> Result<Response, Refused> {
    let name = method_of(&asked.path).unwrap_or_default().to_owned();
    match asked.method {
        Method::GET | Method::HEAD | Method::POST => {}
        _ => {
            let why = "GET and POST are understood here";
            return Err(Refused::new(StatusCode::NOT_IMPLEMENTED, why));
        }
    }
    if name == "uploads" {
        return uploads::upload(product, asked).await;
    }
    let parameters = asked.parameters().await?;
    let caller = admit(product, &asked, &parameters).await?;
    match name.as_str() {
        "check" => check::check(product, &caller, &parameters).await,
        "get_file_mp3" => file(product, &caller, &asked, &parameters, Form::Mp3).await,
        "get_file_wav" => file(product, &caller, &asked, &parameters, Form::Wav).await,
        "status" => Ok(status::status(product, &caller, &parameters).await),
        "originate" => originate::originate(product, &caller, &parameters).await,
        "get_log_cdr" => log::log(product, &caller, &parameters).await,
        _ => {
            let known =
                "check, get_file_mp3, get_file_wav, status, originate, uploads, get_log_cdr";
            let why = format!("there is no method {name:?}; there are {known}");
            Err(Refused::new(StatusCode::NOT_FOUND, why))
        }
    }
}

/// Who asks, if his key is for this API.
async fn admit(
    product: &Product,
    asked: &Incoming,
    parameters: &Parameters,
) -> Result<Caller, Refused> {
    let caller = product.keys.admit(asked, parameters).await?;
    if caller.user.is_of_product() {
        return Ok(caller);
    }
    let why = "this key is for /api/v1: `scopes` of its row in api_users has no `product`";
    Err(Refused::new(StatusCode::FORBIDDEN, why))
}

async fn file(
    product: &Arc<Product>,
    caller: &Caller,
    asked: &Incoming,
    parameters: &Parameters,
    form: Form,
) -> Result<Response, Refused> {
    let Some(uniqueid) = parameters.given("uniqueid") else {
        let why = "uniqueid is missing: the unique id of the call whose recording is wanted";
        return Err(Refused::new(StatusCode::NOT_FOUND, why));
    };
    let (shared, store) = (&product.shared, &product.store);
    let found = recordings::find(shared, store, caller, uniqueid, form).await?;
    recordings::send(shared, asked, found, form).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_under_both_prefixes() {
        for (path, wanted) in [
            ("/pbx/api/index/check", Some("check")),
            ("/api/index/status", Some("status")),
            ("/api/index/status/", Some("status")),
            ("/api/index/", Some("")),
            ("/api/v1/calls", None),
            ("/api/indexes", None),
            ("/x/api/index/check", None),
        ] {
            assert_eq!(method_of(path), wanted, "{path}");
        }
    }
}
