//! A topic to which dead letters are put back.
//!
//! | topic | key | value | headers |
//! |---|---|---|---|
//! | the target, in the partition of the record's number | none | the record | `freshet-replay`: `job/source/partition/offset` |
//! | the ledger, `freshet.<job>.replayed`, compacted | `source/partition/offset` | `{"to":…,"at":…}` | the same |
//!
//! Both are written in one transaction, with the transactional id `freshet/<job>/replay`: whoever had it before is shut out, and what he left
//! unfinished is aborted before the ledger is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use freshet_model::{PartitionId, Timestamp};
use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::{Message as _, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use super::address::Address;
use super::archive::{reading, scan};
use super::batch_sink;
use super::client;
use super::rejects::with;
use super::settings::Settings;
use super::topic::Inquiry;
use super::transaction::{Owner, Transactions};
use super::trouble::{Patience, Trouble, own_circuit};
use crate::circuit::Circuit;
use crate::letters::{Access, Letter, Place, Target};
use crate::open::query_of;
use crate::{Error, Past, SinkOptions};

/// librdkafka's settings: a record may be as large as any that a topic is likely to hold.
const OWN: [(&str, &str); 2] = [("compression.type", "lz4"), ("message.max.bytes", "17825792")];

/// A topic that is away is waited for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A topic, and the ledger on the same brokers.
pub(crate) struct KafkaTarget {
    thing: String,
    job: String,
    address: Address,
    ledger: Address,
    access: Access,
    config: ClientConfig,
    partitions: Vec<PartitionId>,
    transactions: Transactions,
    circuit: Arc<Circuit>,
}

impl KafkaTarget {
    /// Finds the topic, and the ledger or makes it; settings are the client's, and those in the url's query. One that is only read makes nothing and
    /// shuts nobody out.
    pub(crate) fn open(
        url: &str,
        job: &str,
        mut settings: BTreeMap<String, String>,
        access: Access,
    ) -> Result<KafkaTarget, Error> {
        let thing = format!("replay of job '{job}'");
        let address = Address::parse(&thing, url)?;
        settings.extend(query_of(url));
        let generation = Timestamp::now().0.unsigned_abs();
        let (job, name) = (job.to_owned(), "replay".to_owned());
        let roll = (u64::MAX, Duration::MAX);
        let (past, avro) = (Past::Kept, None);
        let options = SinkOptions { job, name, generation, past, avro, roll_bytes: roll.0, roll_interval: roll.1, settings };
        let ledger = Address { topic: format!("freshet.{}.replayed", options.job), ..address.clone() };
        let (config, partitions) = match access {
            Access::Read => {
                let (_, clients) = Settings::split(&thing, &options.settings)?;
                (client::configure(&thing, &address, &[], &[], &clients)?, vec![0])
            }
            Access::Write => {
                let (config, _, partitions) = batch_sink::prepare(&thing, &address, &OWN, &options, &[&address.topic])?;
                Inquiry::new(&thing, &address, &config)?.ensure_compacted(&ledger.topic)?;
                (config, partitions)
            }
        };
        let transactions = Transactions::new(Owner::new(&thing, &address, &config, &options, None));
        let circuit = own_circuit(&thing, PATIENCE);
        Ok(KafkaTarget { thing, job: options.job, address, ledger, access, config, partitions, transactions, circuit })
    }

    fn attempt(&mut self, epoch: u64, letters: &[Letter], at: Timestamp) -> Result<(), Trouble> {
        if self.transactions.open(false)? && self.transactions.held() >= Some(epoch) {
            // The answer to the transaction had been lost.
            return Ok(());
        }
        let note = serde_json::json!({ "to": self.address.topic, "at": at.to_string() }).to_string();
        for letter in letters {
            let producer = self.transactions.rows()?;
            let headers = with(OwnedHeaders::new_with_capacity(1), "freshet-replay", &format!("{}/{}", self.job, letter.place));
            let slot = usize::try_from(letter.place.partition).unwrap_or(0) % self.partitions.len();
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.address.topic).partition(self.partitions[slot]);
            (record.payload, record.headers) = (Some(&letter.payload[..]), Some(headers.clone()));
            let key = letter.place.to_string();
            let mut entry = BaseRecord::<[u8], [u8]>::to(&self.ledger.topic).key(key.as_bytes()).payload(note.as_bytes());
            entry.headers = Some(headers);
            let sent: Result<(), Code> = producer.send_record(record).and_then(|()| producer.send_record(entry));
            sent.map_err(|code| self.transactions.sort(code))?;
        }
        self.transactions.commit(epoch)
    }
}

impl Target for KafkaTarget {
    fn replayed(&mut self) -> Result<BTreeSet<Place>, Error> {
        if self.access == Access::Write {
            let mut patience = Patience::new(&self.circuit);
            while let Err(trouble) = self.transactions.open(false) {
                patience.bear(trouble)?;
            }
        }
        let mut places = BTreeSet::new();
        scan(&self.thing, &self.ledger, &reading(&self.config), &mut |message| {
            let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
            places.extend(key.and_then(|key| key.parse::<Place>().ok()));
        })?;
        Ok(places)
    }

    fn put(&mut self, letters: &[Letter], at: Timestamp) -> Result<(), Error> {
        let epoch = self.transactions.held().map_or(0, |held| held + 1);
        let mut patience = Patience::new(&self.circuit);
        while let Err(trouble) = self.attempt(epoch, letters, at) {
            self.transactions.discard();
            patience.bear(trouble)?;
        }
        Ok(())
    }
}
