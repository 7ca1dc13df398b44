//! What is put back, in which order things are noted, and what a crash between any two steps leads to.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

/// What lives longer than a replay: the target's records and ledger, the archive's marks, and how many steps may yet succeed.
#[derive(Default)]
struct World {
    put: Vec<Place>,
    marked: BTreeSet<Place>,
    steps: Option<usize>,
}

impl World {
    fn step(&mut self) -> Result<(), Error> {
        match &mut self.steps {
            Some(0) => Err(Error::unavailable("world", "crashed")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

struct Kept(Rc<RefCell<World>>, Vec<Letter>);

impl Archive for Kept {
    fn read(&mut self, each: &mut dyn FnMut(Letter)) -> Result<(), Error> {
        for letter in &self.1 {
            let marked = self.0.borrow().marked.contains(&letter.place);
            each(Letter { replayed_at: marked.then_some(Timestamp(1)), ..letter.clone() });
        }
        Ok(())
    }

    fn mark(&mut self, places: &[Place], _: Timestamp) -> Result<(), Error> {
        let mut world = self.0.borrow_mut();
        world.step()?;
        world.marked.extend(places.iter().cloned());
        Ok(())
    }
}

struct Topic(Rc<RefCell<World>>);

impl Target for Topic {
    fn replayed(&mut self) -> Result<BTreeSet<Place>, Error> {
        Ok(self.0.borrow().put.iter().cloned().collect())
    }

    fn put(&mut self, letters: &[Letter], _: Timestamp) -> Result<(), Error> {
        let mut world = self.0.borrow_mut();
        world.step()?;
        world.put.extend(letters.iter().map(|letter| letter.place.clone()));
        Ok(())
    }
}

fn letter(source: &str, offset: i64) -> Letter {
    let payload = b"{".to_vec();
    Letter {
        place: Place { source: source.to_owned(), partition: 0, offset },
        job: "job".to_owned(),
        epoch: None,
        time: None,
        reason: "malformed".to_owned(),
        detail: String::new(),
        bytes: Some(payload.len() as u64),
        payload,
        replayed_at: None,
        late: None,
    }
}

fn run(world: &Rc<RefCell<World>>, letters: &[Letter], dry: bool) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = Vec::new();
    let how = Replay { wanted: &|letter| letter.place.source == "s", dry, at: Timestamp(1) };
    let mut archive = Kept(Rc::clone(world), letters.to_vec());
    replay(&mut archive, &mut Topic(Rc::clone(world)), &how, &mut |_, outcome| outcomes.push(outcome))?;
    Ok(outcomes)
}

#[test]
fn only_whole_records_that_were_asked_for_are_put_back_and_each_once() {
    let world = Rc::default();
    let cut = Letter { bytes: Some(10), ..letter("s", 3) };
    let letters = [letter("s", 1), letter("s", 1), letter("view", -1), cut];
    let rest = [Outcome::Left("only a part of it was kept")];
    assert_eq!(run(&world, &letters, true).unwrap()[..2], [Outcome::Replayed, Outcome::Before]);
    assert!(world.borrow().put.is_empty() && world.borrow().marked.is_empty(), "a dry run does nothing");
    assert_eq!(run(&world, &letters, false).unwrap(), [&[Outcome::Replayed, Outcome::Before][..], &rest].concat());
    assert_eq!(world.borrow().put, [letters[0].place.clone()]);
    assert_eq!(run(&world, &letters, false).unwrap(), [&[Outcome::Before; 2][..], &rest].concat());
    assert_eq!(world.borrow().put.len(), 1);
}

#[test]
fn after_a_crash_at_any_step_the_next_replay_puts_back_the_rest_and_nothing_twice() {
    let letters: Vec<_> = (0..3 * GROUP_LETTERS as i64 / 2).map(|offset| letter("s", 100 + offset)).collect();
    let places: Vec<_> = letters.iter().map(|letter| letter.place.clone()).collect();
    for steps in 0..4 {
        let world = Rc::new(RefCell::new(World { steps: Some(steps), ..World::default() }));
        assert_eq!(run(&world, &letters, false).is_ok(), steps == 3, "two groups and the marks");
        world.borrow_mut().steps = None;
        run(&world, &letters, false).unwrap();
        assert_eq!(world.borrow().put, places, "after {steps} steps");
        assert_eq!(world.borrow().marked.len(), places.len(), "what was put back before the crash is marked too");
    }
}
