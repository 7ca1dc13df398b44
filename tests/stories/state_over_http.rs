//! What a running job tells probes and Prometheus.

use std::time::Duration;

use freshet_harness::http::get;
use freshet_harness::job::Job;
use freshet_harness::server::{free_ports, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn health_readiness_and_metrics_are_served() {
    let [port] = free_ports();
    let job = Job::generated("rate=1000");
    let mut running = job.run().args("-w 2 --listen").arg(format!("127.0.0.1:{port}")).start();
    let ready = || get(port, "/readyz").is_some_and(|(status, _)| status == 200);
    assert!(wait_for(LIMIT, || ready() || !running.is_running()), "never ready\n{}", running.output());
    assert!(running.is_running(), "it ended\n{}", running.output());

    assert_eq!(get(port, "/healthz").map(|(status, _)| status), Some(200));
    assert_eq!(get(port, "/no-such-page").map(|(status, _)| status), Some(404));
    let metric = |name: &str| -> Option<f64> {
        let (_, body) = get(port, "/metrics")?;
        let line = body.lines().find(|line| line.starts_with(name))?.to_owned();
        line.rsplit(' ').next()?.parse().ok()
    };
    assert!(wait_for(LIMIT, || metric("freshet_").is_some()), "no metrics: {:?}", get(port, "/metrics"));
    let counts = |name: &str| wait_for(LIMIT, || metric(name) > Some(0.0));
    assert!(counts("freshet_records_total"), "no records counted: {:?}", get(port, "/metrics"));

    running.interrupt();
    running.wait(LIMIT).expect_success("a run that was interrupted");
}
