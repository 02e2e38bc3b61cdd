//! The description of the API that programs read (OpenAPI 3.1), made of what stands beside each function; and a page that shows it
//! to people without anything from elsewhere.

use std::sync::LazyLock;

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{self, RefOr, SecurityRequirement};
use utoipa::{Modify, OpenApi};
use warp::Reply as _;
use warp::http::header::{CONTENT_TYPE, HeaderValue};
use warp::reply::Response;

use super::{
    ROUTES, calls, cdr, dialplan, events, keys, media, phones, problem, queues, recordings, rooms,
    sounds, system, transfers,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Strowger", description = "The exchange for programs: calls, recordings, call records, telephones, dialplan, conferences, queues, events."),
    modifiers(&Keys, &Problems),
    components(schemas(problem::Body)),
    paths(
        system::health, system::version, system::limits,
        calls::list, calls::originate, calls::one, calls::hang_up, calls::redirect, calls::bridge, transfers::transfer,
        calls::get_variable, calls::set_variable,
        media::play, media::stop_play, media::record, media::stop_record, media::pause, media::resume, media::dtmf, media::mute,
        recordings::search, recordings::fetch, recordings::delete, recordings::retention, recordings::set_retention,
        sounds::list, sounds::bring, sounds::delete,
        cdr::search,
        phones::endpoints, phones::endpoint, phones::contacts, phones::registrations, phones::register, phones::unregister,
        dialplan::contexts, dialplan::extensions, dialplan::replace, dialplan::delete, dialplan::validate,
        rooms::list, rooms::one, rooms::lock, rooms::mute, rooms::kick,
        queues::list, queues::one, queues::add, queues::change, queues::remove,
        keys::list, keys::make, keys::delete,
        events::sse, events::socket::socket,
    )
)]
struct Api;

/// How keys are shown, and which scope each address asks for.
struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut openapi::OpenApi) {
        let components = api.components.get_or_insert_with(Default::default);
        let header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
        components.add_security_scheme("key", header);
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let none: [&str; 0] = [];
        let both = || {
            vec![
                SecurityRequirement::new("key", none),
                SecurityRequirement::new("bearer", none),
            ]
        };
        for (path, item) in &mut api.paths.paths {
            let of_method = [
                ("GET", &mut item.get),
                ("POST", &mut item.post),
                ("PUT", &mut item.put),
                ("PATCH", &mut item.patch),
                ("DELETE", &mut item.delete),
            ];
            for (method, operation) in of_method {
                let Some(operation) = operation else {
                    continue;
                };
                let scope = scope_of(method, path);
                if let Some(scope) = scope {
                    operation.security = Some(both());
                    let before = operation.description.take().unwrap_or_default();
                    let text = format!("{before}\n\nScope: `{scope}`");
                    operation.description = Some(text.trim().to_owned());
                }
            }
        }
    }
}

/// How a problem is written.
const PROBLEM: &str = "application/problem+json";
/// What any address may answer, and those that need a key, have places or take a body.
const OF_ALL: &[(&str, &str)] = &[("400", "What is wrong with the request")];
const OF_KEYS: &[(&str, &str)] = &[
    ("401", "No key, or an unknown one"),
    (
        "403",
        "The key has no such scope, or it is of another group",
    ),
    ("429", "Too many requests"),
];
const OF_PLACES: &[(&str, &str)] = &[("404", "There is none")];
const OF_BODIES: &[(&str, &str)] = &[
    ("408", "The body comes too slowly"),
    ("413", "The body is too large"),
    ("415", "The body is no JSON by its name"),
];

/// What can go wrong before a function is called, and what every problem looks like.
struct Problems;

impl Modify for Problems {
    fn modify(&self, api: &mut openapi::OpenApi) {
        for (path, item) in &mut api.paths.paths {
            let operations = [
                &mut item.get,
                &mut item.post,
                &mut item.put,
                &mut item.patch,
                &mut item.delete,
            ];
            for operation in operations.into_iter().flatten() {
                let applies = [
                    (OF_ALL, true),
                    (OF_KEYS, operation.security.is_some()),
                    (OF_PLACES, path.contains('{')),
                    (OF_BODIES, operation.request_body.is_some()),
                ];
                let responses = &mut operation.responses.responses;
                for (status, why) in applies
                    .into_iter()
                    .filter(|(_, applies)| *applies)
                    .flat_map(|(problems, _)| problems)
                {
                    responses.entry((*status).to_owned()).or_insert_with(|| {
                        let content = openapi::ContentBuilder::new().build();
                        let response = openapi::ResponseBuilder::new();
                        let response = response.description(*why).content(PROBLEM, content);
                        response.build().into()
                    });
                }
                for response in responses.values_mut() {
                    if let RefOr::T(response) = response
                        && let Some(RefOr::T(content)) = response.content.get_mut(PROBLEM)
                    {
                        let schema = openapi::Ref::from_schema_name("Problem");
                        content.schema = Some(RefOr::Ref(schema));
                    }
                }
            }
        }
    }
}

/// The scope of an address as the document writes it: the names in braces may be others.
fn scope_of(method: &str, path: &str) -> Option<&'static str> {
    let shape = |path: &str| {
        path.split('/')
            .map(|part| if part.starts_with('{') { "{}" } else { part })
            .collect::<Vec<_>>()
            .join("/")
    };
    let wanted = shape(path.strip_prefix(super::PREFIX).unwrap_or(path));
    let mut routes = ROUTES.iter();
    routes
        .find(|(known, address, ..)| *known == method && shape(address) == wanted)?
        .2
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| Api::openapi().to_json().unwrap_or_default());

fn page(body: String, kind: &'static str) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    headers.insert(
        "content-security-policy",
        HeaderValue::from_static("default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"),
    );
    response
}

/// `/api/v1/openapi.json`.
pub(super) fn document() -> Response {
    page(DOCUMENT.clone(), "application/json")
}

/// `/api/v1/docs`.
pub(super) fn viewer() -> Response {
    page(
        include_str!("viewer.html").to_owned(),
        "text/html; charset=utf-8",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_described_and_nothing_else() {
        let document: serde_json::Value = serde_json::from_str(&DOCUMENT).expect("JSON");
        assert!(
            document["openapi"]
                .as_str()
                .is_some_and(|version| version.starts_with("3.1"))
        );
        let mut described = Vec::new();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for method in methods.as_object().expect("methods").keys() {
                let known = ROUTES.iter().any(|(wanted, address, ..)| {
                    wanted.eq_ignore_ascii_case(method)
                        && super::super::places(
                            address,
                            path.strip_prefix("/api/v1").unwrap_or_default(),
                        )
                        .is_some()
                });
                assert!(known, "{method} {path} is described, but there is none");
                described.push((method.to_ascii_uppercase(), path.clone()));
            }
        }
        // The document and its viewer are not part of what they describe.
        assert_eq!(described.len(), ROUTES.len() - 2);
        for (method, path) in &described {
            let operation = &document["paths"][path][method.to_ascii_lowercase()];
            let open = path == "/api/v1/health";
            assert_eq!(operation["security"].is_array(), !open, "{method} {path}");
            assert_eq!(
                operation["responses"]["401"].is_object(),
                !open,
                "{method} {path}"
            );
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{method} {path}");
            let places = path.matches('{').count();
            let given = operation["parameters"].as_array().map_or(0, |all| {
                all.iter()
                    .filter(|parameter| parameter["in"] == "path")
                    .count()
            });
            assert_eq!(given, places, "{method} {path}");
        }
    }

    #[test]
    fn what_can_go_wrong_is_described_and_looks_alike() {
        let document: serde_json::Value = serde_json::from_str(&DOCUMENT).expect("JSON");
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                let responses = operation["responses"].as_object().expect("responses");
                let mut wanted = vec!["400"];
                if operation["security"].is_array() {
                    wanted.extend(["401", "403", "429"]);
                }
                if path.contains('{') {
                    wanted.push("404");
                }
                // Another core is asked for the call.
                if path.contains("/calls/{") {
                    wanted.push("503");
                }
                if operation["requestBody"].is_object() {
                    wanted.extend(["408", "413", "415"]);
                }
                for status in wanted {
                    let content = &responses[status]["content"]["application/problem+json"];
                    assert_eq!(
                        content["schema"]["$ref"], "#/components/schemas/Problem",
                        "{method} {path} {status}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let document: serde_json::Value = serde_json::from_str(&DOCUMENT).expect("JSON");
        let schemas = document["components"]["schemas"]
            .as_object()
            .expect("schemas");
        for reference in DOCUMENT.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap_or_default();
            assert!(schemas.contains_key(name), "{name}");
        }
        assert!(schemas.contains_key("Problem"));
    }

    #[test]
    fn the_viewer_needs_nothing_from_elsewhere() {
        let page = include_str!("viewer.html");
        assert!(page.contains("openapi.json"));
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("src="));
    }
}
