//===- RtOps.td - commands of a rank --------------------------*- tablegen -*-===//

#ifndef CLEAVE_RT_OPS
#define CLEAVE_RT_OPS

include "RtAttrs.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Rt_Op<string mnemonic, list<Trait> traits = []> : Op<Rt_Dialect, mnemonic, traits>;

def Rt_LaunchOp : Rt_Op<"launch", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs a kernel";
  let description = [{
    Constraints:
    - (C1) `kernel` is a function of the module.
    - (C2) operands and results have the types that the function says.

    Example:
    ```mlir
    %y = rt.launch @kernel_0(%x, %w) : (tensor<8x64xf32>, tensor<64x64xf32>) -> tensor<8x64xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<AnyRankedTensor>:$inputs);
  let results = (outs Variadic<AnyRankedTensor>:$outputs);
  let assemblyFormat = "$kernel `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs)";
}

def Rt_CopyOp : Rt_Op<"copy", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "the same bytes in a place of their own";
  let description = [{
    Example:
    ```mlir
    %y = rt.copy %x : tensor<8x64xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

#endif // CLEAVE_RT_OPS
