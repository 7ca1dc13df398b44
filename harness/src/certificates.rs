//! An authority of a test's own, and the certificate of a server on this machine that it has signed; made by OpenSSL's command.

use std::path::Path;
use std::process::Command;

use crate::server::run;

/// Makes `ca.pem` with its `ca.key`, and `server.pem` with its `server.key`, for `localhost` and `127.0.0.1`.
pub fn make(folder: &Path) {
    let openssl = |arguments: &str| run(Command::new("openssl").current_dir(folder).args(arguments.split(' ')));
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem");
    openssl("req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr");
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("a folder to write to");
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem");
}
