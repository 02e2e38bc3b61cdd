//! Documents that the exchange sends and receives by itself: over a call to itself, and when there is nobody to send to.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use strowger_tests::{Bank, Exchange, SOON, Settings, alone};

/// A document of several pages, each sent with its training.
const DOCUMENT: Duration = Duration::from_secs(180);
/// A fax machine gives up after 35 to 60 s of silence (T.30, T0 and T1).
const SILENCE: Duration = Duration::from_secs(120);
/// Pixels across a page.
const WIDTH: usize = 1728;

/// A page: rows of pixels, eight in a byte, black is 1.
type Page = Vec<Vec<u8>>;

/// Boxes and lines that differ from page to page.
fn page(number: usize, rows: usize) -> Page {
    let row = |y: usize| {
        let mut bytes = vec![0; WIDTH / 8];
        for (x, byte) in bytes.iter_mut().enumerate() {
            let in_box = (20..60 + 10 * number).contains(&x) && (y / 16).is_multiple_of(2);
            if in_box {
                *byte = 0xff;
            } else if x == (y + 7 * number) % (WIDTH / 8) {
                *byte = 0x18;
            }
        }
        bytes
    };
    (0..rows).map(row).collect()
}

/// A TIFF file of these pages, not compressed, 204 by 196 pixels an inch.
fn tiff(pages: &[Page]) -> Vec<u8> {
    let mut file = b"II*\0\0\0\0\0".to_vec();
    // Where the offset of the next directory stands.
    let mut link = 4;
    for (number, page) in pages.iter().enumerate() {
        let data = file.len() as u32;
        let bytes: Vec<u8> = page.iter().flatten().copied().collect();
        file.extend_from_slice(&bytes);
        let ratios = file.len() as u32;
        for number in [204_u32, 1, 196, 1] {
            file.extend_from_slice(&number.to_le_bytes());
        }
        if !file.len().is_multiple_of(2) {
            file.push(0);
        }
        let directory = file.len() as u32;
        file[link..link + 4].copy_from_slice(&directory.to_le_bytes());
        let (short, long, rational) = (3_u16, 4_u16, 5_u16);
        let rows = page.len() as u32;
        let place = number as u32 | (pages.len() as u32) << 16;
        let entries = [
            (254, long, 1, 2),
            (256, long, 1, WIDTH as u32),
            (257, long, 1, rows),
            (258, short, 1, 1),
            (259, short, 1, 1),
            (262, short, 1, 0),
            (266, short, 1, 1),
            (273, long, 1, data),
            (277, short, 1, 1),
            (278, long, 1, rows),
            (279, long, 1, bytes.len() as u32),
            (282, rational, 1, ratios),
            (283, rational, 1, ratios + 8),
            (296, short, 1, 2),
            (297, short, 2, place),
        ];
        file.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in entries {
            file.extend_from_slice(&(tag as u16).to_le_bytes());
            file.extend_from_slice(&kind.to_le_bytes());
            file.extend_from_slice(&(count as u32).to_le_bytes());
            file.extend_from_slice(&value.to_le_bytes());
        }
        link = file.len();
        file.extend_from_slice(&[0; 4]);
    }
    file
}

fn number(bytes: &[u8], at: usize, length: usize) -> usize {
    let part = bytes[at..at + length].iter().rev();
    part.fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// The pages of a file that is not compressed.
fn pages(file: &[u8]) -> Vec<Page> {
    assert_eq!(&file[..4], b"II*\0", "a TIFF file, little-endian");
    let mut all = Vec::new();
    let mut directory = number(file, 4, 4);
    while directory > 0 {
        let entries = number(file, directory, 2);
        let values = |tag: usize| {
            let at = (0..entries)
                .map(|entry| directory + 2 + 12 * entry)
                .find(|at| number(file, *at, 2) == tag)
                .unwrap_or_else(|| panic!("no tag {tag}"));
            let size = if number(file, at + 2, 2) == 3 { 2 } else { 4 };
            let count = number(file, at + 4, 4);
            let first = if size * count <= 4 {
                at + 8
            } else {
                number(file, at + 8, 4)
            };
            (0..count)
                .map(|index| number(file, first + size * index, size))
                .collect::<Vec<_>>()
        };
        assert_eq!(values(256), [WIDTH]);
        assert_eq!(values(259), [1], "it is compressed");
        let black = match values(262)[0] {
            0 => 0,
            _ => 0xff,
        };
        let strips = values(273).into_iter().zip(values(279));
        let bytes: Vec<u8> = strips
            .flat_map(|(at, length)| file[at..at + length].iter().map(move |byte| byte ^ black))
            .collect();
        all.push(bytes.chunks(WIDTH / 8).map(<[u8]>::to_vec).collect());
        directory = number(file, directory + 2 + 12 * entries, 4);
    }
    all
}

/// What a received file shows, read by another program than the one that wrote it.
fn received(file: &Path) -> Vec<Page> {
    let plain = file.with_extension("plain");
    let output = Command::new("tiffcp")
        .args(["-L", "-f", "msb2lsb", "-c", "none"])
        .args([file, &plain])
        .output()
        .expect("tiffcp (libtiff-tools) can be started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    pages(&std::fs::read(plain).expect("the pages"))
}

const TOLD: &str =
    "${FAXSTATUS} ${FAXERROR} ${FAXPAGES} ${FAXMODE} rate ${FAXBITRATE} ${FAXRESOLUTION}";

fn exchange(document: &[Page]) -> Exchange {
    let mut exchange = Exchange::prepare(Settings::default());
    let sent = format!("0,sent ${{FILE}} {TOLD} ${{FAXSTATUSSTRING}}");
    let got = format!("0,received {TOLD} ${{FAXOPT(status)}}");
    exchange.subscriber("alice", "secret", "house");
    let call = "Local/900@house,exten,house,901,1,30,a";
    exchange.extension(
        "house",
        "1",
        &[("Answer", ""), ("Originate", call), ("Wait", "1")],
    );
    exchange.extension(
        "house",
        "2",
        &[
            ("Answer", ""),
            ("Set", "FAXOPT(ecm)=no"),
            ("Set", "FAXOPT(modem)=v27"),
            ("Set", "GLOBAL(FAX)=${CHANNEL}"),
            ("ReceiveFAX", "never.tif,s"),
            ("Verbose", &got),
        ],
    );
    exchange.extension(
        "house",
        "5",
        &[("ChannelRedirect", "${FAX},house,moved,1"), ("Wait", "1")],
    );
    exchange.extension(
        "house",
        "moved",
        &[("Verbose", &format!("0,moved {TOLD} ${{FAXSTATUSSTRING}}"))],
    );
    exchange.extension(
        "house",
        "6",
        &[
            ("Set", "FAXOPT(maxrate)=4800"),
            ("Set", "FAXOPT(minrate)=9600"),
            ("SendFAX", "out.tif"),
            ("Verbose", &sent),
            ("Set", "FAXOPT(minrate)=4800"),
            ("SendFAX", "out.tif,a"),
            ("Verbose", &sent),
            ("Set", "FAXOPT(gateway)=yes"),
            ("Verbose", "0,gateway ${FAXOPT(gateway)}"),
        ],
    );
    exchange.extension(
        "house",
        "7",
        &[
            ("Answer", ""),
            ("Originate", "Local/900@house,exten,house,902,1,30,a"),
            ("Wait", "1"),
        ],
    );
    exchange.extension("house", "902", &[("SendFAX", "out.tif&more.tif")]);
    exchange.extension(
        "house",
        "3",
        &[("SendFAX", "missing.tif"), ("Verbose", &sent)],
    );
    exchange.extension(
        "house",
        "4",
        &[("SendFAX", "out.tif&text.tif"), ("Verbose", &sent)],
    );
    exchange.extension(
        "house",
        "900",
        &[("ReceiveFAX", "in/got.tif"), ("Verbose", &got)],
    );
    exchange.extension(
        "house",
        "901",
        &[("SendFAX", "out.tif"), ("Verbose", &sent)],
    );
    exchange.extension(
        "house",
        "h",
        &[(
            "Verbose",
            &format!("0,over {TOLD} of ${{FAXOPT(filenames)}}"),
        )],
    );
    let folder = exchange.data().join("fax");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("out.tif"), tiff(document)).expect("a document");
    exchange.start();
    exchange
}

#[test]
fn a_document_of_several_pages_arrives_pixel_by_pixel() {
    let _alone = alone();
    let document: Vec<Page> = (0..3)
        .map(|number| page(number, 160 + 16 * number))
        .collect();
    assert_eq!(
        pages(&tiff(&document)),
        document,
        "the test reads what it writes"
    );
    let exchange = exchange(&document);
    let bank = Bank::new();
    let call = bank.phone("alice", "secret", exchange.sip()).call("1");
    call.expect_answered(SOON);
    exchange.expect_log(
        "received SUCCESS NO_ERROR 3 audio rate 14400 204x196 SUCCESS",
        DOCUMENT,
    );
    // Who received hangs up, perhaps before the sender is through with his good-bye; the last page was confirmed to him.
    let sent = || exchange.metric("strowger_fax_sent_total");
    let done = strowger_tests::wait_until(SOON, || (sent() == 1).then_some(()));
    assert!(done.is_some(), "the sender does not know");
    assert_eq!(received(&exchange.data().join("fax/in/got.tif")), document);
    assert_eq!(exchange.metric("strowger_fax_received_total"), 1);
    let ended = || exchange.metric("strowger_fax_sessions_running");
    let quiet = strowger_tests::wait_until(SOON, || (ended() == 0).then_some(()));
    assert!(quiet.is_some(), "a fax machine is left");
    assert_eq!(exchange.metric("strowger_fax_samples_lost_total"), 0);
}

#[test]
fn what_cannot_be_sent_is_told_at_once() {
    let _alone = alone();
    let exchange = exchange(&[page(0, 16)]);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let call = alice.call("3");
    exchange.expect_log("FAILURE FILE_ERROR 0 audio rate 0", SOON);
    exchange.expect_log("missing.tif: No such file", SOON);
    call.expect_ended(SOON);
    let text = exchange.data().join("fax/text.tif");
    std::fs::write(text, "no picture").expect("a file");
    let call = alice.call("4");
    exchange.expect_log("text.tif\": it is no TIFF file", SOON);
    call.expect_ended(SOON);
    let call = alice.call("6");
    exchange.expect_log("maxrate is less than minrate", SOON);
    exchange.expect_log("option a: documents are not polled", SOON);
    exchange.expect_log("gateway no", SOON);
    call.expect_ended(SOON);
}

#[test]
fn several_files_arrive_as_one_document() {
    let _alone = alone();
    let document: Vec<Page> = (0..2).map(|number| page(number, 96)).collect();
    let more = page(5, 128);
    let exchange = exchange(&document);
    let file = exchange.data().join("fax/more.tif");
    std::fs::write(file, tiff(std::slice::from_ref(&more))).expect("a document");
    let bank = Bank::new();
    let call = bank.phone("alice", "secret", exchange.sip()).call("7");
    call.expect_answered(SOON);
    exchange.expect_log("received SUCCESS NO_ERROR 3 audio rate 14400", DOCUMENT);
    // The sender is hung up on once the last page is confirmed.
    exchange.expect_log("204x196 of out.tif,more.tif", SOON);
    let all = [document, vec![more]].concat();
    assert_eq!(received(&exchange.data().join("fax/in/got.tif")), all);
}

#[test]
fn a_call_that_is_led_elsewhere_from_its_fax_is_told_what_became_of_it() {
    let _alone = alone();
    let exchange = exchange(&[page(0, 16)]);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let call = alice.call("2");
    call.expect_answered(SOON);
    call.expect_tone(2100.0, 500, SOON);
    let _other = alice.call("5");
    exchange.expect_log("moved FAILURE HANGUP 0 audio", SOON);
    exchange.expect_log("the call went elsewhere before the fax was through", SOON);
    call.expect_ended(SOON);
    assert_eq!(exchange.metric("strowger_fax_failed_total"), 1);
    assert_eq!(exchange.metric("strowger_fax_sessions_running"), 0);
}

#[test]
fn a_call_without_a_fax_machine_is_given_up_and_one_that_ends_is_told() {
    let _alone = alone();
    let exchange = exchange(&[page(0, 16)]);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let silent = alice.call("2");
    silent.expect_answered(SOON);
    // The tone by which a fax machine answers (T.30, CED).
    silent.expect_tone(2100.0, 500, SOON);
    let short = alice.call("2");
    short.expect_answered(SOON);
    short.expect_tone(2100.0, 500, SOON);
    assert_eq!(exchange.metric("strowger_fax_sessions_running"), 2);
    short.hang_up();
    exchange.expect_log("over FAILURE HANGUP 0 audio", SOON);
    exchange.expect_log("received FAILURE 3RD_PARTY_ERROR 0 audio", SILENCE);
    silent.expect_ended(SOON);
    assert_eq!(exchange.metric("strowger_fax_failed_total"), 2);
}
