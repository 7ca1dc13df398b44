//! The url of a topic.

use crate::Error;

/// A topic and the brokers to ask for it first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// `host:port`, apart by commas.
    pub(super) brokers: String,
    /// The topic's name.
    pub(super) topic: String,
}

impl Address {
    /// Reads `kafka://host:port,host:port/topic`; `thing` is the source or sink that the job gives it to.
    pub(super) fn parse(thing: &str, url: &str) -> Result<Address, Error> {
        let rest = url.strip_prefix("kafka://").unwrap_or(url);
        let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
        let (brokers, topic) = rest.split_once('/').unwrap_or((rest, ""));
        let refuse = |problem: &str| Err(Error::setup(thing, problem, "write kafka://host:port,host:port/topic"));
        if brokers.contains('@') {
            let remedy = "leave them out and set sasl.username and sasl.password in its settings";
            return Err(Error::setup(thing, "the url holds credentials", remedy));
        }
        if brokers.is_empty() || brokers.split(',').any(|broker| broker.trim().is_empty()) {
            return refuse("the url names no broker, or an empty one");
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if topic.is_empty() || topic.len() > 249 || !topic.chars().all(legal) || matches!(topic, "." | "..") {
            return refuse("the url names no topic that Kafka could have");
        }
        Ok(Address { brokers: brokers.to_owned(), topic: topic.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_and_topic_are_found() {
        let address = Address::parse("source 's'", "kafka://a:9092,b:9093/user_activity?x=1").expect("a good url");
        assert_eq!((&*address.brokers, &*address.topic), ("a:9092,b:9093", "user_activity"));
    }

    #[test]
    fn bad_urls_are_refused_without_their_secrets() {
        for url in
            ["kafka://", "kafka://a:9092", "kafka:///t", "kafka://a,,b/t", "kafka://a/t/u", "kafka://a/ü", "kafka://u:secret@a/t"]
        {
            let error = Address::parse("source 's'", url).expect_err(url).to_string();
            assert!(error.starts_with("source 's': the url ") && !error.contains("secret"), "{error}");
        }
    }
}
