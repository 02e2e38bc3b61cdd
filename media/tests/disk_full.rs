//! A real disk that is full, and then has room again: a small tmpfs. Where this process may not mount one, not even in a
//! namespace of its own, it says so and the behaviour is held by the unit tests with a disk in memory.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use strowger_media::worker::{self, WorkerConfig};
use strowger_media::writer::{self, WriterConfig};
use strowger_media::{
    Command as Order, Event, FileFormat, LegId, LegSetup, RecorderId, RecorderSetup, TapMode,
};

const LONG: Duration = Duration::from_secs(60);
const SIZE: &str = "size=256k";
const FOLDER: &str = "STROWGER_TEST_SMALL_DISK";

#[test]
fn a_recording_goes_on_when_a_full_disk_has_room_again() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return record_on(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    // A user namespace lets anybody mount; as root a mount namespace alone is enough.
    for flags in ["-m", "-rm"] {
        let status = Command::new("unshare")
            .args([flags, "sh", "-c"])
            .arg("mount -t tmpfs -o \"$1\" tmpfs \"$2\" || exit 99; exec \"$3\" --nocapture")
            .arg("sh")
            .arg(SIZE)
            .arg(folder.path())
            .arg(std::env::current_exe().expect("this program"))
            .env(FOLDER, folder.path())
            .status();
        match status {
            Ok(status) if status.success() => return,
            // Another end than that of `mount` or of `unshare` itself is that of the test.
            Ok(status) if !matches!(status.code(), Some(1 | 99)) => panic!("{status}"),
            _ => {}
        }
    }
    eprintln!("no tmpfs can be mounted here: not tested");
}

fn record_on(folder: &Path) {
    let (handle, _writer) = writer::spawn(WriterConfig::default()).expect("a writer");
    let worker = worker::spawn(
        WorkerConfig {
            core: None,
            realtime: false,
            ..WorkerConfig::default()
        },
        handle,
    )
    .expect("a media thread");
    let (mut media, _counters, _control) = worker.split();
    let socket = || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_nonblocking(true).expect("non-blocking");
        socket
    };
    media
        .send(Order::Open(Box::new(LegSetup {
            leg: LegId(1),
            rtp: socket(),
            rtcp: socket(),
            ssrc: 1,
            sequence: 1,
            timestamp: 1,
            cname: "test".to_owned(),
        })))
        .expect("a command");
    // Everything but one page is taken.
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![1; 240 * 1024]).expect("there is room for this");
    let path = folder.join("call.wav");
    let setup = RecorderSetup::new(
        RecorderId(1),
        LegId(1),
        path.clone(),
        FileFormat::Wav,
        TapMode::Mix,
    );
    media
        .send(Order::StartRecorder(Box::new(setup.prepare())))
        .expect("a command");
    let mut events = Vec::new();
    let mut wait_for = |what: &str, wanted: &dyn Fn(&Event) -> bool| {
        let until = Instant::now() + LONG;
        loop {
            while let Some(event) = media.poll_event() {
                events.push(format!("{event:?}"));
                if wanted(&event) {
                    return;
                }
            }
            assert!(Instant::now() < until, "{what}: {events:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for(
        "the full disk is told",
        &|event| matches!(event, Event::RecorderTrouble { error, .. } if error.contains("space")),
    );
    std::fs::remove_file(&ballast).expect("removed");
    wait_for("the recording goes on", &|event| {
        matches!(
            event,
            Event::RecorderResumed {
                lost_samples: 0,
                ..
            }
        )
    });
    assert!(std::fs::metadata(&path).expect("the recording").len() > 16_000);
}
