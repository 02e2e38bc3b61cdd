//! `pjsip_wizard.conf`: what each `type=wizard` stands for, as the sections of `pjsip.conf` that a person would write, and the
//! extensions of its hints. What sections become in tables is said in [`super::pjsip`].

use super::conf::{Conf, Place, Section, Setting};
use super::report::{Findings, Verdict};

pub(crate) const FILE: &str = "pjsip_wizard.conf";

/// Hosts of one wizard; each costs a registration.
const HOSTS_MAX: usize = 1000;

const OPTIONS: [&str; 17] = [
    "accepts_auth",
    "accepts_registrations",
    "client_uri_pattern",
    "contact_pattern",
    "has_hint",
    "has_phoneprov",
    "hint_application",
    "hint_context",
    "hint_exten",
    "outbound_proxy",
    "remote_hosts",
    "sends_auth",
    "sends_line_with_registrations",
    "sends_registrations",
    "server_uri_pattern",
    "transport",
    "type",
];
/// What stands before `/`, and goes to an object.
const PREFIXES: [&str; 7] = [
    "aor",
    "endpoint",
    "identify",
    "inbound_auth",
    "outbound_auth",
    "phoneprov",
    "registration",
];

/// One wizard while it is read.
struct Wizard<'s> {
    section: &'s Section,
}

impl<'s> Wizard<'s> {
    fn text(&self, name: &str) -> Option<&'s Setting> {
        let found = self.section.get(name);
        found.filter(|setting| !setting.value.is_empty())
    }

    fn says_yes(&self, name: &str) -> bool {
        self.text(name).is_some_and(|setting| {
            ["yes", "true", "y", "t", "1", "on"]
                .iter()
                .any(|yes| yes.eq_ignore_ascii_case(&setting.value))
        })
    }

    fn place(&self, name: &str) -> &'s Place {
        self.text(name)
            .map_or(&self.section.place, |setting| &setting.place)
    }

    /// An object of this type with the options that stand behind `prefix/`.
    fn object(&self, name: String, kind: &str, prefix: &str) -> Section {
        let mut object = Section {
            name,
            template: false,
            settings: Vec::new(),
            place: self.section.place.clone(),
            last_line: self.section.last_line,
        };
        push(&mut object, "type", kind, &self.section.place);
        for setting in &self.section.settings {
            if let Some((before, option)) = setting.name.split_once('/')
                && before.eq_ignore_ascii_case(prefix)
            {
                push(&mut object, option, &setting.value, &setting.place);
            }
        }
        object
    }

    /// Options of the wizard that stand for the same option of an object.
    fn shared(&self, object: &mut Section, names: &[&str]) {
        for name in names {
            if let Some(setting) = self.text(name) {
                push(object, name, &setting.value, &setting.place);
            }
        }
    }

    fn has(&self, prefix: &str) -> Option<&'s Setting> {
        let mut settings = self.section.settings.iter();
        settings.find(|setting| {
            let before = setting.name.split_once('/').map(|(before, _)| before);
            before.is_some_and(|before| before.eq_ignore_ascii_case(prefix))
        })
    }

    fn hosts(&self) -> Vec<&'s str> {
        let text = self.text("remote_hosts");
        let hosts = text.map_or("", |setting| setting.value.as_str()).split(',');
        let hosts = hosts.map(str::trim).filter(|host| !host.is_empty());
        hosts.take(HOSTS_MAX + 1).collect()
    }

    /// A pattern for one host; an empty one stands for nothing.
    fn pattern(&self, name: &str, usual: &str, host: &str, user: &str) -> Option<String> {
        let given = self.section.get(name);
        let pattern = given.map_or(usual, |setting| setting.value.as_str());
        let text = pattern
            .replace("${REMOTE_HOST}", host)
            .replace("${USERNAME}", user);
        (!text.is_empty()).then_some(text)
    }
}

fn push(object: &mut Section, name: &str, value: &str, place: &Place) {
    object.settings.push(Setting {
        name: name.to_owned(),
        value: value.to_owned(),
        place: place.clone(),
    });
}

fn outbound_auth(name: &str) -> String {
    format!("{name}-oauth")
}

/// The wizards of a file.
fn wizards(conf: &Conf) -> impl Iterator<Item = Wizard<'_>> {
    let is_wizard = |section: &&Section| {
        let kind = section.get("type");
        kind.is_some_and(|kind| kind.value.eq_ignore_ascii_case("wizard"))
    };
    conf.real()
        .filter(is_wizard)
        .map(|section| Wizard { section })
}

/// The sections that the wizards stand for.
pub(crate) fn objects(conf: &Conf, findings: &mut Findings) -> Conf {
    for section in conf.real() {
        match section.get("type") {
            Some(kind) if kind.value.eq_ignore_ascii_case("wizard") => {}
            Some(kind) => {
                let what = format!(
                    "[{}] of type {}: only `wizard` stands in this file; others in pjsip.conf",
                    section.name, kind.value
                );
                findings.section(section, Verdict::Decision, what);
            }
            None => {
                let what = format!("[{}] has no type: not taken", section.name);
                findings.section(section, Verdict::Decision, what);
            }
        }
    }
    let mut made = Conf::default();
    for wizard in wizards(conf) {
        check(&wizard, findings);
        let hosts = wizard.hosts();
        if hosts.len() > HOSTS_MAX {
            let what = format!(
                "remote_hosts of [{}] names more than {HOSTS_MAX} hosts: the wizard is not taken",
                wizard.section.name
            );
            findings.decide(wizard.place("remote_hosts"), what);
            continue;
        }
        expand(&wizard, &hosts, &mut made.sections, findings);
    }
    made
}

fn expand(wizard: &Wizard<'_>, hosts: &[&str], made: &mut Vec<Section>, findings: &mut Findings) {
    let name = &wizard.section.name;
    let at_hosts = wizard.place("remote_hosts");
    let (accepts, sends) = (
        wizard.says_yes("accepts_auth"),
        wizard.says_yes("sends_auth"),
    );
    let (inbound, outbound) = (format!("{name}-iauth"), outbound_auth(name));

    // What comes last counts: the names are those of the wizard, whatever `endpoint/` says.
    let mut endpoint = wizard.object(name.clone(), "endpoint", "endpoint");
    push(&mut endpoint, "aors", name, &wizard.section.place);
    wizard.shared(&mut endpoint, &["transport", "outbound_proxy"]);
    if accepts {
        push(
            &mut endpoint,
            "auth",
            &inbound,
            wizard.place("accepts_auth"),
        );
    }
    if sends {
        push(
            &mut endpoint,
            "outbound_auth",
            &outbound,
            wizard.place("sends_auth"),
        );
    }
    made.push(endpoint);

    for (is, id, direction, option) in [
        (accepts, &inbound, "inbound_auth", "accepts_auth"),
        (sends, &outbound, "outbound_auth", "sends_auth"),
    ] {
        if !is {
            continue;
        }
        let mut auth = wizard.object(id.clone(), "auth", direction);
        if auth.get("username").is_none() {
            let what = format!(
                "{option} of [{name}] needs {direction}/username: [{id}] is not taken, and the endpoint, which names it, lets \
                 nobody in by it"
            );
            findings.decide(wizard.place(option), what);
            continue;
        }
        if auth.get("auth_type").is_none() {
            push(&mut auth, "auth_type", "userpass", &wizard.section.place);
        }
        made.push(auth);
    }

    let mut aor = wizard.object(name.clone(), "aor", "aor");
    wizard.shared(&mut aor, &["outbound_proxy"]);
    if aor.get("contact").is_none() {
        for host in hosts {
            let contact = wizard.pattern("contact_pattern", "sip:${REMOTE_HOST}", host, "");
            if let Some(contact) = contact {
                push(&mut aor, "contact", &contact, at_hosts);
            }
        }
    }
    made.push(aor);

    if !wizard.says_yes("accepts_registrations") {
        if hosts.is_empty() {
            let what = format!(
                "[{name}] neither accepts registrations nor names remote_hosts: nobody is known by his address, and there is \
                 no contact to call"
            );
            findings.decide(&wizard.section.place, what);
        } else {
            let mut identify = wizard.object(format!("{name}-identify"), "identify", "identify");
            push(&mut identify, "endpoint", name, &wizard.section.place);
            if identify.get("match").is_none() {
                for host in hosts {
                    push(&mut identify, "match", without_port(host), at_hosts);
                }
            }
            made.push(identify);
        }
    }

    registrations(wizard, hosts, made, findings);
}

/// One registration for each host.
fn registrations(
    wizard: &Wizard<'_>,
    hosts: &[&str],
    made: &mut Vec<Section>,
    findings: &mut Findings,
) {
    if !wizard.says_yes("sends_registrations") {
        return;
    }
    let name = &wizard.section.name;
    let at_hosts = wizard.place("remote_hosts");
    let sends = wizard.says_yes("sends_auth");
    let outbound = outbound_auth(name);
    if hosts.is_empty() {
        let what =
            format!("sends_registrations of [{name}] needs remote_hosts: there is no registration");
        findings.decide(wizard.place("sends_registrations"), what);
    }
    let user = match sends {
        true => wizard
            .text("outbound_auth/username")
            .map_or("", |user| user.value.as_str()),
        false => name.as_str(),
    };
    for (number, host) in hosts.iter().enumerate() {
        let id = format!("{name}-reg-{number}");
        let mut registration = wizard.object(id, "registration", "registration");
        for (option, pattern, usual) in [
            ("server_uri", "server_uri_pattern", "sip:${REMOTE_HOST}"),
            (
                "client_uri",
                "client_uri_pattern",
                "sip:${USERNAME}@${REMOTE_HOST}",
            ),
        ] {
            if let Some(uri) = wizard.pattern(pattern, usual, host, user) {
                push(&mut registration, option, &uri, at_hosts);
            }
        }
        if sends {
            push(
                &mut registration,
                "outbound_auth",
                &outbound,
                wizard.place("sends_auth"),
            );
        }
        wizard.shared(&mut registration, &["transport", "outbound_proxy"]);
        if wizard.says_yes("sends_line_with_registrations") {
            let place = wizard.place("sends_line_with_registrations");
            push(&mut registration, "line", "yes", place);
            push(&mut registration, "endpoint", name, place);
        }
        made.push(registration);
    }
}

/// What of a wizard does nothing, or nothing here.
fn check(wizard: &Wizard<'_>, findings: &mut Findings) {
    let name = &wizard.section.name;
    for setting in &wizard.section.settings {
        let (word, behind) = match setting.name.split_once('/') {
            Some((prefix, option)) => (prefix, Some(option)),
            None => (setting.name.as_str(), None),
        };
        let known = |words: &[&str]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
        let is_known = match behind {
            Some(option) => !option.is_empty() && known(&PREFIXES),
            None => known(&OPTIONS),
        };
        if !is_known && !setting.name.starts_with('@') {
            let what = format!("{}: not an option of type wizard", setting.name);
            findings.none(&setting.place, what);
        }
        if word.to_ascii_lowercase().ends_with("_pattern") && behind.is_none() {
            let rest = setting
                .value
                .replace("${REMOTE_HOST}", "")
                .replace("${USERNAME}", "");
            if rest.contains("${") {
                let what = format!(
                    "{word} of [{name}]: only REMOTE_HOST and USERNAME are put in, other variables stay as they are written"
                );
                findings.decide(&setting.place, what);
            }
        }
    }
    if let Some(setting) = wizard.has("phoneprov")
        && !wizard.says_yes("has_phoneprov")
    {
        findings.none(&setting.place, "telephones are not provisioned here");
    }
    if wizard.says_yes("has_phoneprov") {
        findings.none(
            wizard.place("has_phoneprov"),
            "telephones are not provisioned here",
        );
    }
    for (prefix, option) in [
        ("inbound_auth", "accepts_auth"),
        ("outbound_auth", "sends_auth"),
        ("registration", "sends_registrations"),
    ] {
        if let Some(setting) = wizard.has(prefix)
            && !wizard.says_yes(option)
        {
            let what = format!("{prefix}/ of [{name}] does nothing without {option}=yes");
            findings.none(&setting.place, what);
        }
    }
    if let Some(setting) = wizard.has("identify")
        && wizard.says_yes("accepts_registrations")
    {
        let what = format!("identify/ of [{name}] does nothing beside accepts_registrations=yes");
        findings.none(&setting.place, what);
    }
    if wizard.says_yes("has_hint") && wizard.text("hint_exten").is_none() {
        let what = format!("has_hint of [{name}] needs hint_exten: there is no hint");
        findings.decide(wizard.place("has_hint"), what);
    }
}

/// Lines of the dialplan that the wizards stand for: a hint for each, and what its number does.
pub(crate) fn hints(conf: &Conf) -> Vec<Section> {
    let mut sections = Vec::new();
    for wizard in wizards(conf).filter(|wizard| wizard.says_yes("has_hint")) {
        let Some(exten) = wizard.text("hint_exten") else {
            continue;
        };
        let named = ["hint_context", "endpoint/context"];
        let context = named.iter().find_map(|name| wizard.text(name));
        let mut section = Section {
            name: context
                .map_or("default", |context| &context.value)
                .to_owned(),
            template: false,
            settings: Vec::new(),
            place: exten.place.clone(),
            last_line: exten.place.line,
        };
        let hint = format!("{},hint,PJSIP/{}", exten.value, wizard.section.name);
        push(&mut section, "exten", &hint, &exten.place);
        if let Some(application) = wizard.text("hint_application") {
            let step = format!("{},1,{}", exten.value, application.value);
            push(&mut section, "exten", &step, &application.place);
        }
        sections.push(section);
    }
    sections
}

fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(host);
    }
    match host.split_once(':') {
        // With a second colon it is an address of IPv6 and has no port.
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Office, assert_says, numbers};
    use super::*;
    use crate::pool::Kind;
    use crate::tests::{count, on_each_engine, texts};

    #[test]
    fn ports_are_no_part_of_an_address() {
        for (host, wanted) in [
            ("sip.example.com", "sip.example.com"),
            ("sip.example.com:5070", "sip.example.com"),
            ("[2001:db8::7]:5070", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
        ] {
            assert_eq!(without_port(host), wanted);
        }
    }

    #[test]
    fn a_wizard_becomes_what_it_stands_for() {
        on_each_engine(|db| async move {
            let store = db.migrated().await;
            let wizard = "[trunk](!)\ntype=wizard\ntransport=udp\nendpoint/context=from-trunk\nendpoint/allow=!all,alaw\n\
             sends_auth=yes\nsends_registrations=yes\nregistration/expiration=600\n\
             [provider](trunk)\nremote_hosts=sip1.example.com:5070, 203.0.113.7\n\
             outbound_auth/username=4957771122\noutbound_auth/password=geheim\naor/qualify_frequency=30\n\
             [100]\ntype=wizard\naccepts_auth=yes\naccepts_registrations=yes\nhas_hint=yes\nhint_exten=100\n\
             hint_application=Dial(PJSIP/100,30)\nendpoint/context=office\naor/max_contacts=2\n\
             inbound_auth/username=100\ninbound_auth/password=secret\n\
             [lost]\ntype=wizard\naccepts_auth=yes\ncolour=red\n";
            let office = Office::new(&[
                (
                    "extensions.conf",
                    "[office]\nexten => 1,1,Answer()\n same => n,Hangup()\n",
                ),
                (
                    "pjsip.conf",
                    "[udp]\ntype=transport\nprotocol=udp\nbind=0.0.0.0:5060\n",
                ),
                ("pjsip_wizard.conf", wizard),
            ]);
            let report = office.import(&store).await;
            assert_eq!(report.count(Verdict::Failed), 0, "{report}");
            for (what, wanted) in [
                (
                    "ps_endpoints WHERE id = 'provider' AND context = 'from-trunk' AND transport = 'udp' AND aors = 'provider' \
                 AND outbound_auth = 'provider-oauth' AND auth IS NULL",
                    1,
                ),
                (
                    "ps_endpoints WHERE id = '100' AND auth = '100-iauth' AND outbound_auth IS NULL",
                    1,
                ),
                (
                    "ps_auths WHERE id = 'provider-oauth' AND username = '4957771122' AND password = 'geheim'",
                    1,
                ),
                ("ps_auths WHERE id = '100-iauth' AND password = 'secret'", 1),
                ("ps_auths", 2),
                (
                    "ps_aors WHERE id = 'provider' AND contact = 'sip:sip1.example.com:5070,sip:203.0.113.7' \
                 AND qualify_frequency = 30",
                    1,
                ),
                (
                    "ps_aors WHERE id = '100' AND contact IS NULL AND max_contacts = 2",
                    1,
                ),
                ("ps_endpoint_id_ips", 1),
                (
                    "ps_endpoint_id_ips WHERE id = 'provider-identify' AND endpoint = 'provider'",
                    1,
                ),
                (
                    "ps_registrations WHERE id = 'provider-reg-0' AND server_uri = 'sip:sip1.example.com:5070' \
                 AND client_uri = 'sip:4957771122@sip1.example.com:5070' AND outbound_auth = 'provider-oauth' \
                 AND expiration = 600 AND transport = 'udp'",
                    1,
                ),
                (
                    "ps_registrations WHERE id = 'provider-reg-1' AND server_uri = 'sip:203.0.113.7'",
                    1,
                ),
                ("ps_registrations", 2),
                (
                    "static_extensions WHERE category = 'office' AND var_val = '100,hint,PJSIP/100'",
                    1,
                ),
                (
                    "static_extensions WHERE category = 'office' AND var_val = '100,1,Dial(PJSIP/100,30)'",
                    1,
                ),
                ("static_extensions WHERE category = 'office'", 4),
            ] {
                assert_eq!(count(&store, what).await, wanted, "{what}:\n{report}");
            }
            let matches = texts(&store, "SELECT \"match\" FROM ps_endpoint_id_ips");
            if db.kind != Kind::MySql {
                let found: Vec<String> = matches.await.into_iter().flatten().collect();
                assert_eq!(found, ["sip1.example.com,203.0.113.7"]);
            }
            let said = report.to_string();
            assert!(!said.contains("names transport"), "{report}");
            assert_says(
                &report,
                Verdict::Decision,
                "accepts_auth of [lost] needs inbound_auth/username",
            );
            assert_says(
                &report,
                Verdict::Decision,
                "[lost] neither accepts registrations nor names remote_hosts",
            );
            assert_says(
                &report,
                Verdict::NoEquivalent,
                "colour: not an option of type wizard",
            );
            assert!(
                !said.contains("geheim") && !said.contains("secret"),
                "{report}"
            );
            assert_eq!(numbers(&office.import(&store).await)[..3], [0, 0, 0]);

            // A host less is a registration less; a wizard that is gone takes all of its objects with it.
            let fewer = wizard.replace(", 203.0.113.7", "");
            office.write(
                "pjsip_wizard.conf",
                &fewer[..fewer.find("[100]").unwrap_or_default()],
            );
            let report = office.import(&store).await;
            for (what, wanted) in [
                ("ps_registrations", 1),
                ("ps_endpoints", 1),
                ("ps_auths", 1),
                ("ps_aors", 1),
                ("static_extensions WHERE category = 'office'", 2),
            ] {
                assert_eq!(count(&store, what).await, wanted, "{what}:\n{report}");
            }

            // Nobody knows the hints of a file that cannot be read: contexts stay as they are.
            office.write("pjsip_wizard.conf", wizard);
            office.import(&store).await;
            office.write("pjsip_wizard.conf", "[100\ntype=wizard\n");
            let report = office.import(&store).await;
            let office_lines = "static_extensions WHERE category = 'office'";
            assert_eq!(count(&store, office_lines).await, 4, "{report}");
            assert_eq!(count(&store, "ps_registrations").await, 2, "{report}");
            let what =
                "hints of pjsip_wizard.conf, which cannot be read, belong to contexts of this file";
            assert_says(&report, Verdict::Decision, what);
            db
        });
    }
}
