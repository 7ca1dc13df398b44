//! One Kafka broker for the whole test run: the real one, from its jars, in KRaft mode.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::certificates;
use crate::server::{Server, cache, fetched, free_ports, listens, run};

/// The jars' folder carries the version, so that another one is fetched and not mixed in.
const VERSION: &str = "4.1.0";

/// The user of a secure broker.
pub const SECURE_USER: &str = "freshet";
/// Their password.
pub const SECURE_PASSWORD: &str = "open-sesame-43";

/// The broker.
pub struct Kafka {
    address: String,
    /// What a client needs beside the address.
    settings: Vec<(&'static str, String)>,
    /// To be killed, stopped and started again, by those who have the broker for themselves.
    pub server: Server,
}

/// One record as a test's own consumer read it.
pub struct Record {
    /// The record's partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// Its value; empty for a null one.
    pub payload: Vec<u8>,
    /// Its key, as text.
    pub key: String,
    /// Its headers, as texts.
    pub headers: BTreeMap<String, String>,
}

impl Kafka {
    /// Returns the broker, which the first caller starts.
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(Kafka::start)
    }

    /// Starts a broker of one's own.
    pub fn start() -> Kafka {
        Kafka::start_in(&folder(), "PLAINTEXT", "", &[])
    }

    /// Starts a broker of one's own that speaks TLS and takes [`SECURE_USER`] only; needs clients with TLS.
    pub fn start_secure() -> Kafka {
        let folder = folder();
        certificates::make(&folder);
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file of the folder");
        std::fs::write(folder.join("keys.pem"), read("server.key") + &read("server.pem")).expect("the folder can be written");
        Kafka::start_in(&folder, "SASL_SSL", &secure_properties(&folder), &["--add-scram", &scram()])
    }

    /// Returns the certificate of the authority by which a secure broker is known.
    pub fn authority(&self) -> Option<&Path> {
        self.settings.iter().find(|(key, _)| *key == "ssl.ca.location").map(|(_, path)| Path::new(path))
    }

    fn start_in(folder: &Path, protocol: &str, more: &str, format: &[&str]) -> Kafka {
        let jars = format!("{}/*", jars().display());
        let [port, controller] = free_ports();
        let config = folder.join("server.properties");
        let text = properties(folder, protocol, port, controller) + more;
        std::fs::write(&config, text).expect("the folder can be written");
        let tool = |arguments: &[&str]| run(java(&jars).arg("kafka.tools.StorageTool").args(arguments));
        let id = tool(&["random-uuid"]);
        let config = config.to_string_lossy().into_owned();
        tool(&[&["format", "-t", id.trim(), "-c", &config], format].concat());
        let heap = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &jars, "kafka.Kafka", &config];
        let command: Vec<String> = std::iter::once("java").chain(heap).map(str::to_owned).collect();
        let server = Server::start("kafka", folder, "TERM", &command);
        let settings = if protocol == "PLAINTEXT" { Vec::new() } else { secure_settings(folder) };
        let mut kafka = Kafka { address: format!("127.0.0.1:{port}"), settings, server };
        kafka.server.wait_until(|| listens(port));
        kafka.wait_until_ready();
        kafka
    }

    /// Returns the settings of a client of this broker.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        for (key, value) in &self.settings {
            config.set(*key, value);
        }
        config
    }

    /// Waits until the broker answers, after it has been started again.
    pub fn wait_until_ready(&mut self) {
        let probe: BaseConsumer = self.client().create().expect("a consumer");
        self.server.wait_until(|| probe.fetch_metadata(None, Duration::from_secs(5)).is_ok());
    }

    /// Returns the broker's URL, without a topic.
    pub fn url(&self) -> String {
        format!("kafka://{}", self.address)
    }

    /// Creates a topic.
    pub fn create(&self, topic: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let topics = [NewTopic::new(topic, partitions, TopicReplication::Fixed(1))];
        let results = block_on(admin.create_topics(&topics, &AdminOptions::new())).expect("the broker answers");
        for result in results {
            result.unwrap_or_else(|(name, code)| panic!("cannot create the topic {name}: {code}"));
        }
    }

    /// Raises the number of a topic's partitions.
    pub fn grow(&self, topic: &str, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let wanted = [NewPartitions::new(topic, partitions)];
        let results = block_on(admin.create_partitions(&wanted, &AdminOptions::new())).expect("the broker answers");
        for result in results {
            result.unwrap_or_else(|(name, code)| panic!("cannot add partitions to the topic {name}: {code}"));
        }
    }

    /// Appends payloads to a partition, in order, and waits until the broker has them; `None` is a null payload.
    pub fn produce(&self, topic: &str, partition: i32, payloads: &[Option<Vec<u8>>]) {
        let producer: BaseProducer =
            self.client().set("linger.ms", "0").set("message.max.bytes", "5000000").create().expect("a producer");
        for payload in payloads {
            let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition);
            record.payload = payload.as_deref();
            while let Err((error, back)) = producer.send(record) {
                assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                record = back;
                producer.poll(Duration::from_millis(50));
            }
        }
        producer.flush(Duration::from_secs(30)).expect("the broker takes the records");
    }

    /// Reads every committed record that a topic holds now, partition by partition.
    pub fn read(&self, topic: &str, mut each: impl FnMut(Record)) {
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", "oracle")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("fetch.queue.backoff.ms", "5")
            .create()
            .expect("a consumer");
        for partition in 0..self.partitions(topic) {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
            consumer.assign(&list).expect("an assignment");
            read_to_end(&consumer, &mut each);
        }
    }

    fn partitions(&self, topic: &str) -> i32 {
        let probe: BaseConsumer = self.client().create().expect("a consumer");
        let metadata = probe.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("the broker answers");
        i32::try_from(metadata.topics()[0].partitions().len()).expect("few partitions")
    }
}

fn read_to_end(consumer: &BaseConsumer, each: &mut impl FnMut(Record)) {
    loop {
        match consumer.poll(Duration::from_secs(20)) {
            Some(Ok(message)) => {
                let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                let headers = message.headers().into_iter().flat_map(Headers::iter);
                each(Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    payload: message.payload().unwrap_or_default().to_vec(),
                    key: text(message.key()),
                    headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
                });
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return,
            Some(Err(error)) => panic!("cannot read the topic: {error}"),
            None => panic!("the broker brought nothing for 20 s"),
        }
    }
}

/// Makes a folder for a broker, which its server removes.
fn folder() -> PathBuf {
    tempfile::Builder::new().prefix("freshet-kafka-").tempdir().expect("a temporary folder").keep()
}

/// Returns what a client of a secure broker needs.
fn secure_settings(folder: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("security.protocol", "SASL_SSL".to_owned()),
        ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
        ("sasl.username", SECURE_USER.to_owned()),
        ("sasl.password", SECURE_PASSWORD.to_owned()),
        ("ssl.ca.location", folder.join("ca.pem").to_string_lossy().into_owned()),
    ]
}

/// Returns the user of a secure broker as its storage is told.
fn scram() -> String {
    format!("SCRAM-SHA-512=[name={SECURE_USER},password={SECURE_PASSWORD}]")
}

/// Returns the settings of a secure broker, which is a client of its own too.
fn secure_properties(folder: &Path) -> String {
    let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
    let (keys, authority) = (folder.join("keys.pem"), folder.join("ca.pem"));
    format!(
        "inter.broker.listener.name=SASL_SSL\nsasl.mechanism.inter.broker.protocol=SCRAM-SHA-512\n\
         sasl.enabled.mechanisms=SCRAM-SHA-512\nlistener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={module} required \
         username=\"{SECURE_USER}\" password=\"{SECURE_PASSWORD}\";\nssl.keystore.type=PEM\nssl.keystore.location={}\n\
         ssl.truststore.type=PEM\nssl.truststore.location={}\n",
        keys.display(),
        authority.display()
    )
}

fn java(class_path: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx96m", "-XX:TieredStopAtLevel=1", "-cp", class_path]);
    command
}

fn properties(folder: &Path, protocol: &str, port: u16, controller: u16) -> String {
    let data = folder.join("data");
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners={protocol}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners={protocol}://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map={protocol}:{protocol},CONTROLLER:PLAINTEXT\nlog.dirs={}\n\
         offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=2\n\
         group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\nmessage.max.bytes=10485760\n",
        data.display()
    )
}

/// Tells whether the broker's jars are there, so that it starts without a network.
pub fn is_fetched() -> bool {
    cache().join(format!("kafka-{VERSION}")).join("complete").exists()
}

/// Returns the folder of the broker's jars.
fn jars() -> PathBuf {
    fetched(&format!("kafka-{VERSION}"), |folder| {
        let pom = concat!(env!("CARGO_MANIFEST_DIR"), "/src/kafka/pom.xml");
        let into = format!("-DoutputDirectory={}", folder.display());
        run(Command::new("mvn").args(["-q", "-B", "-f", pom, "dependency:copy-dependencies", &into]));
    })
}

/// Waits for a future on this thread: the admin client has no other interface, and the tests need no runtime beside.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
