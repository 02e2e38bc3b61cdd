//! Changes that programs outside ask for, which are done when they are told so: steps of an extension, keys of the APIs. Calls never
//! write this way.

use crate::error::StoreError;
use crate::pool::Statement;
use crate::schema::Columns;
use crate::snapshot::Table;
use crate::store::Store;

/// A step of an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    /// From 1.
    pub priority: i32,
    pub app: String,
    pub appdata: String,
}

/// A row of `api_users`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiUserRow {
    pub uuid: String,
    pub name: String,
    pub description: String,
    /// The key, or its digest.
    pub api_key: String,
    pub group_uuid: Option<String>,
    /// Separated by commas.
    pub scopes: String,
}

impl Store {
    async fn existing_columns(&self, table: &str) -> Result<Columns, StoreError> {
        let columns = Columns::find(self.pool(), table).await?;
        columns.ok_or_else(|| StoreError::Schema {
            table: table.into(),
            why: "does not exist; `strowger db migrate` makes it".into(),
        })
    }

    /// Puts these steps in the place of those that an extension of `realtime_extensions` has; none: the extension goes. All of it
    /// is done, or nothing. Gives how many steps there were.
    ///
    /// # Errors
    /// The database does not answer, or refuses a row.
    pub async fn replace_extension(
        &self,
        context: &str,
        exten: &str,
        steps: &[StepRow],
    ) -> Result<u64, StoreError> {
        let table = Table::Extensions.name();
        let columns = self.existing_columns(table).await?;
        let kind = self.kind();
        let fits = format!(
            "{} = {} AND {} = {}",
            kind.quote("context"),
            kind.parameter(1),
            kind.quote("exten"),
            kind.parameter(2)
        );
        let key = || vec![Some(context.to_owned()), Some(exten.to_owned())];
        let count = kind.as_text("COUNT(*)");
        let count = Statement::with(format!("SELECT {count} FROM {table} WHERE {fits}"), key());
        let failed = || StoreError::sql(format!("writing extension {exten} of context {context}"));
        let before = self.pool().value(count).await.map_err(failed())?;
        let mut statements = vec![Statement::with(
            format!("DELETE FROM {table} WHERE {fits}"),
            key(),
        )];
        for step in steps {
            let values = [
                ("context", Some(context.to_owned())),
                ("exten", Some(exten.to_owned())),
                ("priority", Some(step.priority.to_string())),
                ("app", Some(step.app.clone())),
                ("appdata", Some(step.appdata.clone())),
            ];
            statements.push(columns.insert(kind, table, &values));
        }
        self.pool()
            .transaction(statements)
            .await
            .map_err(failed())?;
        Ok(before.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Makes a row of `api_users`.
    ///
    /// # Errors
    /// The database does not answer, or there is a row of this uuid.
    pub async fn add_api_user(&self, user: &ApiUserRow) -> Result<(), StoreError> {
        let table = Table::ApiUsers.name();
        let columns = self.existing_columns(table).await?;
        let values = [
            ("uuid", Some(user.uuid.clone())),
            ("name", Some(user.name.clone())),
            ("description", Some(user.description.clone())),
            ("enable", Some("yes".to_owned())),
            ("api_key", Some(user.api_key.clone())),
            ("group_uuid", user.group_uuid.clone()),
            ("scopes", Some(user.scopes.clone())),
        ];
        let statement = columns.insert(self.kind(), table, &values);
        let added = self.pool().execute(statement).await;
        added
            .map(|_| ())
            .map_err(StoreError::sql("making a key of the APIs"))
    }

    /// Deletes a row of `api_users`; false: there was none.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn delete_api_user(&self, uuid: &str) -> Result<bool, StoreError> {
        let kind = self.kind();
        let sql = format!(
            "DELETE FROM {} WHERE {} = {}",
            Table::ApiUsers.name(),
            kind.quote("uuid"),
            kind.parameter(1)
        );
        let deleted = self
            .pool()
            .execute(Statement::with(sql, vec![Some(uuid.to_owned())]))
            .await;
        deleted
            .map(|count| count > 0)
            .map_err(StoreError::sql("deleting a key of the APIs"))
    }
}
