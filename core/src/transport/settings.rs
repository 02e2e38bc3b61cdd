//! What the transports are: those of `strowger.toml` and those of `ps_transports` or pjsip.conf, as one list of addresses
//! with their settings. A row with a fault is named and left out; it stops no other.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use strowger_sip::{Flow, Host, Transport};
use strowger_store::{Transport as Row, TransportProtocol};

use super::tls::{Minimum, TlsFiles};
use crate::config::Config;
use crate::endpoint::acl::Network;

/// The port of a WebSocket transport whose row names none.
const WS_PORT: u16 = 8088;
const WSS_PORT: u16 = 8089;

/// TCP keep-alive probes of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probes {
    pub idle: Duration,
    pub interval: Duration,
    pub count: u32,
}

/// An address that others know us by: one of its own, or a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct External {
    /// As written: an address or a name.
    pub text: String,
    /// The address, where it is one or its name has been looked up.
    pub ip: Option<IpAddr>,
}

impl External {
    fn read(text: Option<&str>) -> Option<Self> {
        let text = text?.trim();
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        (!text.is_empty()).then(|| Self {
            text: text.to_owned(),
            ip: bare.parse().ok(),
        })
    }

    /// True while a name waits to be looked up, or may have got another address.
    pub(crate) fn is_name(&self) -> bool {
        let bare = self.text.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_err()
    }
}

/// One transport: an address we listen on, and how those beyond it know us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The id of its row; empty for one of `strowger.toml` that no row speaks of.
    pub id: String,
    pub protocol: Transport,
    pub bind: SocketAddr,
    /// `strowger.toml` names it: it stays as long as the process.
    pub of_file: bool,
    /// The HTTP server has its address, and takes its connections.
    pub lodges: bool,
    /// May end or change its address without a restart.
    pub allow_reload: bool,
    /// Peers inside are told our own addresses; none: all are outside.
    pub local_nets: Vec<Network>,
    pub external_signaling: Option<External>,
    /// Stands in place of the address where it is set.
    pub external_hostname: Option<String>,
    pub external_port: Option<u16>,
    pub external_media: Option<External>,
    pub tls: Option<TlsFiles>,
    pub probes: Option<Probes>,
    /// DSCP in the upper six bits, as IP_TOS takes it.
    pub tos: u32,
    /// Priority of a VLAN frame.
    pub cos: u32,
}

impl Settings {
    fn new(protocol: Transport, bind: SocketAddr) -> Self {
        Self {
            id: String::new(),
            protocol,
            bind,
            of_file: false,
            lodges: false,
            allow_reload: false,
            local_nets: Vec::new(),
            external_signaling: None,
            external_hostname: None,
            external_port: None,
            external_media: None,
            tls: None,
            probes: None,
            tos: 0,
            cos: 0,
        }
    }

    /// One that the configuration file names.
    pub(super) fn of_file(protocol: Transport, bind: SocketAddr) -> Self {
        Self {
            of_file: true,
            ..Self::new(protocol, bind)
        }
    }

    /// Its name for a person.
    #[must_use]
    pub fn name(&self) -> String {
        if self.id.is_empty() {
            format!("{} {}", self.protocol, self.bind)
        } else {
            self.id.clone()
        }
    }

    /// Whether a peer is outside, where external addresses count.
    #[must_use]
    pub fn is_outside(&self, peer: IpAddr) -> bool {
        !self.local_nets.iter().any(|net| net.contains(peer))
    }

    /// Host and port for Via and Contact towards this peer, where they are others than our own.
    #[must_use]
    pub fn external_for(&self, peer: IpAddr) -> (Option<Host>, Option<u16>) {
        if !self.is_outside(peer) {
            return (None, None);
        }
        let named = self.external_hostname.clone().map(Host::Name);
        let address = self.external_signaling.as_ref();
        let address = address.map(|external| match external.ip {
            Some(ip) => Host::from(ip),
            None => Host::Name(external.text.clone()),
        });
        let host = named.or(address);
        let port = host.as_ref().and(self.external_port);
        (host, port)
    }

    /// The address for media towards this peer, where it is another than our own.
    #[must_use]
    pub fn external_media_for(&self, peer: IpAddr) -> Option<IpAddr> {
        let external = self.external_media.as_ref()?;
        self.is_outside(peer).then_some(external.ip).flatten()
    }

    /// Whether it is the way of a flow with this address of ours.
    #[must_use]
    pub fn covers(&self, protocol: Transport, local: SocketAddr) -> bool {
        self.protocol == protocol
            && self.bind.port() == local.port()
            && self.bind.is_ipv4() == local.is_ipv4()
            && (self.bind.ip() == local.ip() || self.bind.ip().is_unspecified())
    }
}

/// The transports of the configuration file.
#[must_use]
pub fn of_file(config: &Config) -> Vec<Settings> {
    let sip = &config.sip;
    let lists = [
        (Transport::Udp, &sip.udp),
        (Transport::Tcp, &sip.tcp),
        (Transport::Tls, &sip.tls),
        (Transport::Ws, &sip.ws),
        (Transport::Wss, &sip.wss),
    ];
    let mut all: Vec<Settings> = Vec::new();
    for (protocol, list) in lists {
        for bind in list {
            if all
                .iter()
                .any(|s| s.protocol == protocol && s.bind == *bind)
            {
                continue;
            }
            let mut settings = Settings::of_file(protocol, *bind);
            settings.tls = protocol.is_secure().then(|| tls_of_file(config));
            all.push(settings);
        }
    }
    all
}

fn tls_of_file(config: &Config) -> TlsFiles {
    let path = |text: &str| (!text.is_empty()).then(|| config.data.0.join(text));
    let tls = &config.tls;
    TlsFiles {
        certificate: path(&tls.certificate),
        key: path(&tls.key).or_else(|| path(&tls.certificate)),
        authorities: path(&tls.ca),
        verify_client: tls.verify_client || tls.require_client_cert,
        require_client_cert: tls.require_client_cert,
        verify_server: tls.verify_server,
        minimum: Minimum::Tls12,
    }
}

/// A row without a certificate has that of the file. What either demands of peers is demanded.
fn complete(row: &mut TlsFiles, file: &TlsFiles) {
    row.certificate.clone_from(&file.certificate);
    row.key.clone_from(&file.key);
    if row.authorities.is_none() {
        row.authorities.clone_from(&file.authorities);
    }
    row.verify_client |= file.verify_client;
    row.require_client_cert |= file.require_client_cert;
    row.verify_server |= file.verify_server;
    if file.minimum == Minimum::Tls13 {
        row.minimum = Minimum::Tls13;
    }
}

/// All transports: those of the file, with what a row of the same address says of them, then those of rows; and what is
/// wrong in rows.
#[must_use]
pub fn settle(config: &Config, rows: &[Row]) -> (Vec<Settings>, Vec<String>) {
    let mut all = of_file(config);
    let mut problems = Vec::new();
    for row in rows {
        let mut faults = Vec::new();
        match read(row, &config.data.0, &mut faults) {
            None => {}
            Some(mut settings) => {
                if lodges(config, &settings) {
                    // Certificates are those of the HTTP server.
                    settings.lodges = true;
                    settings.tls = None;
                }
                let same = |known: &&mut Settings| {
                    known.protocol == settings.protocol && known.bind == settings.bind
                };
                match all.iter_mut().find(same) {
                    Some(known) if known.id.is_empty() => {
                        settings.of_file = known.of_file;
                        if let (Some(own), Some(file)) = (&mut settings.tls, &known.tls)
                            && own.certificate.is_none()
                        {
                            complete(own, file);
                        }
                        *known = settings;
                    }
                    Some(known) => faults.push(format!(
                        "bind: {} {} is that of transport {} already",
                        settings.protocol, settings.bind, known.id
                    )),
                    None => all.push(settings),
                }
            }
        }
        problems.extend(
            faults
                .into_iter()
                .map(|fault| format!("transport {}: {fault}", row.id)),
        );
    }
    (all, problems)
}

/// Whether a WebSocket transport wants the address that the HTTP server has.
fn lodges(config: &Config, settings: &Settings) -> bool {
    let http = match settings.protocol {
        Transport::Ws => Some(config.http.bind),
        Transport::Wss => config.http.tls_bind,
        _ => None,
    };
    let bind = settings.bind;
    http.is_some_and(|http| {
        let any = http.ip().is_unspecified() || bind.ip().is_unspecified();
        http.port() == bind.port()
            && http.is_ipv4() == bind.is_ipv4()
            && (any || http.ip() == bind.ip())
    })
}

fn read(row: &Row, data: &Path, faults: &mut Vec<String>) -> Option<Settings> {
    let protocol = match row.protocol {
        TransportProtocol::Udp => Transport::Udp,
        TransportProtocol::Tcp => Transport::Tcp,
        TransportProtocol::Tls => Transport::Tls,
        TransportProtocol::Ws => Transport::Ws,
        TransportProtocol::Wss => Transport::Wss,
        // It names connections of peers and listens nowhere.
        TransportProtocol::Flow => return None,
    };
    let port = match protocol {
        Transport::Ws => WS_PORT,
        Transport::Wss => WSS_PORT,
        protocol => protocol.default_port(),
    };
    let Some(bind) = address(&row.bind, port) else {
        faults.push(format!(
            "bind says `{}`: an address such as 0.0.0.0:{port} or [::]:{port} is needed; the row is ignored",
            row.bind
        ));
        return None;
    };
    let mut settings = Settings::new(protocol, bind);
    settings.id.clone_from(&row.id);
    settings.allow_reload = row.allow_reload;
    for net in &row.local_net {
        match Network::parse(net) {
            Ok(net) => settings.local_nets.push(net),
            Err(error) => faults.push(format!("local_net: {error}; it is ignored")),
        }
    }
    settings.external_signaling = External::read(row.external_signaling_address.as_deref());
    settings.external_media = External::read(row.external_media_address.as_deref());
    let hostname = row.external_signaling_hostname.as_deref().map(str::trim);
    settings.external_hostname = hostname.filter(|name| !name.is_empty()).map(str::to_owned);
    settings.external_port = match u16::try_from(row.external_signaling_port) {
        Ok(0) => None,
        Ok(port) => Some(port),
        Err(_) => {
            faults.push(format!(
                "external_signaling_port says `{}`: 0 to 65535 is allowed; it is ignored",
                row.external_signaling_port
            ));
            None
        }
    };
    if protocol.is_secure() {
        settings.tls = Some(tls(row, data, faults));
    }
    if row.tcp_keepalive_enable && protocol != Transport::Udp {
        settings.probes = Some(Probes {
            idle: Duration::from_secs(row.tcp_keepalive_idle_time.max(1).into()),
            interval: Duration::from_secs(row.tcp_keepalive_interval_time.max(1).into()),
            count: row.tcp_keepalive_probe_count.clamp(1, 127),
        });
    }
    match tos(&row.tos) {
        Some(tos) => settings.tos = tos,
        None => faults.push(format!(
            "tos says `{}`: a number to 255, cs0 to cs7, af11 to af43 or ef is allowed; it is ignored",
            row.tos
        )),
    }
    if row.cos <= 7 {
        settings.cos = row.cos;
    } else {
        faults.push(format!(
            "cos says `{}`: 0 to 7 is allowed; it is ignored",
            row.cos
        ));
    }
    Some(settings)
}

fn tls(row: &Row, data: &Path, faults: &mut Vec<String>) -> TlsFiles {
    let path = |text: &Option<String>| -> Option<PathBuf> {
        let text = text.as_deref()?.trim();
        (!text.is_empty()).then(|| data.join(text))
    };
    let minimum = match row.method.as_deref().map(str::trim).unwrap_or("") {
        "" | "default" | "unspecified" | "sslv23" | "tlsv1_2" => Minimum::Tls12,
        "tlsv1_3" => Minimum::Tls13,
        old @ ("tlsv1" | "tlsv1_1" | "sslv2" | "sslv3") => {
            faults.push(format!(
                "method says `{old}`, which is broken and not spoken: TLS 1.2 and 1.3 are"
            ));
            Minimum::Tls12
        }
        other => {
            faults.push(format!(
                "method says `{other}`: tlsv1_2, tlsv1_3, sslv23, unspecified or default is allowed"
            ));
            Minimum::Tls12
        }
    };
    if row.cipher.as_deref().is_some_and(|c| !c.trim().is_empty()) {
        faults.push("cipher: the suites of TLS 1.2 and 1.3 that are safe are used instead".into());
    }
    if row.password.as_deref().is_some_and(|p| !p.is_empty()) {
        faults.push("password: keys are read without encryption only".into());
    }
    TlsFiles {
        certificate: path(&row.cert_file),
        key: path(&row.priv_key_file).or_else(|| path(&row.cert_file)),
        authorities: path(&row.ca_list_file),
        verify_client: row.verify_client || row.require_client_cert,
        require_client_cert: row.require_client_cert,
        verify_server: row.verify_server,
        minimum,
    }
}

/// The transport among these rows that wants its telephones answered by itself (`symmetric_transport`), if what came by this
/// flow came by it.
#[must_use]
pub fn symmetric<'a>(rows: &'a [Row], flow: &Flow) -> Option<&'a str> {
    let mut wanted = rows.iter().filter(|row| row.symmetric_transport);
    let found = wanted.find(|row| {
        let settings = read(row, Path::new(""), &mut Vec::new());
        settings.is_some_and(|settings| settings.covers(flow.transport, flow.local))
    })?;
    Some(&found.id)
}

/// `ip[:port]`, IPv6 with or without brackets.
fn address(text: &str, port: u16) -> Option<SocketAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(match address.port() {
            0 => SocketAddr::new(address.ip(), port),
            _ => address,
        });
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .map_or_else(
            || text.parse::<IpAddr>(),
            |v6| v6.parse::<Ipv6Addr>().map(IpAddr::V6),
        );
    bare.ok().map(|ip| SocketAddr::new(ip, port))
}

/// A number, or the name of a class (RFC 2474, 2597, 3246), as IP_TOS takes it.
pub(super) fn tos(text: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    if text.is_empty() {
        return Some(0);
    }
    if let Ok(number) = text.parse::<u32>() {
        return (number <= 255).then_some(number);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return u32::from_str_radix(hex, 16).ok().filter(|n| *n <= 255);
    }
    if text == "ef" {
        return Some(46 << 2);
    }
    let digits = |prefix: &str| text.strip_prefix(prefix)?.parse::<u32>().ok();
    if let Some(class) = digits("cs") {
        return (class <= 7).then_some(class << 5);
    }
    let class = digits("af")?;
    let (class, drop) = (class / 10, class % 10);
    ((1..=4).contains(&class) && (1..=3).contains(&drop)).then_some((class << 5) | (drop << 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, bind: &str) -> Row {
        Row {
            id: id.into(),
            bind: bind.into(),
            ..Row::default()
        }
    }

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        for (text, expected) in [
            ("0.0.0.0", "0.0.0.0:5060"),
            ("192.0.2.1:5070", "192.0.2.1:5070"),
            ("::", "[::]:5060"),
            ("[2001:db8::1]", "[2001:db8::1]:5060"),
            ("[2001:db8::1]:5062", "[2001:db8::1]:5062"),
            ("192.0.2.1:0", "192.0.2.1:5060"),
        ] {
            assert_eq!(address(text, 5060), expected.parse().ok(), "{text}");
        }
        for text in ["", "eth0", "192.0.2.1:99999", "[192.0.2.1]"] {
            assert_eq!(address(text, 5060), None, "{text}");
        }
    }

    #[test]
    fn a_row_of_an_address_of_the_file_is_that_transport_and_a_bad_row_stops_no_other() {
        let mut config = Config::default();
        config.sip.udp = vec!["192.0.2.1:5060".parse().unwrap()];
        config.sip.tcp = Vec::new();
        let mut named = row("transport-udp", "192.0.2.1");
        named.external_signaling_address = Some("203.0.113.1".into());
        named.local_net = vec!["192.0.2.0/24".into(), "nonsense".into()];
        let twice = row("again", "192.0.2.1:5060");
        let (all, problems) = settle(
            &config,
            &[
                row("bad", "everywhere"),
                named,
                twice,
                row("good", "[::1]:5070"),
            ],
        );
        let told: Vec<_> = all.iter().map(|s| (s.id.as_str(), s.of_file)).collect();
        assert_eq!(told, [("transport-udp", true), ("good", false)]);
        let inside = "192.0.2.9".parse().unwrap();
        let outside = "198.51.100.1".parse().unwrap();
        assert_eq!(all[0].external_for(inside), (None, None));
        let external: IpAddr = "203.0.113.1".parse().unwrap();
        assert_eq!(all[0].external_for(outside).0, Some(Host::from(external)));
        let told = problems.join("\n");
        for part in [
            "transport bad: bind says `everywhere`",
            "transport transport-udp: local_net: \"nonsense\"",
            "transport again: bind: UDP 192.0.2.1:5060 is that of transport transport-udp",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    #[test]
    fn a_websocket_at_the_address_of_the_http_server_is_its_guest() {
        let mut config = Config::default();
        config.http.bind = "192.0.2.1:8088".parse().unwrap();
        let websocket = |id: &str, protocol, bind: &str| Row {
            protocol,
            ..row(id, bind)
        };
        let rows = [
            websocket("any", TransportProtocol::Ws, "0.0.0.0"),
            websocket("other", TransportProtocol::Ws, "192.0.2.1:8087"),
            websocket("six", TransportProtocol::Ws, "[::]:8088"),
            websocket("secure", TransportProtocol::Wss, "0.0.0.0"),
            websocket("tcp", TransportProtocol::Tcp, "192.0.2.1:8088"),
        ];
        let guests = |config: &Config| -> Vec<String> {
            let (all, _) = settle(config, &rows);
            let guests = all.into_iter().filter(|settings| settings.lodges);
            guests.map(|settings| settings.id).collect()
        };
        assert_eq!(guests(&config), ["any"]);
        config.http.tls_bind = Some("192.0.2.1:8089".parse().unwrap());
        assert_eq!(guests(&config), ["any", "secure"]);
    }

    #[test]
    fn service_classes_are_read_by_number_and_name() {
        for (text, expected) in [
            ("", Some(0)),
            ("184", Some(184)),
            ("ef", Some(184)),
            ("CS3", Some(96)),
            ("af41", Some(136)),
            ("0xb8", Some(184)),
            ("cs9", None),
            ("af44", None),
            ("256", None),
            ("fast", None),
        ] {
            assert_eq!(tos(text), expected, "{text}");
        }
    }

    #[test]
    fn a_name_stands_in_place_of_the_address_and_probes_are_read() {
        let mut named = row("named", "192.0.2.1");
        named.external_signaling_address = Some("198.51.100.1".into());
        named.external_signaling_hostname = Some("pbx.example".into());
        named.external_signaling_port = 5080;
        named.local_net = vec!["10.0.0.0/8".into()];
        let settings = read(&named, Path::new(""), &mut Vec::new()).expect("good");
        let (host, port) = settings.external_for([203, 0, 113, 9].into());
        assert_eq!(
            (host, port),
            (Some(Host::Name("pbx.example".into())), Some(5080))
        );
        assert_eq!(settings.external_for([10, 0, 0, 9].into()), (None, None));
        assert_eq!(settings.probes, None);

        let mut probed = row("probed", "192.0.2.1");
        probed.protocol = TransportProtocol::Tcp;
        probed.tcp_keepalive_enable = true;
        probed.tcp_keepalive_idle_time = 60;
        probed.tcp_keepalive_interval_time = 0;
        probed.tcp_keepalive_probe_count = 3;
        let settings = read(&probed, Path::new(""), &mut Vec::new()).expect("good");
        let probes = Probes {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(1),
            count: 3,
        };
        assert_eq!(settings.probes, Some(probes));
    }
}
