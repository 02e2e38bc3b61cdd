//! A server that loses, doubles, crosses, changes and delays packets, or refuses calls, is reported as just that.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use strowger_loadtest::report::{self, Run};
use strowger_loadtest::run::{self, Options, RunResult};
use strowger_loadtest::scenario::Scenario;

/// What is wrong with the server.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Fault {
    Nothing,
    /// Every tenth packet is lost.
    Loses,
    /// Every tenth packet comes twice.
    Doubles,
    /// Two packets in ten change places.
    Disorders,
    /// A byte of every tenth packet is changed.
    Changes,
    /// Packets of one call go to another.
    Crosses,
    /// One call hears nothing.
    Deaf,
    /// Every packet is 30 ms late.
    Delays,
    /// Every third call is refused.
    Refuses,
    /// Calls are ended by the server after half a second.
    CutsOff,
}

/// An echo on loopback that speaks just enough SIP (RFC 3261), written for this test alone.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Call {
    media: UdpSocket,
    remote: SocketAddr,
    packets: u64,
    held: Option<Vec<u8>>,
    late: Vec<(Instant, Vec<u8>)>,
    answered: Instant,
    headers: String,
    contact: String,
    cut: bool,
}

impl Server {
    fn start(fault: Fault) -> Self {
        let signal = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        signal.set_nonblocking(true).expect("nonblocking");
        let address = signal.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut calls: HashMap<String, Call> = HashMap::new();
            let mut order: Vec<String> = Vec::new();
            let mut buffer = [0; 4096];
            while !seen.load(Ordering::Relaxed) {
                while let Ok((length, from)) = signal.recv_from(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    if let Some(answer) = answer(&text, address, fault, &mut calls, &mut order) {
                        let _ = signal.send_to(answer.as_bytes(), from);
                    }
                }
                relay(fault, &mut calls, &order, &mut buffer);
                if fault == Fault::CutsOff {
                    cut_off(&signal, address, &mut calls);
                }
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn header<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value.trim())
}

fn answer(
    text: &str,
    own: SocketAddr,
    fault: Fault,
    calls: &mut HashMap<String, Call>,
    order: &mut Vec<String>,
) -> Option<String> {
    let id = header(text, "Call-ID").to_owned();
    let method = text.split(' ').next().unwrap_or_default();
    let common = |tag: &str| {
        format!(
            "Via: {}\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: {id}\r\nCSeq: {}\r\n",
            header(text, "Via"),
            header(text, "From"),
            header(text, "To"),
            header(text, "CSeq"),
        )
    };
    match method {
        "INVITE" => {
            if fault == Fault::Refuses && order.len() % 3 == 2 {
                order.push(id.clone());
                return Some(format!(
                    "SIP/2.0 486 Busy Here\r\n{}Content-Length: 0\r\n\r\n",
                    common(";tag=s")
                ));
            }
            let value = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
            let ip = value("c=IN IP4 ")?.trim();
            let port = value("m=audio ")?.split(' ').next()?;
            let media = UdpSocket::bind("127.0.0.1:0").ok()?;
            media.set_nonblocking(true).ok()?;
            let here = media.local_addr().ok()?;
            let body = format!(
                "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n",
                here.port()
            );
            let contact = header(text, "Contact").trim_matches(['<', '>']).to_owned();
            let call = Call {
                media,
                remote: format!("{ip}:{port}").parse().ok()?,
                packets: 0,
                held: None,
                late: Vec::new(),
                answered: Instant::now(),
                headers: format!(
                    "From: {};tag=s\r\nTo: {}\r\nCall-ID: {id}\r\n",
                    header(text, "To"),
                    header(text, "From")
                ),
                contact,
                cut: false,
            };
            calls.insert(id.clone(), call);
            order.push(id.clone());
            Some(format!(
                "SIP/2.0 200 OK\r\n{}Contact: <sip:{own}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
                common(";tag=s"),
                body.len()
            ))
        }
        "BYE" => {
            calls.remove(&id);
            Some(format!(
                "SIP/2.0 200 OK\r\n{}Content-Length: 0\r\n\r\n",
                common("")
            ))
        }
        _ => None,
    }
}

fn relay(fault: Fault, calls: &mut HashMap<String, Call>, order: &[String], buffer: &mut [u8]) {
    let remotes: Vec<SocketAddr> = order
        .iter()
        .filter_map(|id| calls.get(id).map(|call| call.remote))
        .collect();
    for call in calls.values_mut() {
        while let Some(at) = call
            .late
            .first()
            .map(|(at, _)| *at)
            .filter(|at| *at <= Instant::now())
        {
            let _ = at;
            let (_, packet) = call.late.remove(0);
            let _ = call.media.send_to(&packet, call.remote);
        }
        while let Ok((length, _)) = call.media.recv_from(buffer) {
            let mut packet = buffer[..length].to_vec();
            call.packets += 1;
            let tenth = call.packets % 10 == 5;
            let mut to = call.remote;
            match fault {
                Fault::Loses if tenth => continue,
                Fault::Doubles if tenth => drop(call.media.send_to(&packet, to)),
                Fault::Disorders if tenth => {
                    call.held = Some(packet);
                    continue;
                }
                Fault::Changes if tenth => packet[100] ^= 1,
                Fault::Crosses if tenth => {
                    let other = remotes.iter().find(|remote| **remote != to);
                    to = other.copied().unwrap_or(to);
                }
                Fault::Deaf if remotes.first() == Some(&to) => continue,
                Fault::Delays => {
                    call.late
                        .push((Instant::now() + Duration::from_millis(30), packet));
                    continue;
                }
                _ => {}
            }
            let _ = call.media.send_to(&packet, to);
            if let Some(held) = call.held.take() {
                let _ = call.media.send_to(&held, to);
            }
        }
    }
}

fn cut_off(signal: &UdpSocket, own: SocketAddr, calls: &mut HashMap<String, Call>) {
    for call in calls.values_mut() {
        if call.answered.elapsed() > Duration::from_millis(500) && !call.cut {
            call.cut = true;
            let bye = format!(
                "BYE {} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKcut\r\n{}CSeq: 1 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
                call.contact, call.headers
            );
            let to = call
                .contact
                .rsplit('@')
                .next()
                .and_then(|to| to.parse::<SocketAddr>().ok());
            if let Some(to) = to {
                let _ = signal.send_to(bye.as_bytes(), to);
            }
        }
    }
}

const SCENARIO: &str = "title = \"echo\"\nkind = \"echo\"\n[call]\ndial = \"3{call}\"\ntalk_after_ms = 100\n\
    [[steps]]\nseconds = 1.5\ncalls = 6\nrate = 100\n";

fn tested(fault: Fault) -> (RunResult, tempfile::TempDir) {
    let server = Server::start(fault);
    let folder = tempfile::tempdir().expect("a folder");
    let mut scenario = Scenario::parse(SCENARIO).expect("a scenario");
    if fault == Fault::Nothing {
        // Long enough for a plot.
        scenario.steps[0].seconds = 3.2;
    }
    if fault == Fault::Delays {
        scenario.limits.delay_p99_ms = Some(20.0);
    }
    let options = Options {
        server: Some(server.address),
        subject: "a server for tests".to_owned(),
        command: "loadtest run <echo>".to_owned(),
        ..Options::default()
    };
    let (_, result) = run::run(&scenario, &options, folder.path()).expect("a run");
    (result, folder)
}

#[track_caller]
fn expect_fault(result: &RunResult, text: &str) {
    assert!(
        result.faults.iter().any(|fault| fault.contains(text)),
        "{text:?} is not among {:?}\n{:?}",
        result.faults,
        result.outcome.totals
    );
}

#[test]
fn a_good_echo_passes_and_its_report_can_be_read() {
    let (result, folder) = tested(Fault::Nothing);
    let totals = &result.outcome.totals;
    assert!(
        result.passed(),
        "{:?} {:?}",
        result.faults,
        result.outcome.odd_calls
    );
    assert_eq!((totals.begun, totals.answered, totals.completed), (6, 6, 6));
    // Six calls of more than a second at fifty packets a second, each of which came back once.
    assert!(totals.sent > 6 * 50, "{}", totals.sent);
    assert_eq!((totals.heard.right, totals.lost), (totals.sent, 0));
    assert!(result.outcome.delay.count > 0 && result.outcome.delay.p50_ms < 50.0);
    assert_eq!(result.steps.len(), 1);
    assert!(
        (5.0..=6.0).contains(&result.steps[0].calls),
        "{:?}",
        result.steps
    );

    let (markdown, html) = report::write(folder.path()).expect("reports");
    let markdown = std::fs::read_to_string(markdown).expect("Markdown");
    for text in [
        "# echo",
        "**passed**",
        "`loadtest run <echo>`",
        "a server for tests",
        "dial = \"3{call}\"",
    ] {
        assert!(markdown.contains(text), "{text:?} is not in {markdown}");
    }
    assert!(markdown.contains(&format!(
        "| begun / answered / completed / failed | {0} / {0} / {0} / 0 |",
        6
    )));
    let html = std::fs::read_to_string(html).expect("HTML");
    assert!(html.contains("<svg") && html.contains("loadtest run &lt;echo&gt;"));
    assert!(!html.contains("http"), "nothing is loaded from anywhere");
    let run = Run::load(folder.path()).expect("the raw data");
    assert!(run.result.passed());
    assert_eq!(run.result.outcome.totals.heard, totals.heard);
    let compared = report::compare(&run, &run);
    assert!(
        compared.contains("| packets heard |") && compared.contains("the same within 5 %"),
        "{compared}"
    );
}

#[test]
fn lost_packets_are_counted_to_the_last() {
    let (result, _folder) = tested(Fault::Loses);
    let totals = &result.outcome.totals;
    expect_fault(&result, "packets lost");
    assert_eq!(totals.sent, totals.heard.right + totals.lost);
    let part = totals.lost as f64 / totals.sent as f64;
    assert!((0.08..0.12).contains(&part), "{part}");
    assert_eq!(totals.deaf_legs, 0);
}

#[test]
fn doubled_disordered_and_changed_packets_are_told_apart() {
    let (result, _folder) = tested(Fault::Doubles);
    expect_fault(&result, "packets came twice");
    assert_eq!(result.outcome.totals.lost, 0);
    let (result, _folder) = tested(Fault::Disorders);
    expect_fault(&result, "packets came out of order");
    let heard = &result.outcome.totals.heard;
    assert!(heard.disordered > 20, "{heard:?}");
    assert_eq!((heard.duplicate, heard.damaged), (0, 0));
    let (result, _folder) = tested(Fault::Changes);
    expect_fault(&result, "packets were changed on the way");
    expect_fault(&result, "packets lost");
}

#[test]
fn crossed_and_one_way_audio_are_seen() {
    let (result, _folder) = tested(Fault::Crosses);
    expect_fault(&result, "legs heard another call");
    assert!(result.outcome.totals.heard.crossed > 10);
    let (result, _folder) = tested(Fault::Deaf);
    expect_fault(&result, "1 legs heard nothing");
    let odd = &result.outcome.odd_calls;
    assert!(
        odd.iter().any(|odd| odd.what.contains("heard nothing")),
        "{odd:?}"
    );
}

#[test]
fn delay_is_measured_and_compared_with_its_limit() {
    let (result, _folder) = tested(Fault::Delays);
    expect_fault(&result, "delay p99");
    let delay = result.outcome.delay;
    assert!(delay.p50_ms >= 30.0, "{delay:?}");
    assert_eq!(result.outcome.totals.lost, 0);
}

#[test]
fn refused_and_cut_off_calls_are_failures_with_their_reasons() {
    let (result, _folder) = tested(Fault::Refuses);
    expect_fault(&result, "486");
    let totals = &result.outcome.totals;
    assert!(totals.reasons["486"] >= 2, "{:?}", totals.reasons);
    assert_eq!(totals.begun, totals.completed + totals.failed);
    let (result, _folder) = tested(Fault::CutsOff);
    expect_fault(&result, "caller cut off");
}

#[test]
fn a_server_that_does_not_answer_is_no_endless_wait() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let folder = tempfile::tempdir().expect("a folder");
    let mut scenario = Scenario::parse(SCENARIO).expect("a scenario");
    scenario.call.answer_within_ms = 500;
    scenario.steps[0].seconds = 1.0;
    scenario.steps[0].rate = 2.0;
    let options = Options {
        server: Some(silent.local_addr().expect("an address")),
        ..Options::default()
    };
    let begun = Instant::now();
    let (_, result) = run::run(&scenario, &options, folder.path()).expect("a run");
    expect_fault(&result, "nothing was answered");
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
}
