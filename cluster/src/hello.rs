//! The first words of a connection, and the proofs that both sides know the secret.
//!
//! ```text
//! caller    magic, version, Hello with a random number ──▶   answering side
//!           ◀── Challenge: a random number of its own
//!           Proof: HMAC(secret, "caller", both) ──▶
//!           ◀── Welcome or Refused, with HMAC(secret, "answer", both, verdict)
//! ```
//! Both random numbers are fresh, so that an exchange which somebody has recorded is worth nothing, and the two labels keep a
//! proof from being sent back to its maker. The caller proves first: who does not know the secret learns nothing made with it.

use std::io::{self, Read};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::codec::{Cursor, read_with_length, with_length};
use crate::error::Refusal;
use crate::frame::IncarnationId;
use crate::member::Secret;

/// How every connection begins.
const MAGIC: [u8; 8] = *b"freshet\0";
/// The version of everything that processes say to each other, timely's own format included.
pub(crate) const VERSION: u16 = 1;
/// An unknown caller may send so much at once.
pub(crate) const MAX_HELLO_BYTES: usize = 64 << 10;

pub(crate) type Nonce = [u8; 32];
pub(crate) type Proof = [u8; 32];

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A follower wants to be a member; it becomes its control connection with the leader.
    Join,
    /// The control connection of two followers.
    Control,
    /// The connection that timely gets.
    Data,
}

/// Who calls, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) kind: Kind,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) processes: u32,
    pub(crate) workers: u32,
    pub(crate) job: u64,
    /// The highest generation that the caller has been part of.
    pub(crate) seen: u64,
    /// All zeros when joining.
    pub(crate) incarnation: IncarnationId,
    pub(crate) nonce: Nonce,
}

impl Hello {
    /// Returns the bytes that open a connection.
    pub(crate) fn opening(&self) -> Vec<u8> {
        [&MAGIC[..], &VERSION.to_le_bytes(), &with_length(&self.encode())].concat()
    }

    /// Reads the bytes that open a connection.
    pub(crate) fn read(reader: &mut impl Read) -> Result<Hello, Unclear> {
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(Unclear::Garbage);
        }
        let mut version = [0; 2];
        reader.read_exact(&mut version)?;
        if u16::from_le_bytes(version) != VERSION {
            return Err(Unclear::Version);
        }
        let body = read_with_length(reader, MAX_HELLO_BYTES)?;
        Hello::decode(&body).ok_or(Unclear::Garbage)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.kind as u8];
        for number in [self.from, self.to, self.processes, self.workers] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.job.to_le_bytes());
        out.extend_from_slice(&self.seen.to_le_bytes());
        out.extend_from_slice(&self.incarnation);
        out.extend_from_slice(&self.nonce);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Hello> {
        let mut cursor = Cursor(bytes);
        let kind = match cursor.u8()? {
            0 => Kind::Join,
            1 => Kind::Control,
            2 => Kind::Data,
            _ => return None,
        };
        let [from, to, processes, workers] = [cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u32()?];
        let (job, seen) = (cursor.u64()?, cursor.u64()?);
        let hello = Hello { kind, from, to, processes, workers, job, seen, incarnation: cursor.array()?, nonce: cursor.array()? };
        cursor.end(hello)
    }
}

/// Why an opening could not be understood.
#[derive(Debug)]
pub(crate) enum Unclear {
    Garbage,
    Version,
    Io(io::Error),
}

impl From<io::Error> for Unclear {
    fn from(error: io::Error) -> Unclear {
        if error.kind() == io::ErrorKind::InvalidData { Unclear::Garbage } else { Unclear::Io(error) }
    }
}

/// What the answering side says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Challenge(Nonce),
    Welcome(Proof),
    Refused(Refusal, Proof),
}

impl Answer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        with_length(&match self {
            Answer::Challenge(nonce) => [&[0], &nonce[..]].concat(),
            Answer::Welcome(proof) => [&[1], &proof[..]].concat(),
            Answer::Refused(refusal, proof) => [&[2], &refusal.encode()[..], proof].concat(),
        })
    }

    pub(crate) fn read(reader: &mut impl Read) -> io::Result<Answer> {
        let bytes = read_with_length(reader, MAX_HELLO_BYTES)?;
        let decode = |bytes| {
            let mut cursor = Cursor(bytes);
            let answer = match cursor.u8()? {
                0 => Answer::Challenge(cursor.array()?),
                1 => Answer::Welcome(cursor.array()?),
                2 => Answer::Refused(Refusal::decode(&mut cursor)?, cursor.array()?),
                _ => return None,
            };
            cursor.end(answer)
        };
        decode(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an answer of Freshet"))
    }
}

impl Refusal {
    fn encode(self) -> [u8; 5] {
        let (code, value) = match self {
            Refusal::Version(theirs) => (0, u32::from(theirs)),
            Refusal::Secret => (1, 0),
            Refusal::Job => (2, 0),
            Refusal::Workers(theirs) => (3, theirs),
            Refusal::Processes(theirs) => (4, theirs),
            Refusal::Index => (5, 0),
            Refusal::Misdirected(is) => (6, is),
            Refusal::Taken => (7, 0),
            Refusal::Busy => (8, 0),
            Refusal::Incarnation => (9, 0),
        };
        let [a, b, c, d] = value.to_le_bytes();
        [code, a, b, c, d]
    }

    fn decode(cursor: &mut Cursor<'_>) -> Option<Refusal> {
        let (code, value) = (cursor.u8()?, cursor.u32()?);
        Some(match code {
            0 => Refusal::Version(u16::try_from(value).ok()?),
            1 => Refusal::Secret,
            2 => Refusal::Job,
            3 => Refusal::Workers(value),
            4 => Refusal::Processes(value),
            5 => Refusal::Index,
            6 => Refusal::Misdirected(value),
            7 => Refusal::Taken,
            8 => Refusal::Busy,
            9 => Refusal::Incarnation,
            _ => return None,
        })
    }
}

/// Makes and checks the proofs of one exchange.
pub(crate) struct Proofs<'a> {
    secret: &'a Secret,
    said: Vec<u8>,
}

impl<'a> Proofs<'a> {
    pub(crate) fn new(secret: &'a Secret, hello: &Hello, challenge: &Nonce) -> Proofs<'a> {
        Proofs { secret, said: [&hello.encode()[..], challenge].concat() }
    }

    pub(crate) fn caller(&self) -> Proof {
        self.mac(b"caller", &[]).finalize().into_bytes().into()
    }

    pub(crate) fn is_caller(&self, proof: &Proof) -> bool {
        self.mac(b"caller", &[]).verify_slice(proof).is_ok()
    }

    /// Proves a verdict of the answering side; no refusal is a welcome.
    pub(crate) fn answer(&self, refusal: Option<Refusal>) -> Proof {
        self.mac(b"answer", &verdict(refusal)).finalize().into_bytes().into()
    }

    pub(crate) fn is_answer(&self, refusal: Option<Refusal>, proof: &Proof) -> bool {
        self.mac(b"answer", &verdict(refusal)).verify_slice(proof).is_ok()
    }

    fn mac(&self, label: &[u8; 6], verdict: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.bytes()).expect("invariant: HMAC takes keys of any length");
        mac.update(label);
        mac.update(&self.said);
        mac.update(verdict);
        mac
    }
}

fn verdict(refusal: Option<Refusal>) -> Vec<u8> {
    refusal.map_or_else(|| b"welcome".to_vec(), |refusal| refusal.encode().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        let incarnation = [7; 16];
        Hello { kind: Kind::Data, from: 2, to: 1, processes: 3, workers: 4, job: 5, seen: 6, incarnation, nonce: [8; 32] }
    }

    #[test]
    fn a_hello_survives_the_way_and_every_cut_is_noticed() {
        let bytes = hello().opening();
        assert_eq!(Hello::read(&mut &bytes[..]).expect("whole"), hello());
        for length in 0..bytes.len() {
            assert!(Hello::read(&mut &bytes[..length]).is_err(), "{length} bytes");
        }
        let mut other = bytes;
        other[8] = 200;
        assert!(matches!(Hello::read(&mut &other[..]), Err(Unclear::Version)));
        assert!(matches!(Hello::read(&mut &b"GET / HTTP/1.1\r\n\r\n"[..]), Err(Unclear::Garbage)));
    }

    #[test]
    fn answers_survive_the_way() {
        let all = [
            Refusal::Version(7),
            Refusal::Secret,
            Refusal::Job,
            Refusal::Workers(2),
            Refusal::Processes(3),
            Refusal::Index,
            Refusal::Misdirected(1),
            Refusal::Taken,
            Refusal::Busy,
            Refusal::Incarnation,
        ];
        let refusals = all.into_iter().map(|refusal| Answer::Refused(refusal, [9; 32]));
        for answer in refusals.chain([Answer::Challenge([1; 32]), Answer::Welcome([2; 32])]) {
            assert_eq!(Answer::read(&mut &answer.encode()[..]).expect("whole"), answer);
        }
    }

    #[test]
    fn a_proof_holds_for_one_exchange_one_side_and_one_verdict() {
        let (secret, other) = (Secret::new("a"), Secret::new("b"));
        let proofs = Proofs::new(&secret, &hello(), &[1; 32]);
        assert!(proofs.is_caller(&proofs.caller()));
        assert!(!proofs.is_answer(None, &proofs.caller()), "sent back to its maker");
        assert!(!Proofs::new(&secret, &hello(), &[2; 32]).is_caller(&proofs.caller()), "replayed");
        assert!(!Proofs::new(&other, &hello(), &[1; 32]).is_caller(&proofs.caller()), "another secret");
        assert!(!proofs.is_answer(None, &proofs.answer(Some(Refusal::Job))), "another verdict");
        let altered = Hello { workers: 9, ..hello() };
        assert!(!Proofs::new(&secret, &altered, &[1; 32]).is_caller(&proofs.caller()), "altered on the way");
    }
}
