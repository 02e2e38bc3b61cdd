//! What can be asked for: each action with its rights and its synopsis, and who does it.

mod bridges;
mod calls;
mod command;
mod conferences;
mod config;
mod config_write;
mod dialplan;
mod extensions;
mod faxes;
mod listings;
mod lists;
mod modules;
mod originate;
mod phones;
mod queues;
mod subscriptions;
mod system;
mod texts;
mod transfers;

use std::sync::Arc;
use std::time::Duration;

pub(super) use originate::read as read_originate;
use strowger_core::channel::Channel;
use strowger_core::dialplan::Reach;
use strowger_core::shard::Shard;
use strowger_core::shard::inbox::ShardMessage;

use super::Manager;
use super::answer;
use super::classes::Classes;
use super::request::Request;
use super::settings::User;

/// How long a shard may take to answer.
const SHARD_WAIT: Duration = Duration::from_secs(5);

/// Channels that one errand looks at: a shard does other things between two.
const CHANNELS_OF_ERRAND: usize = 50;

/// What an action works with.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) manager: &'a Arc<Manager>,
    pub(super) user: &'a Arc<User>,
    pub(super) request: &'a Request,
}

/// Name, classes, synopsis.
pub(super) type Action = (&'static str, Classes, &'static str);

const SYSTEM_CALL: Classes = Classes::SYSTEM.and(Classes::CALL);
const SYSTEM_REPORTING: Classes = Classes::SYSTEM.and(Classes::REPORTING);
const CALL_REPORTING: Classes = Classes::CALL.and(Classes::REPORTING);

/// All actions, sorted as they are listed.
pub(super) const ACTIONS: &[Action] = &[
    ("AbsoluteTimeout", SYSTEM_CALL, "Set absolute timeout."),
    (
        "AGI",
        Classes::AGI,
        "Add an AGI command to execute by Async AGI.",
    ),
    ("Atxfer", Classes::CALL, "Attended transfer."),
    (
        "BlindTransfer",
        Classes::CALL,
        "Blind transfer channel(s) to the given destination",
    ),
    (
        "Bridge",
        Classes::CALL,
        "Bridge two channels already in the PBX.",
    ),
    ("BridgeDestroy", Classes::NONE, "Destroy a bridge."),
    (
        "BridgeInfo",
        Classes::NONE,
        "Get information about a bridge.",
    ),
    ("BridgeKick", Classes::NONE, "Kick a channel from a bridge."),
    (
        "BridgeList",
        Classes::NONE,
        "Get a list of bridges in the system.",
    ),
    (
        "BridgeTechnologyList",
        Classes::NONE,
        "List available bridging technologies and their statuses.",
    ),
    (
        "CancelAtxfer",
        Classes::CALL,
        "Cancel an attended transfer.",
    ),
    (
        "Challenge",
        Classes::NONE,
        "Generate Challenge for MD5 Auth.",
    ),
    ("Command", Classes::COMMAND, "Execute Asterisk CLI Command."),
    ("ConfbridgeKick", Classes::CALL, "Kick a Confbridge user."),
    (
        "ConfbridgeList",
        Classes::REPORTING,
        "List participants in a conference.",
    ),
    (
        "ConfbridgeListRooms",
        Classes::REPORTING,
        "List active conferences.",
    ),
    (
        "ConfbridgeLock",
        Classes::CALL,
        "Lock a Confbridge conference.",
    ),
    ("ConfbridgeMute", Classes::CALL, "Mute a Confbridge user."),
    (
        "ConfbridgeStartRecord",
        SYSTEM_CALL,
        "Start recording a Confbridge conference.",
    ),
    (
        "ConfbridgeStopRecord",
        SYSTEM_CALL,
        "Stop recording a Confbridge conference.",
    ),
    (
        "ConfbridgeUnlock",
        Classes::CALL,
        "Unlock a Confbridge conference.",
    ),
    (
        "ConfbridgeUnmute",
        Classes::CALL,
        "Unmute a Confbridge user.",
    ),
    (
        "CoreSettings",
        SYSTEM_REPORTING,
        "Show PBX core settings (version etc).",
    ),
    (
        "CoreShowChannelMap",
        SYSTEM_REPORTING.and(Classes::CALL),
        "List all channels connected to the specified channel.",
    ),
    (
        "CoreShowChannels",
        SYSTEM_REPORTING,
        "List currently active channels.",
    ),
    (
        "CoreStatus",
        SYSTEM_REPORTING,
        "Show PBX core status variables.",
    ),
    (
        "CreateConfig",
        Classes::CONFIG,
        "Creates an empty file in the configuration directory.",
    ),
    ("DBDel", Classes::SYSTEM, "Delete DB entry."),
    ("DBDelTree", Classes::SYSTEM, "Delete DB Tree."),
    ("DBGet", SYSTEM_REPORTING, "Get DB Entry."),
    (
        "DBGetTree",
        SYSTEM_REPORTING,
        "Get DB entries, optionally at a particular family/key",
    ),
    ("DBPut", Classes::SYSTEM, "Put DB entry."),
    (
        "DeviceStateList",
        CALL_REPORTING,
        "List the current known device states.",
    ),
    (
        "DialplanExtensionAdd",
        Classes::SYSTEM,
        "Add an extension to the dialplan",
    ),
    (
        "DialplanExtensionRemove",
        Classes::SYSTEM,
        "Remove an extension from the dialplan",
    ),
    ("Events", Classes::NONE, "Control Event Flow."),
    ("ExtensionState", CALL_REPORTING, "Check Extension Status."),
    (
        "ExtensionStateList",
        CALL_REPORTING,
        "List the current known extension states.",
    ),
    (
        "FAXSession",
        Classes::CALL,
        "Responds with a detailed description of a single FAX session",
    ),
    ("FAXSessions", Classes::CALL, "Lists active FAX sessions"),
    (
        "FAXStats",
        Classes::REPORTING,
        "Responds with fax statistics",
    ),
    (
        "Filter",
        Classes::SYSTEM,
        "Dynamically add filters for the current manager session.",
    ),
    (
        "GetConfig",
        Classes::SYSTEM.and(Classes::CONFIG),
        "Retrieve configuration.",
    ),
    (
        "GetConfigJSON",
        Classes::SYSTEM.and(Classes::CONFIG),
        "Retrieve configuration (JSON format).",
    ),
    (
        "Getvar",
        CALL_REPORTING,
        "Gets a channel variable or function value.",
    ),
    ("Hangup", SYSTEM_CALL, "Hangup channel."),
    (
        "ListCategories",
        Classes::CONFIG,
        "List categories in configuration file.",
    ),
    (
        "ListCommands",
        Classes::NONE,
        "List available manager commands.",
    ),
    (
        "LoggerRotate",
        SYSTEM_REPORTING,
        "Reload and rotate the Asterisk logger.",
    ),
    ("Login", Classes::NONE, "Login Manager."),
    ("Logoff", Classes::NONE, "Logoff Manager."),
    (
        "MailboxCount",
        CALL_REPORTING,
        "Check Mailbox Message Count.",
    ),
    ("MailboxStatus", CALL_REPORTING, "Check mailbox."),
    (
        "MessageSend",
        Classes::MESSAGE,
        "Send an out of call message to an endpoint.",
    ),
    (
        "MixMonitor",
        Classes::SYSTEM,
        "Record a call and mix the audio during the recording.  Use of StopMixMonitor is required to guarantee the audio file is available for processing during dialplan execution.",
    ),
    (
        "MixMonitorMute",
        SYSTEM_CALL,
        "Mute / unMute a Mixmonitor recording.",
    ),
    ("ModuleCheck", Classes::SYSTEM, "Check if module is loaded."),
    ("ModuleLoad", Classes::SYSTEM, "Module management."),
    ("MWIDelete", CALL_REPORTING, "Delete selected mailboxes."),
    (
        "MWIGet",
        CALL_REPORTING,
        "Get selected mailboxes with message counts.",
    ),
    (
        "MWIUpdate",
        CALL_REPORTING,
        "Update the mailbox message counts.",
    ),
    ("Originate", Classes::ORIGINATE, "Originate a call."),
    ("Ping", Classes::NONE, "Keepalive command."),
    ("PJSIPHangup", SYSTEM_CALL, "Hangup channel."),
    (
        "PJSIPQualify",
        SYSTEM_REPORTING,
        "Qualify a chan_pjsip endpoint.",
    ),
    (
        "PJSIPRegister",
        SYSTEM_REPORTING,
        "Register an outbound registration.",
    ),
    ("PJSIPShowAors", Classes::SYSTEM, "Lists PJSIP AORs."),
    ("PJSIPShowAuths", Classes::SYSTEM, "Lists PJSIP Auths."),
    (
        "PJSIPShowContacts",
        Classes::SYSTEM,
        "Lists PJSIP Contacts.",
    ),
    (
        "PJSIPShowEndpoint",
        Classes::SYSTEM,
        "Detail listing of an endpoint and its objects.",
    ),
    (
        "PJSIPShowEndpoints",
        Classes::SYSTEM,
        "Lists PJSIP endpoints.",
    ),
    (
        "PJSIPShowRegistrationInboundContactStatuses",
        SYSTEM_REPORTING,
        "Lists ContactStatuses for PJSIP inbound registrations.",
    ),
    (
        "PJSIPShowRegistrationsInbound",
        SYSTEM_REPORTING,
        "Lists PJSIP inbound registrations.",
    ),
    (
        "PJSIPShowRegistrationsOutbound",
        SYSTEM_REPORTING,
        "Lists PJSIP outbound registrations.",
    ),
    (
        "PJSIPShowResourceLists",
        Classes::SYSTEM,
        "Displays settings for configured resource lists.",
    ),
    (
        "PJSIPShowSubscriptionsInbound",
        Classes::SYSTEM,
        "Lists subscriptions.",
    ),
    (
        "PJSIPShowSubscriptionsOutbound",
        Classes::SYSTEM,
        "Lists subscriptions.",
    ),
    (
        "PJSIPUnregister",
        SYSTEM_REPORTING,
        "Unregister an outbound registration.",
    ),
    (
        "PlayDTMF",
        Classes::CALL,
        "Play DTMF signal on a specific channel.",
    ),
    ("PresenceState", CALL_REPORTING, "Check Presence State"),
    ("QueueAdd", Classes::AGENT, "Add interface to queue."),
    (
        "QueueChangePriorityCaller",
        Classes::NONE,
        "Change priority of a caller on queue.",
    ),
    (
        "QueueLog",
        Classes::AGENT,
        "Adds custom entry in queue_log.",
    ),
    (
        "QueueMemberRingInUse",
        Classes::AGENT,
        "Set the ringinuse value for a queue member.",
    ),
    (
        "QueuePause",
        Classes::AGENT,
        "Makes a queue member temporarily unavailable.",
    ),
    (
        "QueuePenalty",
        Classes::AGENT,
        "Set the penalty for a queue member.",
    ),
    (
        "QueueReload",
        Classes::NONE,
        "Reload a queue, queues, or any sub-section of a queue or queues.",
    ),
    (
        "QueueRemove",
        Classes::AGENT,
        "Remove interface from queue.",
    ),
    ("QueueReset", Classes::NONE, "Reset queue statistics."),
    ("QueueRule", Classes::NONE, "Queue Rules."),
    ("QueueStatus", Classes::NONE, "Show queue status."),
    ("QueueSummary", Classes::NONE, "Show queue summary."),
    (
        "QueueWithdrawCaller",
        Classes::NONE,
        "Request to withdraw a caller from the queue back to the dialplan.",
    ),
    ("Redirect", Classes::CALL, "Redirect (transfer) a call."),
    (
        "Reload",
        Classes::SYSTEM.and(Classes::CONFIG),
        "Send a reload event.",
    ),
    (
        "SendText",
        Classes::CALL,
        "Sends a text message to channel. A content type can be optionally specified.",
    ),
    (
        "Setvar",
        Classes::CALL,
        "Sets a channel variable or function value.",
    ),
    (
        "ShowDialPlan",
        Classes::CONFIG.and(Classes::REPORTING),
        "Show dialplan contexts and extensions",
    ),
    (
        "Status",
        Classes::SYSTEM.and(Classes::CALL).and(Classes::REPORTING),
        "List channel status.",
    ),
    (
        "StopMixMonitor",
        SYSTEM_CALL,
        "Stop recording a call through MixMonitor, and free the recording's file handle.",
    ),
    (
        "UpdateConfig",
        Classes::CONFIG,
        "Update basic configuration.",
    ),
    ("UserEvent", Classes::USER, "Send an arbitrary event."),
    ("WaitEvent", Classes::NONE, "Wait for an event to occur."),
];

/// An action by its name, in any case.
pub(super) fn find(name: &str) -> Option<&'static Action> {
    let mut actions = ACTIONS.iter();
    actions.find(|(known, ..)| known.eq_ignore_ascii_case(name))
}

/// Does what a session asks for, apart from what concerns the session itself: the whole answer.
pub(super) async fn perform(manager: &Arc<Manager>, user: &Arc<User>, request: &Request) -> String {
    let wanted = request.get("Action");
    let Some((name, classes, _)) = find(wanted) else {
        let shown: String = wanted.chars().take(80).collect();
        return answer::error(
            request,
            &format!(
                "Invalid/unknown command: {shown}. Use Action: ListCommands to show available commands."
            ),
        );
    };
    if !classes.is_none() && user.write.both(*classes).is_none() {
        return answer::error(request, "Permission denied");
    }
    let on = Context {
        manager,
        user,
        request,
    };
    match *name {
        "AbsoluteTimeout" => calls::absolute_timeout(on).await,
        "AGI" => calls::agi(on).await,
        "Bridge" => calls::bridge(on).await,
        "CoreSettings" => system::settings(on),
        "CoreShowChannels" => lists::channels(on).await,
        "CoreStatus" => system::status(on),
        "DBDel" => system::db_del(on),
        "DBDelTree" => system::db_del_tree(on),
        "DBGet" => system::db_get(on),
        "DBGetTree" => system::db_get_tree(on),
        "DBPut" => system::db_put(on),
        "DeviceStateList" => dialplan::device_states(on),
        "DialplanExtensionAdd" => extensions::add(on).await,
        "DialplanExtensionRemove" => extensions::remove(on).await,
        "LoggerRotate" => system::rotate_logs(on).await,
        "ExtensionState" => dialplan::extension_state(on).await,
        "ExtensionStateList" => dialplan::extension_states(on),
        "FAXSession" => faxes::one(on),
        "FAXSessions" => faxes::list(on),
        "FAXStats" => faxes::statistics(on),
        "Getvar" => calls::get_variable(on).await,
        "Hangup" => calls::hang_up(on).await,
        "ListCommands" => system::commands(on),
        "MailboxCount" => system::mailbox_count(on).await,
        "MailboxStatus" => system::mailbox_status(on).await,
        "MixMonitor" => calls::record(on).await,
        "MixMonitorMute" => calls::mute_record(on).await,
        "MWIDelete" => system::mwi_delete(on),
        "MWIGet" => system::mwi_get(on).await,
        "MWIUpdate" => system::mwi_update(on),
        "Originate" => originate::originate(on).await,
        "Ping" => system::ping(on),
        "PlayDTMF" => calls::play_digit(on).await,
        "Redirect" => calls::redirect(on).await,
        "Reload" => system::reload_named(on).await,
        "Setvar" => calls::set_variable(on).await,
        "ShowDialPlan" => dialplan::show(on),
        "Status" => lists::status(on).await,
        "StopMixMonitor" => calls::stop_record(on).await,
        "UserEvent" => system::user_event(on),
        "Command" => command::run(on).await,
        "ConfbridgeList" => conferences::list(on).await,
        "ConfbridgeListRooms" => conferences::rooms(on),
        "ConfbridgeKick" => conferences::kick(on),
        "ConfbridgeMute" => conferences::mute(on, true),
        "ConfbridgeUnmute" => conferences::mute(on, false),
        "ConfbridgeLock" => conferences::lock(on, true),
        "ConfbridgeUnlock" => conferences::lock(on, false),
        "PJSIPRegister" => phones::register(on, true),
        "PJSIPUnregister" => phones::register(on, false),
        "PJSIPShowContacts" => phones::contacts(on),
        "PJSIPShowEndpoint" => phones::endpoint(on),
        "PJSIPShowEndpoints" => phones::endpoints(on),
        "PJSIPShowRegistrationsOutbound" => phones::registrations(on),
        "QueueAdd" => queues::add(on),
        "QueueLog" => queues::log(on),
        "QueuePause" => queues::pause(on),
        "QueuePenalty" => queues::penalty(on),
        "QueueRemove" => queues::remove(on),
        "QueueReset" => queues::reset(on),
        "QueueStatus" => queues::status(on),
        "QueueSummary" => queues::summary(on),
        "Atxfer" => transfers::attended(on).await,
        "BlindTransfer" => transfers::blind(on).await,
        "CancelAtxfer" => transfers::cancel(on).await,
        "BridgeDestroy" => bridges::destroy(on).await,
        "BridgeInfo" => bridges::info(on).await,
        "BridgeKick" => bridges::kick_one(on).await,
        "BridgeList" => bridges::list(on).await,
        "BridgeTechnologyList" => bridges::technologies(on),
        "CoreShowChannelMap" => bridges::map(on).await,
        "ConfbridgeStartRecord" => conferences::start_record(on).await,
        "ConfbridgeStopRecord" => conferences::stop_record(on),
        "CreateConfig" => config_write::create(on).await,
        "UpdateConfig" => config_write::update(on).await,
        "GetConfig" => config::get(on),
        "GetConfigJSON" => config::get_json(on),
        "ListCategories" => config::categories(on),
        "PJSIPHangup" => calls::hang_up_by_status(on).await,
        "PresenceState" => system::presence(on),
        "MessageSend" => texts::send(on).await,
        "SendText" => texts::send_in_call(on).await,
        "ModuleCheck" => modules::check(on),
        "ModuleLoad" => modules::load(on).await,
        "PJSIPQualify" => listings::qualify(on).await,
        "PJSIPShowAors" => listings::aors(on),
        "PJSIPShowAuths" => listings::auths(on),
        "PJSIPShowRegistrationInboundContactStatuses" => listings::registration_states(on),
        "PJSIPShowRegistrationsInbound" => listings::registrations(on),
        "PJSIPShowResourceLists" => subscriptions::resource_lists(on),
        "PJSIPShowSubscriptionsInbound" => subscriptions::inbound(on).await,
        "PJSIPShowSubscriptionsOutbound" => subscriptions::outbound(on),
        "QueueChangePriorityCaller" => queues::change_priority(on),
        "QueueMemberRingInUse" => queues::ring_in_use(on),
        "QueueReload" => queues::reload(on).await,
        "QueueRule" => queues::rules(on),
        "QueueWithdrawCaller" => queues::withdraw(on),
        // What is left concerns the session, which sees it first.
        _ => answer::error(request, "Permission denied"),
    }
}

impl Context<'_> {
    /// How far functions and applications may reach that the user names.
    pub(super) fn reach(&self) -> Reach {
        if self.user.write.include(Classes::SYSTEM) {
            Reach::Exchange
        } else {
            Reach::Call
        }
    }

    pub(super) fn error(&self, text: &str) -> String {
        answer::error(self.request, text)
    }

    /// It was done, and nothing more is to be said.
    pub(super) fn done(&self) -> String {
        let mut text = answer::Answer::to(self.request);
        text.response("Success").end();
        text.into_text()
    }

    pub(super) fn success(&self, text: &str) -> String {
        answer::success(self.request, text)
    }

    /// The name of a channel as the exchange writes it, found by its name in any case or by its unique id.
    pub(super) async fn find_channel(&self, wanted: &str) -> Option<String> {
        let directory = &self.manager.shared.directory;
        if directory.exists(wanted) {
            return Some(wanted.to_owned());
        }
        let names = directory.names(|name| name.eq_ignore_ascii_case(wanted));
        if let Some(name) = names.into_iter().next() {
            return Some(name);
        }
        let wanted = wanted.to_owned();
        let found = self
            .gather(move |shard| {
                let channel = shard.channel_by_uniqueid(&wanted);
                channel.map(|channel| channel.name().to_string())
            })
            .await;
        found.into_iter().flatten().next()
    }

    /// Does something with a channel on its own thread; `None`: there is no such channel.
    pub(super) async fn with_channel<R: Send + 'static>(
        &self,
        wanted: &str,
        work: impl FnOnce(&Channel) -> R + Send + 'static,
    ) -> Option<R> {
        let name = self.find_channel(wanted).await?;
        self.manager.shared.with_channel(&name, work).await
    }

    /// Asks every shard; those that do not answer in time are left out.
    pub(super) async fn gather<R: Send + 'static>(
        &self,
        ask: impl Fn(&std::rc::Rc<Shard>) -> R + Clone + Send + 'static,
    ) -> Vec<R> {
        let mut waiting = Vec::new();
        for inbox in self.manager.shared.inboxes() {
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

    /// Looks at every channel, a few at a time, so that no shard's calls wait for a long list. Who comes or goes meanwhile may
    /// be missing.
    pub(super) async fn look_at_channels<R: Send + 'static>(
        &self,
        look: impl Fn(&Channel) -> R + Clone + Send + 'static,
    ) -> Vec<R> {
        let shared = &self.manager.shared;
        let mut names: Vec<Vec<String>> = vec![Vec::new(); shared.inboxes().len()];
        for name in shared.directory.names(|_| true) {
            let place = shared.directory.shard_of(&name);
            if let Some(names) = place.and_then(|place| names.get_mut(place)) {
                names.push(name);
            }
        }
        let mut all = Vec::new();
        let rounds = names.iter().map(Vec::len).max().unwrap_or(0);
        for from in (0..rounds).step_by(CHANNELS_OF_ERRAND) {
            let mut waiting = Vec::new();
            for (inbox, names) in shared.inboxes().iter().zip(&names) {
                let to = names.len().min(from + CHANNELS_OF_ERRAND);
                let Some(part) = names.get(from..to).filter(|part| !part.is_empty()) else {
                    continue;
                };
                let (tell, told) = tokio::sync::oneshot::channel();
                let (look, part) = (look.clone(), part.to_vec());
                let errand = ShardMessage::Errand(Box::new(move |shard| {
                    let channels = part.iter().filter_map(|name| shard.channel_by_name(name));
                    let _ = tell.send(channels.map(|channel| look(&channel)).collect::<Vec<R>>());
                }));
                if inbox.send(errand).is_ok() {
                    waiting.push(told);
                }
            }
            for told in waiting {
                if let Ok(Ok(part)) = tokio::time::timeout(SHARD_WAIT, told).await {
                    all.extend(part);
                }
            }
        }
        all
    }

    /// The number of a priority, written as a number or a label, where the extension has it.
    pub(super) async fn priority(&self, context: &str, exten: &str, written: &str) -> Option<i32> {
        let place = [context, exten, written].map(str::to_owned);
        self.ask_dialplan(move |shard| {
            let [context, exten, written] = &place;
            shard.dialplan().priority(context, exten, "", written)
        })
        .await
        .flatten()
    }

    /// Asks the dialplan, as any shard sees it.
    pub(super) async fn ask_dialplan<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&std::rc::Rc<Shard>) -> R + Send + 'static,
    ) -> Option<R> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let errand = ShardMessage::Errand(Box::new(move |shard| {
            let _ = tell.send(ask(shard));
        }));
        let inbox = self.manager.shared.inboxes().first()?;
        inbox.send(errand).ok()?;
        tokio::time::timeout(SHARD_WAIT, told).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_sorted_as_they_are_listed() {
        let names: Vec<_> = ACTIONS
            .iter()
            .map(|(name, ..)| name.to_ascii_lowercase())
            .collect();
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(names, sorted);
        assert_eq!(find("originate").map(|action| action.0), Some("Originate"));
        assert!(find("").is_none());
    }
}
