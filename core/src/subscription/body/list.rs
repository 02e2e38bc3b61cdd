//! `multipart/related` with `application/rlmi+xml` (RFC 4662 §5): the resources of a list, and the bodies of those that are
//! told.

use std::fmt::Write as _;

use super::{PROLOG, escape};

/// A body with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::subscription) struct Body {
    pub(in crate::subscription) kind: String,
    pub(in crate::subscription) text: String,
    /// It is of a list: the NOTIFY needs `Require: eventlist`.
    pub(in crate::subscription) is_list: bool,
}

/// One resource of a list that is told.
pub(in crate::subscription) struct Item<'a> {
    pub(in crate::subscription) uri: &'a str,
    pub(in crate::subscription) name: &'a str,
    /// Its instance in this subscription.
    pub(in crate::subscription) instance: &'a str,
    /// It is watched no more.
    pub(in crate::subscription) gone: bool,
    pub(in crate::subscription) body: Option<Body>,
}

/// A list.
pub(in crate::subscription) struct List<'a> {
    pub(in crate::subscription) uri: &'a str,
    pub(in crate::subscription) version: u32,
    /// All resources are told.
    pub(in crate::subscription) full: bool,
    pub(in crate::subscription) items: Vec<Item<'a>>,
    /// A word that no body holds, other than that of every list around it.
    pub(in crate::subscription) boundary: &'a str,
    pub(in crate::subscription) host: &'a str,
}

impl List<'_> {
    pub(in crate::subscription) fn write(&self) -> Body {
        let Self { boundary, host, .. } = self;
        let mut rlmi = String::with_capacity(256 + self.items.len() * 192);
        rlmi.push_str(PROLOG);
        let _ = writeln!(
            rlmi,
            "<list xmlns=\"urn:ietf:params:xml:ns:rlmi\" uri=\"{}\" version=\"{}\" fullState=\"{}\">",
            escape(self.uri),
            self.version,
            self.full
        );
        let mut parts = String::new();
        for (number, item) in self.items.iter().enumerate() {
            let _ = write!(
                rlmi,
                " <resource uri=\"{}\">\n  <name>{}</name>\n  <instance id=\"{}\" ",
                escape(item.uri),
                escape(item.name),
                escape(item.instance),
            );
            if item.gone {
                rlmi.push_str("state=\"terminated\" reason=\"noresource\"");
            } else {
                rlmi.push_str("state=\"active\"");
            }
            if let Some(body) = &item.body {
                let cid = format!("{boundary}.{number}@{host}");
                let _ = write!(rlmi, " cid=\"{cid}\"");
                let _ = write!(
                    parts,
                    "\r\n--{boundary}\r\nContent-ID: <{cid}>\r\nContent-Type: {}\r\n\r\n{}",
                    body.kind, body.text
                );
            }
            rlmi.push_str("/>\n </resource>\n");
        }
        rlmi.push_str("</list>\n");
        let start = format!("{boundary}.list@{host}");
        Body {
            kind: format!(
                "multipart/related;type=\"application/rlmi+xml\";start=\"<{start}>\";boundary=\"{boundary}\""
            ),
            text: format!(
                "--{boundary}\r\nContent-ID: <{start}>\r\nContent-Type: application/rlmi+xml;charset=\"UTF-8\"\r\n\r\n\
                 {rlmi}{parts}\r\n--{boundary}--\r\n"
            ),
            is_list: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_its_resources_and_the_parts_that_describe_them() {
        let part = Body {
            kind: "application/pidf+xml".into(),
            text: "<presence/>".into(),
            is_list: false,
        };
        let item = |uri, name, gone, body| Item {
            uri,
            name,
            instance: name,
            gone,
            body,
        };
        let body = List {
            uri: "sip:team@pbx",
            version: 1,
            full: false,
            items: vec![
                item("sip:100@pbx", "100", false, Some(part)),
                item("sip:1&2@pbx", "1&2", true, None),
            ],
            boundary: "b1",
            host: "pbx",
        }
        .write();
        assert_eq!(
            body.kind,
            "multipart/related;type=\"application/rlmi+xml\";start=\"<b1.list@pbx>\";boundary=\"b1\""
        );
        assert_eq!(
            body.text,
            "--b1\r\nContent-ID: <b1.list@pbx>\r\nContent-Type: application/rlmi+xml;charset=\"UTF-8\"\r\n\r\n\
             <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <list xmlns=\"urn:ietf:params:xml:ns:rlmi\" uri=\"sip:team@pbx\" version=\"1\" fullState=\"false\">\n \
             <resource uri=\"sip:100@pbx\">\n  <name>100</name>\n  \
             <instance id=\"100\" state=\"active\" cid=\"b1.0@pbx\"/>\n </resource>\n \
             <resource uri=\"sip:1&amp;2@pbx\">\n  <name>1&amp;2</name>\n  \
             <instance id=\"1&amp;2\" state=\"terminated\" reason=\"noresource\"/>\n </resource>\n</list>\n\
             \r\n--b1\r\nContent-ID: <b1.0@pbx>\r\nContent-Type: application/pidf+xml\r\n\r\n<presence/>\
             \r\n--b1--\r\n"
        );
    }
}
