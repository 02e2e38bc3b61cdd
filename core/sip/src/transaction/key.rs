//! What matches a message to its transaction: RFC 3261 §17.1.3, §17.2.3, with the rules for RFC 2543 peers, and the
//! branches we make ourselves.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};

/// How a branch of RFC 3261 begins (§8.1.1.7).
const BRANCH_COOKIE: &str = "z9hG4bK";

/// An owned key. Kept as bytes so that a look-up borrows a scratch buffer and allocates nothing.
pub(super) type Key = Box<[u8]>;

/// A key under construction, in a buffer that is used again and again.
#[derive(Debug, Default)]
pub(super) struct KeyBuffer(Vec<u8>);

impl KeyBuffer {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn to_key(&self) -> Key {
        self.0.as_slice().into()
    }

    fn start(&mut self, kind: u8) -> &mut Self {
        self.0.clear();
        self.0.push(kind);
        self
    }

    fn exact(&mut self, part: &str) -> &mut Self {
        self.0.extend_from_slice(part.as_bytes());
        // No part can contain it: a parsed message has no NUL in these fields, and if it had, the worst is that one
        // sender confuses its own transactions.
        self.0.push(0);
        self
    }

    fn caseless(&mut self, part: &str) -> &mut Self {
        self.0
            .extend(part.bytes().map(|byte| byte.to_ascii_lowercase()));
        self.0.push(0);
        self
    }

    fn number(&mut self, number: u32) -> &mut Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// §17.1.3: the branch of the top Via and the method of the CSeq.
    pub(super) fn client(&mut self, branch: &str, method: &str) {
        self.start(1).caseless(branch).exact(method);
    }

    /// §17.2.3: branch, sent-by and method, where an ACK or CANCEL looks for its INVITE by passing that method.
    pub(super) fn server(&mut self, branch: &str, host: &str, port: u16, method: &str) {
        self.start(2)
            .caseless(branch)
            .caseless(host)
            .number(u32::from(port))
            .exact(method);
    }

    /// §17.2.3, peers of RFC 2543: Request-URI, From tag, Call-ID, CSeq and the whole top Via. The To tag is left out:
    /// where it differs the CSeq does too, and the ACK has one that the INVITE had not.
    pub(super) fn server_2543(&mut self, request: &OldRequest<'_>, method: &str) {
        self.start(3)
            .exact(request.request_uri)
            .exact(request.from_tag)
            .exact(request.call_id)
            .number(request.cseq)
            .exact(request.via)
            .exact(method);
    }

    /// §8.2.2.2: what two copies of one request that came by different paths have in common.
    pub(super) fn merged(&mut self, call_id: &str, from_tag: &str, cseq: u32, method: &str) {
        self.start(4)
            .exact(call_id)
            .exact(from_tag)
            .number(cseq)
            .exact(method);
    }
}

/// The fields that identify a request without the magic cookie.
#[derive(Debug)]
pub(super) struct OldRequest<'a> {
    pub(super) request_uri: &'a str,
    pub(super) from_tag: &'a str,
    pub(super) call_id: &'a str,
    pub(super) cseq: u32,
    pub(super) via: &'a str,
}

/// Makes Via branches and tags: unique in this process and not to be guessed from earlier ones.
#[derive(Debug)]
pub struct Branches {
    secret: Secret,
    count: u64,
}

/// What makes the outputs of one generator its own; a counter makes each of them new.
#[derive(Clone, Debug)]
enum Secret {
    /// SipHash with a random key of the process.
    Random(RandomState),
    /// SipHash with a key that everybody knows.
    Seed(u64),
}

impl Secret {
    fn hasher(&self) -> DefaultHasher {
        match self {
            Self::Random(state) => state.build_hasher(),
            Self::Seed(seed) => {
                let mut hasher = DefaultHasher::new();
                hasher.write_u64(*seed);
                hasher
            }
        }
    }
}

impl Default for Branches {
    fn default() -> Self {
        Self::new()
    }
}

impl Branches {
    /// A generator with a secret of its own.
    pub fn new() -> Self {
        Self {
            secret: Secret::Random(RandomState::new()),
            count: 0,
        }
    }

    /// A generator whose outputs follow from `seed`, and which anybody can guess therefore: for simulations that have to run
    /// the same way again.
    pub fn seeded(seed: u64) -> Self {
        Self {
            secret: Secret::Seed(seed),
            count: 0,
        }
    }

    fn next(&mut self) -> (u64, u64) {
        self.count += 1;
        let number = |which: u8| {
            let mut hasher = self.secret.hasher();
            (self.count, which).hash(&mut hasher);
            hasher.finish()
        };
        (number(1), number(2))
    }

    /// A new branch: the magic cookie and 32 hexadecimal digits.
    pub fn branch(&mut self) -> String {
        let (a, b) = self.next();
        format!("{BRANCH_COOKIE}{a:016x}{b:016x}")
    }

    /// A new From or To tag, 64 bits (RFC 3261 §19.3 wants at least 32).
    pub fn tag(&mut self) -> String {
        format!("{:016x}", self.next().0)
    }

    /// A new Call-ID without host part, 128 bits.
    pub fn call_id(&mut self) -> String {
        let (a, b) = self.next();
        format!("{a:016x}{b:016x}")
    }

    /// A tag that is the same each time for the same key: for responses made without state (§8.2.7).
    pub(super) fn stateless_tag(&self, key: &[u8]) -> String {
        let mut hasher = self.secret.hasher();
        hasher.write(key);
        hasher.write_u8(3);
        format!("{:016x}", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn branches_and_tags_are_new_each_time() {
        let mut branches = Branches::new();
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            let branch = branches.branch();
            assert!(branch.starts_with(BRANCH_COOKIE) && branch.len() == 39);
            assert!(seen.insert(branch));
            assert!(seen.insert(branches.tag()));
            assert!(seen.insert(branches.call_id()));
        }
    }

    #[test]
    fn what_is_seeded_comes_again_and_other_seeds_differ() {
        let numbers =
            |mut branches: Branches| [branches.branch(), branches.tag(), branches.call_id()];
        assert_eq!(numbers(Branches::seeded(7)), numbers(Branches::seeded(7)));
        assert_ne!(numbers(Branches::seeded(7)), numbers(Branches::seeded(8)));
        assert_ne!(numbers(Branches::new()), numbers(Branches::new()));
    }

    #[test]
    fn a_stateless_tag_depends_on_the_key_alone() {
        let mut branches = Branches::new();
        let tag = branches.stateless_tag(b"one");
        branches.branch();
        assert_eq!(branches.stateless_tag(b"one"), tag);
        assert_ne!(branches.stateless_tag(b"two"), tag);
    }

    #[test]
    fn keys_differ_where_the_rules_say_so() {
        let mut a = KeyBuffer::default();
        let mut b = KeyBuffer::default();
        a.server("z9hG4bKx", "Host", 5060, "INVITE");
        b.server("Z9HG4BKX", "host", 5060, "INVITE");
        assert_eq!(a.as_slice(), b.as_slice());
        b.server("z9hG4bKx", "host", 5061, "INVITE");
        assert_ne!(a.as_slice(), b.as_slice());
        b.server("z9hG4bKx", "host", 5060, "CANCEL");
        assert_ne!(a.as_slice(), b.as_slice());
        a.client("ab", "c");
        b.client("a", "bc");
        assert_ne!(a.as_slice(), b.as_slice());
    }
}
