//! Whether a topic that is being read is still the one that it was.
//!
//! When a topic is deleted and created anew, librdkafka goes on at the same offset; if the new topic has grown as long by then,
//! nothing else tells. Nor does anything tell of partitions that a topic gets while it is read. So both are asked for again and again, without
//! waiting for the answer.

use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};

use super::admin::{Described, Description};
use crate::Error;

/// The topic is asked for so often: one small request for each reader.
const PERIOD: Duration = Duration::from_secs(1);

/// A question that has no answer after so long is put again.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// What a topic must be.
pub(super) struct Identity {
    /// `None` if the brokers give no ids.
    id: Option<String>,
    /// `None` if it does not matter: a bounded run reads what was there.
    partitions: Option<usize>,
    /// Whom to ask instead of the controller.
    stand_in: Option<i32>,
    asked: Option<Description>,
    due: Instant,
}

impl Identity {
    pub(super) fn new(id: Option<String>, partitions: Option<usize>, stand_in: Option<i32>) -> Identity {
        Identity { id, partitions, stand_in, asked: None, due: Instant::now() + PERIOD }
    }

    /// Asks at the next occasion, because there is a doubt.
    pub(super) fn ask_now(&mut self) {
        self.due = Instant::now();
    }

    /// Asks if it is time, and fails if an answer has come that names another topic or a larger one; always with the same client.
    pub(super) fn confirm<C: ClientContext>(&mut self, thing: &str, topic: &str, client: &Client<C>) -> Result<(), Error> {
        if let Some(answer) = self.asked.as_ref().and_then(|asked| asked.wait(Duration::ZERO)) {
            self.asked = None;
            // Brokers that do not answer, or do not know the topic for the moment, are heard of elsewhere.
            if let Ok(found) = answer {
                self.compare(thing, topic, &found)?;
            }
        }
        if self.asked.is_none() && Instant::now() >= self.due {
            self.due = Instant::now() + PERIOD;
            self.asked = Description::ask(client, topic, self.stand_in, ANSWER_WAIT).ok();
        }
        Ok(())
    }

    fn compare(&self, thing: &str, topic: &str, found: &Described) -> Result<(), Error> {
        if let (Some(was), Some(is)) = (&self.id, &found.id)
            && is != was
        {
            let problem = format!("topic '{topic}' was deleted and created anew while it was read: its id was {was} and is {is}");
            let remedy = "its offsets mean other records now: start the job anew with --reset, or restore the topic";
            return Err(Error::setup(thing, problem, remedy));
        }
        match self.partitions {
            Some(known) if found.partitions > known => Err(Error::Grown {
                thing: thing.to_owned(),
                problem: format!("topic '{topic}' has {} partitions now, and had {known}", found.partitions),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(id: Option<&str>, partitions: usize) -> Result<(), Error> {
        let identity = Identity::new(Some("a".to_owned()), Some(4), None);
        identity.compare("source 's'", "t", &Described { id: id.map(str::to_owned), partitions })
    }

    #[test]
    fn another_id_is_another_topic_and_more_partitions_are_more_to_read() {
        assert!(compare(Some("a"), 4).is_ok() && compare(None, 4).is_ok(), "brokers may be too old for ids");
        assert!(compare(Some("a"), 3).is_ok(), "a topic does not shrink; the broker has not heard of all yet");
        assert!(matches!(compare(Some("b"), 5), Err(Error::Setup { problem, .. }) if problem.contains("created anew")));
        assert!(
            matches!(compare(Some("a"), 6), Err(Error::Grown { problem, .. }) if problem.ends_with("6 partitions now, and had 4"))
        );
    }

    #[test]
    fn a_bounded_run_does_not_mind_new_partitions() {
        let identity = Identity::new(None, None, None);
        assert!(identity.compare("source 's'", "t", &Described { id: None, partitions: 9 }).is_ok());
    }
}
