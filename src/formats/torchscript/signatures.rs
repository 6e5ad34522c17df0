//! Names of the arguments of operators, in their order: the code gives arguments by their places, the rules know them by their
//! names.
//!
//! <https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/native_functions.yaml>. Overloads of an operator have the
//! same names at the same places, but for `to`.

use super::item::Item;

const SIGNATURES: &[(&str, &str)] = &[
    ("_adaptive_avg_pool2d", "self output_size"),
    (
        "_convolution",
        "input weight bias stride padding dilation transposed output_padding groups benchmark deterministic cudnn_enabled allow_tf32",
    ),
    ("_convolution_mode", "input weight bias stride padding dilation groups"),
    ("_log_softmax", "self dim half_to_float"),
    ("_native_batch_norm_legit", "input weight bias running_mean running_var training momentum eps"),
    ("_native_batch_norm_legit_no_training", "input weight bias running_mean running_var momentum eps"),
    ("_prelu_kernel", "self weight"),
    ("_safe_softmax", "self dim dtype"),
    ("_scaled_dot_product_flash_attention_for_cpu", "query key value dropout_p is_causal"),
    ("_softmax", "self dim half_to_float"),
    ("_to_copy", "self"),
    ("_unsafe_view", "self size"),
    ("abs", "self"),
    ("adaptive_avg_pool1d", "self output_size"),
    ("adaptive_avg_pool2d", "self output_size"),
    ("adaptive_max_pool1d", "self output_size"),
    ("adaptive_max_pool2d", "self output_size"),
    ("add", "self other alpha"),
    ("addmm", "self mat1 mat2 out_dtype"),
    ("alias", "self"),
    ("alpha_dropout", "input p train"),
    ("amax", "self dim keepdim"),
    ("amin", "self dim keepdim"),
    ("any", "self dim keepdim"),
    ("as_strided", "self size stride storage_offset"),
    ("avg_pool1d", "self kernel_size stride padding ceil_mode count_include_pad"),
    ("avg_pool2d", "self kernel_size stride padding ceil_mode count_include_pad divisor_override"),
    ("batch_norm", "input weight bias running_mean running_var training momentum eps cudnn_enabled"),
    ("bmm", "self mat2 out_dtype"),
    ("cat", "tensors dim"),
    ("ceil", "self"),
    ("chunk", "self chunks dim"),
    ("clamp", "self min max"),
    ("clamp_max", "self max"),
    ("clamp_min", "self min"),
    ("clip", "self min max"),
    ("clone", "self"),
    ("concat", "tensors dim"),
    ("concatenate", "tensors dim"),
    ("constant_pad_nd", "self pad value"),
    ("contiguous", "self"),
    ("conv1d", "input weight bias stride padding dilation groups"),
    ("conv2d", "input weight bias stride padding dilation groups"),
    ("conv_transpose1d", "input weight bias stride padding output_padding groups dilation"),
    ("conv_transpose2d", "input weight bias stride padding output_padding groups dilation"),
    ("convolution", "input weight bias stride padding dilation transposed output_padding groups"),
    ("cudnn_batch_norm", "input weight bias running_mean running_var training exponential_average_factor epsilon"),
    ("detach", "self"),
    ("div", "self other"),
    ("dropout", "input p train"),
    ("elu", "self alpha scale input_scale"),
    ("eq", "self other"),
    ("erf", "self"),
    ("exp", "self"),
    ("expand", "self size"),
    ("expand_as", "self other"),
    ("feature_alpha_dropout", "input p train"),
    ("feature_dropout", "input p train"),
    ("flatten", "self start_dim end_dim out_dim"),
    ("floor", "self"),
    ("full", "size fill_value"),
    ("full_like", "self fill_value"),
    ("gelu", "self"),
    ("group_norm", "input num_groups weight bias eps cudnn_enabled"),
    ("hardsigmoid", "self"),
    ("hardswish", "self"),
    ("hardtanh", "self min_val max_val"),
    ("index", "self indices"),
    ("index_select", "self dim index"),
    ("instance_norm", "input weight bias running_mean running_var use_input_stats momentum eps cudnn_enabled"),
    ("layer_norm", "input normalized_shape weight bias eps cudnn_enable"),
    ("leaky_relu", "self negative_slope"),
    ("lift_fresh_copy", "self"),
    ("linear", "input weight bias"),
    ("log", "self"),
    ("log_softmax", "self dim dtype"),
    ("logical_not", "self"),
    ("matmul", "self other"),
    ("max_pool1d", "self kernel_size stride padding dilation ceil_mode"),
    ("max_pool1d_with_indices", "self kernel_size stride padding dilation ceil_mode"),
    ("max_pool2d", "self kernel_size stride padding dilation ceil_mode"),
    ("max_pool2d_with_indices", "self kernel_size stride padding dilation ceil_mode"),
    ("maximum", "self other"),
    ("mean", "self dim keepdim"),
    ("minimum", "self other"),
    ("mish", "self"),
    ("mm", "self mat2 out_dtype"),
    ("mode", "self dim keepdim"),
    ("mul", "self other"),
    ("multiply", "self other"),
    ("narrow", "self dim start length"),
    ("native_batch_norm", "input weight bias running_mean running_var training momentum eps"),
    ("native_dropout", "input p train"),
    ("native_group_norm", "input weight bias N C HxW group eps"),
    ("native_layer_norm", "input normalized_shape weight bias eps"),
    ("neg", "self"),
    ("new_full", "self size fill_value"),
    ("new_ones", "self size"),
    ("new_zeros", "self size"),
    ("numpy_T", "self"),
    ("ones", "size"),
    ("ones_like", "self"),
    ("pad", "self pad mode value"),
    ("permute", "self dims"),
    ("pow", "self exponent"),
    ("prelu", "self weight"),
    ("reciprocal", "self"),
    ("reflection_pad1d", "self padding"),
    ("reflection_pad2d", "self padding"),
    ("relu", "self"),
    ("relu6", "self"),
    ("repeat", "self repeats"),
    ("replication_pad1d", "self padding"),
    ("replication_pad2d", "self padding"),
    ("reshape", "self shape"),
    ("reshape_as", "self other"),
    ("roll", "self shifts dims"),
    ("rsqrt", "self"),
    ("rsub", "self other alpha"),
    ("scalar_tensor", "s"),
    ("scaled_dot_product_attention", "query key value attn_mask dropout_p is_causal"),
    ("select", "self dim index"),
    ("selu", "self"),
    ("sigmoid", "self"),
    ("silu", "self"),
    ("slice", "self dim start end step"),
    ("softmax", "self dim dtype"),
    ("softplus", "self beta threshold"),
    ("softsign", "self"),
    ("split", "self split_size dim"),
    ("split_with_sizes", "self split_sizes dim"),
    ("sqrt", "self"),
    ("square", "self"),
    ("squeeze", "self dim"),
    ("stack", "tensors dim"),
    ("sub", "self other alpha"),
    ("sum", "self dim keepdim"),
    ("swapaxes", "self axis0 axis1"),
    ("swapdims", "self dim0 dim1"),
    ("t", "self"),
    ("tanh", "self"),
    ("transpose", "self dim0 dim1"),
    ("true_divide", "self other"),
    ("unbind", "self dim"),
    ("unflatten", "self dim sizes"),
    ("unsqueeze", "self dim"),
    ("view", "self size"),
    ("view_as", "self other"),
    ("where", "condition self other"),
    ("zeros", "size"),
    ("zeros_like", "self"),
];

/// The names for a call with these arguments; `None` for an operator that is not known.
pub fn signature(operator: &str, args: &[Item]) -> Option<Vec<&'static str>> {
    let find = |name: &str| SIGNATURES.iter().find(|(own, _)| *own == name).map(|(_, names)| *names);
    let plain = operator.strip_suffix('_').filter(|_| crate::formats::aten::is_in_place(operator));
    let names = match operator {
        "to" => conversion(args),
        _ => find(operator).or_else(|| plain.and_then(find))?,
    };
    Some(names.split_whitespace().collect())
}

/// `to` a type, to a device and a type, or to those of another tensor.
fn conversion(args: &[Item]) -> &'static str {
    match args.get(1) {
        Some(Item::Tensor(_)) => "self other non_blocking copy memory_format",
        Some(Item::Int(_)) => "self dtype non_blocking copy memory_format",
        Some(Item::Bool(_)) => "self non_blocking copy",
        _ => "self device dtype non_blocking copy memory_format",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::aten;

    #[test]
    fn every_operator_that_has_a_rule_has_names_for_its_arguments() {
        let python = |name: &str| name.starts_with("_operator.") || name.starts_with("sym_");
        let missing: Vec<&str> =
            aten::operators().into_iter().filter(|name| !python(name) && signature(name, &[]).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(signature("relu_", &[]), Some(vec!["self"]));
        assert!(signature("nothing", &[]).is_none());
    }

    #[test]
    fn names_are_in_order() {
        assert!(SIGNATURES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
