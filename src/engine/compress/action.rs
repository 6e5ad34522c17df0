//! What happens to a layer, and what the layer costs then.

use serde::{Deserialize, Serialize};

use super::{
    layer::{Cost, Layer},
    tucker::Ranks,
};

/// What happens to a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Keep,
    /// in → ranks.input → ranks.output → out; a side of full rank is left out.
    Tucker(Ranks),
    /// in → rank → out, of a linear layer or a 1x1 convolution.
    Svd {
        rank: usize,
    },
}

impl Action {
    /// Tucker-2 at these ranks, or nothing where both are full.
    pub fn tucker(layer: &Layer, ranks: Ranks) -> Self {
        let full = Ranks { input: layer.inputs, output: layer.outputs };
        if ranks == full { Self::Keep } else { Self::Tucker(ranks) }
    }

    /// The word in the compression table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Tucker(_) => "tucker",
            Self::Svd { .. } => "svd",
        }
    }

    /// The ranks in the compression table.
    pub fn ranks(self) -> Vec<usize> {
        match self {
            Self::Keep => Vec::new(),
            Self::Tucker(ranks) => vec![ranks.input, ranks.output],
            Self::Svd { rank } => vec![rank],
        }
    }

    /// The cost of the layer after the action; the bias stays, at the end.
    pub fn cost(self, layer: &Layer) -> Cost {
        let (inputs, outputs, taps) = (layer.inputs as u64, layer.outputs as u64, layer.taps() as u64);
        let stages = match self {
            Self::Keep => return layer.cost(),
            Self::Svd { rank } => {
                let rank = rank as u64;
                vec![(inputs * rank, layer.positions_out), (rank * outputs, layer.positions_out)]
            }
            Self::Tucker(ranks) => {
                let (low_in, low_out) = (ranks.input as u64, ranks.output as u64);
                vec![
                    (if low_in < inputs { inputs * low_in } else { 0 }, layer.positions_in),
                    (low_in * low_out * taps, layer.positions_out),
                    (if low_out < outputs { low_out * outputs } else { 0 }, layer.positions_out),
                ]
            }
        };
        Cost {
            parameters: stages.iter().map(|(weights, _)| weights).sum::<u64>() + layer.bias as u64,
            macs: stages.iter().map(|(weights, positions)| weights * positions).sum(),
        }
    }
}
