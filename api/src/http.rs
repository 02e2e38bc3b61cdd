//! A request as the APIs see it, and answers as they give them: parameters from wherever they were written, bodies within their
//! limits of size and time. What never lives here: who may do what, and what is done.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use warp::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply as _};

use crate::server::Held;

/// Parameters of a request.
const PARAMETERS_MAX: usize = 512;
/// How long a sender of a body may say nothing.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// How long a body of parameters may take.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of a body of parameters.
pub(crate) const BODY_MAX: usize = 256 * 1024;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Where a connection reached us, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) local: SocketAddr,
    /// With TLS.
    pub(crate) secure: bool,
}

/// What comes of a body, piece by piece.
pub(crate) type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, Refused>> + Send + Sync>>;

/// A request.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) from: Option<SocketAddr>,
    /// Where the connection may be used for something else.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// Its place among the connections, for who takes the connection over.
    pub(crate) held: Option<Held>,
    pub(crate) body: BodyStream,
}

/// Why a request cannot be dealt with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) why: String,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self {
            status,
            why: why.into(),
        }
    }

    pub(crate) fn bad(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }
}

/// Takes every request whose path fits.
pub(crate) fn incoming(
    fits: fn(&str) -> bool,
) -> impl Filter<Extract = (Incoming,), Error = Rejection> + Clone {
    warp::path::full()
        .and_then(move |path: warp::path::FullPath| async move {
            if fits(path.as_str()) {
                Ok(path.as_str().to_owned())
            } else {
                Err(warp::reject::not_found())
            }
        })
        .and(warp::method())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::optional::<Held>())
        .and(warp::body::stream())
        .map(
            |path: String, method, query, headers, from: Option<Peer>, upgrade, held, body| {
                Incoming {
                    method,
                    path,
                    query,
                    headers,
                    from: from.map(|Peer(from)| from),
                    upgrade,
                    held,
                    body: paced(body),
                }
            },
        )
}

/// A body whose sender may pause, but not for long.
fn paced<B: Buf + Send + Sync>(
    body: impl Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
) -> BodyStream {
    let body = Box::pin(body);
    Box::pin(futures_util::stream::unfold(
        Some(body),
        |body| async move {
            let mut body = body?;
            match tokio::time::timeout(PAUSE_MAX, body.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(mut piece))) => {
                    let piece = piece.copy_to_bytes(piece.remaining());
                    Some((Ok(piece), Some(body)))
                }
                Ok(Some(Err(error))) => {
                    let why = format!("the body cannot be read: {error}");
                    Some((Err(Refused::bad(why)), None))
                }
                Err(_) => {
                    let why = format!("nothing came of the body for {} s", PAUSE_MAX.as_secs());
                    Some((Err(Refused::new(StatusCode::REQUEST_TIMEOUT, why)), None))
                }
            }
        },
    ))
}

impl Incoming {
    /// The text of a header; empty if there is none.
    pub(crate) fn header(&self, name: impl warp::http::header::AsHeaderName) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// The kind of the body, without what stands behind it.
    fn content_type(&self) -> String {
        let value = self.header(CONTENT_TYPE);
        let kind = value.split(';').next().unwrap_or_default();
        kind.trim().to_ascii_lowercase()
    }

    /// The boundary of a body in parts; None: it is another.
    pub(crate) fn boundary(&self) -> Option<String> {
        multer::parse_boundary(self.header(CONTENT_TYPE)).ok()
    }

    /// The key that a header shows.
    pub(crate) fn key_of_header(&self) -> Option<&str> {
        let named = ["x-api-key", "api-key", "api_key"];
        let named = named
            .into_iter()
            .map(|name| self.header(name))
            .find(|key| !key.is_empty());
        named.or_else(|| {
            let (scheme, key) = self.header(AUTHORIZATION).split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        })
    }

    /// The whole body.
    ///
    /// # Errors
    /// It is too large, or comes too slowly.
    pub(crate) async fn whole_body(&mut self) -> Result<Bytes, Refused> {
        let read = async {
            let mut whole = Vec::new();
            while let Some(piece) = self.body.next().await {
                let piece = piece?;
                if whole.len() + piece.len() > BODY_MAX {
                    return Err(too_large(BODY_MAX));
                }
                whole.extend_from_slice(&piece);
            }
            Ok(Bytes::from(whole))
        };
        match tokio::time::timeout(BODY_TIME_MAX, read).await {
            Ok(read) => read,
            Err(_) => Err(Refused::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body took longer than {} s", BODY_TIME_MAX.as_secs()),
            )),
        }
    }

    /// All parameters: of the query, then of the body, whether it is a form, a form in parts or a JSON object.
    ///
    /// # Errors
    /// The body is none of these, too large, or too slow.
    pub(crate) async fn parameters(&mut self) -> Result<Parameters, Refused> {
        let mut all = Parameters::of_query(&self.query)?;
        let kind = self.content_type();
        if self.method == Method::GET || self.method == Method::HEAD {
            return Ok(all);
        }
        let boundary = self.boundary();
        let body = self.whole_body().await?;
        if body.is_empty() {
            return Ok(all);
        }
        match (kind.as_str(), boundary) {
            ("" | "application/x-www-form-urlencoded", _) => all.read_pairs(&body)?,
            ("application/json", _) => all.read_json(&body)?,
            ("multipart/form-data", Some(boundary)) => {
                let body = futures_util::stream::once(async { Ok::<_, Refused>(body) });
                let mut parts = multer::Multipart::new(body, boundary);
                while let Some(part) = next_part(&mut parts).await? {
                    let name = part.name().unwrap_or_default().to_owned();
                    let value = part.text().await.map_err(|error| damaged(&error))?;
                    all.push(name, value)?;
                }
            }
            _ => {
                return Err(Refused::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    format!(
                        "Content-Type {kind:?}: parameters are read from application/x-www-form-urlencoded, \
                         multipart/form-data and application/json"
                    ),
                ));
            }
        }
        Ok(all)
    }
}

/// The next part of a form.
pub(crate) async fn next_part<'r>(
    parts: &mut multer::Multipart<'r>,
) -> Result<Option<multer::Field<'r>>, Refused> {
    parts.next_field().await.map_err(|error| damaged(&error))
}

pub(crate) fn too_large(limit: usize) -> Refused {
    Refused::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than {limit} bytes, which is the limit"),
    )
}

/// What is wrong with a form in parts.
pub(crate) fn damaged(error: &multer::Error) -> Refused {
    if let multer::Error::StreamReadFailed(why) = error
        && let Some(refused) = why.downcast_ref::<Refused>()
    {
        return refused.clone();
    }
    Refused::bad(format!("the multipart body cannot be read: {error}"))
}

/// Parameters in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn push(&mut self, name: String, value: String) -> Result<(), Refused> {
        if self.0.len() >= PARAMETERS_MAX {
            let why = format!("{PARAMETERS_MAX} parameters are the limit of a request");
            return Err(Refused::bad(why));
        }
        if name.contains('\0') || value.contains('\0') {
            return Err(Refused::bad("a parameter holds a NUL, which no text may"));
        }
        self.0.push((name, value));
        Ok(())
    }

    /// The parameters of a query.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn of_query(query: &str) -> Result<Self, Refused> {
        let mut all = Self::default();
        all.read_pairs(query.as_bytes())?;
        Ok(all)
    }

    fn read_pairs(&mut self, text: &[u8]) -> Result<(), Refused> {
        for (name, value) in form_urlencoded::parse(text) {
            self.push(name.into_owned(), value.into_owned())?;
        }
        Ok(())
    }

    fn read_json(&mut self, text: &[u8]) -> Result<(), Refused> {
        use serde_json::Value;
        let wrong = |why: String| Refused::bad(format!("the JSON body {why}"));
        let read = serde_json::from_slice::<Value>(text);
        let read = read.map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let Value::Object(object) = read else {
            return Err(wrong("is no object of parameters".to_owned()));
        };
        let plain = |name: &str, value: Value| match value {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(flag) => Ok(flag.to_string()),
            _ => Err(wrong(format!(
                "has \"{name}\", which is no text, number, boolean or list of them"
            ))),
        };
        for (name, value) in object {
            match value {
                Value::Null => {}
                Value::Array(list) => {
                    for value in list {
                        let value = plain(&name, value)?;
                        self.push(name.clone(), value)?;
                    }
                }
                Value::Object(pairs) if name == "variable" => {
                    for (variable, value) in pairs {
                        let value = plain(&variable, value)?;
                        // A comma begins another variable, unless it is quoted.
                        let value = value.replace('\\', "\\\\").replace(',', "\\,");
                        self.push(name.clone(), format!("{variable}={value}"))?;
                    }
                }
                value => {
                    let value = plain(&name, value)?;
                    self.push(name, value)?;
                }
            }
        }
        Ok(())
    }

    /// The last value of a parameter, as PHP has it; empty if there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        let mut found = self.0.iter().rev();
        found
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// The value of a parameter that says something.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// Every value of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.0.iter().filter(move |(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Fields that keep their order in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(pub(crate) Vec<(String, Option<String>)>);

impl Fields {
    /// Sets a field; one that is there keeps its place.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = Some(value.into());
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, place)) => *place = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        let mut found = self.0.iter();
        found
            .find(|(known, _)| known == name)
            .and_then(|(_, value)| value.as_deref())
            .unwrap_or_default()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    typed(status, "application/json", body)
}

/// An answer in JSON under another name.
pub(crate) fn typed(status: StatusCode, kind: &'static str, body: &impl Serialize) -> Response {
    let text = serde_json::to_vec(body).unwrap_or_default();
    let mut response = text.into_response();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

/// Is it what people write for yes?
pub(crate) fn is_true(text: &str) -> bool {
    matches!(
        text.trim().to_ascii_lowercase().as_str(),
        "1" | "true" | "yes" | "on" | "y" | "t"
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A request of a test.
    pub(crate) fn request(
        method: &str,
        target: &str,
        headers: &[(&'static str, &str)],
        body: &[u8],
    ) -> Incoming {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("a header"));
        }
        let body = Bytes::copy_from_slice(body);
        Incoming {
            method: method.parse().expect("a method"),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: map,
            from: None,
            upgrade: None,
            held: None,
            body: Box::pin(futures_util::stream::once(async { Ok(body) })),
        }
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.expect("a runtime").block_on(work)
    }

    #[test]
    fn parameters_are_read_from_query_form_parts_and_json() {
        let parts = "--b\r\nContent-Disposition: form-data; name=\"exten\"\r\n\r\n100\r\n\
                     --b\r\nContent-Disposition: form-data; name=\"variable\"\r\n\r\na=1,b=2\r\n--b--\r\n";
        for (kind, body) in [
            (
                "application/x-www-form-urlencoded",
                "exten=100&variable=a%3D1%2Cb=2",
            ),
            (
                "application/json; charset=utf-8",
                "{\"exten\":100,\"variable\":\"a=1,b=2\",\"x\":null}",
            ),
            ("multipart/form-data; boundary=b", parts),
            ("", "exten=100&variable=a=1,b=2"),
        ] {
            let mut asked = request(
                "POST",
                "/x?api_key=k&exten=1+1",
                &[("content-type", kind)],
                body.as_bytes(),
            );
            let read = run(asked.parameters()).expect(kind);
            assert_eq!(read.get("api_key"), "k", "{kind}");
            assert_eq!(read.get("exten"), "100", "the body counts: {kind}");
            assert_eq!(read.all("exten").count(), 2, "{kind}");
            assert_eq!(read.given("variable"), Some("a=1,b=2"), "{kind}");
            assert_eq!(read.given("x"), None, "{kind}");
        }
        let mut asked = request(
            "POST",
            "/x",
            &[("content-type", "application/json")],
            br#"{"variable":{"a":"1,2","b":true},"list":[1,"z"]}"#,
        );
        let read = run(asked.parameters()).expect("parameters");
        let variables: Vec<_> = read.all("variable").collect();
        assert_eq!(variables, ["a=1\\,2", "b=true"]);
        assert_eq!(read.all("list").collect::<Vec<_>>(), ["1", "z"]);
    }

    #[test]
    fn what_is_no_form_is_refused_with_its_reason() {
        for (kind, body, status, word) in [
            ("application/json", "[1]", 400, "no object"),
            ("application/json", "{\"a\":{}}", 400, "\"a\""),
            ("application/json", "{", 400, "cannot be read"),
            ("text/xml", "<a/>", 415, "text/xml"),
            (
                "multipart/form-data; boundary=b",
                "--b\r\nnonsense",
                400,
                "multipart",
            ),
        ] {
            let mut asked = request("POST", "/x", &[("content-type", kind)], body.as_bytes());
            let refused = run(asked.parameters()).expect_err(kind);
            assert_eq!(refused.status.as_u16(), status, "{kind}: {refused}");
            assert!(refused.why.contains(word), "{refused}");
        }
        let large = vec![b'a'; BODY_MAX + 1];
        let mut asked = request("POST", "/x", &[], &large);
        let refused = run(asked.parameters()).expect_err("too large");
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        let many = "a=1&".repeat(PARAMETERS_MAX + 1);
        let mut asked = request("POST", "/x", &[], many.as_bytes());
        assert!(run(asked.parameters()).is_err());
    }

    #[test]
    fn a_key_may_stand_in_any_of_the_headers() {
        for (name, value, wanted) in [
            ("x-api-key", "k", Some("k")),
            ("api_key", "k", Some("k")),
            ("authorization", "Bearer k", Some("k")),
            ("authorization", "bearer  k ", Some("k")),
            ("authorization", "Basic k", None),
            ("x-other", "k", None),
        ] {
            let asked = request("GET", "/x", &[(name, value)], b"");
            assert_eq!(asked.key_of_header(), wanted, "{name}: {value}");
        }
    }

    #[test]
    fn fields_keep_their_order_and_their_first_place() {
        let mut fields = Fields::default();
        for (name, value) in [("Z", "1"), ("A", "2"), ("Z", "3")] {
            fields.set(name, value);
        }
        fields.0.push(("N".to_owned(), None));
        let text = serde_json::to_string(&fields).expect("JSON");
        assert_eq!(text, "{\"Z\":\"3\",\"A\":\"2\",\"N\":null}");
        assert_eq!(
            (fields.get("Z"), fields.get("N"), fields.get("?")),
            ("3", "", "")
        );
    }

    proptest! {
        #[test]
        fn no_body_is_too_strange(body in proptest::collection::vec(any::<u8>(), 0..400), kind in 0..4usize) {
            let kind = ["", "application/json", "multipart/form-data; boundary=b", "application/x-www-form-urlencoded"][kind];
            let mut asked = request("POST", "/x?a=%zz&b", &[("content-type", kind)], &body);
            if let Ok(read) = run(asked.parameters()) {
                prop_assert!(read.0.len() <= PARAMETERS_MAX);
            }
        }
    }
}
