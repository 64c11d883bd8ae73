//===- NnMovementOps.td - elements change place, not value ----*- tablegen -*-===//

#ifndef CLEAVE_NN_MOVEMENT_OPS
#define CLEAVE_NN_MOVEMENT_OPS

include "NnBase.td"

def Nn_ReshapeOp : Nn_Op<"reshape"> {
  let summary = "the same elements in row-major order under another shape";
  let description = [{
    Constraints:
    - (C1) operand and result have the same number of elements and one type.

    Example:
    ```mlir
    %h = nn.reshape %x : tensor<2x8x64xf32> to tensor<2x8x4x16xf32>
    ```
  }];
  let arguments = (ins Nn_Tensor:$input);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `to` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Nn_TransposeOp : Nn_InferredOp<"transpose"> {
  let summary = "result dimension i is operand dimension permutation[i]";
  let description = [{
    Constraints:
    - (C1) `permutation` holds each dimension of the operand once.

    Example:
    ```mlir
    %t = nn.transpose %x [0, 2, 1, 3] : tensor<2x8x4x16xf32>
    ```
  }];
  let arguments = (ins Nn_Tensor:$input, DenseI64ArrayAttr:$permutation);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = "$input $permutation attr-dict `:` type($input)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def Nn_BroadcastOp : Nn_Op<"broadcast"> {
  let summary = "repeats along dimensions of size 1 and new leading ones, as numpy";
  let description = [{
    Constraints:
    - (C1) the operand's shape broadcasts to the result's; one element type.

    Example:
    ```mlir
    %b = nn.broadcast %x : tensor<4x1xf32> to tensor<2x4x8xf32>
    ```
  }];
  let arguments = (ins Nn_Tensor:$input);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `to` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Nn_SliceOp : Nn_InferredOp<"slice"> {
  let summary = "result[i] = operand[start + i * step] in each dimension";
  let description = [{
    Constraints:
    - (C1) `starts`, `sizes` and `steps` have one entry a dimension.
    - (C2) the first and the last element read lie inside the operand; a step
      is not 0 and may be negative.

    Example:
    ```mlir
    %s = nn.slice %x starts [0, 4] sizes [2, 4] steps [1, 1] : tensor<2x8xf32>
    ```
  }];
  let arguments = (ins Nn_Tensor:$input, DenseI64ArrayAttr:$starts,
                       DenseI64ArrayAttr:$sizes, DenseI64ArrayAttr:$steps);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = [{
    $input `starts` $starts `sizes` $sizes `steps` $steps attr-dict `:` type($input)
  }];
  let hasFolder = 1;
  let hasVerifier = 1;
}

def Nn_ConcatOp : Nn_InferredOp<"concat"> {
  let summary = "operands one behind the other along an axis";
  let description = [{
    Constraints:
    - (C1) there is an operand, and `axis` is one of its dimensions.
    - (C2) operands agree in element type and in all other dimensions.

    Example:
    ```mlir
    %k = nn.concat %past, %new axis 2 : tensor<2x4x7x8xf32>, tensor<2x4x1x8xf32>
    ```
  }];
  let arguments = (ins Variadic<Nn_Tensor>:$inputs, I64Attr:$axis);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = "$inputs `axis` $axis attr-dict `:` type($inputs)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def Nn_PadOp : Nn_InferredOp<"pad"> {
  let summary = "a frame of one value around a tensor";
  let description = [{
    Constraints:
    - (C1) `low` and `high` have one entry a dimension, none negative.
    - (C2) `value` is a scalar of the operand's element type.

    Example:
    ```mlir
    %p = nn.pad %x, %zero low [0, 1] high [0, 1] : tensor<2x8xf32>, tensor<f32>
    ```
  }];
  let arguments = (ins Nn_Tensor:$input, Nn_Tensor:$value,
                       DenseI64ArrayAttr:$low, DenseI64ArrayAttr:$high);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = [{
    $input `,` $value `low` $low `high` $high attr-dict `:` type($input) `,` type($value)
  }];
  let hasVerifier = 1;
}

def Nn_GatherOp : Nn_InferredOp<"gather"> {
  let summary = "slices of the operand along an axis, chosen by indices";
  let description = [{
    result[a…, i…, c…] = data[a…, indices[i…], c…], the axis between a and c.
    A negative index counts from the end, and with `absolute` is out of range. An
    index out of range is a fault of the run, never a wild read.

    Constraints:
    - (C1) `axis` is a dimension of `data`.
    - (C2) constant indices are in range.

    Example:
    ```mlir
    %e = nn.gather %table, %ids axis 0 : tensor<256x64xf32>, tensor<2x8xi64>
    ```
  }];
  let arguments = (ins Nn_Tensor:$data, Nn_IntTensor:$indices, I64Attr:$axis,
                       UnitAttr:$absolute);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = [{
    $data `,` $indices `axis` $axis (`absolute` $absolute^)? attr-dict `:` type($data) `,` type($indices)
  }];
  let hasVerifier = 1;
}

def Nn_GatherElementsOp : Nn_InferredOp<"gather_elements"> {
  let summary = "result[..i..] = data[..indices[..i..]..] at the axis";
  let description = [{
    Negative and wild indices as in nn.gather.

    Constraints:
    - (C1) `axis` is a dimension of `data`; `indices` has the rank of `data` and
      is no larger in the other dimensions.
    - (C2) constant indices are in range.
  }];
  let arguments = (ins Nn_Tensor:$data, Nn_IntTensor:$indices, I64Attr:$axis);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = [{
    $data `,` $indices `axis` $axis attr-dict `:` type($data) `,` type($indices)
  }];
  let hasVerifier = 1;
}

def Nn_GatherNdOp : Nn_InferredOp<"gather_nd"> {
  let summary = "slices of the operand chosen by index tuples";
  let description = [{
    The last dimension of `indices` is a tuple over the dimensions of `data`
    behind the first `batch_dims`, which both share.

    Constraints:
    - (C1) `batch_dims` plus the length of a tuple is at most the rank of `data`,
      and the batch dimensions agree.
  }];
  let arguments = (ins Nn_Tensor:$data, Nn_IntTensor:$indices, I64Attr:$batch_dims);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = [{
    $data `,` $indices `batch_dims` $batch_dims attr-dict `:` type($data) `,` type($indices)
  }];
  let hasVerifier = 1;
}

def Nn_ScatterNdOp : Nn_InferredOp<"scatter_nd"> {
  let summary = "a copy of the operand with slices at index tuples replaced";
  let description = [{
    Updates are applied in row-major order, so the last of equal tuples stays.

    Constraints:
    - (C1) `updates` has the shape that the tuples and `data` say.
  }];
  let arguments = (ins Nn_Tensor:$data, Nn_IntTensor:$indices, Nn_Tensor:$updates);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = [{
    $data `,` $indices `,` $updates attr-dict `:` type($data) `,` type($indices) `,` type($updates)
  }];
  let hasVerifier = 1;
}

def Nn_CacheUpdateOp : Nn_InferredOp<"cache_update"> {
  let summary = "a copy of a cache with new rows written at each batch's position";
  let description = [{
    result[b…, positions[b] + i, …] = update[b…, i, …] along `axis`, the rest is
    the cache. Source: ONNX TensorScatter 24, mode linear. Positions that leave
    the cache are a fault of the run.

    Constraints:
    - (C1) `axis` is a dimension of `cache` other than the first; `update` agrees
      with `cache` elsewhere and is no longer along `axis`.
    - (C2) `positions` has one element a batch.

    Example:
    ```mlir
    %c = nn.cache_update %k, %new, %at axis 2 : tensor<2x4x16x8xf32>, tensor<2x4x1x8xf32>, tensor<2xi64>
    ```
  }];
  let arguments = (ins Nn_Tensor:$cache, Nn_Tensor:$update, Nn_IntTensor:$positions, I64Attr:$axis);
  let results = (outs Nn_Tensor:$result);
  let assemblyFormat = [{
    $cache `,` $update `,` $positions `axis` $axis attr-dict
    `:` type($cache) `,` type($update) `,` type($positions)
  }];
  let hasVerifier = 1;
}

#endif // CLEAVE_NN_MOVEMENT_OPS
