//! Rows of tables whose columns are options with names of their own (`queues`, `queue_members`, `queue_rules`, `voicemail`):
//! read as they are, because tables of others have columns that nobody foresaw.

/// The columns of one row that say something.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OptionsRow {
    /// Name, in lower case, and text of each column that is neither NULL nor empty, in the order of the table.
    pub options: Vec<(String, String)>,
}

impl OptionsRow {
    /// The text of a column; empty if it says nothing.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.options
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, text)| text.as_str())
    }
}
