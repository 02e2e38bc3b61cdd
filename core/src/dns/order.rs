//! The order in which targets are tried (RFC 3263 §4, RFC 2782), without any network.

use strowger_sip::Transport;

/// A NAPTR record that leads to SRV records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) order: u16,
    pub(super) preference: u16,
    pub(super) flags: String,
    pub(super) service: String,
    pub(super) replacement: String,
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) target: String,
}

/// The transport that a NAPTR service names (RFC 3263 §4.1, RFC 7118 §5).
fn transport_of(service: &str) -> Option<Transport> {
    let known = [
        ("SIP+D2U", Transport::Udp),
        ("SIP+D2T", Transport::Tcp),
        ("SIPS+D2T", Transport::Tls),
    ];
    let found = known
        .iter()
        .find(|(name, _)| service.eq_ignore_ascii_case(name));
    found.map(|(_, transport)| *transport)
}

/// The names to ask SRV records of, best first, with their transports: those that we speak, and secure ones only where
/// that is asked for.
pub(super) fn pointed(
    mut pointers: Vec<Pointer>,
    spoken: &[Transport],
    secure: bool,
) -> Vec<(Transport, String)> {
    pointers.sort_by_key(|pointer| (pointer.order, pointer.preference));
    pointers
        .into_iter()
        .filter(|pointer| pointer.flags.eq_ignore_ascii_case("s"))
        .filter_map(|pointer| Some((transport_of(&pointer.service)?, pointer.replacement)))
        .filter(|(transport, _)| spoken.contains(transport) && (!secure || transport.is_secure()))
        .collect()
}

/// The SRV name of a domain for one transport (RFC 3263 §4.1).
pub(super) fn service_name(transport: Transport, domain: &str) -> String {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._ws",
    };
    format!("{prefix}.{}", domain.trim_end_matches('.'))
}

/// Puts SRV records in the order in which they are tried: by priority; within one priority drawn by weight, so that of
/// many calls each target gets its share (RFC 2782). `random` gives a number below its argument.
pub(super) fn drawn(mut records: Vec<Service>, mut random: impl FnMut(u64) -> u64) -> Vec<Service> {
    // A single target of "." says that the service is not there at all.
    records.retain(|record| !matches!(record.target.as_str(), "" | "."));
    // Those without weight first, so that they have their small chance.
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|record| record.priority) {
        let end = records.partition_point(|record| record.priority == priority);
        let total: u64 = records[..end].iter().map(|r| u64::from(r.weight)).sum();
        let mark = random(total + 1);
        let mut sum = 0;
        let place = records[..end].iter().position(|record| {
            sum += u64::from(record.weight);
            sum >= mark
        });
        ordered.push(records.remove(place.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(priority: u16, weight: u16, target: &str) -> Service {
        Service {
            priority,
            weight,
            port: 5060,
            target: target.into(),
        }
    }

    fn pointer(order: u16, preference: u16, service: &str, replacement: &str) -> Pointer {
        Pointer {
            order,
            preference,
            flags: "s".into(),
            service: service.into(),
            replacement: replacement.into(),
        }
    }

    #[test]
    fn pointers_count_by_order_and_preference_and_only_what_we_speak() {
        let list = || {
            vec![
                pointer(100, 20, "SIP+D2T", "_sip._tcp.example."),
                pointer(50, 50, "SIPS+D2T", "_sips._tcp.example."),
                pointer(100, 10, "SIP+D2U", "_sip._udp.example."),
                pointer(10, 10, "SIP+D2S", "_sip._sctp.example."),
            ]
        };
        let names = |spoken: &[Transport], secure| -> Vec<String> {
            let pointed = pointed(list(), spoken, secure).into_iter();
            pointed.map(|(_, name)| name).collect()
        };
        let all = [Transport::Udp, Transport::Tcp, Transport::Tls];
        assert_eq!(
            names(&all, false),
            [
                "_sips._tcp.example.",
                "_sip._udp.example.",
                "_sip._tcp.example."
            ]
        );
        assert_eq!(names(&all, true), ["_sips._tcp.example."]);
        assert_eq!(names(&[Transport::Tcp], false), ["_sip._tcp.example."]);
    }

    #[test]
    fn targets_go_by_priority_and_are_shared_by_weight() {
        let records = vec![
            service(20, 1, "backup"),
            service(10, 70, "large"),
            service(10, 30, "small"),
            service(10, 0, "never-first-but-once"),
            service(5, 0, "."),
        ];
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let mut large = 0;
        for _ in 0..10_000 {
            let order = drawn(records.clone(), &mut random);
            assert_eq!(order.len(), 4);
            assert_eq!(order[3].target, "backup");
            large += u32::from(order[0].target == "large");
        }
        assert!((6_500..7_500).contains(&large), "{large} of 10000");
    }
}
