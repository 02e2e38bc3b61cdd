//! Writing a description in the order of RFC 8866 §5, with CRLF.

use std::fmt;

use super::{Attribute, Connection, Media, SessionDescription};

/// A value as it may stand on a line: everything from the first line end on is left out.
fn one_line(text: &str) -> &str {
    text.split(['\r', '\n', '\0']).next().unwrap_or("")
}

fn line(f: &mut fmt::Formatter<'_>, kind: char, value: &str) -> fmt::Result {
    write!(f, "{kind}={}\r\n", one_line(value))
}

fn optional(f: &mut fmt::Formatter<'_>, kind: char, value: Option<&String>) -> fmt::Result {
    value.map_or(Ok(()), |value| line(f, kind, value))
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}",
            one_line(&self.network),
            one_line(&self.address_type),
            one_line(&self.address)
        )
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(one_line(&self.name))?;
        match &self.value {
            Some(value) => write!(f, ":{}", one_line(value)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={} {}", one_line(self.kind.as_str()), self.port)?;
        if let Some(count) = self.port_count {
            write!(f, "/{count}")?;
        }
        write!(f, " {}", one_line(&self.proto))?;
        for format in &self.formats {
            write!(f, " {}", one_line(format))?;
        }
        f.write_str("\r\n")?;
        optional(f, 'i', self.info.as_ref())?;
        if let Some(c) = &self.connection {
            write!(f, "c={c}\r\n")?;
        }
        for b in &self.bandwidths {
            line(f, 'b', b)?;
        }
        optional(f, 'k', self.key.as_ref())?;
        for a in &self.attributes {
            write!(f, "a={a}\r\n")?;
        }
        Ok(())
    }
}

impl fmt::Display for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = &self.origin;
        write!(
            f,
            "v=0\r\no={} {} {} {}\r\n",
            one_line(&o.username),
            one_line(&o.session_id),
            o.version,
            o.address
        )?;
        line(
            f,
            's',
            if self.name.is_empty() {
                "-"
            } else {
                &self.name
            },
        )?;
        optional(f, 'i', self.info.as_ref())?;
        optional(f, 'u', self.uri.as_ref())?;
        for e in &self.emails {
            line(f, 'e', e)?;
        }
        for p in &self.phones {
            line(f, 'p', p)?;
        }
        if let Some(c) = &self.connection {
            write!(f, "c={c}\r\n")?;
        }
        for b in &self.bandwidths {
            line(f, 'b', b)?;
        }
        if self.times.is_empty() {
            f.write_str("t=0 0\r\n")?;
        }
        for t in &self.times {
            write!(f, "t={} {}\r\n", t.start, t.stop)?;
            for r in &t.repeats {
                line(f, 'r', r)?;
            }
        }
        optional(f, 'z', self.zones.as_ref())?;
        optional(f, 'k', self.key.as_ref())?;
        for a in &self.attributes {
            write!(f, "a={a}\r\n")?;
        }
        self.media.iter().try_for_each(|m| m.fmt(f))
    }
}
