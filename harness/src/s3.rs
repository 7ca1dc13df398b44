//! A server that speaks S3, with conditional puts: moto, from PyPI, in an environment of its own in the cache folder.
//!
//! It keeps everything in memory, so that it may be stopped and let go on, but not be started again.

use std::path::PathBuf;
use std::process::Command;

use crate::http::request;
use crate::server::{Server, fetched, free_ports, listens, run};

/// The environment's folder carries the version, as that of the broker's jars does.
const VERSION: &str = "5.2.5";

/// The server.
pub struct S3 {
    port: u16,
    /// To be stopped and let go on.
    pub server: Server,
}

impl S3 {
    /// Starts a server with an empty bucket.
    pub fn start(bucket: &str) -> S3 {
        let program = environment().join("bin/moto_server").to_string_lossy().into_owned();
        let folder = tempfile::Builder::new().prefix("freshet-s3-").tempdir().expect("a temporary folder").keep();
        let [port] = free_ports();
        let command = [&program, "-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
        let mut server = Server::start("s3", &folder, "TERM", &command);
        server.wait_until(|| listens(port));
        let created = request(port, "PUT", &format!("/{bucket}"));
        assert_eq!(created.map(|(status, _)| status), Some(200), "a bucket is created");
        S3 { port, server }
    }

    /// Returns the variables by which a program finds the server.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        [
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ]
    }

    /// Lists the names of all objects in a bucket.
    pub fn objects(&self, bucket: &str) -> Vec<String> {
        let (_, listing) =
            request(self.port, "GET", &format!("/{bucket}?list-type=2&max-keys=1000")).expect("the server answers");
        listing.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>")).map(|(key, _)| key.to_owned()).collect()
    }
}

/// Returns the folder of the server's own Python.
fn environment() -> PathBuf {
    fetched(&format!("moto-{VERSION}"), |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        let packages = include_str!("s3/requirements.txt").lines().filter(|line| !line.starts_with('#'));
        run(Command::new(folder.join("bin/pip")).args(["install", "-q"]).args(packages));
    })
}
