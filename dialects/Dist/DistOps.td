//===- DistOps.td - parts and collectives ---------------------*- tablegen -*-===//
//
// A program is SPMD: a function holds what one rank does, types are what it
// holds, and what differs between ranks of one class (equal local shapes) comes
// from `dist.slice` and `dist.offset` alone.
//
// `counts` say how many indices of a dimension each member of a group holds, in
// member order; any may be 0. Bytes are what one rank sends in a ring, for p
// members and T bytes of the whole tensor, where counts are even.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_DIST_OPS
#define CLEAVE_DIST_OPS

include "DistAttrs.td"
include "DistInterfaces.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Dist_Tensor : StaticShapeTensorOf<[AnyFloat, AnyInteger]>;

class Dist_Op<string mnemonic, list<Trait> traits = []>
    : Op<Dist_Dialect, mnemonic, traits> {
  let hasVerifier = 1;
}

def Dist_Network : Resource<"::cleave::dist::Network">;

/// Every member of a group meets every other in each of its collectives, in one order:
/// none may be erased, doubled or moved past another, also where nobody reads the result.
class Dist_CollectiveOp<string mnemonic, list<Trait> traits = []>
    : Dist_Op<mnemonic, !listconcat(
        [DeclareOpInterfaceMethods<CollectiveOpInterface>, MemoryEffects<[MemWrite<Dist_Network>]>],
        traits)>;

def Dist_ReductionKind : I32EnumAttr<"ReductionKind", "how partial values combine",
    [I32EnumAttrCase<"Sum", 0, "sum">, I32EnumAttrCase<"Max", 1, "max">,
     I32EnumAttrCase<"Min", 2, "min">, I32EnumAttrCase<"Prod", 3, "prod">]> {
  let cppNamespace = "::cleave::dist";
}

def Dist_SliceOp : Dist_Op<"slice", [Pure]> {
  let summary = "this rank's part of a dimension of a tensor that is whole";
  let description = [{
    Nothing travels.

    Constraints:
    - (C1) `axes` is not empty and holds no axis twice.
    - (C2) `dim` is a dimension of the operand.
    - (C3) `counts` has one entry a member, none negative, and sums to the
      operand's size at `dim`.
    - (C4) the result's size at `dim` is one of `counts`; all else is the operand's.

    Example:
    ```mlir
    %part = dist.slice %w dim 1 over ["tp"] counts [3, 3, 2] : tensor<4x8xf32> to tensor<4x3xf32>
    ```
  }];
  let arguments = (ins Dist_Tensor:$input, I64Attr:$dim, StrArrayAttr:$axes,
                       DenseI64ArrayAttr:$counts);
  let results = (outs Dist_Tensor:$result);
  let assemblyFormat = [{
    $input `dim` $dim `over` $axes `counts` $counts attr-dict `:` type($input) `to` type($result)
  }];
}

def Dist_OffsetOp : Dist_Op<"offset", [Pure]> {
  let summary = "where this rank's part begins: the sum of the counts of the members before it";
  let description = [{
    With a count of 1 each, it is the member number.

    Constraints:
    - (C1) `axes` is not empty and holds no axis twice.
    - (C2) `counts` has one entry a member, none negative.

    Example:
    ```mlir
    %first = dist.offset over ["tp"] counts [3, 3, 2] : tensor<i64>
    ```
  }];
  let arguments = (ins StrArrayAttr:$axes, DenseI64ArrayAttr:$counts);
  let results = (outs 0DTensorOf<[I64]>:$result);
  let assemblyFormat = "`over` $axes `counts` $counts attr-dict `:` type($result)";
}

def Dist_AllReduceOp : Dist_CollectiveOp<"all_reduce", [AllTypesMatch<["input", "result"]>]> {
  let summary = "combines the partial values of a group; every rank gets the whole";
  let description = [{
    Ranks combine in member order, so that all of them, on every communicator,
    hold the same bits.

    Bytes: 2 (p - 1) / p * T.

    Constraints:
    - (C1) `axes` is not empty and holds no axis twice.

    Example:
    ```mlir
    // Every rank of "tp" multiplied its part of k.
    %sum = dist.all_reduce sum %partial over ["tp"] : tensor<4x8xf32>
    ```
  }];
  let arguments = (ins Dist_ReductionKind:$kind, Dist_Tensor:$input, StrArrayAttr:$axes);
  let results = (outs Dist_Tensor:$result);
  let assemblyFormat = "$kind $input `over` $axes attr-dict `:` type($input)";
}

def Dist_AllGatherOp : Dist_CollectiveOp<"all_gather"> {
  let summary = "the parts of a group one behind the other; every rank gets the whole";
  let description = [{
    Bytes: (p - 1) / p * T.

    Constraints:
    - (C1) `axes` is not empty and holds no axis twice.
    - (C2) `dim` is a dimension of the operand.
    - (C3) `counts` has one entry a member, none negative, and sums to the
      result's size at `dim`.
    - (C4) the operand's size at `dim` is one of `counts`; all else is the result's.

    Example:
    ```mlir
    %w = dist.all_gather %part dim 1 over ["tp"] counts [3, 3, 2] : tensor<4x3xf32> to tensor<4x8xf32>
    ```
  }];
  let arguments = (ins Dist_Tensor:$input, I64Attr:$dim, StrArrayAttr:$axes,
                       DenseI64ArrayAttr:$counts);
  let results = (outs Dist_Tensor:$result);
  let assemblyFormat = [{
    $input `dim` $dim `over` $axes `counts` $counts attr-dict `:` type($input) `to` type($result)
  }];
}

def Dist_ReduceScatterOp : Dist_CollectiveOp<"reduce_scatter"> {
  let summary = "combines the partial values of a group; every rank gets its part of a dimension";
  let description = [{
    Bytes: (p - 1) / p * T. Combines in member order, as all_reduce.

    Constraints:
    - (C1) `axes` is not empty and holds no axis twice.
    - (C2) `dim` is a dimension of the operand.
    - (C3) `counts` has one entry a member, none negative, and sums to the
      operand's size at `dim`.
    - (C4) the result's size at `dim` is one of `counts`; all else is the operand's.

    Example:
    ```mlir
    %s = dist.reduce_scatter sum %p dim 0 over ["tp"] counts [2, 2] : tensor<4x8xf32> to tensor<2x8xf32>
    ```
  }];
  let arguments = (ins Dist_ReductionKind:$kind, Dist_Tensor:$input, I64Attr:$dim,
                       StrArrayAttr:$axes, DenseI64ArrayAttr:$counts);
  let results = (outs Dist_Tensor:$result);
  let assemblyFormat = [{
    $kind $input `dim` $dim `over` $axes `counts` $counts attr-dict
    `:` type($input) `to` type($result)
  }];
}

def Dist_AllToAllOp : Dist_CollectiveOp<"all_to_all"> {
  let summary = "from a part of one dimension to a part of another";
  let description = [{
    Before, a member holds its count of `concats` of dimension `concat` and all
    of `split`; after, its count of `splits` of `split` and all of `concat`.

    Bytes: (p - 1) / p of the operand.

    Constraints:
    - (C1) `axes` is not empty and holds no axis twice.
    - (C2) `split` and `concat` are two dimensions of the operand.
    - (C3) `splits` and `concats` have one entry a member, none negative, and sum
      to the operand's size at `split` and the result's at `concat`.
    - (C4) the operand's size at `concat` is one of `concats` and the result's at
      `split` one of `splits`; other dimensions stay.

    Example:
    ```mlir
    %h = dist.all_to_all %s split 2 concat 1 over ["sp"] splits [4, 4] concats [8, 8]
       : tensor<1x8x8xf32> to tensor<1x16x4xf32>
    ```
  }];
  let arguments = (ins Dist_Tensor:$input, I64Attr:$split, I64Attr:$concat,
                       StrArrayAttr:$axes, DenseI64ArrayAttr:$splits,
                       DenseI64ArrayAttr:$concats);
  let results = (outs Dist_Tensor:$result);
  let assemblyFormat = [{
    $input `split` $split `concat` $concat `over` $axes `splits` $splits `concats` $concats
    attr-dict `:` type($input) `to` type($result)
  }];
}

def Dist_ExchangeOp : Dist_CollectiveOp<"exchange"> {
  let summary = "a block from each member of a group to each";
  let description = [{
    What an all_to_all is once its blocks are contiguous. `counts` has p rows of p
    entries: entry (i, j) is how many elements member i sends to member j. Blocks
    lie in member order, in the operand and in the result.

    Bytes: a row but for what a member sends to itself.

    Constraints:
    - (C1) `axes` is not empty and holds no axis twice.
    - (C2) `counts` has p rows of p entries, none negative.
    - (C3) the operand has as many elements as the row of a member sums to, the
      result as many as the column of the same member.

    Example:
    ```mlir
    %y = dist.exchange %x over ["sp"] counts [6, 3, 4, 2] : tensor<9xf32> to tensor<10xf32>
    ```
  }];
  let arguments = (ins 1DTensorOf<[AnyFloat, AnyInteger]>:$input, StrArrayAttr:$axes,
                       DenseI64ArrayAttr:$counts);
  let results = (outs 1DTensorOf<[AnyFloat, AnyInteger]>:$result);
  let assemblyFormat = [{
    $input `over` $axes `counts` $counts attr-dict `:` type($input) `to` type($result)
  }];
}

/// Between this rank and member `peer` of its group. Ranks of one stage are of one
/// class, so what differs between them is their group, not their peer.
class Dist_TransferOp<string mnemonic, list<Trait> traits = []>
    : Dist_Op<mnemonic, !listconcat([MemoryEffects<[MemWrite<Dist_Network>]>], traits)>;

def Dist_SendOp : Dist_TransferOp<"send", [DeclareOpInterfaceMethods<CollectiveOpInterface>]> {
  let summary = "starts to send a tensor to a member of the group";
  let description = [{
    The rank goes on at once. The tensor stays in place until the `dist.wait` that
    ends the send; the sends to a peer end in their order.

    Bytes: all of the tensor.

    Constraints:
    - (C1) `axes` is not empty and holds no axis twice.
    - (C2) `peer` is a member of a group over `axes`.

    Example:
    ```mlir
    dist.send %x to 1 over ["pp"] : tensor<4x8xf32>
    ```
  }];
  let arguments = (ins Dist_Tensor:$input, I64Attr:$peer, StrArrayAttr:$axes);
  let assemblyFormat = "$input `to` $peer `over` $axes attr-dict `:` type($input)";
}

def Dist_RecvOp : Dist_TransferOp<"recv"> {
  let summary = "takes the next tensor that a member of the group sends";
  let description = [{
    What a peer sends arrives in the order of its sends.

    Constraints:
    - (C1) `axes` is not empty and holds no axis twice.
    - (C2) `peer` is a member of a group over `axes`.

    Example:
    ```mlir
    %x = dist.recv from 0 over ["pp"] : tensor<4x8xf32>
    ```
  }];
  let arguments = (ins I64Attr:$peer, StrArrayAttr:$axes);
  let results = (outs Dist_Tensor:$result);
  let assemblyFormat = "`from` $peer `over` $axes attr-dict `:` type($result)";
}

def Dist_WaitOp : Dist_TransferOp<"wait"> {
  let summary = "ends the oldest send to a member of the group that has not ended";
  let description = [{
    The operand is what was sent: it has to stay in place until here.

    Constraints:
    - (C1) `axes` is not empty and holds no axis twice.
    - (C2) `peer` is a member of a group over `axes`.

    Example:
    ```mlir
    dist.wait %x to 1 over ["pp"] : tensor<4x8xf32>
    ```
  }];
  let arguments = (ins Dist_Tensor:$input, I64Attr:$peer, StrArrayAttr:$axes);
  let assemblyFormat = "$input `to` $peer `over` $axes attr-dict `:` type($input)";
}

#endif // CLEAVE_DIST_OPS
