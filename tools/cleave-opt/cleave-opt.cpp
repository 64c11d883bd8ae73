//===- cleave-opt.cpp - runs single passes --------------------------------===//

#include "Nn/Nn.h"
#include "Rt/Rt.h"
#include "cleave/Transforms/Kernel/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<mlir::func::FuncDialect, cleave::nn::NnDialect,
                  cleave::rt::RtDialect>();
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
  cleave::registerKernelPasses();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "Cleave's optimizer driver\n", registry));
}
