//! Rules of an endpoint about addresses, whose order counts. Two columns, of which `deny` is always read first, hold the usual
//! order only, and 95 characters; any other becomes a list with a name. Never widens what a file allows.

use super::conf::{Section, Setting};
use super::report::{Findings, Verdict};
use super::unit::{Unit, Values};

/// What a column of rules holds where the tables are as Asterisk makes them, in characters.
const RULES_MAX: usize = 95;

/// Columns of rules, and the column that names a list.
const LISTS: [(&str, &str, &str, &str); 2] = [
    ("deny", "permit", "acl", ""),
    ("contact_deny", "contact_permit", "contact_acl", " contact"),
];

/// Where lists with a name stand.
const TABLE: &str = "static_extensions";
const FILE: &str = "acl.conf";

/// Gives the lists that hold what the columns cannot, and takes their rules out of the columns.
pub(crate) fn lists(section: &Section, values: &mut Values, findings: &mut Findings) -> Vec<Unit> {
    let mut units = Vec::new();
    for (deny, permit, named, suffix) in LISTS {
        let is = |setting: &&Setting, name: &str| setting.name.eq_ignore_ascii_case(name);
        let mut rules: Vec<(bool, &Setting)> = Vec::new();
        for setting in &section.settings {
            let allows = is(&setting, permit);
            if allows || is(&setting, deny) {
                // Without a value it takes back what stands before it, as elsewhere.
                if setting.value.is_empty() {
                    rules.retain(|(known, _)| *known != allows);
                } else {
                    rules.push((allows, setting));
                }
            }
        }
        let first = rules.iter().position(|(allows, _)| *allows);
        let last = rules.iter().rposition(|(allows, _)| !allows);
        let name = &section.name;
        let is_named = values.iter().any(|(column, _)| column == named);
        let mixed = first.zip(last).filter(|(first, last)| first < last);
        let length = |column: &str| {
            let found = values.iter().find(|(name, _)| name == column);
            found.map_or(0, |(_, value)| value.chars().count())
        };
        let (longest, characters) = [deny, permit]
            .map(|column| (column, length(column)))
            .into_iter()
            .max_by_key(|(_, length)| *length)
            .unwrap_or_default();
        let (first, last) = match mixed {
            Some(places) => places,
            // Beside a list with a name there is no place for another: the columns keep what they say, and an object that they
            // do not hold is refused as a whole.
            None if characters <= RULES_MAX || is_named => continue,
            None => (0, rules.len() - 1),
        };
        let place = &rules[first].1.place;
        if is_named {
            // Who is let in by less is let in by the whole too.
            let kept: Vec<&str> = rules[last + 1..]
                .iter()
                .map(|(_, setting)| setting.value.as_str())
                .collect();
            values.retain(|(column, _)| column != permit);
            if !kept.is_empty() {
                values.push((permit.to_owned(), kept.join(",")));
            }
            let what = format!(
                "{permit} of [{name}] stands before {deny}, and {named} names a list already: what stands before the last \
                 {deny} is left out; write all rules in their order as one list in acl.conf"
            );
            findings.decide(place, what);
            continue;
        }
        values.retain(|(column, _)| column != permit && column != deny);
        let list = Section {
            name: format!("pjsip.conf/{name}{suffix}"),
            ..section.clone()
        };
        values.push((named.to_owned(), list.name.clone()));
        let lines: Values = rules
            .iter()
            .map(|(allows, setting)| {
                let name = if *allows { "permit" } else { "deny" };
                (name.to_owned(), setting.value.clone())
            })
            .collect();
        let why = match mixed {
            Some(_) => {
                format!("{permit} of [{name}] stands before {deny}, which columns cannot say")
            }
            None => format!(
                "{longest} of [{name}] has {characters} characters, and its column takes {RULES_MAX}"
            ),
        };
        let what = format!(
            "{why}: the rules are kept in their order as list \
             [{}] of acl.conf, and {named} names it",
            list.name
        );
        findings.add(place, Verdict::Taken, what);
        units.push(Unit::sections(TABLE, FILE, &list, &[lines]));
    }
    units
}
