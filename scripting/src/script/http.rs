//! `http`: requests to other programs. They run on the control runtime; the script waits, its call and others go on.

use std::sync::Arc;
use std::time::Duration;

use mlua::{IntoLuaMulti as _, Lua, LuaString, MultiValue, Table, Value};
use parking_lot::Mutex;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use tokio::sync::{OnceCell, Semaphore};

use super::services::Services;
use super::values::{self, Copies, Options};
use super::{api, current, json};

/// Requests of all calls at once.
pub(crate) const REQUESTS_MAX: usize = 256;
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Bytes of an answer, unless the script allows more or less.
const ANSWER_BYTES: i64 = 1024 * 1024;
const ANSWER_BYTES_MAX: i64 = 16 * 1024 * 1024;
/// Bytes of a request's body.
pub(crate) const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
const HEADERS_MAX: usize = 64;
/// Bytes of all names and values of headers.
const HEADERS_BYTES_MAX: usize = 64 * 1024;
pub(crate) const URL_BYTES_MAX: usize = 64 * 1024;
const REDIRECTS_MAX: usize = 3;
/// Clients kept for `CURL`, one for each set of options.
const MANNERS_MAX: usize = 16;

/// The clients of all shards, made when they are needed first.
pub(crate) struct Client {
    made: OnceCell<Made>,
    special: Mutex<Vec<(Manner, reqwest::Client)>>,
    pub(crate) running: Arc<Semaphore>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            made: OnceCell::new(),
            special: Mutex::default(),
            running: Arc::new(Semaphore::new(REQUESTS_MAX)),
        }
    }
}

impl Client {
    /// Not for a shard's thread: the certificates of the system are read.
    async fn get(&self, secrets: bool) -> Result<reqwest::Client, String> {
        let made = self
            .made
            .get_or_try_init(|| async {
                tokio::task::spawn_blocking(|| {
                    Ok::<Made, String>(Made {
                        open: make(false)?,
                        secret: make(true)?,
                    })
                })
                .await
                .map_err(|error| error.to_string())?
            })
            .await?;
        Ok(if secrets { &made.secret } else { &made.open }.clone())
    }
}

/// How a request of `CURL` travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) verify: bool,
    /// URL, user and password.
    pub(crate) proxy: Option<(String, Option<(String, String)>)>,
    /// How many redirections are followed.
    pub(crate) redirects: usize,
    /// It carries headers, cookies or a password, which another host must not see.
    pub(crate) secrets: bool,
    pub(crate) connect: Duration,
}

impl Client {
    /// A client for this manner. Not for a shard's thread.
    pub(crate) async fn special(&self, manner: &Manner) -> Result<reqwest::Client, String> {
        let known = {
            let special = self.special.lock();
            let found = special.iter().find(|(known, _)| known == manner);
            found.map(|(_, client)| client.clone())
        };
        if let Some(client) = known {
            return Ok(client);
        }
        let wanted = manner.clone();
        let client = tokio::task::spawn_blocking(move || wanted.client())
            .await
            .map_err(|error| error.to_string())??;
        let mut special = self.special.lock();
        if special.len() >= MANNERS_MAX {
            special.remove(0);
        }
        special.push((manner.clone(), client.clone()));
        Ok(client)
    }
}

impl Manner {
    fn client(&self) -> Result<reqwest::Client, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |error: reqwest::Error| format!("no client can be made: {}", causes(&error));
        let redirects = match self.redirects {
            0 => Policy::none(),
            most => {
                let secrets = self.secrets;
                Policy::custom(move |attempt| redirected(attempt, most, secrets))
            }
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("Strowger/", env!("CARGO_PKG_VERSION")))
            .redirect(redirects)
            .no_proxy()
            .connect_timeout(self.connect)
            .tls_danger_accept_invalid_certs(!self.verify);
        if let Some((url, login)) = &self.proxy {
            let mut proxy = reqwest::Proxy::all(url).map_err(failed)?;
            if let Some((user, password)) = login {
                proxy = proxy.basic_auth(user, password);
            }
            builder = builder.proxy(proxy);
        }
        builder.build().map_err(failed)
    }
}

struct Made {
    open: reqwest::Client,
    /// For requests with headers of a script, which another host must not see.
    secret: reqwest::Client,
}

/// Where an answer may send a request on to.
fn redirected(attempt: Attempt<'_>, most: usize, secrets: bool) -> reqwest::redirect::Action {
    let refused = match attempt.previous().last() {
        _ if attempt.previous().len() > most => {
            return attempt.error(format!("more than {most} redirections"));
        }
        Some(before) if before.scheme() == "https" && attempt.url().scheme() != "https" => {
            Some("a redirection from https to http is not followed")
        }
        Some(before)
            if secrets
                && (before.host_str(), before.port_or_known_default())
                    != (
                        attempt.url().host_str(),
                        attempt.url().port_or_known_default(),
                    ) =>
        {
            Some("a redirection to another host is not followed with headers of the script")
        }
        _ => None,
    };
    match refused {
        Some(why) => attempt.error(why),
        None => attempt.follow(),
    }
}

fn make(secrets: bool) -> Result<reqwest::Client, String> {
    // Another part of the process may have chosen already; both choices are good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("Strowger/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::custom(move |attempt| {
            redirected(attempt, REDIRECTS_MAX, secrets)
        }))
        // Proxies are nothing that the environment of a daemon decides.
        .no_proxy()
        .connect_timeout(TIMEOUT)
        .build()
        .map_err(|error| format!("http: no client can be made: {}", causes(&error)))
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Wanted {
    pub(crate) method: Method,
    pub(crate) url: reqwest::Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Duration,
    pub(crate) bytes_max: usize,
    /// It carries headers of the script or a password.
    pub(crate) secrets: bool,
}

const KNOWN: &[&str] = &[
    "url",
    "method",
    "headers",
    "body",
    "json",
    "form",
    "timeout",
    "max_bytes",
];

fn wrong(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("http: {what}"))
}

/// What a script asks for.
fn wanted(
    method: Option<&str>,
    url: Option<LuaString>,
    table: Option<&Table>,
) -> mlua::Result<Wanted> {
    let options = Options::new(table, "http", KNOWN)?;
    let method = match method {
        Some(method) => method.to_owned(),
        None => options
            .text("method")?
            .unwrap_or_else(|| "GET".to_owned())
            .to_ascii_uppercase(),
    };
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    if !known.contains(&method.as_str()) {
        return Err(wrong(format!(
            "method {method} is not known; known are {}",
            known.join(", ")
        )));
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(wrong)?;
    let url = match (url, options.value("url")?) {
        (Some(url), _) | (None, Value::String(url)) => url,
        (None, Value::Nil) => return Err(wrong("url is missing")),
        (None, other) => {
            return Err(wrong(format!(
                "url is a {}; it has to be a string",
                other.type_name()
            )));
        }
    };
    let length = url.as_bytes().len();
    if length > URL_BYTES_MAX {
        return Err(wrong(format!(
            "the url has {length} bytes; {URL_BYTES_MAX} are allowed"
        )));
    }
    // It may hold a password, so it is not repeated.
    let url = reqwest::Url::parse(&url.to_string_lossy())
        .map_err(|error| wrong(format!("the url cannot be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(format!(
            "url {}:...: only http and https are known",
            url.scheme()
        )));
    }
    let mut headers = HeaderMap::new();
    let mut copies = Copies::new(HEADERS_BYTES_MAX);
    match options.value("headers")? {
        Value::Nil => {}
        Value::Table(table) => table.for_each(|name: Value, value: Value| {
            copies.take(&name, "http: headers")?;
            copies.take(&value, "http: headers")?;
            let (Some(name), Some(value)) = (values::text(&name), values::text(&value)) else {
                return Err(wrong("headers is a table of strings by name"));
            };
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .ok()
                .zip(HeaderValue::from_str(&value).ok());
            let Some((parsed, value)) = parsed else {
                return Err(wrong(format!(
                    "header {name}: name or value has characters that are not allowed"
                )));
            };
            if headers.len() >= HEADERS_MAX {
                return Err(wrong(format!("more than {HEADERS_MAX} headers")));
            }
            headers.insert(parsed, value);
            Ok(())
        })?,
        other => {
            return Err(wrong(format!(
                "headers is a {}, not a table",
                other.type_name()
            )));
        }
    }
    let secrets = !headers.is_empty() || !url.username().is_empty() || url.password().is_some();
    let mut body = Vec::new();
    let mut kind = None;
    match (
        options.value("body")?,
        options.value("json")?,
        options.value("form")?,
    ) {
        (Value::Nil, Value::Nil, Value::Nil) => {}
        (Value::String(text), Value::Nil, Value::Nil) => {
            within_body(text.as_bytes().len())?;
            body = text.as_bytes().to_vec();
        }
        (Value::Nil, Value::Nil, Value::Table(fields)) => {
            kind = Some("application/x-www-form-urlencoded");
            body = form(&fields)?.into_bytes();
        }
        (Value::Nil, value, Value::Nil) if !value.is_nil() => {
            kind = Some("application/json");
            body = json::encode(&value)?.into_bytes();
        }
        _ => {
            return Err(wrong(
                "give one of body (a string), json (a value) or form (a table of strings)",
            ));
        }
    }
    within_body(body.len())?;
    if let Some(kind) = kind {
        headers
            .entry(CONTENT_TYPE)
            .or_insert(HeaderValue::from_static(kind));
    }
    let timeout = options.seconds("timeout")?.unwrap_or(TIMEOUT);
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        return Err(wrong(format!(
            "timeout is more than 0 and at most {} seconds",
            TIMEOUT_MAX.as_secs()
        )));
    }
    Ok(Wanted {
        secrets,
        method,
        url,
        headers,
        body,
        timeout,
        bytes_max: options
            .count("max_bytes", 1, ANSWER_BYTES_MAX)?
            .unwrap_or(ANSWER_BYTES) as usize,
    })
}

fn within_body(length: usize) -> mlua::Result<()> {
    if length > BODY_BYTES_MAX {
        return Err(wrong(format!(
            "the body has {length} bytes; {BODY_BYTES_MAX} are allowed"
        )));
    }
    Ok(())
}

fn form(fields: &Table) -> mlua::Result<String> {
    let mut copies = Copies::new(BODY_BYTES_MAX);
    let mut url = reqwest::Url::parse("http://form/").map_err(wrong)?;
    {
        let mut pairs = url.query_pairs_mut();
        fields.for_each(|name: Value, value: Value| {
            copies.take(&name, "http: form")?;
            copies.take(&value, "http: form")?;
            match (values::text(&name), values::text(&value)) {
                (Some(name), Some(value)) => {
                    pairs.append_pair(&name, &value);
                    Ok(())
                }
                _ => Err(wrong("form is a table of strings by name")),
            }
        })?;
    }
    Ok(url.query().unwrap_or_default().to_owned())
}

pub(crate) async fn send(client: reqwest::Client, wanted: Wanted) -> Result<Answer, String> {
    let (timeout, bytes_max) = (wanted.timeout, wanted.bytes_max);
    let work = async {
        let mut response = client
            .request(wanted.method, wanted.url)
            .headers(wanted.headers)
            .body(wanted.body)
            .send()
            .await
            .map_err(|error| causes(&error.without_url()))?;
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect();
        let mut body = Vec::new();
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| causes(&error.without_url()))?
        {
            if body.len() + piece.len() > bytes_max {
                return Err(format!(
                    "the answer has more than {bytes_max} bytes (max_bytes allows more)"
                ));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer {
            status: response.status().as_u16(),
            headers,
            body,
        })
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", timeout.as_secs_f64())),
    }
}

/// The answer as a table, or nil and why there is none.
async fn request(
    lua: Lua,
    services: Arc<Services>,
    wanted: mlua::Result<Wanted>,
) -> mlua::Result<MultiValue> {
    let task = current::task();
    let (wanted, task) = (wanted?, task?);
    let refused = |why: String| (Value::Nil, why).into_lua_multi(&lua);
    if task.rehearsal.is_some() {
        return refused("a test of the dialplan sends no requests".to_owned());
    }
    let Ok(permit) = Arc::clone(&services.http.running).try_acquire_owned() else {
        return refused(format!(
            "{REQUESTS_MAX} requests are under way already on this exchange"
        ));
    };
    let control = task.shared().control.clone();
    let (host, method) = (
        wanted.url.host_str().unwrap_or_default().to_owned(),
        wanted.method.clone(),
    );
    let sent = control.spawn(async move {
        let _permit = permit;
        let client = services.http.get(wanted.secrets).await?;
        send(client, wanted).await
    });
    // A script that is ended leaves nothing behind.
    let sent = Ended(sent);
    match sent.wait().await {
        Ok(answer) => {
            let table = lua.create_table()?;
            table.set("status", answer.status)?;
            table.set("ok", (200..300).contains(&answer.status))?;
            table.set("headers", lua.create_table_from(answer.headers)?)?;
            table.set("body", lua.create_string(&answer.body)?)?;
            (table, Value::Nil).into_lua_multi(&lua)
        }
        Err(why) => {
            tracing::debug!(channel = %task.channel.name(), %method, host, why, "http");
            refused(why)
        }
    }
}

/// A request that ends with its script.
struct Ended(tokio::task::JoinHandle<Result<Answer, String>>);

impl Ended {
    async fn wait(mut self) -> Result<Answer, String> {
        match (&mut self.0).await {
            Ok(answer) => answer,
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Puts `http` into `api`.
pub(super) fn add(lua: &Lua, api: &Table, services: &Arc<Services>) -> mlua::Result<()> {
    let http = lua.create_table()?;
    let shared = Arc::clone(services);
    http.set(
        "request",
        lua.create_async_function(move |lua, options: Table| {
            let wanted = wanted(None, None, Some(&options));
            request(lua, Arc::clone(&shared), wanted)
        })?,
    )?;
    for (name, method) in [("get", "GET"), ("post", "POST")] {
        let shared = Arc::clone(services);
        http.set(
            name,
            lua.create_async_function(move |lua, (url, options): (LuaString, Option<Table>)| {
                let wanted = wanted(Some(method), Some(url), options.as_ref());
                request(lua, Arc::clone(&shared), wanted)
            })?,
        )?;
    }
    api::library(api, "http", http)
}
