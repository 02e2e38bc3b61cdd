//! What a subscription is about: an extension, the mailboxes of an address of record, or a list of such; and what of it is
//! to be told.

use std::cell::OnceCell;

use rustc_hash::{FxHashMap, FxHashSet};
use strowger_sip::uri::escape_user;
use strowger_store::{Endpoint, Snapshot};

use super::body::dialog_info::DialogInfo;
use super::body::list::{Body, Item, List};
use super::body::message_summary;
use super::body::presence::Presence;
use super::lists;
use super::package::{Format, Package};
use crate::device::{ExtensionState, RingingCall, device_key, devices_of};
use crate::dialplan::Dialplan;
use crate::shared::Shared;
use crate::voicemail::{Counts, split};

/// Lists within lists.
const DEPTH_MAX: usize = 8;
/// Resources of one subscription, those of lists within counted.
const RESOURCES_MAX: usize = 1000;

/// What was told last of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Extension(ExtensionState, Option<RingingCall>),
    Mailboxes(Counts),
    /// It is there no more.
    Gone,
}

#[derive(Debug)]
enum What {
    /// Shown by these devices; an empty hint: it has none any more.
    Extension {
        context: String,
        hint: String,
    },
    Mailboxes {
        boxes: Vec<String>,
        account: Option<String>,
    },
    List {
        items: Vec<Resource>,
        full: bool,
    },
}

/// A resource and what its subscriber knows of it.
#[derive(Debug)]
pub(super) struct Resource {
    name: String,
    uri: String,
    version: u32,
    told: Option<State>,
    what: What,
}

/// Why there is nothing to subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nothing {
    /// No hint, no mailbox, no list of this name.
    NotFound,
    /// It is a list, and the subscriber knows none (RFC 4662 §4.2).
    NeedsLists,
    /// The endpoint is told of these mailboxes without asking.
    Unsolicited,
}

/// What resources are made of.
pub(super) struct Source<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) dialplan: &'a dyn Dialplan,
    pub(super) endpoint: &'a Endpoint,
    pub(super) package: Package,
    /// Host in URIs of resources.
    pub(super) host: &'a str,
    /// The subscriber knows lists.
    pub(super) lists: bool,
    /// The names of all lists, once one is looked at: most of what it names are none.
    pub(super) names: OnceCell<FxHashSet<&'a str>>,
}

/// What bodies are made of.
pub(super) struct View<'a> {
    pub(super) shared: &'a Shared,
    pub(super) counts: &'a FxHashMap<String, Counts>,
    pub(super) format: Format,
    pub(super) host: &'a str,
    /// The subscriber's URI.
    pub(super) watcher: &'a str,
    pub(super) early_in_use: bool,
}

/// The whole name of a mailbox.
pub(super) fn mailbox_name(name: &str) -> String {
    let (number, context) = split(name);
    format!("{number}@{context}")
}

/// Mailboxes of a column; the same name is one mailbox.
pub(super) fn mailbox_names(columns: &[String]) -> Vec<String> {
    let mut seen = FxHashSet::default();
    let names = columns.iter().flat_map(|text| text.split(','));
    let names = names.map(str::trim).filter(|name| !name.is_empty());
    names
        .map(mailbox_name)
        .filter(|name| seen.insert(name.clone()))
        .collect()
}

/// Messages in all of these mailboxes.
pub(super) fn sum(counts: &FxHashMap<String, Counts>, boxes: &[String]) -> Counts {
    let known = boxes.iter().filter_map(|name| counts.get(name));
    known.fold(Counts::default(), |sum, counts| Counts {
        new: sum.new.saturating_add(counts.new),
        old: sum.old.saturating_add(counts.old),
    })
}

impl Source<'_> {
    /// The resource of this name.
    pub(super) fn find(&self, name: &str) -> Result<(Resource, std::time::Duration), Nothing> {
        let list = lists::find(self.snapshot, name, self.package.event());
        if self.lists
            && let Some(list) = &list
        {
            let mut seen = FxHashSet::default();
            let resource = self.list(list, &mut seen, 1).ok_or(Nothing::NotFound)?;
            return Ok((resource, list.batch));
        }
        match self.single(name) {
            Ok(resource) => Ok((resource, std::time::Duration::ZERO)),
            Err(Nothing::NotFound) if list.is_some() => Err(Nothing::NeedsLists),
            Err(nothing) => Err(nothing),
        }
    }

    fn list(
        &self,
        list: &lists::ResourceList,
        seen: &mut FxHashSet<String>,
        depth: usize,
    ) -> Option<Resource> {
        seen.insert(list.name.clone());
        let mut items = Vec::new();
        for name in &list.items {
            // A name that stands twice, or a list within itself, is told once.
            if seen.contains(name) || seen.len() > RESOURCES_MAX {
                continue;
            }
            let names = self.names.get_or_init(|| lists::names(self.snapshot));
            let inner = (depth < DEPTH_MAX && names.contains(name.as_str()))
                .then(|| lists::find(self.snapshot, name, self.package.event()))
                .flatten();
            let found = match inner {
                Some(inner) => self.list(&inner, seen, depth + 1),
                None => self.single(name).ok(),
            };
            match found {
                Some(resource) => {
                    seen.insert(name.clone());
                    items.push(resource);
                }
                None => {
                    tracing::debug!(list = list.name, item = name, "nothing to subscribe to");
                }
            }
        }
        let full = list.full_state;
        (!items.is_empty()).then(|| self.resource(&list.name, What::List { items, full }))
    }

    fn resource(&self, name: &str, what: What) -> Resource {
        Resource {
            uri: format!("sip:{}@{}", escape_user(name), self.host),
            name: name.to_owned(),
            version: 0,
            told: None,
            what,
        }
    }

    fn single(&self, name: &str) -> Result<Resource, Nothing> {
        let what = match self.package {
            Package::Dialog | Package::Presence => {
                let own = self.endpoint.subscribe_context.as_deref();
                let own = own.filter(|context| !context.is_empty());
                let context = own.unwrap_or(&self.endpoint.context);
                let hint = self.dialplan.hint(context, name);
                What::Extension {
                    hint: hint.ok_or(Nothing::NotFound)?,
                    context: context.to_owned(),
                }
            }
            Package::MessageSummary => self.mailboxes(name)?,
        };
        Ok(self.resource(name, what))
    }

    fn mailboxes(&self, name: &str) -> Result<What, Nothing> {
        let (aors, globals) = (&self.snapshot.aors, &self.snapshot.globals);
        let wanted: Vec<&str> = if name.is_empty() {
            self.endpoint.aors.iter().map(String::as_str).collect()
        } else {
            vec![name]
        };
        let found: Vec<_> = wanted.iter().filter_map(|aor| aors.get(*aor)).collect();
        let columns: Vec<String> = found
            .iter()
            .flat_map(|aor| aor.mailboxes.iter().cloned())
            .collect();
        let boxes = mailbox_names(&columns);
        if boxes.is_empty() {
            return Err(Nothing::NotFound);
        }
        let told = mailbox_names(&self.endpoint.mailboxes);
        if !self.endpoint.mwi_subscribe_replaces_unsolicited
            && boxes.iter().any(|name| told.contains(name))
        {
            return Err(Nothing::Unsolicited);
        }
        let number = found
            .iter()
            .find_map(|aor| aor.voicemail_extension.clone())
            .or_else(|| globals.default_voicemail_extension.clone());
        Ok(What::Mailboxes {
            boxes,
            account: number.map(|number| account(&number, self.host)),
        })
    }
}

/// The URI to call for messages.
pub(super) fn account(number: &str, host: &str) -> String {
    if number.contains('@') {
        format!("sip:{number}")
    } else {
        format!("sip:{}@{host}", escape_user(number))
    }
}

impl Resource {
    /// The devices whose state it shows, by the names under which changes are told.
    /// What it is called: an extension, a mailbox or a list.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn devices(&self, found: &mut FxHashSet<String>) {
        match &self.what {
            What::Extension { hint, .. } => found.extend(devices_of(hint).map(device_key)),
            What::Mailboxes { .. } => {}
            What::List { items, .. } => items.iter().for_each(|item| item.devices(found)),
        }
    }

    /// The mailboxes whose messages it counts.
    pub(super) fn boxes(&self, found: &mut FxHashSet<String>) {
        match &self.what {
            What::Extension { .. } => {}
            What::Mailboxes { boxes, .. } => found.extend(boxes.iter().cloned()),
            What::List { items, .. } => items.iter().for_each(|item| item.boxes(found)),
        }
    }

    /// Its next body, and those of what it lists, have this number or a later one.
    pub(super) fn go_on_from(&mut self, version: u32) {
        self.version = version;
        if let What::List { items, .. } = &mut self.what {
            for item in items {
                item.go_on_from(version);
            }
        }
    }

    /// How many resources it is, those of lists within counted.
    pub(super) fn count(&self) -> usize {
        match &self.what {
            What::List { items, .. } => items.iter().map(Self::count).sum::<usize>().max(1),
            What::Extension { .. } | What::Mailboxes { .. } => 1,
        }
    }

    /// It is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.what, What::List { .. })
    }

    /// It is there no more: what shows it has been taken away.
    pub(super) fn is_gone(&self) -> bool {
        matches!(&self.what, What::Extension { hint, .. } if hint.is_empty())
    }

    /// Looks its hints up anew. True if one is another.
    pub(super) fn rehint(&mut self, dialplan: &dyn Dialplan) -> bool {
        match &mut self.what {
            What::Extension { context, hint } => {
                let now = dialplan.hint(context, &self.name).unwrap_or_default();
                let changed = *hint != now;
                *hint = now;
                changed
            }
            What::Mailboxes { .. } => false,
            What::List { items, .. } => items
                .iter_mut()
                .fold(false, |changed, item| item.rehint(dialplan) | changed),
        }
    }

    fn state(&self, view: &View<'_>) -> Option<State> {
        match &self.what {
            What::Extension { hint, .. } if hint.is_empty() => Some(State::Gone),
            What::Extension { hint, .. } => {
                let state = view.shared.hint_state(hint);
                let rings = matches!(state, ExtensionState::Ringing | ExtensionState::RingInUse);
                let caller = (rings && view.format == Format::DialogInfo)
                    .then(|| view.shared.ringing_call(hint))
                    .flatten();
                Some(State::Extension(state, caller))
            }
            What::Mailboxes { boxes, .. } => Some(State::Mailboxes(sum(view.counts, boxes))),
            What::List { .. } => None,
        }
    }

    /// Is there anything to tell?
    pub(super) fn is_changed(&self, view: &View<'_>) -> bool {
        match &self.what {
            What::List { items, .. } => items.iter().any(|item| item.is_changed(view)),
            _ => self.told != self.state(view),
        }
    }

    /// The body that tells of it, with `whole` of all of a list; what is told counts as known from now on. None where
    /// there is nothing that a body could say.
    pub(super) fn tell(&mut self, view: &View<'_>, whole: bool) -> Option<Body> {
        let state = self.state(view);
        let version = self.version;
        self.version = self.version.wrapping_add(1);
        let body = match (&mut self.what, &state) {
            (What::List { items, full }, _) => {
                let full = whole || *full;
                let told = items
                    .iter_mut()
                    .filter(|item| full || item.is_changed(view));
                let told: Vec<(Option<Body>, &Self)> =
                    told.map(|item| (item.tell(view, full), &*item)).collect();
                let boundary = format!("{:016x}", crate::random_u64());
                let items = told.into_iter().map(|(body, item)| Item {
                    uri: &item.uri,
                    name: &item.name,
                    instance: &item.name,
                    gone: item.told == Some(State::Gone),
                    body,
                });
                Some(
                    List {
                        uri: &self.uri,
                        version,
                        full,
                        items: items.collect(),
                        boundary: &boundary,
                        host: view.host,
                    }
                    .write(),
                )
            }
            (What::Mailboxes { account, .. }, Some(State::Mailboxes(counts))) => Some(Body {
                kind: view.format.media_type().to_owned(),
                text: message_summary::write(*counts, account.as_deref()),
                is_list: false,
            }),
            (What::Extension { .. }, Some(State::Extension(state, caller))) => {
                let presence = || Presence {
                    entity: &self.uri,
                    exten: &self.name,
                    watcher: view.watcher,
                    state: *state,
                };
                let text = match view.format {
                    Format::Pidf => presence().pidf(),
                    Format::Xpidf => presence().xpidf(),
                    Format::DialogInfo | Format::MessageSummary => DialogInfo {
                        entity: &self.uri,
                        exten: &self.name,
                        host: view.host,
                        state: *state,
                        caller: caller.as_ref(),
                        version,
                        early_in_use: view.early_in_use,
                    }
                    .write(),
                };
                Some(Body {
                    kind: view.format.media_type().to_owned(),
                    text,
                    is_list: false,
                })
            }
            _ => None,
        };
        self.told = state;
        body
    }
}
