//! What `[name](+filter)` adds to: a section of that name with certain settings.

use regex::{Regex, RegexBuilder};

use super::conf::{Section, is_blank};

/// Memory of a regular expression, in bytes.
const PATTERN_MAX: usize = 1 << 20;

/// `name=value&name=value`, each side a regular expression.
pub(crate) struct Filter {
    settings: Vec<(Regex, Regex)>,
    /// Templates fit, and sections that are none.
    templates: bool,
    others: bool,
}

impl Filter {
    /// # Errors
    /// What cannot be read of it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut filter = Self {
            settings: Vec::new(),
            templates: false,
            others: true,
        };
        for part in text.split('&').filter(|_| !text.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("the filter `{part}` of the addition has no `=`"))?;
            let (name, value) = (name.trim_matches(is_blank), value.trim_matches(is_blank));
            match (name, value.to_ascii_lowercase().as_str()) {
                ("TEMPLATES", "include") => filter.templates = true,
                ("TEMPLATES", "restrict") => {
                    filter.templates = true;
                    filter.others = false;
                }
                _ => filter.settings.push((pattern(name)?, pattern(value)?)),
            }
        }
        Ok(filter)
    }

    /// Whether each part is said by some setting of the section.
    pub(crate) fn fits(&self, section: &Section) -> bool {
        let meant = if section.template {
            self.templates
        } else {
            self.others
        };
        let says = |(name, value): &(Regex, Regex)| {
            let mut settings = section.settings.iter();
            settings.any(|setting| name.is_match(&setting.name) && value.is_match(&setting.value))
        };
        meant && self.settings.iter().all(says)
    }
}

fn pattern(text: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(text);
    let built = builder.size_limit(PATTERN_MAX).build();
    built.map_err(|_| format!("`{text}` of the addition is no regular expression"))
}
