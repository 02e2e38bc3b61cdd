//! A channel without signalling and media: a run through the dialplan in which nobody is called.

use std::rc::Rc;
use std::time::SystemTime;

use crate::channel::{Channel, Data, Location, State};
use crate::shard::Shard;
use crate::shard::inbox::ShardMessage;
use crate::shared::Shared;

impl Shared {
    /// Lets a channel that nobody is behind go through the dialplan of the first shard. `prepare` gives it what an incoming
    /// call would have. False if the shard takes nothing more.
    pub fn run_bare(
        &self,
        device: &str,
        place: Location,
        prepare: impl FnOnce(&Channel) + Send + 'static,
    ) -> bool {
        let Some(inbox) = self.inboxes().first() else {
            return false;
        };
        let device = device.to_owned();
        let errand = ShardMessage::Errand(Box::new(move |shard: &Rc<Shard>| {
            let shared = shard.shared();
            let uniqueid = shared.next_uniqueid();
            let name = format!("{device}-{:08x}", shared.next_channel_sequence());
            let endpoint = device
                .strip_prefix("PJSIP/")
                .and_then(|id| shared.snapshot().endpoints.get(id).cloned());
            let set_var = endpoint
                .as_ref()
                .and_then(|endpoint| endpoint.set_var.clone());
            let exten = place.exten.clone();
            let mut data = Data::new(State::Ring, place, uniqueid.clone());
            data.dnid = exten;
            if let Some(endpoint) = &endpoint {
                data.accountcode = endpoint.accountcode.clone().unwrap_or_default();
                data.language = endpoint.language.clone().unwrap_or_else(|| "en".to_owned());
            }
            let channel = Channel::new(shard, name, uniqueid, endpoint, data);
            super::outgoing::apply_set_var(&channel, set_var.as_deref());
            shard.add_channel(&channel, false);
            channel.begin_records(SystemTime::now());
            prepare(&channel);
            super::incoming::run(channel);
        }));
        inbox.send(errand).is_ok()
    }
}

impl Channel {
    /// A channel that nobody is behind counts as answered.
    pub fn answer_bare(&self) {
        if self.is_up() || self.is_over() {
            return;
        }
        let now = SystemTime::now();
        {
            let mut data = self.data_mut();
            data.answered = Some(now);
            data.cdr.set_answered(now);
        }
        self.set_state(State::Up);
    }
}
