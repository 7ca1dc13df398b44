//! Late events and dead letters as messages of a topic.
//!
//! | | a dead letter | a late event |
//! |---|---|---|
//! | key | `source/partition/offset` | the same |
//! | value | the record as it was, up to the place's bound | the event's columns as a JSON object |
//! | headers of both | `source`, `topic` (if the source reads one), `partition`, `offset`, `job`, `epoch`, `time` (when that epoch was cut) | |
//! | headers of its own | `reason`, `detail`, `bytes` (what the record has), `truncated` (`true`, if the value is less) | `view`, `window_start`, `window_end`, `event_time`, `watermark` |

use std::collections::BTreeMap;

use freshet_model::{DeadLetter, LateEvent, Offset, PartitionId, Rejects, Timestamp};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message as _, OwnedHeaders};

use crate::letters::{Late, Letter, Place};
use crate::tables::rejects::SHORT_PAYLOAD_BYTES;

/// A detail in a header is no longer than this.
const MAX_DETAIL_BYTES: usize = 4096;

/// A message that is to be sent.
pub(super) struct Message<'a> {
    pub(super) key: String,
    pub(super) value: &'a [u8],
    pub(super) headers: OwnedHeaders,
}

/// Makes the messages of one place.
pub(super) struct Writer {
    job: String,
    max_payload_bytes: usize,
    /// From which topic each source reads.
    topics: BTreeMap<String, String>,
}

impl Writer {
    pub(super) fn new(job: &str, max_payload_bytes: usize, topics: BTreeMap<String, String>) -> Writer {
        Writer { job: job.to_owned(), max_payload_bytes, topics }
    }

    /// Makes the message of a late event.
    pub(super) fn late<'a>(&self, part: &Rejects, event: &'a LateEvent) -> Message<'a> {
        let (key, mut headers) = self.common(part, &event.source, event.partition, event.offset);
        headers = with(headers, "view", &event.view);
        for (name, time) in [
            ("window_start", event.window_start),
            ("window_end", event.window_end),
            ("event_time", event.event_time),
            ("watermark", event.watermark),
        ] {
            headers = with(headers, name, &time.to_string());
        }
        Message { key, value: event.event.as_bytes(), headers }
    }

    /// Makes the message of a dead letter.
    pub(super) fn dead<'a>(&self, part: &Rejects, letter: &'a DeadLetter) -> Message<'a> {
        self.cut(part, letter, self.max_payload_bytes)
    }

    /// Makes a short message of a dead letter that the producer would not take as it is.
    pub(super) fn short<'a>(&self, part: &Rejects, letter: &'a DeadLetter) -> Message<'a> {
        self.cut(part, letter, self.max_payload_bytes.min(SHORT_PAYLOAD_BYTES))
    }

    fn cut<'a>(&self, part: &Rejects, letter: &'a DeadLetter, max_bytes: usize) -> Message<'a> {
        let (key, mut headers) = self.common(part, &letter.source, letter.partition, letter.offset);
        let detail = &letter.detail[..letter.detail.floor_char_boundary(MAX_DETAIL_BYTES)];
        let bytes = letter.payload.len();
        for (name, text) in [("reason", letter.reason.code()), ("detail", detail), ("bytes", &bytes.to_string())] {
            headers = with(headers, name, text);
        }
        if bytes > max_bytes {
            headers = with(headers, "truncated", "true");
        }
        Message { key, value: &letter.payload[..bytes.min(max_bytes)], headers }
    }

    fn common(&self, part: &Rejects, source: &str, partition: PartitionId, offset: Offset) -> (String, OwnedHeaders) {
        let place = Place { source: source.to_owned(), partition, offset };
        let mut headers = with(OwnedHeaders::new_with_capacity(12), "source", source);
        if let Some(topic) = self.topics.get(source) {
            headers = with(headers, "topic", topic);
        }
        for (name, text) in [
            ("partition", partition.to_string()),
            ("offset", offset.to_string()),
            ("job", self.job.clone()),
            ("epoch", part.epoch.to_string()),
            ("time", part.processing_time.to_string()),
        ] {
            headers = with(headers, name, &text);
        }
        (place.to_string(), headers)
    }
}

/// Adds a header.
pub(super) fn with(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

/// Reads a message back; `None` if it is not one of those above.
pub(super) fn letter(message: &BorrowedMessage<'_>) -> Option<Letter> {
    let headers = message.headers()?;
    let text = |name: &str| {
        let found = headers.iter().find(|header| header.key == name)?;
        std::str::from_utf8(found.value?).ok().map(str::to_owned)
    };
    let time = |name: &str| text(name).and_then(|text| crate::format::read_time(&text));
    let place =
        Place { source: text("source")?, partition: text("partition")?.parse().ok()?, offset: text("offset")?.parse().ok()? };
    let late = text("view").map(|view| Late {
        view,
        window_start: time("window_start").unwrap_or(Timestamp::MIN),
        window_end: time("window_end").unwrap_or(Timestamp::MAX),
        event_time: time("event_time").unwrap_or(Timestamp::MIN),
        watermark: time("watermark").unwrap_or(Timestamp::MAX),
    });
    Some(Letter {
        place,
        job: text("job")?,
        epoch: text("epoch").and_then(|epoch| epoch.parse().ok()),
        time: time("time"),
        reason: text("reason").unwrap_or_default(),
        detail: text("detail").unwrap_or_default(),
        payload: message.payload().unwrap_or_default().to_vec(),
        bytes: text("bytes").and_then(|bytes| bytes.parse().ok()),
        replayed_at: None,
        late,
    })
}
