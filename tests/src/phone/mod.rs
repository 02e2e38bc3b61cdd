//! Scripted telephones: a bank of them runs in one thread, each with an account and a socket of its own.
//!
//! Here lives the script's side: register, call, answer, hold, listen. What a test waits for either happens within its
//! time or the test fails with what was seen instead. Nothing here reuses code of the exchange.

mod incoming;
mod outgoing;
mod rtp;
mod signal;
mod state;

pub use rtp::{Heard, Source};
pub use state::{Challenge, Ending, Manner, Stage};

use crate::wire::SipText;
use signal::Inner;
use state::Account;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panicking test leaves the bank usable for its clean-up.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `done` gives a value, at most `limit`.
    fn wait<T>(&self, limit: Duration, mut done: impl FnMut(&mut Inner) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut inner = self.lock();
        loop {
            if let Some(value) = done(&mut inner) {
                return Some(value);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            inner = self
                .changed
                .wait_timeout(inner, left.min(Duration::from_millis(50)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// Many telephones in one thread. Dropping it ends the thread; calls are not hung up by that.
#[derive(Debug)]
pub struct Bank {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// How calls of a bank have gone, for load tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All calls, both directions.
    pub calls: usize,
    /// Calls that are or were answered.
    pub answered: usize,
    /// Calls up at this moment.
    pub up: usize,
    /// Calls that ended without an answer.
    pub failed: usize,
    /// Packets sent on all calls that are still up.
    pub sent: u64,
    /// Packets heard on all calls.
    pub packets: u64,
    /// Packets lost on all calls.
    pub lost: u64,
    /// Answered calls on which nothing was heard.
    pub deaf: usize,
    /// What the failed calls ended with.
    pub endings: Vec<Ending>,
}

impl Default for Bank {
    fn default() -> Self {
        Self::new()
    }
}

impl Bank {
    /// An empty bank with its thread running.
    pub fn new() -> Self {
        allow_many_sockets();
        let shared = Arc::new(Shared::default());
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("telephones".to_owned())
            .spawn(move || {
                while !worker.stop.load(Ordering::Relaxed) {
                    let changed = worker.lock().sweep(Instant::now());
                    if changed {
                        worker.changed.notify_all();
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
            .expect("a thread can be started");
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// A telephone on 127.0.0.1 with that account at the exchange.
    pub fn phone(&self, user: &str, password: &str, exchange: SocketAddr) -> Phone {
        self.phone_at(Ipv4Addr::LOCALHOST.into(), user, password, exchange)
    }

    /// A telephone on that local address.
    pub fn phone_at(&self, ip: IpAddr, user: &str, password: &str, exchange: SocketAddr) -> Phone {
        let socket = UdpSocket::bind((ip, 0)).expect("a free UDP port");
        socket.set_nonblocking(true).expect("a non-blocking socket");
        let local = socket.local_addr().expect("a bound socket has an address");
        let mut inner = self.shared.lock();
        let call_id = format!("{:016x}@register", inner.unique());
        inner.accounts.push(Account {
            user: user.to_owned(),
            password: password.to_owned(),
            exchange,
            socket,
            local,
            manner: Manner::Manual,
            challenge: Challenge::Never,
            source: Source::Silence,
            keep_samples: true,
            call_id,
            cseq: 0,
            registered: None,
            incoming: VecDeque::new(),
            requests: Vec::new(),
        });
        Phone {
            shared: Arc::clone(&self.shared),
            index: inner.accounts.len() - 1,
        }
    }

    /// How all calls of this bank have gone so far.
    pub fn tally(&self) -> Tally {
        let inner = self.shared.lock();
        let mut tally = Tally::default();
        for call in &inner.calls {
            tally.calls += 1;
            let heard = call.rtp.as_ref().map_or(&call.heard, |rtp| &rtp.heard);
            tally.sent += call.rtp.as_ref().map_or(0, |rtp| rtp.sent);
            tally.packets += heard.packets;
            tally.lost += heard.lost;
            if call.answered_at.is_some() {
                tally.answered += 1;
                tally.up += usize::from(call.stage == Stage::Up);
                tally.deaf += usize::from(heard.packets == 0);
            } else if call.stage == Stage::Ended {
                tally.failed += 1;
                tally.endings.extend(call.ending.clone());
            }
        }
        tally
    }

    /// Waits until that holds of the tally; returns the last tally either way.
    pub fn wait_for(&self, limit: Duration, mut done: impl FnMut(&Tally) -> bool) -> Tally {
        let deadline = Instant::now() + limit;
        loop {
            let tally = self.tally();
            if done(&tally) || Instant::now() >= deadline {
                return tally;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Hangs up every call that is up or early.
    pub fn hang_up_all(&self) {
        let mut inner = self.shared.lock();
        let now = Instant::now();
        for index in 0..inner.calls.len() {
            inner.hang_up(index, now);
        }
    }
}

/// Each call takes two descriptors, and a shell often allows only 1024: the limit of this process is raised to 16384 where
/// that is permitted. Where it is not, a test with many calls says that there are no free ports.
fn allow_many_sockets() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let _ = std::process::Command::new("prlimit")
            .arg(format!("--pid={}", std::process::id()))
            .arg("--nofile=16384:")
            .stderr(std::process::Stdio::null())
            .status();
    });
}

impl Drop for Bank {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One telephone.
#[derive(Clone, Debug)]
pub struct Phone {
    shared: Arc<Shared>,
    index: usize,
}

impl Phone {
    fn account<T>(&self, what: impl FnOnce(&mut Account) -> T) -> T {
        what(&mut self.shared.lock().accounts[self.index])
    }

    /// Its SIP address.
    pub fn address(&self) -> SocketAddr {
        self.account(|a| a.local)
    }

    /// Sends everything to that address from now on; two telephones can so talk without an exchange.
    pub fn set_exchange(&self, exchange: SocketAddr) {
        self.account(|a| a.exchange = exchange);
    }

    /// Sets what it does with incoming calls.
    pub fn set_manner(&self, manner: Manner) -> &Self {
        self.account(|a| a.manner = manner);
        self
    }

    /// Sets whether it challenges callers, in tests of the peers themselves.
    pub fn set_challenge(&self, challenge: Challenge) -> &Self {
        self.account(|a| a.challenge = challenge);
        self
    }

    /// Sets what its next calls send.
    pub fn set_source(&self, source: Source) -> &Self {
        self.account(|a| a.source = source);
        self
    }

    /// Whether its next calls keep the audio (the usual) or only count packets (load tests).
    pub fn keep_samples(&self, keep: bool) -> &Self {
        self.account(|a| a.keep_samples = keep);
        self
    }

    /// Changes the password it answers challenges with.
    pub fn set_password(&self, password: &str) {
        self.account(|a| password.clone_into(&mut a.password));
    }

    /// Registers for an hour; fails the test unless the exchange says 200. Returns the lifetime granted, in seconds.
    #[track_caller]
    pub fn register(&self) -> u32 {
        let (status, expires) = self.try_register(3600);
        assert_eq!(
            status,
            200,
            "registration of {}",
            self.account(|a| a.user.clone())
        );
        expires
    }

    /// Registers and returns the final status and the lifetime granted.
    #[track_caller]
    pub fn try_register(&self, expires: u32) -> (u16, u32) {
        self.start_register(expires);
        self.await_registered(crate::SOON)
            .expect("an answer to REGISTER in time")
    }

    /// Sends REGISTER and does not wait.
    pub fn start_register(&self, expires: u32) {
        self.shared
            .lock()
            .register(self.index, expires, Instant::now());
    }

    /// Waits for the answer to the last REGISTER.
    pub fn await_registered(&self, limit: Duration) -> Option<(u16, u32)> {
        self.shared
            .wait(limit, |inner| inner.accounts[self.index].registered)
    }

    /// Calls that number.
    pub fn call(&self, target: &str) -> Call {
        self.call_with(target, &[])
    }

    /// Calls that number with more headers in the INVITE.
    pub fn call_with(&self, target: &str, headers: &[(&str, &str)]) -> Call {
        let headers: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let index = self
            .shared
            .lock()
            .invite(self.index, target, &headers, Instant::now())
            .expect("free RTP ports");
        self.with(index)
    }

    fn with(&self, index: usize) -> Call {
        Call {
            shared: Arc::clone(&self.shared),
            index,
        }
    }

    /// The next incoming call; fails the test when none comes in time.
    #[track_caller]
    pub fn expect_call(&self, limit: Duration) -> Call {
        match self.next_call(limit) {
            Some(call) => call,
            None => panic!(
                "no call came to {} within {limit:?}",
                self.account(|a| a.user.clone())
            ),
        }
    }

    /// The next incoming call, if one comes in time.
    pub fn next_call(&self, limit: Duration) -> Option<Call> {
        self.shared
            .wait(limit, |inner| {
                inner.accounts[self.index].incoming.pop_front()
            })
            .map(|index| self.with(index))
    }

    /// Every request received so far.
    pub fn requests(&self) -> Vec<SipText> {
        self.account(|a| a.requests.clone())
    }
}

/// One call of one telephone.
#[derive(Clone, Debug)]
pub struct Call {
    shared: Arc<Shared>,
    index: usize,
}

impl Call {
    fn act(&self, what: impl FnOnce(&mut Inner, usize, Instant)) {
        what(&mut self.shared.lock(), self.index, Instant::now());
    }

    /// Sends 180.
    pub fn ring(&self) {
        self.act(|inner, call, now| inner.answer_provisional(call, 180, "Ringing", now));
    }

    /// Sends 183 with a session description and starts sending audio.
    pub fn progress(&self) {
        self.act(|inner, call, now| inner.answer_provisional(call, 183, "Session Progress", now));
    }

    /// Sends 200.
    pub fn answer(&self) {
        self.act(|inner, call, now| inner.answer(call, now));
    }

    /// Sends that final response.
    pub fn reject(&self, status: u16) {
        self.act(|inner, call, now| inner.answer_final(call, status, "Rejected", now));
    }

    /// CANCEL, BYE or 603, whichever fits.
    pub fn hang_up(&self) {
        self.act(Inner::hang_up);
    }

    /// Puts the other side on hold (`sendonly`) and waits for the answer.
    #[track_caller]
    pub fn hold(&self) {
        self.renegotiate("sendonly");
    }

    /// Takes it off hold and waits for the answer.
    #[track_caller]
    pub fn resume(&self) {
        self.renegotiate("sendrecv");
    }

    /// Sends a new offer with that direction and expects 200.
    #[track_caller]
    pub fn renegotiate(&self, direction: &'static str) {
        self.act(|inner, call, now| inner.reinvite(call, direction, now));
        let status = self
            .shared
            .wait(crate::SOON, |inner| inner.calls[self.index].reinvite);
        assert_eq!(
            status,
            Some(200),
            "answer to the re-INVITE with {direction}"
        );
    }

    /// Sends digits as RFC 4733 events, 100 ms each.
    pub fn dtmf(&self, digits: &str) {
        self.act(|inner, call, _| {
            if let Some(rtp) = &mut inner.calls[call].rtp {
                rtp.digits.extend(digits.chars());
            }
        });
    }

    /// Sends one digit in a SIP INFO (`application/dtmf-relay`).
    pub fn info_dtmf(&self, digit: char) {
        self.act(|inner, call, now| {
            let mut info = inner.in_dialog(call, "INFO");
            info.push("Content-Type", "application/dtmf-relay");
            info.body = format!("Signal={digit}\r\nDuration=160\r\n");
            let account = inner.calls[call].account;
            inner.send(account, Some(call), state::Purpose::Other, info, now);
        });
    }

    /// Sends a request of that method in the call; its answer is among the [responses](Self::responses).
    pub fn request(&self, method: &str, headers: &[(&str, &str)]) {
        self.act(|inner, call, now| {
            let mut request = inner.in_dialog(call, method);
            for (name, value) in headers {
                request.push(name, value);
            }
            let account = inner.calls[call].account;
            inner.send(account, Some(call), state::Purpose::Other, request, now);
        });
    }

    /// The call as a Replaces names it: for whoever is to take the place of this telephone.
    pub fn replaces(&self) -> String {
        let inner = self.shared.lock();
        let call = &inner.calls[self.index];
        let tag = |value: &str| crate::wire::tag_of(value).unwrap_or_default().to_owned();
        format!(
            "{};to-tag={};from-tag={}",
            call.call_id,
            tag(&call.remote),
            tag(&call.local)
        )
    }

    /// Changes what is sent from now on.
    pub fn set_source(&self, source: Source) {
        self.act(|inner, call, _| {
            if let Some(rtp) = &mut inner.calls[call].rtp {
                rtp.set_source(source);
            }
        });
    }

    /// Every response to our INVITE so far (or each we sent, on an incoming call), with its time since the call began.
    pub fn statuses(&self) -> Vec<(Duration, u16)> {
        let inner = self.shared.lock();
        let call = &inner.calls[self.index];
        call.statuses
            .iter()
            .map(|&(at, status)| (at - call.began, status))
            .collect()
    }

    /// The responses received, whole.
    pub fn responses(&self) -> Vec<SipText> {
        self.shared.lock().calls[self.index].responses.clone()
    }

    /// The requests received, whole; on an incoming call its INVITE first.
    pub fn requests(&self) -> Vec<SipText> {
        self.shared.lock().calls[self.index].requests.clone()
    }

    /// Where the call stands.
    pub fn stage(&self) -> Stage {
        self.shared.lock().calls[self.index].stage
    }

    /// Whether our 200 has had its ACK.
    pub fn is_acknowledged(&self) -> bool {
        self.shared.lock().calls[self.index].acknowledged
    }

    /// Waits for a response with that status.
    #[track_caller]
    pub fn expect_status(&self, status: u16, limit: Duration) {
        let found = self.shared.wait(limit, |inner| {
            let call = &inner.calls[self.index];
            let seen = call.statuses.iter().any(|&(_, s)| s == status);
            (seen || call.stage == Stage::Ended).then_some(seen)
        });
        assert!(
            found == Some(true),
            "no {status} within {limit:?}; came: {:?}, {:?}",
            self.statuses(),
            self.stage()
        );
    }

    /// Waits until the call is answered.
    #[track_caller]
    pub fn expect_answered(&self, limit: Duration) {
        let found = self.shared.wait(limit, |inner| {
            let call = &inner.calls[self.index];
            let answered = call.answered_at.is_some();
            (answered || call.stage == Stage::Ended).then_some(answered)
        });
        assert!(
            found == Some(true),
            "not answered within {limit:?}; came: {:?}, ended by {:?}",
            self.statuses(),
            self.ending()
        );
    }

    /// Waits until the call has ended and says why it did.
    #[track_caller]
    pub fn expect_ended(&self, limit: Duration) -> Ending {
        let ending = self.shared.wait(limit, |inner| {
            let call = &inner.calls[self.index];
            // The sockets are closed by the next sweep, and what was heard is complete then.
            (call.stage == Stage::Ended && call.rtp.is_none()).then(|| call.ending.clone())
        });
        match ending.flatten() {
            Some(ending) => ending,
            None => panic!(
                "not ended within {limit:?}; came: {:?}, {:?}",
                self.statuses(),
                self.stage()
            ),
        }
    }

    /// Why the call ended, if it has.
    pub fn ending(&self) -> Option<Ending> {
        self.shared.lock().calls[self.index].ending.clone()
    }

    /// What has been heard so far.
    pub fn heard(&self) -> Heard {
        let inner = self.shared.lock();
        let call = &inner.calls[self.index];
        call.rtp
            .as_ref()
            .map_or_else(|| call.heard.clone(), |rtp| rtp.heard.clone())
    }

    /// Waits until those digits have been heard.
    #[track_caller]
    pub fn expect_digits(&self, digits: &str, limit: Duration) {
        let found = self.shared.wait(limit, |inner| {
            let rtp = inner.calls[self.index].rtp.as_ref()?;
            rtp.heard.digits.contains(digits).then_some(())
        });
        assert!(
            found.is_some(),
            "digits {digits} within {limit:?}; heard {:?}",
            self.heard().digits
        );
    }

    /// Where the other side receives audio, once it has said so.
    pub fn remote_audio(&self) -> Option<SocketAddr> {
        self.shared.lock().calls[self.index].rtp.as_ref()?.remote
    }

    /// Packets sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.lock().calls[self.index]
            .rtp
            .as_ref()
            .map_or(0, |rtp| rtp.sent)
    }

    /// Waits until so many packets have been heard.
    #[track_caller]
    pub fn expect_packets(&self, count: u64, limit: Duration) {
        let found = self.shared.wait(limit, |inner| {
            let call = &inner.calls[self.index];
            let heard = call.rtp.as_ref().map_or(&call.heard, |rtp| &rtp.heard);
            (heard.packets >= count).then_some(())
        });
        let packets = self.heard().packets;
        assert!(
            found.is_some(),
            "only {packets} of {count} packets within {limit:?}"
        );
    }

    /// Waits until `wanted` holds of everything heard so far.
    #[track_caller]
    pub fn expect_to_hear(&self, what: &str, limit: Duration, wanted: impl Fn(&[i16]) -> bool) {
        let found = crate::wait_until(limit, || wanted(&self.heard().samples).then_some(()));
        assert!(found.is_some(), "not heard within {limit:?}: {what}");
    }

    /// Waits until the last `milliseconds` heard are (nearly) all that tone.
    #[track_caller]
    pub fn expect_tone(&self, frequency_hz: f64, milliseconds: usize, limit: Duration) {
        self.expect_to_hear(&format!("{frequency_hz} Hz"), limit, |samples| {
            let last = crate::audio::last_ms(samples, milliseconds);
            last.len() == milliseconds * 8
                && crate::audio::share_with_tone(last, frequency_hz) > 0.9
        });
    }

    /// Listens that long from now and returns only what came in that time.
    pub fn listen(&self, time: Duration) -> Vec<i16> {
        let before = self.heard().samples.len();
        std::thread::sleep(time);
        self.heard()
            .samples
            .get(before..)
            .unwrap_or_default()
            .to_vec()
    }

    /// The Call-ID.
    pub fn call_id(&self) -> String {
        self.shared.lock().calls[self.index].call_id.clone()
    }
}
