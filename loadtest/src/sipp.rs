//! Runs SIPp scenarios and checks how they ended: every call has to have gone through the scenario to its end, on both sides
//! where there are two, and what the scenario says about time has to be true.

use crate::proof::exchange::{Exchange, Plan, binary_beside};
use crate::run::may_aim_at;
use crate::talk::{g711, wav};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Calls of one scenario, at most.
const CALLS_MAX: u32 = 100_000;
/// A scenario takes no longer than what its calls need and this.
const GRACE: Duration = Duration::from_secs(60);

/// A scenario of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub name: &'static str,
    /// What it shows.
    pub what: &'static str,
    /// The calling side.
    uac: &'static str,
    /// The called side, if the server calls somebody.
    uas: Option<&'static str>,
    /// The number that is dialled.
    number: &'static str,
    /// Calls in all, at once, and begun in a second.
    calls: (u32, u32, u32),
    /// How long a call lasts, in milliseconds.
    length_ms: u32,
    /// Legs that come to the called side for each call.
    legs: u32,
    transport: Transport,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Transport {
    Udp,
    /// One connection for all calls.
    Tcp,
    Tls,
}

const fn entry(
    name: &'static str,
    uac: &'static str,
    number: &'static str,
    what: &'static str,
) -> Entry {
    Entry {
        name,
        what,
        uac,
        uas: None,
        number,
        calls: (10, 10, 5),
        length_ms: 1000,
        legs: 1,
        transport: Transport::Udp,
    }
}

impl Entry {
    const fn called(self, uas: &'static str) -> Self {
        Self {
            uas: Some(uas),
            ..self
        }
    }

    const fn calls(self, all: u32, at_once: u32, per_second: u32) -> Self {
        Self {
            calls: (all, at_once, per_second),
            ..self
        }
    }

    const fn legs(self, legs: u32) -> Self {
        Self { legs, ..self }
    }

    const fn over(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    const fn lasts(self, length_ms: u32) -> Self {
        Self { length_ms, ..self }
    }
}

/// Everything that can be run. The numbers are those of `profiles/exchange.sql`.
pub const CATALOGUE: &[Entry] = &[
    entry(
        "register",
        "register_digest.xml",
        "",
        "registration with digest, and taken away again",
    )
    .calls(50, 20, 20),
    entry(
        "re-register",
        "re_register.xml",
        "",
        "a registration that is refreshed, and taken away",
    )
    .calls(20, 20, 20),
    entry(
        "options",
        "options.xml",
        "3000",
        "OPTIONS is answered with 200",
    )
    .calls(50, 20, 50)
    .lasts(0),
    entry(
        "call",
        "uac_dial.xml",
        "3000",
        "a call that is answered and hung up",
    )
    .calls(50, 50, 20),
    entry("long-call", "uac_dial.xml", "3000", "a call of a minute")
        .calls(5, 5, 5)
        .lasts(60_000),
    entry(
        "rtp",
        "uac_echo_rtp.xml",
        "3000",
        "a call with sound both ways",
    )
    .lasts(4000),
    entry(
        "early-media",
        "early_media.xml",
        "1200",
        "183 with media before the 200",
    ),
    entry(
        "ivr-rfc4733",
        "ivr_rfc4733.xml",
        "1500",
        "digits as events in RTP lead through a menu",
    ),
    entry(
        "ivr-info",
        "ivr_info.xml",
        "1500",
        "digits by INFO lead through a menu",
    ),
    entry(
        "bridged",
        "uac_dial.xml",
        "7000",
        "caller and callee connected by the server",
    )
    .called("uas_answer.xml"),
    entry("busy", "uac_refused.xml", "7000", "the callee is busy")
        .called("uas_busy.xml")
        .lasts(0),
    entry(
        "no-answer",
        "no_answer.xml",
        "1100",
        "the callee rings until the server gives up",
    )
    .called("uas_no_answer.xml"),
    entry(
        "cancel",
        "uac_cancel.xml",
        "7000",
        "the caller gives up while it rings",
    )
    .called("uas_no_answer.xml"),
    entry("hold", "hold.xml", "7000", "hold and resume by re-INVITE").called("uas_session.xml"),
    entry(
        "re-invite",
        "re_invite.xml",
        "3000",
        "the caller changes its port in the call",
    ),
    entry(
        "session-timer",
        "session_timer.xml",
        "3000",
        "a session timer that the caller refreshes",
    ),
    entry(
        "blind-transfer",
        "blind_transfer.xml",
        "7000",
        "the caller sends the callee elsewhere",
    )
    .called("uas_session.xml"),
    entry(
        "attended-transfer",
        "attended_transfer.xml",
        "7000",
        "two calls of one telephone are connected",
    )
    .called("uas_session.xml")
    .calls(5, 5, 5),
    entry("tcp", "uac_dial.xml", "3000", "a call over TCP").over(Transport::Tcp),
    entry("tls", "uac_dial.xml", "3000", "a call over TLS").over(Transport::Tls),
    entry(
        "voicemail",
        "voicemail.xml",
        "1300",
        "a message after the beep",
    )
    .lasts(4000),
    entry(
        "group",
        "uac_dial.xml",
        "1400",
        "two callees ring, one answers",
    )
    .called("uas_group.xml")
    .legs(2),
    entry(
        "recorded",
        "uac_dial.xml",
        "9000",
        "a call that is recorded",
    )
    .called("uas_answer.xml")
    .lasts(3000),
    entry(
        "bad-input",
        "bad_input.xml",
        "3000",
        "unreadable messages beside good calls harm nobody",
    )
    .calls(20, 20, 20),
    entry(
        "storm",
        "register_digest.xml",
        "",
        "many register at once, as after an outage",
    )
    .calls(1000, 1000, 500)
    .lasts(0),
    entry(
        "overload",
        "overload.xml",
        "2000",
        "more calls than are allowed: each is answered or refused, none is lost",
    )
    .calls(2000, 2000, 400),
];

/// Which scenarios, against what.
#[derive(Args, Clone, Debug)]
pub struct SippArgs {
    /// Names of scenarios, `all`, or `list`
    #[arg(required = true)]
    names: Vec<String>,
    /// The server's SIP address
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "exchange")]
    server: Option<SocketAddr>,
    /// Start an exchange of its own for them
    #[arg(long)]
    exchange: bool,
    /// Its program; without it the one beside this program
    #[arg(long, requires = "exchange")]
    binary: Option<PathBuf>,
    /// User for digest
    #[arg(long, default_value = "sipp")]
    user: String,
    /// Password
    #[arg(long, default_value = "sipp secret")]
    password: String,
    /// Address of the telephones; without it 127.0.0.1
    #[arg(long)]
    address: Option<IpAddr>,
    /// Address and port at which the server calls callees
    #[arg(long, value_name = "ADDRESS:PORT")]
    callee: Option<SocketAddr>,
    /// The number that is dialled, instead of that of the scenario
    #[arg(long)]
    number: Option<String>,
    /// Calls in all, instead of what the scenario says
    #[arg(long)]
    calls: Option<u32>,
    /// Calls begun in a second, instead of what the scenario says
    #[arg(long)]
    rate: Option<u32>,
    /// The server's address for TLS; without it the port after that for UDP
    #[arg(long)]
    tls: Option<SocketAddr>,
    /// Folder of the scenario files
    #[arg(long, default_value = "loadtest/sipp")]
    scenarios: PathBuf,
    /// The server is not on this machine's loopback network, and is yours
    #[arg(long)]
    i_own_this: bool,
}

/// How one side of a scenario went, by SIPp's own account.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Account {
    pub successful: u64,
    pub failed: u64,
    pub retransmissions: u64,
    /// Calls that were refused and that were answered, where the scenario counts them.
    pub refused: u64,
    pub answered: u64,
    pub code: Option<i32>,
    /// What it complained of, at most a few lines.
    pub errors: String,
}

impl Account {
    fn read(folder: &Path, code: Option<i32>) -> Self {
        let csv = std::fs::read_to_string(folder.join("statistics")).unwrap_or_default();
        let mut lines = csv.lines();
        let names = lines.next().unwrap_or_default().split(';');
        let values = lines.last().unwrap_or_default().split(';');
        let last: HashMap<&str, &str> = names.zip(values).collect();
        let number = |name: &str| last.get(name).and_then(|v| v.parse().ok()).unwrap_or(0);
        let errors = std::fs::read_to_string(folder.join("errors")).unwrap_or_default();
        let screen = std::fs::read_to_string(folder.join("screen")).unwrap_or_default();
        let complaints = if errors.is_empty() && code.is_some_and(|code| code > 1) {
            &screen
        } else {
            &errors
        };
        Self {
            successful: number("SuccessfulCall(C)"),
            failed: number("FailedCall(C)"),
            retransmissions: number("Retransmissions(C)"),
            refused: number("GenericCounter1(C)"),
            answered: number("GenericCounter2(C)"),
            code,
            errors: complaints.lines().take(12).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// A running SIPp; dropping it ends it.
struct Sipp {
    process: Child,
    folder: tempfile::TempDir,
}

impl Drop for Sipp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Sipp {
    fn start(scenario: &Path, target: SocketAddr, arguments: &[String]) -> Result<Self> {
        ensure!(scenario.exists(), "{} is missing", scenario.display());
        let scenario = scenario.canonicalize()?;
        let folder = tempfile::Builder::new()
            .prefix("strowger-sipp-")
            .tempdir()?;
        // Three seconds of a tone, for scenarios that say something.
        let tone: Vec<u8> = (0..24_000)
            .map(|n| {
                let phase = std::f64::consts::TAU * f64::from(n % 8) / 8.0;
                g711::to_alaw((6000.0 * phase.sin()) as i16)
            })
            .collect();
        std::fs::write(folder.path().join("audio.alaw"), tone)?;
        let screen = std::fs::File::create(folder.path().join("screen"))?;
        let process = Command::new("sipp")
            .current_dir(folder.path())
            .arg("-sf")
            .arg(scenario)
            .args(["-nostdin", "-trace_err", "-error_file", "errors"])
            .args(["-trace_stat", "-stf", "statistics", "-fd", "1"])
            .args(arguments)
            .arg(target.to_string())
            .stdin(Stdio::null())
            .stdout(screen.try_clone()?)
            .stderr(screen)
            .spawn()
            .context("SIPp is not installed (Debian: sip-tester)")?;
        Ok(Self { process, folder })
    }

    fn wait(mut self, limit: Duration) -> Result<Account> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(Account::read(self.folder.path(), status.code()));
            }
            if Instant::now() > deadline {
                // Its statistics are those of its last second.
                let _ = self.process.kill();
                let _ = self.process.wait();
                return Ok(Account::read(self.folder.path(), None));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Runs what is asked for. `true`: all went as they should.
pub fn run(args: &SippArgs) -> Result<bool> {
    if args.names.iter().any(|name| name == "list") {
        for entry in CATALOGUE {
            println!("{:18} {}", entry.name, entry.what);
        }
        return Ok(true);
    }
    let chosen: Vec<&Entry> = if args.names.iter().any(|name| name == "all") {
        CATALOGUE.iter().collect()
    } else {
        args.names
            .iter()
            .map(|name| find(name))
            .collect::<Result<_>>()?
    };
    let start = |more: &str| {
        Exchange::start(&Plan {
            binary: args.binary.clone().unwrap_or_else(binary_beside),
            cores: "all".to_owned(),
            database: String::new(),
            users: 0,
            tls: true,
            more: more.to_owned(),
        })
    };
    let exchange = args.exchange.then(|| start("")).transpose()?;
    let Some(server) = args.server.or_else(|| exchange.as_ref().map(Exchange::sip)) else {
        bail!("no server: --server ADDRESS:PORT, or --exchange");
    };
    may_aim_at(server, args.i_own_this)?;
    let mut good = true;
    for entry in chosen {
        if entry.transport == Transport::Tls && !sipp_speaks_tls() {
            println!("skip  {:18} this SIPp was built without TLS", entry.name);
            continue;
        }
        let told = if entry.name == "overload" && args.exchange {
            // One that allows few calls at once.
            start("\n[limits]\ncalls = 100\n")
                .and_then(|exchange| one(args, entry, exchange.sip(), Some(&exchange)))
        } else {
            one(args, entry, server, exchange.as_ref())
        };
        match told {
            Ok(text) => println!("ok    {:18} {text}", entry.name),
            Err(error) => {
                println!("FAIL  {:18} {error:#}", entry.name);
                good = false;
            }
        }
    }
    Ok(good)
}

/// What SIPp was built with stands in its version.
fn sipp_speaks_tls() -> bool {
    Command::new("sipp").arg("-v").output().is_ok_and(|output| {
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).contains("TLS")
    })
}

fn find(name: &str) -> Result<&'static Entry> {
    CATALOGUE
        .iter()
        .find(|entry| entry.name == name)
        .with_context(|| format!("there is no scenario {name:?}; `sipp list` names all"))
}

fn one(
    args: &SippArgs,
    entry: &Entry,
    server: SocketAddr,
    exchange: Option<&Exchange>,
) -> Result<String> {
    let (all, at_once, rate) = entry.calls;
    let all = args.calls.unwrap_or(all).clamp(1, CALLS_MAX);
    let rate = args.rate.unwrap_or(rate).max(1);
    let ip = args
        .address
        .or_else(|| exchange.map(|exchange| exchange.sip().ip()))
        .unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let callee = args
        .callee
        .or_else(|| exchange.map(|exchange| (exchange.callee(), 5060).into()));
    let length = Duration::from_millis(u64::from(entry.length_ms));
    let limit =
        length * all.div_ceil(at_once.max(1)) + Duration::from_secs(u64::from(all / rate)) + GRACE;
    let called = match entry.uas {
        None => None,
        Some(uas) => {
            let callee =
                callee.context("the server calls somebody: --callee ADDRESS:PORT says where")?;
            let ip = callee.ip().to_string();
            let arguments = strings(&[
                "-i",
                &ip,
                "-mi",
                &ip,
                "-p",
                &callee.port().to_string(),
                "-m",
                &(all * entry.legs).to_string(),
            ]);
            let sipp = Sipp::start(&args.scenarios.join(uas), server, &arguments)?;
            wait_for_port(callee)?;
            Some(sipp)
        }
    };
    let number = args.number.as_deref().unwrap_or(entry.number);
    let address = ip.to_string();
    let mut arguments = strings(&[
        "-i",
        &address,
        "-mi",
        &address,
        "-au",
        &args.user,
        "-ap",
        &args.password,
        "-key",
        "user",
        &args.user,
        "-s",
        if number.is_empty() { "sipp" } else { number },
        // No @ in Call-IDs: they may stand in a Refer-To as they are.
        "-cid_str",
        "%u-%p-load",
        "-d",
        &entry.length_ms.to_string(),
        "-m",
        &all.to_string(),
        "-l",
        &at_once.max(1).to_string(),
        "-r",
        &rate.to_string(),
    ]);
    let target = match entry.transport {
        Transport::Udp => server,
        Transport::Tcp => {
            arguments.extend(strings(&["-t", "t1"]));
            server
        }
        Transport::Tls => {
            arguments.extend(strings(&["-t", "l1"]));
            args.tls
                .unwrap_or_else(|| SocketAddr::new(server.ip(), server.port() + 1))
        }
    };
    may_aim_at(target, args.i_own_this)?;
    let begun = Instant::now();
    let uac = Sipp::start(&args.scenarios.join(entry.uac), target, &arguments)?.wait(limit)?;
    let took = begun.elapsed();
    let uas = called
        .map(|sipp| sipp.wait(Duration::from_secs(20)))
        .transpose()?;
    expect("caller", &uac, u64::from(all))?;
    if let Some(uas) = &uas {
        expect("callee", uas, u64::from(all * entry.legs))?;
    }
    if entry.name == "overload" {
        ensure!(
            uac.refused > 0 && uac.answered > 0,
            "{} were answered and {} refused: this was no overload (more calls, or a lower limit)",
            uac.answered,
            uac.refused
        );
    }
    if let Some(exchange) = exchange {
        left_behind(entry, exchange, all)?;
    }
    // Each call has its length: a scenario that skips its pauses would be faster.
    ensure!(took >= length, "{took:.1?} for calls of {length:.1?}");
    Ok(format!(
        "{all} of {all} in {:.1} s, {} repeated messages",
        took.as_secs_f64(),
        uac.retransmissions + uas.map_or(0, |uas| uas.retransmissions)
    ))
}

/// What a scenario leaves in the data directory of an exchange: messages with sound, recordings as long as their calls.
fn left_behind(entry: &Entry, exchange: &Exchange, calls: u32) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let (begin, count) = match entry.name {
        "voicemail" => ("msg", calls as usize),
        // All calls of this scenario dial one number, and so write one file.
        "recorded" => ("stereo-", 1),
        _ => return Ok(()),
    };
    loop {
        let mut found = Vec::new();
        find_files(exchange.data(), begin, &mut found);
        let good = found.iter().filter(|path| {
            wav::load(path).is_ok_and(|(rate, channels)| {
                let sound = channels.iter().flatten().any(|&sample| sample.abs() > 500);
                let long = channels
                    .first()
                    .is_some_and(|c| c.len() > rate as usize * 2);
                long && (sound || entry.name == "recorded")
            })
        });
        let good = good.count();
        if good >= count {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{count} files {begin}* with sound are wanted, and {good} of {} are good",
            found.len()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// WAV files whose names begin so, in a folder and those in it.
fn find_files(folder: &Path, begin: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            find_files(&path, begin, found);
        } else if name.starts_with(begin) && name.ends_with(".wav") {
            found.push(path);
        }
    }
}

fn expect(side: &str, account: &Account, calls: u64) -> Result<()> {
    ensure!(
        account.code == Some(0) && account.successful == calls && account.failed == 0,
        "{side}: {} of {calls} calls went through, {} failed, exit {:?}\n{}",
        account.successful,
        account.failed,
        account.code,
        account.errors
    );
    Ok(())
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// A callee has to have its socket before anyone calls it. Binding its port to find out would take it away from it.
fn wait_for_port(address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while crate::measure::listener(address).is_none() {
        ensure!(Instant::now() < deadline, "SIPp has no socket at {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_the_catalogue_is_there_and_documented() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let readme = std::fs::read_to_string(folder.join("README.md")).expect("README.md");
        for entry in CATALOGUE {
            for file in [Some(entry.uac), entry.uas].into_iter().flatten() {
                assert!(folder.join("sipp").join(file).exists(), "{file} is missing");
                assert!(
                    readme.contains(&format!("`{file}`")),
                    "{file} is not in README.md"
                );
            }
            assert!(
                readme.contains(&format!("`{}`", entry.name)),
                "{}",
                entry.name
            );
        }
        assert!(find("nothing").is_err());
    }

    #[test]
    fn an_account_is_that_of_the_last_second() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(
            folder.path().join("statistics"),
            "A;SuccessfulCall(C);FailedCall(C);Retransmissions(C)\n1;2;0;1\n1;9;1;4\n",
        )
        .expect("written");
        let account = Account::read(folder.path(), Some(1));
        assert_eq!(
            (account.successful, account.failed, account.retransmissions),
            (9, 1, 4)
        );
        assert!(expect("caller", &account, 10).is_err());
    }
}
