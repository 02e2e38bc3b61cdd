//! The task of a shard that follows device states, mailboxes, hints and time for its subscriptions.

use std::rc::Rc;
use std::time::Duration;

use strowger_sip::notifier::EndReason;
use strowger_store::Table;
use tokio::sync::broadcast::error::RecvError;

use super::{mwi, notify};
use crate::device::device_key;
use crate::shard::Shard;
use crate::voicemail::MailboxChange;

/// Where nothing has a time, the task looks again after this.
const IDLE: Duration = Duration::from_secs(60);
/// Subscriptions looked at before other tasks get their turn.
const BATCH: usize = 64;

/// Tells subscribers what changes, for as long as the shard runs.
pub(crate) async fn run(shard: Rc<Shard>) {
    let shared = std::sync::Arc::clone(shard.shared());
    let mut devices = shared.devices.subscribe();
    let mut mailboxes = shared.voicemail.subscribe();
    let mut hints = shared.devices.subscribe_hints();
    let mut tables = shared.realtime.subscribe();
    let mut endpoints = shared.snapshot().version_of(Table::Endpoints);
    let bell = Rc::clone(&shard.subscriptions().borrow().bell);
    Shard::spawn(mwi::tell_all_at_start(Rc::clone(&shard)));
    loop {
        let next = shard.subscriptions().borrow().timers.first().copied();
        let at = next.map_or_else(|| crate::clock::now() + IDLE, |(at, _)| at);
        tokio::select! {
            change = devices.recv() => match change {
                Ok(change) => {
                    let ids = watching(&shard, &device_key(&change.device));
                    look_at(&shard, ids).await;
                }
                Err(RecvError::Lagged(_)) => look_at(&shard, all(&shard)).await,
                Err(RecvError::Closed) => return,
            },
            change = mailboxes.recv() => match change {
                Ok(change) => mailbox(&shard, change).await,
                Err(RecvError::Lagged(_)) => recount(&shard).await,
                Err(RecvError::Closed) => return,
            },
            changed = hints.changed() => match changed {
                Ok(()) => rehint(&shard).await,
                Err(_) => return,
            },
            changed = tables.changed() => {
                if changed.is_err() {
                    return;
                }
                let version = shared.snapshot().version_of(Table::Endpoints);
                if std::mem::replace(&mut endpoints, version) != version {
                    end_of_deleted(&shard).await;
                }
            }
            () = bell.notified() => {}
            () = tokio::time::sleep_until(at.into()) => due(&shard),
        }
        shard.flush();
    }
}

fn watching(shard: &Shard, device: &str) -> Vec<u64> {
    let table = shard.subscriptions().borrow();
    let ids = table.by_device.get(device);
    ids.map(|ids| ids.iter().copied().collect())
        .unwrap_or_default()
}

fn all(shard: &Shard) -> Vec<u64> {
    shard
        .subscriptions()
        .borrow()
        .by_id
        .keys()
        .copied()
        .collect()
}

/// Looks whether subscriptions have anything to tell.
async fn look_at(shard: &Rc<Shard>, ids: Vec<u64>) {
    for (count, id) in ids.into_iter().enumerate() {
        shard.guarded("NOTIFY", |shard| notify::look(shard, id));
        if count % BATCH == BATCH - 1 {
            shard.flush();
            tokio::task::yield_now().await;
        }
    }
}

/// Works off subscriptions whose time has come.
fn due(shard: &Rc<Shard>) {
    let now = crate::clock::now();
    for _ in 0..BATCH {
        let first = {
            let mut table = shard.subscriptions().borrow_mut();
            match table.timers.first().copied().filter(|(at, _)| *at <= now) {
                None => return,
                Some((at, id)) => {
                    table.timers.remove(&(at, id));
                    if let Some(subscription) = table.by_id.get_mut(&id) {
                        subscription.wake = None;
                    }
                    id
                }
            }
        };
        shard.guarded("NOTIFY", |shard| notify::pump(shard, first));
    }
}

/// A mailbox has other messages.
async fn mailbox(shard: &Rc<Shard>, change: MailboxChange) {
    let name = &*change.mailbox;
    let ids = {
        let mut table = shard.subscriptions().borrow_mut();
        let ids = table.by_mailbox.get(name);
        let ids: Vec<u64> = ids
            .map(|ids| ids.iter().copied().collect())
            .unwrap_or_default();
        let version = shard.shared().snapshot().version_of(Table::Endpoints);
        table.unsolicited.follow(shard, version);
        if !ids.is_empty() || table.counts.contains_key(name) || table.unsolicited.tells_of(name) {
            table.counts.insert(name.to_owned(), change.counts);
        }
        ids
    };
    look_at(shard, ids).await;
    mwi::mailbox_changed(shard, name);
}

/// Changes of mailboxes were missed: all are counted anew.
async fn recount(shard: &Rc<Shard>) {
    let boxes: Vec<String> = {
        let mut table = shard.subscriptions().borrow_mut();
        table.counts_age += 1;
        table.counts.keys().cloned().collect()
    };
    for name in &boxes {
        // Where the disk does not say, what was known stays.
        if let Ok(counts) = shard.shared().mailbox_counts(name).await {
            let mut table = shard.subscriptions().borrow_mut();
            table.counts.insert(name.clone(), counts);
        }
    }
    look_at(shard, all(shard)).await;
    for name in boxes {
        mwi::mailbox_changed(shard, &name);
    }
}

/// The exchange stops: subscribers are told to subscribe anew (RFC 6665 §4.1.3), and nobody else is taken.
pub(crate) async fn end_all(shard: &Rc<Shard>) {
    shard.subscriptions().borrow_mut().closed = true;
    for (count, id) in all(shard).into_iter().enumerate() {
        shard.guarded("NOTIFY", |shard| {
            notify::end(shard, id, EndReason::Deactivated)
        });
        if count % BATCH == BATCH - 1 {
            shard.flush();
            tokio::task::yield_now().await;
        }
    }
}

/// Endpoints are gone, or may not subscribe any more: their subscriptions end.
async fn end_of_deleted(shard: &Rc<Shard>) {
    let snapshot = shard.shared().snapshot();
    let over: Vec<u64> = {
        let table = shard.subscriptions().borrow();
        let may = |id: &str| {
            let endpoint = snapshot.endpoints.get(id);
            endpoint.is_some_and(|endpoint| endpoint.allow_subscribe)
        };
        let all = table.by_id.iter();
        let over = all.filter(|(_, subscription)| !may(&subscription.endpoint.id));
        over.map(|(id, _)| *id).collect()
    };
    for (count, id) in over.into_iter().enumerate() {
        shard.guarded("NOTIFY", |shard| {
            notify::end(shard, id, EndReason::Rejected)
        });
        if count % BATCH == BATCH - 1 {
            shard.flush();
            tokio::task::yield_now().await;
        }
    }
}

/// There are other hints: what is shown may be another device, or nothing.
async fn rehint(shard: &Rc<Shard>) {
    let dialplan = shard.dialplan();
    for (count, id) in all(shard).into_iter().enumerate() {
        let (changed, gone) = {
            let mut table = shard.subscriptions().borrow_mut();
            let Some(mut subscription) = table.by_id.remove(&id) else {
                continue;
            };
            table.unindex(id, &subscription.resource);
            let changed = subscription.resource.rehint(&*dialplan);
            let gone = subscription.resource.is_gone();
            table.index(id, &subscription.resource);
            table.by_id.insert(id, subscription);
            (changed, gone)
        };
        if gone {
            shard.guarded("NOTIFY", |shard| {
                notify::end(shard, id, EndReason::NoResource)
            });
        } else if changed {
            shard.guarded("NOTIFY", |shard| notify::look(shard, id));
        }
        if count % BATCH == BATCH - 1 {
            shard.flush();
            tokio::task::yield_now().await;
        }
    }
}
