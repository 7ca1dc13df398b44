//! Whether a topic that is being read is still the one that it was.
//!
//! When a topic is deleted and created anew, librdkafka goes on at the same offset; if the new topic has grown as long by then,
//! nothing else tells. So its id is asked for again and again, without waiting for the answer.

use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};

use super::admin::TopicId;
use crate::Error;

/// The id is asked for so often: one small request for each reader.
const PERIOD: Duration = Duration::from_secs(1);

/// A question that has no answer after so long is put again.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// The id that a topic must have.
pub(super) struct Identity {
    /// `None` if the brokers give no ids.
    id: Option<String>,
    /// Whom to ask instead of the controller.
    stand_in: Option<i32>,
    asked: Option<TopicId>,
    due: Instant,
}

impl Identity {
    pub(super) fn new(id: Option<String>, stand_in: Option<i32>) -> Identity {
        Identity { id, stand_in, asked: None, due: Instant::now() + PERIOD }
    }

    /// Asks at the next occasion, because there is a doubt.
    pub(super) fn ask_now(&mut self) {
        self.due = Instant::now();
    }

    /// Asks if it is time, and fails if an answer has come that names another id; always with the same client.
    pub(super) fn confirm<C: ClientContext>(&mut self, thing: &str, topic: &str, client: &Client<C>) -> Result<(), Error> {
        let Some(id) = &self.id else { return Ok(()) };
        if let Some(answer) = self.asked.as_ref().and_then(|asked| asked.wait(Duration::ZERO)) {
            self.asked = None;
            // Brokers that do not answer, or do not know the topic for the moment, are heard of elsewhere.
            if let Ok(Some(found)) = answer
                && found != *id
            {
                let problem =
                    format!("topic '{topic}' was deleted and created anew while it was read: its id was {id} and is {found}");
                let remedy = "its offsets mean other records now: start the job anew with --reset, or restore the topic";
                return Err(Error::setup(thing, problem, remedy));
            }
        }
        if self.asked.is_none() && Instant::now() >= self.due {
            self.due = Instant::now() + PERIOD;
            self.asked = TopicId::ask(client, topic, self.stand_in, ANSWER_WAIT).ok();
        }
        Ok(())
    }
}
