//! A transactional producer that is replaced after any unclean end, and the newest epoch in the same transactions.
//!
//! ```text
//! open     init_transactions: the brokers end the transaction of whoever had the id before, and refuse him from now on
//!          the group's offset: newest epoch held, and the generation that wrote it
//!          newer generation than ours? fenced.  older? an empty transaction puts ours there
//! begin    before the first row
//! commit   the epoch as the group's offset, into the transaction; wait for the rows; EndTxn
//! ```
//! The group has the transactional id as its name and no members. Its offset in the first partition of the sink's topic is the
//! newest epoch plus one, 0 for none; the text beside it is the generation.
//!
//! Why a producer is not used again after a doubt: librdkafka sends requests a second time when their connection breaks, and speaks a
//! version of the protocol in which an EndTxn does not name its transaction. One that lingers on a dead connection can end the
//! *next* transaction of the same producer half way. A new producer has a new epoch at the brokers, which refuse whatever is left
//! of the old one. Doubt is: any error, a timeout, and a connection that broke while it was in use, even if all calls succeeded.
//!
//! Why a generation is needed beside the brokers' own fencing: a zombie replaces its producer, too, and thereby shuts out its
//! successor. It finds the newer generation then and gives up; the successor finds its own and goes on.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use freshet_model::{Epoch, Offset};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;

use super::address::Address;
use super::admin;
use super::client::{self, Context, Owned};
use super::offset_sender::OffsetSender;
use super::produce::TopicProducer;
use super::trouble::Trouble;
use crate::{Error, SinkOptions, fault};

/// librdkafka's settings for short transactions.
///
/// A transaction follows the one before more quickly than the brokers have noted its end in all places; they refuse it then for the
/// moment, and by default the client asks again after 100 ms.
pub(super) const OWN: [(&str, &str); 9] = [
    ("enable.idempotence", "true"),
    ("delivery.report.only.error", "true"),
    ("transaction.timeout.ms", "15000"),
    ("retry.backoff.ms", "1"),
    ("retry.backoff.max.ms", "20"),
    ("reconnect.backoff.ms", "20"),
    ("reconnect.backoff.max.ms", "500"),
    ("socket.nagle.disable", "true"),
    ("log.connection.close", "true"),
];

/// What the user may not set.
pub(super) const OWNED: [Owned; 5] = [
    ("enable.idempotence", "without it a lost answer could repeat or reorder rows"),
    ("delivery.report.only.error", "rows are taken for delivered unless they are reported"),
    ("transactional.id", "it belongs to the sink"),
    ("acks", "rows must be on all replicas in sync"),
    ("log.connection.close", "a broken connection must be noticed"),
];

/// A new producer is given so long to be let in.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The brokers are asked so often why a producer is not let in yet.
const INIT_STEP: Duration = Duration::from_millis(25);

/// While the predecessor's transaction is being ended, another producer is tried so seldom at last.
const LONGEST_INIT_PAUSE: Duration = Duration::from_millis(500);

/// Rows and offsets must be taken, and a transaction ended, within so long.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// While the brokers take an offset, the connections are looked at so often.
const OFFSET_STEP: Duration = Duration::from_millis(50);

/// Whose transactions these are.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    thing: String,
    address: Address,
    /// Name of the transactions and of the group.
    id: String,
    generation: u64,
    config: ClientConfig,
}

impl Owner {
    /// Names the transactions of a sink, or of a `part` of it.
    pub(super) fn new(thing: &str, address: &Address, config: &ClientConfig, options: &SinkOptions, part: Option<i32>) -> Owner {
        let part = part.map_or(String::new(), |part| format!("/{part}"));
        let id = format!("freshet/{}/{}{part}", options.job, options.name);
        let mut config = config.clone();
        config.set("transactional.id", &id).set_log_level(RDKafkaLogLevel::Info);
        Owner { thing: thing.to_owned(), address: address.clone(), id, generation: options.generation, config }
    }

    /// Sorts a code: the topic may be made again, and the brokers may just be starting, so that it need not be lost for good.
    pub(super) fn sort(&self, code: Code) -> Trouble {
        let error = client::sort(&self.thing, &self.address.topic, code);
        match code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => Trouble::Passing(error),
            _ => Trouble::from(error),
        }
    }

    fn failed(&self, doing: &str, error: &KafkaError) -> Trouble {
        match error {
            KafkaError::Transaction(error) => match self.sort(error.code()) {
                Trouble::Passing(_) => self.passing(format!("{doing}: {}", error.string())),
                trouble => trouble,
            },
            error => self.passing(format!("{doing}: {error}")),
        }
    }

    fn passing(&self, problem: String) -> Trouble {
        Trouble::Passing(Error::unavailable(&self.thing, format!("topic '{}': {problem}", self.address.topic)))
    }
}

/// One producer, from its first transaction to its first doubt.
struct Session {
    /// Dropped before the producer, which ends with its last owner.
    offsets: OffsetSender,
    producer: TopicProducer,
    begun: bool,
}

/// The transactions of one owner, one after another.
pub(super) struct Transactions {
    owner: Arc<Owner>,
    session: Option<Session>,
    /// The newest epoch that the brokers are known to hold.
    held: Option<Epoch>,
    committed_at: Instant,
}

impl Transactions {
    pub(super) fn new(owner: Owner) -> Transactions {
        Transactions { owner: Arc::new(owner), session: None, held: None, committed_at: Instant::now() }
    }

    /// Sees to it that there is a producer; tells whether it is a new one. With `reset`, what was held is forgotten.
    pub(super) fn open(&mut self, reset: bool) -> Result<bool, Trouble> {
        if self.session.is_some() {
            return Ok(false);
        }
        let owner = Arc::clone(&self.owner);
        owner.point("kafka::fence")?;
        let mut session = owner.admit()?;
        owner.point("kafka::progress_read")?;
        let (held, generation) = owner.read(&session)?;
        if generation > owner.generation {
            return Err(Trouble::Final(owner.fenced(generation)));
        }
        if !reset && held < self.held {
            return Err(Trouble::Final(owner.lost(self.held, held)));
        }
        let held = if reset { None } else { held };
        if reset || generation < owner.generation {
            owner.begin(&mut session)?;
            if !owner.end(&mut session, held)? {
                return Err(owner.passing("a connection has broken".to_owned()));
            }
        }
        self.held = held;
        self.session = Some(session);
        self.committed_at = Instant::now();
        Ok(true)
    }

    /// Returns the newest epoch that the brokers are known to hold.
    pub(super) fn held(&self) -> Option<Epoch> {
        self.held
    }

    /// Returns the time since the latest commit.
    pub(super) fn since_commit(&self) -> Duration {
        self.committed_at.elapsed()
    }

    /// Lends the producer for rows, in a transaction.
    pub(super) fn rows(&mut self) -> Result<&mut TopicProducer, Trouble> {
        let owner = &self.owner;
        let Some(session) = &mut self.session else {
            return Err(owner.passing("there is no producer".to_owned()));
        };
        if !session.begun {
            owner.begin(session)?;
        }
        owner.check(session)?;
        Ok(&mut session.producer)
    }

    /// Ends the transaction, and returns when it counts. After an error it may count all the same: [`open`](Self::open) finds out.
    pub(super) fn commit(&mut self, epoch: Epoch) -> Result<(), Trouble> {
        self.rows()?;
        if let Some(session) = &mut self.session {
            let clean = self.owner.end(session, Some(epoch))?;
            if !clean {
                self.session = None;
            }
        }
        self.held = Some(epoch);
        self.committed_at = Instant::now();
        self.owner.point("kafka::committed").inspect_err(|_| self.session = None)
    }

    /// Gives the producer up, with the transaction that it may have open.
    pub(super) fn discard(&mut self) {
        self.session = None;
    }

    /// Sorts a code.
    pub(super) fn sort(&self, code: Code) -> Trouble {
        self.owner.sort(code)
    }
}

impl Owner {
    /// Makes a producer, and waits until the brokers have ended what its predecessor left open.
    fn admit(&self) -> Result<Session, Trouble> {
        let deadline = Instant::now() + INIT_TIMEOUT;
        let (mut producer, mut pause) = (self.connect()?, Duration::ZERO);
        loop {
            match producer.single().init_transactions(INIT_STEP) {
                Ok(()) => return self.session(producer),
                Err(error) if Instant::now() >= deadline => return Err(self.failed("no producer is let in", &error)),
                Err(error) if code(&error) == Some(Code::ConcurrentTransactions) => {
                    // The client would ask again only after half a second; a new one asks at once, and that is mostly late enough.
                    thread::sleep(pause);
                    pause = (pause * 2).clamp(INIT_STEP, LONGEST_INIT_PAUSE);
                    producer = self.connect()?;
                }
                Err(KafkaError::Transaction(error)) if error.is_fatal() => {
                    return Err(self.failed("no producer is let in", &KafkaError::Transaction(error)));
                }
                Err(KafkaError::Transaction(error)) if error.is_retriable() => producer.hear(),
                Err(error) => return Err(self.failed("no producer is let in", &error)),
            }
        }
    }

    fn connect(&self) -> Result<TopicProducer, Trouble> {
        let context = Context::quiet(&self.thing, &self.address);
        let producer = TopicProducer::new(&self.config, context, &self.address.topic);
        producer.map_err(|error| Trouble::Final(client::refused(&self.thing, &error)))
    }

    /// Begins the session of a producer that has been let in.
    fn session(&self, producer: TopicProducer) -> Result<Session, Trouble> {
        let offsets = OffsetSender::start(Arc::clone(producer.single()), &self.id, &self.address.topic, STEP_TIMEOUT);
        let offsets = offsets.map_err(|error| self.passing(format!("no thread can be started: {error}")))?;
        Ok(Session { offsets, producer, begun: false })
    }

    /// Reads back the newest epoch, and the generation that wrote it.
    fn read(&self, session: &Session) -> Result<(Option<Epoch>, u64), Trouble> {
        let client = session.producer.single().client();
        let found = admin::group_offset(client, &self.id, &self.address.topic, STEP_TIMEOUT);
        let Some((next, text)) = found.map_err(|code| self.sort(code))? else { return Ok((None, 0)) };
        let generation = text.strip_prefix("generation ").and_then(|number| number.parse().ok());
        let (Some(generation), Ok(next)) = (generation, Epoch::try_from(next)) else {
            return Err(Trouble::Final(self.foreign(&text)));
        };
        Ok((next.checked_sub(1), generation))
    }

    fn begin(&self, session: &mut Session) -> Result<(), Trouble> {
        self.point("kafka::begin")?;
        session.producer.single().begin_transaction().map_err(|error| self.failed("no transaction can be begun", &error))?;
        session.begun = true;
        Ok(())
    }

    /// Ends a transaction; tells whether the producer may have another.
    fn end(&self, session: &mut Session, epoch: Option<Epoch>) -> Result<bool, Trouble> {
        let next = epoch.map_or(0, |epoch| epoch + 1);
        let next = Offset::try_from(next).map_err(|_| self.passing(format!("epoch {next} is no offset")))?;
        let text = format!("generation {}", self.generation);
        self.send_offset(session, next, text)?;
        self.point("kafka::offsets_added")?;
        let producer = &session.producer;
        producer.flush_within(STEP_TIMEOUT).map_err(|code| self.sort(code))?;
        // A transaction in which a request may come twice is not ended.
        producer.hear();
        self.check(session)?;
        let producer = &session.producer;
        if self.end_sent(producer)? {
            session.begun = false;
            return Ok(true);
        }
        producer.commit(STEP_TIMEOUT).map_err(|(code, reason)| match self.sort(code) {
            Trouble::Passing(_) => self.passing(format!("a transaction could not be ended: {reason}")),
            trouble => trouble,
        })?;
        session.begun = false;
        session.producer.hear();
        Ok(self.check(session).is_ok())
    }

    /// Puts the newest epoch into the transaction. A broken connection makes the producer doubtful, so that its end is not waited for.
    fn send_offset(&self, session: &mut Session, next: Offset, text: String) -> Result<(), Trouble> {
        let deadline = Instant::now() + STEP_TIMEOUT;
        session.offsets.begin(next, text).map_err(|code| self.sort(code))?;
        loop {
            if let Some(sent) = session.offsets.wait(OFFSET_STEP) {
                return sent.map_err(|code| self.sort(code));
            }
            self.check(session)?;
            if Instant::now() >= deadline {
                return Err(self.passing("the group's coordinator does not answer".to_owned()));
            }
        }
    }

    /// The fail point between the request and its answer: the call is given up for the moment when the request is on its way. Tells
    /// whether the answer has come all the same.
    fn end_sent(&self, producer: &TopicProducer) -> Result<bool, Trouble> {
        const POINT: &str = "kafka::endtxn_sent";
        if !fault::is_set(POINT) {
            return Ok(false);
        }
        let ended = producer.commit(Duration::from_millis(1)).is_ok();
        self.point(POINT)?;
        Ok(ended)
    }

    fn point(&self, name: &str) -> Result<(), Trouble> {
        fault::point(name, &self.thing).map_err(Trouble::Passing)
    }

    /// Fails if a row could not be delivered, or if a connection has broken.
    fn check(&self, session: &Session) -> Result<(), Trouble> {
        session.producer.check().map_err(|code| self.sort(code))?;
        if let Some(reason) = session.producer.broken() {
            return Err(self.passing(format!("a connection has broken ({reason})")));
        }
        Ok(())
    }

    fn fenced(&self, generation: u64) -> Error {
        let Owner { thing, address, generation: own, .. } = self;
        let problem =
            format!("a newer start of the job (generation {generation}; this one is {own}) writes topic '{}'", address.topic);
        Error::fenced(thing, problem)
    }

    fn lost(&self, known: Option<Epoch>, found: Option<Epoch>) -> Error {
        let words = |epoch: Option<Epoch>| epoch.map_or("no epoch".to_owned(), |epoch| format!("epoch {epoch}"));
        let (topic, known, found) = (&self.address.topic, words(known), words(found));
        let problem =
            format!("topic '{topic}' held {known} and now holds {found}: it was created anew, or the brokers lost what they had");
        Error::setup(&self.thing, problem, "restore the topic, or start the job anew with --reset")
    }

    fn foreign(&self, text: &str) -> Error {
        let problem = format!("the group '{}' at {} was not written by Freshet ('{text}')", self.id, self.address.brokers);
        Error::setup(&self.thing, problem, "delete the group, or give the job another name")
    }
}

fn code(error: &KafkaError) -> Option<Code> {
    if let KafkaError::Transaction(error) = error { Some(error.code()) } else { None }
}
