//! Rows of `musiconhold` and `musiconhold_entry`: classes of music on hold.

/// A class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MusicRow {
    /// Name, by which calls ask for it.
    pub name: String,
    /// `files` (a folder), `playlist` (the entries), or `custom` (a program).
    pub mode: String,
    /// Folder; a relative one lies in the data directory.
    pub directory: String,
    /// Listeners of other music who dial this change to the class.
    pub digit: String,
    /// `random`, `randstart`, `alpha` or empty.
    pub sort: String,
    /// The program of mode `custom`.
    pub application: String,
    /// What the program writes: `slin` (or empty), `ulaw`, `alaw`.
    pub format: String,
}

/// A sound of a class of mode `playlist`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MusicEntry {
    /// Class.
    pub name: String,
    /// Order, from the lowest.
    pub position: i64,
    /// Name of the sound.
    pub entry: String,
}
