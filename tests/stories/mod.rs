//! The tests, one file a story.

mod avro_topic;
mod bank;
mod bucket;
mod dead_letters;
mod embedded;
mod existing_tables;
mod freshness;
mod future_events;
mod hours;
mod letters;
mod new_partitions;
mod outages;
mod pipelines;
mod protobuf_topic;
mod refusals;
mod repeats;
mod resets;
mod starts;
mod state_over_http;
mod tables;
mod union;
mod whole_pipeline;
