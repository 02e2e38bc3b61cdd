//! Members that come, go and rest.

use strowger_core::queue::{Changed, Member, QUEUE_LOG_DATA};

use super::super::{AppResult, Call, Next, Stop};

/// The device of the channel itself: its name without the number behind the last dash.
fn own_interface(call: &Call) -> String {
    let name = call.channel().name();
    name.rsplit_once('-')
        .map_or(&*name, |(device, _)| device)
        .to_owned()
}

fn interface(call: &Call, index: usize) -> String {
    match call.arg(index) {
        "" => own_interface(call),
        interface => interface.to_owned(),
    }
}

fn needs_queue(call: &Call, application: &str) -> Result<(), Stop> {
    if call.arg(0).is_empty() {
        return Err(Stop::Failed(format!(
            "{application} needs the name of a queue"
        )));
    }
    Ok(())
}

pub(super) async fn add(call: Call) -> AppResult {
    needs_queue(&call, "AddQueueMember")?;
    let mut member = Member::new(&interface(&call, 1))
        .named(call.arg(4), call.arg(5))
        .resting(call.arg(6));
    match call.arg(2) {
        "" => {}
        text => match text.parse() {
            Ok(penalty) => member.penalty = penalty,
            Err(_) => call.warn(&format!(
                "AddQueueMember: penalty \"{text}\" is no number from 0 on; 0 is used"
            )),
        },
    }
    let uniqueid = call.channel().uniqueid();
    let status = match call
        .shared()
        .add_queue_member(call.arg(0), member, &uniqueid)
    {
        Changed::Done => "ADDED",
        Changed::NoSuchQueue => "NOSUCHQUEUE",
        Changed::Not | Changed::NotDynamic => "MEMBERALREADY",
    };
    call.set("AQMSTATUS", status);
    Ok(Next::Continue)
}

pub(super) async fn remove(call: Call) -> AppResult {
    needs_queue(&call, "RemoveQueueMember")?;
    let interface = interface(&call, 1);
    let uniqueid = call.channel().uniqueid();
    let status = match call
        .shared()
        .remove_queue_member(call.arg(0), &interface, &uniqueid)
    {
        Changed::Done => "REMOVED",
        Changed::NoSuchQueue => "NOSUCHQUEUE",
        Changed::Not => "NOTINQUEUE",
        Changed::NotDynamic => "NOTDYNAMIC",
    };
    call.set("RQMSTATUS", status);
    Ok(Next::Continue)
}

pub(super) async fn pause(call: Call) -> AppResult {
    let found = set_paused(&call, "PauseQueueMember", true)?;
    call.set("PQMSTATUS", if found { "PAUSED" } else { "NOTFOUND" });
    Ok(Next::Continue)
}

pub(super) async fn unpause(call: Call) -> AppResult {
    let found = set_paused(&call, "UnpauseQueueMember", false)?;
    call.set("UPQMSTATUS", if found { "UNPAUSED" } else { "NOTFOUND" });
    Ok(Next::Continue)
}

fn set_paused(call: &Call, application: &str, paused: bool) -> Result<bool, Stop> {
    let interface = call.arg(1);
    if interface.is_empty() {
        return Err(Stop::Failed(format!(
            "{application} needs an interface, as in {application}(,PJSIP/100)"
        )));
    }
    let queue = Some(call.arg(0)).filter(|queue| !queue.is_empty());
    let shared = call.shared();
    Ok(shared.pause_queue_member(queue, interface, paused, call.arg(3)))
}

pub(super) async fn log(call: Call) -> AppResult {
    if (0..4).any(|index| call.arg(index).is_empty()) {
        call.warn("QueueLog needs a queue, a unique id, a member and an event");
        return Ok(Next::Continue);
    }
    let data: Vec<&str> = call.arg(4).splitn(QUEUE_LOG_DATA, '|').collect();
    call.shared()
        .queue_log(call.arg(1), call.arg(0), call.arg(2), call.arg(3), &data);
    Ok(Next::Continue)
}
