//! What processes tell each other on the control connection once they know each other.

use crate::codec::Cursor;

/// The identity of one incarnation of the cluster.
pub(crate) type IncarnationId = [u8; 16];

/// A message may be this long.
pub(crate) const MAX_FRAME_BYTES: usize = 64 << 20;

/// A message of the control connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// "I live."
    Beat,
    /// Leader: these indices have not come yet.
    Missing(Vec<u32>),
    /// Leader: everybody is here; get ready for this incarnation.
    Go { incarnation: IncarnationId, generation: u64, greeting: Vec<u8> },
    /// Follower: my gate is open for it.
    Ready,
    /// Follower: I have seen this generation, which is not lower.
    Stale { seen: u64 },
    /// Leader: all gates are open; call those before you.
    Link,
    /// Follower: I have all my connections.
    Linked,
    /// Leader: so has everybody.
    Formed,
    /// Follower: my part of what the leader gathers.
    Gather(Vec<u8>),
    /// Leader: what it made of the parts.
    Scatter(Vec<u8>),
    /// The incarnation has ended here, because this process was lost.
    End { lost: u32 },
    /// All my workers have ended well; nothing more comes.
    Bye,
}

impl Frame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let tagged = |tag: u8, bytes: &[u8]| [&[tag], bytes].concat();
        match self {
            Frame::Beat => vec![0],
            Frame::Missing(indices) => tagged(1, &indices.iter().flat_map(|index| index.to_le_bytes()).collect::<Vec<u8>>()),
            Frame::Go { incarnation, generation, greeting } => {
                tagged(2, &[&incarnation[..], &generation.to_le_bytes(), greeting].concat())
            }
            Frame::Ready => vec![3],
            Frame::Stale { seen } => tagged(4, &seen.to_le_bytes()),
            Frame::Link => vec![5],
            Frame::Linked => vec![6],
            Frame::Formed => vec![7],
            Frame::Gather(bytes) => tagged(8, bytes),
            Frame::Scatter(bytes) => tagged(9, bytes),
            Frame::End { lost } => tagged(10, &lost.to_le_bytes()),
            Frame::Bye => vec![11],
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Frame> {
        let mut cursor = Cursor(bytes);
        let frame = match cursor.u8()? {
            0 => Frame::Beat,
            1 => {
                let (indices, []) = cursor.rest().as_chunks::<4>() else { return None };
                Frame::Missing(indices.iter().map(|index| u32::from_le_bytes(*index)).collect())
            }
            2 => Frame::Go { incarnation: cursor.array()?, generation: cursor.u64()?, greeting: cursor.rest().to_vec() },
            3 => Frame::Ready,
            4 => Frame::Stale { seen: cursor.u64()? },
            5 => Frame::Link,
            6 => Frame::Linked,
            7 => Frame::Formed,
            8 => Frame::Gather(cursor.rest().to_vec()),
            9 => Frame::Scatter(cursor.rest().to_vec()),
            10 => Frame::End { lost: cursor.u32()? },
            11 => Frame::Bye,
            _ => return None,
        };
        cursor.end(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_survives_the_way() {
        let frames = [
            Frame::Beat,
            Frame::Missing(vec![1, 7]),
            Frame::Go { incarnation: [3; 16], generation: 9, greeting: b"hi".to_vec() },
            Frame::Ready,
            Frame::Stale { seen: 5 },
            Frame::Link,
            Frame::Linked,
            Frame::Formed,
            Frame::Gather(vec![]),
            Frame::Scatter(vec![1, 2]),
            Frame::End { lost: 2 },
            Frame::Bye,
        ];
        for frame in frames {
            let bytes = frame.encode();
            assert_eq!(Frame::decode(&bytes), Some(frame.clone()));
            if !matches!(frame, Frame::Missing(_) | Frame::Go { .. } | Frame::Gather(_) | Frame::Scatter(_)) {
                assert_eq!(Frame::decode(&[&bytes[..], &[0]].concat()), None, "{frame:?} with a byte too many");
            }
        }
        assert_eq!(Frame::decode(&[]), None);
        assert_eq!(Frame::decode(&[99]), None);
        assert_eq!(Frame::decode(&[1, 0]), None);
    }
}
