//! Importing into real databases: what is written, what stays, what goes.

use std::path::Path;

use super::*;
use crate::pool::Kind;
use crate::tests::{count, on_each_engine, run, texts};

pub(super) struct Office {
    folder: tempfile::TempDir,
    options: ImportOptions,
}

impl Office {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
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

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap_or_else(|error| panic!("{error}"));
    }

    pub(super) async fn import(&self, store: &Store) -> Report {
        import_asterisk(store, self.path(), &self.options)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
            .0
    }
}

/// Added, changed, removed, unchanged.
pub(super) fn numbers(report: &Report) -> [usize; 4] {
    [
        report.added,
        report.changed,
        report.removed,
        report.unchanged,
    ]
}

#[track_caller]
pub(super) fn assert_says(report: &Report, verdict: Verdict, what: &str) {
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
fn rows_of_a_file_that_cannot_be_read_whole_stay_as_they_are() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let all =
            "[phone](!)\ntype=endpoint\nauth=100\n#include \"more.conf\"\n[100](phone)\naors=100\n";
        let office = Office::new(&[
            ("pjsip.conf", all),
            (
                "more.conf",
                "[101](phone)\n[101]\ntype=auth\nusername=101\n",
            ),
            ("queues.conf", "[sales]\nstrategy=linear\n"),
        ]);
        let report = office.import(&store).await;
        assert_eq!(numbers(&report), [4, 0, 0, 0], "{report}");
        let long = format!("[100]\ntype=endpoint\nset_var={}\n", "a".repeat(9000));
        for (pjsip, why) in [
            // What more.conf would say is not known, and so are rows that it gave.
            (
                all.replace("more.conf", "gone.conf"),
                "gone.conf is not there",
            ),
            // A telephone without its template would be one without a password.
            (
                all.replace("[phone](!)", "[other](!)"),
                "inherits from [phone]",
            ),
            (long, "is longer than 8190 bytes"),
            (format!("{all}#exec /bin/date\n"), "is not run"),
        ] {
            office.write("pjsip.conf", &pjsip);
            let report = office.import(&store).await;
            assert_eq!(numbers(&report), [0, 0, 0, 1], "{report}");
            assert_says(&report, Verdict::Decision, why);
            assert_says(&report, Verdict::Decision, "nothing of it is written");
            assert_eq!(count(&store, "ps_endpoints WHERE auth = '100'").await, 2);
        }
        // What is not there on purpose is gone.
        office.write(
            "pjsip.conf",
            &all.replace("#include", "#tryinclude")
                .replace("more", "gone"),
        );
        let report = office.import(&store).await;
        assert_eq!(numbers(&report), [0, 0, 2, 2], "{report}");
        db
    });
}

#[test]
fn values_are_written_as_their_columns_take_them() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let office = Office::new(&[
            (
                "pjsip.conf",
                "[100]\ntype=endpoint\ndirect_media=No\ntimers=always\n100rel=sometimes\ncallerid_privacy=PROHIB\n\
                 [100]\ntype=aor\nqualify_timeout=2.50\nmax_contacts=5000000000\n[100]\ntype=auth\npassword=x\n",
            ),
            (
                "queues.conf",
                "[sales]\nautofill=true\nringinuse=0\nstrategy=RRMemory\nmaxlen=many\n\
                 [other]\nstrategy=linear\n",
            ),
            (
                "voicemail.conf",
                "[office]\n100 => 1,Alice,,,delete=1|attach=On|maxmsg=7.0\n",
            ),
            (
                "musiconhold.conf",
                "[office]\nmode=Playlist\nloop_last=1\nentry=demo\n",
            ),
        ]);
        let report = office.import(&store).await;
        assert_eq!(numbers(&report), [8, 0, 0, 0], "{:?}: {report}", db.kind);
        assert_says(
            &report,
            Verdict::Decision,
            "100rel of [100] says `sometimes`",
        );
        assert_says(&report, Verdict::Decision, "maxlen says `many`");
        for (sql, wanted) in [
            ("SELECT timers FROM ps_endpoints", "forced"),
            ("SELECT direct_media FROM ps_endpoints", "no"),
            ("SELECT deletevoicemail FROM voicemail", "yes"),
            ("SELECT attach FROM voicemail", "yes"),
            // An Asterisk gives callers to members one after the other, unless [general] says otherwise.
            ("SELECT autofill FROM queues WHERE name = 'other'", "no"),
        ] {
            let sql = sql.replacen("SELECT ", "", 1);
            let (column, from) = sql.split_once(' ').unwrap_or_default();
            let sql = format!("SELECT {} {from}", store.kind().as_text(column));
            let found = texts(&store, &sql).await;
            let found = found[0].as_deref().unwrap_or_default();
            // Where the column is a text, it holds what the file says; it means the same.
            let same = found == wanted || (db.kind == Kind::Sqlite && ["1", "On"].contains(&found));
            assert!(same, "{:?} {sql}: {found}", db.kind);
        }
        let (snapshot, problems) = store.load().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(problems, [], "{:?}", db.kind);
        assert!(!snapshot.endpoints["100"].direct_media);
        // Nothing is another value when it comes back.
        let report = office.import(&store).await;
        assert_eq!(numbers(&report), [0, 0, 0, 8], "{:?}: {report}", db.kind);
        assert!(!report.to_string().contains("was changed here"), "{report}");
        db
    });
}

#[test]
fn a_file_that_cannot_be_written_is_told_and_the_others_are() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        run(&store, "DROP TABLE queues").await;
        run(
            &store,
            "CREATE UNIQUE INDEX one_each ON ps_aors (max_contacts)",
        )
        .await;
        let office = Office::new(&[
            ("extensions.conf", DIALPLAN),
            (
                "pjsip.conf",
                &format!("{PJSIP}[101]\ntype=aor\nmax_contacts=2\n"),
            ),
            ("queues.conf", "[sales]\nstrategy=linear\n"),
            ("voicemail.conf", "[office]\n100 => 1,Alice\n"),
        ]);
        let report = office.import(&store).await;
        assert_eq!(report.count(Verdict::Failed), 2, "{report}");
        assert_says(
            &report,
            Verdict::Failed,
            "queues.conf: failed: table queues: does not exist",
        );
        assert_says(&report, Verdict::Failed, "pjsip.conf: failed: importing ");
        assert_eq!(numbers(&report), [3, 0, 0, 0], "{report}");
        assert!(
            !report.to_string().contains("ps_endpoints (added)"),
            "{report}"
        );
        assert_eq!(count(&store, "ps_endpoints").await, 0);
        assert_eq!(count(&store, "ps_aors").await, 0);
        assert_eq!(count(&store, "voicemail").await, 1);
        assert_eq!(count(&store, "strowger_imports").await, 3);
        // The report stands as it would have been, once the fault is gone.
        run(
            &store,
            if db.kind == Kind::MySql {
                "DROP INDEX one_each ON ps_aors"
            } else {
                "DROP INDEX one_each"
            },
        )
        .await;
        let report = office.import(&store).await;
        assert_eq!(report.count(Verdict::Failed), 1, "{report}");
        assert_eq!(count(&store, "ps_aors").await, 2);
        db
    });
}

#[test]
fn what_both_sides_changed_alike_follows_the_file_from_then_on() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let office = Office::new(&[("pjsip.conf", PJSIP)]);
        office.import(&store).await;
        for contacts in [5, 6] {
            let text = format!("max_contacts={contacts}\n");
            office.write("pjsip.conf", &PJSIP.replace("max_contacts=2\n", &text));
            if contacts == 5 {
                run(&store, "UPDATE ps_aors SET max_contacts = 5").await;
            }
            let report = office.import(&store).await;
            assert_eq!(report.count(Verdict::Decision), 0, "{report}");
            let found = count(&store, &format!("ps_aors WHERE max_contacts = {contacts}")).await;
            assert_eq!(found, 1, "{report}");
        }
        db
    });
}

#[test]
fn nobody_changes_what_an_import_has_read_until_it_has_written() {
    on_each_engine(|db| async move {
        let store = std::sync::Arc::new(db.migrated().await);
        run(
            &store,
            "INSERT INTO ps_aors (id, max_contacts) VALUES ('100', 1)",
        )
        .await;
        let mut open = store
            .pool()
            .begin()
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let sql = format!(
            "SELECT {} FROM ps_aors",
            store.kind().as_text("max_contacts")
        );
        let mut read = Vec::new();
        open.each_row_locked("ps_aors", crate::pool::Statement::new(sql), |get| {
            read.push(get(0).map(str::to_owned));
        })
        .await
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read, [Some("1".to_owned())]);
        let other = std::sync::Arc::clone(&store);
        let change = tokio::spawn(async move {
            run(&other, "UPDATE ps_aors SET max_contacts = max_contacts + 1").await;
        });
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        assert!(!change.is_finished(), "{:?}", db.kind);
        let sql = "UPDATE ps_aors SET max_contacts = 10";
        let statement = crate::pool::Statement::new(sql);
        assert_eq!(
            open.execute(statement)
                .await
                .unwrap_or_else(|error| panic!("{error}")),
            1
        );
        open.commit()
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        change.await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(count(&store, "ps_aors WHERE max_contacts = 11").await, 1);
        // What is not committed never was.
        let mut open = store
            .pool()
            .begin()
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let statement = crate::pool::Statement::new(sql);
        open.execute(statement)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        drop(open);
        assert_eq!(count(&store, "ps_aors WHERE max_contacts = 11").await, 1);
        db
    });
}

#[test]
fn a_script_that_was_put_there_before_its_record_is_remembered() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let office = Office::new(&[("extensions.lua", "extensions = {}\n")]);
        office.import(&store).await;
        // As if the import had ended between the two.
        run(&store, "DELETE FROM strowger_imports").await;
        assert_eq!(numbers(&office.import(&store).await), [0, 0, 0, 1]);
        office.write("extensions.lua", "extensions = { a = {} }\n");
        let report = office.import(&store).await;
        assert_eq!(numbers(&report), [0, 1, 0, 0], "{report}");
        db
    });
}

#[test]
fn names_and_members_are_read_as_an_asterisk_does() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let office = Office::new(&[
            (
                "queues.conf",
                "[General]\npersistentmembers=yes\n[sales]\n\
                 member => PJSIP/101,1\n\
                 member => PJSIP/100,0,\"Smith, John\",PJSIP/102\n\
                 member => PJSIP/101,2,Bob\n",
            ),
            (
                "voicemail.conf",
                "[GENERAL]\nformat=wav\n[ZoneMessages]\na=b|c\n[office]\n1 => 1\n",
            ),
            (
                "musiconhold.conf",
                "[General]\ncachertclasses=yes\n[office]\nmode=playlist\nentry=demo\n",
            ),
            ("extensions.conf", "[Globals]\nA=1\n[general]\nstatic=yes\n"),
        ]);
        let report = office.import(&store).await;
        assert_eq!(count(&store, "queues").await, 1);
        assert_eq!(count(&store, "voicemail").await, 1);
        assert_eq!(count(&store, "musiconhold").await, 1);
        let sql = "SELECT category FROM static_extensions ORDER BY category";
        let found: Vec<String> = texts(&store, sql).await.into_iter().flatten().collect();
        assert_eq!(
            found,
            ["general", "general", "general", "globals", "zonemessages"],
            "{report}"
        );
        let members = "queue_members WHERE interface = 'PJSIP/100' AND penalty = 0 AND membername = 'Smith, John' \
                       AND state_interface = 'PJSIP/102'";
        assert_eq!(count(&store, members).await, 1, "{report}");
        let last =
            "queue_members WHERE interface = 'PJSIP/101' AND penalty = 2 AND membername = 'Bob'";
        assert_eq!(count(&store, last).await, 1, "{report}");
        assert_says(
            &report,
            Verdict::Decision,
            "queues.conf:4: decide: member PJSIP/101 of [sales] a second time: the last",
        );
        // The order of members counts.
        let sql = "SELECT interface FROM queue_members ORDER BY uniqueid";
        let order: Vec<String> = texts(&store, sql).await.into_iter().flatten().collect();
        assert_eq!(order, ["PJSIP/101", "PJSIP/100"]);
        assert_eq!(numbers(&office.import(&store).await)[..3], [0, 0, 0]);
        db
    });
}

#[test]
fn what_is_too_long_is_told_and_an_object_is_kept_only_where_it_means_the_same() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let office = Office::new(&[]);
        let name = "N".repeat(41);
        // Beside a list with a name the rules cannot become one.
        let hosts: Vec<String> = (1..=9).map(|host| format!("203.0.113.{host}/32")).collect();
        office.write(
            "pjsip.conf",
            &format!(
                "[100]\ntype=endpoint\ncontext=office\nmoh_suggest={name}\n\
                 [101]\ntype=endpoint\ncontext=office\nacl=office\npermit={}\n\
                 [102]\ntype=endpoint\ncontext=office\ndeny=0.0.0.0/0\npermit={}\n",
                hosts.join(","),
                hosts.join("\npermit=")
            ),
        );
        let report = office.import(&store).await;
        let list = "static_extensions WHERE filename = 'acl.conf' AND category = 'pjsip.conf/102'";
        assert_eq!(count(&store, list).await, 10, "{report}");
        let named = "ps_endpoints WHERE id = '102' AND acl = 'pjsip.conf/102'";
        assert_eq!(count(&store, named).await, 1, "{report}");
        let open = count(&store, "ps_endpoints WHERE id = '101'").await;
        let shown = count(
            &store,
            "ps_endpoints WHERE id = '100' AND moh_suggest IS NOT NULL",
        )
        .await;
        // Texts have no limit in SQLite.
        if db.kind == Kind::Sqlite {
            assert_eq!((open, shown), (1, 1), "{report}");
        } else {
            assert_eq!((open, shown), (0, 0), "{report}");
            assert_eq!(
                count(&store, "ps_endpoints WHERE id = '100'").await,
                1,
                "{report}"
            );
            let what =
                "endpoint 101: column permit takes 95 characters, and there are 134: not taken";
            assert_says(&report, Verdict::Decision, what);
            let what =
                "endpoint 100: column moh_suggest takes 40 characters, and there are 41: left out";
            assert_says(&report, Verdict::Decision, what);
        }
        assert_eq!(report.count(Verdict::Failed), 0, "{report}");
        assert_eq!(numbers(&office.import(&store).await)[..3], [0, 0, 0]);
        db
    });
}

#[test]
fn names_that_differ_in_case_alone_cost_the_second_one_and_not_the_file() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let both = "[sales]\ntype=endpoint\ncontext=a\n[Sales]\ntype=endpoint\ncontext=b\n";
        let office = Office::new(&[("pjsip.conf", both)]);
        let report = office.import(&store).await;
        assert_eq!(report.count(Verdict::Failed), 0, "{report}");
        let contexts = "SELECT context FROM ps_endpoints ORDER BY context";
        let found = |texts: Vec<Option<String>>| texts.into_iter().flatten().collect::<Vec<_>>();
        if db.kind == Kind::MySql {
            assert_eq!(found(texts(&store, contexts).await), ["a"], "{report}");
            let what = "pjsip.conf:4: decide: endpoint Sales: the database does not tell it from endpoint sales of line 1, since";
            assert_says(&report, Verdict::Decision, what);
        } else {
            assert_eq!(found(texts(&store, contexts).await), ["a", "b"], "{report}");
        }
        assert_eq!(numbers(&office.import(&store).await)[..3], [0, 0, 0]);
        // The file's own may change its case.
        office.write("pjsip.conf", "[SALES]\ntype=endpoint\ncontext=c\n");
        let report = office.import(&store).await;
        assert_eq!(report.count(Verdict::Failed), 0, "{report}");
        assert_eq!(found(texts(&store, contexts).await), ["c"], "{report}");
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
