//! `CURL` and `CURLOPT`: requests to web servers, with the client and the limits of the scripts.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, REFERER, USER_AGENT,
};
use strowger_dialplan::args;

use super::outside::unless_over;
use super::text::{self, base64_encode, is_no, is_yes, uri_decode};
use super::{Function, statement, variable};
use crate::script::http::{
    self, Answer, BODY_BYTES_MAX, Manner, REQUESTS_MAX, TIMEOUT, TIMEOUT_MAX, URL_BYTES_MAX, Wanted,
};
use crate::task::Task;

/// Headers that `CURLOPT(httpheader)` gathers.
const HEADERS_MAX: usize = 64;
/// Redirections that are followed at most.
const REDIRECTS_MAX: usize = 20;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::waiting(
        "CURL",
        "CURL(url[,post])",
        "what a web server answers",
        |task, args| Box::pin(async move { request(&task, &args).await }),
    ),
    Function::read_write(
        "CURLOPT",
        "CURLOPT(key)",
        "an option of the CURL that follow",
        |task, args| {
            let key = known(args)?;
            let options = task.curl.borrow();
            Ok(match key {
                "httpheader" => options.headers.join("\n"),
                _ => options.get(key).unwrap_or_default().to_owned(),
            })
        },
        set,
    ),
];

/// The options, with what they are unless they are set.
const KEYS: &[(&str, &str)] = &[
    ("conntimeout", "5"),
    ("cookie", ""),
    ("dnstimeout", "5"),
    ("failurecodes", ""),
    ("followlocation", "0"),
    ("hashcompat", "no"),
    ("header", "0"),
    ("httpheader", ""),
    ("httptimeout", "5"),
    ("maxredirs", "20"),
    ("proxy", ""),
    ("proxyport", ""),
    ("proxytype", "http"),
    ("proxyuserpwd", ""),
    ("referer", ""),
    ("ssl_verifypeer", "1"),
    ("useragent", concat!("Strowger/", env!("CARGO_PKG_VERSION"))),
    ("userpwd", ""),
];

/// Options of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    values: BTreeMap<&'static str, String>,
    headers: Vec<String>,
}

impl Options {
    fn get(&self, key: &'static str) -> Option<&str> {
        match self.values.get(key) {
            Some(value) => Some(value),
            None => KEYS
                .iter()
                .find(|(known, _)| *known == key)
                .map(|(_, usual)| *usual),
        }
    }

    fn text(&self, key: &'static str) -> &str {
        self.get(key).unwrap_or_default()
    }
}

fn known(args: &str) -> Result<&'static str, String> {
    let key = args.trim().to_ascii_lowercase();
    // As curl's own command line says it.
    let key = if key == "redirect" {
        "followlocation".to_owned()
    } else {
        key
    };
    KEYS.iter()
        .map(|(known, _)| *known)
        .find(|known| *known == key)
        .ok_or_else(|| {
            let names: Vec<&str> = KEYS.iter().map(|(known, _)| *known).collect();
            format!("CURLOPT({key}): known are {}", names.join(", "))
        })
}

fn set(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let key = known(args)?;
    let wrong = |what: String| Err(format!("CURLOPT({key}): {what}"));
    let value = value.trim();
    match key {
        "conntimeout" | "httptimeout" | "dnstimeout" => {
            seconds(value).or_else(|error| wrong(error).map(|()| Duration::ZERO))?;
        }
        "maxredirs" => match value.parse::<usize>() {
            Ok(count) if count <= REDIRECTS_MAX => {}
            _ => {
                return wrong(format!(
                    "\"{value}\" is no number from 0 to {REDIRECTS_MAX}"
                ));
            }
        },
        "ssl_verifypeer" | "followlocation" | "header" if !is_yes(value) && !is_no(value) => {
            return wrong(format!("\"{value}\" is neither yes nor no"));
        }
        "hashcompat" if !(is_yes(value) || is_no(value) || value == "legacy") => {
            return wrong(format!("\"{value}\": known are yes, legacy and no"));
        }
        "proxytype" if value != "http" => {
            return wrong(format!("\"{value}\": only http is known"));
        }
        "proxyport" if value.parse::<u16>().is_err() => {
            return wrong(format!("\"{value}\" is no port"));
        }
        "failurecodes" => {
            let codes = value.split([',', '&']).map(str::trim);
            if let Some(code) = codes
                .filter(|code| !code.is_empty())
                .find(|code| code.parse::<u16>().is_err())
            {
                return wrong(format!("\"{code}\" is no status such as 404"));
            }
        }
        "httpheader" => {
            let mut options = task.curl.borrow_mut();
            if value.is_empty() {
                options.headers.clear();
                return Ok(());
            }
            header(value).or_else(|error| wrong(error).map(|()| blank()))?;
            if options.headers.len() >= HEADERS_MAX {
                return wrong(format!("{HEADERS_MAX} headers were added already"));
            }
            options.headers.push(value.to_owned());
            return Ok(());
        }
        _ => {}
    }
    if value.contains(['\r', '\n', '\0']) {
        return wrong("a line ends in it".to_owned());
    }
    task.curl.borrow_mut().values.insert(key, value.to_owned());
    Ok(())
}

fn blank() -> (HeaderName, HeaderValue) {
    (USER_AGENT, HeaderValue::from_static(""))
}

fn seconds(text: &str) -> Result<Duration, String> {
    text::leading_number(text)
        .filter(|value| *value > 0.0 && *value <= TIMEOUT_MAX.as_secs_f64())
        .map(Duration::from_secs_f64)
        .ok_or_else(|| {
            format!(
                "\"{text}\" is no time: more than 0 and at most {} seconds",
                TIMEOUT_MAX.as_secs()
            )
        })
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = text.split_once(':').and_then(|(name, value)| {
        let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value.trim()).ok()?))
    });
    // It may hold a key, so it is not repeated.
    parsed.ok_or_else(|| "the value is no header: write Name: value".to_owned())
}

/// What is asked for, and how.
fn wanted(options: &Options, url: &str, post: Option<&str>) -> Result<(Wanted, Manner), String> {
    let url = url.trim();
    if url.len() > URL_BYTES_MAX {
        return Err(format!("the url has more than {URL_BYTES_MAX} bytes"));
    }
    let url = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    // It may hold a password, so it is not repeated.
    let mut url =
        reqwest::Url::parse(&url).map_err(|error| format!("the url cannot be read: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{}: only http and https are known", url.scheme()));
    }
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, value: &str| -> Result<(), String> {
        if !value.is_empty() {
            let value = HeaderValue::from_str(value)
                .map_err(|_| format!("{name}: it has characters that are not allowed"))?;
            headers.insert(name, value);
        }
        Ok(())
    };
    put(USER_AGENT, options.text("useragent"))?;
    put(REFERER, options.text("referer"))?;
    put(COOKIE, options.text("cookie"))?;
    let login = match options.text("userpwd") {
        "" => url
            .password()
            .map(|password| format!("{}:{}", uri_decode(url.username()), uri_decode(password))),
        login => Some(login.to_owned()),
    };
    if let Some(login) = login {
        let encoded = base64_encode(login.as_bytes());
        put(AUTHORIZATION, &format!("Basic {encoded}"))?;
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    if post.is_some() {
        put(CONTENT_TYPE, "application/x-www-form-urlencoded")?;
    }
    let secrets = !options.headers.is_empty()
        || headers.contains_key(AUTHORIZATION)
        || headers.contains_key(COOKIE);
    let mut own = HeaderMap::new();
    for text in &options.headers {
        let (name, value) = header(text)?;
        own.append(name, value);
    }
    for name in own.keys() {
        headers.remove(name);
    }
    headers.extend(own);
    let body = post.unwrap_or_default().as_bytes().to_vec();
    if body.len() > BODY_BYTES_MAX {
        return Err(format!("the body has more than {BODY_BYTES_MAX} bytes"));
    }
    let proxy = match options.text("proxy") {
        "" => None,
        host => {
            let mut at = if host.contains("://") {
                host.to_owned()
            } else {
                format!("http://{host}")
            };
            match options.text("proxyport") {
                "" => {}
                port => at = format!("{at}:{port}"),
            }
            let login = options.text("proxyuserpwd").split_once(':');
            let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
            Some((at, login))
        }
    };
    let follows = is_yes(options.text("followlocation"));
    let manner = Manner {
        verify: is_yes(options.text("ssl_verifypeer")),
        proxy,
        redirects: if follows {
            options.text("maxredirs").parse().unwrap_or(REDIRECTS_MAX)
        } else {
            0
        },
        secrets,
        connect: seconds(options.text("conntimeout")).unwrap_or(TIMEOUT),
    };
    let wanted = Wanted {
        method: if post.is_some() {
            Method::POST
        } else {
            Method::GET
        },
        url,
        headers,
        body,
        timeout: seconds(options.text("httptimeout")).unwrap_or(TIMEOUT),
        bytes_max: text::RESULT_BYTES_MAX,
        secrets,
    };
    Ok((wanted, manner))
}

async fn request(task: &Rc<Task>, args: &str) -> Result<String, String> {
    let parts = args::split_at_most(args, 2);
    let url = parts.first().map(String::as_str).unwrap_or_default();
    if url.trim().is_empty() {
        return Err("CURL needs a url".to_owned());
    }
    let options = task.curl.borrow().clone();
    let (wanted, manner) = wanted(&options, url, parts.get(1).map(String::as_str))?;
    let services = Arc::clone(task.host.services());
    let Ok(permit) = Arc::clone(&services.http.running).try_acquire_owned() else {
        return Err(format!(
            "{REQUESTS_MAX} requests are under way already on this exchange"
        ));
    };
    let answer = unless_over(task, async move {
        let _permit = permit;
        let client = services.http.special(&manner).await?;
        http::send(client, wanted).await.map(Some)
    })
    .await?;
    let Some(answer) = answer else {
        return Ok(String::new());
    };
    let failures = options.text("failurecodes").split([',', '&']);
    if failures
        .map(str::trim)
        .any(|code| code == answer.status.to_string())
    {
        return Err(format!("the server answered {}", answer.status));
    }
    Ok(told(task, &options, &answer))
}

/// The answer as the dialplan reads it.
fn told(task: &Task, options: &Options, answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    let compat = options.text("hashcompat");
    if is_yes(compat) || compat == "legacy" {
        let (names, values) = form(body.trim_end(), compat == "legacy");
        task.channel.set_variable(variable::FIELDS, &names);
        return values;
    }
    let mut out = String::new();
    if is_yes(options.text("header")) {
        out.push_str(&format!("HTTP/1.1 {}\r\n", answer.status));
        for (name, value) in &answer.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str("\r\n");
    }
    out.push_str(body.trim_end());
    out
}

/// A form as lists of names and values; in the old one a plus sign is a blank.
fn form(body: &str, legacy: bool) -> (String, String) {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for pair in body.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text: &str| {
            let text = if legacy {
                text.replace('+', " ")
            } else {
                text.to_owned()
            };
            statement::escaped(&uri_decode(&text))
        };
        names.push(decoded(name));
        values.push(decoded(value));
    }
    (names.join(","), values.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_become_lists_for_a_hash() {
        assert_eq!(
            form("a=1&name=Jane%20Doe&list=x%2Cy&empty=", false),
            (
                "a,name,list,empty".to_owned(),
                "1,Jane Doe,x\\,y,".to_owned()
            )
        );
        assert_eq!(form("n=a+b", false).1, "a+b");
        assert_eq!(form("n=a+b", true).1, "a b");
    }

    #[test]
    fn options_become_headers_and_manners() {
        let mut options = Options::default();
        for (key, value) in [
            ("userpwd", "user:secret"),
            ("useragent", "Desk/1"),
            ("httptimeout", "2.5"),
            ("followlocation", "1"),
            ("maxredirs", "3"),
            ("ssl_verifypeer", "0"),
            ("proxy", "proxy.example"),
            ("proxyport", "3128"),
            ("proxyuserpwd", "p:q"),
        ] {
            options
                .values
                .insert(known(key).expect("known"), value.to_owned());
        }
        options
            .headers
            .push("Content-Type: application/json".to_owned());
        let (wanted, manner) = wanted(&options, "example.com/x", Some("{}")).expect("a request");
        assert_eq!(wanted.url.as_str(), "http://example.com/x");
        assert_eq!(wanted.method, Method::POST);
        assert_eq!(wanted.headers["authorization"], "Basic dXNlcjpzZWNyZXQ=");
        assert_eq!(wanted.headers["user-agent"], "Desk/1");
        assert_eq!(wanted.headers["content-type"], "application/json");
        assert_eq!(wanted.timeout, Duration::from_millis(2500));
        assert_eq!(
            manner,
            Manner {
                verify: false,
                proxy: Some((
                    "http://proxy.example:3128".to_owned(),
                    Some(("p".to_owned(), "q".to_owned()))
                )),
                redirects: 3,
                secrets: true,
                connect: TIMEOUT,
            }
        );
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        let options = Options::default();
        for (url, words) in [
            ("ftp://example.com/", "only http and https"),
            ("http://", "cannot be read"),
            ("file:///etc/passwd", "only http and https"),
        ] {
            let error = wanted(&options, url, None).err().expect("refused");
            assert!(error.contains(words), "{url}: {error}");
        }
    }
}
