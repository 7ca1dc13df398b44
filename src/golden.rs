//! Golden files of tests: texts that people read, kept exactly.

use std::path::Path;

/// Set it to write the golden files anew, then read the difference.
const BLESS_VARIABLE: &str = "FRESHET_BLESS";

/// Compares a text with a golden file under `src/`.
pub(crate) fn compare(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    if std::env::var_os(BLESS_VARIABLE).is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{file} differs; if the new text is right, set {BLESS_VARIABLE}=1 and run again");
}
