//===- OnnxOps.td - nodes, initializers, functions ------------*- tablegen -*-===//
//
// A graph is a region with one block: its arguments are the inputs, its
// terminator gives the outputs. Nodes of an inner graph use values of the outer
// ones directly. The name of a value is the location of its op.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_ONNX_OPS
#define CLEAVE_ONNX_OPS

include "OnnxTypes.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Onnx_Op<string mnemonic, list<Trait> traits = []>
    : Op<Onnx_Dialect, mnemonic, traits>;

def Onnx_GraphOp : Onnx_Op<"graph", [IsolatedFromAbove, SingleBlock]> {
  let summary = "a model's main graph";
  let description = [{
    `inputs` and `outputs` are the names, `output_types` the declared types.
    Block arguments carry the declared types of the inputs.

    Constraints:
    - (C1) there is a name for each block argument and a name and a type for each
      operand of the terminator.
  }];
  let arguments = (ins StrAttr:$sym_name, StrArrayAttr:$inputs, StrArrayAttr:$outputs,
                       TypeArrayAttr:$output_types);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `inputs` $inputs `outputs` $outputs `:` $output_types attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
}

def Onnx_FunctionOp : Onnx_Op<"function", [IsolatedFromAbove, SingleBlock]> {
  let summary = "a local function of the model";
  let description = [{
    `opset` maps each domain that the body uses to its version, which may differ
    from the model's. `parameters` are the names of attributes without default,
    `defaults` the others.
  }];
  let arguments = (ins StrAttr:$domain, StrAttr:$function_name, StrAttr:$overload,
                       StrArrayAttr:$inputs, StrArrayAttr:$outputs,
                       StrArrayAttr:$parameters, DictionaryAttr:$defaults,
                       DictionaryAttr:$opset);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "attr-dict-with-keyword $body";
}

def Onnx_InitializerOp : Onnx_Op<"initializer", [Pure]> {
  let summary = "a tensor that comes with the model";
  let description = [{
    With `input` it is listed among the graph's inputs too, as old models do.
  }];
  let arguments = (ins Onnx_TensorAttr:$tensor, UnitAttr:$input);
  let results = (outs AnyType:$result);
  let assemblyFormat = "$tensor (`input` $input^)? attr-dict `:` type($result)";
}

def Onnx_NoneOp : Onnx_Op<"none", [Pure]> {
  let summary = "an optional input that is left out";
  let results = (outs NoneType:$result);
  let assemblyFormat = "attr-dict";
}

def Onnx_NodeOp : Onnx_Op<"node"> {
  let summary = "one node";
  let description = [{
    `since_version` is the version of the op's schema that the model's opset
    means, 0 where no schema is known. `node_attributes` holds the node's attributes
    and the schema's defaults for the others. An output that is left out is named
    by an empty string in `outputs`.

    Constraints:
    - (C1) there is a name for each result.

    Example:
    ```mlir
    %y = onnx.node "Gelu" "" since 20 "gelu_1"(%x) -> ["y"] {approximate = "none"}
       : (!onnx.value) -> !onnx.value
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$inputs, StrAttr:$op_type, StrAttr:$domain,
                       OptionalAttr<StrAttr>:$overload, I64Attr:$since_version, StrAttr:$node_name,
                       StrArrayAttr:$outputs, DictionaryAttr:$node_attributes);
  let results = (outs Variadic<AnyType>:$results);
  let regions = (region VariadicRegion<SizedRegion<1>>:$graphs);
  let assemblyFormat = [{
    $op_type $domain (`overload` $overload^)? `since` $since_version $node_name `(` $inputs `)` `->`
    $outputs $node_attributes attr-dict `:` functional-type($inputs, $results) $graphs
  }];
  let hasVerifier = 1;
}

def Onnx_OutputOp : Onnx_Op<"output", [Terminator]> {
  let summary = "the outputs of a graph";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
}

#endif // CLEAVE_ONNX_OPS
