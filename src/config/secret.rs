//! Secrets: text that never prints, never serialises, and is read from where the user keeps it.

use std::{env, fmt, fs, path::Path};

use secrecy::{ExposeSecret, SecretString};

use super::{paths, reader::Node};

/// Where a secret comes from; resolved once, when the configuration is read.
#[derive(Clone)]
pub enum Secret {
    /// The secret itself.
    Known(SecretString),
    /// An environment variable that is not set. An error only when a job of its site is to run.
    Unset {
        /// The variable's name.
        variable: String,
    },
}

impl Secret {
    /// A secret whose text is at hand.
    pub fn new(text: impl Into<String>) -> Self {
        Self::Known(SecretString::from(text.into()))
    }

    /// Reads `"text"`, `{ env = "VAR" }` or `{ file = "path" }`; no complaint shows the secret.
    pub(super) fn read(node: &Node<'_>) -> Option<Self> {
        node.hide();
        if node.is_text() {
            let text = node.text()?;
            if text.is_empty() {
                node.error(
                    "is empty; write the secret, `{ env = \"VAR\" }` or `{ file = \"path\" }`",
                );
            }
            return Some(Self::new(text));
        }
        if !node.is_table() {
            node.error("expected a secret: text, `{ env = \"VAR\" }` or `{ file = \"path\" }`");
            return None;
        }
        let table = node.table()?;
        let sources = (table.get("env"), table.get("file"));
        table.finish();
        match sources {
            (Some(variable), None) => variable.parsed(from_variable),
            (None, Some(file)) => {
                let path = paths::path_of(&file)?;
                file.parsed(|_| from_file(&path))
            }
            _ => {
                node.error("write one of `{ env = \"VAR\" }` and `{ file = \"path\" }`");
                None
            }
        }
    }

    /// The text, for the one place that sends it; `None` when its variable is unset.
    pub fn expose(&self) -> Option<&str> {
        match self {
            Self::Known(secret) => Some(secret.expose_secret()),
            Self::Unset { .. } => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(_) => f.write_str("***"),
            Self::Unset { variable } => write!(f, "unset ${variable}"),
        }
    }
}

/// An unset or empty variable is no mistake yet: see [`Secret::Unset`].
fn from_variable(name: &str) -> Result<Secret, String> {
    if name.is_empty() || name.contains(['$', '=', '\0']) {
        return Err(format!(
            "`{name}` is not the name of a variable; write it like `SITE_PASSWORD`"
        ));
    }
    match env::var(name) {
        Ok(text) if !text.is_empty() => Ok(Secret::new(text)),
        Err(env::VarError::NotUnicode(_)) => {
            Err(format!("the variable `{name}` is not UTF-8; set it anew"))
        }
        _ => Ok(Secret::Unset {
            variable: name.to_owned(),
        }),
    }
}

/// The text of a file that only its owner may read, without the line breaks at its end.
fn from_file(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let unreadable = |error| {
        format!(
            "`{shown}` cannot be read: {error}; write the secret into it, then `chmod 600 {shown}`"
        )
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !open_to_owner_only(&metadata) {
        return Err(format!(
            "`{shown}` is open to other users; run `chmod 600 {shown}`"
        ));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(format!("`{shown}` is empty; write the secret into it"));
    }
    Ok(Secret::new(text))
}

#[cfg(unix)]
pub(super) fn open_to_owner_only(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o077 == 0
}

#[cfg(not(unix))]
pub(super) fn open_to_owner_only(_: &fs::Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        assert_eq!(format!("{:?}", Secret::new("S3CRET-x")), "***");
    }
}
