//! Cases of known operators that no graph of ours can be: each with its reason. A listed case that passes fails the test.

use crate::cases::Case;

const CACHE: &str = "keys and values of earlier calls, or scores as a second answer: no classifier has them";
const INFINITE: &str = "its constants come to minus infinity, which is refused as a broken weight";
const SPATIAL: &str = "three spatial axes";
const COMPARES: &str = "compares or chooses by computed values: choices are decided while importing";
const TRAINING: &str = "training mode: a teacher is frozen";
const EMPTY: &str = "values without elements";
const ASPECT: &str = "keeps the aspect ratio (keep_aspect_ratio_policy)";
const CORNERS: &str =
    "aligns corners by the length before rounding, where onnxruntime and PyTorch take the one that the output has";
const CROP: &str = "crops as TensorFlow does (tf_crop_and_resize)";
const BRAIN: &str = "rounds to bfloat16: every float is float32 here";
const INTEGERS: &str = "computes with integers or booleans beyond shape arithmetic";
const OLD: &str = "opset 6, in which a slope's only axis is that of the channels";
const MODULO: &str = "Mod of computed values";
const SCATTER: &str = "ScatterND of computed values, or one that joins old and new ones";

/// How a case's name begins, how it ends, and why it is left out.
const CASES: &[(&str, &str, &str)] = &[
    ("test_attention_", "causal_expanded", INFINITE),
    ("test_attention_4d_softcap_neginf", "_expanded", INFINITE),
    ("test_attention_4d_diff_heads_mask4d_padded_kv", "_expanded", INFINITE),
    ("test_attention_4d_diff_heads_mask4d_padded_kv", "", CACHE),
    ("test_attention_", "present", CACHE),
    ("test_attention_", "present_fp16", CACHE),
    ("test_attention_4d_diff_heads_with_past_and_present", "mask3d", CACHE),
    ("test_attention_4d_diff_heads_with_past_and_present", "mask4d", CACHE),
    ("test_attention_", "qk_matmul", CACHE),
    ("test_attention_", "qk_matmul_bias", CACHE),
    ("test_attention_", "qk_matmul_softcap", CACHE),
    ("test_attention_", "qk_matmul_softmax", CACHE),
    ("test_attention_4d_with_past_and_present_qk_matmul_bias_", "mask", CACHE),
    ("test_attention_4d_with_past_and_present_qk_matmul_bias_", "causal", CACHE),
    ("test_averagepool_3d", "", SPATIAL),
    ("test_maxpool_3d", "", SPATIAL),
    ("test_convtranspose_3d", "", SPATIAL),
    ("test_AvgPool3d", "", SPATIAL),
    ("test_MaxPool3d", "", SPATIAL),
    ("test_Conv3d", "", SPATIAL),
    ("test_batchnorm_", "_training_mode", TRAINING),
    ("test_training_dropout_default", "", TRAINING),
    ("test_training_dropout", "dropout", TRAINING),
    ("test_training_dropout", "dropout_mask", TRAINING),
    ("test_cast_FLOAT_to_BFLOAT16", "", BRAIN),
    ("test_castlike_FLOAT_to_BFLOAT16", "", BRAIN),
    ("test_causal_conv_with_state_kernel_size_one", "_expanded", EMPTY),
    ("test_clip_default_max_expanded", "", COMPARES),
    ("test_clip_default_min_expanded", "", COMPARES),
    ("test_clip_example_expanded", "", COMPARES),
    ("test_clip_expanded", "", COMPARES),
    ("test_clip_inbounds_expanded", "", COMPARES),
    ("test_clip_min_greater", "_expanded", COMPARES),
    ("test_clip_outbounds_expanded", "", COMPARES),
    ("test_clip_splitbounds_expanded", "", COMPARES),
    ("test_elu", "_expanded_ver18", COMPARES),
    ("test_selu", "_expanded_ver18", COMPARES),
    ("test_leakyrelu", "_expanded", COMPARES),
    ("test_prelu", "_expanded", COMPARES),
    ("test_shrink", "_expanded_ver18", COMPARES),
    ("test_thresholdedrelu", "_expanded_ver18", COMPARES),
    ("test_flexattention_causal_mask", "_expanded_ver26", COMPARES),
    ("test_greater", "greater", COMPARES),
    ("test_greater", "bcast", COMPARES),
    ("test_greater", "greater_equal", COMPARES),
    ("test_greater_equal_expanded", "", COMPARES),
    ("test_greater_equal_bcast_expanded", "", COMPARES),
    ("test_less", "less", COMPARES),
    ("test_less", "bcast", COMPARES),
    ("test_less", "less_equal", COMPARES),
    ("test_less_equal_expanded", "", COMPARES),
    ("test_less_equal_bcast_expanded", "", COMPARES),
    ("test_where_example", "", COMPARES),
    ("test_mod_mixed_sign_float", "", MODULO),
    ("test_scatternd", "", SCATTER),
    ("test_pow_types_int", "_float32", INTEGERS),
    ("test_reduce_", "_bool_inputs", INTEGERS),
    ("test_reduce_", "_empty_set", EMPTY),
    ("test_reduce_", "_empty_set_expanded", EMPTY),
    ("test_reduce_sum_empty_set_non_reduced_axis_zero", "", EMPTY),
    ("test_reshape_allowzero_reordered", "", EMPTY),
    ("test_slice_start_out_of_bounds", "", EMPTY),
    ("test_split_zero_size_splits", "", EMPTY),
    ("test_tri", "_zero", EMPTY),
    ("test_rotary_embedding_3d_input_expanded", "", EMPTY),
    ("test_rotary_embedding", "embedding_expanded", EMPTY),
    ("test_rotary_embedding_interleaved_expanded", "", EMPTY),
    ("test_rotary_embedding_no_position_ids_expanded", "", EMPTY),
    ("test_rotary_embedding_no_position_ids_interleaved_expanded", "", EMPTY),
    ("test_resize_", "_larger", ASPECT),
    ("test_resize_", "_not_smaller", ASPECT),
    ("test_resize_downsample_scales_", "_align_corners", CORNERS),
    ("test_resize_tf_crop_and_resize", "", CROP),
    ("test_gathernd_example_int32_batch_dim1", "", "indices that differ along the batch (batch_dims)"),
    ("test_wrap_pad", "", "pads by wrapping around"),
    ("test_PReLU_", "_multiparam", OLD),
];

pub fn reason(case: &Case) -> Option<&'static str> {
    let listed = |(begins, ends, _): &&(&str, &str, &str)| case.name.starts_with(begins) && case.name.ends_with(ends);
    CASES.iter().find(listed).map(|(_, _, reason)| *reason)
}

/// How many outputs count: further ones of these serve training, or nothing that a classifier has.
pub fn outputs(case: &Case) -> usize {
    let training = ["BatchNormalization", "Dropout", "LayerNormalization", "MaxPool"];
    let base = case.operator.as_deref().unwrap_or_default();
    if training.contains(&base) || case.name.starts_with("test_layer_normalization") { 1 } else { usize::MAX }
}
