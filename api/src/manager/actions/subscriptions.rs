//! Who is told of lamps, presence and messages, and the lists that one subscription may cover.

use std::collections::BTreeMap;

use strowger_core::Shared;
use strowger_core::subscription::Listed;
use strowger_store::Snapshot;

use super::super::answer::Answer;
use super::Context;
use crate::shards;

/// Subscriptions that one errand looks at.
const OF_ERRAND: usize = 100;

fn describe(text: &mut Answer, listed: &Listed) {
    let is_mail = listed.package.eq_ignore_ascii_case("message-summary");
    text.item("InboundSubscriptionDetail")
        .line("Role", "Notifier")
        .line("Endpoint", &listed.endpoint)
        .line("Callid", &listed.call_id)
        .line(
            "State",
            if listed.is_ending {
                "TERMINATED"
            } else {
                "ACTIVE"
            },
        )
        .line("Callerid", &listed.watcher)
        .line(
            "SubscriptionType",
            if is_mail { "mwi" } else { "extension_state" },
        )
        .line("Subtype", &listed.package)
        .line(
            if is_mail { "Mailboxes" } else { "Extension" },
            &listed.resource,
        )
        .end();
}

/// Those of all shards, a few at a time, so that no shard's calls wait for a long list. What comes or goes meanwhile may be missing.
async fn listed(shared: &Shared) -> Vec<Listed> {
    let mut all = Vec::new();
    for inbox in shared.inboxes() {
        let numbers = shards::ask_one(inbox, |shard| shard.subscription_numbers()).await;
        for part in numbers.unwrap_or_default().chunks(OF_ERRAND) {
            let part = part.to_vec();
            let found = shards::ask_one(inbox, move |shard| shard.listed_subscriptions(&part));
            all.extend(found.await.unwrap_or_default());
        }
    }
    all
}

pub(super) async fn inbound(on: Context<'_>) -> String {
    let mut all = listed(&on.manager.shared).await;
    all.sort_by(|a, b| (&a.endpoint, &a.call_id).cmp(&(&b.endpoint, &b.call_id)));
    let mut text = Answer::to(on.request);
    text.list("Following are Events for each inbound Subscription");
    for listed in &all {
        describe(&mut text, listed);
    }
    text.complete("InboundSubscriptionDetailComplete").end();
    text.into_text()
}

/// The exchange subscribes to nothing elsewhere.
pub(super) fn outbound(on: Context<'_>) -> String {
    let mut text = Answer::to(on.request);
    text.list("Following are Events for each outbound Subscription");
    text.complete("OutboundSubscriptionDetailComplete").end();
    text.into_text()
}

/// Options of a list, by name.
type Options = BTreeMap<String, Vec<String>>;

/// Rows of `ps_resource_list`, and sections of `pjsip.conf` of that type; a row goes before a section.
fn lists(snapshot: &Snapshot) -> BTreeMap<String, Options> {
    let mut all: BTreeMap<String, Options> = BTreeMap::new();
    let lines = snapshot.statics.iter();
    for line in lines.filter(|line| line.filename == "pjsip.conf") {
        let options = all.entry(line.category.clone()).or_default();
        let value = line.var_val.trim_start_matches('>').trim();
        let values = options.entry(line.var_name.to_ascii_lowercase());
        values.or_default().push(value.to_owned());
    }
    all.retain(|_, options| {
        let kinds = options.get("type").map_or(&[][..], Vec::as_slice);
        kinds
            .iter()
            .any(|kind| kind.eq_ignore_ascii_case("resource_list"))
    });
    for row in snapshot.resource_lists.iter() {
        let options = row.options.iter();
        let options = options.map(|(name, value)| (name.clone(), vec![value.clone()]));
        all.insert(row.get("id").to_owned(), options.collect());
    }
    all
}

pub(super) fn resource_lists(on: Context<'_>) -> String {
    let snapshot = on.manager.shared.snapshot();
    let all = lists(&snapshot);
    if all.is_empty() {
        return on.error("No resource lists found");
    }
    let mut text = Answer::to(on.request);
    text.list("A listing of ResourceLists follows, presented as ResourceListDetail events");
    for (name, options) in all {
        let get = |option: &str| {
            let values = options.get(option).map_or(&[][..], Vec::as_slice);
            values.join(",")
        };
        let flag = |option: &str| match get(option).to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" | "1" | "y" | "t" => "true",
            _ => "false",
        };
        let interval = match get("notification_batch_interval") {
            text if text.is_empty() => "0".to_owned(),
            text => text,
        };
        text.item("ResourceListDetail")
            .line("ObjectType", "resource_list")
            .line("ObjectName", &name)
            .line("Event", get("event"))
            .line("ListItem", get("list_item"))
            .line("FullState", flag("full_state"))
            .line("NotificationBatchInterval", interval)
            .end();
    }
    text.complete("ResourceListDetailComplete").end();
    text.into_text()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use strowger_store::{OptionsRow, StaticRow};

    use super::*;

    #[test]
    fn lists_come_from_the_table_and_from_the_file() {
        let line = |category: &str, name: &str, value: &str| StaticRow {
            filename: "pjsip.conf".to_owned(),
            category: category.to_owned(),
            var_name: name.to_owned(),
            var_val: value.to_owned(),
            ..StaticRow::default()
        };
        let row = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let snapshot = Snapshot {
            statics: Arc::new(vec![
                line("file", "Type", "> resource_list"),
                line("file", "list_item", "101"),
                line("file", "list_item", "102,103"),
                line("udp", "type", "transport"),
            ]),
            resource_lists: Arc::new(vec![OptionsRow {
                options: vec![row("id", "table"), row("event", "presence")],
            }]),
            ..Snapshot::default()
        };
        let all = lists(&snapshot);
        let names: Vec<_> = all.keys().map(String::as_str).collect();
        assert_eq!(names, ["file", "table"]);
        assert_eq!(all["file"]["list_item"], ["101", "102,103"]);
        assert_eq!(all["table"]["event"], ["presence"]);
    }
}
