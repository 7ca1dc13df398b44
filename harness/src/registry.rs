//! A Schema Registry for the whole test run: Apicurio's, which speaks Confluent's language, with its schemas in memory. Of its versions this
//! is the last that Java 17 runs.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::http;
use crate::server::{Server, cache, fetched, free_ports, run};

/// The folder carries the version, so that another one is fetched and not mixed in.
const VERSION: &str = "3.0.9";

/// Where it speaks Confluent's language.
const PATH: &str = "/apis/ccompat/v7";

/// The registry.
pub struct Registry {
    port: u16,
    /// To be killed, stopped and started again, by those who have it for themselves. Its memory ends with it.
    pub server: Server,
}

impl Registry {
    /// Returns the registry, which the first caller starts.
    pub fn shared() -> &'static Registry {
        static SHARED: OnceLock<Registry> = OnceLock::new();
        SHARED.get_or_init(Registry::start)
    }

    /// Starts a registry of one's own, without schemas.
    pub fn start() -> Registry {
        let program = program();
        let folder = tempfile::Builder::new().prefix("freshet-registry-").tempdir().expect("a temporary folder").keep();
        let [port] = free_ports();
        let jar = program.join(format!("apicurio-registry-app-{VERSION}-runner.jar")).to_string_lossy().into_owned();
        let settings = [
            "-Xmx256m".to_owned(),
            "-XX:+UseSerialGC".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
            "-Dquarkus.http.host=127.0.0.1".to_owned(),
            format!("-Dquarkus.http.port={port}"),
            "-jar".to_owned(),
            jar,
        ];
        let command: Vec<String> = std::iter::once("java".to_owned()).chain(settings).collect();
        let server = Server::start("registry", &folder, "TERM", &command);
        let mut registry = Registry { port, server };
        registry.wait_until_ready();
        registry
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Returns the port at which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until it answers, after it has been started again.
    pub fn wait_until_ready(&mut self) {
        let port = self.port;
        self.server.wait_until(|| matches!(http::get(port, &format!("{PATH}/subjects")), Some((200, _))));
    }

    /// Registers a schema under a subject; returns its id, or the status and the words of the refusal.
    ///
    /// # Errors
    /// The registry refuses the schema.
    pub fn register(&self, subject: &str, schema: &str) -> Result<u32, (u16, String)> {
        self.register_body(subject, &json!({ "schema": schema }))
    }

    /// Registers a schema of Protobuf, and which first versions of which subjects it imports by which names.
    ///
    /// # Errors
    /// The registry refuses the schema.
    pub fn register_protobuf(&self, subject: &str, schema: &str, imports: &[(&str, &str)]) -> Result<u32, (u16, String)> {
        let reference = |(name, subject): &(&str, &str)| json!({ "name": name, "subject": subject, "version": 1 });
        let references: Vec<Value> = imports.iter().map(reference).collect();
        self.register_body(subject, &json!({ "schema": schema, "schemaType": "PROTOBUF", "references": references }))
    }

    fn register_body(&self, subject: &str, body: &Value) -> Result<u32, (u16, String)> {
        let path = format!("{PATH}/subjects/{subject}/versions");
        let (status, text) = http::send(self.port, "POST", &path, &body.to_string()).expect("the registry answers");
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        match answer["id"].as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Ok(id),
            None => Err((status, text)),
        }
    }

    /// Sets which changes a subject's schema may undergo: `BACKWARD`, `NONE` and others.
    pub fn set_compatibility(&self, subject: &str, level: &str) {
        let body = json!({ "compatibility": level }).to_string();
        let path = format!("{PATH}/config/{subject}");
        let (status, text) = http::send(self.port, "PUT", &path, &body).expect("the registry answers");
        assert_eq!(status, 200, "{text}");
    }

    /// Returns the newest schema of a subject and its id.
    pub fn latest(&self, subject: &str) -> (u32, String) {
        let path = format!("{PATH}/subjects/{subject}/versions/latest");
        let (status, text) = http::get(self.port, &path).expect("the registry answers");
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let id = answer["id"].as_u64().and_then(|id| u32::try_from(id).ok()).expect("an id");
        (id, answer["schema"].as_str().expect("a schema").to_owned())
    }
}

/// Tells whether the registry is there, so that it starts without a network.
pub fn is_fetched() -> bool {
    cache().join(format!("apicurio-{VERSION}")).join("complete").exists()
}

/// Returns the folder of the registry's program; the first run on a machine fetches it.
fn program() -> PathBuf {
    fetched(&format!("apicurio-{VERSION}"), |folder| {
        // The archive holds all that it needs: Maven is not asked what it depends on.
        let artifact = format!("-Dartifact=io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all");
        let into = format!("-DoutputDirectory={}", folder.display());
        run(Command::new("mvn").args(["-q", "-B", "dependency:copy", &artifact, &into]).current_dir(folder));
        let archive = folder.join(format!("apicurio-registry-app-{VERSION}-all.tar.gz"));
        run(Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(folder));
        std::fs::remove_file(archive).expect("the archive is no longer needed");
    })
}
