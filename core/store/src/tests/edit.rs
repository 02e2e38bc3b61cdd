//! Changes that programs ask for: whole or not at all.

use super::{on_each_engine, run, texts};
use crate::edit::{ApiUserRow, StepRow};

fn step(priority: i32, app: &str, appdata: &str) -> StepRow {
    StepRow {
        priority,
        app: app.to_owned(),
        appdata: appdata.to_owned(),
    }
}

#[test]
fn steps_of_an_extension_are_replaced_and_others_stay() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        run(
            &store,
            "INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES \
             ('a', '1', 1, 'NoOp', ''), ('a', '1', 2, 'Hangup', ''), ('a', '2', 1, 'Echo', '')",
        )
        .await;
        let steps = [step(1, "Answer", ""), step(2, "Playback", "it's \"x\",y")];
        let before = store.replace_extension("a", "1", &steps).await;
        assert_eq!(before.unwrap_or_else(|error| panic!("{error}")), 2);
        let sql = "SELECT app FROM realtime_extensions ORDER BY exten, priority";
        let all =
            |rows: Vec<Option<String>>| rows.into_iter().flatten().collect::<Vec<_>>().join(" ");
        assert_eq!(all(texts(&store, sql).await), "Answer Playback Echo");
        let sql = "SELECT appdata FROM realtime_extensions WHERE app = 'Playback'";
        assert_eq!(all(texts(&store, sql).await), "it's \"x\",y");
        let gone = store.replace_extension("a", "1", &[]).await;
        assert_eq!(gone.unwrap_or_else(|error| panic!("{error}")), 2);
        let sql = "SELECT app FROM realtime_extensions";
        assert_eq!(all(texts(&store, sql).await), "Echo");
        store.close().await;
        db
    });
}

#[test]
fn a_key_is_made_once_and_deleted_once() {
    on_each_engine(|db| async move {
        let store = db.migrated().await;
        let user = ApiUserRow {
            uuid: "u".into(),
            name: "Robot".into(),
            api_key: "sha256:00".into(),
            scopes: "calls,cdr:read".into(),
            ..ApiUserRow::default()
        };
        assert!(store.add_api_user(&user).await.is_ok());
        assert!(
            store.add_api_user(&user).await.is_err(),
            "the uuid is taken"
        );
        let (snapshot, _) = store.load().await.unwrap_or_else(|error| panic!("{error}"));
        let row = &snapshot.api_users[0];
        assert_eq!(
            (row.get("enable"), row.get("scopes")),
            ("yes", "calls,cdr:read")
        );
        assert_eq!(row.get("group_uuid"), "");
        assert_eq!(store.delete_api_user("u").await.ok(), Some(true));
        assert_eq!(store.delete_api_user("u").await.ok(), Some(false));
        store.close().await;
        db
    });
}
