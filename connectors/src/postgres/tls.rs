//! Encrypted connections, as the parameters of a URL ask for them.
//!
//! | `sslmode` | connections |
//! |---|---|
//! | `disable`, `allow`, `prefer`, or none | are not encrypted |
//! | `require`, `verify-ca`, `verify-full` | are encrypted, to a server whose certificate is checked, its name too |
//!
//! So `require` asks for more here than elsewhere: a connection to just anybody protects nothing. `sslrootcert` names a file with the
//! certificates (PEM) that may have signed the server's; by default those that the system trusts.

use std::path::PathBuf;

use tokio_postgres_rustls::MakeRustlsConnect;
use url::form_urlencoded::parse;

use crate::trust;

/// Parameters that the driver does not understand.
const OWN: [&str; 2] = ["sslmode", "sslrootcert"];

/// The encryption that a URL asks for.
pub(super) struct Wanted {
    authority: Option<PathBuf>,
}

impl Wanted {
    /// Makes what connects so.
    ///
    /// # Errors
    /// The file of certificates is of no use: for a person.
    pub(super) fn connector(self) -> Result<MakeRustlsConnect, String> {
        trust::client(self.authority.as_deref()).map(MakeRustlsConnect::new)
    }
}

/// Takes what is about encryption out of a URL.
pub(super) fn split(url: &str) -> (String, Option<Wanted>) {
    let Some((place, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let is_own = |pair: &&str| OWN.contains(&pair.split('=').next().unwrap_or_default());
    let (own, others): (Vec<_>, Vec<_>) = query.split('&').partition(is_own);
    let value = |wanted: &str| {
        let mut pairs = own.iter().flat_map(|pair| parse(pair.as_bytes()));
        pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    let is_strict = value("sslmode").is_some_and(|mode| !["disable", "allow", "prefer"].contains(&&*mode));
    let wanted = is_strict.then(|| Wanted { authority: value("sslrootcert").map(PathBuf::from) });
    let url = if others.is_empty() { place.to_owned() } else { format!("{place}?{}", others.join("&")) };
    (url, wanted)
}
