//! Encrypted connections to PostgreSQL.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use freshet_connectors::TableSink;
use freshet_connectors::postgres::PostgresSink;
use freshet_harness::certificates;
use postgres::{Client, NoTls};

use super::cluster::Database;
use super::commits::options;

/// Lets the server speak TLS with a certificate that the authority in `folder` has signed.
fn encrypt(client: &mut Client, folder: &Path) {
    certificates::make(folder);
    let data: String = client.query_one("SHOW data_directory", &[]).unwrap().get(0);
    let owner = std::fs::metadata(&data).unwrap().uid();
    for name in ["server.pem", "server.key"] {
        let path = Path::new(&data).join(name);
        std::fs::copy(folder.join(name), &path).unwrap();
        chown(&path, Some(owner), None).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    for setting in ["ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.key'", "ssl = on"] {
        client.batch_execute(&format!("ALTER SYSTEM SET {setting}")).unwrap();
    }
    client.batch_execute("SELECT pg_reload_conf()").unwrap();
}

#[test]
fn a_server_is_known_by_its_authority_and_by_nobody_elses() {
    let (database, folder) = (Database::create(), tempfile::tempdir().unwrap());
    let mut client = Client::connect(&database.url, NoTls).unwrap();
    encrypt(&mut client, folder.path());
    let authority = folder.path().join("ca.pem");
    let url = |parameters: &str| format!("{}?sslmode=verify-full{parameters}", database.url);
    let mut sink = PostgresSink::open(&url(&format!("&sslrootcert={}", authority.display())), options(1)).unwrap();
    sink.prepare(&[]).unwrap();
    let query = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'freshet'";
    assert!(client.query_one(query, &[]).unwrap().get::<_, i64>(0) >= 1, "the sink's session is encrypted");
    let refused = PostgresSink::open(&url(""), options(1)).and_then(|mut sink| sink.prepare(&[]).map(|_| ()));
    assert!(refused.unwrap_err().to_string().contains("certificate"));
}
