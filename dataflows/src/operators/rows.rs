//! Turns windows, sessions and groups into rows of a view: finishes accumulators, applies HAVING and the select list, packs.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondBuilder};
use arrow::error::ArrowError;
use freshet_model::{DeadLetter, Reason, Timestamp};

use super::result::finish;
use crate::changes::{Delta, Side};
use crate::keys::{KeyCodec, RowCodec};
use crate::lower::Rows;
use crate::plan::Map;
use crate::state::{Accumulators, Shape};

/// One window, session or group, as it is or as it was.
pub struct Instance {
    /// The fold's key.
    pub key: Vec<u8>,
    /// Start and end of the window or session and the session's last event; unused for groups.
    pub bounds: [Timestamp; 3],
    /// The accumulators.
    pub accumulators: Accumulators,
    /// 1 for a row that there is now, -1 for one that is gone.
    pub diff: i64,
}

/// Makes the rows of one view.
pub struct RowMaker {
    view: usize,
    name: String,
    rows: Rows,
    shape: Shape,
    key_codec: RowCodec,
    row_codec: RowCodec,
}

impl RowMaker {
    /// Builds the maker of the rows of view number `view`.
    #[must_use]
    pub fn new(view: usize, name: String, rows: Rows, shape: Shape) -> RowMaker {
        let schema = rows.output.schema.clone();
        let key_schema = schema.project(&rows.key).expect("invariant: a key names columns of its view");
        let (key_codec, row_codec) = (RowCodec::new(Arc::new(key_schema)), RowCodec::new(schema));
        RowMaker { view, name, rows, shape, key_codec, row_codec }
    }

    /// Returns the view's settings.
    #[must_use]
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Tells whether the view's key may hold the end of a session, which moves with each event.
    #[must_use]
    pub fn key_may_hold_the_end(&self) -> bool {
        // A plain reference to another column of the group's row cannot; anything else might.
        let fields = self.rows.row_schema.fields();
        let is_fixed = |text: &str| fields.iter().enumerate().any(|(i, field)| field.name() == text && i != 1 && i != 2);
        !self.rows.key.iter().all(|&column| is_fixed(&self.rows.output.project[column].text))
    }

    /// Makes the rows of these instances. A row that has no value (an overflow, a division by zero) is left out and becomes
    /// a dead letter.
    pub fn make(&self, codec: &KeyCodec, instances: &[Instance], deltas: &mut Vec<Delta>, sides: &mut Vec<Side>) {
        if instances.is_empty() {
            return;
        }
        let made = self.group_rows(codec, instances).and_then(|batch| project(&self.rows.output, &batch));
        match made {
            Ok((visible, columns)) => self.send(instances, visible.as_ref(), &columns, deltas),
            // What had no value when it came has none when it goes, and was told of then.
            Err(_) if instances.len() == 1 && instances[0].diff < 0 => {}
            Err(error) if instances.len() == 1 => sides.push(Side::Dead(Box::new(self.dead_letter(&instances[0], &error)))),
            Err(_) => {
                let (left, right) = instances.split_at(instances.len() / 2);
                self.make(codec, left, deltas, sides);
                self.make(codec, right, deltas, sides);
            }
        }
    }

    fn send(&self, instances: &[Instance], visible: Option<&BooleanArray>, columns: &[ArrayRef], deltas: &mut Vec<Delta>) {
        let keys: Vec<ArrayRef> = self.rows.key.iter().map(|&column| Arc::clone(&columns[column])).collect();
        let (keys, packed) = (self.key_codec.pack(&keys), self.row_codec.pack(columns));
        for (index, instance) in instances.iter().enumerate() {
            if visible.is_some_and(|visible| !visible.value(index)) {
                continue;
            }
            let diff = instance.diff;
            let row = if diff > 0 || self.rows.retracts { packed.row(index).to_vec() } else { Vec::new() };
            deltas.push(Delta { view: self.view, key: keys.row(index).to_vec(), row, diff });
        }
    }

    /// Returns the batch that HAVING and the select list read.
    fn group_rows(&self, codec: &KeyCodec, instances: &[Instance]) -> Result<RecordBatch, ArrowError> {
        let bounds = match self.shape {
            Shape::Windows(_) => 2,
            Shape::Sessions(_) => 3,
            Shape::Group | Shape::Ranges(_) | Shape::Ranking(_) => 0,
        };
        let mut columns: Vec<ArrayRef> = (0..bounds).map(|bound| times(instances, bound)).collect();
        columns.extend(codec.unpack(instances.iter().map(|instance| &instance.key[..])));
        for (index, aggregate) in self.rows.aggregates.iter().enumerate() {
            columns.push(finish(aggregate, instances.iter().map(|instance| &instance.accumulators[index]))?);
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(instances.len()));
        RecordBatch::try_new_with_options(self.rows.row_schema.clone(), columns, &options)
    }

    fn dead_letter(&self, instance: &Instance, error: &ArrowError) -> DeadLetter {
        DeadLetter {
            source: self.name.clone(),
            partition: -1,
            offset: -1,
            reason: Reason::ExpressionFailed,
            detail: error.to_string().lines().next().unwrap_or_default().to_owned(),
            payload: format!("window {} to {}", instance.bounds[0], instance.bounds[1]).into_bytes(),
        }
    }
}

/// Applies a filter and a projection: the rows that pass, if not all, and the columns of all rows.
///
/// # Errors
/// A row for which an expression has no value.
pub(crate) fn project(map: &Map, batch: &RecordBatch) -> Result<(Option<BooleanArray>, Vec<ArrayRef>), ArrowError> {
    let arrow = |error: datafusion_common::DataFusionError| ArrowError::ExternalError(Box::new(error));
    let visible = map.filter.as_ref().map(|filter| filter.condition(batch)).transpose().map_err(arrow)?.flatten();
    let columns = map.project.iter().map(|expression| expression.evaluate(batch)).collect::<Result<_, _>>().map_err(arrow)?;
    Ok((visible, columns))
}

fn times(instances: &[Instance], bound: usize) -> ArrayRef {
    let mut builder = TimestampMicrosecondBuilder::with_capacity(instances.len());
    instances.iter().for_each(|instance| builder.append_value(instance.bounds[bound].0));
    Arc::new(builder.finish())
}
