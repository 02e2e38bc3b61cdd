//! Rows of the dialplan: `realtime_extensions`, and configuration files kept in tables.

/// One step of the dialplan, a row of `realtime_extensions`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtensionRow {
    /// Row id, for messages about the row; 0 where the table has none.
    pub id: i64,
    /// Context.
    pub context: String,
    /// Number, or a pattern that begins with `_`.
    pub exten: String,
    /// Place in the extension, from 1.
    pub priority: i32,
    /// Application.
    pub app: String,
    /// Arguments before substitution.
    pub appdata: String,
}

/// One line of a configuration file kept in a table (`static_extensions`, `static_pjsip`, `static_sorcery`,
/// `static_manager`); rows that are commented out are not loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StaticRow {
    /// Row id; 0 where the table has none.
    pub id: i64,
    /// Order of sections, higher first.
    pub cat_metric: i32,
    /// Order inside a section.
    pub var_metric: i32,
    /// File, such as `extensions.conf`.
    pub filename: String,
    /// Section.
    pub category: String,
    /// Option.
    pub var_name: String,
    /// Value.
    pub var_val: String,
}

impl StaticRow {
    /// Sorts rows as MySQL's driver does, on every engine: file, category, `cat_metric` downwards, `var_metric`, name,
    /// value, id. Letters compare without case, as MySQL's default collation does; sections whose names differ in
    /// case only are still kept apart.
    pub fn sort(rows: &mut [Self]) {
        rows.sort_by_cached_key(Self::sort_key);
    }

    /// What [`Self::sort`] compares.
    pub(crate) fn sort_key(&self) -> impl Ord + use<> {
        (
            (self.filename.to_lowercase(), self.filename.clone()),
            (self.category.to_lowercase(), self.category.clone()),
            std::cmp::Reverse(self.cat_metric),
            self.var_metric,
            (self.var_name.to_lowercase(), self.var_val.to_lowercase()),
            self.id,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, category: &str, cat_metric: i32, var_metric: i32, name: &str) -> StaticRow {
        StaticRow {
            id,
            cat_metric,
            var_metric,
            filename: "pjsip.conf".into(),
            category: category.into(),
            var_name: name.into(),
            var_val: "v".into(),
        }
    }

    #[test]
    fn rows_of_two_sections_mixed_by_id_come_out_section_by_section() {
        let mut rows = vec![
            row(1, "udp", 0, 0, "type"),
            row(2, "tcp", 0, 0, "type"),
            row(3, "udp", 0, 0, "bind"),
            row(4, "tcp", 1, 0, "bind"),
            row(5, "udp", 0, -1, "zone"),
            row(6, "UDP", 0, 0, "bind"),
        ];
        StaticRow::sort(&mut rows);
        let order: Vec<_> = rows.iter().map(|row| row.id).collect();
        assert_eq!(order, [4, 2, 6, 5, 3, 1]);
    }
}
