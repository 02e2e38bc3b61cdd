//! One extension name or pattern: what it matches, and where it stands in the search order.
//!
//! A text that begins with `_` is a pattern, anything else is a name that matches only itself. Both work on bytes. A `-` is
//! ignored in patterns, in names and in dialled data.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// A set of bytes: the members of `X`, `Z`, `N` or `[...]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// All bytes from `first` to `last`, both included; empty when `last` is smaller.
    #[must_use]
    pub fn range(first: u8, last: u8) -> Self {
        let mut set = Self::default();
        for byte in first..=last {
            set.insert(byte);
        }
        set
    }

    /// Is there a byte in both that data can have? It has no `-`.
    fn meets(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        let mut both = Self::default();
        for (word, (one, other)) in both.0.iter_mut().zip(pairs) {
            *word = one & other;
        }
        both.0[usize::from(b'-' >> 6)] &= !(1 << (b'-' & 63));
        !both.is_empty()
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    /// Is `byte` a member?
    #[must_use]
    pub fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
    }

    /// Number of members, 0..=256.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Has it no member?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// The smallest member.
    #[must_use]
    pub fn smallest(&self) -> Option<u8> {
        (0..=u8::MAX).find(|byte| self.contains(*byte))
    }

    /// The membership bitmap with the lowest code in the highest bit, so that comparing numbers compares bitmaps.
    fn bitmap(&self) -> [u64; 4] {
        self.0.map(u64::reverse_bits)
    }
}

impl fmt::Debug for ByteSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<u8> = (0..=u8::MAX).filter(|byte| self.contains(*byte)).collect();
        write!(out, "[{}]", members.escape_ascii())
    }
}

/// One position of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// One byte of the set; a literal is a set of one.
    One(ByteSet),
    /// `.`: one or more of anything.
    Many,
    /// `!`: zero or more of anything, decided at once.
    Any,
    /// An unterminated `[`: nothing matches.
    Never,
}

impl Element {
    /// The key of this position; lower is tried earlier.
    fn key(&self) -> u32 {
        match self {
            Self::One(set) => (set.len() << 8) | u32::from(set.smallest().unwrap_or(0)),
            Self::Many => 0x18000,
            Self::Any => 0x28000,
            Self::Never => 0x40000,
        }
    }
}

/// The key of the end of a pattern: a longer pattern precedes its own prefix.
const END_KEY: u32 = 0x30000;

/// What is wrong with a pattern, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// `[` without `]`.
    Unterminated,
    /// `[]`, or a range that runs backwards and leaves a set empty.
    EmptySet,
    /// Characters after `.` or `!` are never looked at.
    AfterWildcard,
    /// Nothing is left of the pattern (`_`, `_-`): only an empty extension could match.
    Empty,
    /// It begins with a wildcard (`_.`, `_!`) and so matches `i`, `h`, `t` and every other special extension too.
    CatchesSpecials,
}

/// How data is compared with extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The data is complete: does it match?
    Match,
    /// Does it match, or could it, with more digits?
    CanMatch,
    /// Could a longer text match?
    MatchMore,
}

/// The result of comparing data with one extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It does not, in this mode.
    No,
    /// It does, in this mode.
    Yes,
    /// It does by `!`: final, for [`Mode::MatchMore`] final and no.
    Early,
}

/// A compiled name or pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Matches exactly this text (kept without `-`).
    Name(Box<str>),
    /// Matches position by position.
    Elements(Box<[Element]>),
}

/// `text` without `-`.
#[must_use]
pub fn without_dashes(text: &str) -> Cow<'_, str> {
    if text.contains('-') {
        Cow::Owned(text.replace('-', ""))
    } else {
        Cow::Borrowed(text)
    }
}

impl Pattern {
    /// Compiles `text`. Never fails: a defective pattern matches as little as its defect says (see [`defects`]).
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix('_') {
            None => Self::Name(without_dashes(text).into()),
            Some(pattern) => Self::Elements(elements(pattern.as_bytes(), &mut Vec::new()).into()),
        }
    }

    /// Is it a pattern, not a name?
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        matches!(self, Self::Elements(_))
    }

    /// Compares `data` (dialled digits or a name) in `mode`.
    #[must_use]
    pub fn compare(&self, data: &str, mode: Mode) -> Outcome {
        let data = without_dashes(data);
        let data = data.as_bytes();
        match self {
            Self::Name(name) => yes_if(match mode {
                Mode::Match => name.as_bytes() == data,
                Mode::CanMatch => name.as_bytes().starts_with(data),
                Mode::MatchMore => name.len() > data.len() && name.as_bytes().starts_with(data),
            }),
            Self::Elements(elements) => compare_elements(elements, data, mode),
        }
    }

    /// Does complete `data` match?
    #[must_use]
    pub fn matches(&self, data: &str) -> bool {
        self.compare(data, Mode::Match) != Outcome::No
    }

    /// Can both match the same data? Says yes rather than no of patterns with defects.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(other)) => one == other,
            (Self::Name(name), pattern) | (pattern, Self::Name(name)) => pattern.matches(name),
            (Self::Elements(left), Self::Elements(right)) => {
                let (mut left, mut right) = (left.iter(), right.iter());
                loop {
                    return match (left.next(), right.next()) {
                        (Some(Element::One(one)), Some(Element::One(other))) => {
                            if one.meets(other) {
                                continue;
                            }
                            false
                        }
                        // One more at least, which the end of the other does not have.
                        (None, Some(Element::Many | Element::One(_)))
                        | (Some(Element::Many | Element::One(_)), None) => false,
                        _ => true,
                    };
                }
            }
        }
    }

    /// An extension that this pattern matches, for checks; `None` when there is none.
    #[must_use]
    pub fn sample(&self) -> Option<String> {
        match self {
            Self::Name(name) => Some(name.to_string()),
            Self::Elements(elements) => {
                let mut text = Vec::new();
                for element in elements {
                    match element {
                        // Data has no `-`, so a set's `-` is never met.
                        Element::One(set) => text
                            .push((0..=u8::MAX).find(|byte| *byte != b'-' && set.contains(*byte))?),
                        Element::Many => text.push(b'0'),
                        Element::Any => {}
                        Element::Never => return None,
                    }
                }
                // Byte sets may cut through a UTF-8 character; such a pattern has no sample that is text.
                String::from_utf8(text).ok()
            }
        }
    }

    /// The order in which a static context tries extensions: names first, then patterns, most specific first.
    #[must_use]
    pub fn search_order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Name(left), Self::Name(right)) => left.cmp(right),
            (Self::Name(_), Self::Elements(_)) => Ordering::Less,
            (Self::Elements(_), Self::Name(_)) => Ordering::Greater,
            (Self::Elements(left), Self::Elements(right)) => compare_keys(left, right),
        }
    }
}

fn yes_if(condition: bool) -> Outcome {
    if condition { Outcome::Yes } else { Outcome::No }
}

fn compare_elements(elements: &[Element], data: &[u8], mode: Mode) -> Outcome {
    let mut rest = data.iter();
    let mut position = elements.iter();
    loop {
        match (position.next(), rest.as_slice().first()) {
            (Some(Element::Any), _) => return Outcome::Early,
            (Some(Element::Many), Some(_)) => return Outcome::Yes,
            (Some(Element::One(set)), Some(byte)) => {
                if !set.contains(*byte) {
                    return Outcome::No;
                }
                rest.next();
            }
            (Some(Element::Never), Some(_)) => return Outcome::No,
            (None, Some(_)) => return Outcome::No,
            (None, None) => return yes_if(mode != Mode::MatchMore),
            (Some(_), None) => return yes_if(mode != Mode::Match),
        }
    }
}

fn compare_keys(left: &[Element], right: &[Element]) -> Ordering {
    let mut left = left.iter();
    let mut right = right.iter();
    loop {
        let (one, other) = (left.next(), right.next());
        let key = one
            .map_or(END_KEY, Element::key)
            .cmp(&other.map_or(END_KEY, Element::key));
        if key != Ordering::Equal {
            return key;
        }
        match (one, other) {
            (Some(Element::One(one)), Some(Element::One(other))) => {
                // The larger bitmap, with members nearer the low codes, goes first.
                let order = other.bitmap().cmp(&one.bitmap());
                if order != Ordering::Equal {
                    return order;
                }
            }
            (Some(_), Some(_)) => {}
            _ => return Ordering::Equal,
        }
    }
}

fn elements(pattern: &[u8], defects: &mut Vec<Defect>) -> Vec<Element> {
    let mut list = Vec::new();
    let mut at = 0;
    while let Some(&byte) = pattern.get(at) {
        at += 1;
        let set = match byte {
            b'-' => continue,
            b'X' | b'x' => ByteSet::range(b'0', b'9'),
            b'Z' | b'z' => ByteSet::range(b'1', b'9'),
            b'N' | b'n' => ByteSet::range(b'2', b'9'),
            b'.' | b'!' => {
                list.push(if byte == b'.' {
                    Element::Many
                } else {
                    Element::Any
                });
                if at < pattern.len() {
                    defects.push(Defect::AfterWildcard);
                }
                break;
            }
            b'[' => {
                let rest = &pattern[at..];
                let Some(end) = rest.iter().position(|byte| *byte == b']') else {
                    list.push(Element::Never);
                    defects.push(Defect::Unterminated);
                    break;
                };
                at += end + 1;
                let set = members(&rest[..end]);
                if set.is_empty() {
                    defects.push(Defect::EmptySet);
                    continue;
                }
                set
            }
            literal => ByteSet::range(literal, literal),
        };
        list.push(Element::One(set));
    }
    list
}

fn members(text: &[u8]) -> ByteSet {
    let mut set = ByteSet::default();
    let mut at = 0;
    while at < text.len() {
        let first = text[at];
        if at + 2 < text.len() && text[at + 1] == b'-' {
            for byte in first..=text[at + 2] {
                set.insert(byte);
            }
            at += 3;
        } else {
            set.insert(first);
            at += 1;
        }
    }
    set
}

/// What is wrong with the pattern `text`; nothing for a name.
#[must_use]
pub fn defects(text: &str) -> Vec<Defect> {
    let Some(pattern) = text.strip_prefix('_') else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let list = elements(pattern.as_bytes(), &mut found);
    match list.first() {
        None => found.push(Defect::Empty),
        Some(Element::Many | Element::Any) => found.push(Defect::CatchesSpecials),
        _ => {}
    }
    found
}
