//! Documents of several files: the pages of TIFF files, in order, in one (TIFF 6.0). Pictures are copied as they are and never
//! looked into; which of them can be faxed is known to the library. Lengths and places come from the files and are all checked.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};

/// Bytes of all files together.
const BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Pages of a document.
const PAGES_MAX: usize = 1000;
/// Fields of a page.
const FIELDS_MAX: usize = 200;
/// Bytes of a field.
const FIELD_BYTES_MAX: u64 = 512 * 1024;
/// Parts of the picture of a page.
const STRIPS_MAX: usize = 65_536;

const IMAGE_WIDTH: u16 = 256;
const STRIP_OFFSETS: u16 = 273;
const STRIP_BYTE_COUNTS: u16 = 279;
const PAGE_NUMBER: u16 = 297;
const TILE_OFFSETS: u16 = 324;
/// Fields that hold places within the file which are not copied: unused parts, smaller pictures, what cameras add.
const LEFT_OUT: [u16; 5] = [288, 289, 330, 34_665, 34_853];
/// A field of 16 bit numbers, and one of 32 bit.
const SHORT: u16 = 3;
const LONG: u16 = 4;

/// What a page says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    tag: u16,
    kind: u16,
    count: u32,
    /// Little-endian.
    data: Vec<u8>,
}

impl Field {
    fn numbers(&self) -> Vec<u64> {
        let size = if self.kind == SHORT { 2 } else { 4 };
        let number = |part: &[u8]| {
            let digits = part.iter().rev();
            digits.fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
        };
        self.data.chunks_exact(size).map(number).collect()
    }
}

/// Bytes of each number of a kind of field, and how many such are a value; `None`: no such kind.
fn size_of(kind: u16) -> Option<(usize, usize)> {
    match kind {
        1 | 2 | 6 | 7 => Some((1, 1)),
        3 | 8 => Some((2, 1)),
        4 | 9 | 11 | 13 => Some((4, 1)),
        5 | 10 => Some((4, 2)),
        12 => Some((8, 1)),
        _ => None,
    }
}

/// A TIFF file in memory.
struct Tiff<'b> {
    bytes: &'b [u8],
    big_endian: bool,
}

impl<'b> Tiff<'b> {
    fn new(bytes: &'b [u8]) -> anyhow::Result<Self> {
        let big_endian = match bytes.get(..4) {
            Some(b"II*\0") => false,
            Some(b"MM\0*") => true,
            Some(b"II+\0" | b"MM\0+") => bail!("it is BigTIFF: only TIFF can be joined"),
            _ => bail!("it is no TIFF file"),
        };
        Ok(Self { bytes, big_endian })
    }

    fn part(&self, at: u64, length: u64) -> anyhow::Result<&'b [u8]> {
        let range = usize::try_from(at)
            .ok()
            .zip(usize::try_from(length).ok())
            .and_then(|(at, length)| Some(at..at.checked_add(length)?));
        let part = range.and_then(|range| self.bytes.get(range));
        part.with_context(|| format!("it ends before byte {}", at.saturating_add(length)))
    }

    fn number(&self, at: u64, length: u64) -> anyhow::Result<u64> {
        let part = self.part(at, length)?;
        let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        Ok(if self.big_endian {
            part.iter().fold(0, add)
        } else {
            part.iter().rev().fold(0, add)
        })
    }

    /// The field at this place; `None` where its kind is not known.
    fn field(&self, at: u64) -> anyhow::Result<Option<Field>> {
        let (tag, kind) = (self.number(at, 2)? as u16, self.number(at + 2, 2)? as u16);
        let count = self.number(at + 4, 4)?;
        let Some((size, many)) = size_of(kind) else {
            return Ok(None);
        };
        let length = count * (size * many) as u64;
        ensure!(
            length <= FIELD_BYTES_MAX,
            "field {tag} has {length} bytes: {FIELD_BYTES_MAX} at most"
        );
        let first = match length {
            0..=4 => at + 8,
            _ => self.number(at + 8, 4)?,
        };
        let mut data = self.part(first, length)?.to_vec();
        if self.big_endian {
            data.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        Ok(Some(Field {
            tag,
            kind,
            count: count as u32,
            data,
        }))
    }

    /// Where the first page is described.
    fn first(&self) -> anyhow::Result<u64> {
        let directory = self.number(4, 4)?;
        ensure!(directory != 0, "it has no page");
        Ok(directory)
    }

    /// What the page described at this place says of itself, and where the next one is described; 0: there is none.
    fn page(&self, directory: u64) -> anyhow::Result<(Vec<Field>, u64)> {
        let count = self.number(directory, 2)?;
        ensure!(
            count as usize <= FIELDS_MAX,
            "it has {count} fields: {FIELDS_MAX} at most"
        );
        let mut fields = Vec::new();
        for index in 0..count {
            fields.extend(self.field(directory + 2 + 12 * index)?);
        }
        let has_width = fields.iter().any(|field| field.tag == IMAGE_WIDTH);
        ensure!(has_width, "it has no picture");
        Ok((fields, self.number(directory + 2 + 12 * count, 4)?))
    }
}

/// The parts of a page's picture.
fn strips<'b>(tiff: &Tiff<'b>, fields: &[Field]) -> anyhow::Result<Vec<&'b [u8]>> {
    let numbers = |tag| {
        let found = fields.iter().find(|field| field.tag == tag);
        let is_number = |field: &&Field| field.kind == SHORT || field.kind == LONG;
        found.filter(is_number).map(Field::numbers)
    };
    if numbers(TILE_OFFSETS).is_some() {
        bail!("its picture is in tiles: only strips can be joined");
    }
    let places = numbers(STRIP_OFFSETS).context("it does not say where its picture is")?;
    let lengths = numbers(STRIP_BYTE_COUNTS).context("it does not say how long its picture is")?;
    ensure!(
        places.len() == lengths.len() && places.len() <= STRIPS_MAX,
        "its picture has {} parts and {} lengths",
        places.len(),
        lengths.len()
    );
    let parts = places.into_iter().zip(lengths);
    parts.map(|(at, length)| tiff.part(at, length)).collect()
}

/// A document in the making.
struct Joined {
    bytes: Vec<u8>,
    /// Where the place of the next page is to be written.
    link: usize,
    pages: usize,
}

impl Joined {
    fn new() -> Self {
        Self {
            bytes: b"II*\0\0\0\0\0".to_vec(),
            link: 4,
            pages: 0,
        }
    }

    /// Appends data at an even place, and says where it is.
    fn put(&mut self, data: &[u8]) -> anyhow::Result<u32> {
        if !self.bytes.len().is_multiple_of(2) {
            self.bytes.push(0);
        }
        let end = self.bytes.len() as u64 + data.len() as u64;
        // Strips may lie over each other, so that the pages are longer than their files.
        ensure!(
            end <= BYTES_MAX,
            "the document is longer than {BYTES_MAX} bytes"
        );
        let at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(data);
        Ok(at)
    }

    fn add(&mut self, mut fields: Vec<Field>, strips: &[&[u8]]) -> anyhow::Result<()> {
        ensure!(
            self.pages < PAGES_MAX,
            "the document has more than {PAGES_MAX} pages"
        );
        let mut places = Vec::with_capacity(4 * strips.len());
        for strip in strips {
            places.extend_from_slice(&self.put(strip)?.to_le_bytes());
        }
        fields.retain(|field| {
            !LEFT_OUT.contains(&field.tag) && field.tag != STRIP_OFFSETS && field.tag != PAGE_NUMBER
        });
        fields.push(Field {
            tag: STRIP_OFFSETS,
            kind: LONG,
            count: strips.len() as u32,
            data: places,
        });
        // Its number; how many there are is not said (0).
        let number = (self.pages as u32).to_le_bytes().to_vec();
        fields.push(Field {
            tag: PAGE_NUMBER,
            kind: SHORT,
            count: 2,
            data: number,
        });
        fields.sort_by_key(|field| field.tag);
        let mut directory = (fields.len() as u16).to_le_bytes().to_vec();
        for field in fields {
            directory.extend_from_slice(&field.tag.to_le_bytes());
            directory.extend_from_slice(&field.kind.to_le_bytes());
            directory.extend_from_slice(&field.count.to_le_bytes());
            if field.data.len() > 4 {
                let at = self.put(&field.data)?;
                directory.extend_from_slice(&at.to_le_bytes());
            } else {
                let mut value = field.data;
                value.resize(4, 0);
                directory.extend_from_slice(&value);
            }
        }
        directory.extend_from_slice(&[0; 4]);
        let at = self.put(&directory)?;
        let link = self.bytes.get_mut(self.link..self.link + 4);
        link.context("no place for the next page")?
            .copy_from_slice(&at.to_le_bytes());
        self.link = self.bytes.len() - 4;
        self.pages += 1;
        Ok(())
    }
}

fn read(file: &str, room: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let opened = File::open(file)?;
    opened.take(room + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= room,
        "the files together are longer than {BYTES_MAX} bytes"
    );
    Ok(bytes)
}

/// Is this a TIFF file? All else is found out when it is sent.
///
/// # Errors
/// Why not, with the name of the file.
pub(crate) fn check(file: &str) -> anyhow::Result<()> {
    let look = || {
        let mut bytes = [0; 4];
        let read = File::open(file)?.read_exact(&mut bytes);
        let is_big = matches!(&bytes, b"II+\0" | b"MM\0+");
        if read.is_ok() && is_big {
            return Ok(());
        }
        Tiff::new(&bytes).map(drop)
    };
    look().with_context(|| format!("file \"{file}\""))
}

/// The pages of all files, in one.
///
/// # Errors
/// What is wrong, with the name of the file.
pub(crate) fn join(files: &[String]) -> anyhow::Result<Vec<u8>> {
    let mut joined = Joined::new();
    let mut room = BYTES_MAX;
    for file in files {
        let mut add = || {
            let bytes = read(file, room)?;
            room -= bytes.len() as u64;
            let tiff = Tiff::new(&bytes)?;
            let mut directory = tiff.first()?;
            let mut number = 1;
            // One that leads back to itself ends with the pages that a document may have.
            while directory != 0 {
                let mut add = || {
                    let (fields, next) = tiff.page(directory)?;
                    let strips = strips(&tiff, &fields)?;
                    joined.add(fields, &strips)?;
                    anyhow::Ok(next)
                };
                directory = add().with_context(|| format!("page {number}"))?;
                number += 1;
            }
            anyhow::Ok(())
        };
        add().with_context(|| format!("file \"{file}\""))?;
    }
    Ok(joined.bytes)
}

/// A file that has no name any more and goes with the program, however that ends.
#[derive(Debug)]
pub(crate) struct Nameless(File);

impl Nameless {
    /// # Errors
    /// It cannot be written in the folder of temporary files.
    pub(crate) fn new(bytes: &[u8]) -> std::io::Result<Self> {
        let name = format!("strowger-fax-{}.tiff", std::process::id());
        Self::at(&std::env::temp_dir().join(name), bytes)
    }

    fn at(path: &Path, bytes: &[u8]) -> std::io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        std::fs::remove_file(path)?;
        file.write_all(bytes)?;
        Ok(Self(file))
    }

    /// By which this process, as long as it lives, can open it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of two strips in a file of either order of bytes.
    fn page(big_endian: bool, strips: [&[u8]; 2]) -> Vec<u8> {
        let short = |number: u16| match big_endian {
            true => number.to_be_bytes(),
            false => number.to_le_bytes(),
        };
        let long = |number: u32| match big_endian {
            true => number.to_be_bytes(),
            false => number.to_le_bytes(),
        };
        let mut file = if big_endian { b"MM\0*" } else { b"II*\0" }.to_vec();
        file.extend_from_slice(&long(8));
        let fields = [
            (256_u16, LONG, 1_u32, [long(1728), [0; 4]]),
            (
                262,
                SHORT,
                1,
                [[short(1), [0; 2]].concat().try_into().expect("4"), [0; 4]],
            ),
            (
                273,
                LONG,
                2,
                [long(200), long(200 + strips[0].len() as u32)],
            ),
            (
                279,
                LONG,
                2,
                [long(strips[0].len() as u32), long(strips[1].len() as u32)],
            ),
            (282, 5, 1, [long(204), long(1)]),
            (330, LONG, 1, [long(7), [0; 4]]),
        ];
        file.extend_from_slice(&short(fields.len() as u16));
        let mut more = Vec::new();
        let behind = 8 + 2 + 12 * fields.len() + 4;
        for (tag, kind, count, value) in fields {
            file.extend_from_slice(&short(tag));
            file.extend_from_slice(&short(kind));
            file.extend_from_slice(&long(count));
            if kind == 5 || count > 1 {
                file.extend_from_slice(&long((behind + more.len()) as u32));
                more.extend_from_slice(&value.concat());
            } else {
                file.extend_from_slice(&value[0]);
            }
        }
        file.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&more);
        file.resize(200, 0xee);
        file.extend_from_slice(&strips.concat());
        file
    }

    fn pages(tiff: &Tiff<'_>) -> Vec<Vec<Field>> {
        let (mut all, mut directory) = (Vec::new(), tiff.first().expect("a page"));
        while directory != 0 {
            let (fields, next) = tiff.page(directory).expect("a page");
            all.push(fields);
            directory = next;
        }
        all
    }

    fn pictures(bytes: &[u8]) -> Vec<Vec<u8>> {
        let tiff = Tiff::new(bytes).expect("a TIFF file");
        let picture = |fields: &Vec<Field>| strips(&tiff, fields).expect("a picture").concat();
        pages(&tiff).iter().map(picture).collect()
    }

    fn files(folder: &tempfile::TempDir, contents: &[&[u8]]) -> Vec<String> {
        let write = |(index, bytes): (usize, &&[u8])| {
            let path = folder.path().join(format!("{index}.tif"));
            std::fs::write(&path, bytes).expect("a file");
            path.display().to_string()
        };
        contents.iter().enumerate().map(write).collect()
    }

    #[test]
    fn pages_of_files_of_either_order_of_bytes_follow_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (page(false, [b"abc", b"de"]), page(true, [b"f", b"ghij"]));
        let both = join(&files(&folder, &[&one, &two])).expect("a document");
        assert_eq!(pictures(&both), [&b"abcde"[..], b"fghij"]);
        let again = join(&files(&folder, &[&both, &one])).expect("a document");
        assert_eq!(pictures(&again), [&b"abcde"[..], b"fghij", b"abcde"]);
        let tiff = Tiff::new(&again).expect("a TIFF file");
        for (index, fields) in pages(&tiff).iter().enumerate() {
            let value = |tag| {
                let found = fields.iter().find(|field| field.tag == tag);
                found.map(Field::numbers)
            };
            assert_eq!(value(256), Some(vec![1728]));
            assert_eq!(value(262), Some(vec![1]));
            assert_eq!(value(282), Some(vec![204, 1]));
            assert_eq!(value(PAGE_NUMBER), Some(vec![index as u64, 0]));
            assert_eq!(value(330), None, "it leads nowhere any more");
            assert!(fields.is_sorted_by_key(|field| field.tag));
        }
    }

    #[test]
    fn the_file_that_is_wrong_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let good = page(false, [b"abc", b"de"]);
        let mut tiled = good.clone();
        // StripOffsets becomes TileOffsets.
        tiled[8 + 2 + 24..][..2].copy_from_slice(&TILE_OFFSETS.to_le_bytes());
        let mut endless = good.clone();
        let link = 8 + 2 + 12 * 6;
        endless[link..link + 4].copy_from_slice(&8_u32.to_le_bytes());
        let cut = &good[..good.len() - 1];
        for (wrong, why) in [
            (&b"%PDF-1.7"[..], "no TIFF file"),
            (b"II", "no TIFF file"),
            (b"II+\0\x08\0\0\0", "BigTIFF"),
            (b"II*\0\0\0\0\0", "no page"),
            (cut, "ends before byte 205"),
            (&tiled, "page 1: its picture is in tiles"),
            (&endless, "more than 1000 pages"),
        ] {
            let error = join(&files(&folder, &[&good, wrong])).expect_err(why);
            let told = format!("{error:#}");
            assert!(told.contains("1.tif\": ") && told.contains(why), "{told}");
        }
        let missing = folder.path().join("none.tif").display().to_string();
        for error in [
            join(std::slice::from_ref(&missing)).err(),
            check(&missing).err(),
        ] {
            let told = format!("{:#}", error.expect("it is not there"));
            assert!(
                told.contains("none.tif") && told.contains("No such file"),
                "{told}"
            );
        }
    }

    #[test]
    fn no_byte_of_a_file_that_is_changed_does_harm() {
        let folder = tempfile::tempdir().expect("a folder");
        let good = page(true, [b"abc", b"de"]);
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = good.clone();
                changed[at] = value;
                if let Ok(document) = join(&files(&folder, &[&changed])) {
                    assert!(!pictures(&document).is_empty(), "byte {at} is {value}");
                }
            }
        }
    }

    #[test]
    fn a_nameless_file_can_be_read_by_its_path_and_is_in_no_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = Nameless::at(&folder.path().join("x.tiff"), b"pages").expect("a file");
        assert_eq!(std::fs::read(file.path()).expect("its bytes"), b"pages");
        let left = std::fs::read_dir(folder.path()).expect("a list").count();
        assert_eq!(left, 0);
    }
}
