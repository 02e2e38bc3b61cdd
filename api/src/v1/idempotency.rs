//! Answers that are remembered for a while, so that a request that is sent again is not done again (`Idempotency-Key`).

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};
use warp::http::StatusCode;

use super::problem::Problem;

/// Answers that are remembered.
const ANSWERS_MAX: usize = 10_000;
/// Of these, of one key of the API.
const OF_KEY_MAX: usize = 1000;
/// For how long.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// Bytes of a key.
const KEY_MAX: usize = 255;

struct Entry {
    digest: [u8; 32],
    since: Instant,
    /// None: it is being done.
    answer: Option<(StatusCode, String)>,
}

/// Whose key, and the key.
type Name = (String, String);

/// The answers of all keys.
#[derive(Default)]
pub(crate) struct Answers(Mutex<FxHashMap<Name, Entry>>);

/// What is to be done about a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// It is new.
    Do,
    /// It was done, and answered so.
    Done(StatusCode, String),
}

/// A request that is being done; what is not finished may be tried again.
pub(super) struct Doing<'a> {
    answers: &'a Answers,
    name: Option<Name>,
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.answers.0.lock().remove(&name);
        }
    }
}

impl Doing<'_> {
    /// It was done.
    pub(super) fn finish(mut self, status: StatusCode, body: &str) {
        if let Some(name) = self.name.take()
            && let Some(entry) = self.answers.0.lock().get_mut(&name)
        {
            entry.answer = Some((status, body.to_owned()));
        }
    }
}

impl Answers {
    /// Looks a request up that `user` names `key`; an empty key is no name.
    ///
    /// # Errors
    /// 409 while it is being done, 422 where the key named another request, 400 for a key that is too long.
    pub(super) fn begin(
        &self,
        user: &str,
        key: &str,
        body: &str,
        now: Instant,
    ) -> Result<(Before, Doing<'_>), Problem> {
        let nothing = Doing {
            answers: self,
            name: None,
        };
        if key.is_empty() {
            return Ok((Before::Do, nothing));
        }
        if key.len() > KEY_MAX {
            let why = format!("Idempotency-Key: {KEY_MAX} characters are allowed");
            return Err(Problem::bad(why));
        }
        let digest: [u8; 32] = Sha256::digest(body.as_bytes()).into();
        let name = (user.to_owned(), key.to_owned());
        let mut answers = self.0.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, entry| now.saturating_duration_since(entry.since) < LIFE);
        }
        if let Some(entry) = answers.get(&name)
            && now.saturating_duration_since(entry.since) < LIFE
        {
            if entry.digest != digest {
                let why = "Idempotency-Key: it named another request before";
                return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why));
            }
            return match &entry.answer {
                Some((status, body)) => Ok((Before::Done(*status, body.clone()), nothing)),
                None => Err(Problem::new(
                    StatusCode::CONFLICT,
                    "Idempotency-Key: this request is being done",
                )),
            };
        }
        let own = answers.keys().filter(|(known, _)| known == user).count();
        if own >= OF_KEY_MAX {
            // His oldest makes room, unless it is being done.
            let done = answers
                .iter()
                .filter(|((known, _), entry)| known == user && entry.answer.is_some());
            let oldest = done
                .min_by_key(|(_, entry)| entry.since)
                .map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                answers.remove(&oldest);
            }
        }
        if answers.len() >= ANSWERS_MAX {
            let why = format!("{ANSWERS_MAX} idempotency keys are remembered, which is the limit");
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        let entry = Entry {
            digest,
            since: now,
            answer: None,
        };
        answers.insert(name.clone(), entry);
        let doing = Doing {
            answers: self,
            name: Some(name),
        };
        Ok((Before::Do, doing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_not_done_again_and_what_was_not_may_be_tried() {
        let answers = Answers::default();
        let now = Instant::now();
        let begin = |key: &str, body: &str, now| answers.begin("u", key, body, now);
        let (before, doing) = begin("k", "a", now).expect("new");
        assert_eq!(before, Before::Do);
        let busy = begin("k", "a", now)
            .map(|(before, _)| before)
            .expect_err("busy");
        assert_eq!(busy.status, StatusCode::CONFLICT);
        drop(doing);
        let (_, doing) = begin("k", "a", now).expect("tried again");
        doing.finish(StatusCode::CREATED, "{}");
        let again = begin("k", "a", now).expect("done").0;
        assert_eq!(again, Before::Done(StatusCode::CREATED, "{}".to_owned()));
        let other = begin("k", "b", now)
            .map(|(before, _)| before)
            .expect_err("another");
        assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            answers.begin("v", "k", "b", now).expect("another user").0,
            Before::Do
        );
        assert_eq!(
            begin("k", "b", now + LIFE).expect("forgotten").0,
            Before::Do
        );
        assert_eq!(begin("", "a", now).expect("no key").0, Before::Do);
        assert!(begin(&"k".repeat(KEY_MAX + 1), "a", now).is_err());
    }

    #[test]
    fn there_is_room_for_so_many() {
        let answers = Answers::default();
        let now = Instant::now();
        for number in 0..ANSWERS_MAX {
            let user = (number % 10).to_string();
            let (_, doing) = answers
                .begin(&user, &number.to_string(), "", now)
                .expect("room");
            doing.finish(StatusCode::OK, "");
        }
        // Who has many loses one of his own.
        let (_, doing) = answers.begin("3", "more", "", now).expect("room");
        doing.finish(StatusCode::OK, "");
        assert_eq!(answers.0.lock().len(), ANSWERS_MAX);
        let full = answers
            .begin("u", "more", "", now)
            .map(|(before, _)| before);
        assert_eq!(
            full.map_err(|problem| problem.status),
            Err(StatusCode::SERVICE_UNAVAILABLE)
        );
        assert!(answers.begin("u", "more", "", now + LIFE).is_ok());
    }
}
