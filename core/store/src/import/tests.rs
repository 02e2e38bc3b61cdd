//! Importing into real databases: what is written, what stays, what goes.

use std::path::Path;

use super::*;
use crate::tests::{count, on_each_engine, run, texts};

struct Office {
    folder: tempfile::TempDir,
    options: ImportOptions,
}

impl Office {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let options = ImportOptions {
            scripts: folder.path().join("scripts"),
            ..ImportOptions::default()
        };
        let office = Self { folder, options };
        for (name, text) in files {
            office.write(name, text);
        }
        office
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap_or_else(|error| panic!("{error}"));
    }

    async fn import(&self, store: &Store) -> Report {
        import_asterisk(store, self.path(), &self.options)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
            .0
    }
}

/// Added, changed, removed, unchanged.
fn numbers(report: &Report) -> [usize; 4] {
    [
        report.added,
        report.changed,
        report.removed,
        report.unchanged,
    ]
}

#[track_caller]
fn assert_says(report: &Report, verdict: Verdict, what: &str) {
    let mut findings = report.findings.iter();
    assert!(
        findings.any(|finding| finding.verdict == verdict && finding.to_string().contains(what)),
        "{what}:\n{report}"
    );
}

const PJSIP: &str = "[100]\ntype=endpoint\naors=100\nallow=alaw\ndirect_media=no\n[100]\ntype=aor\nmax_contacts=2\nqualify_timeout=2\n";
const DIALPLAN: &str = "[globals]\nA=1\n[office]\nexten => 1,1,Answer()\n same => n,Hangup()\n";

#[test]
fn another_import_changes_nothing_and_changed_files_change_their_rows_only() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let office = Office::new(&[("pjsip.conf", PJSIP), ("extensions.conf", DIALPLAN)]);
        let report = office.import(&store).await;
        assert_eq!(numbers(&report), [4, 0, 0, 0], "{report}");
        let (snapshot, problems) = store.load().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(problems, [], "{:?}", db.kind);
        assert_eq!(snapshot.endpoints["100"].allow, ["alaw"]);
        assert!(!snapshot.endpoints["100"].direct_media);
        assert_eq!(snapshot.aors["100"].max_contacts, 2);

        let report = office.import(&store).await;
        assert_eq!(numbers(&report), [0, 0, 0, 4], "{report}");
        assert!(report.to_string().contains("nothing changes"));

        // One value of one object, and a line less.
        office.write(
            "pjsip.conf",
            &PJSIP
                .replace("max_contacts=2\n", "max_contacts=3\n")
                .replace("direct_media=no\n", ""),
        );
        let report = office.import(&store).await;
        assert_eq!(numbers(&report), [0, 2, 0, 2], "{report}");
        let (snapshot, _) = store.load().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(snapshot.aors["100"].max_contacts, 3);
        assert!(
            snapshot.endpoints["100"].direct_media,
            "a line that is gone has its default again"
        );

        // A line more in a context, and an object less.
        office.write(
            "extensions.conf",
            &DIALPLAN.replace(" same => n,H", " same => n,Wait(1)\n same => n,H"),
        );
        office.write("pjsip.conf", "[100]\ntype=endpoint\naors=100\nallow=alaw\n");
        let report = office.import(&store).await;
        assert_eq!(numbers(&report), [0, 1, 1, 2], "{report}");
        assert_eq!(count(&store, "ps_aors").await, 0);
        assert_eq!(
            count(&store, "static_extensions WHERE category = 'office'").await,
            3
        );
        assert_eq!(count(&store, "strowger_imports").await, 3);
        db
    });
}

#[test]
fn rows_of_other_hands_stay() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        run(
            &store,
            "INSERT INTO ps_aors (id, max_contacts) VALUES ('100', 7)",
        )
        .await;
        let office = Office::new(&[("pjsip.conf", PJSIP), ("extensions.conf", DIALPLAN)]);
        let report = office.import(&store).await;
        assert_says(
            &report,
            Verdict::Decision,
            "aor 100 in ps_aors is there already",
        );
        assert_eq!(numbers(&report), [3, 0, 0, 0], "{report}");

        // A hand changes a column that the file writes, and one that it does not.
        run(
            &store,
            "UPDATE ps_endpoints SET callerid = 'Alice <100>' WHERE id = '100'",
        )
        .await;
        office.write("pjsip.conf", &PJSIP.replace("alaw", "ulaw"));
        let report = office.import(&store).await;
        assert_eq!(numbers(&report), [0, 1, 0, 2], "{report}");
        let (snapshot, _) = store.load().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            snapshot.endpoints["100"].callerid.as_deref(),
            Some("Alice <100>")
        );
        run(
            &store,
            "UPDATE ps_endpoints SET allow = 'g722' WHERE id = '100'",
        )
        .await;
        let report = office.import(&store).await;
        assert_says(
            &report,
            Verdict::Taken,
            "was changed here since it was imported: left so",
        );
        office.write("pjsip.conf", &PJSIP.replace("alaw", "gsm"));
        let report = office.import(&store).await;
        assert_says(
            &report,
            Verdict::Decision,
            "endpoint 100 in ps_endpoints was changed here",
        );
        // Nor is it removed with its section.
        office.write("pjsip.conf", "[100]\ntype=auth\nusername=100\n");
        let report = office.import(&store).await;
        assert_says(
            &report,
            Verdict::Decision,
            "100 in ps_endpoints is in the file no more",
        );
        let allow = "SELECT allow FROM ps_endpoints";
        assert_eq!(texts(&store, allow).await, [Some("g722".to_owned())]);
        assert_eq!(count(&store, "ps_aors WHERE max_contacts = 7").await, 1);

        let mut office = office;
        office.write("pjsip.conf", PJSIP);
        office.options.replace = true;
        let report = office.import(&store).await;
        assert_eq!(report.count(Verdict::Decision), 0, "{report}");
        assert_eq!(texts(&store, allow).await, [Some("alaw".to_owned())]);
        assert_eq!(count(&store, "ps_aors WHERE max_contacts = 2").await, 1);
        db
    });
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing() {
    on_each_engine(|db| async move {
        let store = db.store().await;
        let mut office = Office::new(&[
            ("pjsip.conf", PJSIP),
            ("extensions.conf", DIALPLAN),
            ("extensions.lua", "extensions.lua = {}\n"),
        ]);
        office.options.dry_run = true;
        // Before there is any table, and with tables.
        let before = office.import(&store).await;
        assert_eq!(numbers(&before), [5, 0, 0, 0], "{before}");
        drop(store);
        let store = db.migrated().await;
        assert_eq!(office.import(&store).await, before);
        assert_eq!(count(&store, "ps_endpoints").await, 0);
        assert!(!office.options.scripts.exists());
        office.options.dry_run = false;
        assert_eq!(office.import(&store).await, before);
        let script = office.options.scripts.join("extensions.lua");
        assert_eq!(
            std::fs::read_to_string(&script).unwrap_or_default(),
            "extensions.lua = {}\n"
        );
        // A script that somebody changed stays; one that nobody did follows the file.
        office.write("extensions.lua", "extensions.lua = { s = 1 }\n");
        assert_eq!(numbers(&office.import(&store).await), [0, 1, 0, 4]);
        std::fs::write(&script, "mine").unwrap_or_else(|error| panic!("{error}"));
        let report = office.import(&store).await;
        assert_says(
            &report,
            Verdict::Decision,
            "was not imported so: left as it is",
        );
        assert_eq!(std::fs::read_to_string(&script).unwrap_or_default(), "mine");
        db
    });
}

#[test]
fn everything_can_go_to_one_place_and_is_read_from_there() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let pjsip = format!("{PJSIP}[udp]\ntype=transport\nbind=127.0.0.1:5070\n");
        let dialplan = "[office]\ninclude => more\nexten => 1,1,Answer()\n same => n,Hangup()\n\
                        [more]\nexten => 2,1,Answer()\n same => n(x),Hangup()\n";
        let mut office = Office::new(&[("pjsip.conf", &pjsip), ("extensions.conf", dialplan)]);
        for (into, elsewhere) in [
            (Target::Static, Target::Realtime),
            (Target::Realtime, Target::Static),
        ] {
            office.options.into = Some(into);
            let report = office.import(&store).await;
            assert_eq!(report.count(Verdict::Decision), 0, "{report}");
            let (snapshot, problems) = store.load().await.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(problems, [], "{:?} {into:?}", db.kind);
            assert_eq!(snapshot.endpoints["100"].allow, ["alaw"], "{into:?}");
            assert_eq!(snapshot.transports[0].bind, "127.0.0.1:5070", "{into:?}");
            let rows = count(&store, "ps_endpoints").await;
            assert_eq!(
                rows,
                u64::from(into == Target::Realtime),
                "not in {elsewhere:?}"
            );
            let steps = count(&store, "realtime_extensions WHERE context = 'office'").await;
            assert_eq!(steps, if into == Target::Realtime { 2 } else { 0 });
            // A label has no place in a table of numbers.
            assert_eq!(
                count(&store, "static_extensions WHERE category = 'more'").await,
                2
            );
            let report = office.import(&store).await;
            assert_eq!(numbers(&report)[..3], [0, 0, 0], "{report}");
        }
        db
    });
}

#[test]
fn sorcery_is_told_where_objects_went_where_it_speaks() {
    let line = |ours: bool, name: &str, value: &str| {
        (
            ours,
            ["res_pjsip".to_owned(), name.to_owned(), value.to_owned()],
        )
    };
    let names = |units: Vec<Unit>| -> Vec<String> {
        let units = units.iter();
        units
            .map(|unit| format!("{}={}", unit.key[2].1, unit.key[3].1))
            .collect()
    };
    let into = |target| BTreeSet::from([("endpoint", target), ("transport", target)]);
    let spoken = [line(false, "endpoint", "realtime,ps_endpoints")];
    let needed = sorcery(&spoken, &into(Target::Static), None);
    assert_eq!(
        names(needed),
        ["endpoint=config,pjsip.conf,criteria=type=endpoint"]
    );
    let needed = sorcery(&spoken, &into(Target::Realtime), None);
    // Sections of transports that were read before are read still.
    let both = [
        "transport=config,pjsip.conf,criteria=type=transport",
        "transport=realtime,ps_transports",
    ];
    assert_eq!(names(needed), both);
    assert_eq!(
        names(sorcery(&[], &into(Target::Realtime), None)),
        Vec::<String>::new()
    );
    // Whoever writes the first line has to say all.
    assert_eq!(
        sorcery(&[], &into(Target::Static), Some(Target::Static)).len(),
        18
    );
    let ours = [line(true, "endpoint", "realtime,ps_endpoints")];
    assert_eq!(
        sorcery(&ours, &into(Target::Static), Some(Target::Static)).len(),
        18
    );
}
