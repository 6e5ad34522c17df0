//! The fields of an ONNX file before it is decoded: each becomes a string, a list or a structure, which takes far more memory
//! than the two bytes that an empty field has.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

use prost::encoding::{WireType, decode_key, decode_varint};

/// Most fields of a file. PyTorch's exporter, which notes where each node comes from, writes about 40 for a node: 476 for the 12
/// of a LeNet5.
pub const MAX_FIELDS: usize = 1 << 21;

/// Messages that have messages in them, and their children by tag, as [`super::proto`] declares them.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Devices,
    Sharding,
    ShardedDim,
    Attribute,
    Tensor,
    Sparse,
    Annotation,
    Value,
    Type,
    Map,
    /// Any other kind of type.
    Kind,
    Shape,
    Training,
    Function,
    /// One without messages in it.
    Plain,
}

impl Message {
    fn child(self, tag: u32) -> Option<Self> {
        Some(match (self, tag) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) | (Self::Training, 1 | 2) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => Self::Tensor,
            (Self::Graph, 11..=13) | (Self::Function, 12) => Self::Value,
            (Self::Graph, 14) => Self::Annotation,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::Sparse,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Node, 10) => Self::Devices,
            (Self::Devices, 2) => Self::Sharding,
            (Self::Sharding, 4) => Self::ShardedDim,
            (Self::Value | Self::Map, 2) | (Self::Attribute, 14 | 15) | (Self::Kind, 1) => Self::Type,
            (Self::Type, 5) => Self::Map,
            (Self::Type, 1 | 4 | 8 | 9) => Self::Kind,
            (Self::Kind, 2) => Self::Shape,
            (Self::Model, 8 | 14 | 26)
            | (Self::Graph | Self::Tensor, 16)
            | (Self::Node | Self::Function, 9)
            | (Self::Sharding, 3)
            | (Self::ShardedDim, 2)
            | (Self::Tensor, 13)
            | (Self::Annotation, 2)
            | (Self::Value, 4)
            | (Self::Shape, 1)
            | (Self::Training, 3 | 4)
            | (Self::Function, 14) => Self::Plain,
            _ => return None,
        })
    }
}

/// How many fields of variable length a file has, in all messages of it; [`MAX_FIELDS`] and one where there are more. What is no
/// field ends its message: whoever decodes the file says what is wrong with it.
pub fn fields(bytes: &[u8]) -> usize {
    let (mut count, mut open) = (0, vec![(bytes, Message::Model)]);
    while let Some((mut rest, message)) = open.pop() {
        while let Some((tag, content)) = next(&mut rest) {
            count += 1;
            if count > MAX_FIELDS {
                return count;
            }
            open.extend(message.child(tag).map(|child| (content, child)));
        }
    }
    count
}

/// The next field of variable length.
fn next<'b>(rest: &mut &'b [u8]) -> Option<(u32, &'b [u8])> {
    loop {
        let (tag, kind) = decode_key(rest).ok()?;
        let length = match kind {
            WireType::Varint => {
                decode_varint(rest).ok()?;
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(rest).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => 0,
        };
        let (content, behind) = rest.split_at_checked(length)?;
        *rest = behind;
        if kind == WireType::LengthDelimited {
            return Some((tag, content));
        }
    }
}
