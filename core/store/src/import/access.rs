//! Rules of an endpoint about addresses, whose order counts. Two columns, of which `deny` is always read first, hold the usual
//! order only; any other becomes a list with a name. Never widens what a file allows.

use super::conf::{Section, Setting};
use super::report::{Findings, Verdict};
use super::unit::{Unit, Values};

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
        let (Some(first), Some(last)) = (first, last) else {
            continue;
        };
        if first > last {
            continue;
        }
        let place = &rules[first].1.place;
        let name = &section.name;
        if values.iter().any(|(column, _)| column == named) {
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
        let what = format!(
            "{permit} of [{name}] stands before {deny}, which columns cannot say: the rules are kept in their order as list \
             [{}] of acl.conf, and {named} names it",
            list.name
        );
        findings.add(place, Verdict::Taken, what);
        units.push(Unit::sections(TABLE, FILE, &list, &[lines]));
    }
    units
}
