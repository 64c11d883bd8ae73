//===- Passes.td - conversions between dialects ---------------*- tablegen -*-===//

include "mlir/Pass/PassBase.td"

def OnnxToNn : Pass<"convert-onnx-to-nn", "::mlir::ModuleOp"> {
  let summary = "each node becomes the nn ops that say what it means";
  let description = [{
    Input sizes are numbers from the start, so every type is static and all
    arithmetic on shapes is constant and gone afterwards; calls of local functions
    are inlined and branches on constants taken. What a number is at other sizes is
    carried along: inputs and outputs say it as `nn.shape`, over the open dimensions
    that `nn.symbols` names. Sizes that were taken for equal on the way are the
    equations of `nn.equal`; a guessed size that contradicts one is corrected. Initializers become `nn.weight`, small ones
    `nn.constant`. The graph becomes `func.func @main`, its arguments and results
    carrying their ONNX names as `onnx.name`.

    An op, an attribute or a form that nn has no words for is an error that names
    the node.
  }];
  let options = [
    ListOption<"dims", "dims", "std::string",
               "sizes of symbolic dimensions, as in batch=2">,
    ListOption<"guesses", "guesses", "std::string",
               "sizes of those that are not given, which may be corrected">
  ];
  let dependentDialects = ["::cleave::nn::NnDialect", "::mlir::func::FuncDialect"];
}
