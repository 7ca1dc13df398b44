//! The columns of a source or table and the format of its records: from written to ready to use.

use std::num::NonZeroU64;
use std::path::PathBuf;

use freshet_connectors::RegistryOptions;
use freshet_connectors::format::{Encoding, FieldSpec, Format};
use freshet_model::{Column, ColumnType};

use super::forms::{ColumnForm, ColumnTable, Columns};
use super::values::{Context, MAX_NAME_BYTES};
use super::written::{RegistryTable, SourceTable, Text, in_order};
use super::{Error, suggestion};

/// A schema that does not fit makes each of its records a dead letter: before a whole topic becomes that, the job stops.
const MAX_DEAD_RUN_OF_SCHEMAS: u64 = 1000;

/// A type of column that only the job file knows: the JSON text of a value.
const RAW: &str = "json";

impl Context<'_> {
    /// Reads the columns of a source or a table (`kind`), and where they lie in its records.
    pub(super) fn columns(&self, kind: &str, of: &Text, columns: Columns) -> Result<(Vec<Column>, Vec<FieldSpec>), Error> {
        let mut out = (Vec::new(), Vec::new());
        for (name, form) in in_order(columns) {
            if name.get_ref().is_empty() || name.get_ref().len() > MAX_NAME_BYTES || name.get_ref().contains(char::is_control) {
                let way_out = format!("use 1 to {MAX_NAME_BYTES} visible characters");
                return Err(self.error(
                    &name,
                    format!("'{}' cannot be the name of a column", name.get_ref().escape_debug()),
                    way_out,
                ));
            }
            let key = format!("{kind}.{}.columns.{}", of.get_ref(), name.get_ref());
            let (column, field) = match form.get_ref() {
                ColumnForm::Type(text) => self.column(&key, &name, &Text::new(form.span(), text.clone()))?,
                ColumnForm::Table(table) => self.column_of_table(&key, &name, table)?,
            };
            out.0.push(column);
            out.1.push(field);
        }
        if out.0.is_empty() {
            return Err(self.error(of, format!("{kind} '{}' has no columns", of.get_ref()), "declare those that views use"));
        }
        Ok(out)
    }

    fn column(&self, key: &str, name: &Text, written: &Text) -> Result<(Column, FieldSpec), Error> {
        let value = self.value(key, written)?;
        let raw = value.trim().eq_ignore_ascii_case(RAW);
        let column_type = if raw { Ok(ColumnType::Text(None)) } else { value.parse::<ColumnType>() };
        let column_type = column_type.map_err(|error| {
            let what = format!("unknown type '{}' of column '{}'", written.get_ref(), name.get_ref());
            self.error(written, what, format!("{}, {RAW}", error.split_once("; ").map_or("", |(_, known)| known)))
        })?;
        Ok((Column { name: name.get_ref().clone(), column_type }, FieldSpec { raw, ..FieldSpec::default() }))
    }

    fn column_of_table(&self, key: &str, name: &Text, table: &ColumnTable) -> Result<(Column, FieldSpec), Error> {
        let (column, field) = self.column(&format!("{key}.type"), name, &table.column_type)?;
        let path = |path: &String| path.split('.').map(str::to_owned).collect::<Vec<_>>();
        let names: Vec<_> = table.from.0.iter().map(path).collect();
        if names.iter().flatten().any(String::is_empty) {
            let what = format!("'{}' is no path to a field, in '{key}.from'", table.from.0.join("', '"));
            return Err(self.error(name, what, "write names with points between them, such as product.id"));
        }
        let default = table
            .default
            .as_ref()
            .map(|default| self.value(&format!("{key}.default"), &Text::new(default.span(), default.get_ref().0.clone())));
        Ok((column, FieldSpec { names, default: default.transpose()?, required: table.required, ..field }))
    }

    /// Reads how the records of a source are written.
    pub(super) fn format(
        &self,
        source: &Text,
        table: &SourceTable,
        columns: &[Column],
        fields: Vec<FieldSpec>,
    ) -> Result<Format, Error> {
        let key = |field: &str| format!("source.{}.{field}", source.get_ref());
        let registry = |format| self.registry(&key("registry"), source, format, table.registry.as_ref());
        let encoding = match self.choice(&key("format"), table.format.as_ref(), &["json", "avro", "protobuf", "csv"])? {
            0 => Encoding::Json,
            1 => Encoding::Avro(registry("avro")?),
            2 => Encoding::Protobuf(registry("protobuf")?),
            _ => Encoding::Csv { delimiter: self.delimiter(&key("delimiter"), table.delimiter.as_ref())? },
        };
        let default = encoding.registry().map_or(0, |_| MAX_DEAD_RUN_OF_SCHEMAS);
        let max_dead_run = NonZeroU64::new(table.max_dead_run.as_ref().map_or(default, |most| *most.get_ref()));
        self.checked_format(&key("columns"), source, columns, Format { encoding, fields, max_dead_run })
    }

    /// Requires that the columns of a source or table can be read as described.
    pub(super) fn checked_format(&self, key: &str, of: &Text, columns: &[Column], format: Format) -> Result<Format, Error> {
        // Most need nothing of it, and their records are found by the columns' names alone.
        let is_plain = format.fields.iter().all(|field| *field == FieldSpec::default());
        let format = if is_plain { Format { fields: Vec::new(), ..format } } else { format };
        let wrong = |problem| self.error(of, format!("{problem}, in '{key}'"), "correct what its columns are read 'from'");
        format.check(columns).map_err(wrong)?;
        Ok(format)
    }

    /// Reads where the schemas are of what is written in a format that has some; `owner` is the source or sink that needs them.
    pub(super) fn registry(
        &self,
        key: &str,
        owner: &Text,
        format: &str,
        table: Option<&RegistryTable>,
    ) -> Result<RegistryOptions, Error> {
        let Some(table) = table else {
            let what = format!("'{}' is in {format}, and has no registry", owner.get_ref());
            return Err(self.error(owner, what, "add registry = { url = \"http://host:8081\" }"));
        };
        let value =
            |field: &str, text: &Option<Text>| text.as_ref().map(|text| self.value(&format!("{key}.{field}"), text)).transpose();
        let url = self.url(&format!("{key}.url"), &table.url, &["http", "https"])?;
        if url.split('/').nth(2).is_some_and(|host| host.contains('@')) {
            return Err(self.error(&table.url, format!("a user in '{key}.url'"), "write user = and password = beside it"));
        }
        let ca = value("ca", &table.ca)?.map(PathBuf::from);
        Ok(RegistryOptions { url, user: value("user", &table.user)?, password: value("password", &table.password)?, ca })
    }

    pub(super) fn delimiter(&self, key: &str, written: Option<&Text>) -> Result<u8, Error> {
        let Some(written) = written else { return Ok(b',') };
        match self.value(key, written)?.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
            _ => Err(self.error(
                written,
                format!("'{}' cannot be the '{key}'", written.get_ref()),
                suggestion("", [",", ";", "\\t", "|"]),
            )),
        }
    }
}
