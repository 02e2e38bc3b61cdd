//! All extensions of a context: which of them match these digits, in search order.
//!
//! Names lie in a hash map and a sorted list, patterns in a trie of byte sets that is walked with all compatible branches at
//! once, so that a look-up costs about the length of the digits and not the number of extensions.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::pattern::{ByteSet, Element, Mode, Pattern, without_dashes};

/// In which order patterns are tried. Names always come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Most specific pattern first, as in a context of `extensions.conf`.
    Specific,
    /// Longest pattern text first, then by text, as the realtime switch asks its table.
    Longest,
}

/// What the searcher says of an extension that matches by its name or pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Has what is wanted.
    Take,
    /// Matches, but has not the wanted priority: look on.
    NoPriority,
    /// Does not match after all, because of the caller.
    NotForCaller,
}

#[derive(Debug, Default)]
struct Node {
    literals: BTreeMap<u8, u32>,
    sets: Vec<(ByteSet, u32)>,
    /// Patterns that end here.
    end: Vec<u32>,
    /// Patterns with `.` here.
    many: Vec<u32>,
    /// Patterns with `!` here.
    any: Vec<u32>,
    /// Patterns that can never get past here but may be begun.
    never: Vec<u32>,
}

/// An index over extension names and patterns. Extensions are known by their position in the list given to [`Matcher::new`].
#[derive(Debug, Default)]
pub struct Matcher {
    names: FxHashMap<Box<str>, Vec<u32>>,
    sorted: Vec<(Box<str>, u32)>,
    nodes: Vec<Node>,
    /// Place in search order of each extension.
    rank: Vec<u32>,
}

impl Matcher {
    /// Indexes `extensions`. Equal texts keep the order given.
    #[must_use]
    pub fn new<'t>(order: Order, extensions: impl IntoIterator<Item = &'t str>) -> Self {
        let list: Vec<(&str, Pattern)> = extensions
            .into_iter()
            .map(|text| (text, Pattern::parse(text)))
            .collect();
        let mut places: Vec<u32> = (0..).take(list.len()).collect();
        places.sort_by(|left, right| {
            let (left, right) = (&list[*left as usize], &list[*right as usize]);
            match order {
                Order::Specific => left.1.search_order(&right.1),
                Order::Longest => longest(left, right),
            }
        });
        let mut matcher = Self {
            nodes: vec![Node::default()],
            rank: vec![0; list.len()],
            ..Self::default()
        };
        for (rank, place) in (0..).zip(&places) {
            matcher.rank[*place as usize] = rank;
        }
        for place in places {
            match &list[place as usize].1 {
                Pattern::Name(name) => {
                    matcher.names.entry(name.clone()).or_default().push(place);
                    matcher.sorted.push((name.clone(), place));
                }
                Pattern::Elements(elements) => matcher.insert(elements, place),
            }
        }
        matcher.sorted.sort_by(|left, right| left.0.cmp(&right.0));
        matcher
    }

    fn insert(&mut self, elements: &[Element], place: u32) {
        let mut node = 0;
        for element in elements {
            match element {
                Element::One(set) => node = self.child(node, set),
                Element::Many => return self.nodes[node].many.push(place),
                Element::Any => return self.nodes[node].any.push(place),
                Element::Never => return self.nodes[node].never.push(place),
            }
        }
        self.nodes[node].end.push(place);
    }

    fn child(&mut self, node: usize, set: &ByteSet) -> usize {
        let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let literal = if set.len() == 1 { set.smallest() } else { None };
        let found = match literal {
            Some(byte) => *self.nodes[node].literals.entry(byte).or_insert(next),
            None => match self.nodes[node].sets.iter().find(|(known, _)| known == set) {
                Some((_, child)) => *child,
                None => {
                    self.nodes[node].sets.push((*set, next));
                    next
                }
            },
        };
        if found == next {
            self.nodes.push(Node::default());
        }
        found as usize
    }

    /// The first extension in search order that matches complete `data` and that `judge` takes.
    pub fn find(&self, data: &str, mut judge: impl FnMut(usize) -> Verdict) -> Option<usize> {
        let data = without_dashes(data);
        if let Some(places) = self.names.get(data.as_ref()) {
            for place in places {
                if judge(*place as usize) == Verdict::Take {
                    return Some(*place as usize);
                }
            }
        }
        let mut hits = Vec::new();
        let ends = self.walk(data.as_bytes(), |node, left| {
            if left > 0 {
                hits.extend_from_slice(&node.many);
            }
            hits.extend_from_slice(&node.any);
        });
        for node in ends {
            hits.extend_from_slice(&self.nodes[node as usize].end);
        }
        hits.sort_unstable_by_key(|place| self.rank[*place as usize]);
        hits.into_iter()
            .map(|place| place as usize)
            .find(|place| judge(*place) == Verdict::Take)
    }

    /// For digits that are still being dialled: does `data` match or could it ([`Mode::CanMatch`]), or could more digits match
    /// ([`Mode::MatchMore`]), with an extension that `judge` takes? [`Mode::Match`] asks the same as [`Matcher::find`].
    pub fn could(&self, data: &str, mode: Mode, mut judge: impl FnMut(usize) -> Verdict) -> bool {
        if mode == Mode::Match {
            return self.find(data, judge).is_some();
        }
        let data = without_dashes(data);
        let data = data.as_ref();
        let from = self
            .sorted
            .partition_point(|(name, _)| name.as_ref() < data);
        for (name, place) in self.sorted[from..]
            .iter()
            .take_while(|(name, _)| name.starts_with(data))
        {
            let longer = mode == Mode::CanMatch || name.len() > data.len();
            if longer && judge(*place as usize) == Verdict::Take {
                return true;
            }
        }
        // A `!` on the way settles MatchMore with no, for all extensions after it.
        let mut early = Vec::new();
        let mut hits = Vec::new();
        let ends = self.walk(data.as_bytes(), |node, left| {
            if left > 0 {
                hits.extend_from_slice(&node.many);
            }
            if mode == Mode::MatchMore {
                early.extend_from_slice(&node.any);
            } else {
                hits.extend_from_slice(&node.any);
            }
        });
        let limit = early
            .into_iter()
            .filter(|place| judge(*place as usize) != Verdict::NotForCaller)
            .map(|place| self.rank[place as usize])
            .min()
            .unwrap_or(u32::MAX);
        let mut good = |place: &u32| {
            self.rank[*place as usize] < limit && judge(*place as usize) == Verdict::Take
        };
        if hits.iter().any(&mut good) {
            return true;
        }
        let mut open: Vec<u32> = Vec::new();
        for node in ends {
            let node = &self.nodes[node as usize];
            if mode == Mode::CanMatch && node.end.iter().any(&mut good) {
                return true;
            }
            if node.many.iter().chain(&node.never).any(&mut good) {
                return true;
            }
            open.extend(
                node.literals
                    .values()
                    .chain(node.sets.iter().map(|(_, child)| child)),
            );
        }
        while let Some(node) = open.pop() {
            let node = &self.nodes[node as usize];
            if node
                .end
                .iter()
                .chain(&node.many)
                .chain(&node.any)
                .chain(&node.never)
                .any(&mut good)
            {
                return true;
            }
            open.extend(
                node.literals
                    .values()
                    .chain(node.sets.iter().map(|(_, child)| child)),
            );
        }
        false
    }

    /// Walks all branches that accept `data`; `visit` sees each node on the way with the number of bytes left. Returns the nodes
    /// reached at the end of the data.
    fn walk(&self, data: &[u8], mut visit: impl FnMut(&Node, usize)) -> Vec<u32> {
        let mut here: Vec<u32> = if self.nodes.is_empty() {
            Vec::new()
        } else {
            vec![0]
        };
        let mut next = Vec::new();
        for (at, byte) in data.iter().enumerate() {
            if here.is_empty() {
                return here;
            }
            for node in here.drain(..) {
                let node = &self.nodes[node as usize];
                visit(node, data.len() - at);
                next.extend(node.literals.get(byte));
                next.extend(
                    node.sets
                        .iter()
                        .filter(|(set, _)| set.contains(*byte))
                        .map(|(_, child)| *child),
                );
            }
            std::mem::swap(&mut here, &mut next);
        }
        for node in &here {
            visit(&self.nodes[*node as usize], 0);
        }
        here
    }
}

/// How extensions would be asked in both orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orders {
    /// Whatever is dialled, what matches is asked in the same order.
    Same,
    /// Both of these match something, and the first comes first in [`Order::Specific`] but not in [`Order::Longest`].
    Differ(usize, usize),
    /// More than 4000 patterns, which were not compared.
    TooMany,
}

/// Patterns that are compared with each other at most.
const COMPARED_MAX: usize = 4000;

/// Does it matter for these extensions, each a different text, in which order they are asked?
#[must_use]
pub fn differing(extensions: &[&str]) -> Orders {
    let list: Vec<(&str, Pattern)> = extensions
        .iter()
        .map(|text| (*text, Pattern::parse(text)))
        .collect();
    let mut specific: Vec<usize> = (0..list.len()).collect();
    specific.sort_by(|left, right| list[*left].1.search_order(&list[*right].1));
    let mut long: Vec<usize> = (0..list.len()).collect();
    long.sort_by(|left, right| longest(&list[*left], &list[*right]));
    let mut rank = vec![0; list.len()];
    for (at, place) in long.into_iter().enumerate() {
        rank[place] = at;
    }
    let (patterns, names): (Vec<usize>, Vec<usize>) = specific
        .into_iter()
        .partition(|place| list[*place].1.is_pattern());
    if patterns.len() > COMPARED_MAX {
        return Orders::TooMany;
    }
    let differ = |first: usize, second: usize| {
        rank[first] > rank[second] && list[first].1.overlaps(&list[second].1)
    };
    // Names that are one without their dashes stand side by side.
    let beside = names.windows(2).map(|pair| (pair[0], pair[1]));
    let mut found = beside
        .clone()
        .find(|(first, second)| differ(*first, *second));
    for (at, first) in patterns.iter().enumerate() {
        let mut later = patterns[at + 1..].iter();
        let second = later.find(|second| differ(*first, **second));
        found = found.or(second.map(|second| (*first, *second)));
        if found.is_some() {
            break;
        }
    }
    found.map_or(Orders::Same, |(first, second)| {
        Orders::Differ(first, second)
    })
}

fn longest(left: &(&str, Pattern), right: &(&str, Pattern)) -> Ordering {
    left.1
        .is_pattern()
        .cmp(&right.1.is_pattern())
        .then_with(|| right.0.len().cmp(&left.0.len()))
        .then_with(|| left.0.cmp(right.0))
}
