//! The JSON Schema of job files, for editors that complete and check while one writes.

/// Returns the schema as text; `docs/job.schema.json` holds the same.
#[must_use]
pub fn json_schema() -> String {
    let schema = schemars::schema_for!(super::written::JobFile);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/job.schema.json");
        let published = std::fs::read_to_string(path).expect("docs/job.schema.json is there");
        assert_eq!(published, super::json_schema(), "run: freshet schema > docs/job.schema.json");
    }
}
