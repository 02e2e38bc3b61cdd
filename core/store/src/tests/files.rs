//! Files in the static tables: changed whole or not at all, in their order, beside what is commented out.

use super::{on_each_engine, run, texts};
use crate::files::{File, FileChange, Section};
use crate::store::Store;

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

async fn lines(store: &Store, table: &str, file: &str) -> String {
    let text = match store.kind() {
        crate::Kind::Sqlite => "category || '/' || var_name || '=' || var_val",
        crate::Kind::MySql => "CONCAT(category, '/', var_name, '=', var_val)",
        crate::Kind::Postgres => "category || '/' || var_name || '=' || var_val",
    };
    let sql = format!(
        "SELECT {text} FROM {table} WHERE filename = '{file}' ORDER BY commented, category, var_metric, id"
    );
    let rows = texts(store, &sql).await;
    rows.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

async fn change(
    store: &Store,
    (from, to): (&str, &str),
    change: impl Fn(&mut File) + Send + Sync,
) -> FileChange<()> {
    let done = store.change_file(from, to, |file| {
        change(file);
        Ok(())
    });
    done.await.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_file_is_changed_section_by_section_and_comments_stay() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        run(
            &store,
            "INSERT INTO static_extensions (filename, category, var_name, var_val, var_metric, commented) VALUES \
             ('app.conf', 'b', 'z', '1', 0, 0), ('app.conf', 'b', 'a', '2', 1, 0), ('app.conf', 'b', 'old', '0', 2, 1), \
             ('app.conf', 'c', 'x', '3', 0, 0), ('other.conf', 'b', 'x', '4', 0, 0)",
        )
        .await;
        let done = change(&store, ("APP.conf", "app.conf"), |file| {
            let names: Vec<_> = file.0.iter().map(|section| section.name.clone()).collect();
            assert_eq!(names, ["b", "c"]);
            file.0[0].lines.insert(1, pair("m", "it's \"x\""));
            file.0.remove(1);
            file.0.push(Section {
                name: "empty".to_owned(),
                lines: Vec::new(),
            });
        });
        assert_eq!(done.await, FileChange::Done);
        assert_eq!(
            lines(&store, "static_extensions", "app.conf").await,
            "b/z=1 b/m=it's \"x\" b/a=2 b/old=0 empty/="
        );
        assert_eq!(
            lines(&store, "static_extensions", "other.conf").await,
            "b/x=4"
        );
        let (snapshot, _) = store.load().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(*snapshot.static_marks, [pair("app.conf", "empty")]);
        let filled = change(&store, ("app.conf", "app.conf"), |file| {
            file.0[1].lines.push(pair("y", "5"));
        });
        assert_eq!(filled.await, FileChange::Done);
        assert_eq!(
            lines(&store, "static_extensions", "app.conf").await,
            "b/z=1 b/m=it's \"x\" b/a=2 empty/y=5 b/old=0"
        );
        store.close().await;
        db
    });
}

#[test]
fn a_file_is_made_copied_and_refused() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let none: FileChange<()> = change(&store, ("no.conf", "no.conf"), |_| {}).await;
        assert_eq!(none, FileChange::Missing);
        assert_eq!(store.create_file("manager.conf").await.ok(), Some(true));
        assert_eq!(store.create_file("Manager.conf").await.ok(), Some(false));
        let made = change(&store, ("manager.conf", "manager.conf"), |file| {
            assert_eq!(*file, File::default());
            file.0.push(Section {
                name: "ann".to_owned(),
                lines: vec![pair("secret", "x")],
            });
        });
        assert_eq!(made.await, FileChange::Done);
        assert_eq!(
            lines(&store, "static_manager", "manager.conf").await,
            "ann/secret=x"
        );
        run(
            &store,
            "INSERT INTO static_extensions (filename, category, var_name, var_val) VALUES ('copy.conf', 'old', 'x', '1')",
        )
        .await;
        let copied = change(&store, ("manager.conf", "copy.conf"), |file| {
            file.0[0].lines.push(pair("read", "all"));
        });
        assert_eq!(copied.await, FileChange::Done);
        assert_eq!(
            lines(&store, "static_extensions", "copy.conf").await,
            "ann/secret=x ann/read=all"
        );
        assert_eq!(
            lines(&store, "static_manager", "manager.conf").await,
            "ann/secret=x"
        );
        let refused = store.change_file("copy.conf", "copy.conf", |file| {
            file.0.clear();
            Err("no")
        });
        assert_eq!(refused.await.ok(), Some(FileChange::Refused("no")));
        assert_eq!(
            lines(&store, "static_extensions", "copy.conf").await,
            "ann/secret=x ann/read=all"
        );
        // Nothing is left of a file but that there is one.
        let emptied = change(&store, ("copy.conf", "copy.conf"), |file| file.0.clear());
        assert_eq!(emptied.await, FileChange::Done);
        assert_eq!(lines(&store, "static_extensions", "copy.conf").await, "/=");
        store.close().await;
        db
    });
}

#[test]
fn a_new_file_has_a_name_that_is_found() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        assert_eq!(store.create_file("PJSIP.Conf").await.ok(), Some(true));
        assert_eq!(lines(&store, "static_pjsip", "pjsip.conf").await, "/=");
        let copied = change(&store, ("pjsip.conf", "Sorcery.CONF"), |_| {});
        assert_eq!(copied.await, FileChange::Done);
        assert_eq!(lines(&store, "static_sorcery", "sorcery.conf").await, "/=");
        store.close().await;
        db
    });
}

#[test]
fn those_who_write_at_once_into_an_empty_table_do_not_stop_each_other() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        for round in 0..8 {
            run(&store, "DELETE FROM static_extensions").await;
            let names = ["a", "b", "c"].map(|name| format!("{name}{round}.conf"));
            let make = |name: &str| {
                let (store, name) = (store.clone(), name.to_owned());
                tokio::spawn(async move { store.create_file(&name).await })
            };
            for made in names.each_ref().map(|name| make(name)) {
                let made = made.await.expect("a task that ends");
                assert_eq!(made.map_err(|error| error.to_string()), Ok(true));
            }
        }
        store.close().await;
        db
    });
}

#[test]
fn what_a_column_would_cut_is_refused_whole() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        assert_eq!(store.create_file("a.conf").await.ok(), Some(true));
        let long = store.change_file("a.conf", "a.conf", |file| {
            file.0.push(Section {
                name: "s".repeat(129),
                lines: vec![pair("x", "1")],
            });
            Ok::<(), ()>(())
        });
        let result = long.await;
        // SQLite cuts nothing.
        assert_eq!(result.is_err(), store.kind() != crate::Kind::Sqlite);
        store.close().await;
        db
    });
}
