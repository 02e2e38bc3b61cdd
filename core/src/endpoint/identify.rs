//! Which endpoint a request belongs to: by the line of a registration of ours, by address, header, Request-URI, From user or digest user, in the order that
//! `endpoint_identifier_order` of `ps_globals` gives; `anonymous` only where an endpoint of that name exists.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use regex::Regex;
use strowger_sip::auth::Credentials;
use strowger_sip::{HeaderName, Message};
use strowger_store::{Endpoint, Identify, Snapshot, Table};

use super::acl::{AclError, Network};
use super::names::{Names, name_in};
use super::registration::Lines;

/// The endpoint that stands for callers nobody knows.
const ANONYMOUS: &str = "anonymous";

/// How an endpoint was found.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// By the token of one of our registrations.
    Line,
    /// By the source address.
    Ip,
    /// By a header.
    Header,
    /// By the Request-URI.
    RequestUri,
    /// By the user of From.
    Username,
    /// By the user of Authorization.
    AuthUsername,
    /// Nobody: the endpoint `anonymous`.
    Anonymous,
}

impl Method {
    const fn word(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Ip => "ip",
            Self::Header => "header",
            Self::RequestUri => "request_uri",
            Self::Username => "username",
            Self::AuthUsername => "auth_username",
            Self::Anonymous => ANONYMOUS,
        }
    }

    const ALL: [Self; 6] = [
        Self::Ip,
        Self::Username,
        Self::Anonymous,
        Self::Header,
        Self::AuthUsername,
        Self::RequestUri,
    ];
}

/// An endpoint, and how it was found.
#[derive(Clone, Debug)]
pub struct Identified {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// How it was found.
    pub by: Method,
}

/// Text to be equal, or a regular expression between slashes.
#[derive(Debug)]
enum Pattern {
    Equal(String),
    Matching(Regex),
}

impl Pattern {
    fn new(text: &str) -> Result<Self, regex::Error> {
        let text = text.trim();
        match text.strip_prefix('/').and_then(|t| t.strip_suffix('/')) {
            Some(expression) => Regex::new(expression).map(Self::Matching),
            None => Ok(Self::Equal(text.to_owned())),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Equal(wanted) => wanted == text,
            Self::Matching(expression) => expression.is_match(text),
        }
    }
}

#[derive(Debug)]
struct Rule {
    endpoint: String,
    networks: Vec<Network>,
    header: Option<(HeaderName, Pattern)>,
    request_uri: Option<Pattern>,
}

/// Finds endpoints. Keeps the rows of `ps_endpoint_id_ips` in a form made for searching, renewed when they change.
#[derive(Debug, Default)]
pub struct Identifier {
    names: Arc<Names>,
    /// Of the rows, and of the addresses of names.
    version: Option<(u64, u64)>,
    rules: Vec<Rule>,
    problems: Vec<String>,
}

impl Identifier {
    /// One that knows host names by these addresses.
    #[must_use]
    pub fn new(names: Arc<Names>) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// What cannot be used in the rows last read: which row, what.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    fn renew(&mut self, snapshot: &Snapshot) {
        let version = (snapshot.version_of(Table::Identifies), self.names.version());
        if self.version == Some(version) {
            return;
        }
        self.version = Some(version);
        self.problems.clear();
        let (problems, names) = (&mut self.problems, &self.names);
        self.rules = snapshot
            .identifies
            .iter()
            .map(|row| rule(row, names, problems))
            .collect();
    }

    /// The endpoint of this request, if it is anybody's.
    pub fn identify(
        &mut self,
        snapshot: &Snapshot,
        request: &Message,
        source: SocketAddr,
    ) -> Option<Identified> {
        self.renew(snapshot);
        let named = &snapshot.globals.endpoint_identifier_order;
        let listed = named.iter().filter_map(|word| {
            Method::ALL
                .into_iter()
                .find(|m| m.word().eq_ignore_ascii_case(word.trim()))
        });
        // Ways that the list does not name come after it, as in Asterisk.
        let rest = Method::ALL.into_iter().filter(|m| {
            !named
                .iter()
                .any(|word| m.word().eq_ignore_ascii_case(word.trim()))
        });
        for method in listed.chain(rest) {
            if let Some(endpoint) = self.by(method, snapshot, request, source) {
                return Some(Identified {
                    endpoint,
                    by: method,
                });
            }
        }
        None
    }

    fn by(
        &self,
        method: Method,
        snapshot: &Snapshot,
        request: &Message,
        source: SocketAddr,
    ) -> Option<Arc<Endpoint>> {
        let rule = |matches: &dyn Fn(&Rule) -> bool| {
            self.rules
                .iter()
                .filter(|rule| matches(rule))
                .find_map(|rule| snapshot.endpoints.get(&rule.endpoint).cloned())
        };
        match method {
            // Comes before all others, whatever the order.
            Method::Line => None,
            Method::Ip => rule(&|rule| rule.networks.iter().any(|n| n.contains(source.ip()))),
            Method::Header => rule(&|rule| {
                rule.header.as_ref().is_some_and(|(name, pattern)| {
                    request.headers(name).any(|value| pattern.matches(value))
                })
            }),
            Method::RequestUri => rule(&|rule| {
                rule.request_uri.as_ref().is_some_and(|pattern| {
                    request
                        .request_uri()
                        .is_some_and(|uri| pattern.matches(uri))
                })
            }),
            Method::Username => {
                let from = &request.from().ok()?.uri;
                let user = from.user_decoded()?;
                let user = if snapshot.globals.ignore_uri_user_options {
                    Cow::Borrowed(user.split(';').next().unwrap_or(""))
                } else {
                    Cow::Borrowed(&*user)
                };
                find_by_name(snapshot, &user, &from.host.to_string(), method)
            }
            Method::AuthUsername => request
                .headers(&HeaderName::Authorization)
                .find_map(|line| {
                    let credentials = Credentials::parse(line).ok()?;
                    find_by_name(snapshot, &credentials.username, &credentials.realm, method)
                }),
            Method::Anonymous => {
                let domain = request.from().ok().map(|from| from.uri.host.to_string());
                domain
                    .and_then(|domain| {
                        let real = snapshot
                            .domain_aliases
                            .get(&domain)
                            .map(|alias| &alias.domain);
                        with_domain(snapshot, ANONYMOUS, &domain).or_else(|| {
                            real.and_then(|real| with_domain(snapshot, ANONYMOUS, real))
                        })
                    })
                    .or_else(|| snapshot.endpoints.get(ANONYMOUS).cloned())
            }
        }
    }
}

/// The endpoint whose registration (`line`) the Request-URI or To bears the token of.
pub(super) fn by_line(lines: &Lines, snapshot: &Snapshot, request: &Message) -> Option<Identified> {
    if lines.is_empty() {
        return None;
    }
    let of = |uri: &strowger_sip::Uri| {
        let endpoint = lines.endpoint_of(uri.param("line")?)?;
        snapshot.endpoints.get(&endpoint).cloned()
    };
    let uri = request.uri().and_then(Result::ok);
    let endpoint = uri
        .as_ref()
        .and_then(of)
        .or_else(|| of(&request.to().ok()?.uri))?;
    Some(Identified {
        endpoint,
        by: Method::Line,
    })
}

fn with_domain(snapshot: &Snapshot, user: &str, domain: &str) -> Option<Arc<Endpoint>> {
    snapshot.endpoints.get(&format!("{user}@{domain}")).cloned()
}

/// `user@domain`, `user@` the domain's real name, `user`: the first endpoint of such a name that allows this way.
fn find_by_name(
    snapshot: &Snapshot,
    user: &str,
    domain: &str,
    method: Method,
) -> Option<Arc<Endpoint>> {
    if user.is_empty() {
        return None;
    }
    let allowed = |endpoint: &Arc<Endpoint>| {
        endpoint
            .identify_by
            .iter()
            .any(|word| word.trim().eq_ignore_ascii_case(method.word()))
    };
    let domains = !snapshot.globals.disable_multi_domain;
    let real = snapshot
        .domain_aliases
        .get(domain)
        .map(|alias| alias.domain.as_str());
    domains
        .then(|| with_domain(snapshot, user, domain))
        .flatten()
        .filter(&allowed)
        .or_else(|| {
            real.filter(|_| domains)
                .and_then(|real| with_domain(snapshot, user, real))
                .filter(&allowed)
        })
        // The endpoint for strangers cannot be chosen by calling oneself so.
        .or_else(|| {
            snapshot
                .endpoints
                .get(user)
                .filter(|_| user != ANONYMOUS)
                .cloned()
                .filter(&allowed)
        })
}

/// The networks that an entry of `match` stands for: itself, or the addresses of the host name that are known.
pub(crate) fn networks_of_match(text: &str, names: &Names) -> Result<Vec<Network>, AclError> {
    // A port after the address narrows nothing here: one host is one endpoint.
    let address = text
        .trim()
        .parse::<SocketAddr>()
        .map(|a| a.ip().to_string());
    match Network::parse(address.as_deref().unwrap_or(text)) {
        Ok(network) => Ok(vec![network]),
        Err(error) => {
            let name = name_in(text).ok_or(error)?;
            let addresses = names.addresses(&name);
            Ok(addresses.into_iter().map(Network::of).collect())
        }
    }
}

fn rule(row: &Identify, names: &Names, problems: &mut Vec<String>) -> Rule {
    let mut problem =
        |what: String| problems.push(format!("ps_endpoint_id_ips {}: {what}", row.id));
    let mut networks = Vec::new();
    for text in &row.matches {
        match networks_of_match(text, names) {
            Ok(found) => networks.extend(found),
            Err(error) => problem(format!("{error}, and no host name")),
        }
    }
    let mut pattern = |what: &str, text: &str| match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            problem(format!("{what}: {error}"));
            None
        }
    };
    let header = row.match_header.as_deref().and_then(|text| {
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        Some((
            HeaderName::parse(name.trim()),
            pattern("match_header", value)?,
        ))
    });
    Rule {
        endpoint: row.endpoint.clone(),
        networks,
        header,
        request_uri: row
            .match_request_uri
            .as_deref()
            .and_then(|text| pattern("match_request_uri", text)),
    }
}

#[cfg(test)]
mod tests {
    use strowger_store::{DomainAlias, Globals};

    use super::super::test_support::{flow, request, snapshot};
    use super::*;

    fn found(snapshot: &Snapshot, request: &Message) -> Option<(String, Method)> {
        Identifier::default()
            .identify(snapshot, request, flow().remote)
            .map(|i| (i.endpoint.id.clone(), i.by))
    }

    fn some(id: &str, by: Method) -> Option<(String, Method)> {
        Some((id.to_owned(), by))
    }

    fn edit(snapshot: &mut Snapshot, id: &str, change: impl FnOnce(&mut Endpoint)) {
        let table = Arc::make_mut(&mut snapshot.endpoints);
        change(Arc::make_mut(table.get_mut(id).unwrap()));
    }

    #[test]
    fn the_from_user_names_the_endpoint_with_and_without_domain() {
        let mut s = snapshot(&["100", "100@pbx.example", "200"]);
        assert_eq!(
            found(&s, &request("INVITE", "100", "c", 1, "")),
            some("100@pbx.example", Method::Username)
        );
        assert_eq!(
            found(&s, &request("INVITE", "%320%30", "c", 1, "")),
            some("200", Method::Username)
        );
        assert_eq!(found(&s, &request("INVITE", "300", "c", 1, "")), None);
        edit(&mut s, "100@pbx.example", |e| {
            e.identify_by = vec!["ip".into()]
        });
        assert_eq!(
            found(&s, &request("INVITE", "100", "c", 1, "")),
            some("100", Method::Username)
        );
        let mut s = snapshot(&["100@real.example"]);
        assert_eq!(found(&s, &request("INVITE", "100", "c", 1, "")), None);
        Arc::make_mut(&mut s.domain_aliases).insert(
            "pbx.example".into(),
            DomainAlias {
                id: "pbx.example".into(),
                domain: "real.example".into(),
            },
        );
        assert_eq!(
            found(&s, &request("INVITE", "100", "c", 1, "")),
            some("100@real.example", Method::Username)
        );
    }

    #[test]
    fn names_have_no_domain_where_the_globals_say_so() {
        let mut s = snapshot(&["100", "100@pbx.example"]);
        s.globals = Arc::new(Globals {
            disable_multi_domain: true,
            ..Globals::default()
        });
        assert_eq!(
            found(&s, &request("INVITE", "100", "c", 1, "")),
            some("100", Method::Username)
        );
    }

    #[test]
    fn addresses_come_before_names_unless_the_order_says_otherwise() {
        let mut s = snapshot(&["100", "trunk"]);
        let row = |matches: &str| Identify {
            id: "t".into(),
            endpoint: "trunk".into(),
            matches: matches.split(',').map(str::to_owned).collect(),
            ..Identify::default()
        };
        s.identifies = Arc::new(vec![row("198.51.100.1,203.0.113.0/24")]);
        let r = request("INVITE", "100", "c", 1, "");
        assert_eq!(found(&s, &r), some("trunk", Method::Ip));
        s.globals = Arc::new(Globals {
            endpoint_identifier_order: vec!["username".into(), "ip".into()],
            ..Globals::default()
        });
        assert_eq!(found(&s, &r), some("100", Method::Username));
        s.identifies = Arc::new(vec![row("198.51.100.1,sip.example.com")]);
        let names = Arc::<Names>::default();
        let mut identifier = Identifier::new(Arc::clone(&names));
        let nobody = request("INVITE", "x", "c", 1, "");
        assert!(identifier.identify(&s, &nobody, flow().remote).is_none());
        assert!(identifier.problems().is_empty());
        names.found(vec![("sip.example.com".into(), vec![flow().remote.ip()])]);
        let found = identifier.identify(&s, &nobody, flow().remote);
        assert_eq!(found.map(|f| f.by), Some(Method::Ip));
        s.identifies = Arc::new(vec![row("198.51.100.1,sip example com")]);
        s.versions[Table::Identifies as usize] += 1;
        assert!(identifier.identify(&s, &nobody, flow().remote).is_none());
        assert!(identifier.problems()[0].contains("sip example com"));
    }

    #[test]
    fn headers_and_request_uris_identify_by_text_and_by_expression() {
        let mut s = snapshot(&["a", "b", "c"]);
        let row = |endpoint: &str, header: Option<&str>, uri: Option<&str>| Identify {
            id: endpoint.into(),
            endpoint: endpoint.into(),
            match_header: header.map(str::to_owned),
            match_request_uri: uri.map(str::to_owned),
            ..Identify::default()
        };
        s.identifies = Arc::new(vec![
            row("a", Some("X-Trunk: one"), None),
            row("b", Some("X-Trunk: /^tw[o0]$/"), None),
            row("c", None, Some("/pbx\\.example/")),
            row("c", Some("X-Trunk: /(/"), None),
        ]);
        let with = |more: &str| found(&s, &request("INVITE", "nobody", "c", 1, more));
        assert_eq!(with("X-Trunk: one\r\n"), some("a", Method::Header));
        assert_eq!(with("x-trunk: tw0\r\n"), some("b", Method::Header));
        assert_eq!(with("X-Trunk: three\r\n"), some("c", Method::RequestUri));
    }

    #[test]
    fn digest_users_and_strangers() {
        let mut s = snapshot(&["100"]);
        let authorization = "Authorization: Digest username=\"100\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"0\"\r\n";
        let r = request("INVITE", "else", "c", 1, authorization);
        assert_eq!(found(&s, &r), None);
        edit(&mut s, "100", |e| {
            e.identify_by = vec!["username".into(), "auth_username".into()]
        });
        assert_eq!(found(&s, &r), some("100", Method::AuthUsername));
        let s = snapshot(&["anonymous"]);
        assert_eq!(
            found(&s, &request("INVITE", "who", "c", 1, "")),
            some("anonymous", Method::Anonymous)
        );
        assert_eq!(
            found(&s, &request("INVITE", "anonymous", "c", 1, "")),
            some("anonymous", Method::Anonymous)
        );
    }
}
