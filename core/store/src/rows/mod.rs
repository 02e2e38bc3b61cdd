//! The rows of the realtime tables as typed values: one struct a table, one field a column, with the defaults that
//! hold where a column is missing, NULL or empty. No SQL here: rows are read from and written to plain text cells.

mod aor;
mod auth;
mod cell;
mod contact;
mod dialplan;
mod endpoint;
mod globals;
mod identify;
mod music;
mod options;
mod registration;
mod transport;

pub use aor::Aor;
pub use auth::Auth;
pub use cell::{
    AuthType, DirectMediaMethod, DtmfMode, MediaEncryption, Rel100, SessionTimers,
    TransportProtocol,
};
pub use contact::Contact;
pub use dialplan::{ExtensionRow, StaticRow};
pub use endpoint::Endpoint;
pub use globals::{Globals, System};
pub use identify::{DomainAlias, Identify};
pub use music::{MusicEntry, MusicRow};
pub use options::OptionsRow;
pub use registration::Registration;
pub use transport::Transport;

pub(crate) use cell::Cell;

/// A struct whose fields are columns.
pub(crate) trait Row: Sized {
    /// Every column, in the order of the fields.
    const COLUMNS: &'static [&'static str];
    /// The column `id`.
    fn id(&self) -> &String;
    /// Reads one row.
    fn read(cells: Cells<'_, '_>) -> Self;
    /// The row as column and text; `None` is NULL.
    fn write(&self) -> Vec<(&'static str, Option<String>)>;
}

/// A column whose text could not be understood; its default was used.
pub(crate) struct BadCell {
    pub(crate) column: &'static str,
    pub(crate) text: String,
}

/// Walks the cells of one row in the order of [`Row::COLUMNS`].
pub(crate) struct Cells<'a, 'b> {
    get: &'a dyn Fn(usize) -> Option<&'b str>,
    /// For each column of the struct its place in the result, if the table has it.
    places: &'a [Option<usize>],
    columns: &'static [&'static str],
    next: usize,
    bad: &'a mut Vec<BadCell>,
}

impl<'a, 'b> Cells<'a, 'b> {
    pub(crate) fn new(
        get: &'a dyn Fn(usize) -> Option<&'b str>,
        places: &'a [Option<usize>],
        columns: &'static [&'static str],
        bad: &'a mut Vec<BadCell>,
    ) -> Self {
        Self {
            get,
            places,
            columns,
            next: 0,
            bad,
        }
    }

    /// The next column, or `default` if it is missing, NULL, empty or not understood.
    fn read<T: Cell>(&mut self, default: T) -> T {
        let index = self.next;
        self.next += 1;
        let Some(text) = self.places.get(index).copied().flatten().and_then(self.get) else {
            return default;
        };
        if text.is_empty() {
            return default;
        }
        T::read(text).unwrap_or_else(|| {
            if let Some(column) = self.columns.get(index) {
                self.bad.push(BadCell {
                    column,
                    text: text.chars().take(80).collect(),
                });
            }
            default
        })
    }
}

macro_rules! row {
    ($(#[$meta:meta])* pub struct $name:ident = $table:literal {
        $($(#[$fmeta:meta])* $column:literal $field:ident: $type:ty = $default:expr;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            /// Every column with its text as it would be stored; `None` is NULL.
            #[must_use]
            pub fn columns(&self) -> Vec<(&'static str, Option<String>)> {
                $crate::rows::Row::write(self)
            }
        }

        impl $crate::rows::Row for $name {
            const COLUMNS: &'static [&'static str] = &[$($column),*];
            fn id(&self) -> &String {
                &self.id
            }
            fn read(mut cells: $crate::rows::Cells<'_, '_>) -> Self {
                let default = Self::default();
                Self { $($field: cells.read(default.$field),)* }
            }
            fn write(&self) -> Vec<(&'static str, Option<String>)> {
                vec![$(($column, $crate::rows::cell::Cell::write(&self.$field)),)*]
            }
        }
    };
}
pub(crate) use row;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cells: &[(&str, &str)]) -> (Endpoint, Vec<BadCell>) {
        let places: Vec<_> = Endpoint::COLUMNS
            .iter()
            .map(|column| cells.iter().position(|(name, _)| name == column))
            .collect();
        let mut bad = Vec::new();
        let get = |index: usize| cells.get(index).map(|(_, text)| *text);
        (
            Endpoint::read(Cells::new(&get, &places, Endpoint::COLUMNS, &mut bad)),
            bad,
        )
    }

    #[test]
    fn missing_and_empty_columns_take_their_defaults() {
        let (endpoint, bad) = read(&[("id", "100"), ("context", ""), ("allow", "alaw, ulaw")]);
        assert!(bad.is_empty());
        assert_eq!(
            endpoint,
            Endpoint {
                id: "100".into(),
                allow: list_of(&["alaw", "ulaw"]),
                ..Endpoint::default()
            }
        );
        assert_eq!(endpoint.context, "default");
        assert!(endpoint.direct_media && endpoint.force_rport && !endpoint.rewrite_contact);
        assert_eq!(endpoint.identify_by, ["username", "ip"]);
    }

    #[test]
    fn a_value_that_is_no_number_is_reported_and_replaced() {
        let (endpoint, bad) = read(&[
            ("id", "100"),
            ("rtp_timeout", "soon"),
            ("dtmf_mode", "smoke"),
        ]);
        assert_eq!(endpoint.rtp_timeout, 0);
        assert_eq!(endpoint.dtmf_mode, DtmfMode::Rfc4733);
        let named: Vec<_> = bad
            .iter()
            .map(|cell| (cell.column, cell.text.as_str()))
            .collect();
        assert_eq!(named, [("dtmf_mode", "smoke"), ("rtp_timeout", "soon")]);
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let before = Endpoint {
            id: "100".into(),
            rel100: Rel100::PeerSupported,
            auth: list_of(&["a", "b"]),
            direct_media: false,
            ..Endpoint::default()
        };
        let written = before.write();
        let cells: Vec<_> = written
            .iter()
            .map(|(column, text)| (*column, text.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(read(&cells).0, before);
    }

    fn list_of(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }
}
