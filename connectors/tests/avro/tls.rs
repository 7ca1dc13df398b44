//! A registry behind TLS whose certificate an authority of one's own has signed.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use freshet_harness::certificates;
use freshet_harness::server::{free_ports, wait_for};

/// OpenSSL's test server, which answers requests with the files of a folder; ends when it goes out of scope.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended by itself is as good.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn serve(folder: &Path) -> (Server, u16) {
    certificates::make(folder);
    let [port] = free_ports();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-accept", &port.to_string(), "-cert", "server.pem", "-key", "server.key", "-WWW"]);
    let child = command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = Server(child.expect("openssl"));
    assert!(wait_for(PATIENCE, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()), "openssl does not listen");
    (server, port)
}

#[test]
fn a_registry_is_known_by_its_authority_and_by_nobody_elses() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, port) = serve(folder.path());
    let schema = record(r#"{"name":"n","type":"long"}"#);
    std::fs::create_dir_all(folder.path().join("schemas/ids")).expect("a folder to write to");
    let answer = serde_json::json!({ "schema": schema }).to_string();
    std::fs::write(folder.path().join("schemas/ids/1"), answer).expect("a folder to write to");
    let (kafka, topic) = (Kafka::shared(), "tls");
    kafka.create(topic, 1);
    kafka.produce(topic, 0, &[message(1, &schema, vec![("n", Value::Long(7))])]);
    let with = |ca: Option<&str>| {
        let mut options = options("", &[("n", "bigint")]);
        let ca = ca.map(|name| folder.path().join(name));
        options.format.encoding =
            Encoding::Avro(RegistryOptions { url: format!("https://localhost:{port}"), ca, ..Default::default() });
        options
    };
    assert_eq!(shown(&read(&mut *reader(topic, with(Some("ca.pem"))), 1)), [r#"{"n":7}"#]);
    let mut stranger = reader(topic, with(None));
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < deadline, "no error");
        if let Err(error) = stranger.read(10, Duration::from_millis(50), &mut Vec::new()) {
            break error.to_string();
        }
    };
    assert!(error.contains("no secure connection to the registry at https://localhost"), "{error}");
    let url = format!("{}/{topic}", kafka.url());
    let error = KafkaSource::open(&url, with(Some("ca.key"))).err().expect("no certificate").to_string();
    assert!(error.contains("there is no certificate in"), "{error}");
}
