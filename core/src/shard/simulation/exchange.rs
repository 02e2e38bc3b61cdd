//! One whole exchange of the simulation: its tables, its shards, and what they hold.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use strowger_media::ports::PortRange;
use strowger_sip::transaction::Branches;
use strowger_store::{
    Aor, AstDb, CdrSpool, Contact, Endpoint, Identify, Realtime, Snapshot, Table,
};

use super::network::Network;
use super::packets::Packets;
use super::plan::Settings;
use crate::channel::Channel;
use crate::counters::ShardCounters;
use crate::dialplan::DialplanFactory;
use crate::endpoint::contacts::{ContactWriter, Contacts};
use crate::record::jobs::Mp3Jobs;
use crate::shard::inbox::Inbox;
use crate::shard::run::{begin, make, read_inbox};
use crate::shard::{Shard, ShardSetup};
use crate::sounds::SoundStore;
use crate::transport::udp::Udp;
use crate::{Config, Paths, Shared};

/// What exchanges call each other.
pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];

/// Its threads end with the process, and nobody records here: one does for all worlds.
static MP3: LazyLock<Mp3Jobs> =
    LazyLock::new(|| Mp3Jobs::start("/dev/null/nowhere".into(), false).expect("two threads"));

struct NoTable;

impl ContactWriter for NoTable {
    fn upsert(&self, _: Contact) {}
    fn delete(&self, _: &str, _: &str) {}
}

pub(super) struct Exchange {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) shards: Vec<Rc<Shard>>,
    pub(super) packets: Vec<Packets>,
    /// Who holds each shard while there is no call.
    holders: Vec<usize>,
    data: tempfile::TempDir,
}

/// The tables of an exchange that knows the others by their addresses.
fn tables(settings: &Settings, own: usize, addresses: &[SocketAddr]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut identifies = Vec::new();
    for (name, address) in NAMES.into_iter().zip(addresses) {
        if name == NAMES[own] {
            continue;
        }
        let endpoint = Endpoint {
            id: name.to_owned(),
            context: "calls".to_owned(),
            allow: vec!["alaw".to_owned()],
            aors: vec![name.to_owned()],
            rel100: settings.rel100,
            timers: settings.timers,
            timers_min_se: 90,
            timers_sess_expires: 90,
            direct_media: settings.direct_media,
            rtp_timeout: settings.rtp_timeout,
            rtp_timeout_hold: settings.rtp_timeout,
            // Hold goes through an exchange in the middle by re-INVITE.
            moh_passthrough: true,
            ..Endpoint::default()
        };
        Arc::make_mut(&mut snapshot.endpoints).insert(name.to_owned(), Arc::new(endpoint));
        let aor = Aor {
            id: name.to_owned(),
            contact: vec![format!("sip:{address}")],
            ..Aor::default()
        };
        Arc::make_mut(&mut snapshot.aors).insert(name.to_owned(), Arc::new(aor));
        identifies.push(Identify {
            id: name.to_owned(),
            endpoint: name.to_owned(),
            matches: vec![address.ip().to_string()],
            ..Identify::default()
        });
    }
    snapshot.identifies = Arc::new(identifies);
    snapshot.versions = [1; Table::ALL.len()];
    snapshot
}

impl Exchange {
    /// Sets it up on a thread with a runtime that holds everything: its shards are local tasks, and what belongs to the control
    /// runtime runs beside them.
    pub(super) fn start(
        settings: &Settings,
        own: usize,
        addresses: &[SocketAddr],
        network: &Rc<Network>,
        seed: u64,
        dialplan: &DialplanFactory,
    ) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::default();
        config.data.0 = data.path().to_owned();
        let config = Arc::new(config);
        let paths = Paths::new(&config).expect("the data folder");
        let control = tokio::runtime::Handle::current();
        let shared = Shared::new(
            Arc::clone(&config),
            paths.clone(),
            Realtime::fixed(tables(settings, own, addresses)),
            AstDb::open(&paths.data.join("astdb.sqlite3")).expect("the key-value file"),
            Arc::new(SoundStore::new(paths.sounds.clone(), control.clone())),
            Arc::new(Contacts::new("", Box::new(NoTable))),
            CdrSpool::open(&paths.spool).expect("the spool"),
            MP3.clone(),
            control,
        );
        let address = addresses[own];
        shared.transports.open_alone(address);
        let inboxes: Vec<_> = (0..settings.shards)
            .map(|_| Arc::new(Inbox::default()))
            .collect();
        shared.set_inboxes(inboxes.clone());
        let ports = PortRange::new(10_000, 59_999).split(settings.shards);
        let mut shards = Vec::new();
        let mut packets = Vec::new();
        for (index, (inbox, ports)) in inboxes.into_iter().zip(ports).enumerate() {
            let door = Packets::default();
            let setup = ShardSetup {
                index,
                count: settings.shards,
                core: None,
                media: door.clone(),
                ports,
                legs_max: 4000,
                shared: Arc::clone(&shared),
                inbox,
                counters: Arc::new(ShardCounters::default()),
                dialplan: Arc::clone(dialplan),
            };
            let own_seed = seed ^ ((own * 8 + index + 1) as u64).rotate_left(32);
            let branches = || Branches::seeded(own_seed);
            let shard = make(setup, branches).expect("a shard");
            let line = Rc::clone(network);
            let send = move |to, bytes: &[u8]| line.carry(address, to, bytes);
            let udp = Udp::simulated(address, Box::new(send));
            shard.udp.borrow_mut().push(udp);
            begin(&shard);
            let reader = Rc::clone(&shard);
            Shard::spawn(async move { read_inbox(&reader).await });
            Shard::spawn(door.clone().run(Rc::clone(&shard)));
            shards.push(shard);
            packets.push(door);
        }
        Self {
            name: NAMES[own],
            address,
            shared,
            shards,
            packets,
            holders: Vec::new(),
            data,
        }
    }

    /// To be called when everything runs that runs without calls.
    pub(super) fn note_holders(&mut self) {
        self.holders = self.shards.iter().map(Rc::strong_count).collect();
    }

    /// The channels that are not over.
    pub(super) fn live(&self) -> Vec<Channel> {
        let mut all: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| shard.channels())
            .collect();
        all.retain(|channel| !channel.is_over());
        all.sort_unstable_by_key(Channel::name);
        all
    }

    /// Nothing is under way any more.
    pub(super) fn is_quiet(&self) -> bool {
        let quiet = |shard: &Rc<Shard>| {
            shard.channels.borrow().is_empty()
                && shard.lingering.borrow().is_empty()
                && shard.layer.borrow().is_empty()
        };
        self.shards.iter().all(quiet)
    }

    /// What is left over although no call is.
    pub(super) fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        let mut found = |what: &str, count: usize| {
            if count > 0 {
                leaks.push(format!("exchange {}: {count} {what}", self.name));
            }
        };
        for (index, shard) in self.shards.iter().enumerate() {
            let layer = shard.layer.borrow();
            found("client transactions", layer.client_count());
            found("server transactions", layer.server_count());
            found(
                "timers of transactions",
                usize::from(layer.next_timeout().is_some()),
            );
            found("layer that is not empty", usize::from(!layer.is_empty()));
            found("channels", shard.channels.borrow().len());
            found("names of channels", shard.names.borrow().len());
            found("channels that linger", shard.lingering.borrow().len());
            found("legs", shard.legs.borrow().len());
            found("legs with media", shard.with_media.borrow().len());
            found("legs that are closing", shard.closing.borrow().len());
            found("partners", shard.partners.borrow().len());
            found("dialogs", shard.dialogs.borrow().len());
            found("users of client transactions", shard.clients.borrow().len());
            found("challengeable requests", shard.challengeable.borrow().len());
            found("users of server transactions", shard.servers.borrow().len());
            found("permits", shard.permits.borrow().len());
            found("plays", shard.ended_plays.borrow().len());
            found("recorders", shard.recorders.borrow().len());
            found("originated calls", shard.originating.get());
            found("halves of Local channels", shard.local_halves.get());
            found("pairs of ports for video", shard.video_ports.get());
            found("messages in the inbox", shard.inbox.len());
            found(
                "open legs of media (with their ports)",
                self.packets[index].open_legs(),
            );
            let holders = Rc::strong_count(shard);
            let before = self.holders.get(index).copied().unwrap_or(holders);
            // Each channel and each task of one, a timer that waits among them, holds its shard.
            found(
                "tasks or channels that nobody ended",
                holders.saturating_sub(before),
            );
            let panics = shard.counters.calls_failed_panic.get();
            found("panics", usize::try_from(panics).unwrap_or(usize::MAX));
            found(
                "malformed messages",
                shard.counters.sip_malformed.get() as usize,
            );
        }
        found("channels in the count of all", self.shared.channels());
        for packets in &self.packets {
            leaks.extend(
                packets
                    .faults()
                    .iter()
                    .map(|fault| format!("exchange {}: {fault}", self.name)),
            );
        }
        leaks
    }

    /// How many call records each unique id has.
    pub(super) fn records(&self) -> Vec<String> {
        assert!(
            self.shared.cdr.flush(Duration::from_secs(20)),
            "the records are on disk"
        );
        let spool = self.data.path().join("spool");
        let mut ids = Vec::new();
        for file in std::fs::read_dir(spool).expect("the spool") {
            let path = file.expect("a file").path();
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            for line in text.lines() {
                let id = line.split_once("\"uniqueid\":\"");
                let id = id.and_then(|(_, rest)| rest.split('"').next());
                ids.extend(id.map(str::to_owned));
            }
        }
        ids
    }
}
