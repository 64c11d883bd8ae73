//===- NnOps.td - weights, contractions, rows, attention ------*- tablegen -*-===//

#ifndef CLEAVE_NN_OPS
#define CLEAVE_NN_OPS

include "NnElementwiseOps.td"
include "NnMovementOps.td"

def Nn_ConstantOp : Nn_Op<"constant", [ConstantLike, AllTypesMatch<["value", "result"]>]> {
  let summary = "a small tensor known while compiling";
  let arguments = (ins ElementsAttr:$value);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = "attr-dict $value";
  let hasFolder = 1;
}

def Nn_WeightOp : Nn_Op<"weight"> {
  let summary = "a tensor that lies in a file";
  let description = [{
    The bytes, little-endian and row-major, begin at `offset` of `file` and are
    `length` long. Nothing is read before the program is loaded.

    Constraints:
    - (C1) `length` is the size of the type in bytes (bool takes one byte).
    - (C2) `offset` is not negative.

    Example:
    ```mlir
    %w = nn.weight "model.layers.0.q.weight" in "model.onnx" at 4096 length 16384 : tensor<64x64xf32>
    ```
  }];
  let arguments = (ins StrAttr:$name, StrAttr:$file, I64Attr:$offset, I64Attr:$length);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = [{
    $name `in` $file `at` $offset `length` $length attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
}

def Nn_MatmulOp : Nn_InferredOp<"matmul"> {
  let summary = "[B…, m, k] x [B…, k, n] -> [B…, m, n], batches broadcast";
  let description = [{
    Products of floats narrower than f32 are accumulated in f32 and rounded once.
    Those of 8-bit types are as wide as their sums: of i8 and ui8 i32, which
    wraps; of 8-bit floats f32. Otherwise the result is of the operands' type.

    Constraints:
    - (C1) both operands have rank 2 or more and one element type, or two that are
      both integers or both floats of 8 bits.
    - (C2) the last dimension of `lhs` is the last but one of `rhs`, and the
      leading dimensions broadcast.

    Example:
    ```mlir
    %y = nn.matmul %x, %w : tensor<2x8x64xf32>, tensor<64x256xf32>
    ```
  }];
  let arguments = (ins Nn_Tensor:$lhs, Nn_Tensor:$rhs);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs)";
  let hasVerifier = 1;
}

def Nn_ConvOp : Nn_InferredOp<"conv"> {
  let summary = "cross-correlation of [n, (g c), x…] with [(g o), c, kx…]";
  let description = [{
    result[n, (g o), y…] = Σ input[n, (g c), y * stride + k * dilation - low] *
    filter[(g o), c, k…]; outside the input is zero. Element types are those of
    nn.matmul.

    Constraints:
    - (C1) input and filter have one rank, 3 or more, and multiply; `strides`,
      `dilations`, `low`, `high` have one entry a spatial dimension.
    - (C2) channels are `groups` times the filter's, and `groups` divides the
      number of filters.
    - (C3) a window fits into the padded input.
  }];
  let arguments = (ins Nn_Tensor:$input, Nn_Tensor:$filter,
    DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$dilations,
    DenseI64ArrayAttr:$low, DenseI64ArrayAttr:$high, I64Attr:$groups);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = [{
    $input `,` $filter `strides` $strides `dilations` $dilations `low` $low `high` $high
    `groups` $groups attr-dict `:` type($input) `,` type($filter)
  }];
  let hasVerifier = 1;
}

def Nn_ReduceKind : Nn_Enum<"ReduceKind", "how elements of a row combine",
    [I32EnumAttrCase<"Sum", 0, "sum">, I32EnumAttrCase<"Mean", 1, "mean">,
     I32EnumAttrCase<"Max", 2, "max">, I32EnumAttrCase<"Min", 3, "min">,
     I32EnumAttrCase<"Prod", 4, "prod">]>;

def Nn_ReduceOp : Nn_InferredOp<"reduce"> {
  let summary = "combines the elements along dimensions, which stay with size 1";
  let description = [{
    An empty row gives the identity: 0, NaN (mean), -inf, +inf, 1; the least and
    largest value for integers.

    Constraints:
    - (C1) `dims` are dimensions of the operand in rising order.

    Example:
    ```mlir
    %s = nn.reduce mean %x dims [2] : tensor<2x8x64xf32>
    ```
  }];
  let arguments = (ins Nn_ReduceKind:$kind, Nn_Tensor:$input, DenseI64ArrayAttr:$dims);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = "$kind $input `dims` $dims attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Nn_ArgKind : Nn_Enum<"ArgKind", "which element of a row is meant",
    [I32EnumAttrCase<"Max", 0, "max">, I32EnumAttrCase<"Min", 1, "min">]>;

def Nn_ArgReduceOp : Nn_InferredOp<"arg_reduce"> {
  let summary = "the index of the largest or smallest element along a dimension, which stays with size 1";
  let description = [{
    Of equal elements the first is meant, or with `last` the last.

    Constraints:
    - (C1) `dim` is a dimension of the operand, and not empty.
  }];
  let arguments = (ins Nn_ArgKind:$kind, Nn_Tensor:$input, I64Attr:$dim, UnitAttr:$last);
  let results = (outs TensorOf<[I64]>:$result);
  let assemblyFormat = "$kind $input `dim` $dim (`last` $last^)? attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Nn_TopKOp : Nn_InferredOp<"top_k"> {
  let summary = "the k largest (or smallest) elements along a dimension, in order, and their indices";
  let description = [{
    Of equal elements the one with the lower index comes first.

    Constraints:
    - (C1) `dim` is a dimension of the operand with at least `k` elements.
  }];
  let arguments = (ins Nn_ArgKind:$kind, Nn_Tensor:$input, I64Attr:$k, I64Attr:$dim);
  let results = (outs Nn_Tensor:$values, TensorOf<[I64]>:$indices);
  let assemblyFormat = "$kind $k `of` $input `dim` $dim attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Nn_CumSumOp : Nn_InferredOp<"cumsum"> {
  let summary = "running sums along a dimension";
  let description = [{
    `exclusive` leaves the element itself out; `reverse` runs from the end.

    Constraints:
    - (C1) `dim` is a dimension of the operand.
  }];
  let arguments = (ins Nn_Tensor:$input, I64Attr:$dim, UnitAttr:$exclusive, UnitAttr:$reverse);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = [{
    $input `dim` $dim (`exclusive` $exclusive^)? (`reverse` $reverse^)? attr-dict `:` type($input)
  }];
  let hasVerifier = 1;
}

def Nn_SoftmaxOp : Nn_InferredOp<"softmax"> {
  let summary = "e^x / Σ e^x along a dimension, in f32";
  let description = [{
    Constraints:
    - (C1) `dim` is a dimension of the operand.
  }];
  let arguments = (ins Nn_FloatTensor:$input, I64Attr:$dim);
  let results = (outs Nn_FloatTensor:$result);
  let assemblyFormat = "$input `dim` $dim attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Nn_LayerNormOp : Nn_InferredOp<"layer_norm"> {
  let summary = "(x - mean) / sqrt(var + epsilon) * scale + bias over the last dimension, in f32";
  let description = [{
    Constraints:
    - (C1) `scale` and `bias` are vectors of the operand's last dimension.
  }];
  let arguments = (ins Nn_FloatTensor:$input, Nn_FloatTensor:$scale,
                       Optional<Nn_FloatTensor>:$bias, F64Attr:$epsilon);
  let results = (outs Nn_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $scale (`,` $bias^)? `epsilon` $epsilon attr-dict
    `:` type($input) `,` type($scale) (`,` type($bias)^)?
  }];
  let hasVerifier = 1;
}

def Nn_RmsNormOp : Nn_InferredOp<"rms_norm"> {
  let summary = "x / sqrt(mean x² + epsilon) * scale over the last dimension, in f32";
  let description = [{
    Constraints:
    - (C1) `scale` is a vector of the operand's last dimension.
  }];
  let arguments = (ins Nn_FloatTensor:$input, Nn_FloatTensor:$scale, F64Attr:$epsilon);
  let results = (outs Nn_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $scale `epsilon` $epsilon attr-dict `:` type($input) `,` type($scale)
  }];
  let hasVerifier = 1;
}

def Nn_RopeOp : Nn_InferredOp<"rope"> {
  let summary = "turns pairs of lanes of the last dimension by position";
  let description = [{
    With r lanes turned, r twice the last dimension of `cos` and `sin`:
    lane i pairs with i + r/2 (halves), or 2i with 2i + 1 (`interleaved`);
    (a, b) becomes (a cos - b sin, b cos + a sin). Lanes from r on pass.
    The other dimensions of `cos` and `sin` broadcast to the operand's.
    Source: Su et al., arXiv 2104.09864.

    Constraints:
    - (C1) `cos` and `sin` have one shape, whose leading dimensions broadcast to
      the operand's.
    - (C2) twice their last dimension is at most the operand's last.

    Example:
    ```mlir
    %r = nn.rope %q, %cos, %sin : tensor<2x8x4x16xf32>, tensor<2x1x4x8xf32>, tensor<2x1x4x8xf32>
    ```
  }];
  let arguments = (ins Nn_FloatTensor:$input, Nn_FloatTensor:$cos, Nn_FloatTensor:$sin,
                       UnitAttr:$interleaved);
  let results = (outs Nn_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $cos `,` $sin (`interleaved` $interleaved^)? attr-dict
    `:` type($input) `,` type($cos) `,` type($sin)
  }];
  let hasVerifier = 1;
}

def Nn_EmptyRows : Nn_Enum<"EmptyRows", "what a query without a visible key gets",
    [I32EnumAttrCase<"Zero", 0, "zero">, I32EnumAttrCase<"Nan", 1, "nan">]>;

def Nn_AttentionOp : Nn_InferredOp<"attention", [AttrSizedOperandSegments]> {
  let summary = "softmax(scale q kᵀ + mask) v, heads of q sharing heads of k and v";
  let description = [{
    q [b, h, s, d], k [b, g, t, d], v [b, g, t, e] -> [b, h, s, e]; query head i
    reads key head i / (h / g). In this order: scores are scaled, capped
    (c tanh(x / c), when `softcap` c is not 0), masked, and softmax runs in f32.
    `mask` broadcasts to [b, h, s, t]: a bool says which keys are visible, a float
    is added. With `causal`, query i sees the keys j <= i + offset. A row whose
    keys are all hidden by bools or `causal` gets what `empty_rows` says.
    With `lengths` [b], batch b sees only its first lengths[b] keys, and `causal`
    then means j <= i + lengths[b] - s.

    Constraints:
    - (C1) q, k, v have rank 4, agree in b, k and v in g and t, q and k in d.
    - (C2) g divides h.
    - (C3) `mask` broadcasts to [b, h, s, t]; `lengths` is an integer vector of b.
    - (C4) `offset` is given only with `causal`.

    Example:
    ```mlir
    %o = nn.attention %q, %k, %v scale 0.25 causal offset 7
       : tensor<2x8x1x16xf32>, tensor<2x4x8x16xf32>, tensor<2x4x8x16xf32>
    ```
  }];
  let arguments = (ins Nn_FloatTensor:$query, Nn_FloatTensor:$key, Nn_FloatTensor:$value,
    Optional<Nn_Tensor>:$mask, Optional<Nn_IntTensor>:$lengths,
    F64Attr:$scale, DefaultValuedAttr<F64Attr, "0.0">:$softcap,
    UnitAttr:$causal, DefaultValuedAttr<I64Attr, "0">:$offset,
    DefaultValuedAttr<Nn_EmptyRows, "EmptyRows::Zero">:$empty_rows);
  let results = (outs Nn_FloatTensor:$result);
  let assemblyFormat = [{
    $query `,` $key `,` $value oilist(`mask` $mask `:` type($mask) | `lengths` $lengths `:` type($lengths))
    `scale` $scale (`softcap` $softcap^)? (`causal` $causal^)? (`offset` $offset^)?
    (`empty_rows` $empty_rows^)? attr-dict
    `:` type($query) `,` type($key) `,` type($value)
  }];
  let hasVerifier = 1;
}

#endif // CLEAVE_NN_OPS
