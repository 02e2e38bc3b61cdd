//! Resource lists (RFC 4662): rows of `ps_resource_list`, and sections `type=resource_list` of `pjsip.conf`.

use std::time::Duration;

use rustc_hash::FxHashSet;
use strowger_store::{Snapshot, StaticRow};

/// Longest time that changes of a list are gathered.
const BATCH_MAX_MS: u64 = 60_000;

/// A list of resources that one subscription covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResourceList {
    pub(super) name: String,
    /// The event package that it is for.
    pub(super) event: String,
    /// Extensions, addresses of record or other lists, in their order.
    pub(super) items: Vec<String>,
    /// Every NOTIFY tells of all items.
    pub(super) full_state: bool,
    /// How long changes are gathered before they are told.
    pub(super) batch: Duration,
}

impl ResourceList {
    fn set(&mut self, option: &str, value: &str) {
        match option {
            "event" => value.trim().clone_into(&mut self.event),
            "list_item" => {
                let items = value.split(',').map(str::trim);
                let items = items.filter(|item| !item.is_empty());
                self.items.extend(items.map(str::to_owned));
            }
            "full_state" => {
                self.full_state = ["yes", "true", "on", "1", "y", "t"]
                    .iter()
                    .any(|yes| yes.eq_ignore_ascii_case(value.trim()));
            }
            "notification_batch_interval" => {
                let ms: u64 = value.trim().parse().unwrap_or(0);
                self.batch = Duration::from_millis(ms.min(BATCH_MAX_MS));
            }
            _ => {}
        }
    }
}

/// The options of a section of `pjsip.conf` that is of this type; `None` if there is none.
pub(super) fn section<'s>(
    snapshot: &'s Snapshot,
    kind: &str,
    name: &str,
) -> Option<Vec<&'s StaticRow>> {
    let rows = snapshot.statics.iter();
    let rows: Vec<&StaticRow> = rows
        .filter(|row| row.filename == "pjsip.conf" && row.category == name)
        .collect();
    let is_kind = rows.iter().any(|row| {
        row.var_name.eq_ignore_ascii_case("type") && option(row).eq_ignore_ascii_case(kind)
    });
    is_kind.then_some(rows)
}

/// What an option says; `>` stands before it where a file has `=>`.
pub(super) fn option(row: &StaticRow) -> &str {
    row.var_val.trim_start_matches('>').trim()
}

/// The names of all lists.
pub(super) fn names(snapshot: &Snapshot) -> FxHashSet<&str> {
    let rows = snapshot.resource_lists.iter().map(|row| row.get("id"));
    let sections = snapshot.statics.iter().filter(|row| {
        row.filename == "pjsip.conf"
            && row.var_name.eq_ignore_ascii_case("type")
            && option(row).eq_ignore_ascii_case("resource_list")
    });
    rows.chain(sections.map(|row| row.category.as_str()))
        .collect()
}

/// The list of this name for an event package.
#[must_use]
pub(super) fn find(snapshot: &Snapshot, name: &str, event: &str) -> Option<ResourceList> {
    let mut list = ResourceList {
        name: name.to_owned(),
        ..ResourceList::default()
    };
    let row = snapshot.resource_lists.iter();
    if let Some(row) = row.into_iter().find(|row| row.get("id") == name) {
        for (option, value) in &row.options {
            list.set(option, value);
        }
    } else {
        for row in section(snapshot, "resource_list", name)? {
            list.set(&row.var_name.to_ascii_lowercase(), option(row));
        }
    }
    (list.event == event && !list.items.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use strowger_store::OptionsRow;

    #[test]
    fn a_list_comes_from_its_table_or_from_the_file() {
        let row = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let line = |category: &str, name: &str, value: &str| StaticRow {
            filename: "pjsip.conf".into(),
            category: category.into(),
            var_name: name.into(),
            var_val: value.into(),
            ..StaticRow::default()
        };
        let snapshot = Snapshot {
            resource_lists: Arc::new(vec![OptionsRow {
                options: vec![
                    row("id", "team"),
                    row("event", "presence"),
                    row("list_item", "100, 101,,102"),
                    row("full_state", "yes"),
                    row("notification_batch_interval", "2000"),
                ],
            }]),
            statics: Arc::new(vec![
                line("floor", "type", "resource_list"),
                line("floor", "event", "dialog"),
                line("floor", "list_item", "100"),
                line("floor", "list_item", "101"),
                line("200", "type", "endpoint"),
            ]),
            ..Snapshot::default()
        };
        let mut known: Vec<_> = names(&snapshot).into_iter().collect();
        known.sort_unstable();
        assert_eq!(known, ["floor", "team"]);
        let team = find(&snapshot, "team", "presence").unwrap();
        assert_eq!(team.items, ["100", "101", "102"]);
        assert!(team.full_state);
        assert_eq!(team.batch, Duration::from_secs(2));
        let floor = find(&snapshot, "floor", "dialog").unwrap();
        assert_eq!(floor.items, ["100", "101"]);
        assert!(!floor.full_state && floor.batch.is_zero());
        for (name, event) in [("team", "dialog"), ("200", "presence"), ("no", "presence")] {
            assert_eq!(find(&snapshot, name, event), None);
        }
    }
}
