//! The name of a record: its source, partition and offset.

use std::fmt;
use std::str::FromStr;

use freshet_model::{Offset, PartitionId};

/// Where a record came from, written `source/partition/offset`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The source; of a row that a table or an expression refused, the view.
    pub source: String,
    /// The partition; -1 for a row that is no record.
    pub partition: PartitionId,
    /// The offset; -1 for a row that is no record.
    pub offset: Offset,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.source, self.partition, self.offset)
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Place, &'static str> {
        let mut words = text.rsplitn(3, '/');
        let (offset, partition) =
            (words.next().and_then(|word| word.parse().ok()), words.next().and_then(|word| word.parse().ok()));
        match (words.next().filter(|source| !source.is_empty()), partition, offset) {
            (Some(source), Some(partition), Some(offset)) => Ok(Place { source: source.to_owned(), partition, offset }),
            _ => Err("write source/partition/offset, as `list` shows it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Place { source: "clicks".to_owned(), partition: 3, offset: 17 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "clicks", "clicks/3", "clicks/3/x", "/3/4", "clicks/-/4"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
        assert_eq!("v/-1/-1".parse::<Place>().map(|place| place.offset), Ok(-1));
    }
}
