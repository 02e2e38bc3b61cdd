//! The files of the spool. A segment is a file of lines, each the CRC-32 of a record in hexadecimal, a blank, the record
//! as JSON. Only one process writes them; a segment is never written again after a restart.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Cdr;

/// Longest line; a record beyond it is rejected.
pub(super) const LINE_MAX: usize = 1 << 20;
/// Size of the file of rejected records at which it is put aside.
const REJECTS_MAX: u64 = 64 << 20;

/// A place in the spool: everything before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// A line of a segment.
#[derive(Debug)]
pub(super) enum Item {
    Record(Box<Cdr>),
    /// Damaged, or never written to its end.
    Damaged(String),
}

/// CRC-32 (IEEE 802.3), as zlib has it.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let mut value = n as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 {
                    0xedb8_8320 ^ (value >> 1)
                } else {
                    value >> 1
                };
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| {
        TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8)
    })
}

/// The line of a record, with its end.
pub(super) fn encode(cdr: &Cdr) -> Result<String, String> {
    let json = serde_json::to_string(cdr).map_err(|error| error.to_string())?;
    if json.len() > LINE_MAX - 16 {
        return Err(format!(
            "the record is {} bytes long; {LINE_MAX} is the limit",
            json.len()
        ));
    }
    Ok(format!("{:08x} {json}\n", crc32(json.as_bytes())))
}

fn decode(line: &[u8]) -> Item {
    let read = || {
        let (crc, json) = line.split_at_checked(9)?;
        let crc =
            u32::from_str_radix(std::str::from_utf8(crc).ok()?.strip_suffix(' ')?, 16).ok()?;
        if crc != crc32(json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    };
    match read() {
        Some(cdr) => Item::Record(Box::new(cdr)),
        None => {
            Item::Damaged(String::from_utf8_lossy(line.get(..4096).unwrap_or(line)).into_owned())
        }
    }
}

pub(super) fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("cdr-{segment:012}.log"))
}

/// The segments there are, oldest first.
pub(super) fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number: Option<u64> = name.to_str().and_then(|name| {
            name.strip_prefix("cdr-")?
                .strip_suffix(".log")?
                .parse()
                .ok()
        });
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes a segment that must not exist yet, and its name durable.
pub(super) fn create_segment(dir: &Path, segment: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(segment_path(dir, segment))?;
    sync_dir(dir)?;
    Ok(file)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Reads up to `limit` lines from `position` on, but nothing at or beyond `end` of its segment; each with the place
/// after it. With no `end` the segment is finished, and a rest without a line end is an item of its own.
pub(super) fn read(
    dir: &Path,
    position: Position,
    end: Option<u64>,
    limit: usize,
) -> io::Result<Vec<(Item, Position)>> {
    let mut file = match File::open(segment_path(dir, position.segment)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = end.unwrap_or(file.metadata()?.len());
    if position.offset >= length {
        return Ok(Vec::new());
    }
    file.seek(SeekFrom::Start(position.offset))?;
    // Room for two lines at least, so that there is a line end unless the file is damaged.
    let window = (length - position.offset).min(2 * LINE_MAX as u64);
    let mut bytes = Vec::new();
    file.take(window).read_to_end(&mut bytes)?;
    let mut items = Vec::new();
    let mut offset = position.offset;
    let mut rest = bytes.as_slice();
    while items.len() < limit && !rest.is_empty() {
        let (line, after) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            // Cut off by the window: the next read begins here.
            None if !items.is_empty() && position.offset + window < length => break,
            // The end of a crash, or a file that is no spool.
            None => (rest, &rest[rest.len()..]),
        };
        offset += (rest.len() - after.len()) as u64;
        items.push((
            decode(line),
            Position {
                segment: position.segment,
                offset,
            },
        ));
        rest = after;
    }
    Ok(items)
}

/// The position saved last; the beginning if there is none that can be read.
pub(super) fn load_position(dir: &Path) -> Position {
    let read = || {
        let text = fs::read_to_string(dir.join("position")).ok()?;
        let (body, crc) = text.trim_end().rsplit_once(' ')?;
        if u32::from_str_radix(crc, 16).ok()? != crc32(body.as_bytes()) {
            return None;
        }
        let (segment, offset) = body.split_once(' ')?;
        Some(Position {
            segment: segment.parse().ok()?,
            offset: offset.parse().ok()?,
        })
    };
    read().unwrap_or_default()
}

/// Saves the position for good.
pub(super) fn save_position(dir: &Path, position: Position) -> io::Result<()> {
    let body = format!("{} {}", position.segment, position.offset);
    let new = dir.join("position.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    writeln!(file, "{body} {:08x}", crc32(body.as_bytes()))?;
    file.sync_data()?;
    fs::rename(new, dir.join("position"))?;
    sync_dir(dir)
}

/// What the database will never take, with the reason, for a person to look at.
pub(super) fn reject_line(reason: &str, item: &Item) -> String {
    let line = match item {
        Item::Record(cdr) => serde_json::json!({ "reason": reason, "record": cdr }),
        Item::Damaged(text) => serde_json::json!({ "reason": reason, "text": text }),
    };
    format!("{line}\n")
}

/// Keeps such a line for good.
pub(super) fn append_reject(dir: &Path, line: &str) -> io::Result<()> {
    let path = dir.join("rejected.log");
    if fs::metadata(&path).is_ok_and(|data| data.len() > REJECTS_MAX) {
        fs::rename(&path, dir.join("rejected.old.log"))?;
    }
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cdr(number: i64) -> Cdr {
        Cdr {
            sequence: number,
            clid: "\"Сергей\" <7>\n".into(),
            ..Cdr::default()
        }
    }

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_segment_reads_back_in_steps_and_a_torn_end_is_told_apart() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let text: String = (0..5)
            .map(|n| encode(&cdr(n)).unwrap_or_default())
            .collect();
        let torn = encode(&cdr(9)).unwrap_or_default();
        let damaged = torn.replace("7>", "8>");
        let bytes = format!("{text}{damaged}{}", &torn[..torn.len() - 4]);
        fs::write(segment_path(dir.path(), 3), &bytes).unwrap_or_else(|e| panic!("{e}"));
        let mut position = Position {
            segment: 3,
            offset: 0,
        };
        let mut found = Vec::new();
        loop {
            let items = read(dir.path(), position, None, 2).unwrap_or_else(|e| panic!("{e}"));
            let Some((_, last)) = items.last() else { break };
            position = *last;
            found.extend(items.into_iter().map(|(item, _)| item));
        }
        let kinds: Vec<_> = found
            .iter()
            .map(|item| match item {
                Item::Record(cdr) => cdr.sequence,
                Item::Damaged(_) => -1,
            })
            .collect();
        assert_eq!(kinds, [0, 1, 2, 3, 4, -1, -1]);
        assert_eq!(position.offset, bytes.len() as u64);
    }

    #[test]
    fn a_position_survives_and_a_damaged_one_means_the_beginning() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(load_position(dir.path()), Position::default());
        let position = Position {
            segment: 7,
            offset: 1234,
        };
        save_position(dir.path(), position).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(load_position(dir.path()), position);
        fs::write(dir.path().join("position"), "7 9234 00000000").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(load_position(dir.path()), Position::default());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_in_a_segment_make_the_reader_panic_or_stop(bytes in proptest::collection::vec(0_u8.., 0..400)) {
            let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
            fs::write(segment_path(dir.path(), 0), &bytes).unwrap_or_else(|e| panic!("{e}"));
            let mut position = Position::default();
            while let Some((_, next)) =
                read(dir.path(), position, None, 3).unwrap_or_else(|e| panic!("{e}")).last()
            {
                assert!(next.offset > position.offset);
                position = *next;
            }
            assert_eq!(position.offset, bytes.len() as u64);
        }
    }
}
