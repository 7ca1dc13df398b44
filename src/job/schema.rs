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
        crate::golden::compare("../docs/job.schema.json", &super::json_schema());
    }
}
