//! Names of operators, as far as they are public knowledge: an upload can call its nodes anything, and what becomes a label
//! must come from a list.

/// The operators of ONNX's two standard domains, `ai.onnx` and `ai.onnx.ml`. <https://onnx.ai/onnx/operators/>
const STANDARD: &str = "\
    Abs Acos Acosh Adagrad Adam Add AffineGrid And ArgMax ArgMin ArrayFeatureExtractor Asin Asinh Atan Atanh \
    Attention AveragePool BatchNormalization Bernoulli Binarizer BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor \
    BlackmanWindow Cast CastLike CastMap CategoryMapper Ceil Celu CenterCropPad Clip Col2Im Compress Concat \
    ConcatFromSequence Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumSum DFT DeformConv \
    DepthToSpace DequantizeLinear Det DictVectorizer Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp \
    Expand EyeLike FeatureVectorizer Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool \
    GlobalLpPool GlobalMaxPool Gradient Greater GreaterOrEqual GridSample GroupNormalization HammingWindow \
    HannWindow HardSigmoid HardSwish Hardmax Identity If ImageDecoder Imputer InstanceNormalization IsInf IsNaN LRN \
    LSTM LabelEncoder LayerNormalization LeakyRelu Less LessOrEqual LinearClassifier LinearRegressor Log LogSoftmax \
    Loop LpNormalization LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization \
    MelWeightMatrix Min Mish Mod Momentum Mul Multinomial Neg NegativeLogLikelihoodLoss NonMaxSuppression NonZero \
    Normalizer Not OneHot OneHotEncoder Optional OptionalGetElement OptionalHasElement Or PRelu Pad Pow QLinearConv \
    QLinearMatMul QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike \
    Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd \
    ReduceSum ReduceSumSquare RegexFullMatch Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round STFT \
    SVMClassifier SVMRegressor Scaler Scan Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct \
    SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap Shape Shrink Sigmoid Sign Sin Sinh Size \
    Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze \
    StringConcat StringNormalizer StringSplit Sub Sum Swish Tan Tanh TensorScatter TfIdfVectorizer ThresholdedRelu \
    Tile TopK Transpose TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor Trilu Unique Unsqueeze Upsample \
    Where Xor ZipMap";

/// What all other operators are counted as.
pub const OTHER: &str = "other";

/// The name itself where it is a standard operator's, and [`OTHER`] for whatever else a file says.
pub fn label(name: &str) -> &'static str {
    STANDARD.split(' ').find(|&standard| standard == name).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_standard_names_become_labels() {
        assert_eq!(["Abs", "Loop", "LSTM", "ZipMap"].map(label), ["Abs", "Loop", "LSTM", "ZipMap"]);
        for strange in ["", "abs", "Loop ", "Abs Acos", "MyOwnOperator", "a\"b\n"] {
            assert_eq!(label(strange), OTHER, "{strange:?}");
        }
    }
}
