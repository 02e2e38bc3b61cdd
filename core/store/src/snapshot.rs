//! Everything the realtime tables say, as one immutable value.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::rows::{
    Aor, Auth, Contact, DomainAlias, Endpoint, ExtensionRow, Globals, Identify, MusicEntry,
    MusicRow, OptionsRow, Registration, StaticRow, System, Transport,
};
use crate::sorcery::Loaded;

/// A table that is loaded and watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `ps_endpoints`
    Endpoints,
    /// `ps_aors`
    Aors,
    /// `ps_auths`
    Auths,
    /// `ps_endpoint_id_ips`
    Identifies,
    /// `ps_domain_aliases`
    DomainAliases,
    /// `ps_globals`
    Globals,
    /// `ps_systems`
    Systems,
    /// `ps_transports`
    Transports,
    /// `ps_registrations`
    Registrations,
    /// `realtime_extensions`
    Extensions,
    /// `static_extensions`
    StaticExtensions,
    /// `static_pjsip`
    StaticPjsip,
    /// `static_sorcery`
    StaticSorcery,
    /// `static_manager`
    StaticManager,
    /// `musiconhold`
    Music,
    /// `musiconhold_entry`
    MusicEntries,
    /// `queues`
    Queues,
    /// `queue_members`
    QueueMembers,
    /// `queue_rules`
    QueueRules,
    /// `voicemail`
    Voicemail,
    /// `ps_resource_list`
    ResourceLists,
    /// `ps_inbound_publications`
    InboundPublications,
    /// `ps_asterisk_publications`
    AsteriskPublications,
    /// `ps_outbound_publishes`
    OutboundPublishes,
    /// `api_users`
    ApiUsers,
    /// `api_contexts`
    ApiContexts,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Endpoints,
        Self::Aors,
        Self::Auths,
        Self::Identifies,
        Self::DomainAliases,
        Self::Globals,
        Self::Systems,
        Self::Transports,
        Self::Registrations,
        Self::Extensions,
        Self::StaticExtensions,
        Self::StaticPjsip,
        Self::StaticSorcery,
        Self::StaticManager,
        Self::Music,
        Self::MusicEntries,
        Self::Queues,
        Self::QueueMembers,
        Self::QueueRules,
        Self::Voicemail,
        Self::ResourceLists,
        Self::InboundPublications,
        Self::AsteriskPublications,
        Self::OutboundPublishes,
        Self::ApiUsers,
        Self::ApiContexts,
    ];

    /// Name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoints => "ps_endpoints",
            Self::Aors => "ps_aors",
            Self::Auths => "ps_auths",
            Self::Identifies => "ps_endpoint_id_ips",
            Self::DomainAliases => "ps_domain_aliases",
            Self::Globals => "ps_globals",
            Self::Systems => "ps_systems",
            Self::Transports => "ps_transports",
            Self::Registrations => "ps_registrations",
            Self::Extensions => "realtime_extensions",
            Self::StaticExtensions => "static_extensions",
            Self::StaticPjsip => "static_pjsip",
            Self::StaticSorcery => "static_sorcery",
            Self::StaticManager => "static_manager",
            Self::Music => "musiconhold",
            Self::MusicEntries => "musiconhold_entry",
            Self::Queues => "queues",
            Self::QueueMembers => "queue_members",
            Self::QueueRules => "queue_rules",
            Self::Voicemail => "voicemail",
            Self::ResourceLists => "ps_resource_list",
            Self::InboundPublications => "ps_inbound_publications",
            Self::AsteriskPublications => "ps_asterisk_publications",
            Self::OutboundPublishes => "ps_outbound_publishes",
            Self::ApiUsers => "api_users",
            Self::ApiContexts => "api_contexts",
        }
    }

    /// Whether calls are impossible without it.
    pub(crate) fn required(self) -> bool {
        matches!(
            self,
            Self::Endpoints | Self::Aors | Self::Auths | Self::Extensions
        )
    }
}

/// The realtime tables at one moment. Cheap to clone: tables are shared.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// `ps_endpoints` by id.
    pub endpoints: Arc<FxHashMap<String, Arc<Endpoint>>>,
    /// `ps_aors` by id.
    pub aors: Arc<FxHashMap<String, Arc<Aor>>>,
    /// `ps_auths` by id.
    pub auths: Arc<FxHashMap<String, Arc<Auth>>>,
    /// `ps_endpoint_id_ips`, in the order of their ids.
    pub identifies: Arc<Vec<Identify>>,
    /// `ps_domain_aliases`: alias to domain.
    pub domain_aliases: Arc<FxHashMap<String, DomainAlias>>,
    /// `ps_globals`, or its defaults.
    pub globals: Arc<Globals>,
    /// `ps_systems`, or its defaults.
    pub system: Arc<System>,
    /// `ps_transports`, in the order of their ids.
    pub transports: Arc<Vec<Transport>>,
    /// `ps_registrations`, in the order of their ids.
    pub registrations: Arc<Vec<Registration>>,
    /// `realtime_extensions`, by context, extension, priority.
    pub extensions: Arc<Vec<ExtensionRow>>,
    /// All static tables, without rows that are commented out, in the order of [`StaticRow::sort`].
    pub statics: Arc<Vec<StaticRow>>,
    /// Files and sections that are there though they have no lines; an empty section stands for its file.
    pub static_marks: Arc<Vec<(String, String)>>,
    /// `musiconhold`, in the order of the names.
    pub music: Arc<Vec<MusicRow>>,
    /// `musiconhold_entry`, by class and position.
    pub music_entries: Arc<Vec<MusicEntry>>,
    /// `queues`, in the order of the names.
    pub queues: Arc<Vec<OptionsRow>>,
    /// `queue_members`, by queue and order of entry.
    pub queue_members: Arc<Vec<OptionsRow>>,
    /// `queue_rules`, in the order of the table.
    pub queue_rules: Arc<Vec<OptionsRow>>,
    /// `voicemail`, in the order of entry.
    pub voicemail: Arc<Vec<OptionsRow>>,
    /// `ps_resource_list`, in the order of their ids.
    pub resource_lists: Arc<Vec<OptionsRow>>,
    /// `ps_inbound_publications`, in the order of their ids.
    pub inbound_publications: Arc<Vec<OptionsRow>>,
    /// `ps_asterisk_publications`, in the order of their ids.
    pub asterisk_publications: Arc<Vec<OptionsRow>>,
    /// `ps_outbound_publishes`, in the order of their ids.
    pub outbound_publishes: Arc<Vec<OptionsRow>>,
    /// `api_users`, in the order of their uuids: programs that may use the HTTP APIs.
    pub api_users: Arc<Vec<OptionsRow>>,
    /// `api_contexts`, in the order of their names: whose each context of the dialplan is.
    pub api_contexts: Arc<Vec<OptionsRow>>,
    /// Contacts of this moment: filled by the first load only, without those that have expired or are to be pruned.
    pub contacts: Arc<Vec<Contact>>,
    /// The tables of objects as they are, before `static_sorcery` says what counts.
    pub loaded: Loaded,
    /// How often each table changed since the start, in the order of [`Table::ALL`].
    pub versions: [u64; Table::ALL.len()],
    /// Grows with every change.
    pub version: u64,
}

impl Snapshot {
    /// How often this table changed since the start; compare with a former value to see whether it is another.
    pub fn version_of(&self, table: Table) -> u64 {
        self.versions[table as usize]
    }
}
