//! Rows to begin with: a few subscribers and a small dialplan, so that a fresh exchange can make a call.

use crate::error::StoreError;
use crate::pool::Statement;
use crate::rows::{Aor, Auth, Endpoint, Row};
use crate::schema::Columns;
use crate::store::Store;

/// The context of the demo.
const CONTEXT: &str = "internal";

/// Extension, application, arguments; priorities count up from 1 within an extension.
const DIALPLAN: [(&str, &str, &str); 20] = [
    ("_10[0-2]", "NoOp", "Call to a subscriber"),
    ("_10[0-2]", "Dial", "PJSIP/${EXTEN},30"),
    ("_10[0-2]", "Hangup", ""),
    ("_8XXX", "NoOp", "The same, recorded"),
    ("_8XXX", "MixMonitor", "${UNIQUEID}.wav"),
    ("_8XXX", "Dial", "PJSIP/${EXTEN:1},30"),
    ("_8XXX", "Hangup", ""),
    ("600", "Answer", ""),
    ("600", "Playback", "demo-echotest"),
    ("600", "Echo", ""),
    ("600", "Hangup", ""),
    ("601", "Answer", ""),
    ("601", "Playback", "demo-congrats"),
    ("601", "Hangup", ""),
    ("602", "Answer", ""),
    ("602", "Record", "demo-${UNIQUEID}.wav,3,30"),
    ("602", "Playback", "${RECORDED_FILE}"),
    ("602", "Hangup", ""),
    ("i", "Playback", "pbx-invalid"),
    ("i", "Hangup", ""),
];

/// Table, file, section, name, value.
const STATICS: [(&str, &str, &str, &str, &str); 8] = [
    (
        "static_extensions",
        "extensions.conf",
        CONTEXT,
        "switch",
        "Realtime/@realtime_extensions",
    ),
    (
        "static_sorcery",
        "sorcery.conf",
        "res_pjsip",
        "endpoint",
        "realtime,ps_endpoints",
    ),
    (
        "static_sorcery",
        "sorcery.conf",
        "res_pjsip",
        "auth",
        "realtime,ps_auths",
    ),
    (
        "static_sorcery",
        "sorcery.conf",
        "res_pjsip",
        "aor",
        "realtime,ps_aors",
    ),
    (
        "static_sorcery",
        "sorcery.conf",
        "res_pjsip",
        "domain_alias",
        "realtime,ps_domain_aliases",
    ),
    (
        "static_sorcery",
        "sorcery.conf",
        "res_pjsip",
        "contact",
        "realtime,ps_contacts",
    ),
    (
        "static_sorcery",
        "sorcery.conf",
        "res_pjsip_endpoint_identifier_ip",
        "identify",
        "realtime,ps_endpoint_id_ips",
    ),
    (
        "static_sorcery",
        "sorcery.conf",
        "res_pjsip_outbound_registration",
        "registration",
        "realtime,ps_registrations",
    ),
];

/// Puts the demo into an empty database: its dialplan if the context `internal` has no rows, the static rows if their
/// table has none, and each of the `users` (name, password) that is not there. Gives the number of rows made; another
/// call makes none. Rows that exist stay as they are.
///
/// # Errors
/// The database does not answer, or refuses a row.
pub async fn seed_demo(store: &Store, users: &[(String, String)]) -> Result<u64, StoreError> {
    let mut seed = Seed {
        store,
        statements: Vec::new(),
    };
    if !seed
        .exists("realtime_extensions", "context", CONTEXT)
        .await?
    {
        let mut last = "";
        let mut priority = 0;
        let table = seed.columns("realtime_extensions").await?;
        for (exten, app, appdata) in DIALPLAN {
            priority = if exten == last { priority + 1 } else { 1 };
            last = exten;
            seed.insert(
                &table,
                "realtime_extensions",
                &[
                    ("context", CONTEXT),
                    ("exten", exten),
                    ("priority", &priority.to_string()),
                    ("app", app),
                    ("appdata", appdata),
                ],
            );
        }
    }
    for name in ["static_extensions", "static_sorcery"] {
        if seed.exists(name, "commented", "0").await? {
            continue;
        }
        let table = seed.columns(name).await?;
        for (_, filename, category, var_name, var_val) in STATICS.iter().filter(|row| row.0 == name)
        {
            seed.insert(
                &table,
                name,
                &[
                    ("cat_metric", "0"),
                    ("var_metric", "0"),
                    ("commented", "0"),
                    ("filename", filename),
                    ("category", category),
                    ("var_name", var_name),
                    ("var_val", var_val),
                ],
            );
        }
    }
    for (name, password) in users {
        let callerid = format!("Demo {name} <{name}>");
        seed.subscriber(name, password, CONTEXT, &callerid).await?;
    }
    let count = seed.statements.len() as u64;
    if count > 0 {
        store
            .pool()
            .transaction(seed.statements)
            .await
            .map_err(StoreError::sql("making the demo"))?;
    }
    Ok(count)
}

/// Adds a subscriber: AOR, auth and endpoint named `id`. Gives false, and changes nothing, if the endpoint exists.
///
/// # Errors
/// The database does not answer, or refuses a row.
pub async fn add_subscriber(
    store: &Store,
    id: &str,
    password: &str,
    context: &str,
    callerid: &str,
) -> Result<bool, StoreError> {
    let mut seed = Seed {
        store,
        statements: Vec::new(),
    };
    if seed.exists("ps_endpoints", "id", id).await? {
        return Ok(false);
    }
    seed.subscriber(id, password, context, callerid).await?;
    store
        .pool()
        .transaction(seed.statements)
        .await
        .map_err(StoreError::sql("adding a subscriber"))?;
    Ok(true)
}

struct Seed<'a> {
    store: &'a Store,
    statements: Vec<Statement>,
}

impl Seed<'_> {
    async fn exists(&self, table: &str, column: &str, value: &str) -> Result<bool, StoreError> {
        let kind = self.store.kind();
        let sql = format!(
            "SELECT {} FROM {} WHERE {} = {}",
            kind.as_text("COUNT(*)"),
            kind.quote(table),
            kind.as_text(&kind.quote(column)),
            kind.parameter(1)
        );
        let statement = Statement::with(sql, vec![Some(value.to_owned())]);
        let count = self
            .store
            .pool()
            .value(statement)
            .await
            .map_err(StoreError::sql(format!("looking into {table}")))?;
        Ok(count.is_some_and(|count| count != "0"))
    }

    async fn columns(&self, table: &str) -> Result<Columns, StoreError> {
        let missing = || StoreError::Schema {
            table: table.into(),
            why: "does not exist".into(),
        };
        Columns::find(self.store.pool(), table)
            .await?
            .ok_or_else(missing)
    }

    async fn subscriber(
        &mut self,
        name: &str,
        password: &str,
        context: &str,
        callerid: &str,
    ) -> Result<(), StoreError> {
        let id = || name.to_owned();
        let list = |items: &[&str]| {
            items
                .iter()
                .map(|item| (*item).to_owned())
                .collect::<Vec<_>>()
        };
        let aor = Aor {
            id: id(),
            max_contacts: 5,
            ..Aor::default()
        };
        let auth = Auth {
            id: id(),
            username: Some(id()),
            password: Some(password.to_owned()),
            ..Auth::default()
        };
        let endpoint = Endpoint {
            id: id(),
            aors: vec![id()],
            auth: vec![id()],
            context: context.into(),
            disallow: list(&["all"]),
            allow: list(&["alaw", "ulaw"]),
            direct_media: false,
            rtp_symmetric: true,
            rewrite_contact: true,
            callerid: Some(callerid.to_owned()),
            ..Endpoint::default()
        };
        // The endpoint last: with it the subscriber is complete.
        self.user("ps_aors", name, &aor, &["max_contacts"]).await?;
        self.user(
            "ps_auths",
            name,
            &auth,
            &["auth_type", "username", "password"],
        )
        .await?;
        let set = [
            "aors",
            "auth",
            "context",
            "disallow",
            "allow",
            "direct_media",
            "rtp_symmetric",
            "rewrite_contact",
            "callerid",
        ];
        self.user("ps_endpoints", name, &endpoint, &set).await?;
        Ok(())
    }

    /// Inserts `id` and those columns of a row that say something; the others keep the database's own default.
    async fn user<R: Row>(
        &mut self,
        table: &str,
        id: &str,
        row: &R,
        set: &[&str],
    ) -> Result<(), StoreError> {
        if self.exists(table, "id", id).await? {
            return Ok(());
        }
        let columns = self.columns(table).await?;
        let values: Vec<_> = row
            .write()
            .into_iter()
            .filter(|(name, _)| *name == "id" || set.contains(name))
            .collect();
        self.statements
            .push(columns.insert(self.store.kind(), table, &values));
        Ok(())
    }

    fn insert(&mut self, columns: &Columns, table: &str, values: &[(&str, &str)]) {
        let values: Vec<_> = values
            .iter()
            .map(|(name, value)| (*name, Some((*value).to_owned())))
            .collect();
        self.statements
            .push(columns.insert(self.store.kind(), table, &values));
    }
}
