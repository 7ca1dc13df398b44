//! A network that swallows everything without a word.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{endless, is_loss, listeners, members, spawn, start, sum};

/// Stands between two processes and passes on what they say, unless it is cut.
fn cable(to: String) -> (String, Arc<AtomicBool>) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (address, cut) = (socket.local_addr().expect("bound").to_string(), Arc::new(AtomicBool::new(false)));
    let is_cut = Arc::clone(&cut);
    thread::spawn(move || {
        for near in socket.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(&to) else { continue };
            let back = (far.try_clone().expect("a file"), near.try_clone().expect("a file"));
            for (from, to) in [(near, far), back] {
                let is_cut = Arc::clone(&is_cut);
                thread::spawn(move || pass_on(from, to, &is_cut));
            }
        }
    });
    (address, cut)
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool) {
    let mut buffer = [0; 1 << 16];
    while let Ok(read) = from.read(&mut buffer) {
        while is_cut.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn both_sides_of_a_cut_notice_it_and_meet_again() {
    let mut members = members(2, 1);
    let (through, cut) = cable(members[0].addresses[0].clone());
    members[1].addresses[0] = through;
    let mut all = listeners(&members);
    let ends = spawn(start(&mut all, 1), endless);
    thread::sleep(Duration::from_millis(100));
    cut.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    for (process, end) in ends.into_iter().enumerate() {
        let end = end.join().expect("no panic");
        let noticed = begun.elapsed();
        println!("process {process} noticed the cut after {:.1} s: {end:?}", noticed.as_secs_f64());
        assert!(is_loss(&end, 1 - process), "{end:?}");
        assert!(noticed < Duration::from_secs(5), "{noticed:?}");
    }
    // What was under way arrives late and belongs to nobody.
    cut.store(false, Ordering::SeqCst);
    let ends = spawn(start(&mut all, 2), |worker, _| sum(worker, 1000));
    let total: u64 = ends.into_iter().flat_map(|end| end.join().expect("no panic").expect("nobody is lost")).sum();
    assert_eq!(total, 2 * 499_500);
}
