//! What files become: rows of tables, in units that are added, changed and removed as a whole.

use super::conf::{Place, Section};

/// Columns and what they say. What says nothing is left out.
pub(crate) type Values = Vec<(String, String)>;

/// Rows that belong together: an endpoint, a section of a file, the steps of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) table: &'static str,
    /// What tells it from other units of the table.
    pub(crate) key: Vec<(&'static str, String)>,
    /// Its rows, without the columns of the key.
    pub(crate) rows: Vec<Values>,
    pub(crate) place: Place,
    pub(crate) last_line: u32,
    /// Its name, for people.
    pub(crate) what: String,
}

impl Unit {
    pub(crate) fn of(
        section: &Section,
        table: &'static str,
        key: Vec<(&'static str, String)>,
        rows: Vec<Values>,
        what: String,
    ) -> Self {
        Self {
            table,
            key,
            rows,
            place: section.place.clone(),
            last_line: section.last_line,
            what,
        }
    }

    /// The sections of one name of a file that is kept in a static table.
    pub(crate) fn sections(
        table: &'static str,
        filename: &str,
        first: &Section,
        sections: &[Vec<(String, String)>],
    ) -> Self {
        let mut rows = Vec::new();
        for (number, settings) in sections.iter().enumerate() {
            // A higher number comes first, and keeps sections of one name apart.
            let cat_metric = sections.len() - 1 - number;
            for (var_metric, (name, value)) in settings.iter().enumerate() {
                rows.push(vec![
                    ("cat_metric".to_owned(), cat_metric.to_string()),
                    ("var_metric".to_owned(), var_metric.to_string()),
                    ("commented".to_owned(), "0".to_owned()),
                    ("var_name".to_owned(), name.clone()),
                    ("var_val".to_owned(), value.clone()),
                ]);
            }
        }
        let lines = rows.len();
        let lines = if lines == 1 {
            "1 line".to_owned()
        } else {
            format!("{lines} lines")
        };
        let what = format!("[{}], {lines}", first.name);
        let key = vec![
            ("filename", filename.to_owned()),
            ("category", first.name.clone()),
        ];
        Self::of(first, table, key, rows, what)
    }

    /// Its key as text: what it is remembered by.
    pub(crate) fn name(&self) -> String {
        let values: Vec<&str> = self.key.iter().map(|(_, value)| value.as_str()).collect();
        values.join("|")
    }
}

/// What one file becomes.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilePlan {
    /// The file, as seen from the folder of the configuration.
    pub(crate) file: String,
    pub(crate) units: Vec<Unit>,
}

impl FilePlan {
    /// The file as a whole.
    pub(crate) fn place(&self) -> Place {
        Place {
            file: self.file.as_str().into(),
            line: 0,
        }
    }
}
