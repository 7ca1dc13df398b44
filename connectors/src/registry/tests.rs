//! A registry of our own that answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::breaker::State;

/// Answers each request with what `answer` says of its first line and its headers; counts the requests.
struct Server {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Fn(&str, &str) -> (u16, String) + Send + 'static) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let url = format!("http://{}/base", listener.local_addr().expect("an address"));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                respond(stream.expect("a connection"), &answer);
            }
        });
        Server { url, asked }
    }

    fn registry(&self) -> Registry {
        self.registry_of(Language::Avro)
    }

    fn registry_of(&self, language: Language) -> Registry {
        let options = RegistryOptions { url: self.url.clone(), ..RegistryOptions::default() };
        Registry::open("source 's'", &options, language).expect("a url")
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn respond(mut stream: TcpStream, answer: &dyn Fn(&str, &str) -> (u16, String)) {
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    let (mut first, mut headers, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first).expect("a request");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a header");
        if let Some((_, value)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
        headers.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let (status, text) = answer(first.trim(), &headers);
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", text.len());
    // Whoever has seen enough may have gone.
    let _ = stream.write_all(format!("{head}{text}").as_bytes());
}

fn lasting(result: Result<Answer, Trouble>) -> String {
    match result {
        Err(Trouble::Lasting(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_schema_is_asked_for_once_and_so_is_one_that_is_not_there() {
    let server = Server::start(|request, _| match request {
        "GET /base/schemas/ids/7 HTTP/1.1" => (200, r#"{"schema":"\"string\""}"#.to_owned()),
        _ => (404, r#"{"error_code":40403,"message":"none"}"#.to_owned()),
    });
    let registry = server.registry();
    for _ in 0..3 {
        assert!(
            matches!(registry.schema(7), Ok(Answer::Schema { text, references }) if text == "\"string\"" && references.is_empty())
        );
        assert!(matches!(registry.schema(8), Ok(Answer::Unknown)));
    }
    assert_eq!(server.asked(), 2);
}

#[test]
fn a_registry_that_is_away_is_asked_again_after_longer_and_longer_pauses() {
    let begin = Instant::now();
    let server = Server::start(move |_, _| match begin.elapsed() < Duration::from_millis(1200) {
        true => (503, "busy".to_owned()),
        false => (200, r#"{"schema":"\"long\""}"#.to_owned()),
    });
    let registry = server.registry();
    while let Err(trouble) = registry.schema(1) {
        assert!(matches!(trouble, Trouble::Away) && begin.elapsed() < Duration::from_secs(20), "{trouble:?}");
        thread::sleep(Duration::from_millis(1));
    }
    // At least 0.05, 0.1, 0.2, 0.4, 0.8 s between them.
    assert!((2..=6).contains(&server.asked()), "{}", server.asked());
}

/// A registry that is away until it is told to be there, the circuit that guards it, and what is seen of that.
struct Guarded {
    server: Server,
    is_there: Arc<AtomicBool>,
    registry: Registry,
    circuit: Arc<Circuit>,
    gauge: Arc<Gauge>,
}

impl Guarded {
    fn start(pause: Duration, give_up: Option<Duration>) -> Guarded {
        let is_there = Arc::new(AtomicBool::new(false));
        let answers = Arc::clone(&is_there);
        let server = Server::start(move |_, _| match answers.load(Ordering::SeqCst) {
            true => (200, r#"{"schema":"\"long\""}"#.to_owned()),
            false => (503, "busy".to_owned()),
        });
        let gauge = Arc::new(Gauge::default());
        let policy = Policy { first: pause, most: pause, give_up };
        let circuit = Circuit::new("registry of source 's'", policy, Arc::clone(&gauge));
        let registry = server.registry();
        registry.guard(&circuit);
        Guarded { server, is_there, registry, circuit, gauge }
    }

    /// Asks until so many requests have been sent.
    fn ask(&self, requests: usize) {
        while self.server.asked() < requests {
            assert!(matches!(self.registry.schema(1), Err(Trouble::Away)));
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn the_circuit_opens_closes_by_one_probe_and_counts() {
    let guarded = Guarded::start(Duration::from_millis(400), None);
    let state = || guarded.gauge.state();
    guarded.ask(1);
    assert_eq!(state(), State::Closed);
    guarded.ask(3);
    assert_eq!(state(), State::Open);
    assert!(matches!(guarded.registry.schema(1), Err(Trouble::Away)) && guarded.server.asked() == 3, "it is left alone");
    guarded.ask(4);
    assert_eq!(state(), State::Open, "the probe has failed");
    guarded.is_there.store(true, Ordering::SeqCst);
    while guarded.registry.schema(1).is_err() {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!((state(), guarded.server.asked()), (State::Closed, 5));
    let [opened, retries] = [&guarded.gauge.opened, &guarded.gauge.retries].map(|number| number.load(Ordering::Relaxed));
    assert_eq!((opened, retries), (1, 4));
}

#[test]
fn readers_that_need_the_same_registry_send_one_probe_among_them() {
    let (guarded, begun) = (Guarded::start(Duration::from_millis(200), None), Instant::now());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while begun.elapsed() < Duration::from_secs(1) {
                    assert!(matches!(guarded.registry.schema(1), Err(Trouble::Away)));
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
    });
    // At least 0.1 s between them.
    assert!((3..=11).contains(&guarded.server.asked()), "{}", guarded.server.asked());
}

#[test]
fn a_registry_is_given_up_when_the_policy_says_so_and_left_alone_when_nobody_needs_it() {
    let guarded = Guarded::start(Duration::from_millis(20), Some(Duration::from_millis(50)));
    let error = loop {
        match guarded.registry.schema(1) {
            Err(Trouble::Away) => thread::sleep(Duration::from_millis(1)),
            Err(Trouble::Lasting(error)) => break error,
            Ok(answer) => panic!("{answer:?}"),
        }
    };
    let words = "source 's': the registry at http://127.0.0.1";
    let text = error.to_string();
    assert!(error.is_transient() && text.starts_with(words) && text.contains("(status 503); given up after 0 s"), "{text}");
    guarded.circuit.abandon();
    let asked = guarded.server.asked();
    thread::sleep(Duration::from_millis(50));
    assert!(matches!(guarded.registry.schema(1), Err(Trouble::Away)) && guarded.server.asked() == asked);
}

#[test]
fn nobody_at_the_address_is_waited_for() {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("an address");
    let options = RegistryOptions { url: format!("http://{address}"), ..RegistryOptions::default() };
    let registry = Registry::open("source 's'", &options, Language::Avro).expect("a url");
    assert!(matches!(registry.schema(1), Err(Trouble::Away)));
}

#[test]
fn credentials_are_sent_and_never_shown() {
    let server = Server::start(|_, headers| match headers.to_lowercase().contains("basic ywxpy2u6ahvudgvymg==") {
        true => (200, r#"{"schema":"\"int\""}"#.to_owned()),
        false => (401, String::new()),
    });
    let with = |password: &str| {
        let (user, password) = (Some("alice".to_owned()), Some(password.to_owned()));
        let options = RegistryOptions { url: server.url.clone(), user, password, ca: None };
        assert!(!format!("{options:?}").contains("hunter"));
        Registry::open("source 's'", &options, Language::Avro).expect("a url").schema(1)
    };
    assert!(with("hunter2").is_ok());
    let error = lasting(with("hunter3"));
    assert!(error.contains("refuses the credentials (status 401)") && !error.contains("hunter"), "{error}");
}

#[test]
fn what_is_no_registry_is_said_to_be_none() {
    for (status, text) in [(404, "<html>not found</html>"), (200, "<html>hello</html>"), (400, "")] {
        let server = Server::start(move |_, _| (status, text.to_owned()));
        let error = lasting(server.registry().schema(1));
        assert!(error.contains("there is no schema registry at http://127.0.0.1"), "{error}");
    }
    for url in ["registry:8081", "ftp://x", "http://"] {
        let options = RegistryOptions { url: url.to_owned(), ..RegistryOptions::default() };
        assert!(Registry::open("source 's'", &options, Language::Avro).is_err(), "{url}");
    }
}

fn reference(name: &str, text: &str) -> Reference {
    Reference { name: name.to_owned(), text: text.to_owned() }
}

#[test]
fn schemas_that_refer_to_others_come_with_them() {
    let server = Server::start(|request, _| {
        let text = match request.split(' ').nth(1) {
            Some("/base/schemas/ids/1") => {
                r#"{"schema":"outer","references":[{"name":"x","subject":"a/b","version":2},{"name":"y","subject":"c","version":1}]}"#
            }
            Some("/base/subjects/a%2Fb/versions/2") => {
                r#"{"schema":"middle","references":[{"name":"y","subject":"c","version":1}]}"#
            }
            Some("/base/subjects/c/versions/1") => r#"{"schema":"inner","schemaType":"AVRO"}"#,
            Some("/base/schemas/ids/2") => r#"{"schema":"{}","schemaType":"JSON"}"#,
            Some("/base/schemas/ids/3") => r#"{"schema":"o","references":[{"name":"x","subject":"gone","version":1}]}"#,
            _ => return (404, r#"{"error_code":40401}"#.to_owned()),
        };
        (200, text.to_owned())
    });
    let registry = server.registry();
    let Ok(Answer::Schema { text, references }) = registry.schema(1) else { panic!("a schema") };
    assert_eq!((text.as_str(), references), ("outer", vec![reference("y", "inner"), reference("x", "middle")]));
    assert!(matches!(registry.schema(2), Ok(Answer::Unreadable(what)) if what == "it is JSON, not Avro"));
    assert!(matches!(registry.schema(3), Ok(Answer::Unreadable(what)) if what.contains("version 1 of 'gone'")));
}

#[test]
fn a_schema_of_another_language_is_of_no_use() {
    let server = Server::start(|request, _| {
        let text = match request.split(' ').nth(1) {
            Some("/base/schemas/ids/1") => {
                r#"{"schemaType":"PROTOBUF","schema":"outer","references":[{"name":"a.proto","subject":"a","version":1}]}"#
            }
            Some("/base/subjects/a/versions/1") => r#"{"schemaType":"PROTOBUF","schema":"inner"}"#,
            Some("/base/schemas/ids/2") => {
                r#"{"schemaType":"PROTOBUF","schema":"o","references":[{"name":"b","subject":"b","version":1}]}"#
            }
            Some("/base/schemas/ids/3") => r#"{"schema":"\"long\""}"#,
            Some("/base/subjects/b/versions/1") => r#"{"schema":"\"long\""}"#,
            _ => return (404, r#"{"error_code":40401}"#.to_owned()),
        };
        (200, text.to_owned())
    });
    let protobuf = server.registry_of(Language::Protobuf);
    let Ok(Answer::Schema { text, references }) = protobuf.schema(1) else { panic!("a schema") };
    assert_eq!((text.as_str(), references), ("outer", vec![reference("a.proto", "inner")]));
    for id in [2, 3] {
        assert!(matches!(protobuf.schema(id), Ok(Answer::Unreadable(what)) if what == "it is AVRO, not Protobuf"));
    }
    assert!(matches!(server.registry().schema(1), Ok(Answer::Unreadable(what)) if what == "it is PROTOBUF, not Avro"));
}

#[test]
fn schemas_that_refer_to_one_another_or_to_too_many_come_to_an_end() {
    let server = Server::start(|request, _| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let to = |subject: &str| {
            format!(r#"{{"schema":"s","references":[{{"name":"{subject}","subject":"{subject}","version":1}}]}}"#)
        };
        (
            200,
            match path.strip_prefix("/base/subjects/n") {
                Some(rest) => to(&format!("n{}", rest.split('/').next().map_or(0, |n| n.parse::<u32>().expect("a number") + 1))),
                None if path.ends_with("/ids/1") => to("a"),
                None if path.ends_with("/ids/2") => to("n0"),
                None => to("a"),
            },
        )
    });
    let registry = server.registry();
    assert!(matches!(registry.schema(1), Ok(Answer::Schema { references, .. }) if references == [reference("a", "s")]));
    assert!(matches!(registry.schema(2), Ok(Answer::Unreadable(what)) if what == "it refers to more than 100 schemas"));
}

#[test]
fn a_schema_that_is_not_compatible_is_refused_in_the_registrys_words() {
    let server = Server::start(|request, _| match request {
        "POST /base/subjects/topic-value/versions HTTP/1.1" => (200, r#"{"id":12}"#.to_owned()),
        _ => (409, r#"{"error_code":409,"message":"field 'n' is gone"}"#.to_owned()),
    });
    let registry = server.registry();
    assert!(matches!(registry.register("topic-value", "{}"), Ok(12)));
    let Err(Trouble::Lasting(error)) = registry.register("other-value", "{}") else { panic!("an error") };
    assert!(error.to_string().contains("refuses the schema of the rows for 'other-value': field 'n' is gone; "), "{error}");
}
