//! Questions to the shards: what all of them know, or what the one knows that has a channel. Nobody here waits longer than a
//! moment, and no shard waits at all.

use std::rc::Rc;
use std::time::Duration;

use strowger_core::Shared;
use strowger_core::channel::Channel;
use strowger_core::shard::Shard;
use strowger_core::shard::inbox::{Inbox, ShardMessage};

/// How long a shard may take to answer.
pub(crate) const SHARD_WAIT: Duration = Duration::from_secs(5);

/// Asks every shard; those that do not answer in time are left out.
pub(crate) async fn gather<R: Send + 'static>(
    shared: &Shared,
    ask: impl Fn(&Rc<Shard>) -> R + Clone + Send + 'static,
) -> Vec<R> {
    let mut waiting = Vec::new();
    for inbox in shared.inboxes() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let ask = ask.clone();
        let errand = ShardMessage::Errand(Box::new(move |shard| {
            let _ = tell.send(ask(shard));
        }));
        if inbox.send(errand).is_ok() {
            waiting.push(told);
        }
    }
    let mut all = Vec::new();
    for told in waiting {
        if let Ok(Ok(answer)) = tokio::time::timeout(SHARD_WAIT, told).await {
            all.push(answer);
        }
    }
    all
}

/// Asks the shard of this inbox; `None`: it does not answer in time.
pub(crate) async fn ask_one<R: Send + 'static>(
    inbox: &Inbox,
    ask: impl FnOnce(&Rc<Shard>) -> R + Send + 'static,
) -> Option<R> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let errand = ShardMessage::Errand(Box::new(move |shard| {
        let _ = tell.send(ask(shard));
    }));
    inbox.send(errand).ok()?;
    tokio::time::timeout(SHARD_WAIT, told).await.ok()?.ok()
}

/// Asks one shard, whichever: what every one of them knows alike.
pub(crate) async fn ask_any<R: Send + 'static>(
    shared: &Shared,
    ask: impl FnOnce(&Rc<Shard>) -> R + Send + 'static,
) -> Option<R> {
    ask_one(shared.inboxes().first()?, ask).await
}

/// The name of a channel as the exchange writes it, found by its name in any case or by its unique id.
pub(crate) async fn find_channel(shared: &Shared, wanted: &str) -> Option<String> {
    let directory = &shared.directory;
    if directory.exists(wanted) {
        return Some(wanted.to_owned());
    }
    let names = directory.names(|name| name.eq_ignore_ascii_case(wanted));
    if let Some(name) = names.into_iter().next() {
        return Some(name);
    }
    let wanted = wanted.to_owned();
    let found = gather(shared, move |shard| {
        let channel = shard.channel_by_uniqueid(&wanted);
        channel.map(|channel| channel.name().to_string())
    });
    found.await.into_iter().flatten().next()
}

/// Does something with a channel on its own thread; `None`: there is no such channel.
pub(crate) async fn with_channel<R: Send + 'static>(
    shared: &Shared,
    wanted: &str,
    work: impl FnOnce(&Channel) -> R + Send + 'static,
) -> Option<R> {
    let name = find_channel(shared, wanted).await?;
    shared.with_channel(&name, work).await
}

/// The name and the context of the channel with this unique id.
pub(crate) async fn place_of(shared: &Shared, uniqueid: &str) -> Option<(String, String)> {
    let wanted = uniqueid.to_owned();
    let found = gather(shared, move |shard| {
        let channel = shard.channel_by_uniqueid(&wanted)?;
        Some((channel.name().to_string(), channel.location().context))
    });
    found.await.into_iter().flatten().next()
}
