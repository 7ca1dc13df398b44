//! `keyed_hash(text, key)`: a pseudonym, HMAC-SHA-256 in hexadecimal. Equal texts have equal pseudonyms, and without the key nobody finds the text.

use std::fmt;
use std::fmt::Write;

use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The function with its key.
#[derive(PartialEq, Eq, Hash)]
pub(in crate::sql) struct KeyedHash {
    /// `keyed_hash` and a fingerprint, which tells keys apart and says no more of a key than the pseudonyms do.
    name: String,
    key: String,
    signature: Signature,
}

impl KeyedHash {
    pub(in crate::sql) fn new(key: &str) -> KeyedHash {
        let name = format!("keyed_hash[{}]", &digest(key, "freshet")[..16]);
        KeyedHash { name, key: key.to_owned(), signature: Signature::exact(vec![DataType::Utf8], Volatility::Immutable) }
    }
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl ScalarUDFImpl for KeyedHash {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        super::map_texts(&args, |text| Some(digest(&self.key, text)))
    }
}

fn digest(key: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("invariant: HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_rfc_4231() {
        let hash = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(digest("Jefe", "what do ya want for nothing?"), hash);
    }

    #[test]
    fn a_key_is_never_shown() {
        let (one, other) = (KeyedHash::new("a long secret"), KeyedHash::new("another secret"));
        assert!(!format!("{one:?} {}", one.name()).contains("secret"));
        assert_ne!(one.name(), other.name());
    }
}
