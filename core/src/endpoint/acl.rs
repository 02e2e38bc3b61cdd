//! Access lists as Asterisk has them: `deny` and `permit` rules in order, the last one that matches decides, and where
//! none matches the address is allowed.

use std::net::{IpAddr, Ipv4Addr};

use strowger_store::{Endpoint, Snapshot, StaticRow};

/// Named lists stand in the sections of this file.
const FILE: &str = "acl.conf";

/// Why a rule cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// Not an address, `address/prefix` or `address/mask`.
    #[error("\"{0}\" is not an address, address/prefix or address/mask")]
    Network(String),
    /// There is no list of this name.
    #[error(
        "access list \"{0}\" does not exist: it would be a section of acl.conf in a static table"
    )]
    Named(String),
}

/// A network, or with `!` before it everything outside of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    mask: u128,
    outside: bool,
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => u128::from(ip),
    }
}

/// The IPv4 address that an IPv6 socket shows as `::ffff:a.b.c.d`.
fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

impl Network {
    /// Reads `10.1.2.3`, `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `2001:db8::/32`, each also with `!` before it.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str) -> Result<Self, AclError> {
        let fail = || AclError::Network(text.to_owned());
        let text_in = text.trim();
        let (outside, rest) = text_in
            .strip_prefix('!')
            .map_or((false, text_in), |rest| (true, rest.trim()));
        let (address, mask) = rest
            .split_once('/')
            .map_or((rest, None), |(a, m)| (a, Some(m)));
        let address: IpAddr = address
            .trim()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .map_err(|_| fail())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let mask = match mask.map(str::trim) {
            None => u128::MAX,
            Some(m) => match (m.parse::<u32>(), m.parse::<Ipv4Addr>()) {
                (Ok(prefix), _) if prefix <= width => {
                    if prefix == 0 {
                        0
                    } else {
                        u128::MAX << (128 - prefix)
                    }
                }
                (_, Ok(mask)) if address.is_ipv4() => {
                    (u128::from(u32::from(mask)) << 96) | (u128::MAX >> 32)
                }
                _ => return Err(fail()),
            },
        };
        Ok(Self {
            address,
            mask,
            outside,
        })
    }

    /// One address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self {
            address: plain(address),
            mask: u128::MAX,
            outside: false,
        }
    }

    /// Whether the address belongs to it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = plain(ip);
        let inside = ip.is_ipv4() == self.address.is_ipv4()
            && (bits(ip) ^ bits(self.address)) & self.mask == 0;
        inside != self.outside
    }
}

/// An access list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    rules: Vec<(bool, Network)>,
}

impl Acl {
    /// The list made of these rules, `deny` before `permit` as the columns stand.
    ///
    /// # Errors
    /// The first rule that cannot be read.
    pub fn new(deny: &[String], permit: &[String]) -> Result<Self, AclError> {
        let read = |allow: bool, list: &[String]| -> Result<Vec<(bool, Network)>, AclError> {
            list.iter()
                .map(|text| Ok((allow, Network::parse(text)?)))
                .collect()
        };
        let mut rules = read(false, deny)?;
        rules.extend(read(true, permit)?);
        Ok(Self { rules })
    }

    /// The list made of these rules in their order; true permits.
    ///
    /// # Errors
    /// The first rule that cannot be read.
    pub fn in_order<'r>(
        rules: impl IntoIterator<Item = (bool, &'r str)>,
    ) -> Result<Self, AclError> {
        let read = |(allow, text): (bool, &str)| Ok((allow, Network::parse(text)?));
        let rules = rules.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }

    /// Whether the address may pass.
    #[must_use]
    pub fn allows(&self, ip: IpAddr) -> bool {
        self.rules
            .iter()
            .rev()
            .find(|(_, network)| network.contains(ip))
            .is_none_or(|(allow, _)| *allow)
    }
}

/// The list of this name: a section of `acl.conf` in the static tables, its rules in the order of the lines.
///
/// # Errors
/// There is no such section, or a line of it cannot be read.
pub fn named(statics: &[StaticRow], name: &str) -> Result<Acl, AclError> {
    let lines = file(statics);
    let mut section = lines
        .iter()
        .filter(|row| row.category.eq_ignore_ascii_case(name))
        .peekable();
    if section.peek().is_none() {
        return Err(AclError::Named(name.to_owned()));
    }
    let mut acl = Acl::default();
    for row in section {
        let allow = match row.var_name.to_ascii_lowercase().as_str() {
            "permit" => true,
            "deny" => false,
            _ => continue,
        };
        for text in row.var_val.split(',') {
            acl.rules.push((allow, Network::parse(text)?));
        }
    }
    Ok(acl)
}

/// The lines of `acl.conf` within all, which are in the order of their files.
fn file(statics: &[StaticRow]) -> &[StaticRow] {
    let name = |row: &StaticRow| row.filename.to_lowercase();
    let begin = statics.partition_point(|row| name(row).as_str() < FILE);
    let end = statics.partition_point(|row| name(row).as_str() <= FILE);
    statics.get(begin..end).unwrap_or_default()
}

/// Whether both lists allow the address: the one in the columns, and the one that has a name.
fn both(
    snapshot: &Snapshot,
    own: Acl,
    name: Option<&String>,
    address: IpAddr,
) -> Result<bool, AclError> {
    let named = name
        .map(|name| named(&snapshot.statics, name))
        .transpose()?;
    Ok(own.allows(address) && named.is_none_or(|acl| acl.allows(address)))
}

/// Whether a request from this address may reach the endpoint.
///
/// # Errors
/// The lists of the endpoint cannot be used: the request is to be refused, as with a denied address, and the row named.
pub fn source_allowed(
    snapshot: &Snapshot,
    endpoint: &Endpoint,
    source: IpAddr,
) -> Result<bool, AclError> {
    let own = Acl::new(&endpoint.deny, &endpoint.permit)?;
    both(snapshot, own, endpoint.acl.as_ref(), source)
}

/// Whether the endpoint may register a contact at this address.
///
/// # Errors
/// As [`source_allowed`].
pub fn contact_allowed(
    snapshot: &Snapshot,
    endpoint: &Endpoint,
    address: IpAddr,
) -> Result<bool, AclError> {
    let own = Acl::new(&endpoint.contact_deny, &endpoint.contact_permit)?;
    both(snapshot, own, endpoint.contact_acl.as_ref(), address)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split(',')
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        for (deny, permit, ip, allowed) in [
            ("", "", "192.0.2.1", true),
            ("0.0.0.0/0", "", "192.0.2.1", false),
            ("0.0.0.0/0", "10.0.0.0/8,192.0.2.1", "10.200.0.9", true),
            ("0.0.0.0/0", "10.0.0.0/8,192.0.2.1", "192.0.2.1", true),
            ("0.0.0.0/0", "10.0.0.0/8,192.0.2.1", "192.0.2.2", false),
            (
                "0.0.0.0/0.0.0.0",
                "192.168.0.0/255.255.0.0",
                "192.168.255.255",
                true,
            ),
            (
                "0.0.0.0/0.0.0.0",
                "192.168.0.0/255.255.0.0",
                "192.169.0.0",
                false,
            ),
            ("", "10.0.0.0/8", "192.0.2.1", true),
            ("!10.0.0.0/8", "", "192.0.2.1", false),
            ("!10.0.0.0/8", "", "10.0.0.1", true),
            ("::/0", "2001:db8::/32", "2001:db8:1::1", true),
            ("::/0", "2001:db8::/32", "2001:db9::1", false),
            // A list for one family says nothing about the other.
            ("0.0.0.0/0", "", "2001:db8::1", true),
            ("10.0.0.0/8", "", "::ffff:10.1.1.1", false),
        ] {
            let acl = Acl::new(&list(deny), &list(permit)).unwrap();
            assert_eq!(
                acl.allows(ip.parse().unwrap()),
                allowed,
                "deny {deny} permit {permit} for {ip}"
            );
        }
    }

    #[test]
    fn rules_that_cannot_be_read_refuse_instead_of_allowing() {
        for bad in [
            "",
            "x",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "::1/129",
            "::1/255.0.0.0",
            "10.0.0/8",
        ] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
        let none = Snapshot::default();
        let mut endpoint = Endpoint {
            deny: list("all"),
            ..Endpoint::default()
        };
        assert_eq!(
            source_allowed(&none, &endpoint, [1, 2, 3, 4].into()),
            Err(AclError::Network("all".into()))
        );
        endpoint.deny.clear();
        let allowed = source_allowed(&none, &endpoint, [1, 2, 3, 4].into());
        assert_eq!(allowed, Ok(true));
        endpoint.acl = Some("office".into());
        assert!(source_allowed(&none, &endpoint, [1, 2, 3, 4].into()).is_err());
        endpoint.contact_deny = list("10.0.0.0/8");
        let allowed = contact_allowed(&none, &endpoint, [10, 2, 3, 4].into());
        assert_eq!(allowed, Ok(false));
    }

    #[test]
    fn a_list_with_a_name_counts_beside_the_columns() {
        let line = |file: &str, category: &str, name: &str, value: &str| StaticRow {
            filename: file.into(),
            category: category.into(),
            var_name: name.into(),
            var_val: value.into(),
            ..StaticRow::default()
        };
        let mut lines = vec![
            line("pjsip.conf", "office", "permit", "0.0.0.0/0"),
            line("acl.conf", "office", "deny", "0.0.0.0/0"),
            line("acl.conf", "office", "permit", "192.0.2.0/24,198.51.100.7"),
            line("acl.conf", "broken", "deny", "everywhere"),
            line("Zones.conf", "office", "permit", "0.0.0.0/0"),
        ];
        StaticRow::sort(&mut lines);
        let snapshot = Snapshot {
            statics: lines.into(),
            ..Snapshot::default()
        };
        let endpoint = Endpoint {
            acl: Some("Office".into()),
            contact_acl: Some("office".into()),
            deny: list("192.0.2.9"),
            contact_deny: list("198.51.100.7"),
            ..Endpoint::default()
        };
        for (address, source, contact) in [
            ("192.0.2.1", true, true),
            ("192.0.2.9", false, true),
            ("198.51.100.7", true, false),
            ("203.0.113.1", false, false),
        ] {
            let ip = address.parse().unwrap();
            let allowed = source_allowed(&snapshot, &endpoint, ip);
            assert_eq!(allowed, Ok(source), "{address}");
            let allowed = contact_allowed(&snapshot, &endpoint, ip);
            assert_eq!(allowed, Ok(contact), "{address}");
        }
        let broken = Endpoint {
            acl: Some("broken".into()),
            ..Endpoint::default()
        };
        assert!(source_allowed(&snapshot, &broken, [1, 2, 3, 4].into()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f.:/!\\[\\] ]{0,40}") {
            if let Ok(network) = Network::parse(&text) {
                prop_assert!(network.contains(network.address) != network.outside);
            }
        }
    }
}
