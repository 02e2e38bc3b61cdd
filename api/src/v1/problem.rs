//! What went wrong, as RFC 9457 has it.

use serde::Serialize;
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::http::header::HeaderValue;
use warp::reply::Response;

use crate::http::{Refused, typed};

/// The body of such an answer (`application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The words of the status.
    title: &'static str,
    /// The status of HTTP.
    status: u16,
    /// What is wrong, and what is allowed.
    detail: &'a str,
    /// The address that was asked.
    instance: &'a str,
}

/// Something that went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    detail: String,
    instance: String,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let mut problem = Self {
            status,
            detail: detail.into(),
            instance: String::new(),
            headers: Vec::new(),
        };
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            problem = problem.with_header("retry-after", "1");
        }
        problem
    }

    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is none, or it is not to be seen.
    pub(crate) fn missing(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }

    /// The core that knows does not answer in time.
    pub(crate) fn busy() -> Self {
        let why = "the exchange has too much to do at present; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The same with the address that was asked.
    pub(crate) fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.instance);
        self
    }

    pub(crate) fn into_response(self) -> Response {
        let body = Body {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            instance: &self.instance,
        };
        let mut response = typed(self.status, "application/problem+json", &body);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let problem = Self::new(refused.status, refused.why);
        if refused.status == StatusCode::UNAUTHORIZED {
            return problem.with_header("www-authenticate", "Bearer");
        }
        problem
    }
}
